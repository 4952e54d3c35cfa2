// Loads, stores and atomic additions of neighbouring channels, up to 16 bytes at a time.

#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <type_traits>

#include "../numbers.h"
#include "device.h"

namespace deformlab {

template <typename scalar_t>
constexpr int kFullVector = 16 / sizeof(scalar_t);

template <typename scalar_t, int kSize>
struct alignas(kSize * sizeof(scalar_t)) Vector {
  scalar_t value[kSize];
};

template <int kSize, typename scalar_t>
__device__ __forceinline__ Vector<scalar_t, kSize> load(const scalar_t* source) {
  return *reinterpret_cast<const Vector<scalar_t, kSize>*>(source);
}

template <int kSize, typename scalar_t>
__device__ __forceinline__ void store(scalar_t* target, const accumulate_t<scalar_t> (&value)[kSize]) {
  Vector<scalar_t, kSize> vector;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    vector.value[i] = static_cast<scalar_t>(value[i]);
  }
  *reinterpret_cast<Vector<scalar_t, kSize>*>(target) = vector;
}

// Adds a vector to memory. Each element is added atomically.
template <int kSize, typename acc_t>
__device__ __forceinline__ void atomic_add(acc_t* target, const acc_t (&value)[kSize]) {
  constexpr int kWidth = kHasVectorAtomics && std::is_same_v<acc_t, float> && kSize % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int i = 0; i < kSize; i += kWidth) {
    if constexpr (kWidth == 4) {
      atomicAdd(reinterpret_cast<float4*>(target + i), make_float4(value[i], value[i + 1], value[i + 2], value[i + 3]));
    } else {
      atomicAdd(target + i, value[i]);
    }
  }
}

}  // namespace deformlab
