// PyTorch's tensors as the kernels read and write them.

#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstring>
#include <optional>
#include <type_traits>

#include "layout.h"

namespace deformlab {

using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename scalar_t>
constexpr ScalarType dtype_of() {
  if constexpr (std::is_same_v<scalar_t, float>) {
    return ScalarType::Float;
  } else if constexpr (std::is_same_v<scalar_t, double>) {
    return ScalarType::Double;
  } else {
    return ScalarType::BFloat16;
  }
}

inline Tensor as_type(const Tensor& tensor, ScalarType dtype) {
  return tensor.scalar_type() == dtype ? tensor : torch::stable::to(tensor, dtype);
}

template <typename T>
T* data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

template <typename scalar_t>
Tensor new_tensor(std::initializer_list<int64_t> sizes, MemoryFormat format = MemoryFormat::Contiguous) {
  return torch::stable::empty(
      {sizes.begin(), sizes.size()}, dtype_of<scalar_t>(), std::nullopt,
      torch::stable::Device(torch::headeronly::DeviceType::CPU), std::nullopt, format);
}

template <typename scalar_t>
void set_zero(const Tensor& tensor) {
  scalar_t* values = data<scalar_t>(tensor);
  torch::stable::parallel_for(0, tensor.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<void*>(values + begin), 0, (end - begin) * sizeof(scalar_t));
  });
}

// The tensor as `scalar_t` in one of the two memory formats.
template <typename scalar_t>
Tensor in_either_format(const Tensor& tensor) {
  const Tensor typed = as_type(tensor, dtype_of<scalar_t>());
  return is_channels_last(typed) ? typed : torch::stable::contiguous(typed);
}

// Of a tensor in either format; a kernel's taps are a weight's area.
template <typename T>
Planes<T> planes_of(const Tensor& tensor) {
  return {data<T>(tensor), tensor.size(1), tensor.size(2) * tensor.size(3), is_channels_last(tensor)};
}

inline MemoryFormat format_of(const Tensor& tensor) {
  return is_channels_last(tensor) ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

}  // namespace deformlab
