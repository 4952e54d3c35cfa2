// roi_pool (maximum) on the GPU. One thread computes one output.
//
// The gradient is added with atomics, in any order: under torch.use_deterministic_algorithms, Python runs the reference
// instead.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <limits>
#include <tuple>

#include "../../common/cuda/device.h"
#include "../../common/dispatch.h"
#include "../roi_pool.h"

namespace deformlab::roi_pool {
namespace {

using roi_average::Cells;
using roi_average::cells_of;
using roi_average::Region;
using roi_average::region_of;
using roi_average::Shape;

constexpr int kThreads = 256;

template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) take_maximum(
    const Shape s, int64_t count, const scalar_t* input, const accumulate_t<scalar_t>* rois, scalar_t* output,
    int32_t* argmax) {
  using acc_t = accumulate_t<scalar_t>;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) {
    return;
  }
  const int64_t q = index % s.Q, p = index / s.Q % s.P, c = index / s.bins() % s.C, k = index / s.bins() / s.C;
  const Region<acc_t> region = region_of<acc_t>(s, rois + 5 * k);
  const Cells y = cells_of(s.kind, region.y, p, s.H), x = cells_of(s.kind, region.x, q, s.W);
  const scalar_t* plane = input + (region.image * s.C + c) * s.cells();
  acc_t largest = 0;
  int32_t found = -1;
  if (region.legal) {
    for (int64_t row = y.first; row < y.last; ++row) {
      for (int64_t column = x.first; column < x.last; ++column) {
        const int32_t cell = static_cast<int32_t>(row * s.W + column);
        const acc_t value = static_cast<acc_t>(plane[cell]);
        // NaN wins, as in PyTorch's max pooling.
        if (found < 0 || value > largest || value != value) {
          largest = value, found = cell;
        }
      }
    }
  }
  output[index] = static_cast<scalar_t>(largest);
  argmax[index] = found;
}

template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) add_gradient(
    int64_t count, int64_t images, int64_t channels, int64_t cells, int64_t bins, const scalar_t* grad,
    const accumulate_t<scalar_t>* rois, const int32_t* argmax, accumulate_t<scalar_t>* grad_input) {
  using acc_t = accumulate_t<scalar_t>;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) {
    return;
  }
  const int64_t c = index / bins % channels;
  const acc_t image = rois[5 * (index / bins / channels)];
  const int32_t cell = argmax[index];
  if (cell >= 0 && cell < cells && image >= 0 && image < static_cast<acc_t>(images)) {
    atomicAdd(
        grad_input + (static_cast<int64_t>(image) * channels + c) * cells + cell, static_cast<acc_t>(grad[index]));
  }
}

std::tuple<Tensor, Tensor> roi_pool(
    const Tensor& input_any, const Tensor& rois_any, const Sizes& output_size, double scale) {
  const Shape s = shape_of(input_any, rois_any, output_size, scale);
  return dispatch_stored("roi_pool", input_any.scalar_type(), [&](auto scalar) {
    using scalar_t = decltype(scalar);
    using acc_t = accumulate_t<scalar_t>;
    const DeviceScope device(input_any.get_device_index());
    const Tensor input = torch::stable::contiguous(input_any);
    const Tensor rois = torch::stable::contiguous(as_type(rois_any, dtype_of<acc_t>()));
    const Tensor output = new_tensor(input, input.scalar_type(), {s.K, s.C, s.P, s.Q});
    const Tensor argmax = new_tensor(input, ScalarType::Int, {s.K, s.C, s.P, s.Q});
    const int64_t count = s.K * s.C * s.bins();
    if (count > 0) {
      device.launch(
          take_maximum<scalar_t>, divide_up(count, kThreads), dim3{kThreads}, s, count,
          static_cast<const scalar_t*>(data<scalar_t>(input)), static_cast<const acc_t*>(data<acc_t>(rois)),
          data<scalar_t>(output), data<int32_t>(argmax));
    }
    return std::tuple<Tensor, Tensor>(output, argmax);
  });
}

Tensor roi_pool_backward(
    const Tensor& grad_any, const Tensor& rois_any, const Tensor& argmax_any, const Sizes& size) {
  check_backward(grad_any, rois_any, argmax_any, size);
  return dispatch_stored("roi_pool", grad_any.scalar_type(), [&](auto scalar) {
    using scalar_t = decltype(scalar);
    using acc_t = accumulate_t<scalar_t>;
    const DeviceScope device(grad_any.get_device_index());
    const Tensor grad = torch::stable::contiguous(grad_any), argmax = torch::stable::contiguous(argmax_any);
    const Tensor rois = torch::stable::contiguous(as_type(rois_any, dtype_of<acc_t>()));
    Tensor result = new_tensor(grad, dtype_of<acc_t>(), {size[0], size[1], size[2], size[3]});
    torch::stable::zero_(result);
    const int64_t count = grad.numel();
    if (count > 0) {
      device.launch(
          add_gradient<scalar_t>, divide_up(count, kThreads), dim3{kThreads}, count, size[0], size[1],
          size[2] * size[3], grad.size(2) * grad.size(3), static_cast<const scalar_t*>(data<scalar_t>(grad)),
          static_cast<const acc_t*>(data<acc_t>(rois)), static_cast<const int32_t*>(data<int32_t>(argmax)),
          data<acc_t>(result));
    }
    return as_type(result, grad.scalar_type());
  });
}

STABLE_TORCH_LIBRARY_IMPL(DEFORMLAB_LIBRARY, DEFORMLAB_DEVICE, library) {
  library.impl("roi_pool", TORCH_BOX(&roi_pool));
  library.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace
}  // namespace deformlab::roi_pool
