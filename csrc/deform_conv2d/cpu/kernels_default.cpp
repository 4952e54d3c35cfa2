// The inner loops for the baseline of the architecture for which the library is compiled.

#include "kernels.h"

#define DEFORMLAB_UNIT baseline

namespace deformlab::deform_conv2d::DEFORMLAB_UNIT {
namespace {

constexpr int64_t kVectorBytes = 16;
constexpr int kBlockRows = 6;
#if defined(__aarch64__)
constexpr int kBlockVectors = 4;  // the architecture has 32 vector registers
#else
constexpr int kBlockVectors = 2;
#endif

}  // namespace
}  // namespace deformlab::deform_conv2d::DEFORMLAB_UNIT

#include "kernels.inc"
