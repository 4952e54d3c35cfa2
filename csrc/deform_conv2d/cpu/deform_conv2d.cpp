// deform_conv2d on the CPU: the entry points of both passes, and the registration of the operator.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../../common/cpu/capability.h"
#include "../../common/cpu/layout.h"
#include "../../common/dispatch.h"
#include "../deform_conv2d.h"
#include "backward.h"
#include "bfloat16.h"
#include "forward.h"

namespace deformlab::deform_conv2d {
namespace {

// The arguments of both passes in the formats that the kernels read. Owns their memory.
template <typename scalar_t>
struct Operands {
  using acc_t = accumulate_t<scalar_t>;

  Operands(
      const ConvShape& s, const Tensor& input_any, const Tensor& offset_any, const Tensor& weight_any,
      const std::optional<Tensor>& mask_any)
      : input(in_either_format<scalar_t>(input_any)),
        weight(in_either_format<scalar_t>(weight_any)),
        offset(torch::stable::contiguous(as_type(offset_any, dtype_of<acc_t>()))) {
    if (mask_any) {
      mask = torch::stable::contiguous(as_type(*mask_any, dtype_of<acc_t>()));
    }
    positions = {s, data<acc_t>(offset), mask ? data<acc_t>(*mask) : nullptr};
  }

  Tensor input, weight, offset;
  std::optional<Tensor> mask;
  Positions<acc_t> positions;
};

template <typename acc_t>
std::vector<acc_t> values_of(const std::optional<Tensor>& bias, int64_t outputs) {
  std::vector<acc_t> values(outputs, acc_t(0));
  if (bias) {
    const Tensor typed = torch::stable::contiguous(as_type(*bias, dtype_of<acc_t>()));
    std::copy_n(data<acc_t>(typed), outputs, values.begin());
  }
  return values;
}

template <typename scalar_t>
Tensor forward(
    const ConvShape& s, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& bias, const std::optional<Tensor>& mask) {
  const Operands<scalar_t> operands(s, input, offset, weight, mask);
  const Planes<const scalar_t> inputs = planes_of<const scalar_t>(operands.input);
  const Planes<const scalar_t> filters = planes_of<const scalar_t>(operands.weight);
  const std::vector<accumulate_t<scalar_t>> biases = values_of<accumulate_t<scalar_t>>(bias, s.O);
  const Tensor output = new_tensor<scalar_t>({s.N, s.O, s.P, s.Q}, format_of(input));
  const Planes<scalar_t> outputs = planes_of<scalar_t>(output);
  if constexpr (std::is_same_v<scalar_t, BFloat16>) {
    BFloat16Tiles(operands.positions, inputs, filters).forward(biases.data(), outputs);
  } else {
    Forward<scalar_t>(operands.positions, inputs, filters, biases.data(), outputs).run();
  }
  return output;
}

template <typename scalar_t>
Gradients backward(
    const ConvShape& s, const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Needs& needs) {
  using acc_t = accumulate_t<scalar_t>;
  const Operands<scalar_t> operands(s, input, offset, weight, mask);
  const Planes<const scalar_t> inputs = planes_of<const scalar_t>(operands.input);
  const Planes<const scalar_t> filters = planes_of<const scalar_t>(operands.weight);
  const Tensor typed_grad = in_either_format<scalar_t>(grad);
  const Planes<const scalar_t> grads = planes_of<const scalar_t>(typed_grad);
  const auto empty = [] { return new_tensor<scalar_t>({0}); };
  const Gradients gradients{
      needs.input ? new_tensor<scalar_t>({s.N, s.C, s.H, s.W}, format_of(input)) : empty(),
      needs.offset ? new_tensor<acc_t>({s.N, 2 * s.G * s.K(), s.P, s.Q}) : empty(),
      needs.weight ? new_tensor<scalar_t>({s.O, s.C / s.groups, s.kernel_h, s.kernel_w}, format_of(weight)) : empty(),
      needs.mask ? new_tensor<acc_t>({s.N, s.G * s.K(), s.P, s.Q}) : empty(),
  };
  if (needs.offset) {
    set_zero<acc_t>(gradients.offset);
  }
  if (needs.mask) {
    set_zero<acc_t>(gradients.mask);
  }
  if constexpr (std::is_same_v<scalar_t, BFloat16>) {
    BFloat16Tiles(operands.positions, inputs, filters).backward(grads, needs, gradients);
  } else {
    Backward<scalar_t>(operands.positions, grads, inputs, filters, needs, gradients).run();
  }
  return gradients;
}

// Computes 16-bit floats in float32, except for bfloat16 on processors that multiply it faster.
template <typename Call>
auto dispatch(const ConvShape& s, ScalarType dtype, const Call& call) {
  if (dtype == ScalarType::BFloat16 && s.groups == 1 && multiplies_bfloat16()) {
    return call(BFloat16{});
  }
  return dispatch_computed("deform_conv2d", dtype, call);
}

Tensor deform_conv2d(
    const Tensor& input, const Tensor& offset, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation, clamp);
  check_bias(shape, bias);
  return dispatch(shape, input.scalar_type(), [&](auto scalar) {
    return as_type(
        forward<decltype(scalar)>(shape, input, offset, weight, bias, mask), input.scalar_type());
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) {
  const ConvShape shape = shape_of(input, offset, weight, mask, stride, padding, dilation, clamp);
  check_gradient(shape, grad);
  const Needs needs{needs_input, needs_offset, needs_weight, needs_mask && mask.has_value()};
  const Gradients gradients = dispatch(shape, input.scalar_type(), [&](auto scalar) {
    return backward<decltype(scalar)>(shape, grad, input, offset, weight, mask, needs);
  });
  return {
      as_type(gradients.input, input.scalar_type()), as_type(gradients.offset, offset.scalar_type()),
      as_type(gradients.weight, weight.scalar_type()),
      as_type(gradients.mask, mask ? mask->scalar_type() : input.scalar_type())};
}

// Derivatives and fake kernels are registered in Python.
STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) {
  library.def(kForwardSchema);
  library.def(kBackwardSchema);
}

STABLE_TORCH_LIBRARY_IMPL(deformlab, CPU, library) {
  library.impl("deform_conv2d", TORCH_BOX(&deform_conv2d));
  library.impl("deform_conv2d_backward", TORCH_BOX(&deform_conv2d_backward));
}

}  // namespace
}  // namespace deformlab::deform_conv2d
