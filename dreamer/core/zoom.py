"""The arithmetic of a zoom: keyframes that lie inside each other, and the frames between them.

Only one picture per doubling is dreamed. Keyframe k + 1 is a dream of the middle of keyframe k,
enlarged; a frame between the two shows k enlarged with k + 1 shrunken inside it, so that every
frame is a resampling of pictures that do not change, and cannot flicker.

Places in a picture are `(x, y)` from -1 to 1, as in `torch.nn.functional.affine_grid`: right and
down are positive, the edges of the picture are at -1 and 1. Views are maps `(2, 3)` from the places
of one to those of another.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.core.camera import Similarity

# A keyframe is so much larger than a frame, each way: its border, where it fades into the one
# around it, has left the picture when the next keyframe takes over.
MARGIN = 1.2


def view(seen: Similarity, size: tuple[int, int]) -> Tensor:
    """Return a similarity as the affine map between places as above.

    Args:
        seen: the map from a view's places to those of a keyframe.
        size: height and width of a frame, px, for its aspect.

    Returns:
        `(2, 3)`.
    """
    aspect = size[1] / size[0]
    along, across = seen.factor.real, seen.factor.imag
    return torch.tensor(
        [
            [along, -across / aspect, seen.shift.real / aspect],
            [across * aspect, along, seen.shift.imag],
        ],
        dtype=torch.float64,
    )


def after(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the map that is `inner` and then `outer`, both `(2, 3)`."""
    return torch.cat([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], 1)


def inverse(places: Tensor) -> Tensor:
    """Return the map back, `(2, 3)`."""
    back = torch.linalg.inv(places[:, :2])
    return torch.cat([back, -back @ places[:, 2:]], 1)


def scale(places: Tensor) -> float:
    """Return how large a view is in its keyframe: less than 1 is enlarged."""
    return math.sqrt(abs(float(torch.linalg.det(places[:, :2]))))


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
    return sampled(keyframe, grid(places, size, reach))


def sampled(keyframe: Tensor, grid: Tensor) -> Tensor:
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


def grid(places: Tensor, size: tuple[int, int], reach: float) -> Tensor:
    """Return the places that the pixels of a result see: `(1, h, w, 2)`."""
    height, width = size
    (xx, xy, x0), (yx, yy, y0) = places.tolist()
    across = ((torch.arange(width) * 2 + 1) / width - 1) * reach
    down = ((torch.arange(height) * 2 + 1) / height - 1)[:, None] * reach
    return torch.stack([xx * across + (xy * down + x0), yx * across + (yy * down + y0)], -1)[None]


def canvas_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of the keyframes for frames of a size, px."""
    height, width = size
    return round(height * MARGIN), round(width * MARGIN)


def begin(keyframe: Tensor, step: Tensor) -> Tensor:
    """Return what the next keyframe is dreamed on: the middle of this one, enlarged.

    Args:
        keyframe: `(1, 3, H, W)` in 0..1.
        step: the map from the next one's places to those of this one, `(2, 3)`.
    """
    return see(keyframe, step, (keyframe.shape[2], keyframe.shape[3]), MARGIN)


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


def implant(picture: Tensor, seed: Tensor, ahead: Tensor) -> Tensor:
    """Set a keyframe, shrunken, into one that lies some keyframes before it.

    Args:
        picture: `(1, 3, H, W)` in 0..1.
        seed: the keyframe that the zoom is to arrive at, of the same shape.
        ahead: where that lies: the map from its places to those of `picture`, `(2, 3)`.
    """
    canvas = (picture.shape[2], picture.shape[3])
    places = inverse(ahead)
    seen = see(smooth(seed, 1 / scale(ahead)), places, canvas, MARGIN)
    # Round and soft, or a small rectangle would show from afar.
    distance = grid(places, canvas, MARGIN).norm(dim=3)[:, None]
    return torch.lerp(picture, seen, ease((MARGIN - distance) / (MARGIN - 0.4)))


def ease(share: Tensor) -> Tensor:
    """Let what goes from 0 to 1 start and end slowly."""
    share = share.clamp(0, 1)
    return share * share * (3 - 2 * share)
