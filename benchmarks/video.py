"""Dreamed clips: flicker and cost against frames that are dreamed alone, and memory."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import moving
from benchmarks.batch import driver_memory
from benchmarks.rows import Row
from dreamer.core.flow import warp
from dreamer.media import ffmpeg
from dreamer.render import video_plan
from dreamer.render.film_job import Delivery
from dreamer.render.look import Request
from dreamer.render.video_plan import Wanted


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure all; with `quick` a shorter clip and a shorter film for the memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _flicker(folder, 12 if quick else 36)
        rows.append(_memory(folder, 60 if quick else 600))
    return rows


def _flicker(folder: Path, count: int) -> list[Row]:
    clip = folder / "clip.mp4"
    moving.write(clip, count)
    steady, cost = _dreamed(folder, clip, None)
    alone, cost_alone = _dreamed(folder, clip, 0.0)
    photos = [moving.frame(number) for number in range(count)]
    strength, strength_alone = (
        statistics.mean(
            float((a - b).square().mean().sqrt()) for a, b in zip(each, photos, strict=True)
        )
        for each in (steady, alone)
    )
    detail = f"{_difference(steady):.4f} / {_difference(alone):.4f}; the clip itself "
    detail += f"{_difference(photos):.4f}"
    return [
        Row("frame - frame before along the known flow: steady / alone",
            _difference(steady) / _difference(alone), at_most=0.5, detail=detail),
        Row("seconds a frame: steady / alone", cost / cost_alone, at_most=1,
            detail=f"{cost:.2f} s / {cost_alone:.2f} s, {count} frames, flow and keeping included"),
        Row("size of the dream: steady / alone", strength / strength_alone, at_least=0.8,
            detail=f"root mean square {strength:.3f} / {strength_alone:.3f}"),
    ]  # fmt: skip


def _dreamed(folder: Path, clip: Path, steadiness: float | None) -> tuple[list[Tensor], float]:
    """Return the frames of a dreamed clip, and the seconds each took."""
    wanted = Wanted(clip, Delivery(folder / f"{steadiness}.mp4"), Request(preset="dream"))
    if steadiness is not None:
        wanted = Wanted(clip, wanted.delivery, wanted.request, steadiness=steadiness)
    film = video_plan.prepare(wanted)
    kept = folder / f"frames-{steadiness}"
    kept.mkdir()
    pictures = film.open(kept, film.look.load_network())
    began = time.perf_counter()
    count = sum(1 for _ in pictures.dream(0))
    seconds = (time.perf_counter() - began) / count
    width, height = film.recipe.size
    shown = [
        torch.frombuffer(bytearray(data), dtype=torch.uint8).view(height, width, 3)
        for data in pictures.frames(0, count)
    ]
    return [levels.permute(2, 0, 1)[None] / 255 for levels in shown], seconds


def _difference(frames: list[Tensor]) -> float:
    """Return the mean absolute difference to the frame before, moved along the known flow."""
    found = []
    for number in range(1, len(frames)):
        flow, known = moving.flow(number)
        apart = (frames[number] - warp(frames[number - 1], flow)).abs()
        found.append(float(apart.mean(1, keepdim=True)[known].mean()))
    return statistics.mean(found)


def _memory(folder: Path, seconds: int) -> Row:
    """The peak of a long film over that of a short one."""

    def peak(length: int) -> int:
        clip, film = folder / f"long-{length}.mp4", folder / f"dream-{length}.mp4"
        source = f"testsrc2=size=96x64:rate=2:duration={length}"
        making = ["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", str(clip)]
        subprocess.run([ffmpeg.program(), "-v", "error", *making], check=True)
        common = ("--steps", "1", "--octaves", "1", "-q")
        return driver_memory("video", str(clip), "-o", str(film), *common)

    short, long = peak(10), peak(seconds)
    return Row(
        f"memory, {seconds} s - 10 s of a dreamed clip",
        (long - short) / 1e6,
        "MB",
        at_most=50,
        detail=f"{long / 1e6:.0f} MB - {short / 1e6:.0f} MB",
    )
