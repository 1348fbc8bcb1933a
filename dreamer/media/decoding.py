"""From an opened picture to tensors: bit depth, palette, transparency, colour space, orientation.

Every picture ends as sRGB. What had to be given up on the way (a broken colour profile, the
other frames of an animation) comes back as notes for the user, never as silence.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import torch
from PIL import Image, ImageCms
from torch import Tensor

from dreamer.errors import InputError
from dreamer.media import reading
from dreamer.media.reading import Opened, guarded

_NO_PROFILE = "its colour profile is damaged or does not fit it, and was ignored"


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
    image = opened.image
    with guarded(opened.label):
        image.load()
        turned = reading.orientation(image)
        profile = image.info.get("icc_profile") or None
        # Phones store a preview as a second picture (MPO); to them it is still one photo.
        if getattr(image, "is_animated", False) and image.format != "MPO":
            notes.append(f"only one of its {getattr(image, 'n_frames', 2)} frames is used")
    if turned is None:
        notes.append("its EXIF data is damaged: it may be turned the wrong way")
    planes = _deep_colour(opened, profile, notes) if _is_deep_png(opened) else None
    if planes is None:
        with guarded(opened.label):
            planes = _grey_levels(image, notes) or _eight_bits(image, profile, notes)
    pixels, alpha = (None if plane is None else _upright(plane, turned or 1) for plane in planes)
    assert pixels is not None
    if not bool(torch.isfinite(pixels).all()):
        raise InputError(
            f"{opened.label} holds values that are not numbers.",
            "Fill the missing values in first.",
        )
    return Decoded(pixels, alpha, tuple(notes))


Planes = tuple[Tensor, Tensor | None]


def _eight_bits(image: Image.Image, profile: bytes | None, notes: list[str]) -> Planes:
    """Decode what Pillow holds with 8 bits a channel: nearly everything."""
    if image.format == "TIFF" and max(getattr(image, "tag_v2", {}).get(258, (8,))) > 8:
        notes.append("its 16-bit colours were read with 8 bits")
    alpha = None
    if image.has_transparency_data:
        grey = image.mode in ("L", "LA", "La", "1")
        image = image.convert("RGBA")
        alpha = _bytes_to_tensor(image.getchannel("A").tobytes(), torch.uint8)
        alpha = alpha.view(image.height, image.width) / 255
        # Back to grey, so that a profile for grey fits.
        image = image.getchannel("R") if grey else image.convert("RGB")
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile:
        image = _to_srgb(image, profile, notes)
    if image.mode == "LAB":
        image = ImageCms.applyTransform(image, _lab_to_srgb())  # type: ignore[assignment]
    return _from_rgb(image.convert("RGB")), alpha


def _from_rgb(image: Image.Image) -> Tensor:
    data = _bytes_to_tensor(image.tobytes(), torch.uint8)
    return data.view(image.height, image.width, 3).permute(2, 0, 1).contiguous() / 255


def _grey_levels(image: Image.Image, notes: list[str]) -> Planes | None:
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
    if isinstance(transparent, int) and image.mode != "F":
        alpha = (grey != transparent).float()
    if image.mode.startswith("I;16") or image.format in ("PNG", "PPM"):
        grey = grey / 65535
    elif image.mode == "I" or float(grey.min()) < 0 or float(grey.max()) > 1:
        # Measurements, heights, depths: nothing in the file says which value is white.
        notes.append("its values have no fixed white: they were stretched to the full range")
        low, high = grey.min().double(), grey.max().double()
        grey = ((grey.double() - low) / (high - low).clamp_min(1e-12)).float()
    return grey.clamp(0, 1).expand(3, -1, -1).contiguous(), alpha


def _is_deep_png(opened: Opened) -> bool:
    """Whether it is a PNG with 16 bits and more than one channel, of which Pillow drops half."""
    if opened.stream is None or opened.image.format != "PNG":
        return False
    opened.stream.seek(0)
    header = opened.stream.read(26)
    depth, colour_type = header[24], header[25]
    return depth == 16 and colour_type != 0


def _deep_colour(opened: Opened, profile: bytes | None, notes: list[str]) -> Planes | None:
    """Decode a 16-bit colour PNG with torchvision; None if 8 bits have to do, with a note."""
    if profile and _transform(profile, "RGB") is not None:
        # The colour engine as Pillow offers it works on 8 bits; right colours matter more.
        notes.append("its 16-bit colours were read with 8 bits to apply its colour profile")
        return None
    assert opened.stream is not None
    opened.stream.seek(0)
    data = _bytes_to_tensor(opened.stream.read(), torch.uint8)
    try:
        # Seconds to import, and only these rare files need it.
        from torchvision.io import ImageReadMode, decode_image

        levels = decode_image(data, ImageReadMode.RGB_ALPHA)
    except (ImportError, OSError, RuntimeError):
        notes.append("its 16-bit colours were read with 8 bits: torchvision cannot decode it")
        return None
    pixels = levels.float() / torch.iinfo(levels.dtype).max
    return pixels[:3].contiguous(), pixels[3] if opened.image.has_transparency_data else None


def _to_srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Convert a picture (RGB, L, CMYK or LAB) from its profile to sRGB."""
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}[space]
        if (image.mode, mode) == ("L", "RGB"):  # a grey photo tagged with the camera's profile
            image = image.convert("RGB")
        if image.mode != mode:
            raise ValueError(f"a {space} profile on {image.mode} pixels")
        transform = _transform(profile, mode)
        if transform is None:
            return image
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError):
        notes.append(_NO_PROFILE)
        return image


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the conversion to sRGB, or None if the profile is sRGB, whatever its maker calls it.

    Such a picture keeps its bytes. The measure: of a grid of colours, none moves by more than
    one level of 255, which is what rounding does.
    """
    # Relative, with black point compensation: what photo editors do by default.
    transform = ImageCms.buildTransform(
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        srgb(),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if mode != "RGB":
        return transform
    levels = torch.arange(0, 256, 15, dtype=torch.uint8)
    grid = torch.cartesian_prod(levels, levels, levels)
    image = Image.frombytes("RGB", (len(grid), 1), bytes(grid.flatten().tolist()))
    moved = ImageCms.applyTransform(image, transform)
    assert moved is not None
    difference = (_from_rgb(moved) - _from_rgb(image)).abs().max()
    return None if float(difference) < 1.5 / 255 else transform


@cache
def srgb() -> ImageCms.ImageCmsProfile:
    """Return the sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.buildTransform(lab, srgb(), "LAB", "RGB")


def _upright(plane: Tensor, turned: int) -> Tensor:
    """Undo the EXIF orientation 1..8 of a plane (..., H, W)."""
    if turned >= 5:
        plane = plane.transpose(-1, -2)
    flips = {2: [-1], 3: [-2, -1], 4: [-2], 6: [-1], 7: [-2, -1], 8: [-2]}.get(turned, [])
    return plane.flip(flips).contiguous() if flips else plane.contiguous()


def _bytes_to_tensor(data: bytes, dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=dtype)  # a copy: torch wants it writable
