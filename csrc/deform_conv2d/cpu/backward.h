// The backward pass in float32 and float64, with our own matrix products. Each thread processes a slice of the input
// channels for all output pixels, tile by tile and tap by tap:
//   1. gradient of the columns = gradient of the output x weights,
//   2. one pass over the input computes the sums for the gradients of offset and mask, and samples the columns again,
//   3. gradient of the weights += transposed gradient of the output x columns,
//   4. the gradient of the columns is added to the gradient of the cells that were read.
// The columns and their gradient stay in the second-level cache of the thread's core. Threads synchronise only once per
// stretch of pixels.
//
// Every element of a gradient is summed in a fixed order of slices, pixels and taps. The result is therefore the same,
// bit for bit, for any number of threads, and no atomic operations are needed.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "../../common/cpu/layout.h"
#include "chunks.h"
#include "gradients.h"
#include "kernels.h"
#include "packing.h"

namespace deformlab::deform_conv2d {

// Consecutive slices of channels that are processed at the same time.
struct Flight {
  std::vector<Chunk> slices;
  int64_t first_g, offset_groups;  // the offset groups that have channels in the flight

  int64_t count() const { return static_cast<int64_t>(slices.size()); }
  int64_t first_group() const { return slices.front().first_group; }
  int64_t groups() const { return slices.back().first_group + slices.back().groups - first_group(); }

  // The channels of slice i that are in offset group g form a part. Each part has a unique number.
  int64_t part(int64_t i, int64_t g) const { return i + g - first_g; }
  int64_t parts() const { return count() + offset_groups - 1; }

  // Whether there are fewer slices than threads. Taps and cells are then distributed among the threads as well.
  bool is_short() const { return count() < static_cast<int64_t>(torch::stable::get_num_threads()); }
};

// The slices do not depend on the number of threads, so neither do the sums over them.
inline std::vector<Flight> flights_of(const ConvShape& s) {
  constexpr int64_t kSliceChannels = 64, kSlices = 4;
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t most = threads * std::max<int64_t>(1, kSlices / threads), group_size = s.C / s.G;
  const std::vector<Chunk> slices = chunks_of(s, kSliceChannels);
  std::vector<Flight> flights;
  for (auto first = slices.begin(); first != slices.end();) {
    const int64_t left = slices.end() - first, whole_rounds = left / threads * threads;
    const auto last = first + std::min(most, whole_rounds > 0 ? whole_rounds : left);
    const int64_t first_g = first->begin / group_size;
    flights.push_back({{first, last}, first_g, ((last - 1)->end - 1) / group_size - first_g + 1});
    first = last;
  }
  return flights;
}

// How much scratch memory the backward pass needs, and how many pixels it processes at a time.
template <typename T>
struct BackwardSize {
  BackwardSize(
      const ConvShape& s, const std::vector<Flight>& flights, const Needs& needs, const Kernels<T>& kernels)
      : outputs(s.O / s.groups) {
    const Chunk& slice = flights.front().slices.front();  // no other slice is larger
    channels = slice.size();
    slice_groups = slice.groups;
    per_group = slice.per_group;
    padded_channels = round_up(per_group, kernels.block_columns);
    padded_outputs = round_up(outputs, kernels.block_rows);
    // If the distance between rows were a power of two, all rows would compete for one cache set.
    column_stride = slice_groups * padded_channels + 16;
    image = s.N * s.H * s.W * channels;
    for (const Flight& flight : flights) {
      slices = std::max(slices, flight.count());
      groups = std::max(groups, flight.groups());
      offset_groups = std::max(offset_groups, flight.offset_groups);
      parts = std::max(parts, flight.parts());
      buffers = std::max(buffers, flight.count() * (flight.is_short() ? s.K() : 1));
    }
    constexpr int64_t kStretchBytes = 8'000'000, kTileBytes = 160'000, kMost = 512, kLeast = 32;
    const int64_t pixel_bytes = OutputGradient<T>::bytes(groups, outputs, kernels.block_rows, needs.weight) +
        s.K() * (offset_groups * sizeof(Tap<T>) + parts * 4 * sizeof(T));
    stretch = even_share(s.pixels(), std::max(kLeast, kStretchBytes / pixel_bytes));
    const int64_t column_bytes = 2 * column_stride * sizeof(T);
    tile = round_up(
        even_share(stretch, std::clamp(kTileBytes / column_bytes, kLeast, kMost)), kernels.block_rows);
  }

  // Returns the size of a part if `count` is split into as few equal parts of at most `most` as possible.
  static int64_t even_share(int64_t count, int64_t most) {
    return divide_up(count, std::max<int64_t>(1, divide_up(count, most)));
  }

  int64_t buffer() const { return tile * column_stride; }
  int64_t filters() const { return slice_groups * padded_outputs * padded_channels; }  // for one tap

  int64_t outputs, padded_outputs;                                        // per weight group
  int64_t channels, slice_groups, per_group, padded_channels, image;      // per slice
  int64_t slices = 0, groups = 0, offset_groups = 0, parts = 0, buffers = 0;  // per flight
  int64_t stretch, tile;                                                  // in pixels
  int64_t column_stride;
};

template <typename T>
class Backward {
 public:
  Backward(
      const Positions<T>& positions, const Planes<const T>& grad, const Planes<const T>& input,
      const Planes<const T>& weight, const Needs& needs, const Gradients& gradients)
      : s_(positions.shape),
        positions_(positions),
        input_(input),
        filters_(s_, weight),
        needs_(needs),
        gradients_(gradients),
        position_gradients_(s_, needs, gradients),
        flights_(flights_of(s_)),
        size_(s_, flights_, needs, kernels_),
        zeros_(size_.channels, T(0)),
        grad_(grad, size_.stretch, size_.groups, size_.outputs, kernels_.block_rows, needs.weight),
        taps_(s_.K() * size_.offset_groups * size_.stretch),
        sums_(new_tensor<T>({position_gradients_.wanted() ? size_.parts * s_.K() * size_.stretch * 4 : 0})),
        columns_(new_tensor<T>({needs.weight ? size_.buffers * size_.buffer() : 0})),
        grad_columns_(new_tensor<T>({needs.columns() ? size_.buffers * size_.buffer() : 0})),
        images_(new_tensor<T>({size_.slices * size_.image})),
        grad_images_(new_tensor<T>({needs.input ? size_.slices * size_.image : 0})),
        grad_weight_(new_tensor<T>({needs.weight ? size_.slices * s_.K() * size_.filters() : 0})) {
    for (int64_t i = 0; needs.columns() && i < size_.slices; ++i) {
      weights_.emplace_back(s_.K(), size_.slice_groups, size_.outputs, size_.per_group, kernels_.block_columns);
    }
  }

  void run() {
    for (const Flight& flight : flights_) {
      load(flight);
      for (int64_t begin = 0; begin < s_.pixels(); begin += size_.stretch) {
        differentiate(flight, begin, std::min(begin + size_.stretch, s_.pixels()));
      }
      store(flight);
    }
  }

 private:
  // A range of pixels, relative to the first pixel of the stretch.
  struct Tile {
    int64_t begin, end;
  };

  void load(const Flight& flight) {
    for_each_block(flight.count(), s_.N * s_.H * s_.W, [&](int64_t i, int64_t begin, int64_t end) {
      read_rows(
          input_, begin, end, flight.slices[i].begin, flight.slices[i].size(),
          image(images_, i) + begin * size_.channels, size_.channels);
    });
    for (int64_t i = 0; needs_.columns() && i < flight.count(); ++i) {
      const Chunk& slice = flight.slices[i];
      weights_[i].pack(
          filters_.of(slice), {size_.outputs * filters_.output, filters_.output, filters_.channel, filters_.tap},
          slice.groups, size_.outputs, slice.per_group);
    }
    set_zero<T>(grad_images_);
    set_zero<T>(grad_weight_);
  }

  void differentiate(const Flight& flight, int64_t begin, int64_t end) {
    grad_.load(begin, end, flight.first_group(), flight.groups());
    for_each_block(s_.K() * flight.offset_groups, end - begin, [&](int64_t item, int64_t from, int64_t to) {
      const int64_t k = item / flight.offset_groups, g = flight.first_g + item % flight.offset_groups;
      kernels_.locate(positions_, g, k, begin + from, begin + to, taps(flight, k, g) + from);
    });
    if (flight.is_short()) {
      share_out_taps(flight, end - begin);
    } else {
      torch::stable::parallel_for(0, flight.count(), 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          for_each_tile(end - begin, [&](const Tile& tile) {
            for (int64_t k = 0; k < s_.K(); ++k) {
              differentiate_tap(flight, i, k, tile, i);
              scatter(flight, i, k, tile, i, 0, s_.N * s_.H * s_.W);
            }
          });
        }
      });
    }
    if (position_gradients_.wanted()) {
      add_to_positions(flight, end - begin);
    }
  }

  // Used if there are more threads than slices. Each tap has separate columns, and the gradients of different bands of
  // cells are added by different threads.
  void share_out_taps(const Flight& flight, int64_t pixels) {
    const int64_t bands = divide_up(torch::stable::get_num_threads(), flight.count()), cells = s_.N * s_.H * s_.W;
    const int64_t band = divide_up(cells, bands);
    for_each_tile(pixels, [&](const Tile& tile) {
      torch::stable::parallel_for(0, flight.count() * s_.K(), 1, [&](int64_t from, int64_t to) {
        for (int64_t item = from; item < to; ++item) {
          differentiate_tap(flight, item / s_.K(), item % s_.K(), tile, item);
        }
      });
      torch::stable::parallel_for(0, flight.count() * bands, 1, [&](int64_t from, int64_t to) {
        for (int64_t item = from; item < to; ++item) {
          const int64_t i = item / bands, first_cell = item % bands * band;
          for (int64_t k = 0; k < s_.K(); ++k) {
            scatter(flight, i, k, tile, i * s_.K() + k, first_cell, std::min(first_cell + band, cells));
          }
        }
      });
    });
  }

  // Steps 1 to 3 for slice i and tap k.
  void differentiate_tap(const Flight& flight, int64_t i, int64_t k, const Tile& tile, int64_t buffer) {
    const Chunk& slice = flight.slices[i];
    if (needs_.columns()) {
      multiply_with_weights(slice, weights_[i], k, tile, this->buffer(grad_columns_, buffer));
    }
    for_each_offset_group(s_, slice.begin, slice.end, [&](int64_t g, int64_t first, int64_t last) {
      const bool wanted = position_gradients_.wanted();
      kernels_.read(
          {.input = {image(images_, i), size_.channels},
           .zeros = zeros_.data(),
           .channels = channels_of(slice),
           .taps = taps(flight, k, g) + tile.begin,
           .first = first,
           .last = last,
           .pixels = tile.end - tile.begin,
           .columns = {needs_.weight ? this->buffer(columns_, buffer) : nullptr, size_.column_stride},
           .gradient = {wanted ? this->buffer(grad_columns_, buffer) : nullptr, size_.column_stride},
           .sums = wanted ? sums(flight.part(i, g), k) + 4 * tile.begin : nullptr});
    });
    if (needs_.weight) {
      add_to_weights(slice, tile, this->buffer(columns_, buffer), weight_gradient(i, k));
    }
  }

  // Step 1, for few enough pixels at a time that the gradient of the output stays in the second-level cache.
  void multiply_with_weights(
      const Chunk& slice, const PackedWeights<T>& weights, int64_t k, const Tile& tile, T* grad_columns) {
    const int64_t size = round_up(64, kernels_.block_rows);
    for (int64_t begin = tile.begin; begin < tile.end; begin += size) {
      for (int64_t group = 0; group < slice.groups; ++group) {
        kernels_.multiply(
            {.a = grad_.row(begin, slice.first_group + group),
             .a_block = kernels_.block_rows * grad_.stride(),
             .a_row = grad_.stride(),
             .a_depth = 1,
             .b = weights.at(k, group),
             .b_panel = weights.panel(),
             .b_depth = kernels_.block_columns,
             .c = grad_columns + (begin - tile.begin) * size_.column_stride + group * size_.padded_channels,
             .c_row = size_.column_stride,
             .rows = round_up(std::min(size, tile.end - begin), kernels_.block_rows),
             .columns = round_up(slice.per_group, kernels_.block_columns),
             .depth = size_.outputs,
             .accumulate = false});
      }
    }
  }

  // Step 3, for a limited number of output channels at a time.
  void add_to_weights(const Chunk& slice, const Tile& tile, const T* columns, T* grad_weight) {
    const int64_t size = round_up(96, kernels_.block_rows);
    for (int64_t group = 0; group < slice.groups; ++group) {
      for (int64_t first = 0; first < size_.padded_outputs; first += size) {
        kernels_.multiply(
            {.a = grad_.panel(tile.begin, slice.first_group + group, first),
             .a_block = grad_.panel_size(),
             .a_row = 1,
             .a_depth = kernels_.block_rows,
             .b = columns + group * size_.padded_channels,
             .b_panel = kernels_.block_columns,
             .b_depth = size_.column_stride,
             .c = grad_weight + (group * size_.padded_outputs + first) * size_.padded_channels,
             .c_row = size_.padded_channels,
             .rows = std::min(size, size_.padded_outputs - first),
             .columns = round_up(slice.per_group, kernels_.block_columns),
             .depth = tile.end - tile.begin,
             .accumulate = true});
      }
    }
  }

  // Step 4, for the cells [first_cell, last_cell) of the batch.
  void scatter(
      const Flight& flight, int64_t i, int64_t k, const Tile& tile, int64_t buffer, int64_t first_cell,
      int64_t last_cell) {
    const Chunk& slice = flight.slices[i];
    if (!needs_.input) {
      return;
    }
    for_each_offset_group(s_, slice.begin, slice.end, [&](int64_t g, int64_t first, int64_t last) {
      kernels_.scatter(
          {.grad_input = {image(grad_images_, i), size_.channels},
           .channels = channels_of(slice),
           .taps = taps(flight, k, g) + tile.begin,
           .first = first,
           .last = last,
           .first_cell = first_cell,
           .last_cell = last_cell,
           .pixels = tile.end - tile.begin,
           .gradient = {this->buffer(grad_columns_, buffer), size_.column_stride}});
    });
  }

  void add_to_positions(const Flight& flight, int64_t pixels) {
    const int64_t size = s_.C / s_.G;
    for_each_block(s_.K() * flight.offset_groups, pixels, [&](int64_t item, int64_t begin, int64_t end) {
      const int64_t k = item / flight.offset_groups, g = flight.first_g + item % flight.offset_groups;
      for (int64_t i = 0; i < flight.count(); ++i) {
        if (flight.slices[i].begin < (g + 1) * size && flight.slices[i].end > g * size) {
          const T* const part = sums(flight.part(i, g), k);
          for (int64_t pixel = begin; pixel < end; ++pixel) {
            position_gradients_.add(taps(flight, k, g)[pixel], part + 4 * pixel);
          }
        }
      }
    });
  }

  void store(const Flight& flight) {
    for_each_block(needs_.input ? flight.count() : 0, s_.N * s_.H * s_.W, [&](int64_t i, int64_t begin, int64_t end) {
      write_rows(
          image(grad_images_, i) + begin * size_.channels, size_.channels, begin, end, flight.slices[i].begin,
          flight.slices[i].size(), planes_of<T>(gradients_.input));
    });
    if (!needs_.weight) {
      return;
    }
    const Filters<T> target(s_, planes_of<const T>(gradients_.weight));
    for_each_block(flight.count(), size_.outputs, [&](int64_t i, int64_t begin, int64_t end) {
      const Chunk& slice = flight.slices[i];
      T* const weights = data<T>(gradients_.weight) + (target.of(slice) - target.data);
      for (int64_t group = 0; group < slice.groups; ++group) {
        for (int64_t o = begin; o < end; ++o) {
          for (int64_t k = 0; k < s_.K(); ++k) {
            const T* const from =
                weight_gradient(i, k) + (group * size_.padded_outputs + o) * size_.padded_channels;
            T* const to = weights + (group * size_.outputs + o) * target.output + k * target.tap;
            for (int64_t channel = 0; channel < slice.per_group; ++channel) {
              to[channel * target.channel] = from[channel];
            }
          }
        }
      }
    });
  }

  // Splits [0, count) of each item into blocks and calls visit(item, begin, end) for them in parallel. Blocks are
  // ordered by item, so that the memory of a slice is close to the thread that works on it.
  template <typename Visit>
  static void for_each_block(int64_t items, int64_t count, const Visit& visit) {
    constexpr int64_t kBlock = 64;
    const int64_t blocks = divide_up(count, kBlock);
    torch::stable::parallel_for(0, items * blocks, 1, [&](int64_t from, int64_t to) {
      for (int64_t block = from; block < to; ++block) {
        const int64_t begin = block % blocks * kBlock;
        visit(block / blocks, begin, std::min(begin + kBlock, count));
      }
    });
  }

  template <typename Visit>
  void for_each_tile(int64_t pixels, const Visit& visit) const {
    for (int64_t begin = 0; begin < pixels; begin += size_.tile) {
      visit(Tile{begin, std::min(begin + size_.tile, pixels)});
    }
  }

  Channels channels_of(const Chunk& slice) const {
    return {slice.begin, slice.end, slice.per_group, size_.padded_channels};
  }
  T* image(const Tensor& images, int64_t i) const { return data<T>(images) + i * size_.image; }
  T* buffer(const Tensor& buffers, int64_t i) const { return data<T>(buffers) + i * size_.buffer(); }
  T* weight_gradient(int64_t i, int64_t k) const {
    return data<T>(grad_weight_) + (i * s_.K() + k) * size_.filters();
  }
  T* sums(int64_t part, int64_t k) const { return data<T>(sums_) + (part * s_.K() + k) * size_.stretch * 4; }
  Tap<T>* taps(const Flight& flight, int64_t k, int64_t g) {
    return taps_.data() + (k * flight.offset_groups + g - flight.first_g) * size_.stretch;
  }

  const ConvShape s_;
  const Kernels<T>& kernels_ = kernels<T>();
  Positions<T> positions_;
  Planes<const T> input_;
  Filters<T> filters_;
  Needs needs_;
  Gradients gradients_;
  PositionGradients<T> position_gradients_;
  std::vector<Flight> flights_;
  BackwardSize<T> size_;
  std::vector<T> zeros_;
  // For one stretch of pixels.
  OutputGradient<T> grad_;
  std::vector<Tap<T>> taps_;
  Tensor sums_;  // (part, tap, pixel, 4)
  // For one slice and one tile.
  Tensor columns_, grad_columns_;
  // For one slice: images as rows of channels, and filters as (tap, group, output, channel).
  Tensor images_, grad_images_, grad_weight_;
  std::vector<PackedWeights<T>> weights_;
};

}  // namespace deformlab::deform_conv2d
