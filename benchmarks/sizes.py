"""Pictures of any size: memory and time at 48 megapixels, and what tiles change.

A dream follows every rounding: computed with another number of threads it is another one. So what
tiles change is measured in one step from the same picture, and of whole dreams beside what another
number of threads does.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skimage.data
import torch
from PIL import Image
from torch import Tensor

import dreamer
from benchmarks.processes import PEAK
from benchmarks.rows import Row
from dreamer.core import tiles
from dreamer.core.objectives import Objective, Term
from dreamer.core.sight import Goal, Scene, Sight
from dreamer.core.tiles import Tiling
from dreamer.core.transforms import View
from dreamer.media import images
from dreamer.networks.network import load
from dreamer.render import memory

LARGE, SMALL = (8000, 6000), (1155, 866)
PHOTOS = ("astronaut.png", "coffee.png", "rocket.jpg")
PRESETS = ("dream", "objects")
# Small tiles, so that a picture of a megapixel has many seams.
TILE = 448
BAND = 16  # px on either side of a seam

# Seconds of each step but the first of the finest octave, which comes after another one as in any
# dream: it is seen upright, the others are turned.
TIMES = """
import json, sys, time
import dreamer
times = []
def on_step(step):
    if step.octave == 1:
        times.append(time.perf_counter())
steps = int(sys.argv[2])
dreamer.dream(sys.argv[1], octaves=2, steps=steps, threads=2,
              ascent_coarse_steps=max(0.1, 1 / steps), on_step=on_step)
print(json.dumps([after - before for before, after in zip(times, times[1:])]))
"""


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure all."""
    with tempfile.TemporaryDirectory() as name:
        rows = _large(Path(name), repeats)
    return [*rows, *_differences(quick), *_seams(quick)]


def _photo(name: str, size: tuple[int, int]) -> Image.Image:
    with Image.open(Path(skimage.data.__file__).parent / name) as opened:
        return opened.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def _large(folder: Path, repeats: int) -> list[Row]:
    """Measure a picture of 48 megapixels against one of a megapixel."""
    paths = {}
    for size in (LARGE, SMALL):
        paths[size] = folder / f"{size[0]}.jpg"
        _photo(PHOTOS[0], size).save(paths[size], quality=92)
    out = str(folder / "out.png")
    command = ["-m", "dreamer", "dream", str(paths[LARGE]), "-o", out, "--steps", "2", "-q"]
    peak = int(_run("-c", PEAK, sys.executable, *command)) / 1e9
    # In turn, so that what else the machine does falls on both.
    seconds: dict[tuple[int, int], list[float]] = {SMALL: [], LARGE: []}
    for _ in range(max(1, repeats // 2)):
        for size, steps in ((SMALL, 13), (LARGE, 4)):
            found = json.loads(_run("-c", TIMES, str(paths[size]), str(steps)))
            seconds[size] += [1e6 * each / (size[0] * size[1]) for each in found]
    small, large = (statistics.median(seconds[size]) for size in (SMALL, LARGE))
    side = memory.tile("efficientnet_lite0", LARGE)
    return [
        Row(
            "48 MP, default preset: peak memory",
            peak,
            "GB",
            at_most=4.0,
            detail=f"2 steps at full size, tiles of {side} px",
        ),
        Row(
            "time of a megapixel and step, 48 MP / 1 MP",
            large / small,
            "x",
            at_most=1.15,
            detail=f"{large:.3f} s / {small:.3f} s, 2 threads",
        ),
    ]


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def _differences(quick: bool) -> list[Row]:
    """Compare pictures in tiles with those of the whole."""
    rows = []
    for preset in PRESETS:
        steps, dreams, threads = [], [], []
        for name in PHOTOS[: 1 if quick else None]:
            photo = _photo(name, (1280, 1024))
            one = [_made(photo, preset, tile, one=True) for tile in (TILE, 0)]
            steps.append(_levels(*one))
            whole = _made(photo, preset, 0)
            dreams.append(_levels(_made(photo, preset, TILE), whole))
            threads.append(_levels(_made(photo, preset, 0, threads=2), whole))
        detail = f"tiles of {TILE} px of 1280x1024"
        rows += [
            Row(
                f"{preset}: a step in tiles, mean difference",
                statistics.mean(steps),
                "levels of 255",
                at_most=1.0,
                detail=detail,
            ),
            Row(
                f"{preset}: a dream in tiles, mean difference",
                statistics.mean(dreams),
                "levels of 255",
                at_most=1.0,  # out of reach: no two computations that round otherwise come to it
                detail=f"the whole with 2 threads instead of 1: {statistics.mean(threads):.1f}",
            ),
        ]
    return rows


def _made(
    photo: Image.Image, preset: str, tile: int, *, threads: int = 1, one: bool = False
) -> Tensor:
    """Return a dream, or what one step of it makes at full size, as it is."""
    settings: dict[str, Any] = {}
    if one:
        settings = {"octaves": 1, "steps": 1, "ascent_change": 0.0}
    return dreamer.dream(photo, preset=preset, tile=tile, threads=threads, **settings).pixels


def _levels(one: Tensor, other: Tensor) -> float:
    return 255 * (one - other).abs().mean().item()


def _seams(quick: bool) -> list[Row]:
    """Compare how strong gradients are beside seams, and there without tiles."""
    network = load("efficientnet_lite0")
    rows = []
    for preset, layers in (("dream", ("block8", "block9")), ("objects", ("block10", "block11"))):
        near = torch.zeros(2, dtype=torch.float64)
        goals = [Goal(Objective(tuple(Term(layer) for layer in layers)))]
        features, tiling = network.features(layers), memory.tiling(network, layers, TILE)
        for name in PHOTOS[: 1 if quick else None]:
            pixels = images.load(_photo(name, (1280, 1024))).pixels[None]
            for step in range(4):
                placement = View(16).draw((1024, 1280), tiles.generator(1, 0, step))
                scene = Scene(pixels, _reader(pixels), placement, (0, 0, step))
                beside = _beside(tiling, scene)
                slopes = [
                    Sight(features, {}, {}, how).gradients(scene, goals)[1][0]
                    for how in (None, tiling)
                ]
                scale = slopes[0].square().mean()
                near += torch.stack([s[:, :, beside].square().sum() / scale for s in slopes])
        ratio = (near[1] / near[0]).sqrt().item()
        rows.append(
            Row(
                f"{preset}: gradient beside seams, in tiles / whole",
                max(ratio, 1 / ratio),
                "x",
                at_most=1.02,
                detail=f"{ratio:.4f}, {BAND} px on either side",
            )
        )
    return rows


def _reader(pixels: Tensor) -> Callable[[tiles.Box], Tensor]:
    return lambda box: pixels[:, :, box[0] : box[2], box[1] : box[3]]


def _beside(tiling: Tiling, scene: Scene) -> Tensor:
    """Return which pixels of the canvas are beside seams, `(H, W)`."""
    placement = scene.placement
    marked = torch.zeros(placement.size, dtype=torch.bool)
    for tile in tiling.tiles(placement.size, tiles.generator(*scene.cut)):
        top, left, bottom, right = tile.core
        if top:
            marked[max(0, top - BAND) : top + BAND, left:right] = True
        if left:
            marked[top:bottom, max(0, left - BAND) : left + BAND] = True
    (height, width), (down, along) = placement.canvas, placement.shift
    first, begin = placement.margin[0] - down, placement.margin[1] - along
    return marked[first : first + height, begin : begin + width]
