// The backward pass: one product gives the gradient of a tile's columns, another that of the weights.

#pragma once

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "tiles.h"

namespace deformlab {

// sum += term, or sum = term for the first one
template <typename scalar_t, typename acc_t>
void add_to(acc_t* sum, const scalar_t* term, int64_t count, bool first) {
  torch::stable::parallel_for(0, count, 1 << 14, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      sum[i] = first ? acc_t(load(term[i])) : sum[i] + load(term[i]);
    }
  });
}

// A gradient that was accumulated with channels last, in the type and memory format of what it belongs to.
template <typename scalar_t>
Tensor in_format_of(const Tensor& like, const Tensor& gradient) {
  using acc_t = accumulate_t<scalar_t>;
  if (is_channels_last(like)) {
    return as_type(gradient, dtype_of<scalar_t>());
  }
  const int64_t N = like.size(0), C = like.size(1), H = like.size(2), W = like.size(3);
  const Tensor result = new_tensor<scalar_t>({N, C, H, W});
  transpose_matrices(data<acc_t>(gradient), data<scalar_t>(result), N, H * W, C);
  return result;
}

struct Needs {
  bool input, offset, weight, mask;
};

template <typename scalar_t>
std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
    const ConvShape& s, const Tensor& grad, const Tensor& input, const Tensor& offset, const Tensor& weight,
    const std::optional<Tensor>& mask, const Needs& needs) {
  using acc_t = accumulate_t<scalar_t>;
  const Operands<scalar_t> operands(s, input, offset, mask);
  const Tensor grads = channels_last<scalar_t>(grad);
  const auto none = [] { return new_tensor<scalar_t>({0}); };  // outputs must not share memory
  const Tensor grad_input = needs.input ? new_tensor<acc_t>({s.N, s.C, s.H, s.W}, MemoryFormat::ChannelsLast) : none();
  const Tensor grad_weight = needs.weight
      ? new_tensor<acc_t>({s.O, s.C / s.groups, s.kernel_h, s.kernel_w}, MemoryFormat::ChannelsLast)
      : none();
  const Tensor grad_offset = needs.offset ? new_tensor<acc_t>({s.N, 2 * s.G * s.K(), s.P, s.Q}) : none();
  const Tensor grad_mask = needs.mask ? new_tensor<acc_t>({s.N, s.G * s.K(), s.P, s.Q}) : none();
  if (needs.input) {
    set_zero<acc_t>(grad_input);
  }
  if (needs.weight && s.pixels() == 0) {
    set_zero<acc_t>(grad_weight);
  }

  const Tiles tiles(s, sizeof(scalar_t));
  const int64_t row_size = s.C / s.groups * s.K(), group_outputs = s.O / s.groups;
  const bool needs_columns_gradient = needs.input || needs.offset || needs.mask;
  // (group, tap and channel, output channel): the transposed filters
  const Tensor filters = new_tensor<scalar_t>({s.groups, row_size, group_outputs});
  if (needs_columns_gradient) {
    const Tensor weights = channels_last<scalar_t>(weight);
    transpose_matrices(data<scalar_t>(weights), data<scalar_t>(filters), s.groups, group_outputs, row_size);
  }
  std::optional<Columns<scalar_t>> columns;
  if (needs.weight) {
    columns.emplace(s, tiles.size);
  }

  tiles.for_each([&](int64_t begin, int64_t end) {
    const auto tile_grads = [&](int64_t group) -> Matrix {
      return {
          data<scalar_t>(grads) + begin * s.O + group * group_outputs, end - begin, group_outputs, s.O,
          dtype_of<scalar_t>()};
    };
    if (needs_columns_gradient) {
      std::vector<Tensor> products;
      std::vector<const scalar_t*> grad_columns;
      for (int64_t group = 0; group < s.groups; ++group) {
        products.push_back(times_transposed(
            tile_grads(group),
            {data<scalar_t>(filters) + group * row_size * group_outputs, row_size, group_outputs, group_outputs,
             dtype_of<scalar_t>()}));
        grad_columns.push_back(data<scalar_t>(products.back()));
      }
      if (needs.offset || needs.mask) {
        torch::stable::parallel_for(begin, end, kPixelGrain, [&](int64_t from, int64_t to) {
          reduce_offset_gradient(
              operands.sampling, grad_columns.data(), needs.offset ? data<acc_t>(grad_offset) : nullptr,
              needs.mask ? data<acc_t>(grad_mask) : nullptr, begin, from, to);
        });
      }
      if (needs.input) {
        // Each thread owns a slice of the channels: no atomics, and the same sums however many threads there are.
        const int64_t threads = torch::stable::get_num_threads();
        const int64_t slice = std::max<int64_t>(16, (s.C + threads - 1) / threads);
        torch::stable::parallel_for(0, (s.C + slice - 1) / slice, 1, [&](int64_t from, int64_t to) {
          scatter_input_gradient(
              operands.sampling, grad_columns.data(), data<acc_t>(grad_input), begin, begin, end, from * slice,
              std::min(to * slice, s.C));
        });
      }
    }
    if (needs.weight) {
      columns->sample(operands.sampling, begin, end);
      for (int64_t group = 0; group < s.groups; ++group) {
        const Tensor product = transposed_times(tile_grads(group), columns->matrix(group, end - begin));
        const int64_t count = group_outputs * row_size;
        add_to(data<acc_t>(grad_weight) + group * count, data<scalar_t>(product), count, begin == 0);
      }
    }
  });
  return {
      needs.input ? in_format_of<scalar_t>(input, grad_input) : none(),
      needs.offset ? grad_offset : none(),
      needs.weight ? in_format_of<scalar_t>(weight, grad_weight) : none(),
      needs.mask ? grad_mask : none(),
  };
}

}  // namespace deformlab
