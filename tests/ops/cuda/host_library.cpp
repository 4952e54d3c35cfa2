// The source of the GPU operators, built for the CPU and registered under another name.

#include "csrc/deform_conv2d/cuda/deform_conv2d.cu"
#include "csrc/nms/cuda/nms.cu"
#include "csrc/roi_average/cuda/roi_average.cu"
#include "csrc/roi_pool/cuda/roi_pool.cu"
#include "csrc/soft_nms/cuda/soft_nms.cu"

STABLE_TORCH_LIBRARY(deformlab_cuda_on_host, library) {
  library.def(deformlab::deform_conv2d::kForwardSchema);
  library.def(deformlab::deform_conv2d::kBackwardSchema);
  library.def(deformlab::nms::kSchema);
  library.def(deformlab::roi_average::kForwardSchema);
  library.def(deformlab::roi_average::kBackwardSchema);
  library.def(deformlab::roi_pool::kForwardSchema);
  library.def(deformlab::roi_pool::kBackwardSchema);
  library.def(deformlab::soft_nms::kSchema);
}
