// The forward pass. Weights as a matrix are (O, taps, channels of a group): the order of a column row.

#pragma once

#include <algorithm>
#include <vector>

#include "direct_float.h"
#include "tiles.h"

namespace deformlab {

// Writes one weight group's rows of output pixels [begin, end), with their biases, to channels `first` and following
// of the output.
template <typename scalar_t>
void store_product(
    const ConvShape& s, const scalar_t* rows, int64_t begin, int64_t end, int64_t first, int64_t channels,
    const accumulate_t<scalar_t>* bias, scalar_t* output, bool channels_last) {
  constexpr int64_t kPixels = 16;
  const int64_t area = s.P * s.Q;
  torch::stable::parallel_for(0, (end - begin + kPixels - 1) / kPixels, 1, [&](int64_t from, int64_t to) {
    const int64_t last_pixel = std::min(begin + to * kPixels, end);
    for (int64_t pixel = begin + from * kPixels, next; pixel < last_pixel; pixel = next) {
      const int64_t n = pixel / area;
      next = std::min({pixel + kPixels, (n + 1) * area, last_pixel});
      const scalar_t* source = rows + (pixel - begin) * channels;
      if (channels_last) {
        scalar_t* target = output + pixel * s.O + first;
        for (int64_t row = 0; row < next - pixel; ++row) {
          for (int64_t o = 0; o < channels; ++o) {
            store(target[row * s.O + o], load(source[row * channels + o]) + bias[o]);
          }
        }
      } else {
        transpose_block(
            source, channels, output + (n * s.O + first) * area + pixel - n * area, area, next - pixel, channels,
            [&](auto value, int64_t o) { return value + bias[o]; });
      }
    }
  });
}

template <typename scalar_t>
Tensor forward(
    const ConvShape& s, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& bias, const std::optional<Tensor>& mask) {
  using acc_t = accumulate_t<scalar_t>;
  const Operands<scalar_t> operands(s, input, offset, mask);
  std::vector<acc_t> biases(s.O, acc_t(0));
  if (bias) {
    const Tensor values = torch::stable::contiguous(as_type(*bias, dtype_of<acc_t>()));
    std::copy_n(data<acc_t>(values), s.O, biases.begin());
  }
  const bool last = is_channels_last(input);
  const Tensor output =
      new_tensor<scalar_t>({s.N, s.O, s.P, s.Q}, last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  scalar_t* const target = data<scalar_t>(output);
  const int64_t group_outputs = s.O / s.groups;
  if constexpr (std::is_same_v<scalar_t, float>) {
    if (s.pixels() > 0) {
      const Tensor typed = as_type(weight, ScalarType::Float);
      const bool weight_last = is_channels_last(typed);
      const Tensor filters = weight_last ? typed : torch::stable::contiguous(typed);
      forward_direct(operands.sampling, data<float>(filters), weight_last, biases.data(), target, last);
    }
    return output;
  }

  const Tensor weights = channels_last<scalar_t>(weight);
  const Tiles tiles(s, sizeof(scalar_t));
  Columns<scalar_t> columns(s, tiles.size);
  tiles.for_each([&](int64_t begin, int64_t end) {
    columns.sample(operands.sampling, begin, end);
    for (int64_t group = 0; group < s.groups; ++group) {
      const Matrix filters{
          data<scalar_t>(weights) + group * group_outputs * columns.row_size, group_outputs, columns.row_size,
          columns.row_size, dtype_of<scalar_t>()};
      const Tensor product = times_transposed(columns.matrix(group, end - begin), filters);
      const scalar_t* const values = data<scalar_t>(product);
      const int64_t first = group * group_outputs;
      store_product(s, values, begin, end, first, group_outputs, biases.data() + first, target, last);
    }
  });
  return output;
}

}  // namespace deformlab
