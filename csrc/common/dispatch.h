// Chooses kernels by dtype, and calls PyTorch's own operators through its dispatcher. PyTorch's operators use the best
// library for the device, PyTorch's current stream and its settings (such as TF32, if
// torch.set_float32_matmul_precision allows it).

#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include <array>
#include <optional>
#include <utility>

#include "tensors.h"

namespace deformlab {

// Calls call(scalar_t{}), where scalar_t is the type that tensors of `dtype` store.
template <typename Call>
auto dispatch_stored(const char* name, ScalarType dtype, const Call& call) {
  switch (dtype) {
    case ScalarType::Double:
      return call(double{});
    case ScalarType::Float:
      return call(float{});
    case ScalarType::Half:
      return call(c10::Half{});
    default:
      STD_TORCH_CHECK(
          dtype == ScalarType::BFloat16, name, ": input must be float64, float32, bfloat16 or float16");
      return call(c10::BFloat16{});
  }
}

// Calls call(acc_t{}), where acc_t is the type used to compute with `dtype`. For kernels that convert 16-bit floats to
// float32 and back.
template <typename Call>
auto dispatch_computed(const char* name, ScalarType dtype, const Call& call) {
  if (dtype == ScalarType::Double) {
    return call(double{});
  }
  STD_TORCH_CHECK(
      dtype == ScalarType::Float || dtype == ScalarType::Half || dtype == ScalarType::BFloat16, name,
      ": input must be float64, float32, bfloat16 or float16");
  return call(float{});
}

// result = a b
inline void multiply(const Tensor& a, const Tensor& b, const Tensor& result) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a), from(b), from(result)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // takes ownership of the handle that the call returns
}

// result = a transposed(b) + bias in one pass
inline void linear(const Tensor& a, const Tensor& b, const std::optional<Tensor>& bias, const Tensor& result) {
  using torch::stable::detail::from;
  std::array<StableIValue, 4> stack{from(a), from(b), from(bias), from(result)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::linear", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);
}

// Returns the sorted values and the original index of each. Equal values keep their order. NaN counts as the greatest
// value.
inline std::pair<Tensor, Tensor> sort_stably(const Tensor& values, bool descending = false) {
  using torch::stable::detail::from, torch::stable::detail::to;
  std::array<StableIValue, 4> stack{from(values), from(std::optional<bool>(true)), from(int64_t{0}), from(descending)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::sort", "stable", stack.data(), TORCH_ABI_VERSION));
  return {to<Tensor>(stack[0]), to<Tensor>(stack[1])};
}

// Returns the values where `mask` is true. On a GPU, waits until their number is known.
inline Tensor select(const Tensor& values, const Tensor& mask) {
  using torch::stable::detail::from, torch::stable::detail::to;
  std::array<StableIValue, 2> stack{from(values), from(mask)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::masked_select", "", stack.data(), TORCH_ABI_VERSION));
  return to<Tensor>(stack[0]);
}

}  // namespace deformlab
