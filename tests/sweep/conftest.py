"""A sweep file with small trials: scripts that do what their name says, in milliseconds and without torch."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

FAKE_TRIAL = """
import json, os, signal, sys
from pathlib import Path

folder = Path(sys.argv[sys.argv.index("--run_dir") + 1])
name = os.environ["DEFORMLAB_TRIAL"]
with open(folder / "starts.txt", "a") as file:
    file.write(f"{os.getpid()}\\n")
with open(folder.parent / "order.txt", "a") as file:
    file.write(f"{folder.name}\\n")
first_start = len((folder / "starts.txt").read_text().split()) == 1
sweep = os.getppid()


def give_up(number, frame):
    (folder / "hung").touch()
    os._exit(1)


signal.signal(signal.SIGALRM, give_up)
signal.alarm(20)


def finish(status="finished"):
    result = json.loads((folder / "result.json").read_text())
    result |= {"status": status, "miou": 0.453, "environment": dict(os.environ)}
    (folder / "metrics.csv").write_text("epoch,images_per_second,val/miou\\n0,30.5,0.25\\n1,31.5,0.453\\n")
    (folder / "result.json").write_text(json.dumps(result))


if "DEFORMLAB_INIT_FROM" in os.environ:
    (parent,) = folder.parent.glob(os.environ["DEFORMLAB_INIT_FROM"] + "-seed*/result.json")
    if json.loads(parent.read_text())["status"] != "finished":
        sys.exit("started before its parent had finished")

print("trial", name, "works", flush=True)
if name.startswith("fail"):
    for line in range(30):
        print("line", line)
    sys.exit("the last words")
if name.startswith("mistake"):
    print("deformlab: error: data.root: there is no folder /nowhere")
    sys.exit(2)
if name.startswith("lie"):
    sys.exit(0)
if name.startswith("die"):
    os.kill(os.getpid(), signal.SIGKILL)
if name.startswith("meet"):
    os.close(os.open(folder.parent / "meeting", os.O_RDONLY if name == "meet-a" else os.O_WRONLY))
if name.startswith("quit"):
    finish("interrupted")
    sys.exit(143 if name == "quit-by-sigterm" else 130)
if name == "hang":
    signal.pause()
if name.startswith("stop-sweep") and first_start:
    try:
        os.kill(sweep, signal.SIGINT)
        signal.pause()
    except KeyboardInterrupt:
        print("asked to stop")
        sys.exit(130)
if name.startswith("terminate-sweep") and first_start:
    os.kill(sweep, signal.SIGTERM)
    signal.pause()
if name.startswith("hang-up-sweep") and first_start:
    os.kill(sweep, signal.SIGHUP)
    signal.pause()
if name.startswith("has-workers"):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.fork() == 0:
        signal.pause()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(sweep, signal.SIGINT)
    signal.pause()
if name.startswith("deaf"):
    signal.signal(signal.SIGINT, lambda number, frame: os.kill(sweep, signal.SIGINT))
    os.kill(sweep, signal.SIGINT)
    while True:
        signal.pause()
if name.startswith("kill-sweep") and first_start:
    os.kill(sweep, signal.SIGKILL)
    signal.pause()
finish()
"""


@pytest.fixture
def fake_command(tmp_path: Path) -> list[str]:
    """The command line of a trial that does what its name says."""
    script = tmp_path / "fake_trial.py"
    script.write_text(FAKE_TRIAL)
    return [sys.executable, "-I", "-S", str(script)]


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Writes a base configuration and a sweep file with the given YAML after name and base."""

    def write(
        rest: str, base: str = "{model: {dilation: 2, conv5: atrous}, trainer: {max_epochs: 2}}"
    ) -> Path:
        (tmp_path / "base.yaml").write_text(base)
        path = tmp_path / "sweep.yaml"
        path.write_text(f"name: study\nbase: base.yaml\n{rest}")
        return path

    return write
