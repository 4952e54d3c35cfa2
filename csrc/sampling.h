// Bilinear sampling and its gradients, one source for CPU and GPU.
// Deformable ConvNets, section 2.1, equations 3 and 4.

#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define DEFORMLAB_INLINE __host__ __device__ __forceinline__
#else
#define DEFORMLAB_INLINE inline __attribute__((always_inline))
#endif

namespace deformlab {

// A deformable convolution's sizes. G offset groups and `groups` weight groups each split the C channels in order.
struct ConvShape {
  int64_t N, C, H, W;    // input
  int64_t O, P, Q;       // output channels, height, width
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  int64_t groups, G;
  bool clamp;  // which samples count at the border: as in the authors' v1 operator, else as in their v2

  DEFORMLAB_INLINE int64_t K() const { return kernel_h * kernel_w; }
  DEFORMLAB_INLINE int64_t pixels() const { return N * P * Q; }
};

// The cells around one sampling position, in the order top left, top right, bottom left, bottom right.
template <typename T>
struct BilinearPoint {
  int32_t cell[4];  // y * W + x, or -1 where the image has no such cell
  T weight[4];      // 0 where the image has no such cell
  T fraction_y, fraction_x;

  // The derivatives of a sum over the cells, given each cell's value (0 for cells that are not there).
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

// False where the sample counts as outside: then it is zero and so is every gradient through it.
// NaN fails every comparison, and nothing is converted to an integer before the position is known to be near.
template <typename T>
DEFORMLAB_INLINE bool locate(const ConvShape& shape, T y, T x, BilinearPoint<T>& point) {
  if (!(y > -1 && y < static_cast<T>(shape.H) && x > -1 && x < static_cast<T>(shape.W))) {
    return false;
  }
  const T floor_y = std::floor(y), floor_x = std::floor(x);
  const int32_t y0 = static_cast<int32_t>(floor_y), x0 = static_cast<int32_t>(floor_x);
  const int32_t height = static_cast<int32_t>(shape.H), width = static_cast<int32_t>(shape.W);
  const int32_t corner = y0 * width + x0;
  const T fraction_y = point.fraction_y = y - floor_y, fraction_x = point.fraction_x = x - floor_x;
  if (shape.clamp) {
    if (y0 < 0 || x0 < 0) {
      return false;
    }
    // After the last row comes that row again, which keeps the sample and makes its derivative vanish.
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

// Where tap k of offset group g of an output pixel looks, and the index of its mask value.
// `offset` is (N, 2·G·K, P, Q), (dy, dx) interleaved per tap; the mask is (N, G·K, P, Q).
template <typename T>
struct TapPosition {
  T y, x;
  int64_t mask_index;
  int64_t offset_index;  // of dy; dx is P·Q further
};

template <typename T>
DEFORMLAB_INLINE TapPosition<T> tap_position(
    const ConvShape& shape, const T* offset, int64_t n, int64_t p, int64_t q, int64_t g, int64_t k) {
  const int64_t plane = shape.P * shape.Q;
  const int64_t channel = (n * shape.G + g) * shape.K() + k;
  TapPosition<T> tap;
  tap.mask_index = channel * plane + p * shape.Q + q;
  tap.offset_index = 2 * channel * plane + p * shape.Q + q;
  tap.y = static_cast<T>(p * shape.stride_h - shape.padding_h + k / shape.kernel_w * shape.dilation_h) +
      offset[tap.offset_index];
  tap.x = static_cast<T>(q * shape.stride_w - shape.padding_w + k % shape.kernel_w * shape.dilation_w) +
      offset[tap.offset_index + plane];
  return tap;
}

}  // namespace deformlab
