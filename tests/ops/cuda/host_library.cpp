// The GPU operators' source, built for the CPU and registered under another name.

#include "csrc/cuda/deform_conv2d.cu"

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(deformlab_cuda_on_host, library) {
  library.def(
      "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation, bool clamp) -> Tensor");
  library.def(
      "deform_conv2d_backward(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation, bool clamp, "
      "bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  library.def(
      "deform_conv2d_backward.deterministic(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation, bool clamp, "
      "bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(deformlab_cuda_on_host, CPU, library) {
  library.impl("deform_conv2d", TORCH_BOX(&deformlab::cuda::deform_conv2d));
  library.impl("deform_conv2d_backward", TORCH_BOX(&deformlab::cuda::deform_conv2d_backward));
  library.impl(
      "deform_conv2d_backward.deterministic", TORCH_BOX(&deformlab::cuda::deform_conv2d_backward_deterministic));
}
