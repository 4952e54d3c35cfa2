// The number types of the kernels. This header does not depend on PyTorch, so that it can be compiled for any vector
// unit.

#pragma once

#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#define DEFORMLAB_INLINE __host__ __device__ __forceinline__
#else
#define DEFORMLAB_INLINE inline __attribute__((always_inline))
#endif

namespace deformlab {

DEFORMLAB_INLINE int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
DEFORMLAB_INLINE int64_t round_up(int64_t value, int64_t multiple) { return divide_up(value, multiple) * multiple; }

// The type used to compute with a stored type: float32 for 16-bit floats. Coordinates have this type as well.
template <typename scalar_t>
using accumulate_t = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;

// The bfloat16 type of the CPU kernels. GPU kernels use c10::BFloat16.
struct BFloat16 {
  uint16_t bits;
};

DEFORMLAB_INLINE float load(const float* from) { return *from; }
DEFORMLAB_INLINE double load(const double* from) { return *from; }
DEFORMLAB_INLINE int32_t load(const int32_t* from) { return *from; }
DEFORMLAB_INLINE float load(const BFloat16* from) { return __builtin_bit_cast(float, uint32_t{from->bits} << 16); }

DEFORMLAB_INLINE void store(float* to, float value) { *to = value; }
DEFORMLAB_INLINE void store(double* to, double value) { *to = value; }
DEFORMLAB_INLINE void store(int32_t* to, int32_t value) { *to = value; }
DEFORMLAB_INLINE void store(BFloat16* to, float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  to->bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

}  // namespace deformlab
