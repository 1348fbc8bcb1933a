"""Whole commands as processes: time from start to file, start-up, peak memory, the photo kept."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import skimage.data
from PIL import Image

from benchmarks.rows import Row
from dreamer.networks import rows

# A process starts with the peak of the one that started it, so a small one has to stand between.
PEAK = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(child.pid, 0)
print(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def photo(folder: Path) -> Path:
    """Write the 512-pixel photo that is dreamed on."""
    path = folder / "photo.png"
    with Image.open(Path(skimage.data.__file__).parent / "astronaut.png") as opened:
        opened.convert("RGB").resize((512, 512)).save(path)
    return path


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure all."""
    del quick  # the repeats are all there is to save
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start, out = photo(folder), folder / "out.png"
        dream = ["-m", "dreamer", "dream", str(start), "-o", str(out), "--overwrite", "-q"]
        bare, whole = _in_turn(["-c", "import torch"], dream, repeats)
        typer, helps = _in_turn(["-c", "import typer"], ["-m", "dreamer", "--help"], 5 * repeats)
        clean = _run(
            "import sys\nsys.argv = ['dreamer', '--help']\nfrom dreamer.__main__ import main\n"
            "try: main()\nexcept SystemExit: pass\nsys.exit('torch' in sys.modules)"
        )
        used = _peak(*dream)
        bound = _peak("-c", "import torch, torchvision")
        weights = rows.row(rows.DEFAULT).published().size / 1e6
        _run_dream([*dream, "--step-size", "0"])
        with Image.open(start) as before, Image.open(out) as after:
            same = before.tobytes() == after.tobytes()
        return [
            Row(
                "512 px, default preset, command to file / import torch",
                whole / bare,
                "x",
                at_most=2.2,
                detail=f"{whole:.2f} s / {bare:.2f} s, --quality normal, all threads",
            ),
            Row("dreamer --help", helps, "s", at_most=0.5),
            Row(
                "dreamer --help / import typer",
                helps / typer,
                "x",
                at_most=1.5,
                detail=f"{1000 * helps:.0f} ms / {1000 * typer:.0f} ms",
            ),
            Row("torch imported by --help", float(clean), "", at_most=0),
            Row(
                "peak memory at 512 / (import torch, torchvision + weights)",
                used / (bound + weights),
                "x",
                at_most=2.0,
                detail=f"{used:.0f} MB / {bound + weights:.0f} MB",
            ),
            Row("step size 0 gives the photo's bytes", float(same), "", at_least=1),
        ]


def _in_turn(one: list[str], other: list[str], repeats: int) -> tuple[float, float]:
    """Return the medians of two commands' seconds; the first pair warms the disk's cache."""
    pairs = [(_seconds(one), _seconds(other)) for _ in range(repeats + 1)]
    first, second = zip(*pairs[1:], strict=True)
    return statistics.median(first), statistics.median(second)


def _seconds(arguments: list[str]) -> float:
    began = time.perf_counter()
    _run_dream(arguments)
    return time.perf_counter() - began


def _run_dream(arguments: list[str]) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _run(code: str) -> int:
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode


def _peak(*arguments: str) -> float:
    """Return the largest resident memory of Python with `arguments`, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, sys.executable, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return int(done.stdout) / 1e6
