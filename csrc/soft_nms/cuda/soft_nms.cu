// Soft non-maximum suppression on the GPU: a single block, because each round needs the result of the previous one.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <tuple>

#include "../../common/cuda/device.h"
#include "../soft_nms.h"

namespace deformlab::soft_nms {
namespace {

constexpr int kThreads = 512;

template <typename T>
struct Call {
  const T* boxes;  // (count, 4)
  int64_t count, most;
  double min_score;
  T offset;
  Decay decay;

  __device__ __forceinline__ Box<T> box(int64_t index) const {
    const T* at = boxes + 4 * index;
    return {at[0], at[1], at[2], at[3], area_of(at[0], at[1], at[2], at[3], offset)};
  }
};

// A box that can be selected; index -1 if there is none.
template <typename T>
struct Best {
  T score;
  int64_t index;

  __device__ __forceinline__ void improve(T other_score, int64_t other_index) {
    const bool better = index < 0 || other_score > score || (other_score == score && other_index < index);
    if (other_index >= 0 && better) {
      score = other_score;
      index = other_index;
    }
  }
};

// `current` has the scores, and is overwritten. `selected` has one truth value per possible output: whether the first
// entries of `scores` and `indices` are set.
template <typename T>
__global__ void __launch_bounds__(kThreads) select_boxes(
    Call<T> call, T* current, bool* gone, T* scores, int64_t* indices, bool* selected) {
  __shared__ T best_scores[kThreads];
  __shared__ int64_t best_indices[kThreads];
  int64_t last = -1;  // the box that was selected in the previous round
  for (int64_t round = 0; round < call.most; ++round) {
    // A thread reads and writes only its own boxes.
    Best<T> best{T(0), -1};
    for (int64_t i = threadIdx.x; i < call.count; i += kThreads) {
      if (round == 0) {
        gone[i] = !(current[i] >= call.min_score);
      } else if (!gone[i]) {
        if (i != last) {
          current[i] = call.decay(current[i], iou_of(call.box(last), call.box(i), call.offset));
        }
        gone[i] = i == last || !(current[i] >= call.min_score);
      }
      if (!gone[i]) {
        best.improve(current[i], i);
      }
    }
    best_scores[threadIdx.x] = best.score;
    best_indices[threadIdx.x] = best.index;
    for (unsigned half = kThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) {
        best.improve(best_scores[threadIdx.x + half], best_indices[threadIdx.x + half]);
        best_scores[threadIdx.x] = best.score;
        best_indices[threadIdx.x] = best.index;
      }
    }
    __syncthreads();
    last = best_indices[0];
    if (threadIdx.x == 0) {
      selected[round] = last >= 0;
      scores[round] = best_scores[0];
      indices[round] = last;
    }
    __syncthreads();  // nobody writes the shared arrays before everybody has read the result
    if (last < 0) {
      for (int64_t i = round + 1 + threadIdx.x; i < call.most; i += kThreads) {
        selected[i] = false;
      }
      return;
    }
  }
}

std::tuple<Tensor, Tensor> soft_nms(
    const Tensor& boxes_any, const Tensor& scores_any, double iou_threshold, bool gaussian, double sigma,
    double min_score, int64_t max_output, int64_t offset) {
  check(boxes_any, scores_any);
  const int64_t count = boxes_any.size(0), most = most_selected(boxes_any, max_output);
  if (most == 0) {
    return {new_tensor(scores_any, scores_any.scalar_type(), {0}), new_tensor(boxes_any, ScalarType::Long, {0})};
  }
  const DeviceScope device(boxes_any.get_device_index());
  return dispatch_computed("soft_nms", computed_type(boxes_any, scores_any), [&](auto scalar) {
    using T = decltype(scalar);
    const ScalarType dtype = dtype_of<T>();
    const Tensor boxes = torch::stable::contiguous(as_type(boxes_any, dtype));
    Tensor current = new_tensor(boxes, dtype, {count});
    torch::stable::copy_(current, scores_any);
    const Tensor gone = new_tensor(boxes, ScalarType::Bool, {count});
    const Tensor scores = new_tensor(boxes, dtype, {most}), indices = new_tensor(boxes, ScalarType::Long, {most});
    const Tensor selected = new_tensor(boxes, ScalarType::Bool, {most});
    const Call<T> call{data<const T>(boxes), count, most, min_score, static_cast<T>(offset),
                       Decay{iou_threshold, sigma, gaussian}};
    device.launch(
        select_boxes<T>, 1, dim3(kThreads), call, data<T>(current), data<bool>(gone), data<T>(scores),
        data<int64_t>(indices), data<bool>(selected));
    return std::tuple{as_type(select(scores, selected), scores_any.scalar_type()), select(indices, selected)};
  });
}

STABLE_TORCH_LIBRARY_IMPL(DEFORMLAB_LIBRARY, DEFORMLAB_DEVICE, library) {
  library.impl("soft_nms", TORCH_BOX(&soft_nms));
}

}  // namespace
}  // namespace deformlab::soft_nms
