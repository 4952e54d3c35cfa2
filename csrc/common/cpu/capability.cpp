#include "capability.h"

#include <torch/csrc/stable/library.h>

#include <cstdlib>
#include <cstring>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace deformlab {
namespace {

Capability of_processor() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Capability::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
#if defined(DEFORMLAB_EMULATE_AVX512)
    return Capability::kAvx512;
#else
    return Capability::kAvx2;
#endif
  }
#endif
  return Capability::kDefault;
}

Capability allowed() {
  const char* const limit = std::getenv("DEFORMLAB_CPU_CAPABILITY");
  if (limit && std::strcmp(limit, "default") == 0) {
    return Capability::kDefault;
  }
  return limit && std::strcmp(limit, "avx2") == 0 ? Capability::kAvx2 : Capability::kAvx512;
}

}  // namespace

Capability capability() {
  static const Capability value = of_processor() < allowed() ? of_processor() : allowed();
  return value;
}

// PyTorch's matrix products accept bfloat16 on every processor with AVX-512. If the processor has no bfloat16
// instructions, they convert the operands of every product.
bool multiplies_bfloat16() {
  static const bool value = [] {
    const char* const choice = std::getenv("DEFORMLAB_CPU_BFLOAT16");
    if (choice && std::strcmp(choice, "library") == 0) {
      return true;
    }
    if (choice && std::strcmp(choice, "float") == 0) {
      return false;
    }
#if defined(__x86_64__)
    return capability() == Capability::kAvx512 && __builtin_cpu_supports("avx512bf16");
#elif defined(__aarch64__) && defined(__linux__)
    return (getauxval(AT_HWCAP2) & HWCAP2_BF16) != 0;
#else
    return false;
#endif
  }();
  return value;
}

}  // namespace deformlab

// Returns the number of the capability in `Capability`.
STABLE_TORCH_LIBRARY_FRAGMENT(deformlab, library) {
  library.def("_cpu_capability() -> int");
}

namespace {
int64_t cpu_capability() { return static_cast<int64_t>(deformlab::capability()); }
}  // namespace

STABLE_TORCH_LIBRARY_IMPL(deformlab, CompositeExplicitAutograd, library) {
  library.impl("_cpu_capability", TORCH_BOX(&cpu_capability));
}
