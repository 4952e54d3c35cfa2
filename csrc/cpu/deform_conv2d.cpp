// deform_conv2d on the CPU, forward and backward.
//
// Output pixels of the whole batch are numbered through and worked on in tiles: sample the tile's columns in
// parallel, then one matrix product per weight group. The columns of a tile stay in the processor's cache, and the
// full column matrix (K times the input) never exists.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <vector>

#include "../shape.h"
#include "columns.h"
#include "direct_float.h"
#include "layout.h"
#include "matmul.h"

namespace deformlab {
namespace {

// A tile's columns stay in a last-level cache, and its product is large enough to run at full speed.
constexpr int64_t kTileBytes = 19'000'000;
constexpr int64_t kMaxTilePixels = 1024;
constexpr int64_t kMinTilePixels = 32;
constexpr int64_t kPixelGrain = 8;

using Sizes = std::vector<int64_t>;

template <typename scalar_t>
constexpr ScalarType dtype_of() {
  if constexpr (std::is_same_v<scalar_t, float>) {
    return ScalarType::Float;
  } else if constexpr (std::is_same_v<scalar_t, double>) {
    return ScalarType::Double;
  } else {
    return ScalarType::BFloat16;
  }
}

Tensor as_type(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

template <typename scalar_t>
Tensor new_tensor(std::initializer_list<int64_t> sizes, MemoryFormat format = MemoryFormat::Contiguous) {
  return torch::stable::empty(
      {sizes.begin(), sizes.size()}, dtype_of<scalar_t>(), std::nullopt,
      torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt, format);
}

template <typename scalar_t>
void set_zero(const Tensor& tensor) {
  scalar_t* values = data<scalar_t>(tensor);
  torch::stable::parallel_for(0, tensor.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<void*>(values + begin), 0, (end - begin) * sizeof(scalar_t));
  });
}

// The arguments as the kernels read them, kept alive.
template <typename scalar_t>
struct Operands {
  using acc_t = accumulate_t<scalar_t>;

  Operands(const ConvShape& shape, const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask)
      : zeros(shape.C, scalar_t{}),
        input_nhwc(channels_last(input)),
        offset_acc(torch::stable::contiguous(as_type(offset, dtype_of<acc_t>()))) {
    if (mask) {
      mask_acc = torch::stable::contiguous(as_type(*mask, dtype_of<acc_t>()));
    }
    sampling = {
        shape, data<scalar_t>(input_nhwc), data<acc_t>(offset_acc), mask ? data<acc_t>(*mask_acc) : nullptr,
        zeros.data()};
  }

  // A tensor whose memory is (N, H, W, C).
  static Tensor channels_last(const Tensor& tensor) {
    const Tensor typed = as_type(tensor, dtype_of<scalar_t>());
    if (is_channels_last(typed)) {
      return typed;
    }
    const Tensor source = torch::stable::contiguous(typed);
    const int64_t N = source.size(0), C = source.size(1), area = source.size(2) * source.size(3);
    const Tensor result = new_tensor<scalar_t>({N, area, C});
    transpose_matrices(data<scalar_t>(source), data<scalar_t>(result), N, C, area);
    return result;
  }

  std::vector<scalar_t> zeros;
  Tensor input_nhwc, offset_acc;
  std::optional<Tensor> mask_acc;
  Sampling<scalar_t> sampling;
};

struct Tiles {
  Tiles(const ConvShape& shape, int64_t element_size) : pixels(shape.pixels()) {
    const int64_t fitting = kTileBytes / (shape.C * shape.K() * element_size);
    const int64_t most = std::clamp(fitting, kMinTilePixels, kMaxTilePixels);
    const int64_t count = std::max<int64_t>(1, (pixels + most - 1) / most);
    size = (pixels + count - 1) / count;
  }

  // Calls visit(first pixel, one past the last).
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (int64_t begin = 0; begin < pixels; begin += size) {
      visit(begin, std::min(begin + size, pixels));
    }
  }

  int64_t pixels, size;
};

// Columns of one tile, weight groups one after the other.
template <typename scalar_t>
struct Columns {
  Columns(const ConvShape& shape, int64_t pixels)
      : row_size(shape.C / shape.groups * shape.K()), memory(new_tensor<scalar_t>({shape.groups, pixels, row_size})) {
    for (int64_t group = 0; group < shape.groups; ++group) {
      groups.push_back(data<scalar_t>(memory) + group * pixels * row_size);
    }
  }

  void sample(const Sampling<scalar_t>& sampling, int64_t begin, int64_t end) {
    torch::stable::parallel_for(begin, end, kPixelGrain, [&](int64_t from, int64_t to) {
      sample_columns(sampling, groups.data(), begin, from, to);
    });
  }

  Matrix matrix(int64_t group, int64_t pixels) const {
    return {groups[group], pixels, row_size, row_size, dtype_of<scalar_t>()};
  }

  int64_t row_size;
  Tensor memory;
  std::vector<scalar_t*> groups;
};

// (O, taps, channels of a group): the order of a column row.
template <typename scalar_t>
Tensor weight_matrix(const Tensor& weight) {
  return Operands<scalar_t>::channels_last(weight);
}

// Writes one weight group's rows of output pixels [begin, end), with their biases, to channels `first` and following
// of the output.
template <typename scalar_t>
void store_product(
    const ConvShape& s, const scalar_t* rows, int64_t begin, int64_t end, int64_t first, int64_t channels,
    const accumulate_t<scalar_t>* bias, scalar_t* output, bool channels_last) {
  constexpr int64_t kPixels = 16;
  const int64_t area = s.P * s.Q;
  torch::stable::parallel_for(0, (end - begin + kPixels - 1) / kPixels, 1, [&](int64_t from, int64_t to) {
    const int64_t last_pixel = std::min(begin + to * kPixels, end);
    for (int64_t pixel = begin + from * kPixels, next; pixel < last_pixel; pixel = next) {
      const int64_t n = pixel / area;
      next = std::min({pixel + kPixels, (n + 1) * area, last_pixel});
      const scalar_t* source = rows + (pixel - begin) * channels;
      if (channels_last) {
        scalar_t* target = output + pixel * s.O + first;
        for (int64_t row = 0; row < next - pixel; ++row) {
          for (int64_t o = 0; o < channels; ++o) {
            store(target[row * s.O + o], load(source[row * channels + o]) + bias[o]);
          }
        }
      } else {
        transpose_block(
            source, channels, output + (n * s.O + first) * area + pixel - n * area, area, next - pixel, channels,
            [&](auto value, int64_t o) { return value + bias[o]; });
      }
    }
  });
}

template <typename scalar_t>
Tensor forward(
    const ConvShape& s, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& bias, const std::optional<Tensor>& mask) {
  using acc_t = accumulate_t<scalar_t>;
  const Operands<scalar_t> operands(s, input, offset, mask);
  std::vector<acc_t> biases(s.O, acc_t(0));
  if (bias) {
    const Tensor values = torch::stable::contiguous(as_type(*bias, dtype_of<acc_t>()));
    std::copy_n(data<acc_t>(values), s.O, biases.begin());
  }
  const bool last = is_channels_last(input);
  const Tensor output =
      new_tensor<scalar_t>({s.N, s.O, s.P, s.Q}, last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  scalar_t* const target = data<scalar_t>(output);
  const int64_t group_outputs = s.O / s.groups;
  if constexpr (std::is_same_v<scalar_t, float>) {
    if (s.pixels() > 0) {
      const Tensor typed = as_type(weight, ScalarType::Float);
      const bool weight_last = is_channels_last(typed);
      const Tensor filters = weight_last ? typed : torch::stable::contiguous(typed);
      forward_direct(operands.sampling, data<float>(filters), weight_last, biases.data(), target, last);
    }
    return output;
  }

  const Tensor weights = weight_matrix<scalar_t>(weight);
  const Tiles tiles(s, sizeof(scalar_t));
  Columns<scalar_t> columns(s, tiles.size);
  tiles.for_each([&](int64_t begin, int64_t end) {
    columns.sample(operands.sampling, begin, end);
    for (int64_t group = 0; group < s.groups; ++group) {
      const Matrix filters{
          data<scalar_t>(weights) + group * group_outputs * columns.row_size, group_outputs, columns.row_size,
          columns.row_size, dtype_of<scalar_t>()};
      const Tensor product = times_transposed(columns.matrix(group, end - begin), filters);
      const scalar_t* const values = data<scalar_t>(product);
      const int64_t first = group * group_outputs;
      store_product(s, values, begin, end, first, group_outputs, biases.data() + first, target, last);
    }
  });
  return output;
}

// sum += term, or sum = term for the first one
template <typename scalar_t, typename acc_t>
void add_to(acc_t* sum, const scalar_t* term, int64_t count, bool first) {
  torch::stable::parallel_for(0, count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      sum[i] = first ? acc_t(load(term[i])) : sum[i] + load(term[i]);
    }
  });
}

// A gradient that was accumulated with channels last, in the type and memory format of what it belongs to.
template <typename scalar_t>
Tensor in_format_of(const Tensor& like, const Tensor& gradient) {
  using acc_t = accumulate_t<scalar_t>;
  if (is_channels_last(like)) {
    return as_type(gradient, dtype_of<scalar_t>());
  }
  const int64_t N = like.size(0), C = like.size(1), H = like.size(2), W = like.size(3);
  const Tensor result = new_tensor<scalar_t>({N, C, H, W});
  transpose_matrices(data<acc_t>(gradient), data<scalar_t>(result), N, H * W, C);
  return result;
}

struct Needs {
  bool input, offset, weight, mask;
};

template <typename scalar_t>
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const ConvShape& s, const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Needs& needs) {
  using acc_t = accumulate_t<scalar_t>;
  const Operands<scalar_t> operands(s, input, offset, mask);
  const Tensor grads = Operands<scalar_t>::channels_last(grad);
  const auto none = [] { return new_tensor<scalar_t>({0}); };  // outputs must not share memory
  const Tensor grad_input = needs.input ? new_tensor<acc_t>({s.N, s.C, s.H, s.W}, MemoryFormat::ChannelsLast) : none();
  const Tensor grad_weight = needs.weight
      ? new_tensor<acc_t>({s.O, s.C / s.groups, s.kernel_h, s.kernel_w}, MemoryFormat::ChannelsLast)
      : none();
  const Tensor grad_offset = needs.offset ? new_tensor<acc_t>({s.N, 2 * s.G * s.K(), s.P, s.Q}) : none();
  const Tensor grad_mask = needs.mask ? new_tensor<acc_t>({s.N, s.G * s.K(), s.P, s.Q}) : none();
  if (needs.input) {
    set_zero<acc_t>(grad_input);
  }
  if (needs.weight && s.pixels() == 0) {
    set_zero<acc_t>(grad_weight);
  }

  const Tiles tiles(s, sizeof(scalar_t));
  const int64_t row_size = s.C / s.groups * s.K(), group_outputs = s.O / s.groups;
  const bool needs_columns_gradient = needs.input || needs.offset || needs.mask;
  // (group, tap and channel, output channel): the transposed filters
  const Tensor filters = new_tensor<scalar_t>({s.groups, row_size, group_outputs});
  if (needs_columns_gradient) {
    const Tensor weights = weight_matrix<scalar_t>(weight);
    transpose_matrices(data<scalar_t>(weights), data<scalar_t>(filters), s.groups, group_outputs, row_size);
  }
  std::optional<Columns<scalar_t>> columns;
  if (needs.weight) {
    columns.emplace(s, tiles.size);
  }

  tiles.for_each([&](int64_t begin, int64_t end) {
    const auto tile_grads = [&](int64_t group) -> Matrix {
      return {
          data<scalar_t>(grads) + begin * s.O + group * group_outputs, end - begin, group_outputs, s.O,
          dtype_of<scalar_t>()};
    };
    if (needs_columns_gradient) {
      std::vector<Tensor> products;
      std::vector<const scalar_t*> grad_columns;
      for (int64_t group = 0; group < s.groups; ++group) {
        products.push_back(times_transposed(
            tile_grads(group),
            {data<scalar_t>(filters) + group * row_size * group_outputs, row_size, group_outputs, group_outputs,
             dtype_of<scalar_t>()}));
        grad_columns.push_back(data<scalar_t>(products.back()));
      }
      if (needs.offset || needs.mask) {
        torch::stable::parallel_for(begin, end, kPixelGrain, [&](int64_t from, int64_t to) {
          reduce_offset_gradient(
              operands.sampling, grad_columns.data(), needs.offset ? data<acc_t>(grad_offset) : nullptr,
              needs.mask ? data<acc_t>(grad_mask) : nullptr, begin, from, to);
        });
      }
      if (needs.input) {
        // Each thread owns a slice of the channels: no atomics, and the same sums however many threads there are.
        const int64_t threads = torch::stable::get_num_threads();
        const int64_t slice = std::max<int64_t>(16, (s.C + threads - 1) / threads);
        torch::stable::parallel_for(0, (s.C + slice - 1) / slice, 1, [&](int64_t from, int64_t to) {
          scatter_input_gradient(
              operands.sampling, grad_columns.data(), data<acc_t>(grad_input), begin, begin, end, from * slice,
              std::min(to * slice, s.C));
        });
      }
    }
    if (needs.weight) {
      columns->sample(operands.sampling, begin, end);
      for (int64_t group = 0; group < s.groups; ++group) {
        const Tensor product = transposed_times(tile_grads(group), columns->matrix(group, end - begin));
        const int64_t count = group_outputs * row_size;
        add_to(data<acc_t>(grad_weight) + group * count, data<scalar_t>(product), count, begin == 0);
      }
    }
  });
  return {
      needs.input ? in_format_of<scalar_t>(input, grad_input) : none(),
      needs.offset ? grad_offset : none(),
      needs.weight ? in_format_of<scalar_t>(weight, grad_weight) : none(),
      needs.mask ? grad_mask : none(),
  };
}

// Runs call.template operator()<scalar_t>() in the type that the products are computed in: 16-bit floats of the
// older kind have no fast products on CPUs, so they go by way of float32.
template <typename Call>
auto dispatch(ScalarType dtype, const Call& call) {
  switch (dtype) {
    case ScalarType::Double:
      return call(double{});
    case ScalarType::BFloat16:
      return call(BFloat16{});
    default:
      STD_TORCH_CHECK(
          dtype == ScalarType::Float || dtype == ScalarType::Half,
          "deform_conv2d: input must be float64, float32, bfloat16 or float16");
      return call(float{});
  }
}

Tensor deform_conv2d(
    const Tensor& input, const Tensor& offset, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation);
  STD_TORCH_CHECK(!bias || bias->numel() == shape.O, "deform_conv2d: bias must have one value per output channel");
  return dispatch(input.scalar_type(), [&](auto scalar) {
    return as_type(
        forward<decltype(scalar)>(shape, input, offset, weight, bias, mask), input.scalar_type());
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation);
  STD_TORCH_CHECK(
      grad.dim() == 4 && grad.size(0) == shape.N && grad.size(1) == shape.O && grad.size(2) == shape.P &&
          grad.size(3) == shape.Q,
      "deform_conv2d_backward: the gradient has not the output's shape");
  const Needs needs{needs_input, needs_offset, needs_weight, needs_mask && mask.has_value()};
  auto [grad_input, grad_offset, grad_weight, grad_mask] = dispatch(input.scalar_type(), [&](auto scalar) {
    return backward<decltype(scalar)>(shape, grad, input, offset, weight, mask, needs);
  });
  return {
      as_type(grad_input, input.scalar_type()), as_type(grad_offset, offset.scalar_type()),
      as_type(grad_weight, weight.scalar_type()),
      as_type(grad_mask, mask ? mask->scalar_type() : input.scalar_type())};
}

}  // namespace
}  // namespace deformlab

STABLE_TORCH_LIBRARY_IMPL(deformlab, CPU, library) {
  library.impl("deform_conv2d", TORCH_BOX(&deformlab::deform_conv2d));
  library.impl("deform_conv2d_backward", TORCH_BOX(&deformlab::deform_conv2d_backward));
}
