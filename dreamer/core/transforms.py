"""Random views of the canvas, so that a dream is robust and not noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core.tiles import Box

Locate = Callable[[float, float], tuple[float, float] | Tensor]
"""From a place on the canvas to the same place in a view, or in several, `(V, 2)`: `(y, x)`."""
Window = Callable[[Tensor], Tensor]

_BILINEAR, _BORDER = 0, 1  # as the backward of `grid_sample` names its modes


@dataclass(frozen=True)
class Look:
    """One view of a canvas.

    Attributes:
        padded: the reflected canvas, which the gradient is taken of.
        pixels: what the network is shown, `(1, 3, H + jitter, W + jitter)`.
        locate: from a place on the canvas to the same place in the view, both `(y, x)` in 0..1.
        margin: how much was reflected on each side, px.
        window: what is shown of a padded canvas.
    """

    padded: Tensor
    pixels: Tensor
    locate: Locate
    margin: tuple[int, int]
    window: Window

    def show(self, other: Tensor) -> Tensor:
        """Show another picture of the canvas' size just as the canvas is shown."""
        return self.window(_padded(other, self.margin))

    def gradient(self, score: Tensor, *, again: bool = False) -> Tensor:
        """Return the canvas' gradient `(1, 3, H, W)` of a score of `pixels`.

        Args:
            score: a scalar.
            again: whether another score of the same activations will follow.
        """
        (whole,) = torch.autograd.grad(score, self.padded, retain_graph=again)
        return self._inner(whole)

    def back(self, slope: Tensor) -> Tensor:
        """Return the canvas' gradient `(1, 3, H, W)` of what `pixels` have the gradient of."""
        (whole,) = torch.autograd.grad(self.pixels, self.padded, slope, retain_graph=True)
        return self._inner(whole)

    def _inner(self, whole: Tensor) -> Tensor:
        return _inner(whole, self.margin)


class Looks:
    """One view of each of several canvases, in one batch; each as `Placement.look` shows it.

    Args:
        canvases: `(1, 3, H, W)` each.
        placements: where each view is; all with the same canvas' size and margin.

    Attributes:
        pixels: what the network is shown, `(N, 3, h, w)`.
        order: which canvas each of them is of.
    """

    def __init__(self, canvases: Sequence[Tensor], placements: Sequence[Placement]) -> None:
        self._margin = placements[0].margin
        turned = [index for index, place in enumerate(placements) if place.angle is not None]
        straight = [index for index, place in enumerate(placements) if place.angle is None]
        self.order = turned + straight
        self._padded, shown = list[Tensor](), list[Tensor]()
        if turned:
            padded = _padded(torch.cat([canvases[k].detach() for k in turned]), self._margin)
            padded.requires_grad_()
            matrices = torch.cat([placements[k].matrix(padded) for k in turned])
            self._padded.append(padded)
            shown.append(_sampled(padded, matrices, placements[0].size)(padded))
        for look in (placements[k].look(canvases[k]) for k in straight):
            self._padded.append(look.padded)
            shown.append(look.pixels)
        self.pixels = torch.cat(shown)

    def gradients(self, score: Tensor) -> list[Tensor]:
        """Return the gradient `(1, 3, H, W)` of each canvas, of a score of `pixels`."""
        wholes = torch.autograd.grad(score, self._padded)
        rows = [row for whole in wholes for row in whole.chunk(len(whole))]
        found = dict(zip(self.order, rows, strict=True))
        return [_inner(found[index], self._margin) for index in range(len(rows))]


@dataclass(frozen=True)
class View:
    """How far a random view may be from the canvas itself.

    The canvas is continued by its mirror image instead of wrapping around, so no feature is split
    between two opposite borders, and there is neither black nor grey to dream about.

    Attributes:
        jitter: the range of the shift, px.
        rotate: the largest rotation, degrees either way.
        zoom: the largest change of scale either way, as a share: 0.1 is up to 10%.
        upright: height and width of the canvas that is only shifted; None for none. Sampling
            between pixels blurs what is seen and its gradient: it costs 8% of the gain on the
            finest octave, and what turning is good for, shapes in all directions, is decided on
            the coarser ones.
    """

    jitter: int
    rotate: float = 0.0
    zoom: float = 0.0
    upright: tuple[int, int] | None = None

    def draw(self, size: tuple[int, int], generator: torch.Generator) -> Placement:
        """Draw a shift, an angle and a scale for a canvas of `size` (height, width)."""
        # A reflection cannot be wider than the picture itself.
        margin = (min(self.jitter, size[0] - 1), min(self.jitter, size[1] - 1))
        draw = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        down, right = (int(u * (limit + 1)) for u, limit in zip(draw[:2], margin, strict=True))
        if (self.rotate == 0 and self.zoom == 0) or size == self.upright:
            return Placement(size, margin, (down, right))
        angle = math.radians(self.rotate) * (2 * draw[2] - 1)
        return Placement(size, margin, (down, right), angle, (1 + self.zoom) ** (2 * draw[3] - 1))

    def look(self, canvas: Tensor, generator: torch.Generator) -> Look:
        """Show `(1, 3, H, W)` at a random shift, angle and scale drawn from `generator`."""
        return self.draw((canvas.shape[2], canvas.shape[3]), generator).look(canvas)


@dataclass(frozen=True)
class Placement:
    """Where a view looks at a canvas.

    Attributes:
        canvas: height and width of the canvas, px.
        margin: how much it is continued on each side, px.
        shift: down and right, from where the view would hold the most of the upper left margin.
        angle: in radians; None if it is neither turned nor scaled.
        scale: pixels of the canvas to one of the view.
    """

    canvas: tuple[int, int]
    margin: tuple[int, int]
    shift: tuple[int, int]
    angle: float | None = None
    scale: float = 1.0

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the view, px."""
        return self.canvas[0] + self.margin[0], self.canvas[1] + self.margin[1]

    def look(self, canvas: Tensor) -> Look:
        """Show a canvas `(1, 3, H, W)`."""
        padded = _padded(canvas.detach(), self.margin).requires_grad_()
        window = self._shifted if self.angle is None else self._turned(padded)
        return Look(padded, window(padded), self.locate, self.margin, window)

    def locate(self, y: float, x: float) -> tuple[float, float]:
        """Return where a place of the canvas is in the view, both as shares 0..1."""
        (height, width), (tall, wide), margin = self.canvas, self.size, self.margin
        if self.angle is None:
            return (
                (y * height + margin[0] - self.shift[0]) / tall,
                (x * width + margin[1] - self.shift[1]) / wide,
            )
        cos, sin, offset = self._turn(self.angle)
        down, right = (y - 0.5) * height - offset[0], (x - 0.5) * width - offset[1]
        squared = self.scale * self.scale
        return (
            0.5 + (cos * down - sin * right) / squared / tall,
            0.5 + (sin * down + cos * right) / squared / wide,
        )

    def glimpse(self, box: Box, like: Tensor) -> Glimpse:
        """Return how a part of the view is shown, without the rest of it.

        Args:
            box: the part, in pixels of the view.
            like: of the canvas' type, on its device.
        """
        top, left, bottom, right = box
        if self.angle is None:
            down, along = self.shift
            return self._glimpse((top + down, left + along, bottom + down, right + along), None)
        cos, sin, offset = self._turn(self.angle)
        (tall, wide), sides = self.size, self._sides
        # From the view's to the padded canvas' pixels, both measured from their centres.
        rows = torch.arange(top, bottom, dtype=torch.float64) + 0.5 - tall / 2
        columns = torch.arange(left, right, dtype=torch.float64) + 0.5 - wide / 2
        begin = [(side - 1) / 2 + off for side, off in zip(sides, offset, strict=True)]
        y, (first, last) = _spread(cos * rows + begin[0], sin * columns, sides[0], like)
        x, (near, far) = _spread(begin[1] - sin * rows, cos * columns, sides[1], like)
        return self._glimpse((first, near, last, far), torch.stack([x, y], 2)[None])

    @property
    def _sides(self) -> tuple[int, int]:
        """Height and width of the padded canvas, px."""
        return self.canvas[0] + 2 * self.margin[0], self.canvas[1] + 2 * self.margin[1]

    def _turn(self, angle: float) -> tuple[float, float, tuple[float, float]]:
        """Return the scaled cosine and sine, and the shift from the centre."""
        cos, sin = self.scale * math.cos(angle), self.scale * math.sin(angle)
        return (
            cos,
            sin,
            (
                self.shift[0] - self.margin[0] / 2,
                self.shift[1] - self.margin[1] / 2,
            ),
        )

    def _shifted(self, padded: Tensor) -> Tensor:
        (down, right), (tall, wide) = self.shift, self.size
        return padded[:, :, down : down + tall, right : right + wide]

    def _turned(self, padded: Tensor) -> Window:
        """Return what samples the window around the shifted centre, turned and scaled."""
        return _sampled(padded, self.matrix(padded), self.size)

    def matrix(self, padded: Tensor) -> Tensor:
        """Return where a turned view is in its padded canvas, `(1, 2, 3)`: see `F.affine_grid`."""
        assert self.angle is not None
        cos, sin, offset = self._turn(self.angle)
        (height, width), (tall, wide) = self._sides, self.size
        matrix = torch.tensor(
            [
                [cos * wide / width, -sin * tall / width, 2 * offset[1] / width],
                [sin * wide / height, cos * tall / height, 2 * offset[0] / height],
            ],
            dtype=padded.dtype,
            device=padded.device,
        )
        return matrix[None]

    def _glimpse(self, box: Box, grid: Tensor | None) -> Glimpse:
        rows = _mirrored(box[0] - self.margin[0], box[2] - self.margin[0], self.canvas[0])
        columns = _mirrored(box[1] - self.margin[1], box[3] - self.margin[1], self.canvas[1])
        source = (min(rows), min(columns), max(rows) + 1, max(columns) + 1)
        begin = (box[0] - self.margin[0], box[1] - self.margin[1])
        return Glimpse(self.canvas, source, begin, (tuple(rows), tuple(columns)), grid)


@dataclass(frozen=True)
class Glimpse:
    """A part of a view, seen by itself.

    Attributes:
        canvas: height and width of the canvas, px.
        source: the part of the canvas that is needed for it.
        begin: row and column of the first pixel that is, those of the continued canvas included.
        indices: the rows and columns of the canvas from there on.
        grid: where between them each pixel of the view lies, `(1, h, w, 2)`; None for just them.
    """

    canvas: tuple[int, int]
    source: Box
    begin: tuple[int, int]
    indices: tuple[tuple[int, ...], tuple[int, ...]]
    grid: Tensor | None

    def show(self, part: Tensor) -> Tensor:
        """Show the `source` of a picture of the canvas' size, `(1, 3, h, w)`."""
        return self._sampled(self._continued(part))

    def add(self, slope: Tensor, part: Tensor, whole: Tensor) -> None:
        """Add the gradient of what `show` returns to the gradient of the canvas.

        Args:
            slope: of the part of the view, `(1, 3, h, w)`.
            part: what was shown.
            whole: `(1, 3, H, W)`, added to in place. What belongs to the mirror image is left out.
        """
        if self.grid is not None:
            shown = slope.new_empty(*part.shape[:2], *map(len, self.indices))
            slope, _ = torch.ops.aten.grid_sampler_2d_backward(
                slope, shown, self.grid, _BILINEAR, _BORDER, False, [True, False]
            )
        (top, left), (height, width) = self.begin, self.canvas
        bottom, right = top + slope.shape[2], left + slope.shape[3]
        rows, columns = (
            slice(max(top, 0), min(bottom, height)),
            slice(max(left, 0), min(right, width)),
        )
        inner = slope[
            :, :, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        whole[:, :, rows, columns] += inner

    def _continued(self, part: Tensor) -> Tensor:
        """Continue the canvas by its mirror image, where that is seen."""
        for axis, (indices, first) in enumerate(zip(self.indices, self.source, strict=False), 2):
            if indices != tuple(range(first, first + part.shape[axis])):
                taken = torch.tensor(indices, device=part.device) - first
                part = part.index_select(axis, taken)
        return part

    def _sampled(self, continued: Tensor) -> Tensor:
        if self.grid is None:
            return continued
        return F.grid_sample(
            continued, self.grid, mode="bilinear", padding_mode="border", align_corners=False
        )


def _mirrored(first: int, last: int, length: int) -> list[int]:
    """Return the pixels of a side from `first` to before `last`, folded back at its ends."""
    end = length - 1
    return [end - abs(end - abs(index)) for index in range(first, last)]


def _spread(
    down: Tensor, along: Tensor, length: int, like: Tensor
) -> tuple[Tensor, tuple[int, int]]:
    """Return places on a side of so many pixels, and which of those they are between.

    Args:
        down: what each row adds, float64.
        along: what each column adds.
        length: of the side; places beyond its ends are folded back.
        like: of the type of the result.

    Returns:
        `(h, w)`, as `grid_sample` has them of those pixels, -1 to 1; and the first of the pixels
        with the one after the last.
    """
    ends = [down.aminmax()[k] + along.aminmax()[k] for k in (0, 1)]
    inside = bool(ends[0] >= 0 and ends[1] <= length - 1)
    if not inside:
        places = _folded(down[:, None] + along, length)
        ends = list(places.aminmax())
    first, last = int(ends[0]), math.ceil(ends[1]) + 1
    scale, begin = 2 / (last - first), first - 0.5
    if inside:  # quicker: no more than a sum of the size of the view
        middle = along.mean()  # 32 bits say the more of numbers the smaller they are
        down, along = scale * (down + middle - begin) - 1, scale * (along - middle)
        spread = down.to(like)[:, None] + along.to(like)
    else:
        spread = places.sub_(begin).mul_(scale).sub_(1).to(like)
    return spread, (first, last)


def _folded(places: Tensor, length: int) -> Tensor:
    """Fold places on a side back at its ends, as `grid_sample` does: half a pixel beyond them."""
    folded = (places + 0.5).remainder(2 * length)
    return torch.where(folded > length, 2 * length - folded, folded).sub_(0.5).clamp_(0, length - 1)


def _sampled(like: Tensor, matrices: Tensor, size: tuple[int, int]) -> Window:
    """Return what samples views of `size`, turned and scaled, of padded canvases like that."""
    grid = F.affine_grid(matrices, [len(like), 3, *size], align_corners=False)

    def window(padded: Tensor) -> Tensor:
        return F.grid_sample(
            padded, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    return window


def _inner(whole: Tensor, margin: tuple[int, int]) -> Tensor:
    """Return the part of a padded canvas that is the canvas."""
    top, left = margin
    height, width = whole.shape[2] - 2 * top, whole.shape[3] - 2 * left
    return whole[:, :, top : top + height, left : left + width]


def _padded(picture: Tensor, margin: tuple[int, int]) -> Tensor:
    """Continue a picture by its mirror image, px up and down and to both sides."""
    return F.pad(picture, (margin[1], margin[1], margin[0], margin[0]), mode="reflect")
