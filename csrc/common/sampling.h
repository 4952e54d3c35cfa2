// Bilinear sampling and its derivatives, for both CPU and GPU.
// Source: Deformable ConvNets (arXiv 1703.06211), section 2.1, equations 3 and 4. Does not depend on PyTorch.

#pragma once

#include <cmath>
#include <cstdint>

#include "numbers.h"

namespace deformlab {

// The four cells around a position, in the order: top left, top right, bottom left, bottom right.
template <typename T>
struct BilinearPoint {
  int32_t cell[4];  // y * W + x, or -1 for a cell outside the image
  T weight[4];      // 0 for a cell outside the image
  T fraction_y, fraction_x;

  // Derivatives of the sample, from the values of the four cells (0 for cells outside the image).
  DEFORMLAB_INLINE T derivative_y(const T value[4]) const {
    return (1 - fraction_x) * (value[2] - value[0]) + fraction_x * (value[3] - value[1]);
  }
  DEFORMLAB_INLINE T derivative_x(const T value[4]) const {
    return (1 - fraction_y) * (value[1] - value[0]) + fraction_y * (value[3] - value[2]);
  }
  DEFORMLAB_INLINE T interpolate(const T value[4]) const {
    return weight[0] * value[0] + weight[1] * value[1] + weight[2] * value[2] + weight[3] * value[3];
  }
};

// Finds the cells around (y, x) in an image of H x W cells. Returns false if the sample counts as outside: it is then
// zero and passes no gradient.
//
// Without `clamp` (the authors' v2 operator), positions one cell or more away from the image are outside, and missing
// cells count as zeros. With `clamp` (the authors' v1 operator), positions above the first row or left of the first
// column are also outside, and the last row and column are repeated beyond the image.
//
// NaN fails every comparison and is therefore outside. A position is converted to an integer only after this check, so
// the conversion cannot overflow.
template <typename T>
DEFORMLAB_INLINE bool locate(int64_t H, int64_t W, bool clamp, T y, T x, BilinearPoint<T>& point) {
  if (!(y > -1 && y < static_cast<T>(H) && x > -1 && x < static_cast<T>(W))) {
    return false;
  }
  const T floor_y = std::floor(y), floor_x = std::floor(x);
  const int32_t y0 = static_cast<int32_t>(floor_y), x0 = static_cast<int32_t>(floor_x);
  const int32_t height = static_cast<int32_t>(H), width = static_cast<int32_t>(W);
  const int32_t corner = y0 * width + x0;
  const T fraction_y = point.fraction_y = y - floor_y, fraction_x = point.fraction_x = x - floor_x;
  if (clamp) {
    if (y0 < 0 || x0 < 0) {
      return false;
    }
    // The last row is repeated once: samples below it keep its value, and their derivative is zero.
    const int32_t below = y0 + 1 < height ? width : 0, beside = x0 + 1 < width ? 1 : 0;
    point.cell[0] = corner;
    point.cell[1] = corner + beside;
    point.cell[2] = corner + below;
    point.cell[3] = corner + below + beside;
    point.weight[0] = (1 - fraction_y) * (1 - fraction_x);
    point.weight[1] = (1 - fraction_y) * fraction_x;
    point.weight[2] = fraction_y * (1 - fraction_x);
    point.weight[3] = fraction_y * fraction_x;
    return true;
  }
  const bool top = y0 >= 0, bottom = y0 + 1 < height, left = x0 >= 0, right = x0 + 1 < width;
  point.cell[0] = top && left ? corner : -1;
  point.cell[1] = top && right ? corner + 1 : -1;
  point.cell[2] = bottom && left ? corner + width : -1;
  point.cell[3] = bottom && right ? corner + width + 1 : -1;
  point.weight[0] = top && left ? (1 - fraction_y) * (1 - fraction_x) : T(0);
  point.weight[1] = top && right ? (1 - fraction_y) * fraction_x : T(0);
  point.weight[2] = bottom && left ? fraction_y * (1 - fraction_x) : T(0);
  point.weight[3] = bottom && right ? fraction_y * fraction_x : T(0);
  return true;
}

}  // namespace deformlab
