// The inner loops for the baseline of the architecture that this is compiled for.

#include "kernels.h"

#define DEFORMLAB_UNIT baseline

namespace deformlab::deform_conv2d::DEFORMLAB_UNIT {
namespace {

constexpr int64_t kVectorBytes = 16;
constexpr int kBlockRows = 6;
#if defined(__aarch64__)
constexpr int kBlockVectors = 4;  // of 32 registers
#else
constexpr int kBlockVectors = 2;
#endif

}  // namespace
}  // namespace deformlab::deform_conv2d::DEFORMLAB_UNIT

#include "kernels.inc"
