// deform_conv2d on the CPU: its entry points.
//
// Output pixels of the whole batch are numbered through and worked on in tiles: sample the tile's columns in
// parallel, then one matrix product per weight group. The columns of a tile stay in the processor's cache, and the
// full column matrix (K times the input) never exists.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>
#include <vector>

#include "../shape.h"
#include "backward.h"
#include "forward.h"

namespace deformlab {
namespace {

using Sizes = std::vector<int64_t>;

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
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation, clamp);
  STD_TORCH_CHECK(!bias || bias->numel() == shape.O, "deform_conv2d: bias must have one value per output channel");
  return dispatch(input.scalar_type(), [&](auto scalar) {
    return as_type(
        forward<decltype(scalar)>(shape, input, offset, weight, bias, mask), input.scalar_type());
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation, clamp);
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
