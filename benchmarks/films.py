"""Zooms: what a keyframe saves, frames a second, continuity, drift, and memory."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import skimage.data
import torch
from torch import Tensor

from benchmarks.batch import driver_memory
from benchmarks.rows import Row
from dreamer.core import tone, zoom
from dreamer.core.camera import motion
from dreamer.core.nest import Nest
from dreamer.film.zoom import FACTOR
from dreamer.render import zoom_plan
from dreamer.render.film_job import Delivery
from dreamer.render.look import Request
from dreamer.render.zoom import Keyframes
from dreamer.render.zoom_plan import Wanted

FPS = 30
SIDE = 512


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure all; with `quick` a shorter film is looked at for drift."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _speed(folder, repeats)
        rows += _continuity(folder)
        rows += _drift(folder, 40 if quick else 300)
        rows.append(_memory(folder, 60 if quick else 600))
    return rows


def _photo() -> str:
    return str(Path(skimage.data.__file__).parent / "astronaut.png")


def _keyframes(folder: Path, count: int, size: tuple[int, int], preset: str) -> Keyframes:
    """Dream keyframes of a zoom that doubles every second."""
    request = Request(photo=_photo(), preset=preset)
    wanted = Wanted(Delivery(folder / "film.mp4"), request, seconds=count, fps=FPS, size=size)
    film = zoom_plan.prepare(wanted)
    folder.mkdir(exist_ok=True)
    keyframes = film.open(folder, film.look.load_network())
    assert isinstance(keyframes, Keyframes)
    for number in range(min(count, film.recipe.keyframes)):
        keyframes.make(number)
    return keyframes


def _speed(folder: Path, repeats: int) -> list[Row]:
    """The cost of a film by keyframes against one that dreams as much for every frame."""
    seconds = 20
    keyframes = _keyframes(folder / "speed", 3, (SIDE, SIDE), "dream")
    dreams = []
    for _ in range(repeats):
        began = time.perf_counter()
        keyframes.make(2)
        dreams.append(time.perf_counter() - began)
    dream = statistics.median(dreams)
    began = time.perf_counter()
    count = sum(1 for _ in keyframes.frames(0, FPS * 2))
    frame = (time.perf_counter() - began) / count
    nested = (seconds + 1) * dream + seconds * FPS * frame
    feedback = seconds * FPS * dream
    large = torch.rand(1, 3, *zoom.canvas_size((1080, 1920)))
    nest = Nest(large, large.flip(3), _view(1, (1080, 1920), 0.1), (1080, 1920))
    began = time.perf_counter()
    for index in range(12):
        nest.levels(_view(index / 12, (1080, 1920), index / 120))
    rate = 12 / (time.perf_counter() - began)
    return [
        Row(
            f"{seconds} s, {FPS} fps, {SIDE} px: a dream for every frame / nested",
            feedback / nested,
            at_least=20,
            detail=f"a dream {dream:.2f} s, a frame {frame * 1e3:.0f} ms; both films reckoned up",
        ),
        Row("frames a second at 1080p, without encoding", rate, "/s", at_least=10),
    ]


def _continuity(folder: Path) -> list[Row]:
    """How far frames differ from the ones before, moved, against a zoom over a still picture."""
    size = (256, 384)
    keyframes = _keyframes(folder / "continuity", 5, (384, 256), "dream")
    film, boundary, still = [], [], []
    for number in range(3):
        nest = keyframes.nest(number)
        after = keyframes.nest(number + 1)
        plain = _Still(keyframes.load(number), size)
        for index in range(FPS):
            one, two = (_view((index + ahead) / FPS, size) for ahead in (0, 1))
            one = nest.frame(one)
            two = after.frame(_view(0, size)) if index + 1 == FPS else nest.frame(two)
            difference = _moved_difference(one, two, size)
            film.append(difference)
            if index + 1 == FPS:
                boundary.append(difference)
            moved = plain.frame((index + 1) / FPS)
            still.append(_moved_difference(plain.frame(index / FPS), moved, size, size[0] // 4))
    bound = statistics.mean(still)
    detail = "mean absolute difference to the frame before, moved as the camera"
    return [
        Row("zoom / still picture of the same sharpness", statistics.mean(film) / bound,
            at_most=1.5, detail=detail),
        Row("the same at keyframe boundaries", max(boundary) / bound, at_most=1.5),
    ]  # fmt: skip


class _Still:
    """A plain zoom over a picture that is as sharp as the film's frames all the way.

    It starts where the picture is shrunken by half; only the middle is filled then.
    """

    def __init__(self, picture: Tensor, size: tuple[int, int]) -> None:
        self.picture, self.size = picture, size
        self.smooth = zoom.smooth(picture, FACTOR)

    def frame(self, amount: float) -> Tensor:
        share = min(1.0, 2 ** (1 - amount) - 1)
        shown = torch.lerp(self.picture, self.smooth, share)
        return zoom.see(shown, _view(amount - 1, self.size), self.size, 1)


def _moved_difference(one: Tensor, two: Tensor, size: tuple[int, int], border: int = 16) -> float:
    """Move a frame as the camera moves, and compare it with the next, but for the border, px."""
    places = _view(1 / FPS, size)
    padded = torch.nn.functional.interpolate(one, size=size, mode="bicubic")
    moved = zoom.see(padded, _within(places), size, 1)
    inner = (slice(None), slice(None), slice(border, -border), slice(border, -border))
    return float((moved[inner] - two[inner]).abs().mean())


def _view(doublings: float, size: tuple[int, int], angle: float = 0.0) -> Tensor:
    """Return the view of a camera that goes straight into the middle."""
    return zoom.view(motion(0, doublings, angle), size)


def _within(places: Tensor) -> Tensor:
    """Undo that `see` takes a picture for one with a margin."""
    return places * zoom.MARGIN


def _drift(folder: Path, doublings: int) -> list[Row]:
    """How far ten-second windows of a long film are from its median."""
    keyframes = _keyframes(folder / "drift", doublings, (192, 128), "dream")
    measured = []
    for number in range(10, doublings):
        picture = keyframes.load(number)
        found = tone.tone(picture)
        fine = float((picture - zoom.smooth(picture, 2)).std())
        measured.append((found.light, found.contrast, found.colour, fine))
    windows = torch.tensor(measured)[: len(measured) // 10 * 10].view(-1, 10, 4).mean(1)
    median = windows.median(0).values
    away = (windows / median - 1).abs().amax(0)
    names = ("luminance", "its spread", "saturation", "fine detail")
    return [
        Row(
            f"{doublings} s: {name}, window furthest from the median",
            float(value),
            "",
            at_most=0.25,
        )
        for name, value in zip(names, away, strict=True)
    ]


def _memory(folder: Path, seconds: int) -> Row:
    """The peak of a long film over that of a short one."""
    common = ("--size", "96x64", "--steps", "1", "--octaves", "1", "--fps", "10", "-q")

    def peak(length: int) -> int:
        out = str(folder / f"memory-{length}.mp4")
        return driver_memory("zoom", _photo(), "-o", out, "--seconds", str(length), *common)

    short, long = peak(10), peak(seconds)
    return Row(
        f"memory, {seconds} s - 10 s of film",
        (long - short) / 1e6,
        "MB",
        at_most=50,
        detail=f"{long / 1e6:.0f} MB - {short / 1e6:.0f} MB",
    )
