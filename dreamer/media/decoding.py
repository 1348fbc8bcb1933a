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
_BITS_TRADED = "its colours were read with 8 bits, to apply its colour profile"
_BITS_PER_SAMPLE = 258  # TIFF tags
_PHOTOMETRIC = 262
_PLANAR_CONFIGURATION = 284
_SAMPLE_FORMAT = 339


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
        # Phones store a preview as a second picture (MPO); to them it is still one photo. Asked
        # before the pixels are read: counting the frames of a TIFF forgets how they are turned.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(f"only one of its {getattr(image, 'n_frames', 2)} frames is used")
        plan = _low_byte_plan(image)
        grey_bits = _grey_bits(image)
        announced = image.size
        with _decoder_silenced(image):
            image.load()
        if image.size != announced:  # then neither the size limit nor the plans made have held
            raise ValueError(f"a header of {announced} before pixels of {image.size}")
        turned = reading.orientation(image)
        if turned is None:
            notes.append("its EXIF data is damaged: it may be turned the wrong way")
        pixels, alpha = (
            _one_deep_channel(opened, notes)
            or _sixteen_bits(opened, plan, notes)
            or _eight_bits(image, grey_bits, notes)
        )
        pixels = _upright(pixels, turned or 1)
        alpha = None if alpha is None else _upright(alpha, turned or 1)
    return Decoded(pixels, alpha, tuple(notes))


def _eight_bits(image: Image.Image, grey_bits: int, notes: list[str]) -> Planes:
    """Decode what Pillow holds with 8 bits a channel: nearly everything.

    Args:
        image: the picture, its pixels decoded.
        grey_bits: as `_grey_bits` says.
        notes: gets what had to be given up.
    """
    alpha = None
    if image.mode == "La":  # Pillow knows one way out of it
        image = image.convert("LA")
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and transparent < 1 << grey_bits < 256:
        # Pillow stretches the levels of the pixels to 8 bits, but not the transparent one.
        image = image.copy()
        image.info["transparency"] = transparent * 255 // ((1 << grey_bits) - 1)
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA")
        image = image.convert("RGBA")
        alpha = _levels(image)[3] / 255
        # Back to grey, so that a profile for grey fits.
        image = image.getchannel("R") if grey else image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    image, fits = profiles.to_srgb(image)
    if not fits:
        notes.append(profiles.NOTE)
    return _levels(image.convert("RGB")) / 255, alpha


def _one_deep_channel(opened: Opened, notes: list[str]) -> Planes | None:
    """Decode one channel of more than 8 bits; None if the picture is something else."""
    image = opened.image
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I"):
        data = _bytes_to_tensor(image.convert("I").tobytes(), torch.int32)
        if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (2,))[0] == 1:  # without a sign
            data = data.long() & 0xFFFFFFFF
    elif image.mode == "F":
        data = _bytes_to_tensor(image.tobytes(), torch.float32)
    else:
        return None
    grey = data.view(image.height, image.width)
    if not bool(torch.isfinite(grey).all()):
        raise InputError(
            f"{opened.label} holds values that are not numbers.",
            "Fill the missing values in first.",
        )
    alpha = None
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = (grey != transparent).float()
    if image.mode.startswith("I;16"):
        grey = grey / (4095 if tags.get(_BITS_PER_SAMPLE) == (12,) else 65535)
        if tags.get(_PHOTOMETRIC) == 0:  # 0 is white
            grey = 1 - grey
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        grey = grey / 65535
    elif image.mode == "I" or float(grey.min()) < 0 or float(grey.max()) > 1:
        # Measurements, heights, depths: nothing in the file says which value is white.
        notes.append("its values have no fixed white: they were stretched to the full range")
        low, high = grey.min().double(), grey.max().double()
        grey = ((grey.double() - low) / (high - low).clamp_min(1e-12)).float()
    return _colours_of_grey(image, grey.clamp(0, 1), notes), alpha


def _colours_of_grey(image: Image.Image, grey: Tensor, notes: list[str]) -> Tensor:
    """Return grey values (H, W) in 0..1 as sRGB (3, H, W), by the picture's profile if any.

    The profile is asked about the 256 levels that the colour engine knows as Pillow offers it;
    between them lies a line, so that dark parts, which it may spread widely, show no steps.
    """
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    ramp.info["icc_profile"] = image.info.get("icc_profile")
    converted, fits = profiles.to_srgb(ramp)
    if not fits:
        notes.append(profiles.NOTE)
    if converted is ramp:
        return grey.expand(3, -1, -1).contiguous()
    notes.append(_BITS_TRADED)
    table = _levels(converted)[:, 0] / 255
    below = (grey * 255).long().clamp_max(254)
    return torch.lerp(table[:, below], table[:, below + 1], grey * 255 - below)


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
        deep = max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8
        if deep and tags.get(_PLANAR_CONFIGURATION) == 2:
            raise InputError(
                f"{opened.label} keeps its 16-bit colours in separate planes: that cannot be read.",
                "Save it in another program, with its channels interleaved or with 8 bits.",
            )
        if deep or plan is not None:
            notes.append(_BITS_LOST)
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
    colours = image.getchannel("R") if grey_alpha else image.convert("RGB")
    converted, fits = profiles.to_srgb(colours)
    if not fits:
        notes.append(profiles.NOTE)
    if converted is not colours:
        # The colour engine as Pillow offers it works on 8 bits; right colours matter more.
        notes.append(_BITS_TRADED)
        return _levels(converted) / 255, alpha
    return values[:3] / 65535, alpha


def _low_byte_plan(image: Image.Image) -> list[ImageFile._Tile] | None:
    """Return how Pillow decodes a 16-bit colour picture, with the byte order swapped, or None."""
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    plan = []
    for tile in getattr(image, "tile", []):
        layout, *rest = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if layout == "LA;16B":  # there is no such layout in the other order
            layout = "RGBA"
        elif isinstance(layout, str) and layout[:-1] in ("RGB;16", "RGBA;16", "RGBX;16"):
            layout = layout[:-1] + swapped[layout[-1]]
        else:
            return None
        plan.append(tile._replace(args=(layout, *rest) if rest else layout))
    return plan or None


def _grey_bits(image: Image.Image) -> int:
    """Return the bits of a pixel of a grey PNG of which the pixels are not decoded yet; or 8."""
    tiles = getattr(image, "tile", [])
    return {"L;2": 2, "L;4": 4}.get(tiles[0].args, 8) if tiles and image.format == "PNG" else 8


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
