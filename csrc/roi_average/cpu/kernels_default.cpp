// The inner loops for the baseline of the architecture for which the library is compiled.

#include "../../common/numbers.h"
#include "kernels.h"

#define DEFORMLAB_UNIT baseline

namespace deformlab::roi_average::DEFORMLAB_UNIT {
namespace {
constexpr int64_t kVectorBytes = 16;
}  // namespace
}  // namespace deformlab::roi_average::DEFORMLAB_UNIT

#include "kernels.inc"
