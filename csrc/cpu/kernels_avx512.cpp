// The inner loops for x86-64 processors with AVX-512 (F, BW, CD, DQ, VL).

#if defined(__x86_64__)

#include "kernels.h"

#define DEFORMLAB_UNIT avx512

namespace deformlab::DEFORMLAB_UNIT {
namespace {

constexpr int64_t kVectorBytes = 64;
constexpr int kBlockRows = 14;
constexpr int kBlockVectors = 2;

}  // namespace
}  // namespace deformlab::DEFORMLAB_UNIT

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v4"))), apply_to = function)
#include "kernels.inc"
#pragma clang attribute pop
#else
#pragma GCC target("arch=x86-64-v4")
#include "kernels.inc"
#endif

#endif
