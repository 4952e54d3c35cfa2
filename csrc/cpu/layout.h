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

// target (batch, columns, rows) = source (batch, rows, columns) with the last two dimensions exchanged.
template <typename source_t, typename target_t>
void transpose_matrices(const source_t* source, target_t* target, int64_t batch, int64_t rows, int64_t columns) {
  constexpr int64_t kBlock = 32;  // two blocks of float64 fit into any first-level cache
  const int64_t blocks = (rows + kBlock - 1) / kBlock;
  torch::stable::parallel_for(0, batch * blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const source_t* from = source + item / blocks * rows * columns;
      target_t* to = target + item / blocks * rows * columns;
      const int64_t first_row = item % blocks * kBlock, last_row = std::min(first_row + kBlock, rows);
      for (int64_t first_column = 0; first_column < columns; first_column += kBlock) {
        const int64_t last_column = std::min(first_column + kBlock, columns);
        for (int64_t column = first_column; column < last_column; ++column) {
          for (int64_t row = first_row; row < last_row; ++row) {
            store(to[column * rows + row], load(from[row * columns + column]));
          }
        }
      }
    }
  });
}

}  // namespace deformlab
