"""Steering: what guides and masks cost and bring, and strength in proportion on several networks.

Times are compared in turn within one run. Similarities and changes are of the exact pixels, not of
a file's.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import skimage.data
import torch
from PIL import Image
from torch import Tensor

import dreamer
from benchmarks.processes import PEAK
from benchmarks.rows import Row
from dreamer import presets
from dreamer.core import gradients, guidance
from dreamer.core.ascent import Step
from dreamer.core.guidance import Banks, Guide
from dreamer.media import images
from dreamer.networks.network import Network, load
from dreamer.render import job as jobs
from dreamer.render import steering, still

FOLDER = Path(skimage.data.__file__).parent
LARGE, SMALL = 1024, 320
# Photos, and what they are guided by.
PAIRS = (
    ("chelsea.png", "coffee.png"),
    ("astronaut.png", "chelsea.png"),
    ("coffee.png", "rocket.jpg"),
    ("rocket.jpg", "astronaut.png"),
)
LEVELS = ("textures", "patterns", "parts")
# A quarter of a picture, whatever its shape.
QUARTER = "ellipse:0.5,0.5,0.282,0.282"
# What a photo's own dream may bring of a guide by chance: less of it counts as this much.
CHANCE = 0.01
# Dreams whose changes differ by more are not of equal strength.
SAME_CHANGE = 0.05
NETWORKS: Mapping[str, int | None] = {"efficientnet_lite0": None, "googlenet": 0, "resnet50": 0}
"""The random seeds of their weights; None: the trained ones."""
WEAK = (0.25, 0.5)
SKIPPED = 3  # of so many presets a quick run measures one


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure all."""
    network = load("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as name:
        photo, guide = (_square(Path(name), each) for each in ("astronaut.png", "coffee.png"))
        rows = [_guided_step(network, photo, guide, level, repeats) for level in LEVELS[::-2]]
        rows.append(_guided_memory(Path(name), photo, guide))
        rows.append(_masked(network, photo, repeats))
    rows.append(_similarity(network, PAIRS[:1] if quick else PAIRS))
    return rows + _proportions(presets.names()[:: SKIPPED if quick else 1])


def _square(folder: Path, name: str) -> Path:
    """Write a photo as large as the largest dream: a guide is never enlarged."""
    path = folder / f"{Path(name).stem}.png"
    with Image.open(FOLDER / name) as opened:
        opened.convert("RGB").resize((LARGE, LARGE)).save(path)
    return path


def _guided_step(network: Network, photo: Path, guide: Path, level: str, repeats: int) -> Row:
    """Time steps with a guide and without in turn; what an octave makes once is in its first."""
    turns = 2 * repeats
    targets = (f"guide:{guide}@{level}", level)
    # One more than are taken: the last one of all also adjusts the size of the change.
    loops = [_steps(network, photo, target, turns + 2) for target in targets]
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns + 1):
        for kept, loop in zip(times, loops, strict=True):
            seconds = _seconds(functools.partial(next, loop))
            if turn > 0:
                kept.append(seconds)
    guided, plain = map(statistics.median, times)
    print(f"  guide at {level}: {guided / plain:.2f} x", file=sys.stderr, flush=True)
    what = "" if level == "parts" else f" at {level}"
    return Row(
        f"guide{what}, best match, a step at {LARGE} / a plain step",
        guided / plain,
        "x",
        at_most=1.6,
        detail=f"{1000 * guided:.0f} ms / {1000 * plain:.0f} ms, {turns} each in turn, at {level}",
    )


def _steps(network: Network, photo: Path, target: str, count: int) -> Iterator[Step]:
    """Dream on a photo of one octave, one step an iteration."""
    overrides = {"target": target, "octaves.count": 1, "ascent.steps": count}
    overrides["ascent.coarse_steps"] = 1.0
    request = jobs.Request(photo=str(photo), network=network, overrides=overrides, to_file=False)
    job = jobs.prepare(request)
    assert job.recipe.steps == (count,)
    base = still.start(job.recipe, job.photo)
    aimed = steering.aim(job.recipe, base.pixels[None], network, photo=base)
    return still.steps(job.recipe, aimed, network, job.recipe.seed)


def _guided_memory(folder: Path, photo: Path, guide: Path) -> Row:
    """Compare the memory of whole processes, at the level with the most places and a deep one."""
    more = {}
    for level in LEVELS[::2]:
        guided, plain = (
            _peak(photo, folder / "dream.png", target)
            for target in (f"guide:{guide}@{level}", level)
        )
        more[level] = guided - plain, f"{level} {guided:.0f} MB / {plain:.0f} MB"
        print(f"  {more[level][1]}", file=sys.stderr, flush=True)
    return Row(
        f"guide, memory above plain at {LARGE}",
        max(apart for apart, _ in more.values()),
        "MB",
        at_most=500,
        detail="; ".join(text for _, text in more.values()),
    )


def _peak(photo: Path, out: Path, target: str) -> float:
    """Return the largest resident memory of a process that dreams, in MB."""
    dream = ["-m", "dreamer", "dream", str(photo), "-o", str(out), "--overwrite", "-q"]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, sys.executable, *dream, "--target", target],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return int(done.stdout) / 1e6


def _masked(network: Network, photo: Path, repeats: int) -> Row:
    """Time whole dreams, masks and all."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(min(3, repeats)):
        for kept, where in zip(times, (QUARTER, ""), strict=True):
            made = dreamer.dream(photo, network=network, size=LARGE, mask_where=where)
            kept.append(made.seconds)
    part, whole = map(statistics.median, times)
    print(f"  mask: {part / whole:.2f} x", file=sys.stderr, flush=True)
    return Row(
        "mask over a quarter / the whole",
        part / whole,
        "x",
        at_most=0.7,
        detail=f"{part:.1f} s / {whole:.1f} s, default preset at {LARGE}",
    )


def _similarity(network: Network, pairs: Sequence[tuple[str, str]]) -> Row:
    """Compare how much more similar to a guide a dream becomes that is guided by it, or not."""
    rises = {}
    for level, (photo, guide) in itertools.product(LEVELS, pairs):
        before = _small(photo)
        similar = _similar(network, guide, level, (before.shape[1], before.shape[2]))
        found, changes = [], []
        for target in (f"guide:{FOLDER / guide}@{level}", level):
            made = dreamer.dream(FOLDER / photo, network=network, size=SMALL, target=target)
            found.append(similar(made.pixels) - similar(before))
            changes.append(_change(made.pixels, before))
        what = f"{Path(photo).stem} by {Path(guide).stem} at {level}"
        if max(changes) > (1 + SAME_CHANGE) * min(changes):
            raise RuntimeError(f"{what}: the changes are {changes[0]:.3f} and {changes[1]:.3f}")
        rises[what] = found[0], found[1]
        print(f"  {what}: {found[0]:+.3f}, {found[1]:+.3f}", file=sys.stderr, flush=True)
    ratios = {what: guided / max(plain, CHANCE) for what, (guided, plain) in rises.items()}
    worst = min(ratios, key=lambda what: ratios[what])
    return Row(
        "guided similarity rise / unguided",
        ratios[worst],
        "x",
        at_least=3.0,
        detail=f"{worst}: {rises[worst][0]:+.3f} / {rises[worst][1]:+.3f}; the least of "
        f"{len(rises)}, median {statistics.median(ratios.values()):.1f} x",
    )


def _similar(
    network: Network, guide: str, level: str, size: tuple[int, int]
) -> Callable[[Tensor], float]:
    """Return what measures the similarity of a picture to a guide, in the mean over layers."""
    features = network.features(network.row.level(level))
    pixels = images.load(FOLDER / guide).pixels[None]
    fitted = Guide(pixels, least=network.row.minimum)
    banks: Banks = guidance.banks(fitted, features, size, network.row.level(level))

    def similar(picture: Tensor) -> float:
        with torch.no_grad():
            answers = features(picture[None])
        found = [guidance.similarity(answers[name], bank).item() for name, bank in banks.items()]
        return statistics.mean(found)

    return similar


def _proportions(names: Sequence[str]) -> list[Row]:
    """Measure whether a share of a strength is that share of the change, preset by preset."""
    rows, whole = [], {}
    for network, seed in NETWORKS.items():
        row, whole[network] = _proportion(load(network, random_seed=seed), names)
        print(f"  {row.name}: {row.value:.3f}, {row.detail}", file=sys.stderr, flush=True)
        rows.append(row)
    ratios = {}
    for name in names:
        sizes = [found[name] for found in whole.values()]
        ratios[name] = max(sizes) / min(sizes)
    worst = max(ratios, key=lambda name: ratios[name])
    shown = ", ".join(f"{found[worst]:.3f}" for found in whole.values())
    detail = f"{worst}: {shown} on {', '.join(NETWORKS)}; the most of {len(names)} presets"
    return [*rows, Row("strength 1 across networks", ratios[worst], "x", detail=detail)]


def _proportion(network: Network, names: Sequence[str]) -> tuple[Row, dict[str, float]]:
    """Return a network's row and how large the change of each preset is at strength 1."""
    photo = PAIRS[0][0]
    before = _small(photo)
    whole: dict[str, float] = {}
    errors: dict[tuple[str, float], float] = {}
    shares: dict[tuple[str, float], float] = {}
    for name in names:
        sizes = {}
        for strength in (*WEAK, 1.0):
            made = dreamer.dream(
                FOLDER / photo, preset=name, network=network, size=SMALL, strength=strength
            )
            sizes[strength] = _change(made.pixels, before)
        whole[name] = sizes[1.0]
        for strength in WEAK:
            shares[name, strength] = sizes[strength] / sizes[1.0]
            errors[name, strength] = abs(shares[name, strength] / strength - 1)
    worst = max(errors, key=lambda case: errors[case])
    name, strength = worst
    return (
        Row(
            f"strength in proportion: {network.row.name}",
            errors[worst],
            "",
            at_most=0.15,
            detail=f"{name} at {strength:g}: {shares[worst]:.3f} of the change at 1; that is "
            f"{min(whole.values()):.3f} to {max(whole.values()):.3f} over {len(names)} presets",
        ),
        whole,
    )


def _small(name: str) -> Tensor:
    """Return a photo as it is dreamed on, `(3, H, W)`."""
    return images.resize(images.load(FOLDER / name), SMALL).pixels


def _change(after: Tensor, before: Tensor) -> float:
    return gradients.rms(after - before).item()


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
