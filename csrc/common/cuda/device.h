// The parts of CUDA that the operators use. Tests define DEFORMLAB_ON_HOST to run the same kernels on the CPU.

#pragma once

#if defined(DEFORMLAB_ON_HOST)
#include "host_device.h"
#else

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#include <torch/headeronly/util/Exception.h>

#include <cstdint>

// The library in which the operators are registered, and the dispatch key.
#define DEFORMLAB_LIBRARY deformlab
#define DEFORMLAB_DEVICE CUDA

namespace deformlab {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool kHasVectorAtomics = true;
#else
constexpr bool kHasVectorAtomics = false;
#endif

// Makes a device the current one during its lifetime, and launches kernels on PyTorch's current stream of that device.
class DeviceScope {
 public:
  explicit DeviceScope(int32_t device) : guard_(device), device_(device) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  template <typename... Parameters, typename... Arguments>
  void launch(void (*kernel)(Parameters...), int64_t blocks, dim3 threads, Arguments... arguments) const {
    kernel<<<dim3(static_cast<unsigned>(blocks)), threads, 0, stream_>>>(arguments...);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }

  int64_t cache_bytes() const { return attribute(cudaDevAttrL2CacheSize); }

  // A matrix product with fewer rows has too few tiles to occupy all multiprocessors.
  int64_t min_rows() const { return 16 * attribute(cudaDevAttrMultiProcessorCount); }

 private:
  int64_t attribute(cudaDeviceAttr name) const {
    int value = 0;
    STD_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, device_));
    return value;
  }

  torch::stable::accelerator::DeviceGuard guard_;
  int32_t device_;
  cudaStream_t stream_;
};

}  // namespace deformlab

#endif
