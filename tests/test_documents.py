"""README.md, CONTRIBUTING.md and the pages in docs/ say only what works.

Every code block is run or parsed here. A block that cannot be has a comment with the reason right before it,

    <!-- not run: needs a GPU -->

and its commands are parsed all the same. Commands run on tiny data, with placeholders such as RUN filled in.
"""

import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from deformlab.cli import TRAINING_VERBS, main
from deformlab.cli.task_kinds import chosen_task
from deformlab.cli.training import ConfigurationResolver
from deformlab.sweep import Identify, make_trials, read_sweep
from deformlab.yaml_file import read_yaml

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
CODE = ("python", "bash", "yaml")
NO_CODE = ("", "text", "bibtex")

# What stands for the reader's own files, and what it is in the tests' folder. A command with another name in
# capitals is parsed only.
PLACEHOLDERS = {
    "CAMVID": "CAMVID",
    "FILE.yaml": "experiments/folder.yaml",
    "IMAGE": "my_data/val/images/a.jpg",
    "IMAGES": "my_data/val/images",
    "KIND": "sampling",
    "NAME": "folder",
    "OTHER": "my_data",
    "ROOT": "my_data",
    "RUN": "runs/try",
    "RUNS": "runs/dilation",
    "SWEEP.yaml": "experiments/sweeps/dilation.yaml",
    "config.yaml": "runs/try/config.yaml",
}
# Makes the training of a document one step of a tiny network.
TINY = """
    --trainer.max_epochs 1 --trainer.check_val_every_n_epoch 1 --trainer.precision 32-true
    --trainer.accelerator cpu --wandb off --model.backbone resnet10 --model.width 0.25 --model.head_channels 8
    --model.optimization.warmup_steps 0 --data.batch_size 2 --data.train_transform.short_side 48
    --data.train_transform.crop [48,64] --data.eval_transform.short_side 240
"""


# Height and width of the images: large enough for the two windows of `deformlab shift`.
SIZE = (240, 320)


class Block(NamedTuple):
    document: Path
    line: int
    language: str
    text: str
    reason: str | None
    """Why it is not run; None for one that is."""

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


FENCED = re.compile(
    r"(?:^<!-- not run: (?P<reason>.+) -->\n+)?"
    r"^(?P<fence>```+)(?P<language>\S*)\n(?P<text>.*?)^(?P=fence)$",
    re.DOTALL | re.MULTILINE,
)


def code_blocks(document: Path) -> list[Block]:
    text = document.read_text()
    found = []
    for match in FENCED.finditer(text):
        language, line = match["language"], text.count("\n", 0, match.start("fence")) + 1
        if not language.startswith("{"):  # a directive of Sphinx
            found.append(Block(document, line, language, match["text"], match["reason"]))
    return found


def shell_commands(text: str) -> list[str]:
    """The commands of a shell block, without comments."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.sub(r"(^|\s)#.*", "", line).split("&&")]
    return [part.strip() for part in parts if part.strip()]


BLOCKS = [block for document in DOCUMENTS for block in code_blocks(document)]
SHELL = [
    (block, command) for block in BLOCKS if block.language == "bash" for command in shell_commands(block.text)
]
INLINE = [
    (document, command)
    for document in DOCUMENTS
    for command in re.findall(
        r"`(deformlab [a-z][^`\n]*)`", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    )
]


def words_of(command: str) -> list[str]:
    """A command's words after `deformlab`, with the placeholders filled in."""
    words = [word for word in shlex.split(command)[1:] if word != "..."]
    return [PLACEHOLDERS.get(word, word) for word in words]


def unique(commands) -> list[str]:
    return sorted({command for command in commands if command.startswith("deformlab ")})


TO_PARSE = unique([command for _, command in [*SHELL, *INLINE]])
TO_RUN = [
    command
    for command in unique(command for block, command in SHELL if block.reason is None)
    if not any(
        re.fullmatch(r"[A-Z]+", word) and word not in PLACEHOLDERS.values() for word in words_of(command)
    )
]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """The reader's folder: experiments, own data, CamVid, and runs of the documents' first training."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(
        ROOT / "experiments", folder / "experiments", ignore=shutil.ignore_patterns("results", "notebooks")
    )
    write_own_data(folder / "my_data")
    write_camvid(folder / "CAMVID")
    shutil.copytree(folder / "my_data", folder / "other_drive")
    fit = next(words_of(command) for command in TO_RUN if command.startswith("deformlab fit "))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = Path(fit[fit.index("--run_dir") + 1])
        assert main([*fit, *TINY.split()]) == 0
    shutil.copytree(folder / run, folder / "runs" / "dilation" / "deformable-2-seed0")
    for name in {"runs/try", *re.findall(r"\bruns/[\w-]+\b", " ".join(TO_RUN))}:
        if not (folder / name).exists():
            (folder / name).symlink_to(folder / run)
    return folder


def write_own_data(root: Path) -> None:
    label = np.zeros(SIZE, dtype=np.uint8)
    label[10:30, 10:40] = 1
    for number, split in enumerate(("train", "val")):
        for name in ("a.jpg", "b.png"):
            save(noise(number), root / split / "images" / name)
            save(label, root / split / "labels" / f"{name[0]}.png")
    (root / "classes.txt").write_text("ground\nleaf\n")
    (root / "things.txt").write_text("leaf\n")


def write_camvid(root: Path) -> None:
    for number, split in enumerate(("train", "val")):
        save(noise(number), root / split / "a.png")
        save(np.full(SIZE, 8, dtype=np.uint8), root / f"{split}annot" / "a.png")


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), dtype=np.uint8)


def save(pixels: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


@pytest.fixture(scope="session")
def resolver():
    return ConfigurationResolver()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_code_block_is_run_or_says_why_not(block):
    assert block.language in (*CODE, *NO_CODE), "no test runs this language"
    if block.language == "bash" and block.reason is None:
        unknown = [command for command in shell_commands(block.text) if not is_checked(command)]
        assert not unknown, "mark the block: <!-- not run: REASON -->"


def is_checked(command: str) -> bool:
    known = command.startswith(("deformlab ", "make ", ".venv/bin/pre-commit "))
    return known or script_of(command) is not None or is_pytest(command)


def script_of(command: str) -> str | None:
    """The script of this repository that a command runs."""
    words = [word for word in shlex.split(command) if not re.fullmatch(r"(.*/)?python3?|[A-Z_]+=\S+", word)]
    return words[0] if re.match(r"(scripts/|\.ci/)", words[0]) else None


def is_pytest(command: str) -> bool:
    return " -m pytest" in command


@pytest.mark.parametrize(
    "document",
    sorted({block.document for block in BLOCKS if block.language == "python"}),
    ids=lambda path: path.name,
)
def test_the_python_of_a_document_runs_in_order(document, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    names: dict = {}
    for block in code_blocks(document):
        if block.language == "python":
            code = compile("\n" * block.line + block.text, str(document), "exec")
            if block.reason is None:
                exec(code, names)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=str)
def test_a_yaml_block_is_a_legal_sweep_or_configuration(block, workspace, resolver, tmp_path):
    file = workspace / "experiments" / "sweeps" / "of_a_document.yaml"
    file.write_text(block.text)
    content = read_yaml(file, "configuration")
    if "trials" in content:
        assert make_trials(read_sweep(file), tmp_path, {}, Identify(resolver))
    else:
        assert resolver(content)


@pytest.mark.parametrize("command", TO_PARSE)
def test_a_command_has_a_verb_and_options_that_exist(command, workspace, resolver, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    verb, *arguments = words_of(command)
    if verb in TRAINING_VERBS:
        resolver.choose(chosen_task(arguments))
        resolver._parser(verb).parse_args([word for word in arguments if not word.startswith("--help")])
        return
    with pytest.raises(SystemExit) as stop:
        main([verb, *(arguments[:1] if verb == "data" else []), "--help"])
    assert stop.value.code == 0
    known = capsys.readouterr().out
    for option in (word for word in arguments if word.startswith("--")):
        assert re.search(rf"{re.escape(option)}\b", known), option


@pytest.mark.parametrize(
    "command", [command for command in TO_RUN if not command.startswith("deformlab fit ")]
)
def test_a_command_runs(command, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    words = words_of(command)
    assert main([*words, "--dry-run"] if words[0] == "sweep" else words) == 0


@pytest.mark.parametrize(("block", "command"), [(b, c) for b, c in SHELL if script_of(c)], ids=str)
def test_a_script_exists_and_knows_its_options(block, command):
    script = ROOT / script_of(command)
    options = re.findall(r"\s(--[\w-]+)", command)
    assert all(option == "--help" or option in script.read_text() for option in options)


@pytest.mark.parametrize(("block", "command"), [(b, c) for b, c in SHELL if is_pytest(c)], ids=str)
def test_a_call_of_pytest_names_tests_and_markers_that_exist(block, command, pytestconfig):
    arguments = shlex.split(command.split(" -m pytest", 1)[1])
    markers = [line.split(":")[0] for line in pytestconfig.getini("markers")]
    if arguments[:1] == ["-m"]:
        assert arguments[1] in markers
    else:
        assert all((ROOT / path).exists() for path in arguments)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_exists(document):
    # Without comments, and without the files that a command writes.
    text = re.sub(r"<!--.*?-->|--output \S+", "", document.read_text(), flags=re.DOTALL)
    links = [document.parent / link for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text)]
    paths = re.findall(r"(?<![\w/])((?:experiments|scripts|src|tests|csrc|\.ci)/[\w./-]*\w)(?![\w<*])", text)
    top = re.findall(
        r"`(Makefile|[A-Z]+\.(?:md|cff)|pyproject\.toml|constraints\.txt|environment\.yml)`", text
    )
    named = [*links, *(ROOT / path for path in [*paths, *top])]
    assert [str(path) for path in named if not path.exists()] == []
    code = "\n".join([*re.findall(r"```bash\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])
    targets = re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z]+)", code)
    assert [target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)] == []


def test_links_within_the_readme_lead_to_its_headings():
    text = (ROOT / "README.md").read_text()
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_the_readme_shows_every_verb():
    in_blocks = [command for block, command in SHELL if block.document.name == "README.md"]
    in_text = [command for document, command in INLINE if document.name == "README.md"]
    verbs = {words_of(command)[0] for command in unique([*in_blocks, *in_text])}
    assert verbs >= {*TRAINING_VERBS, "sweep", "report", "show", "shift", "data", "doctor"} - {"test"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_claims_no_score_on_data_that_nobody_trained_on(document):
    # The shapes of the speed tables are named after the data sets; their numbers are factors.
    text = re.sub(r"<!-- [\w ]+: generated.*?<!-- end of", "", document.read_text(), flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n- ", text):
        if re.search(r"Cityscapes|VOC", paragraph):
            assert not re.search(r"\b\d\d\.\d\b", paragraph), paragraph
