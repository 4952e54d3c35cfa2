// The three passes over sampling positions: sample the columns, reduce the offset gradients, scatter the input
// gradient. Each is vectorised over channels, which lie next to each other (NHWC).
//
// A column row belongs to one output pixel and one weight group and holds [tap][channel of the group], so that one
// matrix product per weight group finishes the convolution. Rows of a group follow each other; `columns[group]`
// points at the first.

#pragma once

#include "../sampling.h"
#include "vector.h"

namespace deformlab {

template <typename scalar_t>
struct Sampling {
  using acc_t = accumulate_t<scalar_t>;
  ConvShape shape;
  const scalar_t* input;  // (N, H, W, C)
  const acc_t* offset;    // (N, 2·G·K, P, Q)
  const acc_t* mask;      // (N, G·K, P, Q) or null
  const scalar_t* zeros;  // C zeros: stands in for a cell that is not there
};

// Calls visit(channel, count, group, column) for each run of channels of [begin, end) that is contiguous in a row.
template <typename Visit>
DEFORMLAB_ALWAYS_INLINE void for_each_run(
    const ConvShape& shape, int64_t k, int64_t begin, int64_t end, const Visit& visit) {
  const int64_t group_channels = shape.C / shape.groups;
  for (int64_t channel = begin; channel < end;) {
    const int64_t group = channel / group_channels, group_end = (group + 1) * group_channels;
    const int64_t next = group_end < end ? group_end : end;
    visit(channel, next - channel, group, k * group_channels + channel - group * group_channels);
    channel = next;
  }
}

// Calls visit(pixel, n, g, k, tap) for every sampling position of output pixels [begin, end).
template <typename acc_t, typename Visit>
DEFORMLAB_ALWAYS_INLINE void for_each_tap(
    const ConvShape& shape, const acc_t* offset, int64_t begin, int64_t end, const Visit& visit) {
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int64_t n = pixel / (shape.P * shape.Q);
    const int64_t p = pixel / shape.Q % shape.P;
    const int64_t q = pixel % shape.Q;
    for (int64_t k = 0; k < shape.K(); ++k) {
      for (int64_t g = 0; g < shape.G; ++g) {
        visit(pixel, n, g, k, tap_position(shape, offset, n, p, q, g, k));
      }
    }
  }
}

template <typename scalar_t>
DEFORMLAB_ALWAYS_INLINE void cells_at(
    const Sampling<scalar_t>& s, int64_t n, const BilinearPoint<accumulate_t<scalar_t>>& point, int64_t channel,
    const scalar_t* cells[4]) {
  const scalar_t* image = s.input + n * s.shape.H * s.shape.W * s.shape.C + channel;
  for (int j = 0; j < 4; ++j) {
    cells[j] = point.cell[j] < 0 ? s.zeros : image + point.cell[j] * s.shape.C;
  }
}

// Fills the column rows of output pixels [begin, end); the first row belongs to pixel `tile`.
template <typename scalar_t>
DEFORMLAB_ALWAYS_INLINE void sample_columns_impl(
    const Sampling<scalar_t>& s, scalar_t* const* columns, int64_t tile, int64_t begin, int64_t end) {
  using acc_t = accumulate_t<scalar_t>;
  const ConvShape shape = s.shape;
  const int64_t row_size = shape.C / shape.groups * shape.K(), group_size = shape.C / shape.G;
  for_each_tap(shape, s.offset, begin, end, [&](int64_t pixel, int64_t n, int64_t g, int64_t k, auto tap) DEFORMLAB_INLINE_LAMBDA {
    BilinearPoint<acc_t> point{};
    const bool inside = locate(shape, tap.y, tap.x, point);
    if (inside && s.mask) {
      for (int j = 0; j < 4; ++j) {
        point.weight[j] *= s.mask[tap.mask_index];
      }
    }
    for_each_run(shape, k, g * group_size, (g + 1) * group_size, [&](int64_t channel, int64_t count, int64_t group, int64_t column) DEFORMLAB_INLINE_LAMBDA {
      scalar_t* target = columns[group] + (pixel - tile) * row_size + column;
      if (!inside) {
        std::memset(target, 0, count * sizeof(scalar_t));
        return;
      }
      const scalar_t* cells[4];
      cells_at(s, n, point, channel, cells);
      blend(target, cells, point.weight, count);
    });
  });
}

// Reads the rows of output pixels [begin, end). Either gradient may be null.
template <typename scalar_t>
DEFORMLAB_ALWAYS_INLINE void reduce_offset_gradient_impl(
    const Sampling<scalar_t>& s, const scalar_t* const* grad_columns, accumulate_t<scalar_t>* grad_offset,
    accumulate_t<scalar_t>* grad_mask, int64_t tile, int64_t begin, int64_t end) {
  using acc_t = accumulate_t<scalar_t>;
  const ConvShape shape = s.shape;
  const int64_t row_size = shape.C / shape.groups * shape.K(), group_size = shape.C / shape.G;
  for_each_tap(shape, s.offset, begin, end, [&](int64_t pixel, int64_t n, int64_t g, int64_t k, auto tap) DEFORMLAB_INLINE_LAMBDA {
    acc_t sums[4] = {0, 0, 0, 0};
    BilinearPoint<acc_t> point{};
    const bool inside = locate(shape, tap.y, tap.x, point);
    if (inside) {
      for_each_run(
          shape, k, g * group_size, (g + 1) * group_size, [&](int64_t channel, int64_t count, int64_t group, int64_t column) DEFORMLAB_INLINE_LAMBDA {
            const scalar_t* cells[4];
            cells_at(s, n, point, channel, cells);
            dot(sums, grad_columns[group] + (pixel - tile) * row_size + column, cells, count);
          });
    }
    if (grad_offset) {
      const acc_t factor = s.mask ? s.mask[tap.mask_index] : acc_t(1);
      grad_offset[tap.offset_index] = inside ? factor * point.derivative_y(sums) : acc_t(0);
      grad_offset[tap.offset_index + shape.P * shape.Q] = inside ? factor * point.derivative_x(sums) : acc_t(0);
    }
    if (grad_mask) {
      grad_mask[tap.mask_index] = inside ? point.interpolate(sums) : acc_t(0);
    }
  });
}

// Adds to channels [first, last) of grad_input (N, H, W, C). Each element gets its terms in the order of the
// pixels whoever owns its channel, so the sum does not depend on the number of threads.
template <typename scalar_t>
DEFORMLAB_ALWAYS_INLINE void scatter_input_gradient_impl(
    const Sampling<scalar_t>& s, const scalar_t* const* grad_columns, accumulate_t<scalar_t>* grad_input, int64_t tile,
    int64_t begin, int64_t end, int64_t first, int64_t last) {
  using acc_t = accumulate_t<scalar_t>;
  const ConvShape shape = s.shape;
  const int64_t row_size = shape.C / shape.groups * shape.K(), group_size = shape.C / shape.G;
  for_each_tap(shape, s.offset, begin, end, [&](int64_t pixel, int64_t n, int64_t g, int64_t k, auto tap) DEFORMLAB_INLINE_LAMBDA {
    const int64_t from = g * group_size > first ? g * group_size : first;
    const int64_t to = (g + 1) * group_size < last ? (g + 1) * group_size : last;
    BilinearPoint<acc_t> point{};
    if (from >= to || !locate(shape, tap.y, tap.x, point)) {
      return;
    }
    const acc_t factor = s.mask ? s.mask[tap.mask_index] : acc_t(1);
    acc_t* image = grad_input + n * shape.H * shape.W * shape.C;
    for_each_run(shape, k, from, to, [&](int64_t channel, int64_t count, int64_t group, int64_t column) DEFORMLAB_INLINE_LAMBDA {
      const scalar_t* source = grad_columns[group] + (pixel - tile) * row_size + column;
      for (int j = 0; j < 4; ++j) {
        if (point.cell[j] >= 0) {
          add_scaled(image + point.cell[j] * shape.C + channel, source, factor * point.weight[j], count);
        }
      }
    });
  });
}

// Samples one tap: row (pixel - begin) of `target` gets the C channels in their own order.
template <typename scalar_t>
DEFORMLAB_ALWAYS_INLINE void sample_tap_impl(
    const Sampling<scalar_t>& s, int64_t k, scalar_t* target, int64_t row_stride, int64_t begin, int64_t end) {
  using acc_t = accumulate_t<scalar_t>;
  const ConvShape shape = s.shape;
  const int64_t group_size = shape.C / shape.G;
  for (int64_t pixel = begin; pixel < end; ++pixel) {
    const int64_t n = pixel / (shape.P * shape.Q), p = pixel / shape.Q % shape.P, q = pixel % shape.Q;
    for (int64_t g = 0; g < shape.G; ++g) {
      const auto tap = tap_position(shape, s.offset, n, p, q, g, k);
      scalar_t* channels = target + (pixel - begin) * row_stride + g * group_size;
      BilinearPoint<acc_t> point{};
      if (!locate(shape, tap.y, tap.x, point)) {
        std::memset(channels, 0, group_size * sizeof(scalar_t));
        continue;
      }
      if (s.mask) {
        for (int j = 0; j < 4; ++j) {
          point.weight[j] *= s.mask[tap.mask_index];
        }
      }
      const scalar_t* cells[4];
      cells_at(s, n, point, g * group_size, cells);
      blend(channels, cells, point.weight, group_size);
    }
  }
}

DEFORMLAB_VECTORISED void sample_tap(
    const Sampling<float>& s, int64_t k, float* target, int64_t row_stride, int64_t begin, int64_t end) {
  sample_tap_impl<float>(s, k, target, row_stride, begin, end);
}

// Vector versions are made of plain functions only, so each type gets its own.
#define DEFORMLAB_DEFINE_PASSES(scalar_t)                                                                     \
  DEFORMLAB_VECTORISED void sample_columns(                                                                   \
      const Sampling<scalar_t>& s, scalar_t* const* columns, int64_t tile, int64_t begin, int64_t end) {                           \
    sample_columns_impl<scalar_t>(s, columns, tile, begin, end);                                                    \
  }                                                                                                           \
  DEFORMLAB_VECTORISED void reduce_offset_gradient(                                                           \
      const Sampling<scalar_t>& s, const scalar_t* const* grad_columns, accumulate_t<scalar_t>* grad_offset,         \
      accumulate_t<scalar_t>* grad_mask, int64_t tile, int64_t begin, int64_t end) {                                        \
    reduce_offset_gradient_impl<scalar_t>(s, grad_columns, grad_offset, grad_mask, tile, begin, end);               \
  }                                                                                                           \
  DEFORMLAB_VECTORISED void scatter_input_gradient(                                                           \
      const Sampling<scalar_t>& s, const scalar_t* const* grad_columns, accumulate_t<scalar_t>* grad_input,          \
      int64_t tile, int64_t begin, int64_t end, int64_t first, int64_t last) {                                              \
    scatter_input_gradient_impl<scalar_t>(s, grad_columns, grad_input, tile, begin, end, first, last);              \
  }

DEFORMLAB_DEFINE_PASSES(float)
DEFORMLAB_DEFINE_PASSES(double)
DEFORMLAB_DEFINE_PASSES(BFloat16)
#undef DEFORMLAB_DEFINE_PASSES

}  // namespace deformlab
