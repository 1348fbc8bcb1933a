"""From tensors to the bytes of a picture file, a strip of rows at a time.

PNG and TIFF are built here from Pillow's parts and zlib, and go out strip by strip: Pillow's own
writers know no 16-bit colours and want the whole picture first. The other formats are encoded as
a whole by their libraries, which want it with 8 bits a channel; that picture is filled in strips.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin
from torch import Tensor

from dreamer.errors import OutputError
from dreamer.media import metadata, profiles
from dreamer.media.formats import Format

STRIP = 1 << 18
"""About how many pixels are worked on at a time."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR, _COLOUR_ALPHA = 2, 6  # PNG's colour types (PNG specification, 11.2.1)
_ADOBE_DEFLATE, _DIFFERENCES, _UNASSOCIATED = 8, 2, 2  # TIFF compression, predictor, alpha
_RGB = 2  # TIFF's photometric interpretation
_BIG = 4_000_000_000  # bytes: what a TIFF with offsets of 32 bits holds, and some room
_LITTLE_ENDIAN = b"II\x2a\x00\x08\x00\x00\x00"
_LITTLE_ENDIAN_BIG = b"II\x2b\x00\x08\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00"
_LONG8 = 16  # TIFF's type of 64-bit numbers

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """What is to be written.

    Attributes:
        pixels: (3, H, W), sRGB in 0..1; what is outside is clamped.
        alpha: (H, W), 1 is opaque; or None.
        background: the grey level, 0..1, that transparency is laid on; None keeps it.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    background: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[2], self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """3, or 4 if transparency is written."""
        return 3 if self.alpha is None or self.background is not None else 4

    @property
    def rows(self) -> int:
        """How many rows a strip has; the last one may have fewer."""
        return max(1, STRIP // self.pixels.shape[2])

    def check(self) -> None:
        """Refuse values that are no numbers.

        Raises:
            OutputError: there is one.
        """
        for planes in (self.pixels, self.alpha):
            if planes is None:
                continue
            for strip in torch.split(planes, self.rows, dim=-2):
                if not bool(torch.isfinite(strip).all()):
                    raise OutputError(
                        "The picture holds values that are not numbers.", "Try a smaller step size."
                    )

    def strips(self, depth: int) -> Iterator[NDArray[Any]]:
        """Yield strips of rows, (rows, W, channels) uint8 or uint16, from the top.

        Values are rounded to the nearest of 2**depth levels, a half to the even one.

        Args:
            depth: bits of a channel, 8 or 16.
        """
        levels = 2**depth - 1
        held = np.uint8 if depth == 8 else np.uint16
        for top in range(0, self.size[1], self.rows):
            strip = self._strip(slice(top, top + self.rows))
            strip = strip.clamp(0, 1).mul_(levels).round_().to(torch.int32)
            yield strip.permute(1, 2, 0).numpy().astype(held, order="C")

    def _strip(self, rows: slice) -> Tensor:
        colours = self.pixels[:, rows].detach().cpu()
        # Half precision does not hold the levels of 16 bits.
        colours = colours.to(torch.promote_types(colours.dtype, torch.float32))
        if self.alpha is None:
            return colours
        alpha = self.alpha[rows].detach().cpu().to(colours.dtype)
        if self.background is not None:
            return colours * alpha + (1 - alpha) * self.background
        return torch.cat([colours, alpha[None]])


def to_image(picture: Picture) -> Image.Image:
    """Return a picture of Pillow's, with 8 bits a channel: RGB, or RGBA if there is transparency.

    Raises:
        OutputError: a value is not a number.
    """
    picture.check()
    mode = "RGBA" if picture.channels == 4 else "RGB"
    image = Image.new(mode, picture.size)
    top = 0
    for strip in picture.strips(8):
        height, width, _ = strip.shape
        image.paste(Image.frombytes(mode, (width, height), strip.tobytes()), (0, top))
        top += height
    return image


def write(
    stream: BinaryIO, picture: Picture, row: Format, *, recipe: str | None, depth: int
) -> None:
    """Write the bytes of a picture file; the same input, the same bytes.

    Args:
        stream: where to, from where it stands; it need not be able to seek.
        picture: of a size that the format holds.
        row: the format.
        recipe: JSON to carry in the file, see `dreamer.media.metadata`.
        depth: bits of a channel, one of `row.depths`.

    Raises:
        OutputError: a value is not a number, the recipe is longer than the format holds, or the
            encoder fails.
        OSError: the stream cannot be written.
    """
    options = {} if recipe is None else metadata.save_options(row.name, recipe)
    if row.name == "PNG":
        picture.check()
        _write_png(stream, picture, depth, options.get("pnginfo"))
    elif row.name == "TIFF":
        picture.check()
        with _from_start(stream) as file:
            _write_tiff(file, picture, depth, options.get("tiffinfo", {}))
    else:
        image = to_image(picture)
        options |= row.options
        try:
            # Without a descriptor, so that a failed write keeps the system's reason.
            image.save(
                cast(BinaryIO, _Sink(stream)),
                row.name,
                icc_profile=profiles.srgb_bytes(),
                **options,
            )
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise OutputError(
                f"The {row.name} encoder failed: {error}.", "Write a .png instead."
            ) from error


class _Sink:
    """A stream that can only be written to."""

    def __init__(self, stream: BinaryIO) -> None:
        self.write = stream.write


def _write_png(
    stream: BinaryIO, picture: Picture, depth: int, texts: PngImagePlugin.PngInfo | None
) -> None:
    """Write a PNG: its rows filtered and compressed as they come."""

    def chunk(kind: bytes, data: bytes) -> None:
        PngImagePlugin.putchunk(stream, kind, data)

    channels = picture.channels
    colour = _COLOUR_ALPHA if channels == 4 else _COLOUR
    stream.write(_SIGNATURE)
    chunk(b"IHDR", struct.pack(">IIBBBBB", *picture.size, depth, colour, 0, 0, 0))
    chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(profiles.srgb_bytes()))
    for kind, data, *_ in texts.chunks if texts is not None else ():
        chunk(kind, data)
    # What is filtered is small numbers, and little of it repeats: zlib has a strategy for that.
    packer = zlib.compressobj(strategy=zlib.Z_FILTERED)
    above = np.zeros(picture.size[0] * channels * depth // 8, np.uint8)
    for strip in picture.strips(depth):
        lines = strip.astype(strip.dtype.newbyteorder(">"), copy=False)
        lines = lines.reshape(len(strip), -1).view(np.uint8)
        if data := packer.compress(_filtered(lines, above, channels * depth // 8).tobytes()):
            chunk(b"IDAT", data)
        above = lines[-1]
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _filtered(lines: Bytes, above: Bytes, pixel: int) -> Bytes:
    """Return PNG's lines, each with the filter that leaves the smallest differences.

    The five filters are those of the PNG specification, 9.2; they are chosen between by the sum
    of the absolute differences, as it advises in 12.7.

    Args:
        lines: (rows, bytes of a row).
        above: the row before them, zeros before the first.
        pixel: bytes of a pixel.
    """
    rows, length = lines.shape
    # One pixel of zeros before each row.
    padded = np.zeros((rows + 1, pixel + length), np.uint8)
    padded[0, pixel:], padded[1:, pixel:] = above, lines
    left, up, corner = padded[1:, :-pixel], padded[:-1, pixel:], padded[:-1, :-pixel]
    average = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    best = np.empty((rows, 1 + length), np.uint8)
    least = np.full(rows, np.iinfo(np.uint64).max, np.uint64)
    for number, guess in enumerate((None, left, up, average, _paeth(left, up, corner))):
        differences = lines if guess is None else lines - guess
        # Bytes above 127 stand for differences below zero.
        apart = np.minimum(differences, 0 - differences).sum(axis=1, dtype=np.uint64)
        better = apart < least
        least[better] = apart[better]
        best[better, 0] = number
        best[better, 1:] = differences[better]
    return best


def _paeth(left: Bytes, up: Bytes, corner: Bytes) -> Bytes:
    """Return which of the three is nearest to left + up - corner (PNG specification, 9.4)."""
    across = left.astype(np.int16) - corner
    down = up.astype(np.int16) - corner
    from_left, from_up, from_corner = np.abs(down), np.abs(across), np.abs(across + down)
    left_wins = (from_left <= from_up) & (from_left <= from_corner)
    return np.where(left_wins, left, np.where(from_up <= from_corner, up, corner))


def _write_tiff(stream: BinaryIO, picture: Picture, depth: int, texts: dict[int, Any]) -> None:
    """Write a TIFF to a stream at its start: its directory, its strips, its directory again.

    Where the strips lie is only known after them; the directory keeps its length meanwhile.
    """
    width, height = picture.size
    channels = picture.channels
    count = -(-height // picture.rows)
    big = width * height * channels * depth // 8 > _BIG
    directory = TiffImagePlugin.ImageFileDirectory_v2(_LITTLE_ENDIAN_BIG if big else _LITTLE_ENDIAN)
    base = ExifTags.Base
    where, lengths = base.StripOffsets, base.StripByteCounts
    if big:
        directory.tagtype[where] = directory.tagtype[lengths] = _LONG8
    tags: dict[int, Any] = {
        base.ImageWidth: width,
        base.ImageLength: height,
        base.BitsPerSample: (depth,) * channels,
        base.Compression: _ADOBE_DEFLATE,
        base.PhotometricInterpretation: _RGB,
        base.SamplesPerPixel: channels,
        base.RowsPerStrip: picture.rows,
        base.Predictor: _DIFFERENCES,
        base.InterColorProfile: profiles.srgb_bytes(),
        where: (0,) * count,
        lengths: (0,) * count,
    }
    if channels == 4:
        tags[base.ExtraSamples] = (_UNASSOCIATED,)
    for tag, value in (tags | texts).items():
        directory[int(tag)] = value
    start = directory.save(stream)
    sizes = []
    for strip in picture.strips(depth):
        strip[:, 1:] = strip[:, 1:] - strip[:, :-1]  # wraps around, as the format has it
        data = zlib.compress(strip.astype(strip.dtype.newbyteorder("<"), copy=False).tobytes())
        stream.write(data)
        sizes.append(len(data))
    # Counted from the directory's end, which Pillow adds.
    directory[where] = tuple(itertools.accumulate(sizes[:-1], initial=0))
    directory[lengths] = tuple(sizes)
    end = stream.tell()
    stream.seek(0)
    assert directory.save(stream) == start
    stream.seek(end)


@contextlib.contextmanager
def _from_start(stream: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a file at its start that can seek: the stream, or one that is copied to it."""
    if stream.seekable() and stream.tell() == 0:
        yield stream
        return
    with tempfile.TemporaryFile() as file:
        yield cast(BinaryIO, file)
        file.seek(0)
        shutil.copyfileobj(file, stream, io.DEFAULT_BUFFER_SIZE)
