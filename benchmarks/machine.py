"""What was measured on, and how fast it can multiply."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path

import torch


def describe() -> dict[str, object]:
    """Name the hardware, the versions and the commit."""
    cpu = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent
    ).stdout.strip()
    packages = ("dreamer", "torch", "torchvision", "pillow")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "versions": {name: metadata.version(name) for name in packages},
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
