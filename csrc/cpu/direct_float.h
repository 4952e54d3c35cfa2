// The forward pass in float32 without a library's matrix product: every tap is sampled and multiplied while it is in
// the second-level cache. Each output is summed in one order, so any number of threads gives the same bits.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "columns.h"
#include "gemm.h"
#include "layout.h"

namespace deformlab {

// About this many pixels of one tap: columns, gradients and sums then fit into a second-level cache together.
constexpr int64_t kDirectPixels = 112;

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// The weights in the panels that the product reads: for each tap and weight group a matrix (channels, outputs), its
// outputs filled up with zeros to whole panels.
class PackedWeights {
 public:
  // weight: (O, C / groups, K), or its channels last.
  PackedWeights(const ConvShape& s, const float* weight, bool channels_last, int64_t panel_outputs)
      : groups_(s.groups),
        panel_(s.C / s.groups * panel_outputs),
        matrix_(panel_ * ((s.O / s.groups + panel_outputs - 1) / panel_outputs)),
        values_(new float[s.K() * s.groups * matrix_]) {
    const int64_t K = s.K(), channels = s.C / s.groups, outputs = s.O / s.groups, panels = matrix_ / panel_;
    const int64_t tap_step = channels_last ? channels : 1, channel_step = channels_last ? 1 : K;
    // Taps of one panel one after the other: their source lies close together.
    torch::stable::parallel_for(0, K * groups_ * panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t k = item % K, number = item / K % panels, group = item / K / panels;
        const int64_t first = number * panel_outputs, count = std::min(panel_outputs, outputs - first);
        const float* from = weight + (group * outputs + first) * K * channels + k * tap_step;
        float* to = values_.get() + (k * groups_ + group) * matrix_ + number * panel_;
        transpose_block(
            from, K * channels, to, panel_outputs, count, channels, [](float value, int64_t) { return value; },
            channel_step);
        for (int64_t channel = 0; channel < channels && count < panel_outputs; ++channel) {
          std::fill_n(to + channel * panel_outputs + count, panel_outputs - count, 0.0f);
        }
      }
    });
  }

  const float* at(int64_t k, int64_t group) const { return values_.get() + (k * groups_ + group) * matrix_; }
  int64_t panel() const { return panel_; }

 private:
  int64_t groups_, panel_, matrix_;
  std::unique_ptr<float[]> values_;
};

// weight: (O, C / groups, K), output: (N, O, P, Q), or their channels last.
inline void forward_direct(
    const Sampling<float>& sampling, const float* weight, bool weight_channels_last, const float* bias,
    float* output, bool output_channels_last) {
  const ConvShape& s = sampling.shape;
  const ProductKernel kernel = product_kernel();
  const int64_t group_channels = s.C / s.groups, group_outputs = s.O / s.groups;
  const PackedWeights weights(s, weight, weight_channels_last, kernel.columns);

  const int64_t shares = torch::stable::get_num_threads() *
      ((s.pixels() - 1) / (kDirectPixels * torch::stable::get_num_threads()) + 1);
  const int64_t tile = round_up((s.pixels() + shares - 1) / shares, kernel.rows);
  const int64_t tiles = (s.pixels() + tile - 1) / tile;
  const int64_t padded_outputs = round_up(group_outputs, kernel.columns);
  // A power of two between rows would put them all into one set of the cache.
  const int64_t column_row = s.C + 16, sum_row = s.groups * padded_outputs + 16, area = s.P * s.Q;
  torch::stable::parallel_for(0, tiles, 1, [&](int64_t from, int64_t to) {
    std::vector<float> columns(tile * column_row), sums(tile * sum_row);
    for (int64_t begin = from * tile; begin < std::min(to * tile, s.pixels()); begin += tile) {
      const int64_t end = std::min(begin + tile, s.pixels());
      for (int64_t row = 0; row < end - begin; ++row) {
        for (int64_t group = 0; group < s.groups; ++group) {
          std::copy_n(
              bias + group * group_outputs, group_outputs, sums.data() + row * sum_row + group * padded_outputs);
        }
      }
      for (int64_t k = 0; k < s.K(); ++k) {
        sample_tap(sampling, k, columns.data(), column_row, begin, end);
        for (int64_t group = 0; group < s.groups; ++group) {
          kernel.multiply_add(
              {columns.data() + group * group_channels, column_row, 1, weights.at(k, group), weights.panel(),
               kernel.columns, sums.data() + group * padded_outputs, sum_row, round_up(end - begin, kernel.rows),
               padded_outputs, group_channels});
        }
      }
      for (int64_t group = 0; group < s.groups; ++group) {
        const float* rows = sums.data() + group * padded_outputs;
        const int64_t first = group * group_outputs;
        if (output_channels_last) {
          for (int64_t pixel = begin; pixel < end; ++pixel) {
            std::copy_n(rows + (pixel - begin) * sum_row, group_outputs, output + pixel * s.O + first);
          }
          continue;
        }
        for (int64_t pixel = begin, next; pixel < end; pixel = next) {
          const int64_t n = pixel / area;
          next = std::min((n + 1) * area, end);
          transpose_block(
              rows + (pixel - begin) * sum_row, sum_row, output + (n * s.O + first) * area + pixel - n * area, area,
              next - pixel, group_outputs, [](float value, int64_t) { return value; });
        }
      }
    }
  });
}

}  // namespace deformlab
