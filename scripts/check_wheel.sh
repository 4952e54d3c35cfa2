#!/usr/bin/env bash
# Source distribution and wheel as a user gets them, in empty environments without a compiler and without network:
# the wheel's operators pass their tests; the sources install without compiler or torch, say so, and compute.
# check_wheel.sh [TESTS...]: by default the tests that specify deform_conv2d; tests/ops for all.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
python=$(command -v "$python")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
packages=$("$python" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])')
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
complain() {
  echo "check_wheel: $1" >&2
  exit 1
}

# environment NAME: an environment that sees torch and pytest, but no deformlab. A path file's folder is searched for
# packages but not for further path files, so an editable installation there stays out of sight.
environment() {
  "$python" -m venv --without-pip "$folder/$1"
  echo "$packages" >"$("$folder/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/packages.pth"
}
# alone NAME COMMAND...: with nothing on the path but that environment.
alone() {
  local name=$1
  shift
  env -i PATH="$folder/$name/bin" HOME="$folder" OMP_NUM_THREADS=1 TMPDIR="$folder" "$@"
}

echo "-- source distribution"
"$python" -c 'import sys, setuptools.build_meta as backend; backend.build_sdist(sys.argv[1])' "$folder" >/dev/null 2>&1
sdist=$(echo "$folder"/deformlab-*.tar.gz)
tar -tzf "$sdist" >"$folder/files"
for source in $(cd csrc && find . -type f); do
  grep -q "/csrc/${source#./}$" "$folder/files" || complain "the source distribution lacks csrc/${source#./}"
done
! grep '\.so$' "$folder/files" || complain "the source distribution has a compiled library"

echo "-- wheel"
pip wheel --no-deps --no-build-isolation --no-index --wheel-dir "$folder" .
wheel=$(echo "$folder"/deformlab-*.whl)
case $wheel in *-cp310-abi3-*) ;; *) complain "$(basename "$wheel") is no wheel for every Python from 3.10" ;; esac
"$python" -m zipfile --list "$wheel" | awk '/\.so / { print "   " $1 }'
environment wheel
pip --python "$folder/wheel/bin/python" install --ignore-installed --no-deps --no-index "$wheel"
alone wheel python -c 'import sys; from deformlab.ops import native_status as s; assert str(s().path).startswith(sys.prefix), s()'
alone wheel python -m pytest -q -p no:cacheprovider -o addopts= --import-mode=importlib --confcutdir=tests/ops \
  "${@:-tests/ops/test_deform_conv2d.py}"

# installs_without NAME MESSAGE VARIABLES...: from source; says MESSAGE, and the operators run with one warning.
installs_without() {
  alone "$1" "${@:3}" "$python" -m pip --disable-pip-version-check --python "$folder/$1/bin/python" install -v --ignore-installed --no-deps \
    --no-index --no-build-isolation "$sdist" >"$folder/$1.log" 2>&1 || { cat "$folder/$1.log"; complain "no installation without $1"; }
  grep -oE "($2).*" "$folder/$1.log" || { cat "$folder/$1.log"; complain "no word about the missing $1"; }
  alone "$1" python - <<END
import warnings, torch
from deformlab.ops import deform_conv2d
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(2):
        output = deform_conv2d(torch.ones(1, 2, 5, 5), torch.zeros(1, 18, 3, 3), torch.ones(1, 2, 3, 3))
assert output.eq(18).all(), output
assert len(said) == 1 and "plain PyTorch (slow)" in str(said[0].message), said
print("  ", said[0].message)
END
}
echo "-- from source without a compiler"
environment compiler
# What setuptools says, or with ninja setup.py.
installs_without compiler 'building extension "deformlab._C" failed|no deformlab._C, the build failed'
echo "-- from source without torch"
environment torch
mkdir "$folder/stub"
echo 'raise ImportError("No module named torch")' >"$folder/stub/torch.py"
installs_without torch "no native operators, torch cannot be imported" PYTHONPATH="$folder/stub"
