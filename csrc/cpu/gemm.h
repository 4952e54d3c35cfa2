// The innermost loop of a float32 matrix product, for operands that another loop has just put into the cache.
//
// Library products need the columns of many pixels at once and rearrange the weights on every call; this one works
// on a hundred pixels of one tap while they are in the second-level cache.

#pragma once

#include <cstdint>

#include "vector.h"

namespace deformlab {

// c (rows, columns) += a (rows, depth) x b (depth, columns), by blocks of kRows x (kVectors * kLanes) that stay in
// registers. `rows` and `columns` are multiples of the block. Element (i, k) of `a` is a[i * a_row + k * a_depth];
// b holds panels of one block's columns: element (k, j) is b[panel * b_panel + k * b_depth + j].
struct Product {
  const float* a;
  int64_t a_row, a_depth;
  const float* b;
  int64_t b_panel, b_depth;
  float* c;
  int64_t c_row;
  int64_t rows, columns, depth;
};

template <int kLanes, int kRows, int kVectors>
DEFORMLAB_ALWAYS_INLINE void multiply_add_impl(const Product& p) {
  typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
  constexpr int kColumns = kLanes * kVectors;
  // Three rows share a pointer: x86 reaches the others by scaled indices, and there are pointers enough.
  constexpr int kPointers = (kRows + 2) / 3;
  const int64_t a_row = p.a_row, a_depth = p.a_depth, b_depth = p.b_depth;
  for (int64_t column = 0; column < p.columns; column += kColumns) {
    const float* const panel = p.b + column / kColumns * p.b_panel;
    for (int64_t row = 0; row < p.rows; row += kRows) {
      float* const c = p.c + row * p.c_row + column;
      Vector sum[kRows][kVectors];
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
          sum[i][j] = *reinterpret_cast<const Vector*>(c + i * p.c_row + j * kLanes);
        }
      }
      const float* a[kPointers];
#pragma GCC unroll 8
      for (int i = 0; i < kPointers; ++i) {
        a[i] = p.a + (row + 3 * i) * a_row;
      }
      const float* b = panel;
      for (int64_t k = 0; k < p.depth; ++k) {
        Vector right[kVectors];
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
          right[j] = *reinterpret_cast<const Vector*>(b + j * kLanes);
        }
#pragma GCC unroll 16
        for (int i = 0; i < kRows; ++i) {
          const float left = a[i / 3][i % 3 * a_row];
#pragma GCC unroll 4
          for (int j = 0; j < kVectors; ++j) {
            sum[i][j] += left * right[j];
          }
        }
#pragma GCC unroll 8
        for (int i = 0; i < kPointers; ++i) {
          a[i] += a_depth;
        }
        b += b_depth;
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) {
          *reinterpret_cast<Vector*>(c + i * p.c_row + j * kLanes) = sum[i][j];
        }
      }
    }
  }
}

// A version for one vector unit: its block's size and its loop.
struct ProductKernel {
  int64_t rows, columns;
  void (*multiply_add)(const Product&);
};

#if defined(__x86_64__)
__attribute__((target("arch=x86-64-v4"))) inline void multiply_add_avx512(const Product& p) {
  multiply_add_impl<16, 14, 2>(p);
}
__attribute__((target("arch=x86-64-v3"))) inline void multiply_add_avx2(const Product& p) {
  multiply_add_impl<8, 6, 2>(p);
}
#endif
inline void multiply_add_portable(const Product& p) { multiply_add_impl<4, 6, 2>(p); }

inline ProductKernel product_kernel() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return {14, 32, multiply_add_avx512};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {6, 16, multiply_add_avx2};
  }
#endif
  return {6, 8, multiply_add_portable};
}

}  // namespace deformlab
