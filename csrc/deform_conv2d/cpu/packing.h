// Copies of the filters and of the gradient of the output, which the matrix products read without gaps.

#pragma once

#include <algorithm>

#include "../../common/cpu/layout.h"
#include "chunks.h"

namespace deformlab::deform_conv2d {

// One matrix (depth, width) for each tap and weight group, stored in panels that are as wide as a block. The last panel
// is padded with zeros.
template <typename T>
class PackedWeights {
 public:
  PackedWeights(int64_t taps, int64_t groups, int64_t depth, int64_t width, int64_t block)
      : taps_(taps),
        block_(block),
        memory_(new_tensor<T>({taps * (groups * depth * round_up(width, block) + kDepth * block)})) {}

  // Distances between elements of the source.
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
  // Depth of the blocks in which elements are copied: a block stays in the first-level cache. It also pads the distance
  // between taps, so that the taps do not compete for one cache set.
  static constexpr int64_t kDepth = 16;

  int64_t taps_, block_, panel_ = 0, matrix_ = 0, tap_ = 0;
  Tensor memory_;
};

// The filters (O, C / groups, K), in either memory format.
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

// Two copies of the gradient of the output for a stretch of its pixels: as rows of channels, and transposed, in panels
// that are as wide as a block. The last panel of a group is padded with zeros.
template <typename T>
class OutputGradient {
 public:
  // Allocates memory for at most `pixels` pixels and `groups` weight groups of `outputs` output channels each. A panel
  // has `block` outputs, and `block` rows beyond the last pixel may be read.
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

  // Returns the number of bytes per pixel.
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

  // `pixel` is relative to the first loaded pixel; `group` is not relative to the first loaded group.
  const T* row(int64_t pixel, int64_t group) const {
    return data<T>(rows_) + pixel * stride_ + (group - first_group_) * outputs_;
  }
  int64_t stride() const { return stride_; }

  // `first`, an output of the group, is a multiple of the block.
  const T* panel(int64_t pixel, int64_t group, int64_t first) const {
    return data<T>(panels_) + ((group - first_group_) * padded_outputs_ + first) * pixels_ + pixel * block_;
  }
  int64_t panel_size() const { return pixels_ * block_; }

 private:
  // If the distance between rows were a power of two, all rows would compete for one cache set.
  static int64_t row_stride(int64_t groups, int64_t outputs) { return groups * outputs + 16; }

  Planes<const T> source_;
  int64_t outputs_, padded_outputs_, block_, stride_;
  bool has_panels_;
  Tensor rows_, panels_;
  int64_t first_group_ = 0, pixels_ = 0;
};

}  // namespace deformlab::deform_conv2d
