// The inner loops for x86-64 processors with AVX2 and FMA.

#if defined(__x86_64__)

#include "../../common/numbers.h"
#include "kernels.h"

#define DEFORMLAB_UNIT avx2

namespace deformlab::roi_average::DEFORMLAB_UNIT {
namespace {
constexpr int64_t kVectorBytes = 32;
}  // namespace
}  // namespace deformlab::roi_average::DEFORMLAB_UNIT

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)
#include "kernels.inc"
#pragma clang attribute pop
#else
#pragma GCC target("arch=x86-64-v3")
#include "kernels.inc"
#endif

#endif
