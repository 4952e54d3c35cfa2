// How much scratch memory the backward pass takes, and how many pixels it works on at a time.

#pragma once

#include <algorithm>
#include <vector>

#include "gradients.h"
#include "kernels.h"
#include "output_gradient.h"
#include "slices.h"

namespace deformlab {

template <typename T>
struct BackwardSize {
  BackwardSize(
      const ConvShape& s, const std::vector<Flight>& flights, const Needs& needs, const Kernels<T>& kernels)
      : outputs(s.O / s.groups) {
    const Chunk& slice = flights.front().slices.front();  // no other is larger
    channels = slice.size();
    slice_groups = slice.groups;
    per_group = slice.per_group;
    padded_channels = round_up(per_group, kernels.block_columns);
    padded_outputs = round_up(outputs, kernels.block_rows);
    // A power of two between rows would put them all into one set of the cache.
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

  // The same for all, at most `most`.
  static int64_t even_share(int64_t count, int64_t most) {
    return divide_up(count, std::max<int64_t>(1, divide_up(count, most)));
  }

  int64_t buffer() const { return tile * column_stride; }
  int64_t filters() const { return slice_groups * padded_outputs * padded_channels; }  // of one tap

  int64_t outputs, padded_outputs;                                        // of a weight group
  int64_t channels, slice_groups, per_group, padded_channels, image;      // of a slice
  int64_t slices = 0, groups = 0, offset_groups = 0, parts = 0, buffers = 0;  // of a flight
  int64_t stretch, tile;                                                  // pixels
  int64_t column_stride;
};

}  // namespace deformlab
