#!/usr/bin/env bash
# Runs the operators' tests with other versions of Python and torch: check_versions.sh [--build] PYTHON...
# Each PYTHON needs torch and pytest in its environment, and torchvision for a live comparison. It uses the library that
# was built here; with --build, a copy of the sources is compiled against its own torch.
set -euo pipefail
cd "$(dirname "$0")/.."

build=
if [ "${1:-}" = --build ]; then
  build=yes
  shift
fi
if [ $# = 0 ]; then
  sed -n '2,4s/^# //p' "$0"
  exit 2
fi
if [ -z "$build" ] && [ ! -e src/deformlab/_C.abi3.so ]; then
  echo "src/deformlab/_C.abi3.so is missing; make setup builds it"
  exit 2
fi

failed=0
for python in "$@"; do
  folder=$PWD
  "$python" -c 'import sys, torch; print(f"== Python {sys.version.split()[0]}, torch {torch.__version__}")'
  if [ -n "$build" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    cp -r csrc src tests scripts setup.py pyproject.toml README.md LICENSE "$folder"
    find "$folder" -name '*.so' -delete
    (cd "$folder" && "$python" setup.py -q build_ext --inplace)
  fi
  # The project's pytest options need plugins that the other environment may not have.
  (cd "$folder" && PYTHONPATH=src OMP_NUM_THREADS=1 "$python" -m pytest -q -p no:cacheprovider --import-mode=importlib \
    --confcutdir=tests/ops -o addopts= tests/ops) || failed=1
  PYTHONPATH=$folder/src "$python" -c 'from deformlab.ops import native_status as status; print(status()); raise SystemExit(not status().loaded)' ||
    failed=1
done
exit $failed
