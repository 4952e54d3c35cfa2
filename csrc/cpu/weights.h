// Filters as the product reads them: for each tap and weight group a matrix (depth, width), in panels of the width of
// a block, the last one filled up with zeros.

#pragma once

#include <algorithm>

#include "chunks.h"
#include "tensors.h"

namespace deformlab {

template <typename T>
class PackedWeights {
 public:
  PackedWeights(int64_t taps, int64_t groups, int64_t depth, int64_t width, int64_t block)
      : taps_(taps),
        block_(block),
        memory_(new_tensor<T>({taps * (groups * depth * round_up(width, block) + kDepth * block)})) {}

  // Where an element of the source is, counted from the first.
  struct Strides {
    int64_t group, depth, width, tap;
  };

  void pack(const T* source, const Strides& strides, int64_t groups, int64_t depth, int64_t width) {
    panel_ = depth * block_;
    matrix_ = panel_ * divide_up(width, block_);
    tap_ = groups * matrix_ + kDepth * block_;
    const int64_t panels = divide_up(width, block_);
    torch::stable::parallel_for(0, groups * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t group = item / panels, first = item % panels * block_, count = std::min(block_, width - first);
        const T* const from = source + group * strides.group + first * strides.width;
        T* const to = data<T>(memory_) + group * matrix_ + item % panels * panel_;
        for (int64_t first_depth = 0; first_depth < depth; first_depth += kDepth) {
          const int64_t last_depth = std::min(first_depth + kDepth, depth);
          for (int64_t j = 0; j < count; ++j) {
            for (int64_t d = first_depth; d < last_depth; ++d) {
              const T* const taps_from = from + j * strides.width + d * strides.depth;
              T* const taps_to = to + d * block_ + j;
#pragma GCC unroll 9
              for (int64_t k = 0; k < taps_; ++k) {
                taps_to[k * tap_] = taps_from[k * strides.tap];
              }
            }
          }
        }
        for (int64_t k = 0; k < taps_ && count < block_; ++k) {
          for (int64_t d = 0; d < depth; ++d) {
            std::fill_n(to + k * tap_ + d * block_ + count, block_ - count, T(0));
          }
        }
      }
    });
  }

  const T* at(int64_t k, int64_t group) const { return data<T>(memory_) + k * tap_ + group * matrix_; }
  int64_t panel() const { return panel_; }

 private:
  // What is read and written together stays in the first-level cache; the distance between taps keeps it from falling
  // into one set of it.
  static constexpr int64_t kDepth = 16;

  int64_t taps_, block_, panel_ = 0, matrix_ = 0, tap_ = 0;
  Tensor memory_;
};

// The filters (O, C / groups, K), or their channels last.
template <typename T>
struct Filters {
  Filters(const ConvShape& s, const Planes<const T>& planes)
      : data(planes.data),
        output(planes.C * planes.area),
        channel(planes.channels_last ? 1 : planes.area),
        tap(planes.channels_last ? planes.C : 1),
        group_outputs(s.O / s.groups) {}

  const T* of(const Chunk& chunk) const {
    return data + chunk.first_group * group_outputs * output + chunk.first_in_group * channel;
  }

  const T* data;
  int64_t output, channel, tap;  // strides
  int64_t group_outputs;
};

}  // namespace deformlab
