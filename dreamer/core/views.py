"""Robust views of pictures from nothing: pad, jitter, scale, rotate, crop, noise.

Each transform says where the next view looks, as an affine map from its pixels to the picture's;
however many there are, the picture is resampled once, and all views of a step form one batch.
Dreams have their own, simpler ones: `dreamer.core.transforms`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Border = Literal["reflect", "mean", "grey"]


@dataclass(frozen=True)
class Frames:
    """Where some views look.

    Attributes:
        maps: `(V, 2, 3)`, float64, from a view's pixels to the picture's; x comes first, both are
            measured in pixels from the centre.
        size: height and width of the views, px.
        border: what is seen outside of the picture.
        noise: `(normal, uniform)`: standard deviation and half width of what is added.
        plain: whether the maps only shift, by whole pixels.
    """

    maps: Tensor
    size: tuple[int, int]
    border: Border = "reflect"
    noise: tuple[float, float] = (0.0, 0.0)
    plain: bool = True

    def moved(self, inner: Tensor, *, plain: bool = False) -> Frames:
        """Look through another map `(V, 2, 3)`, from new pixels to those of these views."""
        linear = self.maps[:, :, :2] @ inner[:, :, :2]
        shift = self.maps[:, :, :2] @ inner[:, :, 2:] + self.maps[:, :, 2:]
        maps = torch.cat([linear, shift], 2)
        return replace(self, maps=maps, plain=self.plain and plain)


class Transform(Protocol):
    """One step of a chain of transforms."""

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Change where views look.

        Args:
            frames: as the transforms before left them.
            step: the share of the run that is over, 0..1.
            generator: draws what is random.
        """


@dataclass(frozen=True)
class Pad:
    """Look beyond the picture.

    Attributes:
        pixels: on each side.
        border: what is seen there: the picture's reflection, its mean colour, or grey.
    """

    pixels: int
    border: Border = "reflect"

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Enlarge the views."""
        height, width = frames.size
        size = (height + 2 * self.pixels, width + 2 * self.pixels)
        return replace(frames, size=size, border=self.border)


@dataclass(frozen=True)
class Jitter:
    """Crop at random: views are smaller by so many pixels, from anywhere."""

    pixels: int

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Move and shrink the views."""
        size = (frames.size[0] - self.pixels, frames.size[1] - self.pixels)
        drawn = torch.randint(0, self.pixels + 1, (len(frames.maps), 2), generator=generator)
        shift = drawn.double() - self.pixels / 2
        return replace(frames.moved(_shifts(shift), plain=True), size=size)


@dataclass(frozen=True)
class Crop:
    """Cut off the border: views are smaller by so many pixels on each side."""

    pixels: int

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Shrink the views."""
        height, width = frames.size
        return replace(frames, size=(height - 2 * self.pixels, width - 2 * self.pixels))


@dataclass(frozen=True)
class Scale:
    """See the picture larger or smaller, from `low` to `high` times; views keep their size.

    Attributes:
        low: the least.
        high: the most.
        choices: to draw from instead, if there are any.
    """

    low: float = 1.0
    high: float = 1.0
    choices: tuple[float, ...] = ()

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Scale the views."""
        count = len(frames.maps)
        if self.choices:
            drawn = torch.tensor(self.choices, dtype=torch.float64)
            factor = drawn[torch.randint(0, len(drawn), (count,), generator=generator)]
        else:
            share = torch.rand(count, generator=generator, dtype=torch.float64)
            factor = self.low + share * (self.high - self.low)
        maps = torch.zeros(count, 2, 3, dtype=torch.float64)
        maps[:, 0, 0] = maps[:, 1, 1] = 1 / factor
        return frames.moved(maps)


@dataclass(frozen=True)
class Rotate:
    """Turn the picture by up to so many degrees either way.

    Attributes:
        degrees: the most.
        still: the share of views that are not turned.
        whole: whether only whole degrees are drawn.
    """

    degrees: float
    still: float = 0.0
    whole: bool = False

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Turn the views."""
        count = len(frames.maps)
        share, turned = torch.rand(2, count, generator=generator, dtype=torch.float64)
        angle = self.degrees * (2 * share - 1)
        if self.whole:
            most = int(self.degrees)
            angle = (share * (2 * most + 1)).floor() - most
        angle = torch.where(turned < self.still, 0.0, angle).deg2rad()
        maps = torch.zeros(count, 2, 3, dtype=torch.float64)
        maps[:, 0, 0] = maps[:, 1, 1] = angle.cos()
        maps[:, 0, 1], maps[:, 1, 0] = -angle.sin(), angle.sin()
        return frames.moved(maps)


@dataclass(frozen=True)
class Zoom:
    """Look at a square somewhere near the middle, of a side that changes over the run: MACO's.

    Attributes:
        first: its mean side at the start, as a share of the picture's shorter side.
        last: at the end.
        spread: the standard deviation of the side.
        wander: the standard deviation of its centre, as a share of each side.
        side: px that it is resampled to.
    """

    first: float
    last: float
    spread: float
    wander: float
    side: int

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Look at squares."""
        count = len(frames.maps)
        drawn = torch.randn(3, count, generator=generator, dtype=torch.float64)
        height, width = frames.size
        share = self.first + step * (self.last - self.first) + self.spread * drawn[0]
        side = share.clamp(0.05, 1) * min(height, width)
        maps = torch.zeros(count, 2, 3, dtype=torch.float64)
        maps[:, 0, 0] = maps[:, 1, 1] = side / self.side
        maps[:, 0, 2] = self.wander * drawn[1] * width
        maps[:, 1, 2] = self.wander * drawn[2] * height
        return replace(frames.moved(maps), size=(self.side, self.side))


@dataclass(frozen=True)
class Noise:
    """Add noise to what the network is shown.

    Attributes:
        normal: standard deviation of a normal part, in units of the range 0..1.
        uniform: half the width of a uniform part.
    """

    normal: float
    uniform: float = 0.0

    def __call__(self, frames: Frames, step: float, generator: torch.Generator) -> Frames:
        """Ask for noise."""
        return replace(frames, noise=(self.normal, self.uniform))


@dataclass(frozen=True)
class Views:
    """Several random views of each picture a step.

    Attributes:
        transforms: in the order in which they act.
        count: views of each picture.
    """

    transforms: tuple[Transform, ...] = ()
    count: int = 1

    def draw(self, size: tuple[int, int], step: float, generator: torch.Generator) -> Frames:
        """Draw where a step's views look.

        Args:
            size: height and width of the pictures, px.
            step: the share of the run that is over, 0..1.
            generator: on the CPU.
        """
        maps = torch.eye(2, 3, dtype=torch.float64).repeat(self.count, 1, 1)
        frames = Frames(maps, size)
        for transform in self.transforms:
            frames = transform(frames, step, generator)
        return frames


def look(pictures: Tensor, frames: Frames, generator: torch.Generator | None = None) -> Tensor:
    """Show every picture through every frame.

    Args:
        pictures: `(N, C, H, W)`.
        frames: V of them.
        generator: for the noise, which is the same for every picture; None for none.

    Returns:
        `(N * V, C, h, w)`, the views of the first picture first; differentiable.
    """
    count = len(frames.maps)
    if frames.plain and float(frames.maps[:, :, 2].sum()) % 0.5 == 0 and _whole(pictures, frames):
        seen = _shifted(pictures, frames)
    else:
        seen = _sampled(pictures, frames)
    normal, uniform = frames.noise
    if generator is not None and (normal or uniform):
        shape = (count, *seen.shape[1:])
        noise = normal * torch.randn(shape, generator=generator)
        noise += uniform * (2 * torch.rand(shape, generator=generator) - 1)
        seen = seen + noise.to(seen).repeat(len(pictures), 1, 1, 1)
    return seen


def place(frames: Frames, size: tuple[int, int], y: float, x: float) -> Tensor:
    """Return where a place of the picture is in each view: `(V, 2)`, y and x as shares 0..1.

    Args:
        frames: V of them.
        size: the picture's height and width, px.
        y: the place, as a share of the picture.
        x: the same.
    """
    point = torch.tensor([(x - 0.5) * size[1], (y - 0.5) * size[0]], dtype=torch.float64)
    linear, shift = frames.maps[:, :, :2], frames.maps[:, :, 2]
    seen = torch.linalg.solve(linear, (point - shift).unsqueeze(2)).squeeze(2)
    places: Tensor = seen.flip(1) / torch.tensor(frames.size, dtype=torch.float64) + 0.5
    return places


def _whole(pictures: Tensor, frames: Frames) -> bool:
    """Whether every view's corner is on a pixel of the picture, and a reflection reaches it."""
    corners = _corners(pictures, frames)
    if not bool((corners == corners.round()).all()):
        return False
    return max(_margin(pictures, frames, corners)) < min(pictures.shape[2:])


def _corners(pictures: Tensor, frames: Frames) -> Tensor:
    """Return the picture's pixel at the top left of each view, `(V, 2)`: x and y."""
    middle = torch.tensor([pictures.shape[3] - frames.size[1], pictures.shape[2] - frames.size[0]])
    return frames.maps[:, :, 2] + middle / 2


def _margin(pictures: Tensor, frames: Frames, corners: Tensor) -> tuple[int, int, int, int]:
    """Return how far views look beyond the picture: left, right, top, bottom."""
    left, top = (int(-c) for c in corners.amin(0))
    right = int(corners[:, 0].amax()) + frames.size[1] - pictures.shape[3]
    bottom = int(corners[:, 1].amax()) + frames.size[0] - pictures.shape[2]
    return max(left, 0), max(right, 0), max(top, 0), max(bottom, 0)


def _shifted(pictures: Tensor, frames: Frames) -> Tensor:
    corners = _corners(pictures, frames)
    margin = _margin(pictures, frames, corners)
    if frames.border == "reflect":
        padded = F.pad(pictures, margin, mode="reflect")
    else:
        fill = _fill(pictures, frames.border)
        padded = F.pad(pictures - fill, margin) + fill
    height, width = frames.size
    views = []
    for x, y in corners.long().tolist():
        left, top = x + margin[0], y + margin[2]
        views.append(padded[:, :, top : top + height, left : left + width])
    return torch.stack(views, 1).flatten(0, 1)


def _sampled(pictures: Tensor, frames: Frames) -> Tensor:
    count, (height, width) = len(frames.maps), pictures.shape[2:]
    # From shares -1..1 of a view, as torch has them, to shares of the picture.
    view = torch.tensor([frames.size[1], frames.size[0], 2.0], dtype=torch.float64) / 2
    picture = torch.tensor([width, height], dtype=torch.float64) / 2
    theta = (frames.maps * view / picture[:, None]).to(pictures)
    grid = F.affine_grid(theta, [count, 1, *frames.size], align_corners=False)
    grid = grid.repeat(len(pictures), 1, 1, 1)
    if frames.border == "reflect":
        reflected: Tensor = F.grid_sample(
            pictures.repeat_interleave(count, 0),
            grid,
            padding_mode="reflection",
            align_corners=False,
        )
        return reflected
    fill = _fill(pictures, frames.border)
    seen: Tensor = F.grid_sample(
        (pictures - fill).repeat_interleave(count, 0), grid, align_corners=False
    )
    return seen.add(fill if fill.ndim == 0 else fill.repeat_interleave(count, 0))


def _fill(pictures: Tensor, border: Border) -> Tensor:
    """Return the colour outside of the pictures: grey, or each picture's mean."""
    if border == "grey":
        return pictures.new_tensor(0.5)
    return pictures.mean((2, 3), keepdim=True)


def _shifts(shift: Tensor) -> Tensor:
    """Return maps that only move: `(V, 2, 3)` from `(V, 2)`, x and y in pixels."""
    maps = torch.eye(2, 3, dtype=torch.float64).repeat(len(shift), 1, 1)
    maps[:, :, 2] = shift
    return maps
