// Soft non-maximum suppression on the CPU.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../../common/cpu/overlaps.h"
#include "../soft_nms.h"

namespace deformlab::soft_nms {
namespace {

// The boxes that can still be selected, in the order of their indices, so that the lowest index wins a tie.
template <typename T>
class Candidates {
 public:
  Candidates(const Tensor& boxes_any, const Tensor& scores_any, double min_score, T offset)
      : boxes_(boxes_any.size(0)), min_score_(min_score), offset_(offset), ious_(boxes_any.size(0) + kBoxesReadPast) {
    const Tensor boxes = torch::stable::contiguous(as_type(boxes_any, dtype_of<T>()));
    const Tensor scores = torch::stable::contiguous(as_type(scores_any, dtype_of<T>()));
    scores_.resize(scores.size(0));
    indices_.resize(scores.size(0));
    for (int64_t i = 0; i < scores.size(0); ++i) {
      const T* at = data<T>(boxes) + 4 * i;
      keep(i, {at[0], at[1], at[2], at[3], area_of(at[0], at[1], at[2], at[3], offset_)}, data<T>(scores)[i]);
    }
  }

  bool empty() const { return count_ == 0; }
  T best_score() const { return scores_[best_]; }
  int64_t best_index() const { return indices_[best_]; }

  // Removes the best box and lowers the scores of the others.
  void remove_best(const Decay& decay) {
    compute_ious(boxes_, count_, boxes_.get(best_), offset_, ious_.data());
    const int64_t before = count_, removed = best_;
    count_ = best_ = 0;
    for (int64_t i = 0; i < before; ++i) {
      if (i != removed) {
        keep(indices_[i], boxes_.get(i), decay(scores_[i], ious_[i]));
      }
    }
  }

 private:
  void keep(int64_t index, const Box<T>& box, T score) {
    if (score >= min_score_) {
      boxes_.set(count_, box);
      scores_[count_] = score;
      indices_[count_] = index;
      best_ = score > scores_[best_] ? count_ : best_;
      ++count_;
    }
  }

  Boxes<T> boxes_;
  double min_score_;
  T offset_;
  std::vector<T> ious_, scores_;
  std::vector<int64_t> indices_;
  int64_t count_ = 0, best_ = 0;
};

std::tuple<Tensor, Tensor> soft_nms(
    const Tensor& boxes, const Tensor& scores, double iou_threshold, bool gaussian, double sigma, double min_score,
    int64_t max_output, int64_t offset) {
  check(boxes, scores);
  const int64_t most = most_selected(boxes, max_output);
  const Decay decay{iou_threshold, sigma, gaussian};
  return dispatch_computed("soft_nms", computed_type(boxes, scores), [&](auto scalar) {
    using T = decltype(scalar);
    Candidates<T> candidates(boxes, scores, min_score, static_cast<T>(offset));
    std::vector<T> selected_scores;
    std::vector<int64_t> selected;
    while (!candidates.empty() && static_cast<int64_t>(selected.size()) < most) {
      selected_scores.push_back(candidates.best_score());
      selected.push_back(candidates.best_index());
      candidates.remove_best(decay);
    }
    const int64_t count = selected.size();
    const Tensor new_scores = new_tensor<T>({count}), indices = new_tensor<int64_t>({count});
    std::copy(selected_scores.begin(), selected_scores.end(), data<T>(new_scores));
    std::copy(selected.begin(), selected.end(), data<int64_t>(indices));
    return std::tuple{as_type(new_scores, scores.scalar_type()), indices};
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) { library.def(kSchema); }

STABLE_TORCH_LIBRARY_IMPL(deformlab, CPU, library) { library.impl("soft_nms", TORCH_BOX(&soft_nms)); }

}  // namespace
}  // namespace deformlab::soft_nms
