"""Choose where to compute, and prove that it works. Torch is imported by what needs it only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dreamer.errors import DeviceError, UsageError

if TYPE_CHECKING:
    import torch

KINDS = ("auto", "cpu", "cuda", "mps")


def choose(name: str = "auto") -> torch.device:
    """Return a device that has been proven by a small computation on it.

    Args:
        name: `auto` (cuda, then mps, then cpu), or a device such as `cpu` or `cuda:1`.

    Raises:
        UsageError: no kind of device has that name.
        DeviceError: the device is not there or does not work.
    """
    import torch

    if name == "auto":
        for kind, there in (
            ("cuda", torch.cuda.is_available()),
            ("mps", torch.backends.mps.is_available()),
        ):
            if there and _works(kind) is None:
                return torch.device(kind)
        return torch.device("cpu")
    if name.partition(":")[0] not in KINDS[1:]:
        raise UsageError(f"There is no device '{name}'.", f"Choose one of {', '.join(KINDS)}.")
    reason = _works(name)
    if reason is not None:
        raise DeviceError(
            f"The device '{name}' cannot be used: {reason}.",
            "Use --device auto, or see what works with `dreamer doctor`.",
        )
    return torch.device(name)


def _works(name: str) -> str | None:
    """Return None, or why not in one line."""
    import torch

    try:
        value = float(torch.ones(2, device=name).sum())
    # A torch built without CUDA asserts, one without a kind of device has not implemented it, and
    # a driver or device that fails is a runtime error.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return None if value == 2 else "it computes wrong sums"


def default_threads() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def alike(name: str) -> list[str]:
    """Return the devices that a batch may use in turn: all of a kind, unless one was named."""
    import torch

    if name == "cuda":
        return [f"cuda:{index}" for index in range(max(1, torch.cuda.device_count()))]
    return [name]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads, and with as many as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def memory_guard(what: str) -> Iterator[None]:
    """Turn an allocation that fails into a `DeviceError` that names `what` was being made."""
    import torch

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not short and "DefaultCPUAllocator" not in str(error):  # torch has no class for it
            raise
        raise DeviceError(
            f"There is not enough memory for {what}.",
            "Make a smaller picture with --size, or free some memory.",
        ) from error
