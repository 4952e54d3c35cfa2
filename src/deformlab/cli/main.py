"""The command line: training verbs by LightningCLI, and sweep, report, show, shift, data check and doctor.

A user's mistake prints one line on stderr and exits with code 2; a traceback is a bug of ours.
"""

import argparse
import contextlib
import gc
import math
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import deformlab
from deformlab.errors import ConfigError, DeformlabError, Interrupted, TrainingError
from deformlab.requirements import require_toolkit

__all__ = ["main"]

TRAINING_VERBS = ("fit", "validate", "test", "predict")

OVERVIEW = """\
usage: deformlab VERB ...

Semantic segmentation with Deformable ConvNets: how far should a network look?

  deformlab fit --config FILE.yaml    train one network
  deformlab validate --run_dir RUN    measure mIoU and effective dilation
  deformlab test --run_dir RUN        the same on the test split
  deformlab predict --run_dir RUN --data.predict_root IMAGES --output FOLDER
                                      segment your own images
  deformlab sweep SWEEP.yaml          train several variants and compare them
  deformlab report RUNS               write tables, plots and a page for a sweep
  deformlab show KIND RUN IMAGE       draw what a network does with an image
  deformlab shift RUN [RUN ...]       test whether effective dilation follows
                                      the image content
  deformlab data check NAME ROOT      find missing files and illegal labels
  deformlab doctor                    show what is installed, missing or slow

deformlab VERB --help explains a verb. The options of fit, validate, test and
predict can be given in the YAML file or on the command line, for example
--model.dilation 6 or --trainer.max_epochs 20.
"""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: Arguments after the program's name; None for those of the process.

    Returns:
        0 for success, 1 if a trial of a sweep or a check failed, 2 for a user's mistake, 128 + n if signal n
        stopped it (130 Ctrl-C, 143 SIGTERM).
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(arguments)
    except DeformlabError as error:
        print(f"deformlab: error: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"deformlab: {stop}", file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("deformlab: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our output, for example `| head`, has closed the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(arguments: list[str]) -> int:
    verb = arguments[0] if arguments else "--help"
    if verb in ("-h", "--help", "help"):
        print(OVERVIEW, end="")
        return 0
    if verb == "--version":
        print(f"deformlab {deformlab.__version__}")
        return 0
    if verb in TRAINING_VERBS:
        return _train(arguments)
    verbs = {
        "sweep": _sweep,
        "report": _report,
        "show": _show,
        "shift": _shift,
        "data": _data,
        "doctor": _doctor,
    }
    if verb not in verbs:
        raise ConfigError(f"unknown verb {verb!r}; choose one of {', '.join([*TRAINING_VERBS, *verbs])}")
    return verbs[verb](arguments[1:])


def _train(arguments: list[str]) -> int:
    # Their --help too: it comes from the signatures of Lightning's Trainer and of our own classes.
    require_toolkit(repr(arguments[0]))
    with _importing_lightning():
        from pytorch_lightning.utilities import rank_zero_only
        from pytorch_lightning.utilities.exceptions import MisconfigurationException

        from deformlab.cli.parser_messages import one_line
        from deformlab.cli.training import run_training_verb

    try:
        run_training_verb(arguments)
    except (Interrupted, TrainingError):
        if getattr(rank_zero_only, "rank", 0) == 0:
            raise
        # The first process reports it. Lightning would kill that one if another failed before it.
        return 0
    except MisconfigurationException as error:
        text = one_line(str(error))
        if "gpu backend" in text:
            text = "--trainer.accelerator: torch finds no GPU here; use cpu or auto, or see deformlab doctor"
        raise ConfigError(text) from error
    return 0


@contextlib.contextmanager
def _importing_lightning() -> Iterator[None]:
    """Switches garbage collection off for the imports inside, which saves a third of their time.

    torch and Lightning create a million objects that live until the end. Later collections skip them, too.
    """
    if "pytorch_lightning" in sys.modules:
        # Imported before: freezing now would also freeze the caller's own garbage.
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _sweep(arguments: list[str]) -> int:
    parser = _parser(
        "sweep",
        "Trains every trial of a sweep file, then writes the report. The same command again skips finished "
        "trials and continues the others.",
    )
    parser.add_argument("file", type=Path, help="sweep file, for example experiments/sweeps/dilation.yaml")
    parser.add_argument("--output", type=Path, help="folder for the runs (default: runs/<name of the sweep>)")
    parser.add_argument(
        "--jobs", type=int, help="trials at the same time (default: 1 on this machine, all on a cluster)"
    )
    parser.add_argument(
        "--executor", choices=("local", "slurm"), default="local", help="where trials run (default: local)"
    )
    parser.add_argument("--root", help="the data set's folder, short for --set data.root=ROOT")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="an option for every trial, for example --set trainer.max_epochs=5; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the trials without running them")
    _add_smallest_effect(parser)
    options = parser.parse_args(arguments)
    require_toolkit("'sweep'")
    with _importing_lightning():
        from deformlab.cli.training import ConfigurationResolver
        from deformlab.sweep import parse_setting, run_sweep, sweep_folder

    overrides = dict(parse_setting(assignment) for assignment in options.overrides)
    if options.root is not None:
        overrides["data.root"] = options.root
    code = run_sweep(
        options.file,
        output=options.output,
        jobs=options.jobs,
        executor=options.executor,
        dry_run=options.dry_run,
        overrides=overrides,
        resolve=ConfigurationResolver(),
    )
    if not options.dry_run and code in (0, 1):
        _write_report(sweep_folder(options.file, options.output), None, options.smallest_effect)
    return code


def _report(arguments: list[str]) -> int:
    parser = _parser(
        "report",
        "Writes the papers' tables (Markdown, LaTeX, CSV), plots and a self-contained report.html from the "
        "runs of a sweep.",
    )
    parser.add_argument("runs", type=Path, help="folder of a sweep, or one run folder")
    parser.add_argument("--output", type=Path, help="folder for the report (default: <runs>/report)")
    _add_smallest_effect(parser)
    options = parser.parse_args(arguments)
    require_toolkit("'report'")
    _write_report(options.runs, options.output, options.smallest_effect)
    return 0


def _write_report(runs: Path, output: Path | None, smallest_effect: float) -> None:
    from rich.console import Console

    from deformlab.analysis import write_report

    write_report(runs, output, smallest_effect).print(Console())


def _cells(text: str) -> float:
    """A number of cells of 0 or more; checked before a sweep trains for hours."""
    try:
        cells = float(text)
    except ValueError:
        cells = math.nan
    if not 0 <= cells < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of cells of 0 or more, got {text}")
    return cells


def _add_smallest_effect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--smallest-effect",
        type=_cells,
        default=0.1,
        metavar="CELLS",
        help="differences in effective dilation up to this are too small to matter (default: 0.1 cells)",
    )


SHOW = """\
Draws what a trained network does with an image, as PNG and as PDF.

KIND is one of
  sampling     where units sample: 729 points each, through three levels of
               filters
  offsets      the offset field of a deformable layer, as colour
  dilation     effective dilation of the deformable layers over the image
  support      what units react to: effective sampling locations, effective
               receptive field and error-bounded saliency region (seconds to
               minutes for each unit)
  prediction   image, label, prediction, error and entropy
  all          all of these
  units        an HTML page instead of a picture: click on an image to see
               where that unit samples, layer by layer; takes several images

By default, one unit each on the background, on a small and on a large object
is drawn. --at chooses others.
"""
SHOW_EXAMPLES = """\
examples:
  deformlab show sampling runs/mine street.png
  deformlab show sampling RUN street.png --compare ATROUS --at 120,200 --at 6,31
  deformlab show offsets RUN street.png --layer layer4.0.conv2 --output o.pdf
  deformlab show units RUN street.png crossing.png --compare ATROUS
"""


def _show(arguments: list[str]) -> int:
    parser = _parser("show", SHOW)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SHOW_EXAMPLES
    parser.add_argument("kind", metavar="KIND", help="the picture, see above")
    parser.add_argument(
        "checkpoint", metavar="RUN", type=Path, help="a run folder, or a checkpoint file in one"
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="an image file, or the name of a validation image",
    )
    parser.add_argument(
        "--compare", type=Path, metavar="RUN", help="a second network, drawn beside the first"
    )
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="Y,X",
        help="pixel whose unit is drawn; may be repeated",
    )
    parser.add_argument("--layer", metavar="NAME", help="layer to look at (default: the last ones)")
    parser.add_argument(
        "--levels", type=int, default=3, metavar="N", help="sampling, units: 1 to 4 levels (default: 3)"
    )
    parser.add_argument(
        "--error-bound",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="support: largest relative change of the response, between 0 and 1 (default: 0.1)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="FILE.png or FILE.pdf (both are written); FILE.html for units; a folder for all "
        "(default: KIND-IMAGE.png in this folder)",
    )
    options = parser.parse_args(arguments)
    require_toolkit("'show'")
    from deformlab.inspection.show import run

    try:
        return run(**vars(options))
    except KeyboardInterrupt:
        print("deformlab: interrupted; the picture being drawn was not written", file=sys.stderr)
        return 130


def _shift(arguments: list[str]) -> int:
    parser = _parser(
        "shift",
        "Tests whether effective dilation follows the image content or the position. Every validation image "
        "is enlarged, and the network sees two windows of it, one shifted against the other. For each "
        "deformable layer, the table gives two correlations of effective dilation between the windows: of "
        "filters that see the same content, and of filters at the same position, with 95 % intervals over "
        "images. If effective dilation follows the content, the first is near 1 and well above the second.",
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folder of a deformable network"
    )
    parser.add_argument(
        "--scale", type=float, default=4 / 3, help="enlargement of the images, above 1 (default: 4/3)"
    )
    parser.add_argument(
        "--shift",
        type=int,
        default=3,
        metavar="CELLS",
        help="cells by which the windows are shifted (default: 3)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.csv", help="CSV file for the table")
    options = parser.parse_args(arguments)
    require_toolkit("'shift'")
    from deformlab.inspection.shift import run

    return run(**vars(options))


def _data(arguments: list[str]) -> int:
    parser = _parser("data", "Checks data sets.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser(
        "check",
        help="read every file; report counts, problems, pixel shares and object sizes",
        description="Reads every image and label of a data set. Reports counts, pixel shares, object sizes, "
        "and one line for each problem, such as an unreadable file or an illegal label. Problems give exit "
        "code 1.",
    )
    check.add_argument(
        "name",
        help="camvid, cityscapes, voc, coco, folder or shapes; for detectors boxes, voc, coco or shapes",
    )
    check.add_argument("root", type=Path, nargs="?", help="the data set's folder (shapes needs none)")
    check.add_argument(
        "--task",
        choices=("segmentation", "detection"),
        help="whose data set is meant, if both have one of that name (default: segmentation)",
    )
    sizes = check.add_mutually_exclusive_group()
    sizes.add_argument(
        "--config",
        type=Path,
        metavar="FILE.yaml",
        help="take the areas of small and large objects from this training configuration",
    )
    sizes.add_argument(
        "--object-sizes",
        type=float,
        nargs=2,
        metavar=("SMALL", "LARGE"),
        help="area in pixels below which objects are small, and above which they are large",
    )
    options = parser.parse_args(arguments)
    require_toolkit("'data check'")
    from deformlab.data import DATASETS, CheckSettings, check_dataset
    from deformlab.data.detection import DETECTION_DATASETS, check_detection_dataset
    from deformlab.data.files import FileDataset

    detection_only = options.name in DETECTION_DATASETS and options.name not in DATASETS
    if options.task == "detection" or (options.task is None and detection_only):
        if options.config is not None or options.object_sizes is not None:
            raise ConfigError("data check: --config and --object-sizes are for segmentation; leave them out")
        found = check_detection_dataset(options.name, options.root)
        print(found.format())
        return 1 if found.problems else 0
    kind = DATASETS.get(options.name)
    if options.root is None and kind is not None and issubclass(kind, FileDataset):
        raise ConfigError(
            f"give the folder of the data set: deformlab data check {options.name} ROOT, with {kind.layout}"
        )
    settings = CheckSettings.choose(options.name, options.config, options.object_sizes)
    report = check_dataset(options.name, options.root, **vars(settings), progress=sys.stderr.isatty())
    print(report.format())
    return 1 if report.problems else 0


def _doctor(arguments: list[str]) -> int:
    _parser(
        "doctor", "Shows what is installed, which operators are compiled, and what will be slow and why."
    ).parse_args(arguments)
    # torch warns in its own words where NumPy is not installed, which only the toolkit needs.
    warnings.filterwarnings("ignore", message="Failed to initialize NumPy")
    from deformlab.doctor import examine

    print(examine().format())
    return 0


def _parser(verb: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"deformlab {verb}", description=description, allow_abbrev=False)
