"""Random views of the canvas, so that a dream is robust and not noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

Locate = Callable[[float, float], tuple[float, float] | Tensor]
"""From a place on the canvas to the same place in a view, or in several, `(V, 2)`: `(y, x)`."""
Window = Callable[[Tensor], Tensor]


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
        top, left = self.margin
        height, width = whole.shape[2] - 2 * top, whole.shape[3] - 2 * left
        return whole[:, :, top : top + height, left : left + width]


@dataclass(frozen=True)
class View:
    """How far a random view may be from the canvas itself.

    The canvas is continued by its mirror image instead of wrapping around, so no feature is split
    between two opposite borders, and there is neither black nor grey to dream about.

    Attributes:
        jitter: the range of the shift, px.
        rotate: the largest rotation, degrees either way.
        zoom: the largest change of scale either way, as a share: 0.1 is up to 10%.
    """

    jitter: int
    rotate: float = 0.0
    zoom: float = 0.0

    def look(self, canvas: Tensor, generator: torch.Generator) -> Look:
        """Show `(1, 3, H, W)` at a random shift, angle and scale drawn from `generator`."""
        height, width = canvas.shape[2:]
        # A reflection cannot be wider than the picture itself.
        margin = (min(self.jitter, height - 1), min(self.jitter, width - 1))
        padded = _padded(canvas.detach(), margin).requires_grad_()
        draw = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        shift = [int(u * (limit + 1)) for u, limit in zip(draw[:2], margin, strict=True)]
        size = (height + margin[0], width + margin[1])
        if self.rotate == 0 and self.zoom == 0:
            return self._shifted(padded, margin, shift, size)
        angle = math.radians(self.rotate) * (2 * draw[2] - 1)
        scale = (1 + self.zoom) ** (2 * draw[3] - 1)
        return _turned(padded, margin, shift, size, angle, scale)

    @staticmethod
    def _shifted(
        padded: Tensor, margin: tuple[int, int], shift: list[int], size: tuple[int, int]
    ) -> Look:
        def window(padded: Tensor) -> Tensor:
            return padded[:, :, shift[0] : shift[0] + size[0], shift[1] : shift[1] + size[1]]

        def locate(y: float, x: float) -> tuple[float, float]:
            height, width = size[0] - margin[0], size[1] - margin[1]
            return (
                (y * height + margin[0] - shift[0]) / size[0],
                (x * width + margin[1] - shift[1]) / size[1],
            )

        return Look(padded, window(padded), locate, margin, window)


def _padded(picture: Tensor, margin: tuple[int, int]) -> Tensor:
    """Continue a picture by its mirror image, px up and down and to both sides."""
    return F.pad(picture, (margin[1], margin[1], margin[0], margin[0]), mode="reflect")


def _turned(
    padded: Tensor,
    margin: tuple[int, int],
    shift: list[int],
    size: tuple[int, int],
    angle: float,
    scale: float,
) -> Look:
    """Sample a window of `size` around the shifted centre, turned by `angle` and scaled."""
    height, width = padded.shape[2:]
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    # From the view's to the padded canvas' pixels, both measured from their centres.
    offset = (shift[0] - margin[0] / 2, shift[1] - margin[1] / 2)
    matrix = torch.tensor(
        [
            [cos * size[1] / width, -sin * size[0] / width, 2 * offset[1] / width],
            [sin * size[1] / height, cos * size[0] / height, 2 * offset[0] / height],
        ],
        dtype=padded.dtype,
        device=padded.device,
    )
    grid = F.affine_grid(matrix[None], [1, 3, *size], align_corners=False)

    def window(padded: Tensor) -> Tensor:
        return F.grid_sample(
            padded, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    def locate(y: float, x: float) -> tuple[float, float]:
        down = (y - 0.5) * (height - 2 * margin[0]) - offset[0]
        right = (x - 0.5) * (width - 2 * margin[1]) - offset[1]
        squared = scale * scale
        return (
            0.5 + (cos * down - sin * right) / squared / size[0],
            0.5 + (sin * down + cos * right) / squared / size[1],
        )

    return Look(padded, window(padded), locate, margin, window)
