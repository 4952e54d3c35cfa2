// The types that kernels store values in, and those that they compute with.

#pragma once

#include <cstdint>

#include "../sampling.h"

namespace deformlab {

struct BFloat16 {
  uint16_t bits;
};

template <typename scalar_t>
struct Accumulate {
  using type = scalar_t;
};
template <>
struct Accumulate<BFloat16> {
  using type = float;
};
template <typename scalar_t>
using accumulate_t = typename Accumulate<scalar_t>::type;

DEFORMLAB_INLINE float load(const float* from) { return *from; }
DEFORMLAB_INLINE double load(const double* from) { return *from; }
DEFORMLAB_INLINE float load(const BFloat16* from) { return __builtin_bit_cast(float, uint32_t{from->bits} << 16); }

DEFORMLAB_INLINE void store(float* to, float value) { *to = value; }
DEFORMLAB_INLINE void store(double* to, double value) { *to = value; }
DEFORMLAB_INLINE void store(BFloat16* to, float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to->bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

}  // namespace deformlab
