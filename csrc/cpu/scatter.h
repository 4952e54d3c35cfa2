// Who adds the gradient of the columns to which part of the input's.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "chunks.h"

namespace deformlab {

struct Share {
  int64_t first, last;            // channels
  int64_t first_cell, last_cell;  // of the batch
};

// Calls visit(share, k, g) for each tap k and offset group g of channels [begin, end), one share after the other in
// each thread: slices of the channels and, where there are more threads than slices, of the cells too.
template <typename Visit>
void parallel_scatter(const ConvShape& s, int64_t begin, int64_t end, const Visit& visit) {
  constexpr int64_t kLeastChannels = 16;
  const int64_t threads = torch::stable::get_num_threads(), cells = s.N * s.H * s.W;
  const int64_t slice = round_up(divide_up(end - begin, threads), kLeastChannels);
  const int64_t slices = divide_up(end - begin, slice);
  const int64_t bands = divide_up(threads, slices), band = divide_up(cells, bands);
  torch::stable::parallel_for(0, slices * bands, 1, [&](int64_t from, int64_t to) {
    for (int64_t item = from; item < to; ++item) {
      const int64_t first = begin + item % slices * slice, last = std::min(first + slice, end);
      const int64_t first_cell = item / slices * band;
      for (int64_t k = 0; k < s.K(); ++k) {
        for_each_offset_group(s, first, last, [&](int64_t g, int64_t group_first, int64_t group_last) {
          visit(Share{group_first, group_last, first_cell, first_cell + band}, k, g);
        });
      }
    }
  });
}

}  // namespace deformlab
