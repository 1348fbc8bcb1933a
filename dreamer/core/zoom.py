"""The arithmetic of a zoom: keyframes that lie inside each other, and the frames between them.

Only one picture per doubling is dreamed. Keyframe k + 1 is a dream of the middle of keyframe k,
enlarged; a frame between the two shows k enlarged with k + 1 shrunken inside it, so that every
frame is a resampling of pictures that do not change, and cannot flicker.

Places in a picture are `(x, y)` from -1 to 1, as in `torch.nn.functional.affine_grid`: right and
down are positive, the edges of the picture are at -1 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core import resampling
from dreamer.core.canvas import soft_clip

# A keyframe is so much larger than a frame, each way: its border, where it fades into the one
# around it, has left the picture when the next keyframe takes over.
MARGIN = 1.2
# A keyframe appears inside the one before over this share of a doubling, so that what it changed
# comes up smoothly.
APPEARING = 0.6
CELLS = 6  # of the grid on which flat places are found, along the longer side
LUMA = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Camera:
    """How the view moves from one keyframe to the next.

    Attributes:
        factor: how many times a keyframe is enlarged to become the next, more than 1.
        angle: how far it turns meanwhile, radians, clockwise.
        centre: the place `(x, y)` that stays where it is.
    """

    factor: float = 2.0
    angle: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)


def view(camera: Camera, amount: float, size: tuple[int, int]) -> Tensor:
    """Return where a view looks: the affine map from its places to those of the keyframe.

    Args:
        camera: the motion.
        amount: how far between the keyframe (0) and the next (1); may be negative.
        size: height and width of a frame, px, for its aspect.

    Returns:
        `(2, 3)`.
    """
    height, width = size
    scale, turn = camera.factor**-amount, camera.angle * amount
    cos, sin, aspect = math.cos(turn) * scale, math.sin(turn) * scale, width / height
    linear = torch.tensor([[cos, sin / aspect], [-sin * aspect, cos]], dtype=torch.float64)
    centre = torch.tensor(camera.centre, dtype=torch.float64)
    return torch.cat([linear, (centre - linear @ centre)[:, None]], 1)


def see(keyframe: Tensor, places: Tensor, size: tuple[int, int], reach: float) -> Tensor:
    """Resample a keyframe as a view sees it, bicubically; beyond its edges it is mirrored.

    Args:
        keyframe: `(1, 3, H, W)` in 0..1.
        places: `(2, 3)`, see `view`.
        size: height and width of the result, px.
        reach: how many times the result's places reach beyond a frame, such as `MARGIN`.

    Returns:
        `(1, 3, height, width)` in 0..1.
    """
    return _sampled(keyframe, _grid(places, size, reach))


def _sampled(keyframe: Tensor, grid: Tensor) -> Tensor:
    """Resample a keyframe at places of a frame, `(1, h, w, 2)`."""
    # Mirroring is slow, and needed only where a view reaches the edge.
    outside = bool(grid.abs().amax() > MARGIN * 0.98)
    seen = F.grid_sample(
        keyframe,
        grid / MARGIN,
        mode="bicubic",
        padding_mode="reflection" if outside else "zeros",
        align_corners=False,
    )
    return seen.clamp_(0, 1)


Box = tuple[int, int, int, int]
"""Top, left, bottom and right of a part of a frame, px."""


def _grid(places: Tensor, size: tuple[int, int], reach: float, box: Box | None = None) -> Tensor:
    """Return the places that the pixels of a result, or of a box in it, see: `(1, h, w, 2)`."""
    height, width = size
    top, left, bottom, right = box or (0, 0, height, width)
    (xx, xy, x0), (yx, yy, y0) = places.tolist()
    across = ((torch.arange(left, right) * 2 + 1) / width - 1) * reach
    down = ((torch.arange(top, bottom) * 2 + 1) / height - 1)[:, None] * reach
    return torch.stack([xx * across + (xy * down + x0), yx * across + (yy * down + y0)], -1)[None]


def _box(places: Tensor, size: tuple[int, int]) -> Box:
    """Return the part of a frame in which a whole keyframe is seen, with its margin."""
    square = torch.cat([places, places.new_tensor([[0.0, 0.0, 1.0]])])
    corners = torch.tensor([[x, y, 1 / MARGIN] for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    seen = (torch.linalg.inv(square) @ (corners.to(square) * MARGIN).T)[:2]
    (left, right), (top, bottom) = (
        (float(seen[axis].amin()), float(seen[axis].amax())) for axis in (0, 1)
    )
    height, width = size
    return (
        max(0, math.floor((top + 1) / 2 * height)),
        max(0, math.floor((left + 1) / 2 * width)),
        min(height, math.ceil((bottom + 1) / 2 * height)),
        min(width, math.ceil((right + 1) / 2 * width)),
    )


def canvas_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of the keyframes for frames of a size, px."""
    height, width = size
    return round(height * MARGIN), round(width * MARGIN)


def begin(keyframe: Tensor, camera: Camera, size: tuple[int, int]) -> Tensor:
    """Return what the next keyframe is dreamed on: the middle of this one, enlarged.

    Args:
        keyframe: `(1, 3, H, W)` in 0..1.
        camera: the motion.
        size: height and width of a frame, px.
    """
    return see(keyframe, view(camera, 1, size), (keyframe.shape[2], keyframe.shape[3]), MARGIN)


def hold(dreamed: Tensor, start: Tensor, strength: float, factor: float) -> Tensor:
    """Keep a keyframe like the one around it, in the band of detail that both can show.

    Args:
        dreamed: the keyframe, `(1, 3, H, W)` in 0..1.
        start: what it was dreamed on.
        strength: 0 leaves it as it is; with 1 it differs in what was too fine for the one before.
        factor: between the two.
    """
    coarse = smooth(start, factor) - smooth(dreamed, factor)
    return (dreamed + strength * coarse).clamp_(0, 1)


def smooth(picture: Tensor, factor: float) -> Tensor:
    """Return what is left of `(1, 3, H, W)` when it is shrunken by a factor."""
    if factor <= 1:
        return picture
    height, width = picture.shape[2:]
    less = (max(1, round(height / factor)), max(1, round(width / factor)))
    shrunken = F.interpolate(picture, size=less, mode="bicubic", antialias=True)
    return F.interpolate(shrunken, size=(height, width), mode="bicubic")


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
    light = now.light + pull * (wanted.light - now.light)
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


def implant(
    picture: Tensor, seed: Tensor, camera: Camera, doublings: int, size: tuple[int, int]
) -> Tensor:
    """Set a keyframe, shrunken, into the middle of one that lies so many keyframes before it.

    Args:
        picture: `(1, 3, H, W)` in 0..1.
        seed: the keyframe that the zoom is to arrive at, of the same shape.
        camera: the motion.
        doublings: after how many keyframes it fills the view.
        size: height and width of a frame, px.
    """
    canvas = (picture.shape[2], picture.shape[3])
    places = view(camera, -doublings, size)
    seen = see(smooth(seed, camera.factor**doublings), places, canvas, MARGIN)
    # Round and soft, or a small rectangle would show from afar.
    distance = _grid(places, canvas, MARGIN).norm(dim=3)[:, None]
    return torch.lerp(picture, seen, _ease((MARGIN - distance) / (MARGIN - 0.4)))


def _inside(grid: Tensor) -> Tensor:
    """Return 1 within a frame of a keyframe, falling to 0 at the keyframe's own edge."""
    return _ease((MARGIN - grid.abs().amax(3)[:, None]) / (MARGIN - 1))


class Nest:
    """Two keyframes, and every frame between them.

    Args:
        outer: `(1, 3, H, W)` in 0..1, of `canvas_size`.
        inner: the next one; None shows the outer one alone.
        camera: the motion.
        size: height and width of a frame, px.
    """

    def __init__(
        self, outer: Tensor, inner: Tensor | None, camera: Camera, size: tuple[int, int]
    ) -> None:
        self.outer = outer
        self.inner = inner
        self.camera = camera
        self.size = size
        self._smooth = None if inner is None else smooth(inner, camera.factor)

    def frame(self, amount: float) -> Tensor:
        """Return the frame at a place between the two keyframes, 0 to 1: `(1, 3, h, w)`."""
        outer = see(self.outer, view(self.camera, amount, self.size), self.size, 1)
        if self.inner is None or self._smooth is None or amount <= 0:
            return outer
        places = view(self.camera, amount - 1, self.size)
        # Between full size and the size at which the smoothed one has all there is to show.
        shrunken = self.camera.factor ** (1 - amount)
        share = min(1.0, (shrunken - 1) / (self.camera.factor - 1))
        top, left, bottom, right = box = _box(places, self.size)
        grid = _grid(places, self.size, 1, box)
        inner = _sampled(torch.lerp(self.inner, self._smooth, share), grid)
        # No edge is seen, and nothing jumps.
        opacity = _inside(grid) * float(_ease(torch.tensor(amount / APPEARING)))
        part = outer[:, :, top:bottom, left:right]
        outer[:, :, top:bottom, left:right] = torch.lerp(part, inner, opacity)
        return outer


def _ease(share: Tensor) -> Tensor:
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
