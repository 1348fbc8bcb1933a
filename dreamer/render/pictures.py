"""The pictures beside the photo that a look names, as a dream needs them.

What is kept of them for the next frame of a film, or picture of a batch, is as large as that
picture, however large their files are. They are known by their content: where they lie may differ.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

from torch import Tensor

from dreamer import mask_text
from dreamer.core.guidance import Guide
from dreamer.core.resampling import resample
from dreamer.errors import InputError
from dreamer.media import files, images, reading
from dreamer.media.images import Photo
from dreamer.render import masks
from dreamer.target_files import Like

_VISIBLE = 0.5
_ONE_COLOUR = 2 / 255
_LONGEST_SHAPE = 16
_COLOURS = 512  # the longest side that colours are taken from, px


def load(like: Like) -> Photo:
    """Read a picture that a look names.

    Args:
        like: with its path; one of a recipe that was read from a file has only its name, which is
            then looked for in the folder one is in.

    Raises:
        InputError: it is not there, cannot be read, or is another one by now.
    """
    photo = images.load(reading.read(like.path or Path(like.name).name), name=like.name)
    if photo.sha256 != like.sha256:
        raise InputError(
            f"'{files.shown(like.name)}' has changed: it is not the picture that the dream was "
            "planned with.",
            "Put that picture back, or ask for the new one.",
        )
    return photo


@functools.lru_cache(maxsize=4)
def reference(like: Like, size: tuple[int, int]) -> Tensor:
    """Return the middle of a picture in the shape and size of another.

    Args:
        like: see `load`.
        size: width and height, px.

    Returns:
        `(1, 3, H, W)` in 0..1.
    """
    pixels = load(like).pixels[None]
    height, width = pixels.shape[2:]
    scale = min(width / size[0], height / size[1])
    wide, high = (max(1, round(scale * side)) for side in size)
    top, left = (height - high) // 2, (width - wide) // 2
    cut = pixels[:, :, top : top + high, left : left + wide]
    return resample(cut, (size[1], size[0])).clamp(0, 1)


@functools.lru_cache(maxsize=4)
def guide(like: Like, size: tuple[int, int], least: int) -> Guide:
    """Return a picture to be guided by.

    Args:
        like: see `load`.
        size: height and width of what is dreamed, px.
        least: the shortest side that the network takes, px.

    Raises:
        InputError: as `load`; or there is nothing in it to go towards.
    """
    photo = load(like)
    name, (width, height) = files.shown(like.name), photo.size
    seen = _visible(photo)
    advice = "Give a picture that shows something."
    if seen.numel() == 0:
        raise InputError(
            f"'{name}' is transparent all over: there is nothing to go towards.", advice
        )
    if is_plain(seen):
        raise InputError(f"'{name}' is of one colour: there is nothing to go towards.", advice)
    if max(photo.size) > _LONGEST_SHAPE * min(photo.size):
        raise InputError(
            f"'{name}' is {width}x{height} pixels: too narrow to go towards.",
            f"Give a picture that is at most {_LONGEST_SHAPE} times as long as wide.",
        )
    visible = None if photo.alpha is None else photo.alpha[None, None]
    return Guide(photo.pixels[None], visible, least).at(size)


@functools.lru_cache(maxsize=8)
def mask(
    like: Like, text: str, size: tuple[int, int], feather: float, invert: bool
) -> tuple[Tensor, tuple[str, ...]]:
    """Return a mask that is a picture, see `dreamer.render.masks.make`.

    Args:
        like: see `load`.
        text: of the mask.
        size: width and height, px.
        feather: see `make`.
        invert: see `make`.
    """
    parsed = mask_text.parse(text)
    return masks.make(parsed, size, file=load(like), feather=feather, invert=invert)


@functools.lru_cache(maxsize=4)
def colours(like: Like) -> Tensor:
    """Return a picture to take colours from, `(1, 3, h, w)` in 0..1.

    Of one with holes only what is seen of it, line by line: where colours are does not count.
    """
    photo = load(like)
    seen = photo.pixels
    if photo.alpha is not None and bool((photo.alpha <= _VISIBLE).any()):
        flat = _visible(photo)
        side = math.isqrt(flat.shape[1])
        seen = flat[:, : side * side].view(3, side, side) if side else seen
    stride = -(-max(seen.shape) // _COLOURS)
    return seen[None, :, ::stride, ::stride].clone()


def is_plain(pixels: Tensor) -> bool:
    """Whether pixels `(3, N)` in 0..1 are all of one colour."""
    return float((pixels.amax(1) - pixels.amin(1)).amax()) <= _ONE_COLOUR


def _visible(photo: Photo) -> Tensor:
    """Return what is seen of a picture, `(3, N)`."""
    if photo.alpha is None:
        return photo.pixels.flatten(1)
    return photo.pixels[:, photo.alpha > _VISIBLE]
