// The kernels over sampling positions: one samples the columns; another one computes the gradients of offset, mask and
// input from the gradient of the columns.
//
// A chunk is a run of consecutive output pixels, numbered through the batch. Its columns have the shape (weight group,
// pixel, tap, channel of the group). A block first computes 128 sampling positions, one per thread, in shared memory.
// Then each row of threads processes one position at a time, and the threads of a row process neighbouring channels,
// which are adjacent in memory (NHWC).

#pragma once

#include "../../common/cuda/vector.h"
#include "../positions.h"

namespace deformlab::deform_conv2d {

constexpr int kThreads = 128;  // threads, and sampling positions, per block
constexpr int kBlocks = 8;     // minimum number of blocks per multiprocessor, to hide the latency of loads
constexpr int kWarp = 32;

template <typename scalar_t>
struct Sampling {
  using acc_t = accumulate_t<scalar_t>;
  ConvShape shape;
  const scalar_t* input;  // (N, H, W, C)
  const acc_t* offset;    // (N, 2·G·K, P, Q)
  const acc_t* mask;      // (N, G·K, P, Q) or null
  int weight_group_channels, offset_group_channels;
};

struct Chunk {
  int64_t begin, pixels;
};

// One sampling position, which all channels of its offset group share.
template <typename acc_t>
struct Point {
  BilinearPoint<acc_t> bilinear;
  bool inside;
  acc_t factor;             // the value of the mask, or 1
  int64_t image;            // index of the image's first value in (N, H, W, C)
  int64_t column;           // see first_column
  int first_channel;        // of the offset group
  int64_t offset_index, mask_index;
};

// Returns the index of a point's first value in the columns of its weight group. Points of a chunk are numbered in the
// order (pixel, tap, offset group).
template <typename scalar_t>
__device__ __forceinline__ int64_t first_column(const Sampling<scalar_t>& s, int64_t point) {
  return point / s.shape.G * s.weight_group_channels;
}

template <typename scalar_t>
__device__ __forceinline__ Point<accumulate_t<scalar_t>> point_at(
    const Sampling<scalar_t>& s, const Chunk& chunk, int64_t index) {
  const ConvShape& shape = s.shape;
  const int64_t g = index % shape.G, k = index / shape.G % shape.K(), row = index / (shape.G * shape.K());
  const int64_t pixel = chunk.begin + row, area = shape.P * shape.Q;
  const int64_t n = pixel / area, p = pixel % area / shape.Q, q = pixel % shape.Q;
  const auto tap = tap_position(shape, s.offset, n, p, q, g, k);
  Point<accumulate_t<scalar_t>> point{};
  point.inside = locate(shape.H, shape.W, shape.clamp, tap.y, tap.x, point.bilinear);
  point.factor = s.mask ? s.mask[tap.mask_index] : 1;
  point.image = n * shape.H * shape.W * shape.C;
  point.column = first_column(s, index);
  point.first_channel = static_cast<int>(g) * s.offset_group_channels;
  point.offset_index = tap.offset_index;
  point.mask_index = tap.mask_index;
  return point;
}

// Returns the index, in the columns of all weight groups, of one channel of the point whose first value is at `column`.
template <typename scalar_t>
__device__ __forceinline__ int64_t column_index(
    const Sampling<scalar_t>& s, const Chunk& chunk, int64_t column, int channel) {
  if (s.shape.groups == 1) {
    return column + channel;
  }
  const int group = channel / s.weight_group_channels;
  return group * chunk.pixels * s.shape.K() * s.weight_group_channels + column + channel % s.weight_group_channels;
}

// Computes the points of the block into shared memory. Returns how many there are; the last block may have fewer.
template <typename scalar_t>
__device__ __forceinline__ int locate_points(
    const Sampling<scalar_t>& s, const Chunk& chunk, Point<accumulate_t<scalar_t>>* points) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads;
  const int64_t count = chunk.pixels * s.shape.K() * s.shape.G - first;
  const int thread = threadIdx.y * blockDim.x + threadIdx.x;
  if (thread < count) {
    points[thread] = point_at(s, chunk, first + thread);
  }
  __syncthreads();
  return count < kThreads ? static_cast<int>(count) : kThreads;
}

template <int kVector, typename scalar_t>
__device__ __forceinline__ void load_cells(
    const Sampling<scalar_t>& s, const Point<accumulate_t<scalar_t>>& point, int channel,
    Vector<scalar_t, kVector> (&cells)[4]) {
  const scalar_t* image = s.input + point.image + channel;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int32_t cell = point.bilinear.cell[j];
    cells[j] = cell < 0 ? Vector<scalar_t, kVector>{} : load<kVector>(image + cell * s.shape.C);
  }
}

template <typename scalar_t, int kVector>
__global__ void __launch_bounds__(kThreads, kBlocks)
    sample_columns(const Sampling<scalar_t> s, const Chunk chunk, scalar_t* columns) {
  using acc_t = accumulate_t<scalar_t>;
  __shared__ Point<acc_t> points[kThreads];
  const int count = locate_points(s, chunk, points);
  for (int i = threadIdx.y; i < count; i += blockDim.y) {
    const Point<acc_t>& point = points[i];
    for (int c = threadIdx.x * kVector; c < s.offset_group_channels; c += blockDim.x * kVector) {
      const int channel = point.first_channel + c;
      acc_t sample[kVector] = {};
      if (point.inside) {
        Vector<scalar_t, kVector> cells[4];
        load_cells(s, point, channel, cells);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const acc_t weight = point.bilinear.weight[j] * point.factor;
#pragma unroll
          for (int v = 0; v < kVector; ++v) {
            sample[v] += weight * static_cast<acc_t>(cells[j].value[v]);
          }
        }
      }
      store<kVector>(columns + column_index(s, chunk, point.column, channel), sample);
    }
  }
}

// The results of sample_gradients. A gradient that is not needed is null.
template <typename acc_t>
struct SampleGradients {
  acc_t* input;   // (N, H, W, C), added to
  acc_t* offset;  // (N, 2·G·K, P, Q), overwritten
  acc_t* mask;    // (N, G·K, P, Q), overwritten
};

// The number of threads in a row is a power of two and at most a warp, so that shuffles can add up their sums.
template <typename scalar_t, int kVector>
__global__ void __launch_bounds__(kThreads, kBlocks) sample_gradients(
    const Sampling<scalar_t> s, const Chunk chunk, const scalar_t* grad_columns,
    const SampleGradients<accumulate_t<scalar_t>> gradients) {
  using acc_t = accumulate_t<scalar_t>;
  __shared__ Point<acc_t> points[kThreads];
  const int count = locate_points(s, chunk, points);
  const ConvShape& shape = s.shape;
  const bool reduces = gradients.offset || gradients.mask;
  for (int first = 0; first < count; first += blockDim.y) {
    const int i = first + threadIdx.y;
    const Point<acc_t>& point = points[i];
    const bool exists = i < count;  // threads without a point still take part in the shuffles
    acc_t sums[4] = {};
    if (exists && point.inside) {
      for (int c = threadIdx.x * kVector; c < s.offset_group_channels; c += blockDim.x * kVector) {
        const int channel = point.first_channel + c;
        const auto grad = load<kVector>(grad_columns + column_index(s, chunk, point.column, channel));
        if (reduces) {
          Vector<scalar_t, kVector> cells[4];
          load_cells(s, point, channel, cells);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int v = 0; v < kVector; ++v) {
              sums[j] += static_cast<acc_t>(grad.value[v]) * static_cast<acc_t>(cells[j].value[v]);
            }
          }
        }
        if (gradients.input) {
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const int32_t cell = point.bilinear.cell[j];
            if (cell >= 0) {
              const acc_t weight = point.bilinear.weight[j] * point.factor;
              acc_t scaled[kVector];
#pragma unroll
              for (int v = 0; v < kVector; ++v) {
                scaled[v] = weight * static_cast<acc_t>(grad.value[v]);
              }
              atomic_add(gradients.input + point.image + cell * shape.C + channel, scaled);
            }
          }
        }
      }
    }
    if (reduces) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        for (int distance = blockDim.x / 2; distance > 0; distance /= 2) {
          sums[j] += __shfl_xor_sync(0xffffffffu, sums[j], distance);
        }
      }
      if (exists && threadIdx.x == 0) {
        if (gradients.offset) {
          const BilinearPoint<acc_t>& at = point.bilinear;
          gradients.offset[point.offset_index] = point.inside ? point.factor * at.derivative_y(sums) : acc_t(0);
          gradients.offset[point.offset_index + shape.P * shape.Q] =
              point.inside ? point.factor * at.derivative_x(sums) : acc_t(0);
        }
        if (gradients.mask) {
          gradients.mask[point.mask_index] = point.inside ? point.bilinear.interpolate(sums) : acc_t(0);
        }
      }
    }
  }
}

// sum += term, element by element
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads, kBlocks)
    add_to(accumulate_t<scalar_t>* sum, const scalar_t* term, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < count) {
    sum[i] += static_cast<accumulate_t<scalar_t>>(term[i]);
  }
}

}  // namespace deformlab::deform_conv2d
