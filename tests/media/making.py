"""Make picture files that common programs do not write, byte by byte."""

import io
import struct
import zlib
from collections.abc import Mapping, Sequence

import pillow_heif
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps
from torch import Tensor

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # PNG colour types
PHOTOMETRIC, COMPRESSION, PROFILE = 262, 259, 34675  # TIFF tags
WHITE_IS_ZERO, BLACK_IS_ZERO = 0, 1

WHITE_POINT = (63190, 65536, 54061)  # D50, in 1/65536

Chunk = tuple[bytes, bytes]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int],
    bits: int,
    colour_type: int,
    rows: bytes,
    *extra: Chunk,
    interlaced: bool = False,
) -> bytes:
    """A PNG of packed rows, each with its filter byte, with extra chunks before its pixels."""
    header = struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def png16(values: Tensor, *extra: Chunk, interlaced: bool = False) -> bytes:
    """A PNG of 16-bit values (C, H, W), with extra chunks before its pixels."""
    channels, height, width = values.shape
    colour_type = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGBA}[channels]
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, then the distance to the next ones
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for column, row, across, down in passes:
        for line in values[:, row::down, column::across].unbind(1):
            rows += b"\0" + struct.pack(f">{line.numel()}H", *line.T.flatten().tolist())
    return png((width, height), 16, colour_type, rows, *extra, interlaced=interlaced)


def transparent(*values: int) -> Chunk:
    """The PNG chunk that makes one grey or one colour transparent."""
    return b"tRNS", struct.pack(f">{len(values)}H", *values)


def profiled(icc: bytes) -> Chunk:
    """The PNG chunk that carries a colour profile."""
    return b"iCCP", b"profile\0\0" + zlib.compress(icc)


def tiff(
    size: tuple[int, int],
    strips: Sequence[bytes],
    tags: Mapping[int, Sequence[int] | bytes],
    *,
    big_endian: bool = False,
) -> bytes:
    """An uncompressed 8-bit grey TIFF, unless its tags say otherwise."""
    order = ">" if big_endian else "<"
    width, height = size
    body = b""

    def placed(data: bytes) -> int:
        nonlocal body
        at = 8 + len(body)
        body += data + bytes(len(data) % 2)
        return at

    usual = {256: (width,), 257: (height,), 258: (8,), COMPRESSION: (1,)}
    usual |= {PHOTOMETRIC: (BLACK_IS_ZERO,), 277: (1,), 278: (height,)}
    strip_tags = {273: [placed(strip) for strip in strips], 279: [len(strip) for strip in strips]}
    directory = b""
    fields = sorted((usual | dict(tags) | strip_tags).items())
    for tag, value in fields:
        kind, letter = (4, "I") if tag in strip_tags else (3, "H")
        data = (
            value
            if isinstance(value, bytes)
            else struct.pack(f"{order}{len(value)}{letter}", *value)
        )
        kind = 7 if isinstance(value, bytes) else kind
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", placed(data))
        directory += struct.pack(f"{order}HHI", tag, kind, len(value)) + place
    start = struct.pack(f"{order}2sHI", b"MM" if big_endian else b"II", 42, 8 + len(body))
    return start + body + struct.pack(f"{order}H", len(fields)) + directory + bytes(4)


def tiff16(
    values: Tensor,
    extra: Mapping[int, Sequence[int] | bytes] | None = None,
    *,
    big_endian: bool = False,
    planar: bool = False,
    deflated: bool = False,
) -> bytes:
    """A TIFF of 16-bit values (C, H, W): grey, RGB, or RGBA."""
    channels, height, width = values.shape
    planes = values.flatten(1) if planar else values.permute(1, 2, 0).reshape(1, -1)
    order = ">" if big_endian else "<"
    strips = [struct.pack(f"{order}{len(plane)}H", *plane) for plane in planes.tolist()]
    if deflated:
        strips = [zlib.compress(strip) for strip in strips]
    tags: dict[int, Sequence[int] | bytes] = {
        258: (16,) * channels,
        COMPRESSION: (8 if deflated else 1,),
        PHOTOMETRIC: (BLACK_IS_ZERO if channels == 1 else 2,),
        277: (channels,),
        284: (2 if planar else 1,),
    }
    if channels == 4:
        tags[338] = (2,)
    return tiff((width, height), strips, tags | dict(extra or {}), big_endian=big_endian)


def profile(name: str) -> bytes:
    """One of Pillow's own colour profiles: "sRGB", "XYZ" or "LAB"."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def wide_profile() -> bytes:
    """The sRGB profile with its red and green primaries swapped: colours must visibly move."""
    data = bytearray(profile("sRGB"))
    count = struct.unpack_from(">I", data, 128)[0]
    at = {bytes(data[132 + 12 * i : 136 + 12 * i]): 136 + 12 * i for i in range(count)}
    red, green = at[b"rXYZ"], at[b"gXYZ"]
    data[red : red + 8], data[green : green + 8] = data[green : green + 8], data[red : red + 8]
    return bytes(data)


def grey_profile(gamma: float) -> bytes:
    """A profile for grey pictures."""
    return _icc(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def colour_profile(gamma: float) -> bytes:
    """A profile with the primaries of sRGB and another curve: greys move, too."""
    primaries = {b"r": (28578, 14581, 911), b"g": (25241, 46981, 6362), b"b": (9376, 3972, 46799)}
    tags = {name + b"XYZ": _place(*place) for name, place in primaries.items()}
    tags |= {name + b"TRC": _curve(gamma) for name in primaries}
    return _icc(b"mntr", b"RGB ", b"XYZ ", tags)


def cmyk_profile() -> bytes:
    """A profile of a press whose only ink is the first: the more, the darker and the bluer."""
    corners = [(60, 140, 60) if corner & 8 else (255, 128, 128) for corner in range(16)]
    return _icc(b"prtr", b"CMYK", b"Lab ", {b"A2B0": _table(corners)})


def faded_profile() -> bytes:
    """A profile of a scanner for colours on yellow paper with a grey for black."""
    corners = [(51 + 68 * corner.bit_count(), 128, 128) for corner in range(8)]
    tags = {b"A2B0": _table(corners), b"A2B1": _table(corners)}
    return _icc(b"scnr", b"RGB ", b"Lab ", tags | {b"wtpt": _place(60_000, 62_000, 30_000)})


def _table(corners: Sequence[tuple[int, int, int]]) -> bytes:
    """What a profile says about the corners of its colours: L, a, b of each in 0..255."""
    channels = len(corners).bit_length() - 1
    matrix = (65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + struct.pack(">BBBx9i", channels, 3, 2, *matrix)
    steps = bytes(range(256))
    return table + steps * channels + b"".join(map(bytes, corners)) + steps * 3


def _curve(gamma: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))


def _place(*xyz: int) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *xyz)


def _icc(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    tags = {b"wtpt": _place(*WHITE_POINT), **tags}
    at = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = at + len(body)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x3i", size, 0x02400000, kind, space, connection, b"acsp", *WHITE_POINT
    )
    return header.ljust(128, b"\0") + table + body


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    """The bytes of a picture file as Pillow writes it; "HEIF" as pillow_heif does, to the bit."""
    buffer = io.BytesIO()
    if format_name == "HEIF":
        # Not registered with Pillow, so that what is tested has to do that itself.
        pillow_heif.from_pillow(image).save(buffer, quality=-1, chroma=444, **options)
    else:
        image.save(buffer, format_name, **options)
    return buffer.getvalue()


def turned(value: int) -> bytes:
    """EXIF data that says how a picture is turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif.tobytes()


def levels(image: Image.Image) -> Tensor:
    """The bytes of an RGB, RGBA or L picture as (C, H, W)."""
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, -1).permute(2, 0, 1)


def seen(data: bytes, mode: str = "RGB") -> Tensor:
    """The levels of a picture file, upright, as Pillow reads them."""
    with Image.open(io.BytesIO(data)) as image:
        return levels(ImageOps.exif_transpose(image).convert(mode))


def image_of(planes: Tensor) -> Image.Image:
    """The RGB or RGBA picture of levels (C, H, W)."""
    channels, height, width = planes.shape
    data = bytes(planes.permute(1, 2, 0).flatten().tolist())
    return Image.frombytes("RGB" if channels == 3 else "RGBA", (width, height), data)


def random_levels(channels: int, height: int, width: int, top: int = 255) -> Tensor:
    """Random whole numbers (C, H, W) from 0 to `top`, the same ones every time."""
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, top + 1, (channels, height, width), generator=generator)
