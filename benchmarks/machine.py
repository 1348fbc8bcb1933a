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
