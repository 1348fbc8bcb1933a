"""Photos in, pictures out: tensors on one side, files on the other."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass, replace
from typing import BinaryIO

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dreamer.errors import InputError
from dreamer.media import decoding, encoding, files, formats, reading
from dreamer.media.formats import Format, check_size, check_target
from dreamer.media.reading import MAX_PIXELS, Opened, Source, fitted, probe

__all__ = [
    "MAX_PIXELS",
    "Photo",
    "Source",
    "check_size",
    "check_target",
    "encode",
    "fitted",
    "from_tensor",
    "load",
    "probe",
    "resize",
    "save",
    "to_image",
    "write",
]


@dataclass(frozen=True)
class Photo:
    """A picture, upright and in sRGB.

    Attributes:
        pixels: (3, H, W) float32, sRGB in 0..1.
        alpha: (H, W) float32 in 0..1, 1 is opaque; None if the picture has no transparency.
        sha256: of the file's bytes; of mode, size and pixels for a picture without a file.
        name: the file's name, without its folder.
        notes: what had to be given up while reading, in words for the user, who should see it.
    """

    pixels: Tensor
    alpha: Tensor | None
    sha256: str
    name: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[2], self.pixels.shape[1]


def load(source: Source, *, name: str | None = None, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo: upright, in sRGB, with its transparency set aside.

    Args:
        source: a file, the bytes of one, or a picture of Pillow's (left as it is).
        name: what to call bytes or a picture without a file; "stdin" and "image" by default.
        max_pixels: width times height that is still accepted.

    Raises:
        InputError: it cannot be read, is no picture, is damaged, or is too large.
    """
    with reading.opened(source, name=name, max_pixels=max_pixels) as opened:
        decoded = decoding.decode(opened)
        with reading.guarded(opened.label):
            digest = _hash(opened)
    return Photo(decoded.pixels, decoded.alpha, digest, opened.name, decoded.notes)


def from_tensor(pixels: Tensor, *, name: str = "tensor") -> Photo:
    """Take a tensor for a photo.

    Args:
        pixels: (3, H, W), or (4, H, W) with transparency last; floating point in 0..1, or uint8.
        name: what to call it.

    Raises:
        InputError: another shape or type, or values outside 0..1.
    """
    label = f"'{files.shown(name)}'"
    if pixels.ndim != 3 or pixels.shape[0] not in (3, 4) or 0 in pixels.shape:
        raise InputError(
            f"{label} has the shape {tuple(pixels.shape)}: it is no picture.",
            "Give a tensor of shape (3, H, W), or (4, H, W) with transparency.",
        )
    if pixels.dtype == torch.uint8:
        values = pixels.detach().cpu().float() / 255
    elif pixels.is_floating_point():
        values = pixels.detach().cpu().float()
    else:
        raise InputError(
            f"{label} holds {str(pixels.dtype).removeprefix('torch.')}: it is no picture.",
            "Give floating point values in 0..1, or uint8.",
        )
    low, high = values.aminmax()
    if not (low >= 0 and high <= 1):  # NaN as well
        raise InputError(
            f"{label} has values outside 0..1.", "Scale or clamp the tensor to 0..1 first."
        )
    values = values.contiguous()
    digest = hashlib.sha256(f"{tuple(values.shape)}".encode())
    digest.update(values.numpy().data)
    alpha = values[3].clone() if len(values) == 4 else None
    return Photo(values[:3].clone(), alpha, digest.hexdigest(), name)


def resize(photo: Photo, long_edge: int) -> Photo:
    """Scale a photo so that its longer side has `long_edge` pixels; as it is if it has already.

    Bicubic, antialiased. Colours are weighted with their opacity, so that what is hidden under
    transparent pixels does not bleed over their edge.
    """
    width, height = fitted(*photo.size, long_edge)
    if (width, height) == photo.size:
        return photo

    def scaled(planes: Tensor) -> Tensor:
        (planes,) = functional.interpolate(
            planes[None], size=(height, width), mode="bicubic", antialias=True
        )
        return planes.clamp_(0, 1)

    pixels = scaled(photo.pixels)
    if photo.alpha is None:
        return replace(photo, pixels=pixels)
    alpha = scaled(photo.alpha[None])
    weighted = scaled(photo.pixels * photo.alpha) / alpha.clamp_min(1e-6)
    pixels = torch.where(alpha > 1 / 512, weighted.clamp_(0, 1), pixels)
    return replace(photo, pixels=pixels, alpha=alpha[0])


def to_image(pixels: Tensor, alpha: Tensor | None = None) -> Image.Image:
    """Return a picture of Pillow's: RGB, or RGBA if there is transparency.

    Values are clamped to 0..1 and rounded to the nearest of 256 levels, a half to the even one.

    Args:
        pixels: (3, H, W), sRGB.
        alpha: (H, W), 1 is opaque.

    Raises:
        OutputError: a value is not a number.
    """
    return encoding.to_image(encoding.Picture(pixels, alpha))


def encode(
    pixels: Tensor,
    suffix: str | os.PathLike[str] = ".png",
    *,
    alpha: Tensor | None = None,
    recipe: str | None = None,
    depth: int = 8,
) -> bytes:
    """Return the bytes of a picture file: as `write`."""
    buffer = io.BytesIO()
    write(buffer, pixels, suffix, alpha=alpha, recipe=recipe, depth=depth)
    return buffer.getvalue()


def write(
    stream: BinaryIO,
    pixels: Tensor,
    suffix: str | os.PathLike[str] = ".png",
    *,
    alpha: Tensor | None = None,
    recipe: str | None = None,
    depth: int = 8,
) -> None:
    """Write the bytes of a picture file: sRGB, profile included; the same input, the same bytes.

    PNG and TIFF go out in strips of rows, so that they take next to no memory of their own.

    Args:
        stream: where to.
        pixels: (3, H, W), sRGB in 0..1; rounded as `to_image` says.
        suffix: ".png", or a file name that ends in it; it chooses the format.
        alpha: (H, W), 1 is opaque. JPEG has no transparency: there it is laid on white.
        recipe: JSON to carry in the file, see `dreamer.media.metadata`.
        depth: bits of a channel: 8, or 16 in PNG and TIFF.

    Raises:
        UsageError: the suffix is not one that can be written, or not with so many bits.
        OutputError: the picture or the recipe is more than the format holds.
        OSError: the stream cannot be written.
    """
    row, picture = _checked(pixels, suffix, alpha, depth)
    encoding.write(stream, picture, row, recipe=recipe, depth=depth)


def save(
    pixels: Tensor,
    target: str | os.PathLike[str],
    *,
    alpha: Tensor | None = None,
    recipe: str | None = None,
    overwrite: bool = False,
    depth: int = 8,
) -> None:
    """Write a picture file in the format of its suffix, whole or not at all.

    Args:
        pixels: (3, H, W), sRGB in 0..1; rounded as `to_image` says.
        target: the file; a missing folder is made.
        alpha: (H, W), 1 is opaque. JPEG has no transparency: there it is laid on white.
        recipe: JSON to carry in the file, see `dreamer.media.metadata`.
        overwrite: whether a file that exists is replaced.
        depth: bits of a channel: 8, or 16 in PNG and TIFF.

    Raises:
        UsageError, OutputError: as for `write`; OutputError also if the file cannot be
            written, or exists and `overwrite` is False.
    """
    row, picture = _checked(pixels, target, alpha, depth)  # before a folder is made
    with files.replacing(target, overwrite=overwrite) as stream:
        encoding.write(stream, picture, row, recipe=recipe, depth=depth)


def _checked(
    pixels: Tensor, target: str | os.PathLike[str], alpha: Tensor | None, depth: int
) -> tuple[Format, encoding.Picture]:
    """Return the format, and what to write in it, if it holds that."""
    row = formats.by_suffix(target)
    formats.check_depth(target, depth)
    check_size(target, pixels.shape[2], pixels.shape[1])
    # White, as a page or a browser would show it; black would frame the dream.
    return row, encoding.Picture(pixels, alpha, background=None if row.alpha else 1.0)


def _hash(opened: Opened) -> str:
    if opened.stream is not None:
        opened.stream.seek(0)
        return hashlib.file_digest(opened.stream, "sha256").hexdigest()  # type: ignore[arg-type]
    image = opened.image
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    if image.mode in ("P", "PA"):  # numbers that mean nothing without their colours
        image = image.convert("RGBA")
    for strip in decoding.strips(image):
        digest.update(strip.tobytes())
    return digest.hexdigest()
