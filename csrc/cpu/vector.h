// Loops over channels that the compiler turns into vector code, in several versions chosen at run time.

#pragma once

#include <cstdint>
#include <cstring>

// One binary serves every x86-64 machine: the loader picks the version for the processor it runs on. Other
// architectures have their vector unit in the baseline.
#if defined(__x86_64__) && defined(__gnu_linux__) && (defined(__GNUC__) || __clang_major__ >= 16)
#define DEFORMLAB_VECTORISED __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define DEFORMLAB_VECTORISED
#endif
#define DEFORMLAB_ALWAYS_INLINE inline __attribute__((always_inline))
#define DEFORMLAB_INLINE_LAMBDA __attribute__((always_inline))

namespace deformlab {

struct BFloat16 {
  uint16_t bits;
};

// What a stored type is computed in.
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

DEFORMLAB_ALWAYS_INLINE float load(float value) { return value; }
DEFORMLAB_ALWAYS_INLINE double load(double value) { return value; }
DEFORMLAB_ALWAYS_INLINE float load(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

DEFORMLAB_ALWAYS_INLINE void store(float& target, float value) { target = value; }
DEFORMLAB_ALWAYS_INLINE void store(double& target, double value) { target = value; }
DEFORMLAB_ALWAYS_INLINE void store(BFloat16& target, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  target.bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

// target[c] = sum of weight[j] * cell[j][c]
template <typename scalar_t, typename acc_t>
DEFORMLAB_ALWAYS_INLINE void blend(
    scalar_t* __restrict target, const scalar_t* const cell[4], const acc_t weight[4], int64_t channels) {
  const scalar_t* a = cell[0];
  const scalar_t* b = cell[1];
  const scalar_t* c = cell[2];
  const scalar_t* d = cell[3];
  const acc_t wa = weight[0], wb = weight[1], wc = weight[2], wd = weight[3];
#pragma omp simd
  for (int64_t i = 0; i < channels; ++i) {
    store(target[i], wa * load(a[i]) + wb * load(b[i]) + wc * load(c[i]) + wd * load(d[i]));
  }
}

// sums[j] += sum over c of grad[c] * cell[j][c]
template <typename scalar_t, typename acc_t>
DEFORMLAB_ALWAYS_INLINE void dot(
    acc_t sums[4], const scalar_t* __restrict grad, const scalar_t* const cell[4], int64_t channels) {
  const scalar_t* a = cell[0];
  const scalar_t* b = cell[1];
  const scalar_t* c = cell[2];
  const scalar_t* d = cell[3];
  acc_t sa = 0, sb = 0, sc = 0, sd = 0;
#pragma omp simd reduction(+ : sa, sb, sc, sd)
  for (int64_t i = 0; i < channels; ++i) {
    const acc_t value = load(grad[i]);
    sa += value * load(a[i]);
    sb += value * load(b[i]);
    sc += value * load(c[i]);
    sd += value * load(d[i]);
  }
  sums[0] += sa;
  sums[1] += sb;
  sums[2] += sc;
  sums[3] += sd;
}

// target[c] += weight * source[c]
template <typename scalar_t, typename acc_t>
DEFORMLAB_ALWAYS_INLINE void add_scaled(
    acc_t* __restrict target, const scalar_t* __restrict source, acc_t weight, int64_t channels) {
#pragma omp simd
  for (int64_t i = 0; i < channels; ++i) {
    target[i] += weight * load(source[i]);
  }
}

}  // namespace deformlab
