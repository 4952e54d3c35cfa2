// The forward pass in float32 and float64, with our own matrix products. The samples of each tap are multiplied while
// they are in the second-level cache. Each output is summed in a fixed order, so the result is the same, bit for bit,
// for any number of threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "../../common/cpu/layout.h"
#include "chunks.h"
#include "kernels.h"
#include "packing.h"

namespace deformlab::deform_conv2d {

// The approximate number of output pixels per tile. Their columns for one tap and their sums fit into a second-level
// cache.
constexpr int64_t kForwardPixels = 112;
constexpr int64_t kForwardChannels = 256;

// The channels of a chunk of the input, as rows: a view of the input if it is channels_last, otherwise a copy.
template <typename T>
class InputChunk {
 public:
  InputChunk(const ConvShape& s, const Planes<const T>& input)
      : input_(input),
        cells_(s.N * s.H * s.W),
        zeros_(s.C, T{}),
        copy_(new_tensor<T>({input.channels_last ? 0 : cells_ * std::min(s.C, kForwardChannels)})) {}

  Image<const T> load(const Chunk& chunk) {
    if (input_.channels_last) {
      return {input_.data + chunk.begin, input_.C};
    }
    T* const copy = data<T>(copy_);
    parallel_pixels(cells_, [&](int64_t begin, int64_t end) {
      read_rows(input_, begin, end, chunk.begin, chunk.size(), copy + begin * chunk.size(), chunk.size());
    });
    return {copy, chunk.size()};
  }

  const T* zeros() const { return zeros_.data(); }

 private:
  Planes<const T> input_;
  int64_t cells_;
  std::vector<T> zeros_;
  Tensor copy_;
};

template <typename T>
class Forward {
 public:
  Forward(
      const Positions<T>& positions, const Planes<const T>& input, const Planes<const T>& weight, const T* bias,
      const Planes<T>& output)
      : s_(positions.shape),
        positions_(positions),
        input_(s_, input),
        filters_(s_, weight),
        bias_(bias),
        output_(output) {}

  void run() {
    const std::vector<Chunk> chunks = chunks_of(s_, kForwardChannels);
    const int64_t group_outputs = s_.O / s_.groups;
    const Chunk& largest = chunks.front();
    PackedWeights<T> weights(s_.K(), largest.groups, largest.per_group, group_outputs, kernels_.block_columns);
    const int64_t threads = torch::stable::get_num_threads();
    const int64_t tiles = round_up(divide_up(s_.pixels(), kForwardPixels), threads);
    const int64_t tile = round_up(divide_up(s_.pixels(), std::max<int64_t>(1, tiles)), kernels_.block_rows);
    for (const Chunk& chunk : chunks) {
      const Image<const T> image = input_.load(chunk);
      weights.pack(
          filters_.of(chunk),
          {group_outputs * filters_.output, filters_.channel, filters_.output, filters_.tap}, chunk.groups,
          chunk.per_group, group_outputs);
      // A thread that has finished its tile takes the next one, so that no core waits for a slower one.
      std::atomic<int64_t> next{0};
      torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
        convolve(chunk, image, weights, tile, next);
      });
    }
  }

 private:
  // Processes tiles of `tile` output pixels until none is left.
  void convolve(
      const Chunk& chunk, const Image<const T>& image, const PackedWeights<T>& weights, int64_t tile,
      std::atomic<int64_t>& next) {
    const int64_t group_outputs = s_.O / s_.groups;
    const int64_t padded = round_up(group_outputs, kernels_.block_columns);
    // If the distance between rows were a power of two, all rows would compete for one cache set.
    const int64_t column_stride = chunk.size() + 16, sum_stride = chunk.groups * padded + 16;
    std::vector<T> columns(tile * column_stride), sums(tile * sum_stride);
    std::vector<Tap<T>> taps(tile);
    for (int64_t first = tile * next++; first < s_.pixels(); first = tile * next++) {
      const int64_t last = std::min(first + tile, s_.pixels());
      for (int64_t group = 0; group < chunk.groups; ++group) {
        const int64_t output = (chunk.first_group + group) * group_outputs;
        T* const rows = sums.data() + group * padded;
        if (chunk.first_in_group == 0) {
          for (int64_t row = 0; row < last - first; ++row) {
            std::copy_n(bias_ + output, group_outputs, rows + row * sum_stride);
          }
        } else {
          read_rows(
              Planes<const T>{output_.data, output_.C, output_.area, output_.channels_last}, first, last, output,
              group_outputs, rows, sum_stride);
        }
      }
      for (int64_t k = 0; k < s_.K(); ++k) {
        for_each_offset_group(s_, chunk.begin, chunk.end, [&](int64_t g, int64_t from, int64_t to) {
          kernels_.locate(positions_, g, k, first, last, taps.data());
          kernels_.read(
              {.input = image,
               .zeros = input_.zeros(),
               .channels = {chunk.begin, chunk.end, chunk.per_group, chunk.per_group},
               .taps = taps.data(),
               .first = from,
               .last = to,
               .pixels = last - first,
               .columns = {columns.data(), column_stride}});
        });
        for (int64_t group = 0; group < chunk.groups; ++group) {
          kernels_.multiply(
              {.a = columns.data() + group * chunk.per_group,
               .a_block = kernels_.block_rows * column_stride,
               .a_row = column_stride,
               .a_depth = 1,
               .b = weights.at(k, group),
               .b_panel = weights.panel(),
               .b_depth = kernels_.block_columns,
               .c = sums.data() + group * padded,
               .c_row = sum_stride,
               .rows = round_up(last - first, kernels_.block_rows),
               .columns = padded,
               .depth = chunk.per_group,
               .accumulate = true});
        }
      }
      for (int64_t group = 0; group < chunk.groups; ++group) {
        write_rows(
            sums.data() + group * padded, sum_stride, first, last,
            (chunk.first_group + group) * group_outputs, group_outputs, output_);
      }
    }
  }

  const ConvShape s_;
  const Kernels<T>& kernels_ = kernels<T>();
  Positions<T> positions_;
  InputChunk<T> input_;
  Filters<T> filters_;
  const T* bias_;
  Planes<T> output_;
};

}  // namespace deformlab::deform_conv2d
