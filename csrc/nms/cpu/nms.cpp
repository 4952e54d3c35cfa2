// Non-maximum suppression on the CPU.
//
// The boxes that are kept are in an array, sorted by decreasing score. Each candidate is compared with them until one
// of them suppresses it. This compares the same pairs as crossing out candidates, but reads only boxes that are kept.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "../../common/cpu/overlaps.h"
#include "../nms.h"

namespace deformlab::nms {
namespace {

// Candidates of one block are first compared with the boxes kept before it, in parallel.
constexpr int64_t kBlock = 2048;
// A thread has at least this many comparisons, about half a millisecond. On a busy machine, waiting for a thread can
// take longer than that.
constexpr int64_t kGrain = 1 << 21;

template <typename T>
class Suppression {
 public:
  Suppression(const Tensor& boxes, T offset, T threshold)
      : boxes_(torch::stable::contiguous(as_type(boxes, dtype_of<T>()))),
        offset_(offset),
        threshold_(threshold),
        kept_(boxes.size(0)) {}

  // Marks which of the candidates, indices of boxes sorted by decreasing score, are kept.
  void run(const int64_t* candidates, int64_t count, bool* keeps) {
    int64_t kept = 0;
    for (int64_t begin = 0; begin < count; begin += kBlock) {
      const int64_t end = std::min(begin + kBlock, count), before = kept;
      torch::stable::parallel_for(begin, end, std::max<int64_t>(1, kGrain / (before + 1)), [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          keeps[i] = !overlaps_any(kept_, 0, before, box(candidates[i]), offset_, threshold_);
        }
      });
      for (int64_t i = begin; i < end; ++i) {
        const Box<T> candidate = box(candidates[i]);
        keeps[i] = keeps[i] && !overlaps_any(kept_, before, kept, candidate, offset_, threshold_);
        if (keeps[i]) {
          kept_.set(kept++, candidate);
        }
      }
    }
    for (int64_t i = 0; i < kept; ++i) {
      kept_.set(i, kNothing);
    }
  }

 private:
  static constexpr T kNaN = std::numeric_limits<T>::quiet_NaN();
  static constexpr Box<T> kNothing{kNaN, kNaN, kNaN, kNaN, kNaN};

  Box<T> box(int64_t index) const {
    const T* at = data<T>(boxes_) + 4 * index;
    return {at[0], at[1], at[2], at[3], area_of(at[0], at[1], at[2], at[3], offset_)};
  }

  Tensor boxes_;
  T offset_, threshold_;
  Boxes<T> kept_;
};

Tensor nms(
    const Tensor& boxes, const Tensor& scores, const std::optional<Tensor>& idxs, double iou_threshold,
    int64_t offset) {
  check(boxes, scores, idxs);
  const int64_t count = boxes.size(0);
  const Tensor order_tensor = torch::stable::contiguous(sort_stably(scores, true).second);
  const int64_t* order = data<int64_t>(order_tensor);
  // Positions in `order`, one class after the other.
  std::vector<int64_t> positions(count), classes;
  std::iota(positions.begin(), positions.end(), 0);
  if (idxs) {
    const Tensor typed = torch::stable::contiguous(as_type(*idxs, ScalarType::Long));
    classes.assign(data<int64_t>(typed), data<int64_t>(typed) + count);
    std::stable_sort(positions.begin(), positions.end(), [&](int64_t a, int64_t b) {
      return classes[order[a]] < classes[order[b]];
    });
  }
  std::vector<int64_t> candidates(count);
  std::transform(
      positions.begin(), positions.end(), candidates.begin(), [&](int64_t position) { return order[position]; });
  const auto keeps = std::make_unique<bool[]>(count);
  dispatch_computed("nms", boxes.scalar_type(), [&](auto scalar) {
    using T = decltype(scalar);
    Suppression<T> suppression(boxes, static_cast<T>(offset), round_down<T>(iou_threshold));
    for (int64_t begin = 0, end = 0; begin < count; begin = end) {
      end = idxs ? begin : count;
      while (end < count && classes[candidates[end]] == classes[candidates[begin]]) {
        ++end;
      }
      suppression.run(candidates.data() + begin, end - begin, keeps.get() + begin);
    }
    return 0;
  });
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < count; ++i) {
    if (keeps[i]) {
      kept.push_back(positions[i]);
    }
  }
  std::sort(kept.begin(), kept.end());
  const Tensor result = new_tensor<int64_t>({static_cast<int64_t>(kept.size())});
  std::transform(kept.begin(), kept.end(), data<int64_t>(result), [&](int64_t position) { return order[position]; });
  return result;
}

STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) { library.def(kSchema); }

STABLE_TORCH_LIBRARY_IMPL(deformlab, CPU, library) { library.impl("nms", TORCH_BOX(&nms)); }

}  // namespace
}  // namespace deformlab::nms
