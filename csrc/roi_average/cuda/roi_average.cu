// roi_average on the GPU. One thread computes one output, or one output's part of the gradients.
//
// Gradients are added with atomics, in any order: under torch.use_deterministic_algorithms, Python runs the reference
// instead.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>

#include "../../common/cuda/device.h"
#include "../../common/dispatch.h"
#include "../roi_average.h"

namespace deformlab::roi_average {
namespace {

constexpr int kThreads = 128;

// The tensors of a call, contiguous.
template <typename scalar_t>
struct Call {
  using acc_t = accumulate_t<scalar_t>;
  Shape s;
  const scalar_t* input;
  const Region<acc_t>* regions;
  const acc_t *offset, *mask;  // may be null

  // Position of an output in (K, O, P, Q).
  struct Place {
    int64_t p, q, plane;
    int64_t mask, offset;  // indices of the part
    Region<acc_t> region;
    acc_t shift_y, shift_x, factor;
  };

  DEFORMLAB_INLINE Place place(int64_t index) const {
    Place at;
    // Only one division of 64-bit numbers, which are slow.
    const int64_t k = index / (s.O * s.bins());
    const auto in_region = static_cast<uint32_t>(index - k * s.O * s.bins());
    const auto columns = static_cast<uint32_t>(s.Q), rows = static_cast<uint32_t>(s.P);
    at.q = in_region % columns;
    at.p = in_region / columns % rows;
    const uint32_t o = in_region / columns / rows, cls = o / static_cast<uint32_t>(s.class_outputs);
    const int64_t channel = o * s.group_count() + s.groups.of_bin(at.p, at.q, s.P, s.Q);
    at.mask = s.part(k, cls, at.p, at.q);
    at.offset = s.offset(k, cls, at.p, at.q);
    at.region = regions[k];
    at.plane = (at.region.image * s.C + channel) * s.cells();
    at.shift_y = at.shift_x = 0;
    if (offset) {
      const acc_t gamma = static_cast<acc_t>(s.gamma);
      at.shift_x = gamma * offset[at.offset] * at.region.x.size;
      at.shift_y = gamma * offset[at.offset + s.part_h * s.part_w] * at.region.y.size;
    }
    at.factor = mask ? mask[at.mask] : acc_t(1);
    return at;
  }

  // The number of samples of the bin that count.
  DEFORMLAB_INLINE acc_t samples(const Place& at) const {
    const auto ignore = [](int32_t, acc_t, acc_t) {};
    return visit_bin<acc_t>(s.kind, at.region.y, at.p, at.shift_y, s.H, ignore) *
        visit_bin<acc_t>(s.kind, at.region.x, at.q, at.shift_x, s.W, ignore);
  }

  // Calls add(cell, weight, slope_y, slope_x) for each cell of the bin, and returns the number of samples. Weights and
  // slopes are still to be divided by that number.
  template <typename Add>
  DEFORMLAB_INLINE acc_t visit(const Place& at, const Add& add) const {
    acc_t counted_x = 0;
    const acc_t counted_y = visit_bin<acc_t>(
        s.kind, at.region.y, at.p, at.shift_y, s.H, [&](int32_t row, acc_t weight_y, acc_t slope_y) {
          counted_x = visit_bin<acc_t>(
              s.kind, at.region.x, at.q, at.shift_x, s.W, [&](int32_t column, acc_t weight_x, acc_t slope_x) {
                add(row * static_cast<int32_t>(s.W) + column, weight_y * weight_x, slope_y * weight_x,
                    weight_y * slope_x);
              });
        });
    return counted_y * counted_x;
  }
};

// Computes what all outputs of a region share.
template <typename T>
__global__ void __launch_bounds__(kThreads) prepare_regions(const Shape s, const T* rois, Region<T>* regions) {
  const int64_t k = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (k < s.K) {
    regions[k] = region_of<T>(s, rois + 5 * k);
  }
}

template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) pool(const Call<scalar_t> call, int64_t count, scalar_t* output) {
  using acc_t = accumulate_t<scalar_t>;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) {
    return;
  }
  const auto at = call.place(index);
  acc_t sum = 0, samples = 0;
  if (at.region.legal) {
    const scalar_t* plane = call.input + at.plane;
    samples = call.visit(at, [&](int32_t cell, acc_t weight, acc_t, acc_t) {
      sum += weight * static_cast<acc_t>(plane[cell]);
    });
  }
  output[index] = static_cast<scalar_t>(samples > 0 ? sum / samples * at.factor : acc_t(0));
}

// Adds the gradient of the cells that one output read.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) add_input_gradient(
    const Call<scalar_t> call, int64_t count, const scalar_t* grad, accumulate_t<scalar_t>* grad_input) {
  using acc_t = accumulate_t<scalar_t>;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) {
    return;
  }
  const auto at = call.place(index);
  const acc_t samples = at.region.legal ? call.samples(at) : acc_t(0);
  if (samples > 0) {
    const acc_t upstream = static_cast<acc_t>(grad[index]) * at.factor / samples;
    acc_t* const plane = grad_input + at.plane;
    call.visit(at, [&](int32_t cell, acc_t weight, acc_t, acc_t) { atomicAdd(plane + cell, upstream * weight); });
  }
}

// Adds the gradients of the offset and the mask of one output; those that are not needed are null.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads) add_part_gradients(
    const Call<scalar_t> call, int64_t count, const scalar_t* grad, accumulate_t<scalar_t>* grad_offset,
    accumulate_t<scalar_t>* grad_mask) {
  using acc_t = accumulate_t<scalar_t>;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) {
    return;
  }
  const auto at = call.place(index);
  if (!at.region.legal) {
    return;
  }
  const scalar_t* plane = call.input + at.plane;
  acc_t sum = 0, slope_y = 0, slope_x = 0;
  const acc_t samples = call.visit(at, [&](int32_t cell, acc_t weight, acc_t of_y, acc_t of_x) {
    const acc_t value = static_cast<acc_t>(plane[cell]);
    sum += weight * value, slope_y += of_y * value, slope_x += of_x * value;
  });
  if (!(samples > 0)) {
    return;
  }
  const acc_t upstream = static_cast<acc_t>(grad[index]) / samples;
  if (grad_mask) {
    atomicAdd(grad_mask + at.mask, upstream * sum);
  }
  if (grad_offset) {
    const acc_t gamma = static_cast<acc_t>(call.s.gamma) * at.factor * upstream;
    atomicAdd(grad_offset + at.offset, gamma * at.region.x.size * slope_x);
    atomicAdd(grad_offset + at.offset + call.s.part_h * call.s.part_w, gamma * at.region.y.size * slope_y);
  }
}

template <typename scalar_t>
class Operator {
 public:
  using acc_t = accumulate_t<scalar_t>;

  Operator(
      const Shape& s, const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
      const std::optional<Tensor>& mask)
      : device_(input.get_device_index()),
        input_(torch::stable::contiguous(input)),
        regions_(new_tensor(input, ScalarType::Byte, {s.K * static_cast<int64_t>(sizeof(Region<acc_t>))})),
        offset_(offset ? std::optional<Tensor>(in_computed_type(*offset)) : std::nullopt),
        mask_(mask ? std::optional<Tensor>(in_computed_type(*mask)) : std::nullopt),
        call_{
            s, data<const scalar_t>(input_), data<const Region<acc_t>>(regions_),
            offset_ ? data<const acc_t>(*offset_) : nullptr, mask_ ? data<const acc_t>(*mask_) : nullptr},
        count_(s.K * s.O * s.bins()) {
    const Tensor typed = in_computed_type(rois);
    if (s.K > 0) {
      device_.launch(
          prepare_regions<acc_t>, divide_up(s.K, kThreads), dim3{kThreads}, s,
          static_cast<const acc_t*>(data<acc_t>(typed)), data<Region<acc_t>>(regions_));
    }
  }

  Tensor forward() const {
    const Shape& s = call_.s;
    const Tensor output = new_tensor(input_, input_.scalar_type(), {s.K, s.O, s.P, s.Q});
    if (count_ > 0) {
      device_.launch(pool<scalar_t>, divide_up(count_, kThreads), dim3{kThreads}, call_, count_, data<scalar_t>(output));
    }
    return output;
  }

  std::tuple<Tensor, Tensor, Tensor> backward(
      const Tensor& grad_any, const std::optional<Tensor>& offset, const std::optional<Tensor>& mask,
      const Needs& needs) const {
    const Tensor grad = torch::stable::contiguous(as_type(grad_any, input_.scalar_type()));
    const auto zeros = [&](const Tensor& like, bool needed) {
      const Tensor result = needed
          ? new_tensor(input_, dtype_of<acc_t>(), {like.size(0), like.size(1), like.size(2), like.size(3)})
          : new_tensor(input_, dtype_of<acc_t>(), {0});
      return torch::stable::zero_(const_cast<Tensor&>(result));
    };
    const Tensor grad_input = zeros(input_, needs.input);
    const Tensor grad_offset = zeros(offset_ ? *offset_ : input_, needs.offset);
    const Tensor grad_mask = zeros(mask_ ? *mask_ : input_, needs.mask);
    if (count_ > 0) {
      const scalar_t* upstream = data<scalar_t>(grad);
      if (needs.input) {
        device_.launch(
            add_input_gradient<scalar_t>, divide_up(count_, kThreads), dim3{kThreads}, call_, count_, upstream,
            data<acc_t>(grad_input));
      }
      if (needs.offset || needs.mask) {
        device_.launch(
            add_part_gradients<scalar_t>, divide_up(count_, kThreads), dim3{kThreads}, call_, count_, upstream,
            needs.offset ? data<acc_t>(grad_offset) : nullptr, needs.mask ? data<acc_t>(grad_mask) : nullptr);
      }
    }
    const ScalarType type = input_.scalar_type();
    return {
        as_type(grad_input, type), as_type(grad_offset, offset ? offset->scalar_type() : type),
        as_type(grad_mask, mask ? mask->scalar_type() : type)};
  }

 private:
  static Tensor in_computed_type(const Tensor& tensor) {
    return torch::stable::contiguous(as_type(tensor, dtype_of<acc_t>()));
  }

  DeviceScope device_;
  Tensor input_, regions_;
  std::optional<Tensor> offset_, mask_;
  Call<scalar_t> call_;
  int64_t count_;
};

Tensor roi_average(
    const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset, const std::optional<Tensor>& mask,
    int64_t kind, const Sizes& output_size, double scale, int64_t samples, const Sizes& groups, double gamma) {
  const Shape s = shape_of(input, rois, offset, mask, kind, output_size, scale, samples, groups, gamma);
  return dispatch_stored("roi_average", input.scalar_type(), [&](auto scalar) {
    return Operator<decltype(scalar)>(s, input, rois, offset, mask).forward();
  });
}

std::tuple<Tensor, Tensor, Tensor> roi_average_backward(
    const Tensor& grad, const Tensor& input, const Tensor& rois, const std::optional<Tensor>& offset,
    const std::optional<Tensor>& mask, int64_t kind, const Sizes& output_size, double scale, int64_t samples,
    const Sizes& groups, double gamma, bool needs_input, bool needs_offset, bool needs_mask) {
  const Shape s = shape_of(input, rois, offset, mask, kind, output_size, scale, samples, groups, gamma);
  check_gradient(s, grad);
  const Needs needs{needs_input, needs_offset && offset.has_value(), needs_mask && mask.has_value()};
  return dispatch_stored("roi_average", input.scalar_type(), [&](auto scalar) {
    return Operator<decltype(scalar)>(s, input, rois, offset, mask).backward(grad, offset, mask, needs);
  });
}

STABLE_TORCH_LIBRARY_IMPL(DEFORMLAB_LIBRARY, DEFORMLAB_DEVICE, library) {
  library.impl("roi_average", TORCH_BOX(&roi_average));
  library.impl("roi_average_backward", TORCH_BOX(&roi_average_backward));
}

}  // namespace
}  // namespace deformlab::roi_average
