// The parts of roi_average that all devices share: schemas, sizes, and checks against access out of bounds.
//
// One operator computes every pooling that averages over the bins of a region: RoIAlign, DCNv1's mean, position-
// sensitive pooling, and deformable pooling. They differ in where a bin reads (bins.h) and in the channels that it
// reads.

#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "../common/tensors.h"
#include "bins.h"

namespace deformlab::roi_average {

constexpr const char* kForwardSchema =
    "roi_average(Tensor input, Tensor rois, Tensor? offset, Tensor? mask, int kind, int[] output_size, "
    "float spatial_scale, int samples, int[] groups, float gamma) -> Tensor";
// A gradient that is not needed is returned as an empty tensor.
constexpr const char* kBackwardSchema =
    "roi_average_backward(Tensor grad, Tensor input, Tensor rois, Tensor? offset, Tensor? mask, int kind, "
    "int[] output_size, float spatial_scale, int samples, int[] groups, float gamma, bool needs_input, "
    "bool needs_offset, bool needs_mask) -> (Tensor, Tensor, Tensor)";

using Sizes = std::vector<int64_t>;

// The sizes of a call. K regions, O output channels, P x Q bins, classes that share offsets, R x S parts with offsets.
struct Shape {
  int64_t N, C, H, W;
  int64_t K, O, P, Q;
  int64_t classes, class_outputs, part_h, part_w;
  Groups groups;
  Kind kind;
  int64_t samples;
  double scale, gamma;

  DEFORMLAB_INLINE int64_t bins() const { return P * Q; }
  DEFORMLAB_INLINE int64_t cells() const { return H * W; }
  DEFORMLAB_INLINE int64_t group_count() const { return groups.height * groups.width; }

  // Index of a bin's part in (K, classes, R, S), which is also where its mask is.
  DEFORMLAB_INLINE int64_t part(int64_t k, int64_t cls, int64_t p, int64_t q) const {
    return ((k * classes + cls) * part_h + scaled(p, part_h, P)) * part_w + scaled(q, part_w, Q);
  }
  // Index of the shift in x of a bin's part in (K, 2·classes, R, S); the shift in y is R·S further.
  DEFORMLAB_INLINE int64_t offset(int64_t k, int64_t cls, int64_t p, int64_t q) const {
    return ((k * classes + cls) * 2 * part_h + scaled(p, part_h, P)) * part_w + scaled(q, part_w, Q);
  }
};

struct Needs {
  bool input, offset, mask;
};

inline Shape shape_of(
    const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset, const std::optional<Tensor>& mask,
    int64_t kind, const Sizes& output_size, double scale, int64_t samples, const Sizes& groups, double gamma) {
  constexpr const char* kMessage = "roi_average: shapes do not fit; call it through deformlab.ops, which says how";
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  STD_TORCH_CHECK(
      input.dim() == 4 && rois.dim() == 2 && rois.size(1) == 5 && output_size.size() == 2 && groups.size() == 2 &&
          kind >= 0 && kind <= 5 && groups[0] > 0 && groups[1] > 0 && output_size[0] > 0 && output_size[1] > 0 &&
          samples <= kMost && groups[0] <= kMostParts && groups[1] <= kMostParts && output_size[0] <= kMostParts &&
          output_size[1] <= kMostParts,
      kMessage);
  Shape s;
  s.N = input.size(0), s.C = input.size(1), s.H = input.size(2), s.W = input.size(3);
  s.K = rois.size(0), s.P = output_size[0], s.Q = output_size[1];
  s.groups = {groups[0], groups[1]};
  s.kind = static_cast<Kind>(kind), s.samples = samples, s.scale = scale, s.gamma = gamma;
  s.O = s.C / s.group_count();
  s.classes = 1, s.part_h = s.P, s.part_w = s.Q;
  bool legal = s.O > 0 && s.O * s.group_count() == s.C && s.H > 0 && s.W > 0 && s.C <= kMost &&
      s.H <= kMost / s.W && (s.kind != Kind::kAuthors || samples > 0);
  if (offset) {
    legal = legal && offset->dim() == 4 && offset->size(0) == s.K && offset->size(1) >= 2 && offset->size(1) % 2 == 0;
  }
  if (mask) {
    legal = legal && mask->dim() == 4 && mask->size(0) == s.K && mask->size(1) >= 1;
  }
  STD_TORCH_CHECK(legal, kMessage);
  if (offset || mask) {
    const Tensor& parts = offset ? *offset : *mask;
    s.classes = offset ? offset->size(1) / 2 : mask->size(1);
    s.part_h = parts.size(2), s.part_w = parts.size(3);
    legal = s.part_h > 0 && s.part_w > 0 && s.part_h <= kMostParts && s.part_w <= kMostParts &&
        s.O % s.classes == 0;
    if (offset && mask) {
      legal = legal && mask->size(1) == s.classes && mask->size(2) == s.part_h && mask->size(3) == s.part_w;
    }
    STD_TORCH_CHECK(legal, kMessage);
  }
  STD_TORCH_CHECK(s.O * s.P * s.Q <= kMost, kMessage);
  s.class_outputs = s.O / s.classes;
  return s;
}

inline void check_gradient(const Shape& s, const Tensor& grad) {
  STD_TORCH_CHECK(
      grad.dim() == 4 && grad.size(0) == s.K && grad.size(1) == s.O && grad.size(2) == s.P && grad.size(3) == s.Q,
      "roi_average_backward: the gradient does not have the output's shape");
}

// A region: its image, and its two axes. `legal` is false for a region that is not finite or whose image does not
// exist; its output is zero.
template <typename T>
struct Region {
  int64_t image;
  Axis<T> y, x;
  bool legal;
};

template <typename T>
DEFORMLAB_INLINE Region<T> region_of(const Shape& s, const T* roi) {
  Region<T> region;
  region.legal = roi[0] >= 0 && roi[0] < static_cast<T>(s.N);
  for (int i = 1; i < 5; ++i) {
    region.legal = region.legal && std::abs(roi[i]) <= T(1e9);  // false for NaN
  }
  region.image = region.legal ? static_cast<int64_t>(roi[0]) : 0;
  const T scale = static_cast<T>(s.scale);
  region.y = axis_of<T>(s.kind, region.legal ? roi[2] : T(0), region.legal ? roi[4] : T(0), scale, s.P, s.samples);
  region.x = axis_of<T>(s.kind, region.legal ? roi[1] : T(0), region.legal ? roi[3] : T(0), scale, s.Q, s.samples);
  return region;
}

}  // namespace deformlab::roi_average
