// The inner loops for x86-64 processors with AVX-512; see deform_conv2d/cpu/kernels_avx512.cpp.

#if defined(__x86_64__)

#include "../../common/numbers.h"
#include "kernels.h"

#define DEFORMLAB_UNIT avx512

namespace deformlab::roi_average::DEFORMLAB_UNIT {
namespace {
constexpr int64_t kVectorBytes = 64;
}  // namespace
}  // namespace deformlab::roi_average::DEFORMLAB_UNIT

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
