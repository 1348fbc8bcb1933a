"""Masks: how much each pixel of a picture may change, `(1, 1, H, W)` float32 in 0..1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core.resampling import resample
from dreamer.core.tone import LUMA

FINEST = 16
"""Steps of distance that a feathered edge has: wider ones are measured on a coarser grid."""
SIGHT = 512
"""The longer side, px, at which light and edges are looked at: alike for pictures of any size."""
DARK, LIGHT = (0.12, 0.4), (0.6, 0.88)
"""Luminances between which what is dark, or light, goes over into the rest."""
CONTOUR = (0.12, 0.35)
"""Contrasts between which an edge goes over from one that may change to one that is kept."""
SPECK = 0.05
"""Parts of a mask that are smaller, as a share of its largest, are dropped."""
_FLAT = 1e-3  # of the maximum
_TINY = 1e-12
_SOFT = 0.25  # of the way between the means of both classes, to either side of the threshold
_TRACE = 0.05  # what belongs to a part of a mask at least
_GRID = 128  # cells of the longer side that parts are told apart on
_BINS = 256
# Shares of the longer side: detail that is neither shadow nor light; how far contours reach; and
# over how much of a picture heat is gathered.
_GRAIN, _CONTOUR_WIDTH, _COMPACT = 0.004, 0.005, 0.025


def ellipse(size: tuple[int, int], spec: tuple[float, float, float, float]) -> Tensor:
    """Draw an ellipse, its edge about one pixel soft.

    Args:
        size: height and width.
        spec: centre x, centre y, radius x, radius y, as shares of width (x) and height (y).
    """
    height, width = size
    x, y, rx, ry = (value * side for value, side in zip(spec, (width, height) * 2, strict=True))
    dy = (torch.arange(height) + 0.5 - y)[:, None]
    dx = (torch.arange(width) + 0.5 - x)[None]
    # The distance to the edge, to first order: the level over the length of its gradient.
    level = torch.hypot(dx / rx, dy / ry)
    slope = torch.hypot(dx / rx**2, dy / ry**2)
    distance = level * (level - 1) / slope.clamp_min(1e-9)
    middle = torch.tensor(-float(min(rx, ry)))
    return (0.5 - torch.where(level < 1e-6, middle, distance)).clamp(0, 1)[None, None]


def feather(mask: Tensor, radius: float) -> Tensor:
    """Soften the edges of a mask inwards: it grows nowhere, and stays 0 where it is.

    The border of the picture is no edge. Where the mask is too thin for that, the edge is as wide
    as the mask allows: its middle keeps its value.

    Args:
        mask: `(1, 1, H, W)`.
        radius: how wide the soft edge is, px.
    """
    if radius < 1:
        return mask
    coarse = max(1, math.ceil(radius / FINEST))
    inside = F.max_pool2d((mask > 0).float(), coarse, ceil_mode=True) if coarse > 1 else mask
    depth = _depth(inside > 0, reach := math.ceil(radius / coarse))
    # How deep the mask is around here.
    deepest = F.max_pool2d(depth, (2 * reach + 1, 1), 1, (reach, 0))
    deepest = F.max_pool2d(deepest, (1, 2 * reach + 1), 1, (0, reach))
    edge = _smooth(depth / deepest.clamp(0.5, radius / coarse))
    # Lines of a step or two have no room for an edge.
    edge = torch.lerp(torch.ones_like(edge), edge, (deepest - 0.5).clamp(0, 1))
    if coarse > 1:
        edge = F.interpolate(edge, scale_factor=coarse, mode="bilinear", align_corners=False)
    return mask * edge[:, :, : mask.shape[2], : mask.shape[3]]


def invert(mask: Tensor) -> Tensor:
    """Return where a mask is not."""
    return 1 - mask


def keep_dark(pixels: Tensor) -> Tensor:
    """Hold the shadows: 0 where `(1, 3, H, W)` is dark, 1 where it is not."""
    return bring(_smooth((_luma(_seen(pixels)) - DARK[0]) / (DARK[1] - DARK[0])), _size(pixels))


def keep_light(pixels: Tensor) -> Tensor:
    """Hold the lights: 0 where `(1, 3, H, W)` is light, 1 where it is not."""
    return bring(_smooth((LIGHT[1] - _luma(_seen(pixels))) / (LIGHT[1] - LIGHT[0])), _size(pixels))


def keep_edges(pixels: Tensor) -> Tensor:
    """Hold the strong contours: 0 on edges between colours of `(1, 3, H, W)`, 1 far from them."""
    seen = _seen(pixels)
    sigma = _CONTOUR_WIDTH * max(_size(seen))
    padded = F.pad(_blur(seen, sigma), (1, 1, 1, 1), mode="replicate")
    across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    # The slope of a step that was blurred is its height over sqrt(2 pi) sigma.
    contrast = torch.hypot(across, down).amax(1, keepdim=True) * math.sqrt(2 * math.pi) * sigma
    held = _blur(_smooth((contrast - CONTOUR[0]) / (CONTOUR[1] - CONTOUR[0])), sigma / 2)
    return bring(1 - held, _size(pixels))


def from_heat(heat: Tensor) -> Tensor:
    """Return where a map is high, softly; 0 everywhere if it is flat.

    The threshold divides its values into the two classes that differ most (Otsu, "A Threshold
    Selection Method from Gray-Level Histograms", 1979). Specks are dropped, and pinholes closed.

    Args:
        heat: `(1, 1, h, w)`, not negative.
    """
    low, high = float(heat.amin()), float(heat.amax())
    if not high - low > _FLAT * high:
        return torch.zeros_like(heat)
    values = _blur(heat, _COMPACT * max(_size(heat)))
    values = (values - values.amin()) / (values.amax() - values.amin()).clamp_min(_TINY)
    below, above, threshold = _otsu(values)
    soft = _SOFT * (above - below)
    mask = _smooth((values - threshold) / (2 * soft) + 0.5)
    mask = mask * _without_specks(mask)
    return 1 - (1 - mask) * _without_specks(1 - mask)


def box(mask: Tensor) -> tuple[int, int, int, int] | None:
    """Return `(top, left, bottom, right)` of what is above 0, ends excluded; None if nothing is."""
    some = mask[0, 0] > 0
    rows, columns = some.any(1).nonzero().flatten(), some.any(0).nonzero().flatten()
    if not len(rows):
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def overlap(masks: Sequence[Tensor]) -> float:
    """Return the share of the picture where more than one mask is above one half."""
    return float((torch.cat([*masks]).gt(0.5).sum(0) > 1).float().mean())


def shares(masks: Sequence[Tensor]) -> list[Tensor]:
    """Divide masks so that they sum to 1 at most: where they sum to more, by the sum."""
    total = torch.cat([*masks]).sum(0, keepdim=True).clamp_min(1)
    return [mask / total for mask in masks]


def rest(masks: Sequence[Tensor]) -> Tensor:
    """Return what masks leave: 1 less their sum, 0 at least."""
    return 1 - torch.cat([*masks]).sum(0, keepdim=True).clamp(0, 1)


def bring(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample a mask to a height and width: means when it shrinks, linear when it grows.

    Unlike with wider filters nothing rings: far from where it was above 0 it is exactly 0.
    """
    smaller = min(size[0], mask.shape[2]), min(size[1], mask.shape[3])
    if smaller != mask.shape[2:]:
        mask = F.interpolate(mask, size=smaller, mode="area")
    if size != smaller:
        mask = F.interpolate(mask, size=size, mode="bilinear", align_corners=False)
    return mask.clamp(0, 1)


def _size(pixels: Tensor) -> tuple[int, int]:
    return pixels.shape[2], pixels.shape[3]


def _smooth(share: Tensor) -> Tensor:
    """Rise from 0 to 1 with flat ends: `3 x^2 - 2 x^3`."""
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)


def _luma(pixels: Tensor) -> Tensor:
    luma = (pixels * pixels.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    return _blur(luma, _GRAIN * max(_size(pixels)))


def _seen(pixels: Tensor) -> Tensor:
    """Shrink a picture to the size at which it is looked at; smaller ones stay."""
    height, width = _size(pixels)
    scale = min(1.0, SIGHT / max(height, width))
    return resample(pixels, (max(1, round(height * scale)), max(1, round(width * scale))))


def _blur(picture: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian, the border continued: `(N, C, H, W)` both."""
    reach = math.ceil(3 * sigma)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (weights / weights.sum()).to(picture)
    planes = F.pad(picture.transpose(0, 1), (reach,) * 4, mode="replicate")
    planes = F.conv2d(F.conv2d(planes, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))
    return planes.transpose(0, 1)


def _depth(inside: Tensor, reach: int) -> Tensor:
    """Return how far inside pixels are, `(1, 1, H, W)` in px, exactly up to `reach`, 0 outside.

    Along the rows first, then over the parabolas of the columns (Felzenszwalb and Huttenlocher,
    "Distance Transforms of Sampled Functions", 2012), of which only the near ones count.
    """
    far = 2.0 * reach + 2
    places = torch.arange(inside.shape[3], dtype=torch.float32, device=inside.device)
    before = torch.where(inside, -far, places).cummax(3).values
    after = torch.where(inside, places[-1] + far, places).flip(3).cummin(3).values.flip(3)
    along = torch.minimum(places - before, after - places).clamp_max(far).square()
    nearest = along.clone()
    for step in range(1, min(reach + 1, inside.shape[2])):
        above, below = nearest[:, :, step:], nearest[:, :, :-step]
        torch.minimum(above, along[:, :, :-step] + step**2, out=above)
        torch.minimum(below, along[:, :, step:] + step**2, out=below)
    return (nearest.sqrt() - 0.5).clamp_min(0)


def _otsu(values: Tensor) -> tuple[float, float, float]:
    """Return the means of the two classes of values in 0..1, and the threshold between them."""
    counts = torch.histc(values.float(), _BINS, 0, 1).double()
    centres = (torch.arange(_BINS).double() + 0.5) / _BINS
    weight, moment = counts.cumsum(0)[:-1], (counts * centres).cumsum(0)[:-1]
    other, rest_moment = counts.sum() - weight, (counts * centres).sum() - moment
    below, above = moment / weight.clamp_min(1), rest_moment / other.clamp_min(1)
    best = int((weight * other * (above - below).square()).argmax())
    return float(below[best]), float(above[best]), (best + 1) / _BINS


def _without_specks(mask: Tensor) -> Tensor:
    """Return 1 on the parts of a mask that are large enough and around them, else 0."""
    height, width = _size(mask)
    scale = min(1.0, _GRID / max(height, width))
    grid = bring(mask, (max(1, round(height * scale)), max(1, round(width * scale))))
    inside = (grid > _TRACE).float()
    # Each part gets the largest number in it, which spreads from cell to cell.
    parts = inside * torch.arange(1.0, inside.numel() + 1, device=mask.device).view_as(inside)
    while not torch.equal(grown := F.max_pool2d(parts, 3, 1, 1) * inside, parts):
        parts = grown
    areas = torch.bincount(parts.long().flatten())
    areas[0] = 0
    kept = (areas >= SPECK * areas.amax())[parts.long()] * inside
    return bring(F.max_pool2d(kept, 3, 1, 1), (height, width))
