// Chooses the table of kernels for the vector unit of this process.

#include "kernels.h"

#include "../../common/cpu/capability.h"

namespace deformlab::roi_average {

#define DEFORMLAB_DECLARE_UNIT(unit)             \
  namespace unit {                               \
  extern const Kernels<float> float_kernels;     \
  extern const Kernels<double> double_kernels;   \
  }
DEFORMLAB_DECLARE_UNIT(baseline)
DEFORMLAB_DECLARE_UNIT(avx2)
DEFORMLAB_DECLARE_UNIT(avx512)
#undef DEFORMLAB_DECLARE_UNIT

template <>
const Kernels<float>& kernels() {
  return DEFORMLAB_FOR_CAPABILITY(float_kernels);
}
template <>
const Kernels<double>& kernels() {
  return DEFORMLAB_FOR_CAPABILITY(double_kernels);
}

}  // namespace deformlab::roi_average
