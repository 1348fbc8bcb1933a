"""Colour profiles (ICC): from whatever a picture came in to sRGB. Needs Pillow, not torch."""

from __future__ import annotations

import io
from functools import cache, lru_cache
from itertools import product

from PIL import Image, ImageChops, ImageCms

NOTE = "its colour profile is damaged or does not fit it, and was ignored"

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # profile's name: Pillow's
_BROKEN = (ImageCms.PyCMSError, OSError, KeyError, ValueError)


def to_srgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """Convert a picture to sRGB by the profile it carries.

    Args:
        image: RGB, L, CMYK or LAB.

    Returns:
        The picture (RGB, or as it was if no conversion was needed or possible), and False if
        there is a profile that cannot be used.
    """
    try:
        transform = _transform(image)
    except _BROKEN:
        return image, False
    if transform is None and image.mode == "LAB":
        transform = _lab_to_srgb()
    if transform is None:
        return image, True
    if transform.input_mode != image.mode:
        image = image.convert(transform.input_mode)
    return ImageCms.applyTransform(image, transform) or image, True


def srgb_bytes() -> bytes:
    """Return the sRGB profile to embed, with a fixed date: same picture, same bytes."""
    profile = bytearray(_srgb().tobytes())
    profile[24:36] = bytes.fromhex("07e8 0001 0001 0000 0000 0000")  # 2024-01-01; ICC.1, 7.2.8
    return bytes(profile)


def _transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion to sRGB, or None if there is no profile or it is sRGB.

    Raises:
        PyCMSError, OSError, KeyError, ValueError: the profile is broken or does not fit.
    """
    data = image.info.get("icc_profile")
    return _built(data, image.mode) if data else None


@lru_cache(maxsize=4)  # a picture is converted in strips
def _built(data: bytes, image_mode: str) -> ImageCms.ImageCmsTransform | None:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
    mode = _MODES[profile.profile.xcolor_space.strip()]
    # A grey photo may be tagged with its camera's profile for colours.
    if image_mode != mode and (image_mode, mode) != ("L", "RGB"):
        raise ValueError(f"a profile for {mode} on pixels of {image_mode}")
    transform = ImageCms.buildTransform(
        profile,
        _srgb(),
        mode,
        "RGB",
        # As photo editors do by default.
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return None if mode == "RGB" and _changes_little(transform) else transform


def _changes_little(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether of a grid of colours none moves by more than one level of 255.

    Then the profile is sRGB, whatever its maker calls it, and the picture keeps its bytes.
    """
    grid = bytes(level for colour in product(range(0, 256, 15), repeat=3) for level in colour)
    before = Image.frombytes("RGB", (len(grid) // 3, 1), grid)
    after = ImageCms.applyTransform(before, transform)
    assert after is not None
    ranges = ImageChops.difference(before, after).getextrema()
    return max(high for _, high in ranges) <= 1  # type: ignore[misc]


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB")
