// Which vector unit CPU kernels use. An operator that has kernels for several units compiles one source per unit, each
// in a namespace of its own, and picks one of them at run time: see deform_conv2d/cpu/kernels.cpp.

#pragma once

#include <cstdint>

namespace deformlab {

// `kDefault` is the baseline of the architecture that this is compiled for.
enum class Capability : int64_t { kDefault = 0, kAvx2 = 1, kAvx512 = 2 };

// The best vector unit that both the processor has and DEFORMLAB_CPU_CAPABILITY allows.
Capability capability();

// Whether products of bfloat16 are faster than those of float32. DEFORMLAB_CPU_BFLOAT16=library or float overrules it,
// for tests.
bool multiplies_bfloat16();

// The `table` of this process's vector unit, out of namespaces baseline, avx2 and avx512.
#if defined(__x86_64__)
#define DEFORMLAB_FOR_CAPABILITY(table)                                  \
  (capability() == Capability::kAvx512     ? avx512::table               \
       : capability() == Capability::kAvx2 ? avx2::table                 \
                                           : baseline::table)
#else
#define DEFORMLAB_FOR_CAPABILITY(table) (baseline::table)
#endif

}  // namespace deformlab
