"""From an opened picture to tensors: bit depth, palette, transparency, colour space, orientation.

Every picture ends as sRGB. What had to be given up on the way (a broken colour profile, the
other frames of an animation) comes back as notes for the user, never as silence.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image, ImageFile
from torch import Tensor

from dreamer.errors import InputError
from dreamer.media import profiles, reading
from dreamer.media.reading import Opened, guarded

Planes = tuple[Tensor, Tensor | None]
"""Pixels (3, H, W) and transparency (H, W) or None, float32 in 0..1."""

_BITS_LOST = "its 16-bit colours were read with 8 bits"
_BITS_PER_SAMPLE = 258  # TIFF tags
_PLANAR_CONFIGURATION = 284


@dataclass(frozen=True)
class Decoded:
    """A picture's pixels (3, H, W) and transparency (H, W) or None, float32 in 0..1, and notes."""

    pixels: Tensor
    alpha: Tensor | None
    notes: tuple[str, ...]


def decode(opened: Opened) -> Decoded:
    """Decode a picture to upright sRGB.

    Raises:
        InputError: its data is damaged or incomplete, or holds values that are no numbers.
    """
    notes: list[str] = []
    with guarded(opened.label):
        image = opened.image
        plan = _low_byte_plan(image)
        with _decoder_silenced(image):
            image.load()
        # Phones store a preview as a second picture (MPO); to them it is still one photo.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(f"only one of its {getattr(image, 'n_frames', 2)} frames is used")
        turned = reading.orientation(image)
        if turned is None:
            notes.append("its EXIF data is damaged: it may be turned the wrong way")
        pixels, alpha = (
            _one_deep_channel(image, notes)
            or _sixteen_bits(opened, plan, notes)
            or _eight_bits(image, notes)
        )
    if not bool(torch.isfinite(pixels).all()):
        raise InputError(
            f"{opened.label} holds values that are not numbers.",
            "Fill the missing values in first.",
        )
    pixels = _upright(pixels, turned or 1)
    alpha = None if alpha is None else _upright(alpha, turned or 1)
    return Decoded(pixels, alpha, tuple(notes))


def _eight_bits(image: Image.Image, notes: list[str]) -> Planes:
    """Decode what Pillow holds with 8 bits a channel: nearly everything."""
    alpha = None
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        image = image.convert("RGBA")
        alpha = _levels(image)[3] / 255
        # Back to grey, so that a profile for grey fits.
        image = image.getchannel("R") if grey else image.convert("RGB")
    elif image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    image, fits = profiles.to_srgb(image)
    if not fits:
        notes.append(profiles.NOTE)
    return _levels(image.convert("RGB")) / 255, alpha


def _one_deep_channel(image: Image.Image, notes: list[str]) -> Planes | None:
    """Decode one channel of more than 8 bits; None if the picture is something else."""
    if image.mode.startswith("I"):
        data = _bytes_to_tensor(image.convert("I").tobytes(), torch.int32)
    elif image.mode == "F":
        data = _bytes_to_tensor(image.tobytes(), torch.float32)
    else:
        return None
    grey = data.view(image.height, image.width)
    alpha = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = (grey != transparent).float()
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        grey = grey / 65535
    elif image.mode == "I" or float(grey.min()) < 0 or float(grey.max()) > 1:
        # Measurements, heights, depths: nothing in the file says which value is white.
        notes.append("its values have no fixed white: they were stretched to the full range")
        low, high = grey.min().double(), grey.max().double()
        grey = ((grey.double() - low) / (high - low).clamp_min(1e-12)).float()
    return grey.clamp(0, 1).expand(3, -1, -1).contiguous(), alpha


def _sixteen_bits(
    opened: Opened, plan: list[ImageFile._Tile] | None, notes: list[str]
) -> Planes | None:
    """Decode 16-bit colour, of which Pillow keeps the high bytes; None if 8 bits have to do.

    The low bytes come from decoding once more in the other byte order: then those are kept.

    Args:
        opened: the picture, its high bytes decoded.
        plan: how to decode it for its low bytes; None if that is not known.
        notes: gets the reason if bits are lost.
    """
    image = opened.image
    if plan is None or opened.stream is None:
        tags = getattr(image, "tag_v2", {})
        if max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
            if tags.get(_PLANAR_CONFIGURATION) == 2 and image.format == "TIFF":
                raise ValueError("16-bit colours in separate planes cannot be read")
            notes.append(_BITS_LOST)
        return None
    if profiles.moves_colours(image):
        # The colour engine as Pillow offers it works on 8 bits; right colours matter more.
        notes.append(f"{_BITS_LOST}, to apply its colour profile")
        return None
    opened.stream.seek(0)
    with Image.open(opened.stream, formats=(image.format or "",)) as low:
        assert isinstance(low, ImageFile.ImageFile)
        grey_alpha = plan[0].args == "RGBA"
        low.tile = plan
        with _decoder_silenced(low):
            low.load()
        low_bytes = _levels(low).to(torch.int32)
    if grey_alpha:  # both bytes of both channels, in four channels
        values = (low_bytes[0::2] * 256 + low_bytes[1::2])[[0, 0, 0, 1]]
    else:
        values = _levels(image).to(torch.int32) * 256 + low_bytes
    alpha = values[3] / 65535 if len(values) == 4 else None
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple):
        alpha = (values != torch.tensor(transparent)[:, None, None]).any(0).float()
    return values[:3] / 65535, alpha


def _low_byte_plan(image: Image.Image) -> list[ImageFile._Tile] | None:
    """Return how Pillow decodes a 16-bit colour picture, with the byte order swapped, or None."""
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    plan = []
    for tile in getattr(image, "tile", []):
        layout, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if layout == "LA;16B":  # there is no such layout in the other order
            layout = "RGBA"
        elif layout and layout[:-1] in ("RGB;16", "RGBA;16", "RGBX;16"):
            layout = layout[:-1] + swapped[layout[-1]]
        else:
            return None
        plan.append(tile._replace(args=(layout, *rest) if rest else layout))
    return plan or None


@contextlib.contextmanager
def _decoder_silenced(image: Image.Image) -> Iterator[None]:
    """Keep what some decoders write on stderr past Python from there: our error names the file."""
    if image.format not in ("TIFF", "HEIF"):
        yield
        return
    try:
        stderr = os.dup(2)
    except OSError:  # closed, as in some services: nothing to keep clean
        yield
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(null)
        os.close(stderr)


def _upright(plane: Tensor, turned: int) -> Tensor:
    """Undo the EXIF orientation 1..8 of a plane (..., H, W)."""
    if turned >= 5:
        plane = plane.transpose(-1, -2)
    flips = {2: [-1], 3: [-2, -1], 4: [-2], 6: [-1], 7: [-2, -1], 8: [-2]}.get(turned, [])
    return plane.flip(flips).contiguous() if flips else plane.contiguous()


def _levels(image: Image.Image) -> Tensor:
    """Return a picture of RGB, RGBA or L as uint8 (C, H, W)."""
    data = _bytes_to_tensor(image.tobytes(), torch.uint8)
    return data.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()


def _bytes_to_tensor(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype)  # a copy: torch wants it writable
