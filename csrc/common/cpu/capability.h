// Which vector unit the CPU kernels use. An operator with kernels for several units compiles one source file per unit,
// each in its own namespace, and chooses one of them at run time; see deform_conv2d/cpu/kernels.cpp.

#pragma once

#include <cstdint>

namespace deformlab {

// `kDefault` is the baseline of the architecture for which the library is compiled.
enum class Capability : int64_t { kDefault = 0, kAvx2 = 1, kAvx512 = 2 };

// Returns the best vector unit that the processor has and DEFORMLAB_CPU_CAPABILITY allows.
Capability capability();

// Returns whether matrix products in bfloat16 are faster than in float32. For tests, DEFORMLAB_CPU_BFLOAT16=library
// forces true and DEFORMLAB_CPU_BFLOAT16=float forces false.
bool multiplies_bfloat16();

// Selects the `table` of this process's vector unit from the namespaces baseline, avx2 and avx512.
#if defined(__x86_64__)
#define DEFORMLAB_FOR_CAPABILITY(table)                                  \
  (capability() == Capability::kAvx512     ? avx512::table               \
       : capability() == Capability::kAvx2 ? avx2::table                 \
                                           : baseline::table)
#else
#define DEFORMLAB_FOR_CAPABILITY(table) (baseline::table)
#endif

}  // namespace deformlab
