"""Work on large pictures in bands of rows, so that nothing else of their size is made.

A small picture is one band: what is made of it is the same to the bit as without them. What is
made of a large one is written over it where that is said.
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LARGE = 1 << 22
"""So many pixels are still one band."""
_BAND = 1 << 18  # pixels of one of several: what is made of it stays in the processor's cache
_SAMPLED = 4  # of so many bands one is enough for a mean
_TINY = 1e-20


def bands(picture: Tensor) -> list[slice]:
    """Return the rows of each band of `(..., H, W)`, from the top."""
    height, width = picture.shape[-2:]
    if height * width <= LARGE:
        return [slice(0, height)]
    step = max(1, _BAND // width)
    return [slice(top, min(top + step, height)) for top in range(0, height, step)]


def sample(picture: Tensor) -> list[slice]:
    """Return the rows of some bands, spread evenly: enough for the mean over a large picture."""
    return bands(picture)[::_SAMPLED]


def zeros(
    like: Tensor, size: tuple[int, int] | None = None, dtype: torch.dtype | None = None
) -> Tensor:
    """Return zeros of the shape of `(N, C, H, W)`, or of another height and width, or type.

    Those of a large picture on the CPU are apart from all that is allocated for each tile: between
    what is freed and allocated anew, so large pieces would leave gaps that nothing else fills.
    """
    shape = (*like.shape[:2], *(like.shape[2:] if size is None else size))
    dtype = dtype or like.dtype
    if like.device.type != "cpu" or shape[2] * shape[3] <= LARGE:
        return like.new_zeros(shape, dtype=dtype)
    options: dict[str, Any] = {}
    if hasattr(mmap, "MAP_PRIVATE"):  # as it has where it is not all there is
        options["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    room = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, **options)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # where the system has none it is as good without
            room.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(room, dtype=dtype).view(shape)


def mapped(function: Callable[[Tensor], Tensor], picture: Tensor) -> Tensor:
    """Return what a function makes of a picture; a large one is written over.

    Args:
        function: maps `(N, C, h, W)` to the same shape, each pixel by itself.
        picture: `(N, C, H, W)`.
    """
    parts = bands(picture)
    if len(parts) == 1:
        return function(picture)
    for rows in parts:
        picture[:, :, rows] = function(picture[:, :, rows])
    return picture


def normalised(picture: Tensor) -> Tensor:
    """Bring `(N, C, H, W)` in place to mean 0 in every channel and root mean square 1 over all."""
    parts = [picture[:, :, rows] for rows in bands(picture)]
    weights = [part.shape[2] / picture.shape[2] for part in parts]
    pairs = list(zip(parts, weights, strict=True))
    mean = torch.stack([part.mean((2, 3), keepdim=True).double() * w for part, w in pairs]).sum(0)
    square = sum(part.square().mean().item() * w for part, w in pairs)
    length = math.sqrt(max(0.0, square - mean.square().mean().item()) + _TINY)
    for part in parts:
        part.sub_(mean.to(picture)).div_(length)
    return picture


def rms(values: Tensor) -> Tensor:
    """Root mean square of all values, kept from zero so that it can be divided by."""
    return rms_of(values[..., rows, :] for rows in bands(values))


def rms_of(parts: Iterable[Tensor]) -> Tensor:
    """Root mean square of the values of all parts together, see `rms`; computed one by one."""
    squares = list[Tensor]()
    sizes = list[int]()
    for part in parts:
        squares.append(part.square().mean())
        sizes.append(part.numel())
    if len(squares) == 1:
        return squares[0].add(_TINY).sqrt()
    weights = torch.tensor(sizes, dtype=torch.float64, device=squares[0].device)
    mean = (torch.stack(squares).double() * weights).sum() / weights.sum()
    return mean.to(squares[0].dtype).add(_TINY).sqrt()
