// What PyTorch's own operators do for ours, called through its dispatcher: they keep to its stream and its settings
// (float32 products use TF32 where torch.set_float32_matmul_precision allows it).

#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <optional>
#include <utility>

namespace deformlab {

// result = a b
inline void multiply(
    const torch::stable::Tensor& a, const torch::stable::Tensor& b, const torch::stable::Tensor& result) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a), from(b), from(result)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<torch::stable::Tensor>(stack[0]);  // takes over the handle that came back
}

// result = a b transposed + bias, the bias in the product's own pass
inline void linear(
    const torch::stable::Tensor& a, const torch::stable::Tensor& b, const std::optional<torch::stable::Tensor>& bias,
    const torch::stable::Tensor& result) {
  using torch::stable::detail::from;
  std::array<StableIValue, 4> stack{from(a), from(b), from(bias), from(result)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::linear", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<torch::stable::Tensor>(stack[0]);
}

// The values in order, equal ones as they came, and the index that each had.
inline std::pair<torch::stable::Tensor, torch::stable::Tensor> sort_stably(const torch::stable::Tensor& values) {
  using torch::stable::Tensor;
  using torch::stable::detail::from, torch::stable::detail::to;
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(int64_t{0}), from(false)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

}  // namespace deformlab
