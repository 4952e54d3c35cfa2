// The convolution as a sum over chunks of input channels. One chunk's copies of the input and of the weights exist at
// a time, which bounds the scratch memory; each output is summed in the order of the chunks.

#pragma once

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "tensors.h"

namespace deformlab {

constexpr int64_t kChunkChannels = 256;

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
inline int64_t round_up(int64_t value, int64_t multiple) { return divide_up(value, multiple) * multiple; }

// A part of one weight group, or several whole ones.
struct Chunk {
  int64_t begin, end;          // input channels
  int64_t first_group, groups; // weight groups
  int64_t per_group;           // channels that the chunk has of each of them
  int64_t first_in_group;      // the first of those, counted in its group

  int64_t size() const { return end - begin; }
};

inline std::vector<Chunk> chunks_of(const ConvShape& s) {
  const int64_t group_channels = s.C / s.groups;
  std::vector<Chunk> chunks;
  if (group_channels > kChunkChannels) {
    const int64_t count = divide_up(group_channels, kChunkChannels);
    const int64_t size = round_up(divide_up(group_channels, count), 32);
    for (int64_t group = 0; group < s.groups; ++group) {
      for (int64_t first = 0; first < group_channels; first += size) {
        const int64_t channels = std::min(size, group_channels - first), begin = group * group_channels + first;
        chunks.push_back({begin, begin + channels, group, 1, channels, first});
      }
    }
    return chunks;
  }
  const int64_t most = kChunkChannels / group_channels;
  for (int64_t group = 0; group < s.groups; group += most) {
    const int64_t groups = std::min(most, s.groups - group);
    chunks.push_back({group * group_channels, (group + groups) * group_channels, group, groups, group_channels, 0});
  }
  return chunks;
}

// Calls visit(g, first channel, one past the last) for each offset group that has channels in [begin, end).
template <typename Visit>
void for_each_offset_group(const ConvShape& s, int64_t begin, int64_t end, const Visit& visit) {
  const int64_t size = s.C / s.G;
  for (int64_t g = begin / size; g * size < end; ++g) {
    visit(g, std::max(begin, g * size), std::min(end, (g + 1) * size));
  }
}

// A chunk's channels of the input as rows: a copy, or the input itself where its channels are last.
template <typename T>
class InputChunk {
 public:
  InputChunk(const ConvShape& s, const Planes<const T>& input)
      : input_(input),
        cells_(s.N * s.H * s.W),
        zeros_(s.C, T{}),
        copy_(new_tensor<T>({input.channels_last ? 0 : cells_ * std::min(s.C, kChunkChannels)})) {}

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

}  // namespace deformlab
