// The positions that the taps of a deformable convolution sample, for both CPU and GPU. Does not depend on PyTorch.

#pragma once

#include <cstdint>

#include "../common/sampling.h"

namespace deformlab::deform_conv2d {

// Sizes of a call. The G offset groups split the C channels in order, and so do the `groups` weight groups.
struct ConvShape {
  int64_t N, C, H, W;    // input
  int64_t O, P, Q;       // output channels, height, width
  int64_t kernel_h, kernel_w;
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  int64_t groups, G;
  bool clamp;  // see locate()

  DEFORMLAB_INLINE int64_t K() const { return kernel_h * kernel_w; }
  DEFORMLAB_INLINE int64_t pixels() const { return N * P * Q; }
};

// The position that one tap samples for one output pixel, and the indices of its offset and mask.
template <typename T>
struct TapPosition {
  T y, x;
  int64_t mask_index;
  int64_t offset_index;  // of dy; that of dx is greater by P·Q
};

// Computes the position of tap k of offset group g at output pixel (p, q) of image n. `offset` is (N, 2·G·K, P, Q),
// with (dy, dx) interleaved per tap; the mask is (N, G·K, P, Q).
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

}  // namespace deformlab::deform_conv2d
