// How the backward pass is shared out: slices of the input channels, so many at a time as there are threads, or a few
// more.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "chunks.h"

namespace deformlab {

// Consecutive chunks of channels that are worked on at the same time.
struct Flight {
  std::vector<Chunk> slices;
  int64_t first_g, offset_groups;  // that have channels in it

  int64_t count() const { return static_cast<int64_t>(slices.size()); }
  int64_t first_group() const { return slices.front().first_group; }
  int64_t groups() const { return slices.back().first_group + slices.back().groups - first_group(); }

  // Channels of slice i in offset group g are a part; no two have the same number.
  int64_t part(int64_t i, int64_t g) const { return i + g - first_g; }
  int64_t parts() const { return count() + offset_groups - 1; }

  // Fewer slices than threads: taps and cells are shared out as well.
  bool is_short() const { return count() < static_cast<int64_t>(torch::stable::get_num_threads()); }
};

// Slices do not depend on the number of threads: sums over them are the same for any.
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

}  // namespace deformlab
