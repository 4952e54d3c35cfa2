// Tensors as the GPU operators see them: channels at the end, matrices of rows.

#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <initializer_list>

namespace deformlab::cuda {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename scalar_t>
constexpr ScalarType kDtype = torch::headeronly::CppTypeToScalarType<scalar_t>::value;

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

inline Tensor as_type(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

inline Tensor new_tensor(const Tensor& like, ScalarType dtype, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, dtype);
}

// (N, C, H, W) seen as (N, H, W, C), and back
inline Tensor channels_to_end(const Tensor& tensor) {
  Tensor swapped = torch::stable::transpose(const_cast<Tensor&>(tensor), 1, 2);
  return torch::stable::transpose(swapped, 2, 3);
}
inline Tensor channels_to_front(const Tensor& tensor) {
  Tensor swapped = torch::stable::transpose(const_cast<Tensor&>(tensor), 2, 3);
  return torch::stable::transpose(swapped, 1, 2);
}

// A copy whose memory is (N, H, W, C), or the tensor itself where that is so already.
inline Tensor channels_last(const Tensor& tensor) {
  return torch::stable::contiguous(channels_to_end(tensor));
}

inline Tensor as_matrix(const Tensor& tensor, int64_t rows, int64_t columns) {
  return torch::stable::view(tensor, std::array<int64_t, 2>{rows, columns});
}

// (N, H, W, C) in the type and memory format of what it belongs to: channels_last stays so, all else is contiguous.
inline Tensor in_format_of(const Tensor& like, const Tensor& nhwc) {
  const Tensor result = channels_to_front(as_type(nhwc, like.scalar_type()));
  const bool last = !like.is_contiguous() && channels_to_end(like).is_contiguous();
  return last ? result : torch::stable::contiguous(result);
}

inline Tensor rows_of(const Tensor& matrix, int64_t begin, int64_t count) {
  return torch::stable::narrow(const_cast<Tensor&>(matrix), 0, begin, count);
}
inline Tensor columns_of(const Tensor& matrix, int64_t begin, int64_t count) {
  return torch::stable::narrow(const_cast<Tensor&>(matrix), 1, begin, count);
}

}  // namespace deformlab::cuda
