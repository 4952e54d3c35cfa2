// Copies between PyTorch's two memory formats and rows of channels, on which the CPU kernels work.

#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "../tensors.h"

namespace deformlab {

// target[column * target_stride + row] = source[row * source_stride + column]
//
// The copy goes through a small buffer, so that each cache line of source and target is accessed only once. Rows of an
// image are often a power of two apart; without the buffer, the elements of a column would compete for one cache set.
template <typename source_t, typename target_t>
void transpose_block(
    const source_t* source, int64_t source_stride, target_t* target, int64_t target_stride, int64_t rows,
    int64_t columns) {
  constexpr int64_t kBlock = 16;
  target_t buffer[kBlock][kBlock];
  const auto move = [&](int64_t first_row, int64_t first_column, auto row_count, auto column_count) {
    for (int64_t row = 0; row < row_count; ++row) {
      const source_t* from = source + (first_row + row) * source_stride + first_column;
      for (int64_t column = 0; column < column_count; ++column) {
        store(&buffer[column][row], load(from + column));
      }
    }
    for (int64_t column = 0; column < column_count; ++column) {
      std::memcpy(
          target + (first_column + column) * target_stride + first_row, buffer[column], row_count * sizeof(target_t));
    }
  };
  for (int64_t row = 0; row < rows; row += kBlock) {
    for (int64_t column = 0; column < columns; column += kBlock) {
      const int64_t row_count = std::min(kBlock, rows - row), column_count = std::min(kBlock, columns - column);
      if (row_count == kBlock && column_count == kBlock) {
        using Whole = std::integral_constant<int64_t, kBlock>;  // a count known at compile time
        move(row, column, Whole{}, Whole{});
      } else {
        move(row, column, row_count, column_count);
      }
    }
  }
}

// A (N, C, area) tensor in either memory format. Its pixels are numbered consecutively through the batch.
template <typename T>
struct Planes {
  T* data;
  int64_t C, area;
  bool channels_last;
};

// Returns the planes of a 4-D tensor in either memory format. For a weight, the taps take the place of the pixels.
template <typename T>
Planes<T> planes_of(const Tensor& tensor) {
  return {data<T>(tensor), tensor.size(1), tensor.size(2) * tensor.size(3), is_channels_last(tensor)};
}

// Splits the pixels [begin, end) at image boundaries and calls visit(first pixel, count, image) for each part.
template <typename Visit>
void for_each_image(int64_t area, int64_t begin, int64_t end, const Visit& visit) {
  for (int64_t pixel = begin, next; pixel < end; pixel = next) {
    const int64_t n = pixel / area;
    next = std::min((n + 1) * area, end);
    visit(pixel, next - pixel, n);
  }
}

// rows[pixel - begin][c - first] = planes[pixel][c] for pixels [begin, end) and channels [first, first + count)
template <typename source_t, typename target_t>
void read_rows(
    const Planes<const source_t>& planes, int64_t begin, int64_t end, int64_t first, int64_t count, target_t* rows,
    int64_t row_stride) {
  if (planes.channels_last) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      for (int64_t c = 0; c < count; ++c) {
        store(rows + (pixel - begin) * row_stride + c, load(planes.data + pixel * planes.C + first + c));
      }
    }
    return;
  }
  for_each_image(planes.area, begin, end, [&](int64_t pixel, int64_t pixels, int64_t n) {
    transpose_block(
        planes.data + (n * planes.C + first) * planes.area + pixel - n * planes.area, planes.area,
        rows + (pixel - begin) * row_stride, row_stride, count, pixels);
  });
}

// planes[pixel][c] = rows[pixel - begin][c - first]
template <typename source_t, typename target_t>
void write_rows(
    const source_t* rows, int64_t row_stride, int64_t begin, int64_t end, int64_t first, int64_t count,
    const Planes<target_t>& planes) {
  if (planes.channels_last) {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      for (int64_t c = 0; c < count; ++c) {
        store(planes.data + pixel * planes.C + first + c, load(rows + (pixel - begin) * row_stride + c));
      }
    }
    return;
  }
  for_each_image(planes.area, begin, end, [&](int64_t pixel, int64_t pixels, int64_t n) {
    transpose_block(
        rows + (pixel - begin) * row_stride, row_stride,
        planes.data + (n * planes.C + first) * planes.area + pixel - n * planes.area, planes.area, pixels, count);
  });
}

// Splits the pixels [0, pixels) into runs long enough for the copies above and calls visit(first, last) in parallel.
template <typename Visit>
void parallel_pixels(int64_t pixels, const Visit& visit) {
  constexpr int64_t kPixels = 32;
  torch::stable::parallel_for(0, divide_up(pixels, kPixels), 1, [&](int64_t begin, int64_t end) {
    visit(begin * kPixels, std::min(end * kPixels, pixels));
  });
}

template <typename scalar_t>
void set_zero(const Tensor& tensor) {
  scalar_t* values = data<scalar_t>(tensor);
  torch::stable::parallel_for(0, tensor.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    std::memset(static_cast<void*>(values + begin), 0, (end - begin) * sizeof(scalar_t));
  });
}

}  // namespace deformlab
