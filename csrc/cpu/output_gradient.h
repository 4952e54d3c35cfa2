// The gradient of the output for a stretch of its pixels, as the two products of the backward pass read it: as rows,
// and transposed in panels of one block's outputs, the last one of a group filled up with zeros.

#pragma once

#include <algorithm>

#include "chunks.h"
#include "tensors.h"

namespace deformlab {

template <typename T>
class OutputGradient {
 public:
  // For at most `pixels` pixels and `groups` weight groups of `outputs` each; `block` outputs make a panel, and as
  // many rows after the last pixel may be read.
  OutputGradient(
      const Planes<const T>& source, int64_t pixels, int64_t groups, int64_t outputs, int64_t block, bool panels)
      : source_(source),
        outputs_(outputs),
        padded_outputs_(round_up(outputs, block)),
        block_(block),
        stride_(row_stride(groups, outputs)),
        has_panels_(panels),
        rows_(new_tensor<T>({(pixels + block) * stride_})),
        panels_(new_tensor<T>({panels ? groups * padded_outputs_ * pixels : 0})) {}

  // Memory per pixel.
  static int64_t bytes(int64_t groups, int64_t outputs, int64_t block, bool panels) {
    return (row_stride(groups, outputs) + (panels ? groups * round_up(outputs, block) : 0)) * sizeof(T);
  }

  void load(int64_t begin, int64_t end, int64_t first_group, int64_t groups) {
    first_group_ = first_group;
    pixels_ = end - begin;
    parallel_pixels(pixels_, [&](int64_t from, int64_t to) {
      T* const rows = data<T>(rows_) + from * stride_;
      read_rows(source_, begin + from, begin + to, first_group * outputs_, groups * outputs_, rows, stride_);
      for (int64_t group = 0; has_panels_ && group < groups; ++group) {
        for (int64_t first = 0; first < outputs_; first += block_) {
          const int64_t count = std::min(block_, outputs_ - first);
          const T* row = rows + group * outputs_ + first;
          T* panel = data<T>(panels_) + (group * padded_outputs_ + first) * pixels_ + from * block_;
          for (int64_t pixel = from; pixel < to; ++pixel, row += stride_, panel += block_) {
            for (int64_t i = 0; i < block_; ++i) {
              panel[i] = i < count ? row[i] : T(0);
            }
          }
        }
      }
    });
  }

  // Pixels are counted from the first one loaded, groups from the first of all.
  const T* row(int64_t pixel, int64_t group) const {
    return data<T>(rows_) + pixel * stride_ + (group - first_group_) * outputs_;
  }
  int64_t stride() const { return stride_; }

  // Output `first` of a group is a multiple of the block.
  const T* panel(int64_t pixel, int64_t group, int64_t first) const {
    return data<T>(panels_) + ((group - first_group_) * padded_outputs_ + first) * pixels_ + pixel * block_;
  }
  int64_t panel_size() const { return pixels_ * block_; }

 private:
  // A power of two between rows would put them all into one set of the cache.
  static int64_t row_stride(int64_t groups, int64_t outputs) { return groups * outputs + 16; }

  Planes<const T> source_;
  int64_t outputs_, padded_outputs_, block_, stride_;
  bool has_panels_;
  Tensor rows_, panels_;
  int64_t first_group_ = 0, pixels_ = 0;
};

}  // namespace deformlab
