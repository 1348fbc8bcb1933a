"""Pictures of any size for networks that take one size only.

A picture is cut into square windows whose maps are put together again. Windows overlap where the
picture is not a whole number of them, and each map is taken from the window in whose middle it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor


def starts(size: int, window: int, step: int) -> list[int]:
    """Place as few windows as cover `size` pixels, evenly.

    Args:
        size: length to cover, a multiple of `step`, at least `window`.
        window: length of a window, a multiple of `step`.
        step: every start is a multiple of it.

    Returns:
        The first pixel of each window: the first is 0, the last ends at `size`.
    """
    count = math.ceil(size / window)
    if count == 1:
        return [0]
    room = (size - window) // step
    return [index * room // (count - 1) * step for index in range(count)]


def bounds(starts: list[int], size: int, window: int, step: int) -> list[int]:
    """Return where each window's share begins, then `size`: half way through the overlaps."""
    middles = [
        there + (here + window - there) // step // 2 * step for here, there in pairwise(starts)
    ]
    return [0, *middles, size]


def reflected(length: int, size: int, device: torch.device) -> Tensor:
    """Return indices `(size,)` that walk up and down `length` pixels, edges not repeated."""
    period = max(2 * length - 2, 1)
    index = torch.arange(size, device=device) % period
    return torch.where(index < length, index, period - index)


def in_windows(
    run: Callable[[Tensor], dict[str, Tensor]], x: Tensor, window: int, step: int
) -> dict[str, Tensor]:
    """Run a network that takes one size on pictures of any size.

    Args:
        run: maps `(N', 3, window, window)` to maps `(N', C, h, w)` by layer.
        x: normalised pixels `(N, 3, H, W)`, of any size; extended by reflection at the bottom and
            right to a multiple of `step` and at least `window`.
        window: side of the square that `run` takes.
        step: the coarsest stride of the network in pixels.

    Returns:
        `(N, C, ceil(H / stride), ceil(W / stride))` by layer. Layers with one neuron a channel
        are `(N, C, 1, 1)`, the mean over the windows.
    """
    count, _, height, width = x.shape
    tall, wide = (max(window, math.ceil(side / step) * step) for side in (height, width))
    x = x[:, :, reflected(height, tall, x.device)][:, :, :, reflected(width, wide, x.device)]
    tops, lefts = starts(tall, window, step), starts(wide, window, step)
    tiles = [x[:, :, top : top + window, left : left + window] for top in tops for left in lefts]
    y_bounds, x_bounds = bounds(tops, tall, window, step), bounds(lefts, wide, window, step)

    def stitch(maps: Tensor) -> Tensor:
        grid = maps.view(len(tops), len(lefts), count, *maps.shape[1:])
        side = maps.shape[-1]
        if side == 1:
            return grid.mean((0, 1))
        stride = window // side
        rows = []
        for i, top in enumerate(tops):
            y = slice((y_bounds[i] - top) // stride, (y_bounds[i + 1] - top) // stride)
            row = []
            for j, left in enumerate(lefts):
                x = slice((x_bounds[j] - left) // stride, (x_bounds[j + 1] - left) // stride)
                row.append(grid[i, j, :, :, y, x])
            rows.append(torch.cat(row, 3))
        whole = torch.cat(rows, 2)
        return whole[:, :, : math.ceil(height / stride), : math.ceil(width / stride)]

    return {name: stitch(maps) for name, maps in run(torch.cat(tiles)).items()}
