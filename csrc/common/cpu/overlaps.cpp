// The inner loops for the architecture's baseline, and the choice of a vector unit.

#include "overlaps.h"

#include "capability.h"
#include "overlaps_kernels.h"

#define DEFORMLAB_UNIT baseline

namespace deformlab::DEFORMLAB_UNIT {
namespace {

constexpr int64_t kVectorBytes = 16;

}  // namespace
}  // namespace deformlab::DEFORMLAB_UNIT

#include "overlaps.inc"

namespace deformlab {

#if defined(__x86_64__)
namespace avx2 {
extern const OverlapKernels<float> float_overlaps;
extern const OverlapKernels<double> double_overlaps;
}  // namespace avx2
// Divisions limit the speed, and AVX-512 has no faster ones.
#define DEFORMLAB_OVERLAPS(table) (capability() == Capability::kDefault ? baseline::table : avx2::table)
#else
#define DEFORMLAB_OVERLAPS(table) (baseline::table)
#endif

namespace {

const OverlapKernels<float>& kernels(float) { return DEFORMLAB_OVERLAPS(float_overlaps); }
const OverlapKernels<double>& kernels(double) { return DEFORMLAB_OVERLAPS(double_overlaps); }

}  // namespace

template <typename T>
bool overlaps_any(const Boxes<T>& boxes, int64_t begin, int64_t end, const Box<T>& box, T offset, T threshold) {
  return kernels(T()).overlaps_any(boxes.values(), boxes.stride(), begin, end, box, offset, threshold);
}
template bool overlaps_any(const Boxes<float>&, int64_t, int64_t, const Box<float>&, float, float);
template bool overlaps_any(const Boxes<double>&, int64_t, int64_t, const Box<double>&, double, double);

template <typename T>
void compute_ious(const Boxes<T>& boxes, int64_t count, const Box<T>& box, T offset, T* ious) {
  kernels(T()).compute_ious(boxes.values(), boxes.stride(), count, box, offset, ious);
}
template void compute_ious(const Boxes<float>&, int64_t, const Box<float>&, float, float*);
template void compute_ious(const Boxes<double>&, int64_t, const Box<double>&, double, double*);

}  // namespace deformlab
