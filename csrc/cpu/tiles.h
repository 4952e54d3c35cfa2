// Output pixels in tiles, and the columns of one tile.

#pragma once

#include <algorithm>
#include <vector>

#include "columns.h"
#include "matmul.h"
#include "tensors.h"

namespace deformlab {

// A tile's columns stay in a last-level cache, and its product is large enough to run at full speed.
constexpr int64_t kTileBytes = 19'000'000;
constexpr int64_t kMaxTilePixels = 1024;
constexpr int64_t kMinTilePixels = 32;
constexpr int64_t kPixelGrain = 8;

// The arguments as the kernels read them, kept alive.
template <typename scalar_t>
struct Operands {
  using acc_t = accumulate_t<scalar_t>;

  Operands(const ConvShape& shape, const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask)
      : zeros(shape.C, scalar_t{}),
        input_nhwc(channels_last<scalar_t>(input)),
        offset_acc(torch::stable::contiguous(as_type(offset, dtype_of<acc_t>()))) {
    if (mask) {
      mask_acc = torch::stable::contiguous(as_type(*mask, dtype_of<acc_t>()));
    }
    sampling = {
        shape, data<scalar_t>(input_nhwc), data<acc_t>(offset_acc), mask ? data<acc_t>(*mask_acc) : nullptr,
        zeros.data()};
  }

  std::vector<scalar_t> zeros;
  Tensor input_nhwc, offset_acc;
  std::optional<Tensor> mask_acc;
  Sampling<scalar_t> sampling;
};

struct Tiles {
  Tiles(const ConvShape& shape, int64_t element_size) : pixels(shape.pixels()) {
    const int64_t fitting = kTileBytes / (shape.C * shape.K() * element_size);
    const int64_t most = std::clamp(fitting, kMinTilePixels, kMaxTilePixels);
    const int64_t count = std::max<int64_t>(1, (pixels + most - 1) / most);
    size = (pixels + count - 1) / count;
  }

  // Calls visit(first pixel, one past the last).
  template <typename Visit>
  void for_each(const Visit& visit) const {
    for (int64_t begin = 0; begin < pixels; begin += size) {
      visit(begin, std::min(begin + size, pixels));
    }
  }

  int64_t pixels, size;
};

// Columns of one tile, weight groups one after the other.
template <typename scalar_t>
struct Columns {
  Columns(const ConvShape& shape, int64_t pixels)
      : row_size(shape.C / shape.groups * shape.K()), memory(new_tensor<scalar_t>({shape.groups, pixels, row_size})) {
    for (int64_t group = 0; group < shape.groups; ++group) {
      groups.push_back(data<scalar_t>(memory) + group * pixels * row_size);
    }
  }

  void sample(const Sampling<scalar_t>& sampling, int64_t begin, int64_t end) {
    torch::stable::parallel_for(begin, end, kPixelGrain, [&](int64_t from, int64_t to) {
      sample_columns(sampling, groups.data(), begin, from, to);
    });
  }

  Matrix matrix(int64_t group, int64_t pixels) const {
    return {groups[group], pixels, row_size, row_size, dtype_of<scalar_t>()};
  }

  int64_t row_size;
  Tensor memory;
  std::vector<scalar_t*> groups;
};

}  // namespace deformlab
