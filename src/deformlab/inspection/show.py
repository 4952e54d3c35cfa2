"""`deformlab show`: pictures of what a trained network does with one image."""

import difflib
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from deformlab.errors import ConfigError
from deformlab.figure_style import save_figure
from deformlab.inspection import views
from deformlab.inspection.figures import (
    dilation_figure,
    offset_figure,
    prediction_figure,
    sampling_figure,
    support_figure,
)
from deformlab.inspection.network import TrainedNetwork, load_network
from deformlab.inspection.page import write_unit_page
from deformlab.inspection.scene import Scene, read_scene, with_predicted_label
from deformlab.inspection.units import Cells, Unit, choose_units, unit_at
from deformlab.labels import IGNORED

__all__ = ["KINDS", "Show", "run", "seen_as"]

KINDS = ("sampling", "offsets", "dilation", "support", "prediction")
"""The pictures that `deformlab show` draws, apart from `all` and `units`."""
SUFFIXES = (".png", ".pdf")
# Without a terminal: seconds of a task before the first line on its progress, and between lines.
FIRST_LINE, NEXT_LINE = 5.0, 60.0


def run(
    kind: str, checkpoint: Path, images: Sequence[str], output: Path | None = None, **options: Any
) -> int:
    """Draws one picture or all of them, or writes the page of units.

    Args:
        kind: One of `KINDS`, `all`, or `units`.
        checkpoint: As in `Show`.
        images: As in `Show`; several only with `units`.
        output: A file; with `all`, a folder. None for files named by kind and image in this folder.
        options: Further options of `Show`.

    Returns:
        The exit code.

    Raises:
        DeformlabError: A mistake that the user can fix.
    """
    if kind == "units":
        return _units(checkpoint, images, output, **options)
    if kind not in (*KINDS, "all"):
        raise _unknown_kind(kind, (*KINDS, "units", "all"))
    if len(images) > 1:
        raise ConfigError(
            f"show {kind}: draws one image, but {len(images)} are given; several go with show units"
        )
    image = images[0]
    if output is not None and kind != "all" and output.suffix not in SUFFIXES:
        raise ConfigError(f"--output {output}: must end in .png or .pdf; both are written")
    with _progress_bar() as progress:
        show = Show(checkpoint, image, say=lambda line: print(line, flush=True), progress=progress, **options)
        for name in KINDS if kind == "all" else (kind,):
            reason = show.why_not(name) if kind == "all" else None
            if reason is not None:
                print(f"left out {reason}")
                continue
            progress(f"drawing {name}")
            path = output / f"{name}-{show.scene.name}.png" if output and kind == "all" else output
            print(f"wrote {' and '.join(str(file) for file in show.save(name, path))}", flush=True)
    return 0


def _units(
    checkpoint: Path,
    images: Sequence[str],
    output: Path | None,
    *,
    compare: Path | None,
    at: Sequence[str],
    layer: str | None,
    levels: int,
    error_bound: float,
) -> int:
    """Writes the page of units; `at` and `error_bound` do not apply to it."""
    if at:
        raise ConfigError(
            "--at: cannot be used with show units, whose page shows every unit that you click on"
        )
    if not 1 <= levels <= 4:
        raise ConfigError(f"--levels {levels}: choose 1 to 4; each level has nine times as many samples")
    if output is not None and output.suffix != ".html":
        raise ConfigError(f"--output {output}: must end in .html; show units writes a page")
    with _progress_bar() as progress:
        networks = [load_network(path) for path in (checkpoint, compare) if path is not None]
        scenes = [read_scene(image, networks[0]) for image in images]
        for scene in scenes:
            print(seen_as(networks[0], scene), flush=True)
        page = output or Path(f"units-{scenes[0].name}.html")
        write_unit_page(networks, scenes, page, levels=levels, layer=layer, progress=progress)
    print(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0


@contextmanager
def _progress_bar() -> Iterator[Callable[..., None]]:
    """A bar on a terminal's standard error; elsewhere a line there once a minute.

    Yields:
        A function of what is being done and, if known, how many steps are done and how many there are.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("reading the network", total=None)

        def tell(text: str, done: int = 0, total: int | None = None) -> None:
            bar.update(task, description=text, completed=done, total=total)

        yield tell


class _Lines:
    """Progress as lines on standard error: if a task takes long, one a minute."""

    def __init__(self) -> None:
        self.due: float | None = None

    def __call__(self, text: str, done: int = 0, total: int | None = None) -> None:
        now = time.monotonic()
        if total is None:
            self.due = None
        elif self.due is None:
            self.due = now + FIRST_LINE
        elif now >= self.due:
            print(text, file=sys.stderr, flush=True)
            self.due = now + NEXT_LINE


class TimeLeft:
    """How long equal searches will still take, by those that are done and by the present one's passes.

    Args:
        searches: How many there are.
        clock: Seconds; another one in tests.
    """

    def __init__(self, searches: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.searches, self.clock = searches, clock
        self.began = clock()
        self.finished: list[float] = []
        self.first_pass: tuple[int, float] | None = None

    def after(self, number: int, passes: int, blocks: int) -> float | None:
        """Seconds left, or None while nothing is known.

        Args:
            number: The present search, from 0.
            passes: Its forward passes so far.
            blocks: Its blocks; a search takes about as many passes.
        """
        now = self.clock()
        if number > len(self.finished):
            self.finished.append(now - self.began)
            self.began = now
        if self.finished:
            each = sum(self.finished) / len(self.finished)
            here = max(0.0, each - (now - self.began))
        elif self.first_pass is None:
            # The first passes are slower than all others: libraries set themselves up.
            self.first_pass = passes, now
            return None
        else:
            of_one = (now - self.first_pass[1]) / max(1, passes - self.first_pass[0])
            each = of_one * blocks
            here = of_one * max(0, blocks - passes)
        return here + each * (self.searches - number - 1)


def about(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 90:
        return f"about {max(10, 10 * round(seconds / 10))} seconds"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} minutes"
    return f"about {seconds / 3600:.1f} hours"


class Show:
    """The pictures of one image; networks and image are read once.

    Args:
        checkpoint: A run folder or a checkpoint in one.
        image: An image file, or the name of an image of the network's data set.
        compare: A second run folder or checkpoint, drawn beside the first.
        at: Pixels `Y,X` of the image whose units are drawn; none to choose by what is in the image.
        layer: The layer to look at; None for the last ones.
        levels: How many levels of filters `sampling` follows, from 1 to 4.
        error_bound: Largest relative change of the response in `support`'s saliency region, in (0, 1).
        say: Told in one line each what was done with the image.
        progress: Told what is being done, with the time left if it is known; for slow pictures also how many
            forward passes are done and about how many there are.

    Raises:
        DeformlabError: A path, a point, a layer or a number is wrong.
    """

    def __init__(
        self,
        checkpoint: Path,
        image: str,
        *,
        compare: Path | None = None,
        at: Sequence[str] = (),
        layer: str | None = None,
        levels: int = 3,
        error_bound: float = 0.1,
        say: Callable[[str], None] = print,
        progress: Callable[..., None] = lambda text, done=0, total=None: None,
    ) -> None:
        if not 1 <= levels <= 4:
            raise ConfigError(f"--levels {levels}: choose 1 to 4; each level has nine times as many samples")
        if not 0 < error_bound < 1:
            raise ConfigError(f"--error-bound {error_bound}: choose a share above 0 and below 1")
        pixels = [_pixel(text) for text in at]
        self.networks = [load_network(path) for path in (checkpoint, compare) if path is not None]
        self.network = self.networks[0]
        self.layer = layer
        self.levels = levels
        self.error_bound = error_bound
        self.say, self.progress = say, progress
        for network in self.networks:
            if network.data.classes != self.network.data.classes:
                raise ConfigError(
                    f"--compare: {network.name} knows other classes than {self.network.name}; compare "
                    "networks of one data set"
                )
            if layer is not None:
                network.check_layer(layer)
        self.scene = read_scene(image, self.network)
        say(seen_as(self.network, self.scene))
        cells = views.cells_of(self.network, self.scene, layer)
        self.units = [self._unit(pixel, cells) for pixel in pixels] or self._chosen_units(cells)

    def figure(self, kind: str) -> Figure:
        """One of `KINDS`.

        Raises:
            ConfigError: `kind` is unknown, or this network has no such picture.
        """
        if kind not in KINDS:
            raise _unknown_kind(kind, KINDS)
        return getattr(self, f"_{kind}")()

    def save(self, kind: str, output: Path | None = None) -> list[Path]:
        """Draws a picture and writes it as PNG and as PDF.

        Args:
            kind: One of `KINDS`.
            output: One of the two files, the other is written beside it; None for KIND-IMAGE.png here.

        Returns:
            Both files.

        Raises:
            ConfigError: As `figure`, or the files cannot be written.
        """
        path = output or Path(f"{kind}-{self.scene.name}.png")
        figure = self.figure(kind)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return save_figure(figure, path.parent, path.stem)
        except OSError as error:
            raise ConfigError(
                f"--output {path}: cannot be written ({error.strerror}); choose another file"
            ) from error

    def why_not(self, kind: str) -> str | None:
        """Why there is no such picture of this network, in one line; None if there is."""
        if kind not in ("offsets", "dilation"):
            return None
        if not any(network.deformable_layers for network in self.networks):
            rates = sorted({layer.dilation[0] for n in self.networks for layer in n.layers.values()})
            who = " and ".join(network.name for network in self.networks)
            return (
                f"{kind}: no deformable layers in {who}, whose filters have the fixed dilation "
                f"{' or '.join(map(str, rates))} everywhere; sampling, support and prediction can be drawn"
            )
        if self.layer is not None and not self._with_offsets():
            names = dict.fromkeys(name for n in self.networks for name in n.deformable_layers)
            return f"--layer {self.layer}: is not deformable; those that are: {', '.join(names)}"
        return None

    def _sampling(self) -> Figure:
        names = views.level_names(self.network, self.levels, self.layer)
        rows = [
            (n.name, views.sampling_panels(n, self.scene, self.units, self.levels, self.layer))
            for n in self.networks
        ]
        count = 9**self.levels
        chain = " → ".join(names)
        title = f"{self._title()}: the {count} sampling locations of a unit, through {chain}"
        return sampling_figure(self.scene.image, rows, title, self.scene.regions)

    def _offsets(self) -> Figure:
        self._check("offsets")
        drawn = self._with_offsets()
        for network in self.networks:
            if network not in drawn:
                self.say(f"offsets: {network.name} has none and is left out")
        panels = [
            views.offset_panel(network, self.scene, self.layer or list(network.deformable_layers)[-1])
            for network in drawn
        ]
        return offset_figure(self.scene.image, panels, f"{self._title()}: offsets", self.scene.regions)

    def _with_offsets(self) -> list[TrainedNetwork]:
        """The networks that have offsets to draw."""
        return [
            network
            for network in self.networks
            if (self.layer in network.deformable_layers if self.layer else network.deformable_layers)
        ]

    def _dilation(self) -> Figure:
        self._check("dilation")
        learned = next(network for network in self.networks if network.deformable_layers)
        names = [self.layer] if self.layer else list(learned.deformable_layers)[-3:]
        rows = []
        for network in self.networks:
            # The same layers of both, unless their backbones have none in common.
            own = [name for name in names if name in network.layers] or list(network.layers)[-3:]
            rows.append((network.name, views.dilation_panels(network, self.scene, own)))
        return dilation_figure(
            self.scene.image, rows, f"{self._title()}: effective dilation", self.scene.regions
        )

    def _support(self) -> Figure:
        searches = [(unit, network) for unit in self.units for network in self.networks]
        rows = []
        time_left = TimeLeft(len(searches))
        for number, (unit, network) in enumerate(searches):
            name = f"support {number + 1} of {len(searches)} ({network.name}, {unit.name})"
            progress = partial(self._tell, name, time_left, number)
            try:
                row = views.support_panels(network, self.scene, unit, self.layer, self.error_bound, progress)
            except ValueError as error:
                raise ConfigError(f"support: {error}; choose another unit with --at") from error
            rows.append(row)
        what = "length of the features" if self.layer else "score of the predicted class"
        unit_of = self.layer or "the class scores"
        title = f"{self._title()}: what units of {unit_of} react to ({what})"
        return support_figure(self.scene.image, rows, title, self.scene.regions)

    def _tell(self, name: str, time_left: TimeLeft, number: int, passes: int, kept: int, blocks: int) -> None:
        """Reports the progress of search `number`, as soon as the time left can be estimated."""
        seconds = time_left.after(number, passes, blocks)
        if seconds is not None:
            done = number * blocks + min(passes, blocks)
            self.progress(f"{name}: {about(seconds)} left", done, time_left.searches * blocks)

    def _prediction(self) -> Figure:
        rows = [(network.name, views.predict(network, self.scene)) for network in self.networks]
        data = self.network.data
        return prediction_figure(self.scene, rows, data.classes, data.palette, self._title())

    def _check(self, kind: str) -> None:
        reason = self.why_not(kind)
        if reason is not None:
            raise ConfigError(reason)

    def _title(self) -> str:
        return f"{self.network.data.dataset_class.name} {self.scene.name}"

    def _unit(self, pixel: tuple[int, int], cells: Cells) -> Unit:
        unit = unit_at(pixel, cells, f"pixel y {pixel[0]}, x {pixel[1]}")
        if self.scene.label is None or self.scene.label[pixel] == IGNORED:
            return unit
        return replace(unit, name=f"{unit.name}: {self.network.data.classes[self.scene.label[pixel]]}")

    def _chosen_units(self, cells: Cells) -> list[Unit]:
        data, scene = self.network.data, self.scene
        if scene.label is None:
            self.say("there is no label here: units are chosen by the prediction")
            things = [data.classes.index(name) for name in data.things]
            scene = with_predicted_label(scene, views.predict(self.network, scene).classes, things)
        assert scene.instance is not None
        assert scene.label is not None
        units = choose_units(scene.instance, scene.label, data.classes, self.network.object_sizes, cells)
        if not units:
            middle = (scene.size[0] // 2, scene.size[1] // 2)
            return [unit_at(middle, cells, "the middle")]
        if len(units) == 1 and units[0].name.startswith("background"):
            no_objects = "it shows no countable objects"
            if not data.things:
                no_objects = f"the data set {data.dataset_class.name!r} has no classes of countable objects"
            self.say(f"{no_objects}: choose units with --at Y,X")
        return units


def _unknown_kind(kind: str, legal: Sequence[str]) -> ConfigError:
    close = difflib.get_close_matches(kind, legal, n=1)
    choose = f"did you mean {close[0]}? Choose" if close else "choose"
    return ConfigError(f"unknown KIND {kind!r}; {choose} one of {', '.join(legal)}")


def _pixel(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(-?\d+)\s*,\s*(-?\d+)\s*", text)
    if match is None:
        raise ConfigError(f"--at {text}: must be Y,X in pixels of the image, for example --at 120,200")
    return int(match[1]), int(match[2])


def seen_as(network: TrainedNetwork, scene: Scene) -> str:
    """How the network sees the image, in one line."""
    transform, train = network.data.eval_transform, network.data.train_transform
    height, width = transform.image(scene.image).shape[-2:]
    how = "at its own size" if transform.short_side is None else f"its short side at {transform.short_side}"
    line = (
        f"{scene.name}: {scene.size[1]}x{scene.size[0]} pixels; {network.name} sees {width}x{height}, {how} "
        "as in its evaluation"
    )
    if train.crop is not None:
        line += f" (trained on crops of {train.crop[1]}x{train.crop[0]})"
    return line
