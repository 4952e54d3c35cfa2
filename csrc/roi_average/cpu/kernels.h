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
  // For max pooling: out[c] = maximum over cells of rows[cell · stride + c], and argmax[c] = its cell; of equal ones the
  // first. NaN is larger than any number, and the last one is found. There is at least one cell.
  void (*maximum)(
      const T* rows, int64_t stride, const int32_t* cells, int64_t count, int64_t channels, T* out, int32_t* argmax);
};

template <typename T>
const Kernels<T>& kernels();

}  // namespace deformlab::roi_average
