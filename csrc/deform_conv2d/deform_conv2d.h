// The parts of deform_conv2d that all devices share: schemas, sizes, and the checks of both passes.

#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "../common/tensors.h"
#include "positions.h"

namespace deformlab::deform_conv2d {

constexpr const char* kForwardSchema =
    "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
    "int[] stride, int[] padding, int[] dilation, bool clamp) -> Tensor";
#define DEFORM_CONV2D_BACKWARD_SIGNATURE                                                      \
  "(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "                  \
  "int[] stride, int[] padding, int[] dilation, bool clamp, "                                 \
  "bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) "                 \
  "-> (Tensor, Tensor, Tensor, Tensor)"
// A gradient that is not needed is returned as an empty tensor.
constexpr const char* kBackwardSchema = "deform_conv2d_backward" DEFORM_CONV2D_BACKWARD_SIGNATURE;
// The same for GPUs, with sums in an order that is the same in every run. It is slower.
constexpr const char* kDeterministicBackwardSchema =
    "deform_conv2d_backward.deterministic" DEFORM_CONV2D_BACKWARD_SIGNATURE;
#undef DEFORM_CONV2D_BACKWARD_SIGNATURE

using Sizes = std::vector<int64_t>;

// Which gradients a backward pass computes.
struct Needs {
  bool input, offset, weight, mask;

  bool columns() const { return input || offset || mask; }
};

constexpr const char* kCallThroughPython =
    "deform_conv2d: call it through deformlab.ops, which checks its arguments";

// Derives the sizes of a call from its tensors. The checks only prevent out-of-bounds memory accesses: deformlab.ops
// has already checked the arguments and raised helpful errors.
inline ConvShape shape_of(
    const Tensor& input, const Tensor& offset, const Tensor& weight, const std::optional<Tensor>& mask,
    const Sizes& stride, const Sizes& padding, const Sizes& dilation, bool clamp) {
  STD_TORCH_CHECK(
      input.dim() == 4 && offset.dim() == 4 && weight.dim() == 4 && stride.size() == 2 && padding.size() == 2 &&
          dilation.size() == 2 && weight.numel() > 0 && stride[0] > 0 && stride[1] > 0,
      kCallThroughPython);
  ConvShape s;
  s.N = input.size(0), s.C = input.size(1), s.H = input.size(2), s.W = input.size(3);
  s.O = weight.size(0), s.P = offset.size(2), s.Q = offset.size(3);
  s.kernel_h = weight.size(2), s.kernel_w = weight.size(3);
  s.stride_h = stride[0], s.stride_w = stride[1];
  s.padding_h = padding[0], s.padding_w = padding[1];
  s.dilation_h = dilation[0], s.dilation_w = dilation[1];
  // With this limit, products of these numbers and a position fit into 64 bits.
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (const int64_t number : {s.P, s.Q, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.padding_h, s.padding_w,
                               s.dilation_h, s.dilation_w}) {
    STD_TORCH_CHECK(
        number >= 0 && number <= kMost, kCallThroughPython);
  }
  s.groups = s.C / weight.size(1);
  s.G = offset.size(1) / (2 * s.K());
  s.clamp = clamp;
  bool legal = s.groups > 0 && s.groups * weight.size(1) == s.C && s.O % s.groups == 0 && s.G > 0 &&
      s.C % s.G == 0 && offset.size(0) == s.N && offset.size(1) == 2 * s.G * s.K() &&
      s.H <= kMost / std::max<int64_t>(s.W, 1) &&
      s.C <= kMost && s.O <= kMost;
  if (mask) {
    legal = legal && mask->dim() == 4 && mask->size(0) == s.N && mask->size(1) == s.G * s.K() &&
        mask->size(2) == s.P && mask->size(3) == s.Q;
  }
  STD_TORCH_CHECK(legal, "deform_conv2d: shapes do not fit; call it through deformlab.ops, which says how");
  return s;
}

inline void check_bias(const ConvShape& s, const std::optional<Tensor>& bias) {
  STD_TORCH_CHECK(!bias || bias->numel() == s.O, "deform_conv2d: bias must have one value per output channel");
}

inline void check_gradient(const ConvShape& s, const Tensor& grad) {
  STD_TORCH_CHECK(
      grad.dim() == 4 && grad.size(0) == s.N && grad.size(1) == s.O && grad.size(2) == s.P && grad.size(3) == s.Q,
      "deform_conv2d_backward: the gradient does not have the output's shape");
}

}  // namespace deformlab::deform_conv2d
