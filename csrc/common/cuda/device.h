// What the operators need from CUDA. Tests define DEFORMLAB_ON_HOST and run the same kernels on the CPU.

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

// Where the operators are registered, and for which dispatch key.
#define DEFORMLAB_LIBRARY deformlab
#define DEFORMLAB_DEVICE CUDA

namespace deformlab {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
constexpr bool kHasVectorAtomics = true;
#else
constexpr bool kHasVectorAtomics = false;
#endif

// Makes a device current while it lives; knows PyTorch's stream there.
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

  // Rows below which the tiles of a matrix product leave multiprocessors idle.
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
