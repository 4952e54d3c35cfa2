// roi_pool (maximum) on the CPU.
//
// The input is copied to rows of channels, one row per cell, so that the maximum of a bin is taken over contiguous rows.
// Scratch: that copy, unless the input is channels_last; one row of bins per thread.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../../common/cpu/layout.h"
#include "../../common/dispatch.h"
#include "../../roi_average/cpu/kernels.h"
#include "../roi_pool.h"

namespace deformlab::roi_pool {
namespace {

using roi_average::Cells;
using roi_average::cells_of;
using roi_average::kernels;
using roi_average::Region;
using roi_average::region_of;
using roi_average::Shape;

template <typename T>
std::tuple<Tensor, Tensor> forward(const Shape& s, const Tensor& input, const Tensor& rois_any) {
  const Tensor typed = in_either_format<T>(input);
  const bool last = is_channels_last(typed);
  const Tensor rows_tensor = last ? typed : new_tensor<T>({s.N * s.cells() * s.C});
  if (!last) {
    parallel_pixels(s.N * s.cells(), [&](int64_t begin, int64_t end) {
      read_rows(planes_of<const T>(typed), begin, end, 0, s.C, data<T>(rows_tensor) + begin * s.C, s.C);
    });
  }
  const Tensor rois_tensor = torch::stable::contiguous(as_type(rois_any, dtype_of<T>()));
  const T *rows = data<const T>(rows_tensor), *rois = data<const T>(rois_tensor);
  const Tensor output = new_tensor<T>({s.K, s.C, s.P, s.Q});
  const Tensor argmax = new_tensor<int32_t>({s.K, s.C, s.P, s.Q});
  torch::stable::parallel_for(0, s.K, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> values(s.bins() * s.C);
    std::vector<int32_t> found(s.bins() * s.C), cells;
    for (int64_t k = begin; k < end; ++k) {
      const Region<T> region = region_of<T>(s, rois + 5 * k);
      for (int64_t bin = 0; bin < s.bins(); ++bin) {
        T* const value = values.data() + bin * s.C;
        int32_t* const argument = found.data() + bin * s.C;
        cells.clear();
        if (region.legal) {
          const Cells y = cells_of(s.kind, region.y, bin / s.Q, s.H);
          const Cells x = cells_of(s.kind, region.x, bin % s.Q, s.W);
          for (int64_t row = y.first; row < y.last; ++row) {
            for (int64_t column = x.first; column < x.last; ++column) {
              cells.push_back(static_cast<int32_t>(row * s.W + column));
            }
          }
        }
        if (cells.empty()) {
          std::fill_n(value, s.C, T(0));
          std::fill_n(argument, s.C, -1);
        } else {
          const T* of_image = rows + region.image * s.cells() * s.C;
          kernels<T>().maximum(of_image, s.C, cells.data(), cells.size(), s.C, value, argument);
        }
      }
      const int64_t first = k * s.C * s.bins();
      transpose_block(values.data(), s.C, data<T>(output) + first, s.bins(), s.bins(), s.C);
      transpose_block(found.data(), s.C, data<int32_t>(argmax) + first, s.bins(), s.bins(), s.C);
    }
  });
  return {as_type(output, input.scalar_type()), argmax};
}

template <typename T>
Tensor backward(const Tensor& grad_any, const Tensor& rois_any, const Tensor& argmax_any, const Sizes& size) {
  const Tensor grad = torch::stable::contiguous(as_type(grad_any, dtype_of<T>()));
  const Tensor rois = torch::stable::contiguous(as_type(rois_any, dtype_of<T>()));
  const Tensor argmax = torch::stable::contiguous(argmax_any);
  const int64_t regions = grad.size(0), bins = grad.size(2) * grad.size(3), cells = size[2] * size[3];
  const Tensor result = new_tensor<T>({size[0], size[1], size[2], size[3]});
  set_zero<T>(result);
  T* const values = data<T>(result);
  // Each block of channels is computed by one thread, in the order of the regions.
  constexpr int64_t kChannels = 32;
  torch::stable::parallel_for(0, divide_up(size[1], kChannels), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kChannels, last = std::min(first + kChannels, size[1]);
      for (int64_t k = 0; k < regions; ++k) {
        const T image = data<const T>(rois)[5 * k];
        if (!(image >= 0 && image < static_cast<T>(size[0]))) {
          continue;
        }
        for (int64_t c = first; c < last; ++c) {
          T* const plane = values + (static_cast<int64_t>(image) * size[1] + c) * cells;
          const T* const source = data<const T>(grad) + (k * size[1] + c) * bins;
          const int32_t* const cell = data<const int32_t>(argmax) + (k * size[1] + c) * bins;
          for (int64_t bin = 0; bin < bins; ++bin) {
            if (cell[bin] >= 0 && cell[bin] < cells) {
              plane[cell[bin]] += source[bin];
            }
          }
        }
      }
    }
  });
  return as_type(result, grad_any.scalar_type());
}

std::tuple<Tensor, Tensor> roi_pool(
    const Tensor& input, const Tensor& rois, const Sizes& output_size, double scale) {
  const Shape s = shape_of(input, rois, output_size, scale);
  return dispatch_computed("roi_pool", input.scalar_type(), [&](auto type) {
    return forward<decltype(type)>(s, input, rois);
  });
}

Tensor roi_pool_backward(
    const Tensor& grad, const Tensor& rois, const Tensor& argmax, const Sizes& input_size) {
  check_backward(grad, rois, argmax, input_size);
  return dispatch_computed("roi_pool", grad.scalar_type(), [&](auto type) {
    return backward<decltype(type)>(grad, rois, argmax, input_size);
  });
}

STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) {
  library.def(kForwardSchema);
  library.def(kBackwardSchema);
}

STABLE_TORCH_LIBRARY_IMPL(deformlab, CPU, library) {
  library.impl("roi_pool", TORCH_BOX(&roi_pool));
  library.impl("roi_pool_backward", TORCH_BOX(&roi_pool_backward));
}

}  // namespace
}  // namespace deformlab::roi_pool
