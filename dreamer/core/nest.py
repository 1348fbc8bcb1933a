"""The frames between two keyframes that lie inside each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dreamer.core import zoom

# A keyframe appears inside the one before over this share of a doubling, so that what it changed
# comes up smoothly.
APPEARING = 0.6


def _inside(grid: Tensor) -> Tensor:
    """Return 1 within a frame of a keyframe, falling to 0 at the keyframe's own edge."""
    return zoom.ease((zoom.MARGIN - grid.abs().amax(3)[:, None]) / (zoom.MARGIN - 1))


class Nest:
    """Two keyframes, and every frame between them.

    Args:
        outer: `(1, 3, H, W)` in 0..1, of `canvas_size`.
        inner: the next one; None shows the outer one alone.
        step: where the inner one lies: the map `(2, 3)` from its places to those of the outer one.
        size: height and width of a frame, px.
    """

    def __init__(
        self, outer: Tensor, inner: Tensor | None, step: Tensor, size: tuple[int, int]
    ) -> None:
        self.outer = outer
        self.inner = inner
        self.size = size
        self._factor = 1 / zoom.scale(step)
        self._into = zoom.inverse(step)
        self._smooth = None if inner is None else zoom.smooth(inner, self._factor)

    def frame(self, places: Tensor) -> Tensor:
        """Return the frame of a view between the two keyframes.

        Args:
            places: the map from the frame's places to those of the outer keyframe, `(2, 3)`.

        Returns:
            `(1, 3, h, w)` in 0..1.
        """
        outer = zoom.see(self.outer, places, self.size, 1)
        scale = zoom.scale(places)
        if self.inner is None or self._smooth is None or scale >= 1:
            return outer
        amount = -math.log(scale) / math.log(self._factor)
        places = zoom.after(self._into, places)
        # Between full size and the size at which the smoothed one has all there is to show.
        share = min(1.0, max(0.0, (scale * self._factor - 1) / (self._factor - 1)))
        top, left, bottom, right = box = zoom.box(places, self.size)
        grid = zoom.grid(places, self.size, 1, box)
        inner = zoom.sampled(torch.lerp(self.inner, self._smooth, share), grid)
        # No edge is seen, and nothing jumps.
        opacity = _inside(grid) * float(zoom.ease(torch.tensor(amount / APPEARING)))
        part = outer[:, :, top:bottom, left:right]
        outer[:, :, top:bottom, left:right] = torch.lerp(part, inner, opacity)
        return outer
