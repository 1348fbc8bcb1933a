"""Other programs themselves, as pip installs them, against ours at equal work.

`visualize` and `steps` compare with loops that are written after what others do; here the others
run, in the same process, on the same network, with the same number of threads, steps, octaves and
views, in turn with ours. What is timed is a step: the difference of a long and a short run, so that
loading a network, saving a picture and the score with which ours end are no part of it.

A program that is not installed, or that fails with this torch, has no row: stderr says so. None of
them is patched. neural-dream cannot run the published googlenet with a torchvision whose auxiliary
heads have a dropout; it is tried all the same.
"""

from __future__ import annotations

import io
import runpy
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import torch
from torch import nn

import dreamer
from benchmarks import peers, textbook
from benchmarks.processes import photo
from benchmarks.rows import Row, count
from benchmarks.visualize import ours, say

NETWORK, LAYER, CHANNEL, SIZE = "efficientnet_lite0", "block8", 5, 224


class UnmeasuredError(Exception):
    """Why a comparison has none, as it is said on stderr."""


@dataclass(frozen=True)
class Contest:
    """One comparison.

    Attributes:
        name: of its row.
        package: the other program's name on PyPI.
        top: the module that has to be there for it.
        measure: (repeats, quick) -> the ratio of the seconds, theirs to ours, and the details;
            raises `UnmeasuredError`.
    """

    name: str
    package: str
    top: str
    measure: Callable[[int, bool], tuple[float, str]]


@dataclass(frozen=True)
class _Dream:
    """How neural-dream is given one of torchvision's networks.

    Attributes:
        network: our name.
        layer: our name.
        file: the name by which it knows a file of this network's weights.
        its_layer: its name of the layer.
    """

    network: str
    layer: str
    file: str
    its_layer: str


_DREAMS = (
    _Dream("vgg16", "features.22", "vgg16-397923af.pth", "relu4_3"),
    _Dream("googlenet", "inception4c", "googlenet-1378be20.pth", "inception4c"),
)


def measure(repeats: int, quick: bool) -> list[Row]:
    """Run every program that is installed."""
    return compare(contests(), repeats, quick)


def contests() -> list[Contest]:
    """List what is compared: dreams first, then visualizations with weights as they come, frozen.

    None but dreamlens' MACO and neural-dream freeze the weights; a user can do it, which is the
    second row of the others.
    """
    found = [
        Contest(
            f"neural-dream, {each.network}", "neural-dream", "neural_dream", partial(_dream, each)
        )
        for each in _DREAMS
    ]
    for name, program in peers.PROGRAMS.items():
        for frozen in (True,) if program.freezes else (False, True):
            found.append(
                Contest(
                    name if frozen == program.freezes else f"{name}, weights frozen",
                    program.package,
                    program.top,
                    partial(_picture, name, frozen),
                )
            )
    return found


def compare(found: Sequence[Contest], repeats: int, quick: bool) -> list[Row]:
    """Return a row for each contest whose program is there and runs; say why of the others."""
    rows: list[Row] = []
    missing: set[str] = set()
    for contest in found:
        if find_spec(contest.top) is None:
            if contest.package not in missing:
                say(f"{contest.package}: not installed: pip install {contest.package}")
            missing.add(contest.package)
            continue
        try:
            with _quiet():
                ratio, detail = contest.measure(1 if quick else min(repeats, 3), quick)
        except UnmeasuredError as reason:
            say(f"{contest.name}: {reason}")
            continue
        detail = f"{_versions(contest.package)}: {detail}"
        say(f"{contest.name}: {ratio:.2f} x, {detail}")
        rows.append(Row(f"against: {contest.name}", ratio, "x", None, None, detail))
    return rows


def _picture(name: str, frozen: bool, repeats: int, quick: bool) -> tuple[float, str]:
    """Time a step of a channel's picture."""
    program, views = peers.PROGRAMS[name], peers.VIEWS[name]
    few, many = (8, 40) if quick else (8, 104)
    if views > 1:
        few, many = few // 2, few // 2 + (many - few) // 4
    canvas = "maco" if "maco" in name else "fourier"
    network = dreamer.load_network(NETWORK)
    whole = textbook.network(NETWORK).requires_grad_(not frozen)
    layer = textbook.layer(whole, LAYER)

    def theirs(steps: int) -> None:
        with _blamed(program.package):
            program.run(whole, layer, CHANNEL, SIZE, steps, views, 0)
        whole.zero_grad()  # which most of them leave to pile up

    def mine(steps: int) -> None:
        ours(network, LAYER, CHANNEL, SIZE, steps=steps, views=views, canvas=canvas)

    with _counted(whole) as shown:
        theirs(many)
    share = sum(shown) / many / (views * SIZE * SIZE)
    slow, fast = _step(theirs, mine, few, many, repeats)
    state = "trainable, as it leaves them"
    if frozen:
        state = "frozen by itself" if program.freezes else "frozen for it"
    detail = [
        f"{1000 * slow:.0f} ms a step theirs, {1000 * fast:.0f} ms ours",
        f"{count(views, 'view')} a step, {SIZE} px, {LAYER}:{CHANNEL}",
        f"runs of {many} steps less runs of {few}, {_threads()}",
        f"weights {state}, ours frozen",
        f"{program.differs}: its network is shown {share:.2f} of the pixels that ours is",
    ]
    return slow / fast, "; ".join(detail)


def _step(
    theirs: Callable[[int], None],
    mine: Callable[[int], None],
    few: int,
    many: int,
    repeats: int,
) -> tuple[float, float]:
    """Return the seconds of a step of both: runs of many steps less runs of few, in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for each in (theirs, mine):
        each(2)  # a warm-up
    for _ in range(repeats):
        for kept, each in zip(found, (theirs, mine), strict=True):
            kept.append((seconds(each, many) - seconds(each, few)) / (many - few))
    slow, fast = (statistics.median(each) for each in found)
    if min(slow, fast) <= 0:
        raise UnmeasuredError("long runs took no longer than short ones: the machine is too busy")
    return slow, fast


def seconds(run: Callable[[int], None], steps: int) -> float:
    """Time a run of so many steps."""
    began = time.perf_counter()
    run(steps)
    return time.perf_counter() - began


@contextmanager
def _counted(module: nn.Module) -> Iterator[list[int]]:
    """Keep how many pixels the network is shown in each call."""
    shown: list[int] = []
    hook = module.register_forward_pre_hook(
        lambda _module, inputs: shown.append(inputs[0].numel() // inputs[0].shape[1])
    )
    try:
        yield shown
    finally:
        hook.remove()


def _dream(which: _Dream, repeats: int, quick: bool) -> tuple[float, str]:
    """Time a step of a dream on a photo, with as many on each of its two octaves."""
    size, few, many = (320, 2, 6) if quick else (512, 2, 10)
    network = dreamer.load_network(which.network, random_seed=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start, weights = photo(folder), folder / which.file
        state = textbook.network(which.network).state_dict()
        # What it makes a dream with; the largest part, classifiers, would only be loaded.
        kept = {key: value for key, value in state.items() if not key.startswith("classifier")}
        torch.save(kept, weights)

        def theirs(steps: int) -> None:
            with _blamed("neural-dream"):
                _neural_dream(start, weights, which.its_layer, size, steps)

        def mine(steps: int) -> None:
            dreamer.dream(
                start,
                network=network,
                target=which.layer,
                size=size,
                octaves=2,
                octave_scale=1 / 0.6,
                steps=steps,
                ascent_coarse_steps=1,
                device="cpu",
                threads=torch.get_num_threads(),
            )

        slow, fast = _step(theirs, mine, few, many, repeats)
    detail = [
        f"{1000 * slow:.0f} ms a step on both octaves theirs, {1000 * fast:.0f} ms ours",
        f"1 view a step, octaves of {round(0.6 * size)} and {size} px, {which.layer}",
        f"runs of {many} steps an octave less runs of {few}, {_threads()}",
        "weights frozen by itself, ours too",
        "Adam, shifts by up to 32 px; ours also turns and scales, and filters the gradient",
        "plain chains such as vgg16 it cuts after the layer, as ours is",
    ]
    return slow / fast, "; ".join(detail)


def _neural_dream(start: Path, weights: Path, layer: str, size: int, steps: int) -> None:
    """Run its command, which takes its arguments from `sys.argv`."""
    arguments = {
        "content_image": start,
        "model_file": weights,
        "dream_layers": layer,
        "image_size": size,
        "num_iterations": 1,
        "octave_iter": steps - 1,  # it takes one more
        "gpu": "c",
        "output_image": weights.with_name("out.png"),
    }
    flags = [str(part) for key, value in arguments.items() for part in (f"-{key}", value)]
    # It checks that all weights are in the file, auxiliary heads and classifiers too.
    command = ["neural-dream", *flags, "-disable_check"]
    with mock.patch.object(sys, "argv", command):
        runpy.run_module("neural_dream.neural_dream", run_name="__main__")


@contextmanager
def _blamed(package: str) -> Iterator[None]:
    """Tell a failure of another program from one of ours."""
    try:
        yield
    except (Exception, SystemExit) as error:  # whatever theirs may raise
        reason = traceback.format_exception_only(error)[-1].strip()
        versions = _versions(package, "torch", "torchvision")
        raise UnmeasuredError(f"fails ({versions}): {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep others' warnings, bars and reports off the table."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _versions(*packages: str) -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)


def _threads() -> str:
    return count(torch.get_num_threads(), "thread")
