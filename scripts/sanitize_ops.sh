#!/usr/bin/env bash
# Makes random calls of the CPU operators, and of the CUDA source compiled for the host, with the address and
# undefined-behaviour sanitizers: sanitize_ops.sh [--calls 300] [--seed 0] [--first 0]. Rebuilds if a source is newer
# than the build.
set -euo pipefail
cd "$(dirname "$0")/.."

compiler=${CXX:-g++}
runtime=$("$compiler" -print-file-name=libasan.so 2>/dev/null || true)
if [ ! -e "$runtime" ]; then
  echo "sanitizers not run: $compiler has no libasan"
  exit 0
fi
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
torch=$("$python" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parent)')
target=$(sed -n 's/^TORCH_TARGET = "\(.*\)"$/\1/p' setup.py)
folder=$PWD/build/sanitized
mkdir -p "$folder"

# build LIBRARY ARGUMENTS...
build() {
  local library=$folder/$1
  shift
  if [ -e "$library" ] && [ -z "$(find csrc tests/ops/cuda scripts/sanitize_ops.sh setup.py "$torch/version.py" -newer "$library" -type f)" ]; then
    return
  fi
  "$compiler" -std=c++20 -O1 -g1 -fno-omit-frame-pointer -fPIC -shared -fopenmp-simd -fvisibility=hidden \
    -Wno-attributes -Wno-psabi -Wno-unknown-pragmas -fsanitize=address,undefined -fno-sanitize-recover=all \
    -DTORCH_TARGET_VERSION="$target" -I. -isystem "$torch/include" "$@" -o "$library.new" \
    -L"$torch/lib" -ltorch_cpu -Wl,-rpath,"$torch/lib"
  mv "$library.new" "$library"
}
# Without AVX-512, its loops are compiled for AVX2, which tests their widths, blocks and remainders.
emulation=()
grep -qsw avx512vl /proc/cpuinfo || emulation=(-DDEFORMLAB_EMULATE_AVX512)
build _C.abi3.so "${emulation[@]}" csrc/*/cpu/*.cpp &
build cuda_on_host.so -DDEFORMLAB_ON_HOST -Itests/ops/cuda tests/ops/cuda/host_library.cpp
wait $!

# The sanitizer must be loaded before Python, together with libstdc++, or it does not find the real __cxa_throw. Leaks
# are not checked, because Python and torch free nothing at exit. If an allocation fails, the call raises an error.
fuzz() {
  LD_PRELOAD="$runtime $("$compiler" -print-file-name=libstdc++.so.6)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
    PYTHONPATH=src "$python" scripts/fuzz_ops.py --journal "$folder/journal.txt" "$@" 2>&1 |
    # Removes the stack frames of Python, the C++ library and torch.
    grep -vE '^ +#[0-9]+ .*( [A-Z][a-z]+/|/include/c\+\+/|/torch/|/csu/|/nptl/)' || {
    echo "sanitize_ops: status ${PIPESTATUS[0]} in $(cat "$folder/journal.txt")"
    return 1
  }
}
# Runs with each vector unit, and with both implementations of bfloat16 products.
DEFORMLAB_CPU_CAPABILITY=default DEFORMLAB_CPU_BFLOAT16=library fuzz --folder "$folder" "$@"
DEFORMLAB_CPU_CAPABILITY=avx2 DEFORMLAB_CPU_BFLOAT16=float fuzz --folder "$folder" "$@"
fuzz --folder "$folder" "$@"
fuzz --on-host "$folder/cuda_on_host.so" "$@"
