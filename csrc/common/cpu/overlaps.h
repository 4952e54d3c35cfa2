// Compares one box with many on the CPU.

#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "../iou.h"

namespace deformlab {

// The kernels read whole blocks of boxes; this many boxes after the last one must be readable.
constexpr int64_t kBoxesReadPast = 64;

// Boxes as one array per coordinate. Boxes that are not set are NaN and overlap nothing.
template <typename T>
class Boxes {
 public:
  explicit Boxes(int64_t most)
      : stride_(most + kBoxesReadPast), values_(5 * stride_, std::numeric_limits<T>::quiet_NaN()) {}

  void set(int64_t index, const Box<T>& box) {
    T* at = values_.data() + index;
    at[0] = box.x1, at[stride_] = box.y1, at[2 * stride_] = box.x2, at[3 * stride_] = box.y2;
    at[4 * stride_] = box.area;
  }
  Box<T> get(int64_t index) const {
    const T* at = values_.data() + index;
    return {at[0], at[stride_], at[2 * stride_], at[3 * stride_], at[4 * stride_]};
  }

  const T* values() const { return values_.data(); }
  int64_t stride() const { return stride_; }

 private:
  int64_t stride_;
  std::vector<T> values_;
};

// Returns whether the IoU of `box` with a box in [begin, end) is greater than the threshold.
template <typename T>
bool overlaps_any(const Boxes<T>& boxes, int64_t begin, int64_t end, const Box<T>& box, T offset, T threshold);

// Computes the IoU of `box` with each of the first `count` boxes. `ious` must have room for kBoxesReadPast more.
template <typename T>
void compute_ious(const Boxes<T>& boxes, int64_t count, const Box<T>& box, T offset, T* ious);

}  // namespace deformlab
