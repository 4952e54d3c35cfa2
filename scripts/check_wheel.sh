#!/usr/bin/env bash
# Installs source distribution and wheel as a user does, in environments that have torch and pytest but neither the
# training toolkit nor a compiler nor a network. The wheel's operators pass their tests, and verbs that need the toolkit
# say so. The sources install without a compiler, or where torch cannot be imported, say so, and compute.
# check_wheel.sh [TESTS...]: by default the tests that specify deform_conv2d and DeformConv2d; tests/ops for all.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
python=$(command -v "$python")
tests=("$@")
[ $# -gt 0 ] || tests=(tests/ops/test_deform_conv2d.py tests/layers/test_deform_conv.py)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
complain() {
  echo "check_wheel: $1" >&2
  exit 1
}

# environment NAME: an environment with torch, pytest, setuptools and what they require, and nothing else. They are links
# to the packages of our own Python.
environment() {
  "$python" -m venv --without-pip "$folder/$1"
  "$python" - "$("$folder/$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" <<'END'
import re, sys
from importlib import metadata
from pathlib import Path

wanted, linked = ["torch", "pytest", "setuptools"], set()
while wanted:
    name = wanted.pop()
    if name in linked:
        continue
    linked.add(name)
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # another platform's
        continue
    for top in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
        link = Path(sys.argv[1]) / top
        if not link.exists() and link.suffix != ".pth":
            link.symlink_to(package.locate_file(top))
    required = [line for line in package.requires or [] if "extra ==" not in line]
    wanted += [re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in required]
END
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
case $wheel in *-cp310-abi3-*) ;; *) complain "$(basename "$wheel") does not serve every Python from 3.10" ;; esac
"$python" -m zipfile --list "$wheel" | awk '/\.so / { print "   " $1 }'
environment wheel
pip --python "$folder/wheel/bin/python" install --no-index "$wheel"
pip --python "$folder/wheel/bin/python" check
alone wheel python -c 'import sys; from deformlab.ops import native_status as s; assert str(s().path).startswith(sys.prefix), s()'
alone wheel python -m pytest -q -p no:cacheprovider -o addopts= --import-mode=importlib --confcutdir=tests/ops \
  "${tests[@]}"

echo "-- without the training toolkit"
alone wheel deformlab --version
alone wheel deformlab doctor >"$folder/doctor"
grep "training toolkit .*not installed" "$folder/doctor" || complain "doctor does not name the missing training toolkit"
code=0
alone wheel deformlab fit --config x 2>"$folder/fit" || code=$?
cat "$folder/fit"
[ "$code" = 2 ] && [ "$(wc -l <"$folder/fit")" = 1 ] && grep -q "pip install 'deformlab\[train\]'" "$folder/fit" ||
  complain "deformlab fit does not say in one line that the training toolkit is missing"

# installs_without NAME MESSAGE VARIABLES...: from source; says MESSAGE, and the operators run with one warning.
installs_without() {
  alone "$1" "${@:3}" "$python" -m pip --disable-pip-version-check --python "$folder/$1/bin/python" install -v --ignore-installed --no-deps \
    --no-index --no-build-isolation "$sdist" >"$folder/$1.log" 2>&1 || { cat "$folder/$1.log"; complain "the installation without $1 failed"; }
  grep -oE "($2).*" "$folder/$1.log" || { cat "$folder/$1.log"; complain "the installation does not say that $1 is missing"; }
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
