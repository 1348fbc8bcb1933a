"""Heat maps over pictures, for people of any colour vision."""

from __future__ import annotations

import torch
from torch import Tensor

# From violet over red to yellow: lightness rises all the way, so that they read without hues too,
# and none of them is a colour of much in grey pictures. In between, linear.
COLOURS = (
    (0.23, 0.06, 0.44),
    (0.55, 0.13, 0.45),
    (0.83, 0.26, 0.33),
    (0.97, 0.53, 0.13),
    (1.00, 0.90, 0.36),
)
_GREYED, _DIMMED = 0.85, 0.7
_MOST = 0.85
"""How opaque the strongest heat is."""
_LUMA = (0.2126, 0.7152, 0.0722)


def strength(values: Tensor, floor: Tensor | float, peak: Tensor | float) -> Tensor:
    """Return how strong heat is, in 0..1: 0 up to `floor`, 1 from `peak` on.

    Args:
        values: of any shape.
        floor: broadcasts with them.
        peak: where it is not above the floor there is no heat.
    """
    span = torch.as_tensor(peak) - torch.as_tensor(floor)
    share = (values - floor) / torch.where(span > 0, span, torch.inf)
    return share.clamp(0, 1)


def colours(values: Tensor) -> Tensor:
    """Return the colours of strengths `(H, W)` in 0..1, as `(3, H, W)`."""
    table = torch.tensor(COLOURS)
    place = values.clamp(0, 1) * (len(table) - 1)
    below = place.floor().long().clamp_max(len(table) - 2)
    mixed = torch.lerp(table[below], table[below + 1], (place - below)[..., None])
    return mixed.permute(2, 0, 1)


def overlay(pixels: Tensor, values: Tensor) -> Tensor:
    """Lay heat over a picture, which is shown dim and nearly grey, `(3, H, W)` in 0..1.

    Args:
        pixels: `(3, H, W)` in 0..1.
        values: strengths `(H, W)` in 0..1: the weaker, the more transparent.
    """
    grey = (pixels * torch.tensor(_LUMA)[:, None, None]).sum(0, keepdim=True)
    dim = torch.lerp(pixels, grey, _GREYED) * _DIMMED
    # What is lit keeps its own light and dark, so that it can be recognised under the heat.
    lit = colours(values) * (0.45 + 0.55 * grey.sqrt() / grey.sqrt().amax().clamp_min(0.1))
    return torch.lerp(dim, lit, _MOST * values.clamp(0, 1).pow(0.8))
