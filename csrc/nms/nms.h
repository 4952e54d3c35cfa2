// The parts of nms that all devices share: the schema, and the checks.

#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "../common/dispatch.h"
#include "../common/tensors.h"

namespace deformlab::nms {

// With `idxs`, boxes suppress only boxes with the same index.
constexpr const char* kSchema =
    "nms(Tensor boxes, Tensor scores, Tensor? idxs, float iou_threshold, int offset) -> Tensor";

// The checks only prevent out-of-bounds memory accesses: deformlab.ops has already checked the arguments and raised
// helpful errors.
inline void check(const Tensor& boxes, const Tensor& scores, const std::optional<Tensor>& idxs) {
  STD_TORCH_CHECK(
      boxes.dim() == 2 && boxes.size(1) == 4 && scores.dim() == 1 && scores.size(0) == boxes.size(0) &&
          (!idxs || (idxs->dim() == 1 && idxs->size(0) == boxes.size(0))),
      "nms: shapes do not fit; call it through deformlab.ops, which says how");
}

}  // namespace deformlab::nms
