// deform_conv2d for tensors on a GPU; the schemas are in ../library.cpp.

#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

namespace deformlab::cuda {

using torch::stable::Tensor;
using Sizes = std::vector<int64_t>;

Tensor deform_conv2d(
    const Tensor& input, const Tensor& offset, const Tensor& weight, const std::optional<Tensor>& bias,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp);

std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask);

// The same with sums in an order that does not change from run to run; slower.
std::tuple<Tensor, Tensor, Tensor, Tensor> deform_conv2d_backward_deterministic(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Sizes& stride, const Sizes& padding, const Sizes& dilation,
    bool clamp, bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask);

}  // namespace deformlab::cuda
