// The inner loops for x86-64 processors with AVX-512 (F, BW, CD, DQ, VL). With DEFORMLAB_EMULATE_AVX512, they are
// compiled for AVX2 with two registers per vector. This is slower, but allows testing them on machines without AVX-512.

#if defined(__x86_64__)

#include "kernels.h"

#define DEFORMLAB_UNIT avx512

namespace deformlab::deform_conv2d::DEFORMLAB_UNIT {
namespace {

constexpr int64_t kVectorBytes = 64;
constexpr int kBlockRows = 14;
constexpr int kBlockVectors = 2;

}  // namespace
}  // namespace deformlab::deform_conv2d::DEFORMLAB_UNIT

#if defined(DEFORMLAB_EMULATE_AVX512)
#pragma GCC target("arch=x86-64-v3")
#include "kernels.inc"
#elif defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#include "kernels.inc"
#pragma clang attribute pop
#else
#pragma GCC target("arch=x86-64-v4")
#include "kernels.inc"
#endif

#endif
