// Matrix products through PyTorch's dispatcher: the processor's best library (AMX, AVX-512, ...) without linking one.

#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>

#include "tensors.h"

namespace deformlab {


inline Tensor view_of(
    const void* data, std::initializer_list<int64_t> sizes, std::initializer_list<int64_t> strides,
    ScalarType dtype) {
  return torch::stable::from_blob(
      const_cast<void*>(data), {sizes.begin(), sizes.size()}, {strides.begin(), strides.size()},
      torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype);
}

// A row-major matrix somewhere in memory.
struct Matrix {
  const void* data;
  int64_t rows, columns, stride;
  ScalarType dtype;

  Tensor tensor() const { return view_of(data, {rows, columns}, {stride, 1}, dtype); }
};

// MKL takes half of an AMD processor's vector width in float32; oneDNN takes all of it, and PyTorch reaches it by a
// 1x1 convolution. The dilation changes nothing for one tap but keeps PyTorch from choosing another library.
#if defined(__x86_64__)
constexpr bool kProductByConvolution = true;
#else
constexpr bool kProductByConvolution = false;
#endif

inline Tensor convolution_1x1(const Tensor& image, const Tensor& weight) {
  using torch::stable::detail::from;
  const std::array<int64_t, 2> one{1, 1}, zero{0, 0}, two{2, 2};
  const auto list = [](const std::array<int64_t, 2>& pair) {
    return from(torch::headeronly::IntHeaderOnlyArrayRef(pair.data(), pair.size()));
  };
  std::array<StableIValue, 9> stack{
      from(image), from(weight), from(std::nullopt), list(one), list(zero), list(two),
      from(false), list(zero),   from(int64_t{1})};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::convolution", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

inline Tensor checked(const Tensor& result, ScalarType dtype) {
  STD_TORCH_CHECK(
      result.scalar_type() == dtype, "deform_conv2d: a matrix product changed its type; switch autocast off");
  return result;
}

// a (M, R) times b (N, R) transposed; the result's memory is row-major (M, N).
inline Tensor times_transposed(const Matrix& a, const Matrix& b) {
  if (kProductByConvolution && a.dtype == ScalarType::Float) {
    const Tensor image = view_of(a.data, {1, a.columns, 1, a.rows}, {a.stride * a.rows, 1, a.stride * a.rows, a.stride}, a.dtype);
    const Tensor weight = view_of(b.data, {b.rows, b.columns, 1, 1}, {b.stride, 1, 1, 1}, b.dtype);
    return torch::stable::contiguous(
        checked(convolution_1x1(image, weight), a.dtype), MemoryFormat::ChannelsLast);
  }
  Tensor b_tensor = b.tensor();
  return torch::stable::contiguous(
      checked(torch::stable::matmul(a.tensor(), torch::stable::transpose(b_tensor, 0, 1)), a.dtype));
}

// a (R, M) transposed times b (R, N); the result's memory is row-major (M, N).
inline Tensor transposed_times(const Matrix& a, const Matrix& b) {
  Tensor a_tensor = a.tensor();
  const Tensor a_transposed = torch::stable::transpose(a_tensor, 0, 1);
  if (kProductByConvolution && a.dtype == ScalarType::Float) {
    const Tensor image = view_of(b.data, {1, b.rows, 1, b.columns}, {b.rows * b.stride, b.stride, b.stride, 1}, b.dtype);
    const Tensor weight = torch::stable::reshape(
        torch::stable::contiguous(a_transposed), std::array<int64_t, 4>{a.columns, a.rows, 1, 1});
    return torch::stable::contiguous(checked(convolution_1x1(image, weight), a.dtype));
  }
  return torch::stable::contiguous(checked(torch::stable::matmul(a_transposed, b.tensor()), a.dtype));
}

}  // namespace deformlab
