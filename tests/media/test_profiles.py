import io
from pathlib import Path

import making
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from dreamer.media import images, profiles

PICTURE = making.image_of(making.random_levels(3, 24, 32))
ALPHA = making.image_of(making.random_levels(4, 24, 32))
WIDE = making.wide_profile()


def tagged(image: Image.Image, icc: bytes) -> Image.Image:
    image = image.copy()
    image.info["icc_profile"] = icc
    return image


def as_image_cms_says(image: Image.Image, icc: bytes) -> torch.Tensor:
    converted = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(icc)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None
    return making.levels(converted)


def test_a_picture_without_a_profile_is_srgb_already() -> None:
    for mode in ("RGB", "L", "CMYK"):
        image = PICTURE.convert(mode)
        assert profiles.to_srgb(image) == (image, True)
        assert profiles.to_srgb(image)[0] is image


@pytest.mark.parametrize("icc", [making.profile("sRGB"), profiles.srgb_bytes()])
def test_a_picture_in_srgb_keeps_its_bytes(icc: bytes) -> None:
    image = tagged(PICTURE, icc)
    converted, fits = profiles.to_srgb(image)
    assert converted is image
    assert fits


def test_another_profile_moves_the_colours_as_the_colour_engine_says() -> None:
    converted, fits = profiles.to_srgb(tagged(PICTURE, WIDE))
    assert fits
    assert torch.equal(making.levels(converted), as_image_cms_says(PICTURE, WIDE))
    red, _ = profiles.to_srgb(tagged(Image.new("RGB", (1, 1), "red"), WIDE))
    assert red.getpixel((0, 0)) == (0, 255, 0)  # red and green changed places in that profile


def test_black_and_white_stay_black_and_white_whatever_the_paper() -> None:
    icc = making.faded_profile()
    for colour in ("black", "white"):
        image = Image.new("RGB", (1, 1), colour)
        converted, fits = profiles.to_srgb(tagged(image, icc))
        assert fits
        assert converted.getpixel((0, 0)) == pytest.approx(image.getpixel((0, 0)), abs=1)
    converted, _ = profiles.to_srgb(tagged(PICTURE, icc))
    assert torch.equal(making.levels(converted), as_image_cms_says(PICTURE, icc))


def test_a_grey_photo_with_a_profile_for_colours_is_converted_too() -> None:
    grey, icc = PICTURE.convert("L"), making.colour_profile(1.0)
    converted, fits = profiles.to_srgb(tagged(grey, icc))
    assert fits
    assert torch.equal(making.levels(converted), as_image_cms_says(grey.convert("RGB"), icc))
    assert converted.getpixel((0, 0)) != grey.convert("RGB").getpixel((0, 0))


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_a_profile_for_grey_moves_grey(gamma: float) -> None:
    grey, icc = PICTURE.convert("L"), making.grey_profile(gamma)
    converted, fits = profiles.to_srgb(tagged(grey, icc))
    assert fits
    assert torch.equal(making.levels(converted), as_image_cms_says(grey, icc))
    middle, _ = profiles.to_srgb(tagged(Image.new("L", (1, 1), 128), icc))
    expected = 255 * (1.055 * (128 / 255) ** (gamma / 2.4) - 0.055)
    assert middle.getpixel((0, 0)) == pytest.approx([expected] * 3, abs=1.5)


def test_a_profile_for_inks_moves_inks() -> None:
    inks, icc = PICTURE.convert("CMYK"), making.cmyk_profile()
    converted, fits = profiles.to_srgb(tagged(inks, icc))
    assert fits
    assert torch.equal(making.levels(converted), as_image_cms_says(inks, icc))
    full, _ = profiles.to_srgb(tagged(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), icc))
    assert full.getpixel((0, 0)) != (0, 255, 255)


@pytest.mark.parametrize("icc", [b"", making.profile("LAB")])
def test_lab_is_converted_with_and_without_a_profile(icc: bytes) -> None:
    lab = ImageCms.profileToProfile(
        PICTURE, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    converted, fits = profiles.to_srgb(tagged(lab, icc))
    assert fits
    apart = (making.levels(converted).int() - making.levels(PICTURE).int()).abs()
    assert float(apart.float().mean()) < 3


UNUSABLE = {
    "no profile": ("RGB", b"not a profile" * 20),
    "a cut profile": ("RGB", WIDE[:300]),
    "a cut header": ("L", WIDE[:20]),
    "a space that no picture is in": ("RGB", making.profile("XYZ")),
    "grey for colours": ("RGB", making.grey_profile(1.0)),
    "inks for colours": ("RGB", making.cmyk_profile()),
    "inks for grey": ("L", making.cmyk_profile()),
    "colours for inks": ("CMYK", WIDE),
    "colours for Lab": ("LAB", WIDE),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_profile_that_cannot_be_used_is_told_and_changes_nothing(kind: str) -> None:
    mode, icc = UNUSABLE[kind]
    image = tagged(Image.new("LAB", (2, 2)) if mode == "LAB" else PICTURE.convert(mode), icc)
    converted, fits = profiles.to_srgb(image)
    assert converted is image
    assert not fits


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(WIDE) - 1), st.integers(0, 255)), min_size=1),
    end=st.integers(0, len(WIDE)),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
)
def test_a_corrupt_profile_is_used_or_ignored_and_nothing_else(
    changes: list[tuple[int, int]], end: int, mode: str
) -> None:
    icc = bytearray(WIDE)
    for place, value in changes:
        icc[place] = value
    for data in (bytes(icc), bytes(icc[:end])):
        image = tagged(PICTURE.convert(mode), data)
        converted, fits = profiles.to_srgb(image)
        assert converted.size == image.size
        assert fits or converted is image


FORMATS: dict[str, dict[str, object]] = {
    "PNG": {},
    "JPEG": {"quality": 95},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
    "TIFF": {},
    "HEIF": {},
}


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_profile_is_found_in_every_format(format_name: str) -> None:
    options = FORMATS[format_name]
    plain = images.load(making.encoded(PICTURE, format_name, **options))
    photo = images.load(making.encoded(PICTURE, format_name, icc_profile=WIDE, **options))
    expected = as_image_cms_says(images.to_image(plain.pixels), WIDE)
    assert torch.equal(making.levels(images.to_image(photo.pixels)), expected)
    assert photo.notes == ()
    damaged = making.encoded(PICTURE, format_name, icc_profile=b"not a profile" * 20, **options)
    ignored = images.load(damaged)
    assert torch.equal(ignored.pixels, plain.pixels)
    assert ignored.notes == (profiles.NOTE,)


@pytest.mark.parametrize(("mode", "icc"), [("LA", making.grey_profile(1.0)), ("RGBA", WIDE)])
def test_a_profile_leaves_transparency_alone(mode: str, icc: bytes) -> None:
    image = ALPHA.convert(mode)
    photo = images.load(making.encoded(image, "PNG", icc_profile=icc))
    colours = image.getchannel("L") if mode == "LA" else image.convert("RGB")
    assert torch.equal(
        making.levels(images.to_image(photo.pixels)), as_image_cms_says(colours, icc)
    )
    assert photo.alpha is not None
    assert torch.equal(photo.alpha * 255, making.levels(image.convert("RGBA"))[3].float())


def test_a_palette_obeys_the_profile() -> None:
    image = PICTURE.quantize(16)
    photo = images.load(making.encoded(image, "PNG", icc_profile=WIDE))
    expected = as_image_cms_says(image.convert("RGB"), WIDE)
    assert torch.equal(making.levels(images.to_image(photo.pixels)), expected)


def test_a_real_photo_in_srgb_is_kept_to_the_byte(chelsea: Path) -> None:
    with Image.open(chelsea) as image:
        file = making.encoded(image, "PNG", icc_profile=making.profile("sRGB"))
        assert torch.equal(
            making.levels(images.to_image(images.load(file).pixels)), making.levels(image)
        )


def test_the_profile_to_embed_is_srgb_and_the_same_at_any_time() -> None:
    data = profiles.srgb_bytes()
    opened = ImageCms.ImageCmsProfile(io.BytesIO(data))
    assert opened.profile.xcolor_space.strip() == "RGB"
    assert "sRGB" in ImageCms.getProfileDescription(opened)
    created = opened.profile.creation_date
    assert created is not None
    assert (created.year, created.month, created.day) == (2024, 1, 1)
    assert int.from_bytes(data[:4], "big") == len(data)
