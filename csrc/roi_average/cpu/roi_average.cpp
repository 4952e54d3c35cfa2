// roi_average on the CPU.
//
// If bins read all channels, the input is copied to rows of channels, one row per cell: a bin is then a weighted sum of
// contiguous rows. In position-sensitive pooling, a bin reads few channels, directly from the input.
//
// The order of each sum does not depend on the number of threads: the forward pass is parallel over regions or groups
// of channels, the gradient of the input over blocks or groups of channels, those of offsets and masks over regions.
//
// Scratch: with one group, a copy of the input (in the backward pass also of its gradient) in float32, unless it is
// channels_last float32 or float64; with several groups, a copy of 16-bit inputs only; a few rows per thread.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "../../common/cpu/layout.h"
#include "../../common/dispatch.h"
#include "../roi_average.h"
#include "kernels.h"

namespace deformlab::roi_average {
namespace {

// Channels of one task of the input's gradient. Fixed, so that results do not depend on the number of threads.
constexpr int64_t kBlockChannels = 64;

// The cells that bins read along one axis.
template <typename T>
struct Line {
  std::vector<int32_t> cells;
  std::vector<T> weights, slopes;
  T counted = 0;
  int64_t region = -1;  // the region that it was computed for, if it has no shift

  void clear() { cells.clear(), weights.clear(), slopes.clear(); }

  // Positions increase, so an equal cell is one of the last two.
  void add(int32_t cell, T weight, T slope) {
    for (size_t back = 1; back <= 2 && back <= cells.size(); ++back) {
      const size_t i = cells.size() - back;
      if (cells[i] == cell) {
        weights[i] += weight, slopes[i] += slope;
        return;
      }
    }
    cells.push_back(cell), weights.push_back(weight), slopes.push_back(slope);
  }

  void read(Kind kind, const Axis<T>& axis, int64_t bin, T shift, int64_t length) {
    clear();
    counted = visit_bin<T>(
        kind, axis, bin, shift, length, [this](int32_t cell, T weight, T slope) { add(cell, weight, slope); });
  }
};

// Visits the bins of a region, each with its lines of rows and columns.
template <typename T>
class Bins {
 public:
  Bins(const Shape& shape, const T* rois, const T* offset, const T* mask)
      : s_(shape), rois_(rois), offset_(offset), mask_(mask), rows_(shape.P), columns_(shape.Q) {}

  // Returns whether region k is legal, and prepares its bins.
  bool start(int64_t k) {
    k_ = k;
    region_ = region_of<T>(s_, rois_ + 5 * k);
    return region_.legal;
  }

  // Computes the cells of a bin and their weights, without the mask. Returns the value of the mask.
  T read(int64_t cls, int64_t p, int64_t q) {
    if (offset_) {
      const int64_t at = s_.offset(k_, cls, p, q);
      const T gamma = static_cast<T>(s_.gamma);
      const T shift_x = gamma * offset_[at] * region_.x.size;
      const T shift_y = gamma * offset_[at + s_.part_h * s_.part_w] * region_.y.size;
      rows_[0].read(s_.kind, region_.y, p, shift_y, s_.H);
      columns_[0].read(s_.kind, region_.x, q, shift_x, s_.W);
      row_ = &rows_[0], column_ = &columns_[0];
    } else {
      row_ = known(rows_[p], region_.y, p, s_.H);
      column_ = known(columns_[q], region_.x, q, s_.W);
    }
    const T count = row_->counted * column_->counted;
    cells.clear(), weights.clear();
    scale = count > 0 ? 1 / count : T(0);
    for (size_t i = 0; i < row_->cells.size(); ++i) {
      for (size_t j = 0; j < column_->cells.size(); ++j) {
        cells.push_back(row_->cells[i] * static_cast<int32_t>(s_.W) + column_->cells[j]);
        weights.push_back(row_->weights[i] * column_->weights[j] * scale);
      }
    }
    return mask_ ? mask_[s_.part(k_, cls, p, q)] : T(1);
  }

  Taps<T> taps() const { return {cells.data(), weights.data(), static_cast<int64_t>(cells.size())}; }

  // The derivatives of the bin with respect to shifts of one cell, from the products of its cells with a gradient.
  void slopes(const T* products, T& slope_y, T& slope_x) const {
    slope_y = slope_x = 0;
    for (size_t i = 0, tap = 0; i < row_->cells.size(); ++i) {
      for (size_t j = 0; j < column_->cells.size(); ++j, ++tap) {
        slope_y += row_->slopes[i] * column_->weights[j] * products[tap];
        slope_x += row_->weights[i] * column_->slopes[j] * products[tap];
      }
    }
    slope_y *= scale, slope_x *= scale;
  }

  const Region<T>& region() const { return region_; }

  std::vector<int32_t> cells;
  std::vector<T> weights;
  T scale = 0;

 private:
  // The line of a bin without offsets, which is computed once for each region.
  const Line<T>* known(Line<T>& line, const Axis<T>& axis, int64_t bin, int64_t length) {
    if (line.region != k_) {
      line.read(s_.kind, axis, bin, T(0), length);
      line.region = k_;
    }
    return &line;
  }

  const Shape& s_;
  const T *rois_, *offset_, *mask_;
  int64_t k_ = 0;
  Region<T> region_;
  std::vector<Line<T>> rows_, columns_;
  const Line<T>*row_ = nullptr, *column_ = nullptr;
};

// Returns (N, C, H, W) as rows of channels, (N, H·W, C). A view if that is already its layout.
template <typename T>
Tensor to_rows(const Shape& s, const Tensor& input) {
  const Tensor typed = in_either_format<T>(input);
  if (is_channels_last(typed)) {
    return typed;
  }
  const Tensor rows = new_tensor<T>({s.N * s.cells() * s.C});
  parallel_pixels(s.N * s.cells(), [&](int64_t begin, int64_t end) {
    read_rows(planes_of<const T>(typed), begin, end, 0, s.C, data<T>(rows) + begin * s.C, s.C);
  });
  return rows;
}

// The values of a tensor (N, C, H, W) that position-sensitive bins read: at(image, group)[o · channel + cell · step].
template <typename T>
struct Grouped {
  Grouped(const Shape& s, const Tensor& tensor)
      : values(data<T>(tensor)),
        image(s.C * s.cells()),
        group(is_channels_last(tensor) ? 1 : s.cells()),
        channel(group * s.group_count()),
        step(is_channels_last(tensor) ? s.C : 1) {}

  T* at(int64_t n, int64_t g) const { return values + n * image + g * group; }

  T* values;
  int64_t image, group, channel, step;
};

// Calls visit(region, group, p, q) for the bins of the groups [begin, end) and all regions.
template <typename Visit>
void for_each_bin(const Shape& s, int64_t begin, int64_t end, const Visit& visit) {
  for (int64_t group = begin; group < end; ++group) {
    std::vector<int64_t> bins;
    for (int64_t bin = 0; bin < s.bins(); ++bin) {
      if (s.groups.of_bin(bin / s.Q, bin % s.Q, s.P, s.Q) == group) {
        bins.push_back(bin);
      }
    }
    for (int64_t k = 0; k < s.K; ++k) {
      for (const int64_t bin : bins) {
        visit(k, group, bin / s.Q, bin % s.Q);
      }
    }
  }
}

// The small arguments in the type of the computation. Owns their memory.
template <typename T>
struct Arguments {
  Arguments(const Tensor& rois_any, const std::optional<Tensor>& offset_any, const std::optional<Tensor>& mask_any)
      : rois(contiguous(rois_any)) {
    if (offset_any) {
      offset = contiguous(*offset_any);
    }
    if (mask_any) {
      mask = contiguous(*mask_any);
    }
  }

  static Tensor contiguous(const Tensor& tensor) {
    return torch::stable::contiguous(as_type(tensor, dtype_of<T>()));
  }

  Bins<T> bins(const Shape& s) const {
    return {s, data<const T>(rois), offset ? data<const T>(*offset) : nullptr, mask ? data<const T>(*mask) : nullptr};
  }

  Tensor rois;
  std::optional<Tensor> offset, mask;
};

// Pools bins that read all channels.
template <typename T>
void pool_rows(const Shape& s, const Tensor& input, const Arguments<T>& arguments, T* result) {
  const Tensor rows_tensor = to_rows<T>(s, input);
  const T* rows = data<const T>(rows_tensor);
  const int64_t outputs = s.class_outputs;
  torch::stable::parallel_for(0, s.K, 1, [&](int64_t begin, int64_t end) {
    Bins<T> bins = arguments.bins(s);
    std::vector<T> values(s.bins() * s.O);
    for (int64_t k = begin; k < end; ++k) {
      T* const target = result + k * s.O * s.bins();
      if (!bins.start(k)) {
        std::fill_n(target, s.O * s.bins(), T(0));
        continue;
      }
      const T* of_image = rows + bins.region().image * s.cells() * s.C;
      for (int64_t bin = 0; bin < s.bins(); ++bin) {
        for (int64_t cls = 0; cls < s.classes; ++cls) {
          const T factor = bins.read(cls, bin / s.Q, bin % s.Q);
          T* const out = values.data() + bin * s.O + cls * outputs;
          kernels<T>().weighted_sum(of_image + cls * outputs, s.C, bins.taps(), outputs, out);
          if (factor != 1) {
            for (int64_t o = 0; o < outputs; ++o) {
              out[o] *= factor;
            }
          }
        }
      }
      transpose_block(values.data(), s.O, target, s.bins(), s.bins(), s.O);
    }
  });
}

// Pools position-sensitive bins. A thread computes the bins of a group of channels for all regions, so that these
// channels stay in its cache.
template <typename T>
void pool_groups(const Shape& s, const Tensor& input, const Arguments<T>& arguments, T* result) {
  const Tensor typed = in_either_format<T>(input);
  const Grouped<const T> grouped(s, typed);
  const int64_t outputs = s.class_outputs;
  torch::stable::parallel_for(0, s.group_count(), 1, [&](int64_t begin, int64_t end) {
    Bins<T> bins = arguments.bins(s);
    for_each_bin(s, begin, end, [&](int64_t k, int64_t group, int64_t p, int64_t q) {
      T* const target = result + k * s.O * s.bins() + p * s.Q + q;
      const bool legal = bins.start(k);
      const T* of_group = grouped.at(bins.region().image, group);
      for (int64_t cls = 0; cls < s.classes; ++cls) {
        const T factor = legal ? bins.read(cls, p, q) : T(0);
        const Taps<T> taps = legal ? bins.taps() : Taps<T>{nullptr, nullptr, 0};
        for (int64_t o = cls * outputs; o < (cls + 1) * outputs; ++o) {
          const T* plane = of_group + o * grouped.channel;
          T sum = 0;
          for (int64_t tap = 0; tap < taps.count; ++tap) {
            sum += taps.weights[tap] * plane[taps.cells[tap] * grouped.step];
          }
          target[o * s.bins()] = factor == 1 ? sum : sum * factor;
        }
      }
    });
  });
}

template <typename T>
Tensor forward(const Shape& s, const Tensor& input, const Arguments<T>& arguments) {
  const Tensor output = new_tensor<T>({s.K, s.O, s.P, s.Q});
  if (s.group_count() == 1) {
    pool_rows<T>(s, input, arguments, data<T>(output));
  } else {
    pool_groups<T>(s, input, arguments, data<T>(output));
  }
  return as_type(output, input.scalar_type());
}

// The gradient of the input for bins that read all channels. A task has a block of channels of one class.
template <typename T>
Tensor rows_gradient(const Shape& s, const Tensor& grad, const Tensor& input, const Arguments<T>& arguments) {
  const Tensor result = new_tensor<T>({s.N, s.C, s.H, s.W}, format_of(input));
  // Without a copy if the result is channels_last.
  const Tensor rows_tensor = is_channels_last(result) ? result : new_tensor<T>({s.N * s.cells() * s.C});
  set_zero<T>(rows_tensor);
  T* rows = data<T>(rows_tensor);
  const T* grads = data<const T>(grad);
  const int64_t outputs = s.class_outputs, block = std::min(kBlockChannels, outputs);
  const int64_t blocks = divide_up(outputs, block);
  torch::stable::parallel_for(0, s.classes * blocks, 1, [&](int64_t begin, int64_t end) {
    Bins<T> bins = arguments.bins(s);
    std::vector<T> values(s.bins() * block);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t cls = task / blocks, first = cls * outputs + task % blocks * block;
      const int64_t count = std::min(block, (cls + 1) * outputs - first);
      for (int64_t k = 0; k < s.K; ++k) {
        if (!bins.start(k)) {
          continue;
        }
        T* const target = rows + bins.region().image * s.cells() * s.C + first;
        transpose_block(grads + (k * s.O + first) * s.bins(), s.bins(), values.data(), block, count, s.bins());
        for (int64_t bin = 0; bin < s.bins(); ++bin) {
          T* const value = values.data() + bin * block;
          const T factor = bins.read(cls, bin / s.Q, bin % s.Q);
          if (factor != 1) {
            for (int64_t o = 0; o < count; ++o) {
              value[o] *= factor;
            }
          }
          kernels<T>().scatter(target, s.C, bins.taps(), count, value);
        }
      }
    }
  });
  if (!is_channels_last(result)) {
    parallel_pixels(s.N * s.cells(), [&](int64_t begin, int64_t end) {
      write_rows<T, T>(rows + begin * s.C, s.C, begin, end, 0, s.C, planes_of<T>(result));
    });
  }
  return as_type(result, input.scalar_type());
}

// The gradient of the input for position-sensitive bins.
template <typename T>
Tensor groups_gradient(const Shape& s, const Tensor& grad, const Tensor& input, const Arguments<T>& arguments) {
  const Tensor result = new_tensor<T>({s.N, s.C, s.H, s.W}, format_of(input));
  set_zero<T>(result);
  const Grouped<T> grouped(s, result);
  const T* grads = data<const T>(grad);
  const int64_t outputs = s.class_outputs;
  torch::stable::parallel_for(0, s.group_count(), 1, [&](int64_t begin, int64_t end) {
    Bins<T> bins = arguments.bins(s);
    for_each_bin(s, begin, end, [&](int64_t k, int64_t group, int64_t p, int64_t q) {
      if (!bins.start(k)) {
        return;
      }
      const T* source = grads + k * s.O * s.bins() + p * s.Q + q;
      T* const of_group = grouped.at(bins.region().image, group);
      for (int64_t cls = 0; cls < s.classes; ++cls) {
        const T factor = bins.read(cls, p, q);
        const Taps<T> taps = bins.taps();
        for (int64_t o = cls * outputs; o < (cls + 1) * outputs; ++o) {
          T* const plane = of_group + o * grouped.channel;
          const T value = source[o * s.bins()] * factor;
          for (int64_t tap = 0; tap < taps.count; ++tap) {
            plane[taps.cells[tap] * grouped.step] += taps.weights[tap] * value;
          }
        }
      }
    });
  });
  return as_type(result, input.scalar_type());
}

// Adds the gradients of offsets and masks. Each region is computed by one thread.
template <typename T>
void part_gradients(
    const Shape& s, const Tensor& grad, const Tensor& input, const Arguments<T>& arguments, T* grad_offset,
    T* grad_mask) {
  const bool grouped_bins = s.group_count() > 1;
  const Tensor values_tensor = grouped_bins ? in_either_format<T>(input) : to_rows<T>(s, input);
  const Grouped<const T> grouped(s, values_tensor);
  const T* rows = data<const T>(values_tensor);
  const T* grads = data<const T>(grad);
  const int64_t outputs = s.class_outputs, plane = s.part_h * s.part_w;
  torch::stable::parallel_for(0, s.K, 1, [&](int64_t begin, int64_t end) {
    Bins<T> bins = arguments.bins(s);
    std::vector<T> values(s.bins() * s.O), products;
    for (int64_t k = begin; k < end; ++k) {
      if (!bins.start(k)) {
        continue;
      }
      transpose_block(grads + k * s.O * s.bins(), s.bins(), values.data(), s.O, s.O, s.bins());
      for (int64_t bin = 0; bin < s.bins(); ++bin) {
        const int64_t p = bin / s.Q, q = bin % s.Q, image = bins.region().image;
        for (int64_t cls = 0; cls < s.classes; ++cls) {
          const T factor = bins.read(cls, p, q);
          const Taps<T> taps = bins.taps();
          const T* value = values.data() + bin * s.O + cls * outputs;
          products.assign(taps.count, T(0));
          if (grouped_bins) {
            const T* of_class =
                grouped.at(image, s.groups.of_bin(p, q, s.P, s.Q)) + cls * outputs * grouped.channel;
            for (int64_t o = 0; o < outputs; ++o) {
              for (int64_t tap = 0; tap < taps.count; ++tap) {
                products[tap] += value[o] * of_class[o * grouped.channel + taps.cells[tap] * grouped.step];
              }
            }
          } else {
            const T* of_class = rows + image * s.cells() * s.C + cls * outputs;
            kernels<T>().products(of_class, s.C, taps, outputs, value, products.data());
          }
          if (grad_mask) {
            T sum = 0;
            for (int64_t tap = 0; tap < taps.count; ++tap) {
              sum += taps.weights[tap] * products[tap];
            }
            grad_mask[s.part(k, cls, p, q)] += sum;
          }
          if (grad_offset) {
            T slope_y, slope_x;
            bins.slopes(products.data(), slope_y, slope_x);
            const T gamma = static_cast<T>(s.gamma) * factor;
            const int64_t at = s.offset(k, cls, p, q);
            grad_offset[at] += gamma * bins.region().x.size * slope_x;
            grad_offset[at + plane] += gamma * bins.region().y.size * slope_y;
          }
        }
      }
    }
  });
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> backward(
    const Shape& s, const Tensor& grad_any, const Tensor& input, const Arguments<T>& arguments,
    const std::optional<Tensor>& offset, const std::optional<Tensor>& mask, const Needs& needs) {
  const Tensor grad = Arguments<T>::contiguous(grad_any);
  const auto zeros_like = [](const std::optional<Tensor>& parts, bool needed) {
    const Tensor result = needed
        ? new_tensor<T>({parts->size(0), parts->size(1), parts->size(2), parts->size(3)})
        : new_tensor<T>({0});
    set_zero<T>(result);
    return result;
  };
  const Tensor grad_offset = zeros_like(offset, needs.offset), grad_mask = zeros_like(mask, needs.mask);
  if (needs.offset || needs.mask) {
    part_gradients<T>(
        s, grad, input, arguments, needs.offset ? data<T>(grad_offset) : nullptr,
        needs.mask ? data<T>(grad_mask) : nullptr);
  }
  const Tensor grad_input = !needs.input ? as_type(new_tensor<T>({0}), input.scalar_type())
      : s.group_count() == 1             ? rows_gradient<T>(s, grad, input, arguments)
                                         : groups_gradient<T>(s, grad, input, arguments);
  return {
      grad_input, as_type(grad_offset, offset ? offset->scalar_type() : input.scalar_type()),
      as_type(grad_mask, mask ? mask->scalar_type() : input.scalar_type())};
}

Tensor roi_average(
    const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset, const std::optional<Tensor>& mask,
    int64_t kind, const Sizes& output_size, double scale, int64_t samples, const Sizes& groups, double gamma) {
  const Shape s = shape_of(input, rois, offset, mask, kind, output_size, scale, samples, groups, gamma);
  return dispatch_computed("roi_average", input.scalar_type(), [&](auto type) {
    using T = decltype(type);
    return forward<T>(s, input, Arguments<T>(rois, offset, mask));
  });
}

std::tuple<Tensor, Tensor, Tensor> roi_average_backward(
    const Tensor& grad, const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
    const std::optional<Tensor>& mask, int64_t kind, const Sizes& output_size, double scale, int64_t samples,
    const Sizes& groups, double gamma, bool needs_input, bool needs_offset, bool needs_mask) {
  const Shape s = shape_of(input, rois, offset, mask, kind, output_size, scale, samples, groups, gamma);
  check_gradient(s, grad);
  const Needs needs{needs_input, needs_offset && offset.has_value(), needs_mask && mask.has_value()};
  return dispatch_computed("roi_average", input.scalar_type(), [&](auto type) {
    using T = decltype(type);
    return backward<T>(s, grad, input, Arguments<T>(rois, offset, mask), offset, mask, needs);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) {
  library.def(kForwardSchema);
  library.def(kBackwardSchema);
}

STABLE_TORCH_LIBRARY_IMPL(deformlab, CPU, library) {
  library.impl("roi_average", TORCH_BOX(&roi_average));
  library.impl("roi_average_backward", TORCH_BOX(&roi_average_backward));
}

}  // namespace
}  // namespace deformlab::roi_average
