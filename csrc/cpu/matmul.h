// Matrix products through PyTorch's dispatcher: the processor's best library (AMX, AVX-512, ...) without linking one.

#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>

#include "tensors.h"

namespace deformlab {

// A matrix somewhere in memory.
struct Matrix {
  const BFloat16* data;
  int64_t rows, columns;
  int64_t row_stride, column_stride = 1;

  Matrix transposed() const { return {data, columns, rows, column_stride, row_stride}; }

  Tensor tensor() const {
    return torch::stable::from_blob(
        const_cast<BFloat16*>(data), std::array{rows, columns}, std::array{row_stride, column_stride},
        torch::stable::Device(torch::headeronly::DeviceType::CPU), ScalarType::BFloat16);
  }
};

// c = a x b
inline void multiply_with_library(const Matrix& a, const Matrix& b, const Matrix& c) {
  using torch::stable::detail::from;
  std::array<StableIValue, 3> stack{from(a.tensor()), from(b.tensor()), from(c.tensor())};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  torch::stable::detail::to<Tensor>(stack[0]);  // takes the reference to `c` that the call returns
}

}  // namespace deformlab
