// Both passes in bfloat16, for processors with bfloat16 instructions. PyTorch multiplies complete tiles of columns.
// Columns, products and the gradient of the columns are rounded to bfloat16; sums over tiles and over cells are in
// float32. Only one weight group is supported.

#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <array>
#include <vector>

#include "../../common/cpu/layout.h"
#include "../../common/dispatch.h"
#include "chunks.h"
#include "gradients.h"
#include "kernels.h"

namespace deformlab::deform_conv2d {

// A view of memory as a matrix.
struct Matrix {
  const BFloat16* data;
  int64_t rows, columns;
  int64_t row_stride, column_stride = 1;

  Matrix transposed() const { return {data, columns, rows, column_stride, row_stride}; }

  Tensor tensor() const {
    return torch::stable::from_blob(
        const_cast<BFloat16*>(data), std::array{rows, columns}, std::array{row_stride, column_stride},
        torch::stable::Device(torch::headeronly::DeviceType::CPU), ScalarType::BFloat16);
  }
};

// c = a x b
inline void multiply_matrices(const Matrix& a, const Matrix& b, const Matrix& c) {
  multiply(a.tensor(), b.tensor(), c.tensor());
}

struct Share {
  int64_t first, last;            // channels
  int64_t first_cell, last_cell;  // of the batch
};

// Splits the channels [begin, end) into slices, and the cells into bands if there are more threads than slices. Calls
// visit(share, k, g) for each such share, tap k and offset group g; the shares run in parallel.
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

class BFloat16Tiles {
 public:
  BFloat16Tiles(
      const Positions<float>& positions, const Planes<const BFloat16>& input, const Planes<const BFloat16>& weight)
      : s_(positions.shape),
        positions_(positions),
        row_(s_.C * s_.K()),
        zeros_(s_.C),
        input_(s_.N * s_.H * s_.W, input),
        filters_(s_.O * s_.K(), weight),
        tile_(tile_pixels()),
        taps_(s_.K() * s_.G * tile_),
        columns_(new_tensor<BFloat16>({tile_, row_})) {}

  void forward(const float* bias, const Planes<BFloat16>& output) {
    const Tensor product = new_tensor<BFloat16>({tile_, s_.O});
    BFloat16* const rows = data<BFloat16>(product);
    for_each_tile([&](int64_t begin, int64_t end) {
      read(begin, end, {.columns = {data<BFloat16>(columns_), row_}});
      multiply_matrices(columns(end - begin), filters().transposed(), {rows, end - begin, s_.O, s_.O});
      parallel_pixels(end - begin, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
          for (int64_t o = 0; o < s_.O; ++o) {
            store(rows + i * s_.O + o, load(rows + i * s_.O + o) + bias[o]);
          }
        }
        write_rows(rows + from * s_.O, s_.O, begin + from, begin + to, 0, s_.O, output);
      });
    });
  }

  void backward(const Planes<const BFloat16>& grad, const Needs& needs, const Gradients& gradients) {
    const AsRows grads(s_.pixels(), grad);
    const Tensor grad_columns = new_tensor<BFloat16>({needs.columns() ? tile_ : 0, row_});
    const Tensor product = new_tensor<BFloat16>({needs.weight ? s_.O : 0, row_});
    const Tensor grad_weight = new_tensor<float>({needs.weight ? s_.O : 0, row_});
    const PositionGradients<float> positions(s_, needs, gradients);
    const Tensor grad_input = new_tensor<float>({needs.input ? s_.N * s_.H * s_.W : 0, s_.C});
    set_zero<float>(grad_weight);
    set_zero<float>(grad_input);
    for_each_tile([&](int64_t begin, int64_t end) {
      const Matrix tile_grads{grads.rows + begin * s_.O, end - begin, s_.O, s_.O};
      if (needs.columns()) {
        multiply_matrices(tile_grads, filters(), {data<BFloat16>(grad_columns), end - begin, row_, row_});
      }
      read(
          begin, end,
          {.columns = {needs.weight ? data<BFloat16>(columns_) : nullptr, row_},
           .gradient = {positions.wanted() ? data<BFloat16>(grad_columns) : nullptr, row_}},
          &positions);
      if (needs.weight) {
        multiply_matrices(
            tile_grads.transposed(), columns(end - begin), {data<BFloat16>(product), s_.O, row_, row_});
        add(data<float>(grad_weight), data<BFloat16>(product), s_.O * row_);
      }
      if (needs.input) {
        parallel_scatter(s_, 0, s_.C, [&](const Share& share, int64_t k, int64_t g) {
          kernels_.scatter(
              {.grad_input = {data<float>(grad_input), s_.C},
               .channels = {0, s_.C, s_.C, s_.C},
               .taps = taps(k, g),
               .first = share.first,
               .last = share.last,
               .first_cell = share.first_cell,
               .last_cell = share.last_cell,
               .pixels = end - begin,
               .gradient = {data<BFloat16>(grad_columns) + k * s_.C, row_}});
        });
      }
    });
    if (needs.weight) {
      from_rows(grad_weight, s_.O * s_.K(), gradients.weight);
    }
    if (needs.input) {
      from_rows(grad_input, s_.N * s_.H * s_.W, gradients.input);
    }
  }

 private:
  // The pixels of a tensor as rows of channels: the tensor's memory if it is channels_last, otherwise a copy.
  struct AsRows {
    AsRows(int64_t pixels, const Planes<const BFloat16>& planes)
        : copy(new_tensor<BFloat16>({planes.channels_last ? 0 : pixels, planes.C})),
          rows(planes.channels_last ? planes.data : data<const BFloat16>(copy)) {
      if (!planes.channels_last) {
        parallel_pixels(pixels, [&](int64_t begin, int64_t end) {
          read_rows(planes, begin, end, 0, planes.C, data<BFloat16>(copy) + begin * planes.C, planes.C);
        });
      }
    }

    Tensor copy;
    const BFloat16* rows;
  };

  static void from_rows(const Tensor& rows, int64_t pixels, const Tensor& target) {
    const Planes<BFloat16> planes = planes_of<BFloat16>(target);
    parallel_pixels(pixels, [&](int64_t begin, int64_t end) {
      write_rows(data<const float>(rows) + begin * planes.C, planes.C, begin, end, 0, planes.C, planes);
    });
  }

  static void add(float* sum, const BFloat16* term, int64_t count) {
    torch::stable::parallel_for(0, count, 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        sum[i] += load(term + i);
      }
    });
  }

  // Completes `results` with the members that all reads share, and distributes the tile among the threads. If
  // `results` has a gradient of the columns, the gradients of the positions are added to `positions`.
  void read(
      int64_t begin, int64_t end, const Read<BFloat16>& results,
      const PositionGradients<float>* positions = nullptr) {
    constexpr int64_t kPixels = 16;
    torch::stable::parallel_for(0, divide_up(end - begin, kPixels) * s_.K(), 1, [&](int64_t from, int64_t to) {
      float sums[4 * kPixels];
      for (int64_t item = from; item < to; ++item) {
        const int64_t k = item % s_.K(), first = item / s_.K() * kPixels;
        Read<BFloat16> r = results;
        r.sums = sums;
        r.input = {input_.rows, s_.C};
        r.zeros = zeros_.data();
        r.channels = {0, s_.C, s_.C, s_.C};
        r.pixels = std::min(kPixels, end - begin - first);
        if (r.columns.data) {
          r.columns.data += first * row_ + k * s_.C;
        }
        if (r.gradient.data) {
          r.gradient.data += first * row_ + k * s_.C;
        }
        for_each_offset_group(s_, 0, s_.C, [&](int64_t g, int64_t first_channel, int64_t last_channel) {
          r.taps = taps(k, g) + first;
          r.first = first_channel;
          r.last = last_channel;
          kernels_.locate(positions_, g, k, begin + first, begin + first + r.pixels, taps(k, g) + first);
          kernels_.read(r);
          for (int64_t pixel = 0; r.gradient.data && pixel < r.pixels; ++pixel) {
            positions->add(r.taps[pixel], sums + 4 * pixel);
          }
        });
      }
    });
  }

  template <typename Visit>
  void for_each_tile(const Visit& visit) const {
    for (int64_t begin = 0; begin < s_.pixels(); begin += tile_) {
      visit(begin, std::min(begin + tile_, s_.pixels()));
    }
  }

  // Few enough pixels that the columns stay in the last-level cache, and enough that PyTorch's products run at full
  // speed.
  int64_t tile_pixels() const {
    constexpr int64_t kBytes = 19'000'000, kMost = 1024, kLeast = 32;
    const int64_t most = std::clamp(kBytes / (row_ * static_cast<int64_t>(sizeof(BFloat16))), kLeast, kMost);
    return divide_up(s_.pixels(), std::max<int64_t>(1, divide_up(s_.pixels(), most)));
  }

  Matrix columns(int64_t pixels) const { return {data<BFloat16>(columns_), pixels, row_, row_}; }
  Matrix filters() const { return {filters_.rows, s_.O, row_, row_}; }
  Tap<float>* taps(int64_t k, int64_t g) { return taps_.data() + (k * s_.G + g) * tile_; }

  const ConvShape s_;
  const Kernels<BFloat16>& kernels_ = kernels<BFloat16>();
  Positions<float> positions_;
  int64_t row_;  // elements of a pixel's columns: (tap, channel)
  std::vector<BFloat16> zeros_;
  AsRows input_, filters_;
  int64_t tile_;
  std::vector<Tap<float>> taps_;
  Tensor columns_;
};

}  // namespace deformlab::deform_conv2d
