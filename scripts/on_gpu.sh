#!/usr/bin/env bash
# Builds, tests and measures the CUDA kernels on a machine that is only available for a few minutes. Needs Python, torch
# with CUDA, nvcc and pytest, but no network. Compares with torchvision if it is installed.
#
#   scripts/on_gpu.sh [FOLDER]              at most nine minutes, results in FOLDER (runs/on_gpu)
#   scripts/on_gpu.sh --rehearse [FOLDER]   the same commands on the CPU with tiny inputs (runs/on_gpu_rehearsal)
#
# Writes into FOLDER: summary.txt (one line per part), log.txt (the output of the parts), operators.json, network.json
# and profile.txt. Each file is saved during the run. Each part has a time limit. The most important parts come first,
# and the others continue if one fails. The exit code is 1 if a part failed or timed out, and 130 after Ctrl-C, which
# keeps the results so far.
#
# Environment: PYTHON, the interpreter; REVISION, the commit of a copy without .git; SECONDS_IN_ALL, 535 by default.
set -uo pipefail
cd "$(dirname "$0")/.."

device=cuda
if [ "${1-}" = --rehearse ]; then
  device=cpu
  shift
fi
folder=${1:-$([ $device = cuda ] && echo runs/on_gpu || echo runs/on_gpu_rehearsal)}
seconds_in_all=${SECONDS_IN_ALL:-535}
python=${PYTHON:-.venv/bin/python}
command -v "$python" >/dev/null || python=python3
export PYTHONPATH="$PWD/src:$PWD/scripts${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
if [ $device = cpu ]; then export OMP_NUM_THREADS=1; fi

mkdir -p "$folder" || exit 2
log=$folder/log.txt summary=$folder/summary.txt
rm -f "$folder/operators.json" "$folder/network.json" "$folder/profile.txt"
: >"$log"
: >"$summary"
failed=0 running='' name=start started=0

# report NAME RESULT SECONDS [REMARK]: adds a line to the summary.
report() {
  printf '%-24s %-12s %4d s  %s\n' "$1" "$2" "$3" "${4-}" | sed 's/ *$//' | tee -a "$summary"
}

# part NAME LIMIT COMMAND...: runs the command for at most LIMIT seconds, or the remaining time if that is shorter.
part() {
  local limit=$2 left=$((seconds_in_all - SECONDS)) code=0 printed_before
  name=$1 started=$SECONDS
  shift 2
  if [ "$left" -lt 3 ]; then
    failed=1
    report "$name" skipped 0 "no time left"
    return
  fi
  if [ "$left" -lt "$limit" ]; then limit=$left; fi
  printed_before=$(wc -c <"$log")
  printf '\n== %s, at most %d s: %s\n' "$name" "$limit" "$*" >>"$log"
  timeout --kill-after=3 "$limit" "$@" >>"$log" 2>&1 &
  running=$!
  wait "$running" || code=$?
  running=''
  # 124 is the exit code of timeout. 137 is a kill: the second signal of timeout, or the system's if out of memory.
  if [ $code = 137 ] && [ $((SECONDS - started)) -ge "$limit" ]; then code=124; fi
  case $code in
    0) report "$name" done $((SECONDS - started)) ;;
    5) report "$name" skipped $((SECONDS - started)) "no such test" ;; # only pytest has this exit code
    124) failed=1 && report "$name" "timed out" $((SECONDS - started)) "the limit was $limit s" ;;
    *)
      failed=1
      report "$name" failed $((SECONDS - started)) "exit code $code; the end of what it printed:"
      tail -c "+$((printed_before + 1))" "$log" | tail -n 15
      ;;
  esac
}

interrupt() {
  if [ -n "$running" ]; then
    kill "$running" # timeout passes the signal on to the command and its children
    wait "$running"
  fi
  report "$name" interrupted $((SECONDS - started))
  exit 130
}
trap interrupt INT TERM

has() { "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" >/dev/null 2>&1; }

if [ $device = cuda ]; then
  # This is also the first start of CUDA and its libraries, which takes seconds.
  if ! TORCH_CUDA_ARCH_LIST=$("$python" -c 'import torch; print(*torch.cuda.get_device_capability(), sep=".")' 2>>"$log"); then
    tail -n 1 "$log"
    echo "$python finds no CUDA device; to try the script without one: scripts/on_gpu.sh --rehearse"
    exit 2
  fi
  export TORCH_CUDA_ARCH_LIST
  # The linker looks for libcudart beside nvcc, which may be a link or a wrapper in another folder: use torch's.
  libraries=$(mktemp -d)
  trap 'rm -rf "$libraries"' EXIT
  cudart='import re, torch; print(re.search(r"/\S*/libcudart\.so\S*", open("/proc/self/maps").read())[0])'
  if cudart=$("$python" -c "$cudart" 2>>"$log"); then ln -s "$cudart" "$libraries/libcudart.so"; fi
  export LIBRARY_PATH="$libraries${LIBRARY_PATH:+:$LIBRARY_PATH}"
  nvidia-smi >>"$log" 2>&1
fi
missing=''
for package in torchvision pytorch_lightning torchmetrics albumentations jsonargparse wandb; do
  has $package || missing+=" $package"
done
if [ -n "$missing" ]; then echo "not installed, so tests and comparisons are skipped:$missing" | tee -a "$summary"; fi

tests=("$python" -m pytest -o addopts= -p skip_missing_packages -p no:cacheprovider --strict-markers
  --import-mode=importlib -ra -v -m gpu)
if has pytest_timeout; then tests+=(--timeout=60); fi
operators=("$python" scripts/bench_ops.py --device $device --output "$folder/operators.json")
network=("$python" scripts/bench_network.py --device $device --output "$folder/network.json" --passes training_step)
profile=("$python" scripts/profile_step.py "$folder/profile.txt" --device $device)
loads="from deformlab.ops import backend, native_status; assert backend('$device') == 'native', native_status()"

if [ $device = cuda ]; then
  if has xdist; then parallel=(-n 4); else parallel=(); fi
  # If a library does not compile, setup.py continues without it, and the second command fails.
  part "build" 180 bash -c '"$0" setup.py build_ext --inplace --force && "$0" -c "$1"' "$python" "$loads"
  part "operators' tests" 110 "${tests[@]}" ${parallel[@]+"${parallel[@]}"} tests/ops
  part "operators" 120 "${operators[@]}" --repeats 9
  part "training step" 70 "${network[@]}" --network cityscapes --precisions bf16-mixed tf32 --formats channels_last
  part "profile" 45 "${profile[@]}"
  part "operators, more shapes" 70 "${operators[@]}" --repeats 9 --shapes batch37 maps64
  part "other GPU tests" 60 "${tests[@]}" tests --ignore=tests/ops
else
  small=(--backbone resnet10 --size 1 64 64)
  tiny=(--repeats 1 --shapes tiny)
  part "build" 60 "$python" -c "$loads"
  part "operators' tests" 60 "${tests[@]}" tests/ops/test_cuda_device.py
  part "operators" 60 "${operators[@]}" "${tiny[@]}" --dtypes float32 autocast --formats channels_last
  part "training step" 60 "${network[@]}" --repeats 1 --precisions bf16-mixed --formats channels_last "${small[@]}"
  part "profile" 60 "${profile[@]}" --shapes tiny "${small[@]}"
  part "operators, more shapes" 60 "${operators[@]}" "${tiny[@]}" --dtypes bfloat16 --versions v2 --parts dense
  part "other GPU tests" 60 "${tests[@]}" tests/test_compile_cuda.py
fi
report "in all" "$([ $failed = 0 ] && echo done || echo failed)" $SECONDS "results in $folder"
exit $failed
