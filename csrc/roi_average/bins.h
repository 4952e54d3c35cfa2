// The bins of a region, along one axis, for every kind of average pooling; for both CPU and GPU. Does not depend on
// PyTorch.
//
// The value of a bin is a weighted sum over cells of the map. The weight of a cell is the product of a weight for its
// row and one for its column, because samples form a grid, so rows and columns are computed separately.

#pragma once

#include <cmath>
#include <cstdint>

#include "../common/numbers.h"

namespace deformlab::roi_average {

// How the bins of a region are averaged. The numbers are those of `Kind` in Python.
enum class Kind : int64_t {
  kAlign = 0,           // RoIAlign: bilinear samples in the middle of subbins; a region has at least one cell a side
  kAlignHalf = 1,       // RoIAlign with aligned=True, mmcv: shifted by half a cell, without a smallest size
  kAuthors = 2,         // the authors' deformable pooling: bilinear samples at the start of subbins
  kMean = 3,            // DCNv1, equation 5: the mean over the bins of RoI max pooling
  kMeanAuthors = 4,     // the authors' position-sensitive pooling: the mean over whole cells
  kMeanTorchvision = 5  // torchvision's position-sensitive pooling
};

// Returns a value in 0 to `length`, rounded towards zero.
template <typename T>
DEFORMLAB_INLINE int64_t clipped(T value, int64_t length) {
  // NaN compares as false and gives 0; a conversion to an integer would be undefined.
  return value >= static_cast<T>(length) ? length : value > 0 ? static_cast<int64_t>(value) : 0;
}

// One axis of a region.
template <typename T>
struct Axis {
  T start, size;     // in cells of the map; for a mean over cells, of the unrounded bins
  T step, substep;   // distance of neighbouring bins, and of neighbouring samples of a bin
  T samples_per_cell;
  int64_t samples;  // bilinear samples per bin; 0 for a mean over cells
};

// `low` and `high` are the edges of the region in pixels of the network's input. They are finite.
template <typename T>
DEFORMLAB_INLINE Axis<T> axis_of(Kind kind, T low, T high, T scale, int64_t bins, int64_t samples) {
  Axis<T> axis{0, 0, 0, 0, 0, 0};
  switch (kind) {
    case Kind::kAlign:
    case Kind::kAlignHalf: {
      const T shift = kind == Kind::kAlignHalf ? T(0.5) : T(0);
      axis.start = low * scale - shift;
      axis.size = high * scale - shift - axis.start;
      if (kind == Kind::kAlign && !(axis.size >= 1)) {
        axis.size = 1;
      }
      const T adaptive = std::ceil(axis.size / static_cast<T>(bins));
      // The number of adaptive samples of a huge region is limited; samples outside the map are zero anyway.
      axis.samples = samples > 0 ? samples : clipped(adaptive, 1000000000);
      break;
    }
    case Kind::kAuthors:
      axis.start = std::round(low) * scale - T(0.5);
      axis.size = (std::round(high) + 1) * scale - T(0.5) - axis.start;
      axis.size = axis.size >= T(0.1) ? axis.size : T(0.1);
      axis.samples = samples;
      break;
    case Kind::kMean:
      axis.start = std::round(low * scale);
      axis.size = std::round(high * scale) - axis.start + 1;
      axis.size = axis.size >= 1 ? axis.size : T(1);
      break;
    case Kind::kMeanAuthors:
      axis.start = scale * std::round(low);
      axis.size = scale * (std::round(high) + 1) - axis.start;
      axis.size = axis.size >= T(0.1) ? axis.size : T(0.1);
      break;
    case Kind::kMeanTorchvision:
      axis.start = std::round(low * scale);
      axis.size = std::round(high * scale) - axis.start;
      axis.size = axis.size >= 1 ? axis.size : T(1);
      break;
  }
  axis.step = axis.size / static_cast<T>(bins);
  axis.substep = axis.step / static_cast<T>(axis.samples);
  axis.samples_per_cell = 1 / axis.substep;
  return axis;
}

// Cells of a bin for a mean over cells: [first, last).
struct Cells {
  int64_t first, last;
};

template <typename T>
DEFORMLAB_INLINE Cells cells_of(Kind kind, const Axis<T>& axis, int64_t bin, int64_t length) {
  const T step = axis.step;
  if (kind == Kind::kMeanAuthors) {
    return {clipped(std::floor(static_cast<T>(bin) * step + axis.start), length),
            clipped(std::ceil(static_cast<T>(bin + 1) * step + axis.start), length)};
  }
  // torchvision's position-sensitive pooling on the CPU clips to length - 1, so the last cell is never read.
  const int64_t last = kind == Kind::kMeanTorchvision ? length - 1 : length;
  return {clipped(std::floor(static_cast<T>(bin) * step) + axis.start, last),
          clipped(std::ceil(static_cast<T>(bin + 1) * step) + axis.start, last)};
}

// Calls add(cell, weight, slope) for the cells that a bin reads along one axis, where `slope` is the derivative of the
// weight with respect to a shift of the bin, and returns the number of samples (or cells) that count. A cell may be
// added several times. `shift` is the shift of the bin in cells; NaN reads nothing.
template <typename T, typename Add>
DEFORMLAB_INLINE T visit_bin(
    Kind kind, const Axis<T>& axis, int64_t bin, T shift, int64_t length, const Add& add) {
  if (axis.samples == 0 && kind >= Kind::kMean) {
    const Cells cells = cells_of(kind, axis, bin, length);
    for (int64_t cell = cells.first; cell < cells.last; ++cell) {
      add(static_cast<int32_t>(cell), T(1), T(0));
    }
    return static_cast<T>(cells.last > cells.first ? cells.last - cells.first : 0);
  }
  const T substep = axis.substep;
  const T begin = axis.start + static_cast<T>(bin) * axis.step + shift;
  const bool authors = kind == Kind::kAuthors;
  const T lowest = authors ? T(-0.5) : T(-1), highest = static_cast<T>(length) - (authors ? T(0.5) : T(0));
  int64_t first = 0, last = axis.samples;
  if (axis.samples > 64 && substep > 0) {
    // A region may be much larger than the map: skip the samples that are certainly outside.
    const T low_sample = (lowest - begin) * axis.samples_per_cell - 2;
    const T high_sample = (highest - begin) * axis.samples_per_cell + 2;
    first = clipped(low_sample, axis.samples);
    last = clipped(high_sample, axis.samples);
  }
  T counted = authors ? T(0) : static_cast<T>(axis.samples);
  for (int64_t sample = first; sample < last; ++sample) {
    T position = begin + (static_cast<T>(sample) + (authors ? T(0) : T(0.5))) * substep;
    if (!(position >= lowest && position <= highest)) {
      continue;
    }
    if (authors) {
      counted += 1;
      const T largest = static_cast<T>(length - 1);
      position = position < 0 ? T(0) : position > largest ? largest : position;
      const T low = std::floor(position), fraction = position - low;
      add(static_cast<int32_t>(low), 1 - fraction, fraction > 0 ? T(-1) : T(0));
      if (fraction > 0) {
        add(static_cast<int32_t>(low) + 1, fraction, T(1));
      }
      continue;
    }
    const bool before = position <= 0;
    position = before ? T(0) : position;
    const int32_t low = static_cast<int32_t>(position);
    if (low >= length - 1) {
      add(static_cast<int32_t>(length - 1), T(1), T(0));
      continue;
    }
    const T fraction = position - static_cast<T>(low);
    add(low, 1 - fraction, before ? T(0) : T(-1));
    add(low + 1, fraction, before ? T(0) : T(1));
  }
  return counted;
}

// The largest number of bins, groups or parts along one axis. Products of two such numbers fit into 32 bits, whose
// division is much cheaper on a GPU.
constexpr int64_t kMostParts = 4096;

// Returns floor(index * parts / bins).
DEFORMLAB_INLINE int64_t scaled(int64_t index, int64_t parts, int64_t bins) {
  return static_cast<uint32_t>(index * parts) / static_cast<uint32_t>(bins);
}

// The channels of the input that a bin reads: one of `height` x `width` parts in each dimension.
struct Groups {
  int64_t height, width;

  DEFORMLAB_INLINE int64_t of_bin(int64_t row, int64_t column, int64_t rows, int64_t columns) const {
    return scaled(row, height, rows) * width + scaled(column, width, columns);
  }
};

}  // namespace deformlab::roi_average
