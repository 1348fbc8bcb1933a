"""Guides: what a network answers to other pictures, and how near a dream comes to that.

Three ways to follow a guide: every place of the dream towards the most similar place of the guide
(Mordvintsev's guided dreams, Google's DeepDream notebook, 2015), the means of the channels, or, as
in style transfer, all second moments of the features (Gatys, Ecker and Bethge, "Image Style
Transfer Using Convolutional Neural Networks", 2016).

Features are compared after each channel was brought to the guide's mean and spread: without that
the few channels of the largest scale decide alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core.resampling import resample

By = Literal["best", "means", "style"]
"""How a guide is followed."""

MOST_ROWS = 1024
"""So many places of a guide are compared with."""
# Places that are compared at once: the table of similarities has as many rows.
_CHUNK = 8192
_TINY = 1e-6
# What one cannot see of a cut-out is no guide.
_VISIBLE = 0.5
_FEWEST = 4


@dataclass(frozen=True)
class Guide:
    """A picture to be guided by.

    Attributes:
        pixels: `(1, 3, H, W)` in 0..1, of any size and shape.
        visible: `(1, 1, H, W)` in 0..1: what of it counts; all of it if None.
        least: what its shorter side has at least, px: what the network needs.
    """

    pixels: Tensor
    visible: Tensor | None = None
    least: int = 1

    def at(self, size: tuple[int, int]) -> Guide:
        """Return it about as large as a picture of `size` (height, width), but never enlarged.

        What is as large in the guide as in the dream is then compared with each other. It is
        larger only if the network could not be shown it otherwise.
        """
        height, width = self.pixels.shape[2:]
        scale = min(1.0, math.sqrt(size[0] * size[1] / (height * width)))
        scale = max(scale, self.least / min(height, width))
        fitted = (max(self.least, round(height * scale)), max(self.least, round(width * scale)))
        visible = None if self.visible is None else resample(self.visible, fitted).clamp(0, 1)
        return Guide(resample(self.pixels, fitted).clamp(0, 1), visible, self.least)


@dataclass(frozen=True)
class Bank:
    """What a layer answers to a guide.

    Attributes:
        rows: answers at its places, each brought to `mean` and `spread` and to length 1, `(K, C)`.
        mean: of each channel, `(C,)`.
        spread: standard deviation of each channel, `(C,)`; never zero.
        moments: second moments of the standardised answers, `(C, C)`.
    """

    rows: Tensor
    mean: Tensor
    spread: Tensor
    moments: Tensor

    def standard(self, values: Tensor) -> Tensor:
        """Bring answers `(N, C, h, w)` to the guide's mean and spread."""
        shape = (1, -1, 1, 1)
        return (values - self.mean.view(shape)) / self.spread.view(shape)


Banks = Mapping[str, Bank]
"""The banks of a guide, by layer."""


@torch.no_grad()
def bank(maps: Tensor, visible: Tensor | None = None) -> Bank:
    """Collect what a layer answers to a guide.

    Args:
        maps: `(1, C, h, w)`.
        visible: see `Guide`; of any size. At least the most visible places count.
    """
    rows = maps[0].flatten(1).T
    if visible is not None:
        share = F.interpolate(visible, size=maps.shape[2:], mode="area").flatten()
        seen = share > _VISIBLE
        if int(seen.sum()) < _FEWEST:
            best = share.topk(min(_FEWEST, len(rows))).indices
            seen = torch.zeros_like(seen).index_fill_(0, best, True) & (share > 0)
        rows = rows[seen] if bool(seen.any()) else rows
    mean = rows.mean(0)
    spread = rows.std(0, correction=0)
    # A channel that is as good as constant would otherwise shout as loud as any.
    spread = spread.clamp_min(0.1 * rows.square().mean().sqrt().item() + _TINY)
    standard = (rows - mean) / spread
    # At random, since every n-th one would be of a few columns of the map.
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    few = order[:MOST_ROWS].sort().values.to(rows.device)
    chosen = F.normalize(standard[few], dim=1)
    return Bank(chosen, mean, spread, standard.T @ standard / len(standard))


def banks(
    guide: Guide,
    network: Callable[[Tensor], Mapping[str, Tensor]],
    size: tuple[int, int],
    layers: Collection[str],
) -> Banks:
    """Show a guide to a network as large as a picture of `size` (height, width)."""
    fitted = guide.at(size)
    with torch.no_grad():
        answers = network(fitted.pixels)
    return {layer: bank(answers[layer], fitted.visible) for layer in layers}


def agreement(values: Tensor, guide: Bank, by: By) -> Tensor:
    """Return how near answers are to a guide's, `(N,)`: the more the nearer.

    Args:
        values: `(N, C, h, w)`.
        guide: of the same layer.
        by: "best": the mean, over all places, of the cosine to the most similar place of the
            guide, weighted with the length of the answer, so that there is something to see and
            not only something similar; "means", "style": minus the distance of the channels' means,
            or of their second moments, as a share of the guide's own size.
    """
    if by == "best":
        return _matched(guide.standard(values), guide.rows)
    return nearness(summary(values, guide, by), guide, by)


def summary(values: Tensor, guide: Bank, by: By) -> Tensor:
    """Return what "means" and "style" compare of answers `(N, C, h, w)`, a mean over their places.

    Returns:
        The channels' means, `(N, C)`, or their second moments, `(N, C, C)`.
    """
    standard = guide.standard(values)
    if by == "means":
        return standard.mean((2, 3))
    flat = standard.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def nearness(found: Tensor, guide: Bank, by: By) -> Tensor:
    """Return how near a `summary` is to the guide's, `(N,)`: see `agreement`."""
    if by == "means":
        return -found.square().mean(1).add(_TINY).sqrt()
    apart = (found - guide.moments).square().sum((1, 2)).add(_TINY).sqrt()
    return -apart / guide.moments.square().sum().add(_TINY).sqrt()


def similarities(values: Tensor, guide: Bank) -> Tensor:
    """Return the cosine of every place of `(N, C, h, w)` to the most similar one: `(N, h, w)`."""
    flat = F.normalize(guide.standard(values).flatten(2).transpose(1, 2), dim=2)
    return (flat * _nearest(flat, guide.rows)).sum(2).view(-1, *values.shape[2:])


def similarity(values: Tensor, guide: Bank) -> Tensor:
    """Return the mean of `similarities`, `(N,)`."""
    return similarities(values, guide).mean((1, 2))


def _matched(standard: Tensor, rows: Tensor) -> Tensor:
    flat = standard.flatten(2).transpose(1, 2)
    dot = (flat * _nearest(flat, rows)).sum(2)
    length = flat.square().sum(2).add(_TINY).sqrt()
    return (dot * (dot / length).clamp_min(0.1)).mean(1)


@torch.no_grad()
def _nearest(flat: Tensor, rows: Tensor) -> Tensor:
    """Return the row with the largest cosine to each of `(N, P, C)`; never all of the table."""
    found = [(part @ rows.T).argmax(2) for part in torch.split(flat.detach(), _CHUNK, dim=1)]
    return rows[torch.cat(found, 1)]
