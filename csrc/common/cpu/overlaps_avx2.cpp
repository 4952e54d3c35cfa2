// The inner loops for x86-64 processors with AVX2.

#if defined(__x86_64__)

#include "overlaps_kernels.h"

#define DEFORMLAB_UNIT avx2

namespace deformlab::DEFORMLAB_UNIT {
namespace {

constexpr int64_t kVectorBytes = 32;

}  // namespace
}  // namespace deformlab::DEFORMLAB_UNIT

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#include "overlaps.inc"
#pragma clang attribute pop
#else
#pragma GCC target("arch=x86-64-v3")
#include "overlaps.inc"
#endif

#endif
