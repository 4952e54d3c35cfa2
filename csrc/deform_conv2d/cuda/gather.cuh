// The gradient of the input without atomics and in a fixed order, for torch.use_deterministic_algorithms.
//
// Each sample of a chunk touches four cells. The touches are sorted by cell, so that the touches of one cell are
// adjacent. One row of threads then adds them up, in the order of the points.

#pragma once

#include "columns.cuh"

namespace deformlab::deform_conv2d {

constexpr int64_t kNoCell = INT64_MAX;  // sorts behind every cell

// Lists touch 4·point + j for each point and its four cells j: the cell, numbered through the batch and the offset
// groups, and the weight of the sample there.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads, kBlocks) list_touched_cells(
    const Sampling<scalar_t> s, const Chunk chunk, int64_t* cells, accumulate_t<scalar_t>* weights) {
  const ConvShape& shape = s.shape;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= chunk.pixels * shape.K() * shape.G) {
    return;
  }
  const auto point = point_at(s, chunk, index);
  const int64_t first_cell = point.image / shape.C, g = index % shape.G;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int32_t cell = point.bilinear.cell[j];
    const bool exists = point.inside && cell >= 0;
    cells[4 * index + j] = exists ? (first_cell + cell) * shape.G + g : kNoCell;
    weights[4 * index + j] = point.bilinear.weight[j] * point.factor;
  }
}

// Adds up the touches of each cell. `cells` is sorted, and `touches` has the index of the touch of each element.
template <typename scalar_t, int kVector>
__global__ void __launch_bounds__(kThreads, kBlocks) gather_input_gradient(
    const Sampling<scalar_t> s, const Chunk chunk, const scalar_t* grad_columns, const int64_t* cells,
    const int64_t* touches, const accumulate_t<scalar_t>* weights, accumulate_t<scalar_t>* grad_input) {
  using acc_t = accumulate_t<scalar_t>;
  const ConvShape& shape = s.shape;
  const int64_t count = 4 * chunk.pixels * shape.K() * shape.G;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  if (first >= count) {
    return;
  }
  const int64_t cell = cells[first];
  if (cell == kNoCell || (first > 0 && cells[first - 1] == cell)) {
    return;
  }
  const int first_channel = static_cast<int>(cell % shape.G) * s.offset_group_channels;
  for (int c = threadIdx.x * kVector; c < s.offset_group_channels; c += blockDim.x * kVector) {
    const int channel = first_channel + c;
    acc_t* target = grad_input + cell / shape.G * shape.C + channel;
    Vector<acc_t, kVector> sum = load<kVector>(target);
    for (int64_t i = first; i < count && cells[i] == cell; ++i) {
      const int64_t touch = touches[i], column = first_column(s, touch / 4);
      const auto grad = load<kVector>(grad_columns + column_index(s, chunk, column, channel));
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        sum.value[v] += weights[touch] * static_cast<acc_t>(grad.value[v]);
      }
    }
    store<kVector>(target, sum.value);
  }
}

}  // namespace deformlab::deform_conv2d
