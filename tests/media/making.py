"""Make picture files that common programs do not write, byte by byte."""

import io
import struct
import zlib

import torch
from PIL import Image, ImageCms
from torch import Tensor

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # PNG colour types


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(values: Tensor, *extra: tuple[bytes, bytes], interlaced: bool = False) -> bytes:
    """A PNG of 16-bit values (C, H, W), with extra chunks before its pixels."""
    channels, height, width = values.shape
    colour_type = {1: GREY, 2: GREY_ALPHA, 3: RGB, 4: RGBA}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, int(interlaced))
    passes = [(0, 0, 1, 1)]
    if interlaced:  # Adam7: first column and row, then the distance to the next ones
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
        passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for column, row, across, down in passes:
        for line in values[:, row::down, column::across].unbind(1):
            rows += b"\0" + struct.pack(f">{line.numel()}H", *line.T.flatten().tolist())
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, data) for kind, data in chunks)


def tiff16(values: Tensor, *, big_endian: bool = False, planar: bool = False) -> bytes:
    """An uncompressed RGB TIFF of 16-bit values (3, H, W)."""
    order = ">" if big_endian else "<"
    _, height, width = values.shape
    flat = (values if planar else values.permute(1, 2, 0)).flatten().tolist()
    pixels = struct.pack(f"{order}{len(flat)}H", *flat)
    bits_at = 8
    pixels_at = bits_at + 12
    plane = len(pixels) // 3
    offsets_at = pixels_at + len(pixels)
    sizes_at = offsets_at + 12
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, bits_at),
        (259, 4, 1, 1),
        (262, 4, 1, 2),
        (273, 4, 3 if planar else 1, offsets_at if planar else pixels_at),
        (277, 4, 1, 3),
        (278, 4, 1, height),
        (279, 4, 3 if planar else 1, sizes_at if planar else len(pixels)),
        (284, 4, 1, 2 if planar else 1),
    ]
    header = struct.pack(f"{order}2sHI", b"MM" if big_endian else b"II", 42, sizes_at + 12)
    planes = struct.pack(f"{order}3I", *(pixels_at + plane * index for index in range(3)))
    directory = struct.pack(f"{order}H", len(tags))
    directory += b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags)
    return (
        header
        + struct.pack(f"{order}3H2x2x2x", 16, 16, 16)
        + pixels
        + planes
        + struct.pack(f"{order}3I", plane, plane, plane)
        + directory
        + bytes(4)
    )


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


def encoded(image: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def levels(image: Image.Image) -> Tensor:
    """The bytes of an RGB, RGBA or L picture as (C, H, W)."""
    data = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return data.view(image.height, image.width, -1).permute(2, 0, 1)
