// The inner loops of overlaps.h for one vector unit, as a table of functions.

#pragma once

#include <cstdint>

#include "../iou.h"

namespace deformlab {

// `boxes` has arrays of x1, y1, x2, y2 and the area, `stride` elements apart.
template <typename T>
struct OverlapKernels {
  bool (*overlaps_any)(
      const T* boxes, int64_t stride, int64_t begin, int64_t end, const Box<T>& box, T offset, T threshold);
  void (*compute_ious)(const T* boxes, int64_t stride, int64_t count, const Box<T>& box, T offset, T* ious);
};

}  // namespace deformlab
