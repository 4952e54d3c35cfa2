// The inner loops over channels, as a table of functions; one table per vector unit and type.

#pragma once

#include <cstdint>

namespace deformlab::roi_average {

// The cells that a bin reads, with their weights.
template <typename T>
struct Taps {
  const int32_t* cells;
  const T* weights;
  int64_t count;
};

template <typename T>
struct Kernels {
  // out[c] = sum over taps of weight · rows[cell · stride + c]
  void (*weighted_sum)(const T* rows, int64_t stride, const Taps<T>& taps, int64_t channels, T* out);
  // rows[cell · stride + c] += weight · grad[c] for each tap
  void (*scatter)(T* rows, int64_t stride, const Taps<T>& taps, int64_t channels, const T* grad);
  // products[tap] = sum over c of grad[c] · rows[cell · stride + c]
  void (*products)(
      const T* rows, int64_t stride, const Taps<T>& taps, int64_t channels, const T* grad, T* products);
  // For max pooling: value[c] = row[c] and argmax[c] = cell where row[c] is larger or NaN.
  void (*take_larger)(const T* row, int32_t cell, int64_t channels, T* value, int32_t* argmax);
};

template <typename T>
const Kernels<T>& kernels();

}  // namespace deformlab::roi_average
