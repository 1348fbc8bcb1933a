"""What was measured on, and how fast it can multiply."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

import torch

import dreamer


def describe() -> dict[str, object]:
    """Name the hardware, the versions and the commit."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: metadata.version(name) for name in ("torch", "torchvision", "pillow")}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(memory / 1e9, 1),
        "versions": {"dreamer": dreamer.__version__, **versions},
        "python": platform.python_version(),
        "commit": commit or None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def convolution_peak(seconds: float = 1.5) -> float:
    """Return the best operations per second of float32 convolutions, 1x1: oneDNN's products.

    On some processors they are twice as fast as those of `matmul_peak`, whose library does not use
    all of their instructions.
    """
    best = 0.0
    end = time.perf_counter() + seconds
    pixels = torch.rand(1, 1024, 64, 64).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(1024, 1024, 1, 1)
    while time.perf_counter() < end:
        began = time.perf_counter()
        torch.nn.functional.conv2d(pixels, weight)
        best = max(best, 2 * 1024**2 * 64**2 / (time.perf_counter() - began))
    return best


def matmul_peak(seconds: float = 1.5) -> float:
    """Return the best floating point operations per second of float32 matrix products."""
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for size in (1024, 1536, 2048):
            a, b = torch.rand(size, size), torch.rand(size, size)
            began = time.perf_counter()
            a @ b
            best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return best
