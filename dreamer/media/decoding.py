"""From an opened picture to tensors: bit depth, palette, transparency, colour space, orientation.

Every picture ends as sRGB, and goes there in strips of rows: beside what Pillow decoded and the
tensors there is nothing else of its size. What had to be given up on the way (a broken colour
profile, the other frames of an animation) comes back as notes for the user, never as silence.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import torch
from PIL import Image, ImageFile
from torch import Tensor

from dreamer.errors import InputError
from dreamer.media import profiles, reading
from dreamer.media.reading import Opened, guarded

Planes = tuple[Tensor, Tensor | None]
"""Pixels (3, H, W) and transparency (H, W) or None, float32 in 0..1."""

STRIP = 1 << 18
"""About how many pixels are worked on at a time."""

_BITS_LOST = "its 16-bit colours were read with 8 bits"
_BITS_TRADED = "its colours were read with 8 bits, to apply its colour profile"
_BITS_PER_SAMPLE = 258  # TIFF tags
_PHOTOMETRIC = 262
_PLANAR_CONFIGURATION = 284
_SAMPLE_FORMAT = 339
# The axes that are turned round to undo an EXIF orientation, after rows and columns are swapped.
_FLIPS = {2: (-1,), 3: (-2, -1), 4: (-2,), 6: (-1,), 7: (-2, -1), 8: (-2,)}


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
        parts = (
            _one_deep_channel(opened, notes)
            or _sixteen_bits(opened, plan, notes)
            or _eight_bits(image, grey_bits, notes)
        )
        pixels, alpha = _joined(parts, image.size, turned or 1)
    return Decoded(pixels, alpha, tuple(dict.fromkeys(notes)))


def strips(image: Image.Image) -> Iterator[Image.Image]:
    """Yield a picture in strips of rows, from the top."""
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _joined(parts: Iterable[Planes], size: tuple[int, int], turned: int) -> Planes:
    """Put strips of rows together, upright.

    Args:
        parts: from the top, all with transparency or none.
        size: width and height of the whole, as it lies in the file.
        turned: how it lies there, the EXIF orientation 1 to 8.
    """
    width, height = size
    shape = (width, height) if turned >= 5 else (height, width)
    pixels, alpha = torch.empty(3, *shape), None
    top = 0
    for colours, opacity in parts:
        rows = colours.shape[1]
        _place(pixels, _upright(colours, turned), top, turned)
        if opacity is not None:
            alpha = torch.empty(shape) if alpha is None else alpha
            _place(alpha, _upright(opacity, turned), top, turned)
        top += rows
    return pixels, alpha


def _place(whole: Tensor, strip: Tensor, top: int, turned: int) -> None:
    """Copy a strip, upright, to where it belongs; `top` rows lie before it in the file."""
    axis = -1 if turned >= 5 else -2
    length = strip.shape[axis]
    start = whole.shape[axis] - top - length if axis in _FLIPS.get(turned, ()) else top
    whole.narrow(axis, start, length).copy_(strip)


def _eight_bits(image: Image.Image, grey_bits: int, notes: list[str]) -> Iterator[Planes]:
    """Decode what Pillow holds with 8 bits a channel: nearly everything.

    Args:
        image: the picture, its pixels decoded.
        grey_bits: as `_grey_bits` says.
        notes: gets what had to be given up.
    """
    transparent = image.info.get("transparency")
    for strip in strips(image):
        alpha = None
        if strip.mode == "La":  # Pillow knows one way out of it
            strip = strip.convert("LA")
        if isinstance(transparent, int) and transparent < 1 << grey_bits < 256:
            # Pillow stretches the levels of the pixels to 8 bits, but not the transparent one.
            strip.info["transparency"] = transparent * 255 // ((1 << grey_bits) - 1)
        if strip.has_transparency_data:
            grey = strip.mode in ("1", "L", "LA")
            strip = strip.convert("RGBA")
            alpha = _levels(strip)[3] / 255
            # Back to grey, so that a profile for grey fits.
            strip = strip.getchannel("R") if grey else strip.convert("RGB")
        elif strip.mode == "1":
            strip = strip.convert("L")
        elif strip.mode not in ("RGB", "L", "CMYK", "LAB"):
            strip = strip.convert("RGB")
        strip, fits = profiles.to_srgb(strip)
        if not fits:
            notes.append(profiles.NOTE)
        yield _levels(strip.convert("RGB")) / 255, alpha


def _one_deep_channel(opened: Opened, notes: list[str]) -> Iterator[Planes] | None:
    """Decode one channel of more than 8 bits; None if the picture is something else."""
    image = opened.image
    if not image.mode.startswith("I") and image.mode != "F":
        return None
    tags = getattr(image, "tag_v2", {})
    low, high = 0.0, 65535.0
    if image.mode.startswith("I;16"):
        high = 4095.0 if tags.get(_BITS_PER_SAMPLE) == (12,) else high
    elif image.mode == "F" or image.format not in ("PNG", "PPM"):
        low, high = _range(opened)
        if image.mode == "F" and low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        else:
            # Measurements, heights, depths: nothing in the file says which value is white.
            notes.append("its values have no fixed white: they were stretched to the full range")
    colours = _Greys(image, notes)
    white_is_zero = image.mode.startswith("I;16") and tags.get(_PHOTOMETRIC) == 0
    transparent = image.info.get("transparency")

    def parts() -> Iterator[Planes]:
        for strip in strips(image):
            values = _deep_values(strip, image)
            alpha = (values != transparent).float() if isinstance(transparent, int) else None
            # Most of these fit into single precision, some do not.
            exact = values if image.mode.startswith("I;16") else values.double()
            grey = ((exact - low) / max(high - low, 1e-12)).float().clamp(0, 1)
            yield colours.of(1 - grey if white_is_zero else grey), alpha

    return parts()


def _deep_values(strip: Image.Image, image: Image.Image) -> Tensor:
    """Return the values (H, W) of a strip of a picture with one deep channel."""
    if strip.mode == "F":
        data = _bytes_to_tensor(strip.tobytes(), torch.float32)
    else:
        data = _bytes_to_tensor(strip.convert("I").tobytes(), torch.int32)
        without_sign = getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, (2,))[0] == 1
        if strip.mode == "I" and without_sign:
            data = data.long() & 0xFFFFFFFF
    return data.view(strip.height, strip.width)


def _range(opened: Opened) -> tuple[float, float]:
    """Return the least and the largest value of a picture with one deep channel.

    Raises:
        InputError: a value is not a number.
    """
    ends = []
    for strip in strips(opened.image):
        values = _deep_values(strip, opened.image)
        if not bool(torch.isfinite(values).all()):
            raise InputError(
                f"{opened.label} holds values that are not numbers.",
                "Fill the missing values in first.",
            )
        ends += [values.min().item(), values.max().item()]
    return min(ends), max(ends)


class _Greys:
    """Turns grey values in 0..1 into sRGB, by a picture's profile if any.

    The profile is asked about the 256 levels that the colour engine knows as Pillow offers it;
    between them lies a line, so that dark parts, which it may spread widely, show no steps.
    """

    def __init__(self, image: Image.Image, notes: list[str]) -> None:
        ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
        ramp.info["icc_profile"] = image.info.get("icc_profile")
        converted, fits = profiles.to_srgb(ramp)
        if not fits:
            notes.append(profiles.NOTE)
        self.table = None
        if converted is not ramp:
            notes.append(_BITS_TRADED)
            self.table = _levels(converted)[:, 0] / 255

    def of(self, grey: Tensor) -> Tensor:
        """Return grey values (H, W) as sRGB (3, H, W)."""
        if self.table is None:
            return grey.expand(3, -1, -1)
        below = (grey * 255).long().clamp_max(254)
        return torch.lerp(self.table[:, below], self.table[:, below + 1], grey * 255 - below)


def _sixteen_bits(
    opened: Opened, plan: list[ImageFile._Tile] | None, notes: list[str]
) -> Iterator[Planes] | None:
    """Decode 16-bit colour, of which Pillow keeps the high bytes; None if 8 bits have to do.

    The low bytes come from decoding once more in the other byte order: then those are kept.

    Args:
        opened: the picture, its high bytes decoded.
        plan: how to decode it for its low bytes; None if that is not known.
        notes: gets the reason if bits are lost.
    """
    image = opened.image
    if plan is not None and opened.stream is not None:
        return _two_bytes(image, opened.stream, plan, notes)
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


def _two_bytes(
    image: Image.Image, stream: IO[bytes], plan: list[ImageFile._Tile], notes: list[str]
) -> Iterator[Planes]:
    """Decode 16-bit colour from its high bytes, which are decoded, and its low ones."""
    stream.seek(0)
    with Image.open(stream, formats=(image.format or "",)) as low:
        assert isinstance(low, ImageFile.ImageFile)
        grey_alpha = plan[0].args == "RGBA"
        low.tile = plan
        with _decoder_silenced(low):
            low.load()
        for high_strip, low_strip in zip(strips(image), strips(low), strict=True):
            low_bytes = _levels(low_strip).to(torch.int32)
            if grey_alpha:  # both bytes of both channels, in four channels
                values = (low_bytes[0::2] * 256 + low_bytes[1::2])[[0, 0, 0, 1]]
            else:
                values = _levels(high_strip).to(torch.int32) * 256 + low_bytes
            alpha = values[3] / 65535 if len(values) == 4 else None
            transparent = image.info.get("transparency")
            if isinstance(transparent, tuple):
                alpha = (values != torch.tensor(transparent)[:, None, None]).any(0).float()
            colours = high_strip.getchannel("R") if grey_alpha else high_strip.convert("RGB")
            converted, fits = profiles.to_srgb(colours)
            if not fits:
                notes.append(profiles.NOTE)
            if converted is colours:
                yield values[:3] / 65535, alpha
            else:
                # The colour engine as Pillow offers it works on 8 bits; right colours matter more.
                notes.append(_BITS_TRADED)
                yield _levels(converted) / 255, alpha


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
    return plane.flip(_FLIPS[turned]) if turned in _FLIPS else plane


def _levels(image: Image.Image) -> Tensor:
    """Return a picture of RGB, RGBA or L as uint8 (C, H, W)."""
    data = _bytes_to_tensor(image.tobytes(), torch.uint8)
    return data.view(image.height, image.width, -1).permute(2, 0, 1).contiguous()


def _bytes_to_tensor(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype)  # a copy: torch wants it writable
