// Splits the convolution into a sum over chunks of input channels. Each output is summed in the order of the chunks.
// Input and weights are copied for only a few chunks at a time, which limits the scratch memory.

#pragma once

#include <algorithm>
#include <vector>

#include "../positions.h"

namespace deformlab::deform_conv2d {

// A part of one weight group, or several complete weight groups.
struct Chunk {
  int64_t begin, end;          // input channels
  int64_t first_group, groups; // weight groups
  int64_t per_group;           // channels of the chunk in each of these groups
  int64_t first_in_group;      // index of the first of them within its group

  int64_t size() const { return end - begin; }
};

// Returns chunks of at most `most_channels` channels. No chunk is larger than the first one.
inline std::vector<Chunk> chunks_of(const ConvShape& s, int64_t most_channels) {
  const int64_t group_channels = s.C / s.groups;
  std::vector<Chunk> chunks;
  if (group_channels > most_channels) {
    const int64_t count = divide_up(group_channels, most_channels);
    const int64_t size = round_up(divide_up(group_channels, count), 32);
    for (int64_t group = 0; group < s.groups; ++group) {
      for (int64_t first = 0; first < group_channels; first += size) {
        const int64_t channels = std::min(size, group_channels - first), begin = group * group_channels + first;
        chunks.push_back({begin, begin + channels, group, 1, channels, first});
      }
    }
    return chunks;
  }
  const int64_t most = most_channels / group_channels;
  for (int64_t group = 0; group < s.groups; group += most) {
    const int64_t groups = std::min(most, s.groups - group);
    chunks.push_back({group * group_channels, (group + groups) * group_channels, group, groups, group_channels, 0});
  }
  return chunks;
}

// Calls visit(g, first channel, one past the last channel) for each offset group that has channels in [begin, end).
template <typename Visit>
void for_each_offset_group(const ConvShape& s, int64_t begin, int64_t end, const Visit& visit) {
  const int64_t size = s.C / s.G;
  for (int64_t g = begin / size; g * size < end; ++g) {
    visit(g, std::max(begin, g * size), std::min(end, (g + 1) * size));
  }
}

}  // namespace deformlab::deform_conv2d
