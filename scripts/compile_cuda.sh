#!/usr/bin/env bash
# Compiles every CUDA source for sm_80 and sm_90 against the headers of the installed torch, which may be a CPU build.
# Needs nvcc, but no GPU. Lists each kernel's registers; fails on errors, warnings and spilled registers. Up to 64 bytes
# are saved around a call of the compiler's own division, outside the inner loops, which costs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v nvcc >/dev/null; then
  echo "CUDA sources not compiled: nvcc not found"
  exit 0
fi
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
torch=$("$python" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parent)')
target=$(sed -n 's/^TORCH_TARGET = "\(.*\)"$/\1/p' setup.py)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for source in csrc/*/cuda/*.cu; do
  log=$folder/$(basename "$source").log
  if ! nvcc --options-file csrc/common/cuda/nvcc.flags -DTORCH_TARGET_VERSION="$target" -Werror all-warnings \
    -isystem "$torch/include" --resource-usage -c "$source" -o "$folder/object.o" >"$log" 2>&1; then
    cat "$log"
    exit 1
  fi
  echo "$source"
  # Prints one line per kernel and architecture from the compiler's report.
  c++filt <"$log" | awk '
    /Compiling entry function/ {
      name = $0; sub(/.*function .(void )?/, "", name); gsub(/\(anonymous namespace\)::/, "", name); sub(/\(.*/, "", name)
      arch = $NF; gsub(/\x27/, "", arch)
    }
    /spill stores/ {
      bytes = $0; sub(/ bytes spill stores.*/, "", bytes); sub(/.*[^0-9]/, "", bytes)
      spills = bytes + 0 > 64 ? ", REGISTERS SPILL" : ""
    }
    /Used .* registers/ {
      registers = $0; sub(/.*Used /, "", registers); sub(/ registers.*/, "", registers)
      printf "  %-6s %-60s %3d registers%s\n", arch, name, registers, spills
      if (spills) failed = 1
    }
    END { exit failed }'
done
