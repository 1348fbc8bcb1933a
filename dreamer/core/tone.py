"""Light, contrast and colour of a picture as a whole, and how they are kept over a long film."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import resampling
from dreamer.core.canvas import soft_clip

CELLS = 6  # of the grid on which flat places are found, along the longer side
LUMA = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Tone:
    """The light and colour of a picture as a whole.

    Attributes:
        light: the mean luminance, 0..1.
        contrast: the standard deviation of the luminance.
        detail: its standard deviation within the cells of a coarse grid, on average.
        colour: the root mean square of the colours' distance from grey.
    """

    light: float
    contrast: float
    detail: float
    colour: float


def tone(picture: Tensor) -> Tone:
    """Measure a picture, `(1, 3, H, W)`."""
    luma, chroma = _split(picture)
    return Tone(
        light=float(luma.mean()),
        contrast=float(luma.std()),
        detail=float(_spread(luma).mean()),
        colour=float(chroma.square().mean().sqrt()),
    )


def steady(picture: Tensor, wanted: Tone, pull: float) -> Tensor:
    """Bring a picture nearer to a tone, so that a long zoom neither fades nor burns nor drifts.

    Args:
        picture: `(1, 3, H, W)` in 0..1.
        wanted: the tone.
        pull: 0 leaves it as it is, 1 gives it that tone.
    """
    luma, chroma = _split(picture)
    now = tone(picture)
    # What is nearly flat has no contrast to be stretched but its noise.
    contrast = min(2.0, wanted.contrast / max(now.contrast, 1e-3)) ** pull
    colour = min(2.0, wanted.colour / max(now.colour, 1e-3)) ** pull
    # The eye sees light as a whole wander sooner than the rest, so it is pulled twice.
    light = wanted.light + (1 - pull) ** 2 * (now.light - wanted.light)
    # A cast over the whole is no colour of the picture's: it would grow from keyframe to keyframe.
    cast = chroma.mean((2, 3), keepdim=True)
    luma = (luma - now.light) * contrast + light
    # Where a zoom comes upon something flat, it would stay flat, however rich the rest is.
    spread = resampling.enlarge(_spread(luma), luma)
    flat = (wanted.detail / spread.clamp_min(1e-3)).clamp(1.0, 2.0) ** pull
    around = resampling.lowpass(luma, CELLS)
    moved = around + (luma - around) * flat + (chroma - pull * cast) * colour * flat
    return soft_clip(picture, moved - picture)


def _spread(luma: Tensor) -> Tensor:
    """Return the standard deviation within each cell of a coarse grid, `(1, 1, h, w)`."""
    height, width = luma.shape[2:]
    side = max(height, width) / CELLS
    cells = (max(1, round(height / side)), max(1, round(width / side)))
    mean = F.adaptive_avg_pool2d(luma, cells)
    return (F.adaptive_avg_pool2d(luma * luma, cells) - mean * mean).clamp_min(0).sqrt()


def _split(picture: Tensor) -> tuple[Tensor, Tensor]:
    weights = picture.new_tensor(LUMA)[:, None, None]
    luma = (picture * weights).sum(1, keepdim=True)
    return luma, picture - luma
