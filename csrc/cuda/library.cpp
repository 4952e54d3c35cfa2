// Registers the GPU kernels. They are a library of their own: it needs CUDA to load, the CPU's does not.

#include <torch/csrc/stable/library.h>

#include "deform_conv2d.h"

STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) {
  library.def(
      "deform_conv2d_backward.deterministic(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation, bool clamp, "
      "bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(deformlab, CUDA, library) {
  library.impl("deform_conv2d", TORCH_BOX(&deformlab::cuda::deform_conv2d));
  library.impl("deform_conv2d_backward", TORCH_BOX(&deformlab::cuda::deform_conv2d_backward));
  library.impl(
      "deform_conv2d_backward.deterministic", TORCH_BOX(&deformlab::cuda::deform_conv2d_backward_deterministic));
}
