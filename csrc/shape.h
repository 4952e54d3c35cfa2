// The sizes of a call, from its tensors.

#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <vector>

#include "sampling.h"

namespace deformlab {

// Memory guards only: deformlab.ops tells users what is wrong before this is reached.
inline ConvShape shape_of(
    const torch::stable::Tensor& input, const torch::stable::Tensor& offset, const torch::stable::Tensor& weight,
    const std::optional<torch::stable::Tensor>& mask, const std::vector<int64_t>& stride,
    const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation, bool clamp) {
  STD_TORCH_CHECK(
      input.dim() == 4 && offset.dim() == 4 && weight.dim() == 4 && stride.size() == 2 && padding.size() == 2 &&
          dilation.size() == 2 && weight.numel() > 0 && stride[0] > 0 && stride[1] > 0,
      "deform_conv2d: call it through deformlab.ops, which checks its arguments");
  ConvShape s;
  s.N = input.size(0), s.C = input.size(1), s.H = input.size(2), s.W = input.size(3);
  s.O = weight.size(0), s.P = offset.size(2), s.Q = offset.size(3);
  s.kernel_h = weight.size(2), s.kernel_w = weight.size(3);
  s.stride_h = stride[0], s.stride_w = stride[1];
  s.padding_h = padding[0], s.padding_w = padding[1];
  s.dilation_h = dilation[0], s.dilation_w = dilation[1];
  // Products of these with a position stay within 64 bits.
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (const int64_t number : {s.P, s.Q, s.kernel_h, s.kernel_w, s.stride_h, s.stride_w, s.padding_h, s.padding_w,
                               s.dilation_h, s.dilation_w}) {
    STD_TORCH_CHECK(
        number >= 0 && number <= kMost, "deform_conv2d: call it through deformlab.ops, which checks its arguments");
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

}  // namespace deformlab
