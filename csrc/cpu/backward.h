// The backward pass in float32 and float64, with products of our own, tile after tile of output pixels:
//   1. gradient of the columns = gradient of the output x weights; it gives the offsets' and the masks' gradients
//      while it is in the second-level cache, and the same look at the input samples the columns anew,
//   2. gradient of the weights += gradient of the output, transposed, x columns,
//   3. the gradient of the columns goes back to the cells that were read.
//
// Every step is shared out by what it writes: whoever owns an element adds its terms in the order of taps and pixels,
// so any number of threads gives the same bits, without atomics.

#pragma once

#include <algorithm>
#include <vector>

#include "chunks.h"
#include "gradients.h"
#include "scatter.h"
#include "weights.h"

namespace deformlab {

template <typename T>
class Backward {
 public:
  Backward(
      const Positions<T>& positions, const Planes<const T>& grad, const Planes<const T>& input,
      const Planes<const T>& weight, const Needs& needs, const Gradients& gradients)
      : s_(positions.shape),
        positions_(positions),
        grad_(grad),
        input_(s_, input),
        filters_(s_, weight),
        needs_(needs),
        gradients_(gradients),
        chunks_(chunks_of(s_)),
        size_(s_, chunks_.front(), kernels_),
        weights_(s_.K(), needs.columns() ? size_.groups : 0, size_.outputs, size_.channels, kernels_.block_columns),
        grads_(new_tensor<T>({size_.tile_rows * size_.grad_stride})),
        grad_panels_(new_tensor<T>({needs.weight ? size_.groups * size_.padded_outputs * size_.tile : 0})),
        columns_(new_tensor<T>({needs.weight ? s_.K() * size_.columns() : 0})),
        grad_columns_(new_tensor<T>({needs.columns() ? s_.K() * size_.columns() : 0})),
        grad_weight_(new_tensor<T>(
            {needs.weight ? s_.K() * size_.groups * size_.padded_outputs * size_.padded_channels : 0})),
        grad_input_(new_tensor<T>(
            {needs.input && !is_channels_last(gradients.input) ? s_.N * s_.H * s_.W * chunks_.front().size() : 0})),
        taps_(s_.K() * size_.offset_groups * size_.tile) {}

  void run() {
    if (needs_.weight && s_.pixels() == 0) {
      set_zero<T>(gradients_.weight);
    }
    if (needs_.input && is_channels_last(gradients_.input)) {
      set_zero<T>(gradients_.input);
    }
    for (const Chunk& chunk : chunks_) {
      run_chunk(chunk);
    }
  }

 private:
  // Sizes of the scratch memory, from the first chunk: no other is larger.
  struct Size {
    Size(const ConvShape& s, const Chunk& chunk, const Kernels<T>& kernels)
        : groups(chunk.groups),
          channels(chunk.per_group),
          outputs(s.O / s.groups),
          padded_channels(round_up(channels, kernels.block_columns)),
          padded_outputs(round_up(outputs, kernels.block_rows)),
          // A power of two between rows would put them all into one set of the cache.
          column_stride(groups * padded_channels + 16),
          grad_stride(groups * outputs + 16),
          offset_groups(std::min(s.G, divide_up(chunk.size(), s.C / s.G) + 1)) {
      // As many pixels as keep the columns, their gradient and the taps in a last-level cache.
      constexpr int64_t kBytes = 10'000'000, kMost = 512, kLeast = 32;
      const int64_t pixel_bytes =
          s.K() * (2 * column_stride * sizeof(T) + offset_groups * static_cast<int64_t>(sizeof(Tap<T>)));
      const int64_t most = std::clamp(kBytes / pixel_bytes, kLeast, kMost);
      tile = divide_up(s.pixels(), std::max<int64_t>(1, divide_up(s.pixels(), most)));
      tile_rows = round_up(tile, kernels.block_rows);
    }

    int64_t columns() const { return tile_rows * column_stride; }  // of one tap

    int64_t groups, channels, outputs, padded_channels, padded_outputs, column_stride, grad_stride, offset_groups;
    int64_t tile, tile_rows;
  };

  struct Tile {
    int64_t begin, end;  // output pixels

    int64_t pixels() const { return end - begin; }
  };

  void run_chunk(const Chunk& chunk) {
    const Image<const T> image = input_.load(chunk);
    if (needs_.columns()) {
      weights_.pack(
          filters_.of(chunk),
          {size_.outputs * filters_.output, filters_.output, filters_.channel, filters_.tap}, chunk.groups,
          size_.outputs, chunk.per_group);
    }
    const bool in_place = is_channels_last(gradients_.input);
    const Image<T> grad_image = in_place ? Image<T>{data<T>(gradients_.input) + chunk.begin, s_.C}
                                         : Image<T>{data<T>(grad_input_), chunk.size()};
    if (needs_.input && !in_place) {
      set_zero<T>(grad_input_);
    }
    for (int64_t begin = 0; begin < s_.pixels(); begin += size_.tile) {
      const Tile tile{begin, std::min(begin + size_.tile, s_.pixels())};
      load_gradient(chunk, tile);
      read(chunk, image, tile);
      if (needs_.weight) {
        add_to_weights(chunk, tile);
      }
      if (needs_.input) {
        scatter(chunk, grad_image, tile);
      }
    }
    if (needs_.input && !in_place) {
      parallel_pixels(s_.N * s_.H * s_.W, [&](int64_t begin, int64_t end) {
        write_rows(
            grad_image.data + begin * grad_image.stride, grad_image.stride, begin, end, chunk.begin, chunk.size(),
            planes_of<T>(gradients_.input));
      });
    }
    if (needs_.weight && s_.pixels() > 0) {
      store_weights(chunk);
    }
  }

  // The gradient of the output: as rows for the first product, and transposed, in panels of one block's outputs, for
  // the second one.
  void load_gradient(const Chunk& chunk, const Tile& tile) {
    const int64_t block = kernels_.block_rows, first = chunk.first_group * size_.outputs;
    const int64_t outputs = chunk.groups * size_.outputs;
    parallel_pixels(tile.pixels(), [&](int64_t begin, int64_t end) {
      T* const rows = data<T>(grads_);
      read_rows(
          grad_, tile.begin + begin, tile.begin + end, first, outputs, rows + begin * size_.grad_stride,
          size_.grad_stride);
      for (int64_t o = 0; needs_.weight && o < chunk.groups * size_.padded_outputs; o += block) {
        const int64_t in_group = o % size_.padded_outputs, count = std::min(block, size_.outputs - in_group);
        const T* from = rows + begin * size_.grad_stride + o / size_.padded_outputs * size_.outputs + in_group;
        T* to = data<T>(grad_panels_) + o * tile.pixels() + begin * block;
        for (int64_t pixel = begin; pixel < end; ++pixel, from += size_.grad_stride, to += block) {
          for (int64_t i = 0; i < block; ++i) {
            to[i] = i < count ? from[i] : T(0);
          }
        }
      }
    });
  }

  // Step 1: per tap and some pixels, the gradient of the columns, what the offsets and masks get, and the columns.
  void read(const Chunk& chunk, const Image<const T>& image, const Tile& tile) {
    const int64_t size = round_up(64, kernels_.block_rows);
    torch::stable::parallel_for(0, divide_up(tile.pixels(), size) * s_.K(), 1, [&](int64_t from, int64_t to) {
      for (int64_t item = from; item < to; ++item) {
        const int64_t k = item % s_.K(), begin = item / s_.K() * size, end = std::min(begin + size, tile.pixels());
        T* const grad_columns = data<T>(grad_columns_) + k * size_.columns() + begin * size_.column_stride;
        T* const columns = data<T>(columns_) + k * size_.columns() + begin * size_.column_stride;
        for (int64_t group = 0; needs_.columns() && group < chunk.groups; ++group) {
          kernels_.multiply(
              {.a = data<T>(grads_) + begin * size_.grad_stride + group * size_.outputs,
               .a_block = kernels_.block_rows * size_.grad_stride,
               .a_row = size_.grad_stride,
               .a_depth = 1,
               .b = weights_.at(k, group),
               .b_panel = weights_.panel(),
               .b_depth = kernels_.block_columns,
               .c = grad_columns + group * size_.padded_channels,
               .c_row = size_.column_stride,
               .rows = round_up(end - begin, kernels_.block_rows),
               .columns = size_.padded_channels,
               .depth = size_.outputs,
               .accumulate = false});
        }
        for_each_offset_group(s_, chunk.begin, chunk.end, [&](int64_t g, int64_t first, int64_t last) {
          Tap<T>* const taps = taps_of(chunk, k, g) + begin;
          kernels_.locate(positions_, g, k, tile.begin + begin, tile.begin + end, taps);
          kernels_.read(
              {.input = image,
               .zeros = input_.zeros(),
               .channels = channels_of(chunk),
               .taps = taps,
               .first = first,
               .last = last,
               .pixels = end - begin,
               .columns = {needs_.weight ? columns : nullptr, size_.column_stride},
               .gradient = {needs_.offset || needs_.mask ? grad_columns : nullptr, size_.column_stride},
               .grad_offset = needs_.offset ? data<T>(gradients_.offset) : nullptr,
               .grad_mask = needs_.mask ? data<T>(gradients_.mask) : nullptr,
               .plane = s_.P * s_.Q});
        });
      }
    });
  }

  // Step 2, in shares whose part of the gradient of the output stays in the second-level cache.
  void add_to_weights(const Chunk& chunk, const Tile& tile) {
    const int64_t size = round_up(96, kernels_.block_rows), shares = divide_up(size_.padded_outputs, size);
    torch::stable::parallel_for(0, s_.K() * chunk.groups * shares, 1, [&](int64_t from, int64_t to) {
      for (int64_t item = from; item < to; ++item) {
        const int64_t k = item / shares / chunk.groups, group = item / shares % chunk.groups;
        const int64_t first = item % shares * size;
        kernels_.multiply(
            {.a = data<T>(grad_panels_) + (group * size_.padded_outputs + first) * tile.pixels(),
             .a_block = kernels_.block_rows * tile.pixels(),
             .a_row = 1,
             .a_depth = kernels_.block_rows,
             .b = data<T>(columns_) + k * size_.columns() + group * size_.padded_channels,
             .b_panel = kernels_.block_columns,
             .b_depth = size_.column_stride,
             .c = weight_gradient(k, group, first),
             .c_row = size_.padded_channels,
             .rows = std::min(size, size_.padded_outputs - first),
             .columns = size_.padded_channels,
             .depth = tile.pixels(),
             .accumulate = tile.begin > 0});
      }
    });
  }

  // Step 3.
  void scatter(const Chunk& chunk, const Image<T>& grad_image, const Tile& tile) {
    parallel_scatter(s_, chunk.begin, chunk.end, [&](const Share& share, int64_t k, int64_t g) {
      kernels_.scatter(
          {.grad_input = grad_image,
           .channels = channels_of(chunk),
           .taps = taps_of(chunk, k, g),
           .first = share.first,
           .last = share.last,
           .first_cell = share.first_cell,
           .last_cell = share.last_cell,
           .pixels = tile.pixels(),
           .gradient = {data<T>(grad_columns_) + k * size_.columns(), size_.column_stride}});
    });
  }

  void store_weights(const Chunk& chunk) {
    const Filters<T> target(s_, planes_of<const T>(gradients_.weight));
    T* const weights = data<T>(gradients_.weight) + (target.of(chunk) - target.data);
    torch::stable::parallel_for(0, chunk.groups * size_.outputs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        for (int64_t k = 0; k < s_.K(); ++k) {
          const T* const from = weight_gradient(k, o / size_.outputs, o % size_.outputs);
          T* const to = weights + o * target.output + k * target.tap;
          for (int64_t channel = 0; channel < chunk.per_group; ++channel) {
            to[channel * target.channel] = from[channel];
          }
        }
      }
    });
  }

  Channels channels_of(const Chunk& chunk) const {
    return {chunk.begin, chunk.end, chunk.per_group, size_.padded_channels};
  }

  // The taps of a tile.
  Tap<T>* taps_of(const Chunk& chunk, int64_t k, int64_t g) {
    const int64_t first_group = chunk.begin / (s_.C / s_.G);
    return taps_.data() + (k * size_.offset_groups + g - first_group) * size_.tile;
  }

  T* weight_gradient(int64_t k, int64_t group, int64_t output) {
    return data<T>(grad_weight_) +
        ((k * size_.groups + group) * size_.padded_outputs + output) * size_.padded_channels;
  }

  const ConvShape s_;
  const Kernels<T>& kernels_ = kernels<T>();
  Positions<T> positions_;
  Planes<const T> grad_;
  InputChunk<T> input_;
  Filters<T> filters_;
  Needs needs_;
  Gradients gradients_;
  std::vector<Chunk> chunks_;
  Size size_;
  PackedWeights<T> weights_;
  // Of one tile: the gradient of the output twice, columns and their gradient (tap, pixel, channel), positions.
  Tensor grads_, grad_panels_, columns_, grad_columns_;
  Tensor grad_weight_;  // of a chunk: (tap, group, output, channel)
  Tensor grad_input_;   // of a chunk, channels last
  std::vector<Tap<T>> taps_;
};

}  // namespace deformlab
