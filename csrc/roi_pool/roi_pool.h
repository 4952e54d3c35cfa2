// The parts of roi_pool (maximum) that all devices share: schemas, sizes, and checks against access out of bounds.

#pragma once

#include "../roi_average/roi_average.h"

namespace deformlab::roi_pool {

// `argmax` has the cell of each maximum, or -1 for a bin without cells.
constexpr const char* kForwardSchema =
    "roi_pool(Tensor input, Tensor rois, int[] output_size, float spatial_scale) -> (Tensor output, Tensor argmax)";
constexpr const char* kBackwardSchema =
    "roi_pool_backward(Tensor grad, Tensor rois, Tensor argmax, int[] input_size) -> Tensor";

using roi_average::Sizes;

// The bins are those of the mean of DCNv1, equation 5.
inline roi_average::Shape shape_of(
    const Tensor& input, const Tensor& rois, const Sizes& output_size, double scale) {
  return roi_average::shape_of(
      input, rois, std::nullopt, std::nullopt, static_cast<int64_t>(roi_average::Kind::kMean), output_size, scale, 0,
      {1, 1}, 0);
}

inline void check_backward(const Tensor& grad, const Tensor& rois, const Tensor& argmax, const Sizes& input_size) {
  bool legal = grad.dim() == 4 && argmax.dim() == 4 && rois.dim() == 2 && rois.size(1) == 5 &&
      input_size.size() == 4 && grad.size(0) == rois.size(0) && grad.size(1) == input_size[1] &&
      argmax.scalar_type() == ScalarType::Int;
  for (int dim = 0; legal && dim < 4; ++dim) {
    legal = grad.size(dim) == argmax.size(dim) && input_size[dim] >= 0;
  }
  STD_TORCH_CHECK(legal, "roi_pool_backward: shapes do not fit");
}

}  // namespace deformlab::roi_pool
