// Helper functions for PyTorch's tensors: types, memory formats, and views as matrices.
//
// Operators accept (N, C, H, W) in two memory formats, contiguous and channels_last, and keep the format of their
// input.

#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <initializer_list>
#include <optional>
#include <type_traits>

#include "numbers.h"

namespace deformlab {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename scalar_t>
constexpr ScalarType dtype_of() {
  if constexpr (std::is_same_v<scalar_t, BFloat16>) {
    return ScalarType::BFloat16;
  } else {
    return torch::headeronly::CppTypeToScalarType<scalar_t>::value;
  }
}

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

inline Tensor as_type(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

// Returns an uninitialised tensor on the CPU.
template <typename scalar_t>
Tensor new_tensor(std::initializer_list<int64_t> sizes, MemoryFormat format = MemoryFormat::Contiguous) {
  return torch::stable::empty(
      {sizes.begin(), sizes.size()}, dtype_of<scalar_t>(), std::nullopt,
      torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt, format);
}

// Returns an uninitialised tensor on the device of `like`.
inline Tensor new_tensor(const Tensor& like, ScalarType dtype, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, dtype);
}

// Returns whether (N, C, H, W) is stored as (N, H, W, C). False for a tensor that is also contiguous.
inline bool is_channels_last(const Tensor& tensor) {
  if (tensor.is_contiguous()) {
    return false;
  }
  int64_t expected = 1;
  for (const int64_t dim : {1, 3, 2, 0}) {
    if (tensor.size(dim) != 1) {
      if (tensor.stride(dim) != expected) {
        return false;
      }
      expected *= tensor.size(dim);
    }
  }
  return true;
}

inline MemoryFormat format_of(const Tensor& tensor) {
  return is_channels_last(tensor) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

// Returns the tensor with elements of type `scalar_t`, in one of the two memory formats.
template <typename scalar_t>
Tensor in_either_format(const Tensor& tensor) {
  const Tensor typed = as_type(tensor, dtype_of<scalar_t>());
  return is_channels_last(typed) ? typed : torch::stable::contiguous(typed);
}

// View (N, C, H, W) as (N, H, W, C), and the reverse.
inline Tensor channels_to_end(const Tensor& tensor) {
  Tensor swapped = torch::stable::transpose(const_cast<Tensor&>(tensor), 1, 2);
  return torch::stable::transpose(swapped, 2, 3);
}
inline Tensor channels_to_front(const Tensor& tensor) {
  Tensor swapped = torch::stable::transpose(const_cast<Tensor&>(tensor), 2, 3);
  return torch::stable::transpose(swapped, 1, 2);
}

// Returns (N, C, H, W) as contiguous (N, H, W, C): a view if the tensor is channels_last, otherwise a copy.
inline Tensor channels_last(const Tensor& tensor) {
  return torch::stable::contiguous(channels_to_end(tensor));
}

// Returns contiguous (N, H, W, C) as (N, C, H, W) in the type and memory format of `like`.
inline Tensor in_format_of(const Tensor& like, const Tensor& nhwc) {
  const Tensor result = channels_to_front(as_type(nhwc, like.scalar_type()));
  return is_channels_last(like) ? result : torch::stable::contiguous(result);
}

inline Tensor as_matrix(const Tensor& tensor, int64_t rows, int64_t columns) {
  return torch::stable::view(tensor, std::array<int64_t, 2>{rows, columns});
}
inline Tensor rows_of(const Tensor& matrix, int64_t begin, int64_t count) {
  return torch::stable::narrow(const_cast<Tensor&>(matrix), 0, begin, count);
}
inline Tensor columns_of(const Tensor& matrix, int64_t begin, int64_t count) {
  return torch::stable::narrow(const_cast<Tensor&>(matrix), 1, begin, count);
}

}  // namespace deformlab
