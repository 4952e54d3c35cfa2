// The results of the backward pass, and the gradients of offset and mask from sums over channels.

#pragma once

#include "../../common/tensors.h"
#include "../deform_conv2d.h"
#include "kernels.h"

namespace deformlab::deform_conv2d {

// Gradients that are not needed are empty tensors. Each is a separate tensor, because the outputs of an operator must
// not share memory.
struct Gradients {
  Tensor input, offset, weight, mask;
};

// Adds to the gradients of offset and mask.
template <typename acc_t>
class PositionGradients {
 public:
  PositionGradients(const ConvShape& s, const Needs& needs, const Gradients& gradients)
      : plane_(s.P * s.Q),
        offset_(needs.offset ? data<acc_t>(gradients.offset) : nullptr),
        mask_(needs.mask ? data<acc_t>(gradients.mask) : nullptr) {}

  bool wanted() const { return offset_ || mask_; }

  // `sums` has, for each of the four cells around the tap, the sum over channels of the column's gradient times the
  // value of the cell. It is not read if the tap is outside.
  void add(const Tap<acc_t>& tap, const acc_t sums[4]) const {
    if (!tap.inside) {
      return;
    }
    if (offset_) {
      offset_[tap.offset_index] += tap.factor * tap.point.derivative_y(sums);
      offset_[tap.offset_index + plane_] += tap.factor * tap.point.derivative_x(sums);
    }
    if (mask_) {
      mask_[tap.mask_index] += tap.point.interpolate(sums);
    }
  }

 private:
  int64_t plane_;
  acc_t *offset_, *mask_;
};

}  // namespace deformlab::deform_conv2d
