"""How the pixels of a dream are parametrised.

A canvas holds what ascent changes and shows it as pixels. `pixel` is the only one so far; a canvas
in Fourier space fits the same methods.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dreamer.core import gradients, resampling

# How near a dream brings a value to black or white, unless the photo is nearer.
MARGIN = 2 / 255


class Canvas(Protocol):
    """What the ascent loop needs of a parametrisation."""

    def pixels(self) -> Tensor:
        """Show the picture, `(1, 3, H, W)` in 0..1."""

    def ascend(self, direction: Tensor, step: float) -> None:
        """Move by a root mean square of `step` along a direction in pixel space of any scale."""

    def settle(self, hold: float) -> None:
        """Pull the broad light and colour back towards the photo's by a share of `hold`."""

    def onto(self, base: Tensor) -> Canvas:
        """Carry what was dreamed to another size of the same photo, `(1, 3, H', W')`."""


class PixelCanvas:
    """A photo and the difference that was dreamed onto it.

    Only the difference is resampled between octaves, so the photo's fine detail is never lost and
    a difference of zero shows exactly the photo. The difference itself is unbounded; `soft_clip`
    keeps the picture inside 0..1 without flat, posterised areas.

    Args:
        base: the photo at this octave's size, `(1, 3, H, W)` in 0..1.
        difference: what was dreamed so far, of the same shape; none yet if None.
        together: limit red, green and blue as one, so that a grey change stays grey.
    """

    def __init__(
        self, base: Tensor, difference: Tensor | None = None, *, together: bool = False
    ) -> None:
        self.base = base
        self.difference = torch.zeros_like(base) if difference is None else difference
        self.together = together

    def pixels(self) -> Tensor:
        """Show the picture, `(1, 3, H, W)` in 0..1."""
        return soft_clip(self.base, self.difference, together=self.together)

    def ascend(self, direction: Tensor, step: float) -> None:
        """Move by a root mean square of `step` along a direction in pixel space of any scale.

        What pushes a value further towards black or white is weakened by as much as `soft_clip`
        takes from its difference, and the step moves the rest by so much more: the picture goes
        on to grow where there is room for it, and burns out nowhere.
        """
        spent = _share_left(self.base, self.difference, self.together)
        pushed = torch.where(self.difference * direction > 0, direction * spent, direction)
        self.difference = self.difference + pushed * (step / gradients.rms(pushed))

    def settle(self, hold: float) -> None:
        """Pull the broad light and colour back towards the photo's by a share of `hold`."""
        if hold > 0:
            self.difference = self.difference - hold * resampling.lowpass(self.difference)

    def onto(self, base: Tensor) -> PixelCanvas:
        """Carry the dreamed difference to another size of the same photo."""
        size = (base.shape[2], base.shape[3])
        return PixelCanvas(base, resampling.resample(self.difference, size), together=self.together)


def soft_clip(base: Tensor, difference: Tensor, *, together: bool = False) -> Tensor:
    """Add a difference to a photo so that the sum nears black and white but never reaches them.

    `base + d * room / (room + |d|)`, where room is the way from the photo to black or white, but
    for a `MARGIN`. A small difference is added as it is, a zero difference is exactly the photo,
    and highlights fill up as slowly as on film.

    Args:
        base: the photo, `(N, 3, H, W)` in 0..1.
        difference: any values, of the same shape.
        together: use the least room of the three colours for all of them.

    Returns:
        `(N, 3, H, W)` in 0..1.
    """
    return base + difference * _share_left(base, difference, together)


def _share_left(base: Tensor, difference: Tensor, together: bool) -> Tensor:
    """Return the share of a difference that there is room for: 1 for none, 0 where none is."""
    up, down = 1 - MARGIN - base, base - MARGIN
    room = torch.where(difference > 0, up, down).clamp_min(0)
    if together:
        room = room.amin(1, keepdim=True)
    return room / (room + difference.abs()).clamp_min(1e-12)
