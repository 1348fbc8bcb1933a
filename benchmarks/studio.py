"""What the studio's page waits for: the strip of all presets beside one default dream."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dreamer
from benchmarks import strength
from benchmarks.rows import Row
from dreamer.media import images
from dreamer.render import strip

PHOTO = "coffee.png"
LONG_EDGE, SIZE = 1600, 384
MOST = 6.0


def measure(repeats: int, quick: bool) -> list[Row]:
    """Make both in turn from one photo, decoding included, and take the median of the ratios."""
    del quick
    network = dreamer.load_network("efficientnet_lite0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        photo = images.resize(images.load(strength.FOLDER / PHOTO), LONG_EDGE)
        images.save(photo.pixels, path)

        def one() -> object:
            return dreamer.dream(path, size=SIZE, network=network)

        def every() -> object:
            return strip.make(str(path), network=network)

        pairs = [(_seconds(every), _seconds(one)) for _ in range(repeats + 1)][1:]  # warm
    every_preset, single = (statistics.median(each) for each in zip(*pairs, strict=True))
    detail = f"{every_preset:.2f} / {single:.2f} s, drafts of {strip.SIZE} px"
    print(f"  {detail}", file=sys.stderr, flush=True)
    name = f"strip of all presets, {LONG_EDGE}-px photo / one default dream at {SIZE} px"
    ratio = statistics.median(strips / dream for strips, dream in pairs)
    return [Row(name, ratio, "x", None, MOST, detail)]


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
