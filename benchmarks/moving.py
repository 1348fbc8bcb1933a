"""A clip of a disc that moves over a moving ground, and the flow that is known of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from dreamer.media import films

SIZE = (288, 384)
FPS = 24
RADIUS = 120.0
EDGE = 9
"""How near to the disc's edge the flow is not told, px."""


def frame(time: float) -> Tensor:
    """Return a frame, `(1, 3, H, W)` in 0..1."""
    ground, disc = (_sampled(photo, _places(motion(time))) for photo, motion in _LAYERS)
    return torch.lerp(ground, disc, ((RADIUS - _distance(time)) / 3).clamp(0, 1))


def flow(time: float) -> tuple[Tensor, Tensor]:
    """Return where the pixels of a frame were in the frame before, and where that is known.

    Returns:
        `(1, 2, H, W)` in px, and a mask `(1, 1, H, W)`.
    """
    inside = _distance(time) < RADIUS
    moved = torch.where(inside, _moved(_disc, time), _moved(_ground, time))
    height, width = SIZE
    before = _pixels() + moved[0]
    limits = before.new_tensor([width, height])[:, None, None]
    seen = ((before > EDGE) & (before < limits - EDGE)).all(0)[None, None]
    known = seen & ((_distance(time) - RADIUS).abs() > EDGE)
    # What the disc hid a frame ago was not there to be moved.
    known &= inside | (_distance(time - 1) > RADIUS + EDGE)
    return moved, known


def write(path: Path, frames: int) -> None:
    """Write the clip, nearly without loss."""
    height, width = SIZE
    with films.writing(path, (width, height), FPS, crf=6) as writer:
        for number in range(frames):
            levels = frame(number)[0].permute(1, 2, 0).mul(255).round().byte()
            writer.add(levels.numpy().tobytes())


def _ground(time: float) -> np.ndarray:
    """Return the matrix from a frame's pixels to those of the ground's photo."""
    scale = 1 - 0.002 * time
    return np.array([[scale, 0, 60 + 2 * time], [0, scale, 50 + 0.5 * time], [0, 0, 1]])


def _disc(time: float) -> np.ndarray:
    """Return the matrix from a frame's pixels to those of the disc's photo."""
    cos, sin = math.cos(math.radians(0.8 * time)), math.sin(math.radians(0.8 * time))
    x, y = _middle(time)
    turn = np.array([[cos, sin, 130], [-sin, cos, 130], [0, 0, 1]])
    return turn @ np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]])


def _middle(time: float) -> tuple[float, float]:
    return 120 + 3 * time, 160 - 0.6 * time


def _pixels() -> Tensor:
    height, width = SIZE
    across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return torch.stack(torch.meshgrid(across, down, indexing="xy"))


def _distance(time: float) -> Tensor:
    """Return how far each pixel is from the disc's middle, px: `(1, 1, H, W)`."""
    middle = torch.tensor(_middle(time))[:, None, None]
    return (_pixels() - middle).norm(dim=0)[None, None]


def _places(matrix: np.ndarray) -> Tensor:
    """Return where a matrix leads each pixel: `(1, 2, H, W)`."""
    turned = torch.from_numpy(matrix).float()
    return (torch.einsum("ij,jhw->ihw", turned[:2, :2], _pixels()) + turned[:2, 2, None, None])[
        None
    ]


def _moved(motion: Callable[[float], np.ndarray], time: float) -> Tensor:
    back = np.linalg.inv(motion(time - 1)) @ motion(time)
    return _places(back) - _pixels()


def _sampled(photo: Tensor, places: Tensor) -> Tensor:
    size = places.new_tensor([photo.shape[3], photo.shape[2]])[:, None, None]
    grid = (places / size * 2 - 1).permute(0, 2, 3, 1)
    seen = F.grid_sample(photo, grid, "bicubic", "reflection", align_corners=False)
    return seen.clamp(0, 1)


def _photo(name: str, size: tuple[int, int]) -> Tensor:
    pixels = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)


_LAYERS = ((_photo("coffee", (400, 600)), _ground), (_photo("astronaut", (260, 260)), _disc))
