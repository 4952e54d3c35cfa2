// Moves between PyTorch's two memory formats and the kernels' one: channels last.

#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>

#include "vector.h"

namespace deformlab {

// True where (N, C, H, W) lies in memory as (N, H, W, C) and not also as it is written.
inline bool is_channels_last(const torch::stable::Tensor& tensor) {
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

// target[column * target_stride + row] = value(source[row * source_stride + column * source_step], column)
//
// Goes through a small buffer so that each cache line on either side is touched once: rows of an image are often a
// power of two apart, and a column of them would fall into one set of the cache.
template <typename source_t, typename target_t, typename Value>
DEFORMLAB_ALWAYS_INLINE void transpose_block(
    const source_t* source, int64_t source_stride, target_t* target, int64_t target_stride, int64_t rows,
    int64_t columns, const Value& value, int64_t source_step = 1) {
  constexpr int64_t kBlock = 16;
  target_t buffer[kBlock][kBlock];
  for (int64_t first_row = 0; first_row < rows; first_row += kBlock) {
    const int64_t row_count = std::min(kBlock, rows - first_row);
    for (int64_t first_column = 0; first_column < columns; first_column += kBlock) {
      const int64_t column_count = std::min(kBlock, columns - first_column);
      for (int64_t row = 0; row < row_count; ++row) {
        const source_t* from = source + (first_row + row) * source_stride + first_column * source_step;
        for (int64_t column = 0; column < column_count; ++column) {
          store(buffer[column][row], value(load(from[column * source_step]), first_column + column));
        }
      }
      for (int64_t column = 0; column < column_count; ++column) {
        std::copy_n(buffer[column], row_count, target + (first_column + column) * target_stride + first_row);
      }
    }
  }
}

// target (batch, columns, rows) = source (batch, rows, columns) with the last two dimensions exchanged.
template <typename source_t, typename target_t>
void transpose_matrices(const source_t* source, target_t* target, int64_t batch, int64_t rows, int64_t columns) {
  constexpr int64_t kRows = 16;
  const int64_t blocks = (rows + kRows - 1) / kRows;
  torch::stable::parallel_for(0, batch * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t matrix = item / blocks * rows * columns, first = item % blocks * kRows;
      transpose_block(
          source + matrix + first * columns, columns, target + matrix + first, rows,
          std::min(kRows, rows - first), columns, [](auto value, int64_t) { return value; });
    }
  });
}

}  // namespace deformlab
