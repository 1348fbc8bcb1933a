import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path

import making
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin
from torch import Tensor

from dreamer.errors import InputError, OutputError, UsageError
from dreamer.media import formats, images, profiles
from dreamer.media.images import Photo

SUFFIXES = [row.suffixes[0] for row in formats.FORMATS]
WITH_ALPHA = [row.suffixes[0] for row in formats.FORMATS if row.alpha]

LEVELS = making.random_levels(4, 12, 16)
PIXELS, ALPHA = LEVELS[:3] / 255, LEVELS[3] / 255
RGB, RGBA = making.image_of(LEVELS[:3]), making.image_of(LEVELS)


def to_levels(planes: Tensor) -> Tensor:
    return (planes * 255).round().to(torch.uint8)


def smooth(height: int = 60, width: int = 80) -> Tensor:
    """Three soft ramps: what every lossy format keeps well."""
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    return torch.stack([down * across, 1 - down * across, (down + across) / 2])


def test_a_photo_knows_its_size_name_and_hash(tmp_path: Path, rocket: Path) -> None:
    photo = images.load(rocket)
    assert photo.size == (640, 427)
    assert photo.pixels.shape == (3, 427, 640)
    assert photo.pixels.dtype == torch.float32
    assert photo.alpha is None
    assert photo.name == "rocket.jpg"
    assert photo.sha256 == hashlib.sha256(rocket.read_bytes()).hexdigest()
    from_bytes = images.load(rocket.read_bytes())
    assert from_bytes.name == "stdin"
    assert images.load(rocket.read_bytes(), name="photo 1").name == "photo 1"
    assert from_bytes.sha256 == images.load(str(rocket)).sha256 == photo.sha256
    with Image.open(rocket) as image:
        assert images.load(image).name == "rocket.jpg"
        assert torch.equal(images.load(image).pixels, photo.pixels)
    assert images.load(Image.new("RGB", (1, 1))).name == "image"


def test_pictures_without_a_file_differ_in_their_hash_if_they_differ() -> None:
    swapped = RGB.quantize(4)
    palette = swapped.copy()
    colours = palette.getpalette()
    assert colours is not None
    swapped.putpalette(colours[3:6] + colours[:3] + colours[6:])
    pictures = [
        RGB,
        RGB.rotate(180),
        RGB.convert("L"),
        Image.new("L", (6, 4)),
        Image.new("L", (4, 6)),
        palette,
        swapped,
    ]
    hashes = [images.load(picture).sha256 for picture in pictures]
    assert len(set(hashes)) == len(pictures)
    assert images.load(RGB.copy()).sha256 == hashes[0]


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png"])
def test_a_photo_goes_through_png_to_the_byte(photos: Path, name: str) -> None:
    photo = images.load(photos / name)
    with Image.open(photos / name) as image:
        assert torch.equal(to_levels(photo.pixels), making.levels(image.convert("RGB")))
    once = images.encode(photo.pixels, ".png")
    again = images.load(once)
    assert torch.equal(again.pixels, photo.pixels)
    assert images.encode(again.pixels, ".png") == once


def test_transparency_goes_through_png_and_tiff_to_the_byte() -> None:
    for suffix in (".png", ".tif"):
        photo = images.load(images.encode(PIXELS, suffix, alpha=ALPHA))
        assert torch.equal(photo.pixels, PIXELS)
        assert photo.alpha is not None
        assert torch.equal(photo.alpha, ALPHA)
        assert photo.notes == ()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8]
)
@pytest.mark.parametrize("channels", [3, 4])
def test_a_tensor_of_any_fitting_type_is_a_photo(channels: int, dtype: torch.dtype) -> None:
    values = LEVELS[:channels]
    tensor = values.to(dtype) if dtype == torch.uint8 else (values / 255).to(dtype)
    photo = images.from_tensor(tensor)
    expected = values / 255 if dtype == torch.uint8 else tensor.float()
    assert photo.pixels.dtype == torch.float32
    assert torch.equal(photo.pixels, expected[:3])
    assert (photo.alpha is None) == (channels == 3)
    assert photo.alpha is None or torch.equal(photo.alpha, expected[3])
    assert (photo.name, photo.size, photo.notes) == ("tensor", (16, 12), ())


def test_a_tensor_is_copied_in_whatever_order_it_lies() -> None:
    tensor = PIXELS.permute(1, 2, 0).contiguous().permute(2, 0, 1).requires_grad_()
    photo, same = images.from_tensor(tensor), PIXELS.clone()
    assert photo.sha256 == images.from_tensor(PIXELS.clone()).sha256
    assert not photo.pixels.requires_grad
    plain = images.from_tensor(same)
    with torch.no_grad():
        tensor.zero_()
        same.zero_()
    assert torch.equal(photo.pixels, PIXELS)
    assert torch.equal(plain.pixels, PIXELS)


def test_tensors_differ_in_their_hash_if_they_differ() -> None:
    tensors = [PIXELS, PIXELS.flip(2), torch.zeros(3, 4, 6), torch.zeros(3, 6, 4)]
    assert len({images.from_tensor(tensor).sha256 for tensor in tensors}) == 4


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(2, 4, 5), r"has the shape \(2, 4, 5\): it is no picture"),
        (torch.zeros(5, 6, 3), r"has the shape \(5, 6, 3\)"),
        (torch.zeros(4, 5), "has the shape"),
        (torch.zeros(1, 3, 4, 5), "has the shape"),
        (torch.zeros(3, 0, 5), "has the shape"),
        (torch.zeros(()), "has the shape"),
        (torch.zeros(3, 4, 5, dtype=torch.int32), "holds int32"),
        (torch.zeros(3, 4, 5, dtype=torch.bool), "holds bool"),
        (torch.zeros(3, 4, 5, dtype=torch.complex64), "holds complex64"),
        (torch.full((3, 4, 5), 1.001), "values outside 0..1"),
        (torch.full((3, 4, 5), -0.001), "values outside 0..1"),
        (torch.full((3, 4, 5), float("nan")), "values outside 0..1"),
        (torch.full((3, 4, 5), float("inf")), "values outside 0..1"),
        (torch.full((4, 4, 5), 255.0), "values outside 0..1"),
    ],
)
def test_a_tensor_that_is_no_picture_is_refused_by_name(tensor: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        images.from_tensor(tensor, name="two\nlines")
    assert caught.value.message.startswith("'two\\nlines' ")


def photo_of(pixels: Tensor, alpha: Tensor | None = None) -> Photo:
    return Photo(pixels, alpha, "0" * 64, "photo.png", ("a note",))


def test_a_photo_of_the_right_size_is_not_touched() -> None:
    photo = photo_of(PIXELS, ALPHA)
    assert images.resize(photo, 16) is photo


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.booleans())
def test_a_resized_photo_has_exactly_the_long_edge(
    width: int, height: int, long_edge: int, transparent: bool
) -> None:
    photo = photo_of(
        torch.rand(3, height, width), torch.rand(height, width) if transparent else None
    )
    small = images.resize(photo, long_edge)
    assert small.size == images.fitted(width, height, long_edge)
    assert max(small.size) == long_edge
    for plane in (small.pixels, *([small.alpha] if small.alpha is not None else [])):
        assert plane.shape[-2:] == (small.size[1], small.size[0])
        assert bool(((plane >= 0) & (plane <= 1)).all())
    assert (small.alpha is not None) == transparent
    assert (small.sha256, small.name, small.notes) == (photo.sha256, photo.name, photo.notes)


@pytest.mark.parametrize("long_edge", [20, 40, 200])
def test_resizing_keeps_plain_areas_and_soft_ramps(long_edge: int) -> None:
    plain = images.resize(photo_of(torch.full((3, 60, 80), 0.4)), long_edge)
    torch.testing.assert_close(plain.pixels, torch.full_like(plain.pixels, 0.4))
    small = images.resize(photo_of(smooth()), long_edge)
    expected = smooth(small.size[1], small.size[0])
    assert float((small.pixels - expected).abs().mean()) < 0.02


def test_resizing_a_fine_pattern_gives_its_mean_and_no_moire() -> None:
    checks = ((torch.arange(64)[:, None] + torch.arange(64)) % 2).float().expand(3, -1, -1)
    small = images.resize(photo_of(checks.contiguous()), 9)
    torch.testing.assert_close(small.pixels, torch.full((3, 9, 9), 0.5), atol=0.06, rtol=0)


@pytest.mark.parametrize("long_edge", [7, 33, 90])
def test_what_is_hidden_under_transparency_does_not_bleed(long_edge: int) -> None:
    pixels = torch.zeros(3, 64, 64)
    pixels[0, :, :30], pixels[1, :, 30:] = 1, 1  # red, and green that nobody sees
    alpha = torch.zeros(64, 64)
    alpha[:, :30] = 1
    small = images.resize(photo_of(pixels, alpha), long_edge)
    assert small.alpha is not None
    visible = small.alpha > 0.01
    assert float(small.alpha[:, 0].min()) > 0.999
    assert float(small.alpha[:, -1].max()) < 0.001
    assert float(small.pixels[1][visible].max()) < 1e-3
    assert float(small.pixels[0][visible].min()) > 0.99
    assert float(small.pixels[1, :, -1].min()) > 0.99  # hidden colours stay what they are


def test_an_opaque_alpha_changes_nothing_about_the_colours() -> None:
    with_alpha = images.resize(photo_of(PIXELS, torch.ones(12, 16)), 9)
    torch.testing.assert_close(with_alpha.pixels, images.resize(photo_of(PIXELS), 9).pixels)


def test_a_picture_is_rounded_to_the_nearest_level_and_a_half_to_the_even_one() -> None:
    values = torch.tensor([-1, 0, 0.5, 1.5, 2.5, 2.6, 127.5, 254.4, 255, 300], dtype=torch.float64)
    pixels = (values / 255).expand(3, 1, -1)
    assert torch.equal(pixels[0, 0] * 255 % 1 == 0.5, values % 1 == 0.5)
    image = images.to_image(pixels)
    assert image.mode == "RGB"
    expected = [0, 0, 0, 2, 2, 3, 128, 254, 255, 255]
    assert making.levels(image).tolist() == [[expected]] * 3
    assert float(pixels.max()) > 1  # the tensor is as it was


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_level_survives_in_every_precision_that_holds_it(dtype: torch.dtype) -> None:
    levels = torch.arange(256)
    pixels = (levels.double() / 255).to(dtype).expand(3, 1, -1)
    image = making.levels(images.to_image(pixels, alpha=pixels[0].float()))
    apart = (image.int() - levels).abs().max()
    assert int(apart) <= (1 if dtype == torch.bfloat16 else 0)  # which has 8 bits, not 8 decimals


def test_transparency_makes_an_rgba_picture() -> None:
    image = images.to_image(PIXELS, ALPHA)
    assert image.mode == "RGBA"
    assert torch.equal(making.levels(image), LEVELS.to(torch.uint8))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_not_written(value: float) -> None:
    spoiled = PIXELS.clone()
    spoiled[1, 2, 3] = value
    attempts: list[Callable[[], object]] = [
        lambda: images.to_image(spoiled),
        lambda: images.to_image(PIXELS, spoiled[1]),
        *(lambda suffix=suffix: images.encode(spoiled, suffix) for suffix in SUFFIXES),
    ]
    for attempt in attempts:
        with pytest.raises(OutputError) as caught:
            attempt()
        assert caught.value.message == "The picture holds values that are not numbers."
        assert caught.value.advice == "Try a smaller step size."


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_carries_the_srgb_profile(suffix: str) -> None:
    with Image.open(io.BytesIO(images.encode(PIXELS, suffix))) as image:
        assert image.info["icc_profile"] == profiles.srgb_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_picture_gives_the_same_bytes(suffix: str, astronaut: Path) -> None:
    pixels = images.load(astronaut).pixels
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, [min(cores)])
        alone = images.encode(pixels, suffix, recipe='{"seed": 1}')
    finally:
        os.sched_setaffinity(0, cores)
    assert images.encode(pixels.clone(), f"other name{suffix}", recipe='{"seed": 1}') == alone


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_format_loses_what_the_eye_sees(suffix: str, coffee: Path) -> None:
    pixels = images.load(coffee).pixels[:, 100:228, 200:328]
    file = images.encode(pixels, suffix)
    apart = (images.load(file).pixels - pixels).abs() * 255
    assert float(apart.mean()) < (0.01 if suffix in (".png", ".tif") else 2.5)


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".webp"])
def test_small_saturated_detail_is_not_smeared(suffix: str) -> None:
    # WebP has no way to keep colours at full resolution, short of losing nothing at all.
    stripes = torch.zeros(3, 32, 32)
    stripes[0, :, ::2], stripes[2, :, 1::2] = 1, 1
    photo = images.load(images.encode(stripes, suffix))
    assert float((photo.pixels - stripes).abs().mean()) * 255 < 8


def test_a_jpeg_is_written_with_quality_95_and_full_colour_resolution() -> None:
    with Image.open(io.BytesIO(images.encode(PIXELS, ".jpg"))) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
        used = image.quantization
    with Image.open(io.BytesIO(making.encoded(RGB, "JPEG", quality=95))) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        assert image.quantization == used


@pytest.mark.parametrize("suffix", WITH_ALPHA)
def test_transparency_is_carried_wherever_the_format_holds_it(suffix: str) -> None:
    alpha = smooth()[2]
    photo = images.load(images.encode(smooth(), suffix, alpha=alpha))
    assert photo.alpha is not None
    assert float((photo.alpha - alpha).abs().max()) < 0.03
    assert float((photo.pixels - smooth()).abs().mean()) < 0.02
    opaque = images.load(images.encode(smooth(), suffix))
    assert opaque.alpha is None


@pytest.mark.parametrize("suffix", WITH_ALPHA)
def test_colours_under_transparency_are_kept(suffix: str) -> None:
    photo = images.load(images.encode(smooth(), suffix, alpha=torch.zeros(60, 80)))
    assert photo.alpha is not None
    assert float(photo.alpha.max()) == 0
    assert float((photo.pixels - smooth()).abs().mean()) < 0.02


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_a_jpeg_is_laid_on_white(suffix: str) -> None:
    pixels, alpha = smooth(), torch.ones(60, 80)
    alpha[:, 40:], alpha[:20] = 0, 0.5
    photo = images.load(images.encode(pixels, suffix, alpha=alpha))
    assert photo.alpha is None
    assert float(photo.pixels[:, 25:, 50:].min()) > 0.98
    expected = pixels * alpha + (1 - alpha)
    assert float((photo.pixels - expected).abs().mean()) < 0.02


def test_an_unknown_suffix_is_refused() -> None:
    with pytest.raises(UsageError, match="'dream.xyz'"):
        images.encode(PIXELS, "dream.xyz")


@pytest.mark.parametrize("error", [OSError("encoder error -2"), ValueError("cannot")])
def test_an_encoder_that_fails_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OutputError) as caught:
        images.save(PIXELS, tmp_path / "dream.webp")
    assert caught.value.message == f"The WEBP encoder failed: {error}."
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_saved_file_is_what_was_encoded(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "new folder" / f"dröm 😀{suffix.upper()}"
    images.save(PIXELS, target, alpha=ALPHA, recipe="{}")
    assert target.read_bytes() == images.encode(PIXELS, suffix, alpha=ALPHA, recipe="{}")
    with pytest.raises(OutputError, match="exists already"):
        images.save(1 - PIXELS, target)
    assert target.read_bytes() == images.encode(PIXELS, suffix, alpha=ALPHA, recipe="{}")
    images.save(1 - PIXELS, str(target), overwrite=True)
    assert target.read_bytes() == images.encode(1 - PIXELS, suffix)
    assert os.listdir(target.parent) == [target.name]


def test_what_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "dream.webp"
    target.write_bytes(b"old")
    for pixels in (torch.full((3, 2, 2), float("nan")), torch.zeros(3, 1, 16_384)):
        with pytest.raises(OutputError):
            images.save(pixels, target, overwrite=True)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["dream.webp"]
