// Intersection over union (IoU) of boxes (x1, y1, x2, y2).

#pragma once

#include <cmath>
#include <limits>

#include "numbers.h"

namespace deformlab {

// A box; or one vector per coordinate, for several boxes.
template <typename Value>
struct Box {
  Value x1, y1, x2, y2, area;
};

#include "iou.inc"

// Returns the largest number of type T that is at most `threshold`. An IoU of type T is greater than it if and only
// if it is greater than `threshold`.
template <typename T>
T round_down(double threshold) {
  const T rounded = static_cast<T>(threshold);
  return rounded > threshold ? std::nextafter(rounded, -std::numeric_limits<T>::infinity()) : rounded;
}

}  // namespace deformlab
