// Non-maximum suppression on the GPU.
//
// A first kernel finds, for each box, which of the later boxes it would suppress, as one bit per pair. A second kernel,
// of one block, visits the boxes by decreasing score, 64 at a time. Both handle a limited number of rows at a time, so
// that scratch memory grows with the number of boxes, not with its square.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <optional>

#include "../../common/cuda/device.h"
#include "../../common/iou.h"
#include "../nms.h"

namespace deformlab::nms {
namespace {

constexpr int kBits = 64;
constexpr int kThreads = 512;

template <typename T>
struct Candidates {
  const T* boxes;          // (count, 4)
  const int64_t* classes;  // (count,), or null
  const int64_t* order;    // (count,), by decreasing score
  int64_t count;
  T offset, threshold;

  __device__ __forceinline__ Box<T> box(int64_t position) const {
    const T* at = boxes + 4 * order[position];
    return {at[0], at[1], at[2], at[3], area_of(at[0], at[1], at[2], at[3], offset)};
  }
  __device__ __forceinline__ int64_t class_of(int64_t position) const {
    return classes ? classes[order[position]] : 0;
  }
};

// Sets bit b of word (row, w) if box `first + row` would suppress box 64 w + b, a later one. A block has one stretch of
// 64 rows and one word of each.
template <typename T>
__global__ void __launch_bounds__(kBits) find_overlaps(
    Candidates<T> candidates, int64_t first, int64_t rows, int64_t words, uint64_t* bits) {
  __shared__ T x1[kBits], y1[kBits], x2[kBits], y2[kBits], area[kBits];
  __shared__ int64_t classes[kBits];
  const int64_t word = blockIdx.x % words, row = blockIdx.x / words * kBits + threadIdx.x;
  const int64_t later = word * kBits + threadIdx.x;
  if (later < candidates.count) {
    const Box<T> box = candidates.box(later);
    x1[threadIdx.x] = box.x1, y1[threadIdx.x] = box.y1, x2[threadIdx.x] = box.x2, y2[threadIdx.x] = box.y2;
    area[threadIdx.x] = box.area;
    classes[threadIdx.x] = candidates.class_of(later);
  }
  __syncthreads();
  if (row >= rows) {
    return;
  }
  const int64_t position = first + row;
  const int64_t end = candidates.count - word * kBits;
  uint64_t result = 0;
  if ((word + 1) * kBits > position) {
    const Box<T> box = candidates.box(position);
    const int64_t own = candidates.class_of(position);
    for (int bit = 0; bit < kBits && bit < end; ++bit) {
      const Box<T> other{x1[bit], y1[bit], x2[bit], y2[bit], area[bit]};
      if (word * kBits + bit > position && classes[bit] == own &&
          iou_of(box, other, candidates.offset) > candidates.threshold) {
        result |= uint64_t{1} << bit;
      }
    }
  }
  bits[row * words + word] = result;
}

// Decides which of the boxes [first, first + rows) are kept, and marks those that they suppress. `first` is a multiple
// of 64. Runs as one block.
__global__ void __launch_bounds__(kThreads) visit(
    const uint64_t* bits, int64_t first, int64_t rows, int64_t words, uint64_t* suppressed, bool* keeps) {
  __shared__ uint64_t kept, among_each_other[kBits];
  for (int64_t begin = 0; begin < rows; begin += kBits) {
    const int64_t word = (first + begin) / kBits;
    const int count = static_cast<int>(rows - begin < kBits ? rows - begin : kBits);
    if (threadIdx.x < static_cast<unsigned>(count)) {
      among_each_other[threadIdx.x] = bits[(begin + threadIdx.x) * words + word];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      uint64_t gone = suppressed[word], result = 0;
      for (int bit = 0; bit < count; ++bit) {
        if (!(gone >> bit & 1)) {
          result |= uint64_t{1} << bit;
          gone |= among_each_other[bit];
        }
      }
      kept = result;
    }
    __syncthreads();
    const uint64_t mine = kept;
    if (threadIdx.x < static_cast<unsigned>(count)) {
      keeps[first + begin + threadIdx.x] = mine >> threadIdx.x & 1;
    }
    for (int64_t other = word + 1 + threadIdx.x; other < words; other += kThreads) {
      uint64_t gone = suppressed[other];
      for (int bit = 0; bit < count; ++bit) {
        if (mine >> bit & 1) {
          gone |= bits[(begin + bit) * words + other];
        }
      }
      suppressed[other] = gone;
    }
    __syncthreads();  // the next words of `suppressed` are complete
  }
}

Tensor nms(
    const Tensor& boxes_any, const Tensor& scores, const std::optional<Tensor>& idxs, double iou_threshold,
    int64_t offset) {
  check(boxes_any, scores, idxs);
  const int64_t count = boxes_any.size(0);
  if (count == 0) {
    return new_tensor(boxes_any, ScalarType::Long, {0});
  }
  const DeviceScope device(boxes_any.get_device_index());
  const Tensor order = torch::stable::contiguous(sort_stably(scores, true).second);
  std::optional<Tensor> classes;
  if (idxs) {
    classes = torch::stable::contiguous(as_type(*idxs, ScalarType::Long));
  }
  const int64_t words = divide_up(count, int64_t{kBits});
  // The second kernel should find the bits in the cache.
  const int64_t stretch_bytes = kBits * words * sizeof(uint64_t);
  const int64_t most_rows = kBits * std::min(words, std::max<int64_t>(1, device.cache_bytes() / stretch_bytes));
  const Tensor bits = new_tensor(boxes_any, ScalarType::Long, {most_rows, words});
  Tensor suppressed = new_tensor(boxes_any, ScalarType::Long, {words});
  torch::stable::zero_(suppressed);
  const Tensor keeps = new_tensor(boxes_any, ScalarType::Bool, {count});
  return dispatch_computed("nms", boxes_any.scalar_type(), [&](auto scalar) {
    using T = decltype(scalar);
    const Tensor boxes = torch::stable::contiguous(as_type(boxes_any, dtype_of<T>()));
    const Candidates<T> candidates{
        data<const T>(boxes), classes ? data<const int64_t>(*classes) : nullptr, data<const int64_t>(order), count,
        static_cast<T>(offset), round_down<T>(iou_threshold)};
    for (int64_t first = 0; first < count; first += most_rows) {
      const int64_t rows = std::min(most_rows, count - first);
      device.launch(
          find_overlaps<T>, divide_up(rows, int64_t{kBits}) * words, dim3(kBits), candidates, first, rows, words,
          data<uint64_t>(bits));
      device.launch(
          visit, 1, dim3(kThreads), data<const uint64_t>(bits), first, rows, words, data<uint64_t>(suppressed),
          data<bool>(keeps));
    }
    return select(order, keeps);
  });
}

STABLE_TORCH_LIBRARY_IMPL(DEFORMLAB_LIBRARY, DEFORMLAB_DEVICE, library) { library.impl("nms", TORCH_BOX(&nms)); }

}  // namespace
}  // namespace deformlab::nms
