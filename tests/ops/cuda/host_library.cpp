// The source of the GPU operators, built for the CPU and registered under another name.

#include "csrc/deform_conv2d/cuda/deform_conv2d.cu"

STABLE_TORCH_LIBRARY(deformlab_cuda_on_host, library) {
  library.def(deformlab::deform_conv2d::kForwardSchema);
  library.def(deformlab::deform_conv2d::kBackwardSchema);
}
