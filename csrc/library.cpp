// Schemas of the operators. Kernels are registered beside their code; autograd and fake kernels in Python.

#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(deformlab, library) {
  library.def(
      "deform_conv2d(Tensor input, Tensor offset, Tensor weight, Tensor? bias, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation, bool clamp) -> Tensor");
  // A gradient that is not wanted comes back as an empty tensor.
  library.def(
      "deform_conv2d_backward(Tensor grad, Tensor input, Tensor offset, Tensor weight, Tensor? mask, "
      "int[] stride, int[] padding, int[] dilation, bool clamp, "
      "bool needs_input, bool needs_offset, bool needs_weight, bool needs_mask) "
      "-> (Tensor, Tensor, Tensor, Tensor)");
  // The vector unit that the CPU's kernels use: 0 the baseline's, 1 AVX2, 2 AVX-512.
  library.def("_cpu_capability() -> int");
}
