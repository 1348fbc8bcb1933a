"""Choose where to compute, and prove that it works. Torch is imported by what needs it only."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from dreamer.errors import DeviceError, UsageError
from dreamer.render import heap

if TYPE_CHECKING:
    import torch

KINDS = ("auto", "cpu", "cuda", "mps")

# How torch says that a device, or what this process has of it, is of no more use.
_FAILED = ("CUDA error", "HIP error", "CUDNN_STATUS_EXECUTION_FAILED", "CUBLAS_STATUS_")


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
        return first_line(error)
    return None if value == 2 else "it computes wrong sums"


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line without its full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def settle(name: str) -> None:
    """Make a device the one that this process uses, and prove that it works.

    Raises:
        DeviceError: it is not there or does not work.
    """
    device = choose(name)
    if device.type == "cuda":
        import torch

        torch.cuda.set_device(device)  # or some of the first one's memory is taken as well


def has_failed(error: BaseException | None) -> bool:
    """Whether an error says that a device is of no more use to this process."""
    import torch

    from dreamer.core.sight import is_short

    if not isinstance(error, RuntimeError) or is_short(error):
        return False
    kind = getattr(torch, "AcceleratorError", None)  # which older ones do not have
    return (kind is not None and isinstance(error, kind)) or any(
        said in str(error) for said in _FAILED
    )


def sent(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Bring a tensor to a device; to CUDA from pinned memory, beside what it computes."""
    if device.type != "cuda" or pixels.device.type != "cpu":
        return pixels.to(device)
    return pixels.pin_memory().to(device, non_blocking=True)


def fetching(pixels: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Begin to bring a tensor to the CPU; what is returned waits for it, and for nothing else."""
    import torch

    if pixels.device.type != "cuda":
        return pixels.cpu
    here = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=True)
    here.copy_(pixels, non_blocking=True)
    there = torch.cuda.Event()  # type: ignore[no-untyped-call]
    there.record(torch.cuda.current_stream(pixels.device))

    def fetched() -> torch.Tensor:
        there.synchronize()
        return here

    return fetched


def relieve() -> None:
    """Give the memory of a picture that there was too little for back to the devices."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
    """Compute with `count` threads, and with as many as before afterwards.

    Memory that is freed meanwhile is held, see `dreamer.render.heap`.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with heap.held():
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def memory_guard(what: str) -> Iterator[None]:
    """Turn an allocation that fails into a `DeviceError` that names `what` was being made.

    A device that fails is one as well.
    """
    from dreamer.core.sight import is_short

    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if has_failed(error):
            raise DeviceError(
                f"The device failed: {first_line(error)}.",
                "Try again; if it fails again, see what works with `dreamer doctor`, or use "
                "--device cpu.",
            ) from error
        if not is_short(error):
            raise
        raise DeviceError(
            f"There is not enough memory for {what}.",
            "Make a smaller picture with --size, or free some memory.",
        ) from error
