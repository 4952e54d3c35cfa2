// deform_conv2d on a GPU, forward and backward.
//
// The output pixels of the whole batch are numbered consecutively and processed in chunks: the columns of a chunk are
// sampled, then multiplied by the weights, with one matrix product per weight group. The columns of a chunk stay in the
// L2 cache, and the full column matrix (K times the size of the input) is never stored.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <tuple>

#include "../../common/cuda/device.h"
#include "../../common/dispatch.h"
#include "../../common/tensors.h"
#include "../deform_conv2d.h"
#include "columns.cuh"
#include "gather.cuh"

namespace deformlab::deform_conv2d {
namespace {

template <typename scalar_t>
class Operator {
  using acc_t = accumulate_t<scalar_t>;

 public:
  Operator(
      const ConvShape& shape, const Tensor& input, const Tensor& offset, const Tensor& weight,
      const std::optional<Tensor>& mask)
      : shape_(shape),
        device_(input.get_device_index()),
        input_(channels_last(input)),
        offset_(torch::stable::contiguous(as_type(offset, dtype_of<acc_t>()))),
        weight_(as_matrix(channels_last(weight), shape.O, shape.K() * (shape.C / shape.groups))),
        row_size_(weight_.size(1)),
        group_outputs_(shape.O / shape.groups) {
    if (mask) {
      mask_ = torch::stable::contiguous(as_type(*mask, dtype_of<acc_t>()));
    }
    sampling_ = {
        shape, data<scalar_t>(input_), data<acc_t>(offset_), mask ? data<acc_t>(*mask_) : nullptr,
        static_cast<int>(shape.C / shape.groups), static_cast<int>(shape.C / shape.G)};
    vectorises_ = sampling_.weight_group_channels % kFullVector<scalar_t> == 0 &&
        sampling_.offset_group_channels % kFullVector<scalar_t> == 0 &&
        reinterpret_cast<uintptr_t>(sampling_.input) % 16 == 0;
    const int64_t pixel_bytes = shape.C * shape.K() * static_cast<int64_t>(sizeof(scalar_t));
    // The other half of the cache is left for the input and the products.
    const int64_t most = std::max(device_.min_rows(), device_.cache_bytes() / 2 / pixel_bytes);
    const int64_t chunks = std::max<int64_t>(1, divide_up(shape.pixels(), most));
    chunk_pixels_ = divide_up(shape.pixels(), chunks);
    columns_ = new_tensor(input, dtype_of<scalar_t>(), {shape.groups * chunk_pixels_, row_size_});
  }

  Tensor forward(const Tensor& input, const std::optional<Tensor>& bias) {
    const Tensor output = new_tensor(input, dtype_of<scalar_t>(), {shape_.N, shape_.P, shape_.Q, shape_.O});
    const Tensor outputs = as_matrix(output, shape_.pixels(), shape_.O);
    for_each_chunk([&](const Chunk& chunk) {
      sample(chunk);
      for (int64_t group = 0; group < shape_.groups; ++group) {
        const int64_t first = group * group_outputs_;
        std::optional<Tensor> group_bias;
        if (bias) {
          Tensor all = *bias;
          group_bias = torch::stable::narrow(all, 0, first, group_outputs_);
        }
        linear(group_columns(chunk, group), rows_of(weight_, first, group_outputs_), group_bias,
               columns_of(rows_of(outputs, chunk.begin, chunk.pixels), first, group_outputs_));
      }
    });
    return in_format_of(input, output);
  }

  std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
      const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
      const std::optional<Tensor>& mask, const Needs& needs, bool deterministic) {
    const ConvShape& s = shape_;
    const Tensor grads = as_matrix(channels_last(grad), s.pixels(), s.O);
    const auto none = [&](const Tensor& like) { return new_tensor(like, like.scalar_type(), {0}); };
    const auto sums = [&](std::initializer_list<int64_t> sizes) { return new_tensor(input, dtype_of<acc_t>(), sizes); };
    std::optional<Tensor> grad_input, grad_offset, grad_weight, grad_mask, product;
    if (needs.input) {
      grad_input = sums({s.N, s.H, s.W, s.C});
      torch::stable::zero_(*grad_input);
    }
    if (needs.offset) {
      grad_offset = sums({s.N, 2 * s.G * s.K(), s.P, s.Q});
    }
    if (needs.weight) {
      grad_weight = sums({s.O, s.kernel_h, s.kernel_w, s.C / s.groups});
      torch::stable::zero_(*grad_weight);
      product = new_tensor(input, dtype_of<scalar_t>(), {group_outputs_, row_size_});
    }
    if (needs.mask) {
      grad_mask = sums({s.N, s.G * s.K(), s.P, s.Q});
    }
    const SampleGradients<acc_t> gradients{
        needs.input && !deterministic ? data<acc_t>(*grad_input) : nullptr,
        needs.offset ? data<acc_t>(*grad_offset) : nullptr,
        needs.mask ? data<acc_t>(*grad_mask) : nullptr};

    for_each_chunk([&](const Chunk& chunk) {
      const Tensor chunk_grads = rows_of(grads, chunk.begin, chunk.pixels);
      const auto group_grads = [&](int64_t group) {
        return columns_of(chunk_grads, group * group_outputs_, group_outputs_);
      };
      // The same memory first contains the gradient of the columns, then the columns.
      if (needs.columns()) {
        for (int64_t group = 0; group < s.groups; ++group) {
          multiply(group_grads(group), rows_of(weight_, group * group_outputs_, group_outputs_),
                   group_columns(chunk, group));
        }
        if (gradients.input || gradients.offset || gradients.mask) {
          launch<sample_gradients<scalar_t, kFullVector<scalar_t>>, sample_gradients<scalar_t, 1>>(
              points_in(chunk), kThreads, sampling_, chunk, data<scalar_t>(columns_), gradients);
        }
        if (needs.input && deterministic) {
          gather_input(chunk, *grad_input);
        }
      }
      if (needs.weight) {
        sample(chunk);
        for (int64_t group = 0; group < s.groups; ++group) {
          Tensor rows = group_grads(group);
          multiply(torch::stable::transpose(rows, 0, 1), group_columns(chunk, group), *product);
          const int64_t count = product->numel();
          device_.launch(
              add_to<scalar_t>, divide_up(count, kThreads), dim3(kThreads),
              data<acc_t>(*grad_weight) + group * count, data<scalar_t>(*product), count);
        }
      }
    });
    return {
        needs.input ? in_format_of(input, *grad_input) : none(input),
        needs.offset ? as_type(*grad_offset, offset.scalar_type()) : none(offset),
        needs.weight ? in_format_of(weight, *grad_weight) : none(weight),
        needs.mask ? as_type(*grad_mask, mask->scalar_type()) : none(mask ? *mask : input)};
  }

 private:
  template <typename Visit>
  void for_each_chunk(const Visit& visit) const {
    for (int64_t begin = 0; begin < shape_.pixels(); begin += chunk_pixels_) {
      visit(Chunk{begin, std::min(chunk_pixels_, shape_.pixels() - begin)});
    }
  }

  Tensor group_columns(const Chunk& chunk, int64_t group) const {
    return rows_of(columns_, group * chunk.pixels, chunk.pixels);
  }

  void sample(const Chunk& chunk) const {
    launch<sample_columns<scalar_t, kFullVector<scalar_t>>, sample_columns<scalar_t, 1>>(
        points_in(chunk), kThreads, sampling_, chunk, data<scalar_t>(columns_));
  }

  // Adds the chunk's contribution to the gradient of the input. `columns_` contains the gradient of the columns.
  void gather_input(const Chunk& chunk, const Tensor& grad_input) const {
    const int64_t points = points_in(chunk);
    const Tensor cells = new_tensor(columns_, ScalarType::Long, {4 * points});
    const Tensor weights = new_tensor(columns_, dtype_of<acc_t>(), {4 * points});
    device_.launch(
        list_touched_cells<scalar_t>, divide_up(points, kThreads), dim3(kThreads), sampling_, chunk,
        data<int64_t>(cells), data<acc_t>(weights));
    const auto [sorted, touches] = sort_stably(cells);
    launch<gather_input_gradient<scalar_t, kFullVector<scalar_t>>, gather_input_gradient<scalar_t, 1>>(
        4 * points, kThreads / lanes(), sampling_, chunk, data<scalar_t>(columns_), data<int64_t>(sorted),
        data<int64_t>(touches), data<acc_t>(weights), data<acc_t>(grad_input));
  }

  int64_t points_in(const Chunk& chunk) const { return chunk.pixels * shape_.K() * shape_.G; }

  // Returns how many threads share the channels of one sampling position.
  int lanes() const {
    const int accesses = sampling_.offset_group_channels / (vectorises_ ? kFullVector<scalar_t> : 1);
    int lanes = 1;
    while (lanes < accesses && lanes < kWarp) {
      lanes *= 2;
    }
    return lanes;
  }

  // Launches the first kernel if the channels can be accessed as full vectors, otherwise the second.
  template <auto kVectors, auto kSingles, typename... Arguments>
  void launch(int64_t items, int items_per_block, Arguments... arguments) const {
    const unsigned columns = lanes();
    device_.launch(
        vectorises_ ? kVectors : kSingles, divide_up(items, items_per_block), dim3(columns, kThreads / columns),
        arguments...);
  }

  ConvShape shape_;
  DeviceScope device_;
  Tensor input_, offset_, weight_;
  std::optional<Tensor> mask_;
  int64_t row_size_, group_outputs_, chunk_pixels_;
  bool vectorises_;
  Sampling<scalar_t> sampling_;
  Tensor columns_;
};

std::tuple<Tensor, Tensor, Tensor, Tensor> run_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, const Needs& needs, bool deterministic) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation, clamp);
  check_gradient(shape, grad);
  return dispatch_stored("deform_conv2d", input.scalar_type(), [&](auto scalar) {
    return Operator<decltype(scalar)>(shape, input, offset, weight, mask)
        .backward(grad, input, offset, weight, mask, needs, deterministic);
  });
}

Tensor deform_conv2d(
    const Tensor& input, const Tensor& offset, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation, clamp);
  check_bias(shape, bias);
  return dispatch_stored("deform_conv2d", input.scalar_type(), [&](auto scalar) {
    return Operator<decltype(scalar)>(shape, input, offset, weight, mask).forward(input, bias);
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) {
  return run_backward(
      grad, input, offset, weight, mask, stride, padding, dilation, clamp,
      {needs_input, needs_offset, needs_weight, needs_mask && mask.has_value()}, false);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward_deterministic(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) {
  return run_backward(
      grad, input, offset, weight, mask, stride, padding, dilation, clamp,
      {needs_input, needs_offset, needs_weight, needs_mask && mask.has_value()}, true);
}

// The CPU library registers the other schemas.
STABLE_TORCH_LIBRARY_FRAGMENT(DEFORMLAB_LIBRARY, library) {
  library.def(kDeterministicBackwardSchema);
}

STABLE_TORCH_LIBRARY_IMPL(DEFORMLAB_LIBRARY, DEFORMLAB_DEVICE, library) {
  library.impl("deform_conv2d", TORCH_BOX(&deform_conv2d));
  library.impl("deform_conv2d_backward", TORCH_BOX(&deform_conv2d_backward));
  library.impl("deform_conv2d_backward.deterministic", TORCH_BOX(&deform_conv2d_backward_deterministic));
}

}  // namespace
}  // namespace deformlab::deform_conv2d
