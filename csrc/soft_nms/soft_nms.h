// The parts of soft_nms that all devices share: the schema, the checks, and the factor of a score.

#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>

#include "../common/dispatch.h"
#include "../common/iou.h"
#include "../common/tensors.h"

namespace deformlab::soft_nms {

// Returns the selected scores and the boxes' indices. The method is the Gaussian one or the linear one. A negative
// `max_output` is no limit. (The number of boxes cannot be passed: torch.export would take it for a constant.)
constexpr const char* kSchema =
    "soft_nms(Tensor boxes, Tensor scores, float iou_threshold, bool gaussian, float sigma, float min_score, "
    "int max_output, int offset) -> (Tensor, Tensor)";

// The checks only prevent out-of-bounds memory accesses: deformlab.ops has already checked the arguments and raised
// helpful errors.
inline void check(const Tensor& boxes, const Tensor& scores) {
  STD_TORCH_CHECK(
      boxes.dim() == 2 && boxes.size(1) == 4 && scores.dim() == 1 && scores.size(0) == boxes.size(0),
      "soft_nms: shapes do not fit; call it through deformlab.ops, which says how");
}

// Returns how many boxes can be selected.
inline int64_t most_selected(const Tensor& boxes, int64_t max_output) {
  return max_output < 0 ? boxes.size(0) : std::min(boxes.size(0), max_output);
}

// Scores and IoUs have this type: float64 if one of the arguments has it, otherwise float32.
inline ScalarType computed_type(const Tensor& boxes, const Tensor& scores) {
  return scores.scalar_type() == ScalarType::Double ? ScalarType::Double : boxes.scalar_type();
}

// How scores are lowered.
struct Decay {
  double iou_threshold, sigma;
  bool gaussian;

  // Returns the score of a box that has this IoU with a selected box. The factor is computed in float64, so that
  // implementations of exp agree once it is rounded to float32. An IoU of NaN lowers nothing.
  template <typename T>
  DEFORMLAB_INLINE T operator()(T score, T iou) const {
    if (gaussian) {
      return iou > 0 ? score * static_cast<T>(exp(-static_cast<double>(iou) * iou / sigma)) : score;
    }
    return iou >= iou_threshold ? score * (1 - iou) : score;
  }
};

}  // namespace deformlab::soft_nms
