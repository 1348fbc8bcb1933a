import io
import os
import struct
from collections.abc import Callable
from pathlib import Path

import making
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from torch import Tensor

from dreamer.errors import InputError
from dreamer.media import decoding, profiles, reading
from dreamer.media.decoding import Decoded
from dreamer.media.reading import Source

STRETCHED = ("its values have no fixed white: they were stretched to the full range",)
EXIF_DAMAGED = ("its EXIF data is damaged: it may be turned the wrong way",)
BITS_LOST = "its 16-bit colours were read with 8 bits"
BITS_TRADED = "its colours were read with 8 bits, to apply its colour profile"

COLOURS = making.random_levels(4, 11, 13)
RGB, RGBA = making.image_of(COLOURS[:3]), making.image_of(COLOURS)
GREY = RGB.convert("L")


@pytest.fixture(autouse=True)
def _strips_of_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "STRIP", 30)


def decoded(source: Source) -> Decoded:
    with reading.opened(source) as opened:
        return decoding.decode(opened)


def eight_bits(result: Decoded) -> Tensor:
    """What was decoded as levels (4, H, W); that no bits are lost on the way is checked here."""
    alpha = torch.ones_like(result.pixels[0]) if result.alpha is None else result.alpha
    values = torch.cat([result.pixels, alpha[None]])
    levels = (values * 255).round()
    assert torch.equal(levels / 255, values)
    return levels.to(torch.uint8)


def grey_pixels(result: Decoded) -> Tensor:
    assert torch.equal(result.pixels, result.pixels[:1].expand(3, -1, -1))
    return result.pixels[0]


def palette(transparent: int | bytes | None = None) -> Image.Image:
    image = RGB.quantize(16)
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


EIGHT_BIT_FILES: dict[str, Callable[[], bytes]] = {
    "1-bit PNG": lambda: making.encoded(GREY.convert("1"), "PNG"),
    "1-bit PNG, white transparent": lambda: making.png(
        (8, 1), 1, making.GREY, b"\0\xa7", making.transparent(1)
    ),
    "grey PNG": lambda: making.encoded(GREY, "PNG"),
    "grey PNG, one level transparent": lambda: making.encoded(GREY, "PNG", transparency=90),
    "grey and alpha PNG": lambda: making.encoded(RGBA.convert("LA"), "PNG"),
    "palette PNG": lambda: making.encoded(palette(), "PNG"),
    "palette PNG, one colour transparent": lambda: making.encoded(palette(3), "PNG"),
    "palette PNG, an alpha for each": lambda: making.encoded(
        palette(bytes(range(0, 240, 15))), "PNG"
    ),
    "RGB PNG": lambda: making.encoded(RGB, "PNG"),
    "RGB PNG, one colour transparent": lambda: making.encoded(
        RGB, "PNG", transparency=RGB.getpixel((2, 3))
    ),
    "RGBA PNG": lambda: making.encoded(RGBA, "PNG"),
    "JPEG": lambda: making.encoded(RGB, "JPEG"),
    "progressive JPEG": lambda: making.encoded(RGB, "JPEG", progressive=True),
    "grey JPEG": lambda: making.encoded(GREY, "JPEG"),
    "CMYK JPEG": lambda: making.encoded(RGB.convert("CMYK"), "JPEG"),
    "WebP": lambda: making.encoded(RGB, "WEBP"),
    "WebP with alpha": lambda: making.encoded(RGBA, "WEBP", lossless=True),
    "AVIF": lambda: making.encoded(RGB, "AVIF"),
    "AVIF with alpha": lambda: making.encoded(RGBA, "AVIF"),
    "GIF": lambda: making.encoded(RGB, "GIF"),
    "GIF with a transparent colour": lambda: making.encoded(palette(), "GIF", transparency=5),
    "BMP": lambda: making.encoded(RGB, "BMP"),
    "PPM": lambda: making.encoded(RGB, "PPM"),
    "1-bit TIFF": lambda: making.encoded(GREY.convert("1"), "TIFF", compression="group4"),
    "grey TIFF": lambda: making.encoded(GREY, "TIFF"),
    "grey TIFF in which 0 is white": lambda: making.tiff(
        (3, 1), [b"\0\x80\xf0"], {making.PHOTOMETRIC: (making.WHITE_IS_ZERO,)}
    ),
    "RGBA TIFF": lambda: making.encoded(RGBA, "TIFF"),
    "RGB TIFF, LZW": lambda: making.encoded(RGB, "TIFF", compression="tiff_lzw"),
    "RGB TIFF, planes apart": lambda: making.tiff(
        (13, 11),
        [plane.numpy().tobytes() for plane in COLOURS[:3]],
        {making.PHOTOMETRIC: (2,), 258: (8, 8, 8), 277: (3,), 284: (2,)},
    ),
    "CMYK TIFF": lambda: making.encoded(RGB.convert("CMYK"), "TIFF"),
}


@pytest.mark.parametrize("kind", EIGHT_BIT_FILES)
def test_every_kind_of_8_bit_file_keeps_its_colours_and_transparency(kind: str) -> None:
    data = EIGHT_BIT_FILES[kind]()
    result = decoded(data)
    assert torch.equal(eight_bits(result), making.seen(data, "RGBA"))
    assert (result.alpha is not None) == (
        "alpha" in kind or "transparent" in kind or "RGBA" in kind
    )
    assert result.notes == ()


@pytest.mark.parametrize("bits", [2, 4])
def test_a_transparent_grey_of_few_bits_is_found(bits: int) -> None:
    row, key = (b"\0\x1b", 2) if bits == 2 else (b"\0\x05\xaf", 10)  # black, two greys, white
    result = decoded(making.png((4, 1), bits, making.GREY, row, making.transparent(key)))
    assert torch.equal(grey_pixels(result), torch.tensor([[0, 85, 170, 255]]) / 255)
    assert result.alpha is not None
    assert result.alpha.tolist() == [[1, 1, 0, 1]]


def test_a_cmyk_photo_has_the_colours_of_its_inks() -> None:
    inks = [((0, 0, 0, 0), (255, 255, 255)), ((255, 0, 0, 0), (0, 255, 255))]
    inks += [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 255), (0, 0, 0))]
    for ink, colour in inks:
        file = making.encoded(Image.new("CMYK", (8, 8), ink), "JPEG", quality=95)
        assert b"Adobe" in file  # which stores the inks upside down
        expected = torch.tensor(colour)[:, None, None] / 255
        torch.testing.assert_close(
            decoded(file).pixels, expected.expand(3, 8, 8), atol=0.02, rtol=0
        )


def test_a_lab_tiff_has_the_colours_it_was_made_of(chelsea: Path) -> None:
    with Image.open(chelsea) as photo:
        cut = photo.crop((100, 50, 180, 110))
    lab = ImageCms.profileToProfile(
        cut, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    for icc in (None, making.profile("LAB")):
        result = decoded(making.encoded(lab, "TIFF", icc_profile=icc))
        apart = (result.pixels * 255 - making.levels(cut)).abs()
        assert float(apart.mean()) < 1.5
        assert float(apart.max()) < 8
        assert result.notes == ()


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_16_bit_png_keeps_every_bit(channels: int, interlaced: bool) -> None:
    values = making.random_levels(channels, 11, 13, 65535)
    result = decoded(making.png16(values, interlaced=interlaced))
    colours = values[:3] if channels >= 3 else values[:1].expand(3, -1, -1)
    assert torch.equal(result.pixels, colours / 65535)
    if channels in (2, 4):
        assert result.alpha is not None
        assert torch.equal(result.alpha, values[-1] / 65535)
    else:
        assert result.alpha is None
    assert result.notes == ()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_png_with_a_transparent_colour_compares_all_bits(channels: int) -> None:
    values = making.random_levels(channels, 5, 6, 65535)
    key = values[:, 2, 3].tolist()
    values[:, 4, 4] = values[:, 2, 3] ^ 1  # the same colour, if one looks at the high bytes only
    result = decoded(making.png16(values, making.transparent(*key)))
    expected = torch.ones(5, 6)
    expected[2, 3] = 0
    assert result.alpha is not None
    assert torch.equal(result.alpha, expected)


@pytest.mark.parametrize("deflated", [False, True])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_16_bit_tiff_keeps_every_bit(channels: int, big_endian: bool, deflated: bool) -> None:
    values = making.random_levels(channels, 11, 13, 65535)
    result = decoded(making.tiff16(values, big_endian=big_endian, deflated=deflated))
    assert torch.equal(result.pixels, (values[:3] / 65535).expand(3, -1, -1))
    assert (result.alpha is not None) == (channels == 4)
    if result.alpha is not None:
        assert torch.equal(result.alpha, values[3] / 65535)
    assert result.notes == ()


def test_16_bit_planes_that_cannot_be_read_are_refused_by_name() -> None:
    file = making.tiff16(making.random_levels(3, 4, 5, 65535), planar=True)
    with pytest.raises(InputError, match="'stdin' keeps its 16-bit colours in separate planes"):
        decoded(file)


def test_16_bit_inks_are_read_with_8_bits_and_that_is_said() -> None:
    pixels = struct.pack("<4H", 0, 65535, 65535, 0)
    tags = {making.PHOTOMETRIC: (5,), 258: (16,) * 4, 277: (4,)}
    result = decoded(making.tiff((1, 1), [pixels], tags))
    assert result.pixels.flatten().tolist() == [1, 0, 0]
    assert result.notes == (BITS_LOST,)


def test_a_16_bit_picture_of_pillows_is_read_with_8_bits_and_that_is_said() -> None:
    values = making.random_levels(3, 4, 5, 65535)
    for file in (making.png16(values), making.tiff16(values)):
        with Image.open(io.BytesIO(file)) as image:
            result = decoded(image)
        assert torch.equal(eight_bits(result)[:3], values // 256)
        assert result.notes == (BITS_LOST,)


def test_a_16_bit_tiff_in_which_0_is_white_is_no_negative() -> None:
    values = torch.tensor([[[0, 255, 65535]]])
    tags = {making.PHOTOMETRIC: (making.WHITE_IS_ZERO,)}
    pixels = grey_pixels(decoded(making.tiff16(values, tags)))
    assert torch.equal(pixels, 1 - values[0] / 65535)


def test_a_12_bit_tiff_is_as_bright_as_it_is_meant() -> None:
    pixels = grey_pixels(decoded(making.tiff((2, 1), [bytes((0x80, 0x0F, 0xFF))], {258: (12,)})))
    assert torch.equal(pixels, torch.tensor([[0x800, 0xFFF]]) / 4095)


FLOAT, UNSIGNED, SIGNED = (3,), (1,), (2,)


@pytest.mark.parametrize("big_endian", [False, True])
def test_a_float_tiff_of_0_to_1_is_taken_as_it_is(big_endian: bool) -> None:
    pixels = struct.pack(">3f" if big_endian else "<3f", 0.25, 0.1, 0.75)
    tags = {258: (32,), 339: FLOAT}
    result = decoded(making.tiff((3, 1), [pixels], tags, big_endian=big_endian))
    assert torch.equal(grey_pixels(result), torch.tensor([[0.25, 0.1, 0.75]]))
    assert result.notes == ()


@pytest.mark.parametrize(
    ("code", "values", "sample_format"),
    [
        ("f", (-5, 5, 0), FLOAT),
        ("f", (0, 800, 400), FLOAT),
        ("i", (-(2**31), 2**31 - 1, 0), SIGNED),
        ("I", (0, 2**32 - 1, 2**31), UNSIGNED),
        ("h", (-3000, 3000, 0), SIGNED),
    ],
)
def test_values_without_a_fixed_white_are_stretched_and_that_is_said(
    code: str, values: tuple[int, ...], sample_format: tuple[int]
) -> None:
    pixels = struct.pack(f"<3{code}", *values)
    tags = {258: (8 * struct.calcsize(code),), 339: sample_format}
    result = decoded(making.tiff((3, 1), [pixels], tags))
    torch.testing.assert_close(grey_pixels(result), torch.tensor([[0, 1, 0.5]]))
    assert result.notes == STRETCHED


def test_a_flat_map_of_values_is_no_division_by_zero() -> None:
    result = decoded(making.tiff((2, 1), [struct.pack("<2f", 7, 7)], {258: (32,), 339: FLOAT}))
    assert grey_pixels(result).tolist() == [[0, 0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    file = making.tiff((2, 1), [struct.pack("<2f", 0.5, value)], {258: (32,), 339: FLOAT})
    with pytest.raises(InputError, match="'stdin' holds values that are not numbers") as caught:
        decoded(file)
    assert caught.value.advice == "Fill the missing values in first."


def test_portable_maps_have_the_white_that_their_header_says() -> None:
    for white in (255, 1023, 65535):
        letter = "B" if white < 256 else "H"
        grey = f"P5 2 1 {white}\n".encode() + struct.pack(f">2{letter}", 0, white)
        assert grey_pixels(decoded(grey)).tolist() == [[0, 1]]
    floats = b"Pf\n3 1\n-1.0\n" + struct.pack("<3f", 0.25, 0.1, 0.75)
    assert torch.equal(grey_pixels(decoded(floats)), torch.tensor([[0.25, 0.1, 0.75]]))


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
DEEP_MODES = ["LAB", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"]


@pytest.mark.parametrize("mode", MODES)
def test_a_picture_of_pillows_is_taken_in_every_mode(mode: str) -> None:
    source = RGBA.convert("LA") if mode == "La" else RGBA
    image = source.convert(mode)
    expected = (image.convert("LA") if mode == "La" else image).convert("RGBA")
    assert torch.equal(eight_bits(decoded(image)), making.levels(expected))


@pytest.mark.parametrize("mode", DEEP_MODES)
def test_a_black_and_a_white_picture_of_pillows_are_that_in_every_mode(mode: str) -> None:
    white = {"F": 1.0, "LAB": (255, 0, 0)}.get(mode, 65535)
    for colour, expected in ((0, 0), (white, 1)):
        image = Image.new(mode, (2, 1), 0)
        image.putpixel((0, 0), colour)
        if mode == "LAB":
            image = Image.merge("LAB", [image.getchannel(0), *[Image.new("L", (2, 1), 128)] * 2])
        assert decoded(image).pixels[:, 0, 0].tolist() == pytest.approx([expected] * 3, abs=0.01)


@pytest.mark.parametrize("format_name", ["GIF", "PNG", "WEBP", "AVIF", "TIFF"])
def test_of_an_animation_the_first_picture_is_used_and_that_is_said(format_name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    file = making.encoded(frames[0], format_name, save_all=True, append_images=frames[1:])
    result = decoded(file)
    red = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 8, 8)
    torch.testing.assert_close(result.pixels, red, atol=0.02, rtol=0)
    assert result.notes == ("only one of its 3 frames is used",)


def test_a_real_animation_and_a_real_stack_are_read(photos: Path) -> None:
    for name, frames in (("no_time_for_that_tiny.gif", 24), ("multipage.tif", 2)):
        result = decoded(photos / name)
        data = (photos / name).read_bytes()
        assert torch.equal(eight_bits(result)[:3], making.seen(data))
        assert result.notes == (f"only one of its {frames} frames is used",)


def test_the_preview_in_a_phones_photo_is_no_animation() -> None:
    preview = RGB.resize((4, 3))
    file = making.encoded(RGB, "MPO", save_all=True, append_images=[preview])
    result = decoded(file)
    assert torch.equal(eight_bits(result)[:3], making.seen(file))
    assert result.notes == ()


LOSSLESS = {"PNG": {}, "JPEG": {}, "WEBP": {"lossless": True}, "AVIF": {}, "TIFF": {}, "MPO": {}}


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("format_name", LOSSLESS)
def test_a_photo_is_turned_upright_as_pillow_does(format_name: str, value: int) -> None:
    file = making.encoded(RGB, format_name, exif=making.turned(value), **LOSSLESS[format_name])
    result = decoded(file)
    assert torch.equal(eight_bits(result)[:3], making.seen(file))
    assert result.pixels.shape[1:] == ((13, 11) if value >= 5 else (11, 13))
    assert result.notes == ()


@pytest.mark.parametrize("value", range(1, 9))
def test_transparency_deep_colours_and_stacks_are_turned_too(value: int) -> None:
    exif = making.turned(value)
    with_alpha = making.encoded(RGBA, "PNG", exif=exif)
    assert torch.equal(eight_bits(decoded(with_alpha)), making.seen(with_alpha, "RGBA"))
    upright = making.seen(making.encoded(RGB, "PNG", exif=exif)).int()
    tag = {ExifTags.Base.Orientation.value: (value,)}
    for file in (
        making.png16(COLOURS[:3].int() * 257, (b"eXIf", exif.removeprefix(b"Exif\0\0"))),
        making.tiff16(COLOURS[:3].int() * 257, tag),
        making.tiff16(COLOURS[:3].int() * 257, tag, deflated=True),
    ):
        torch.testing.assert_close(decoded(file).pixels, upright / 255)
    for compression in (None, "tiff_lzw"):  # which Pillow decodes itself, and with libtiff
        stack = making.encoded(
            RGB, "TIFF", exif=exif, save_all=True, append_images=[GREY], compression=compression
        )
        assert torch.equal(eight_bits(decoded(stack))[:3], upright.to(torch.uint8))


LUMA_ROUNDS = 1  # level: HEIC stores brightness and colour, even where it loses nothing else


@pytest.mark.parametrize("value", range(1, 9))
def test_a_heic_photo_is_turned_upright_once(value: int) -> None:
    result = decoded(making.encoded(RGB, "HEIF", exif=making.turned(value)))
    upright = making.seen(making.encoded(RGB, "PNG", exif=making.turned(value)))
    assert result.pixels.shape == upright.shape
    assert int((eight_bits(result)[:3].int() - upright.int()).abs().max()) <= LUMA_ROUNDS
    assert result.notes == ()


def test_a_heic_picture_keeps_its_transparency() -> None:
    result = eight_bits(decoded(making.encoded(RGBA, "HEIF")))
    assert int((result[:3].int() - COLOURS[:3]).abs().max()) <= LUMA_ROUNDS
    assert torch.equal(result[3], COLOURS[3].to(torch.uint8))


DAMAGED_EXIF = {
    "no header": b"garbage",
    "a directory after the end": b"II*\0\xff\xff\xff\xff",
    "a cut directory": b"II*\0\x08\0\0\0\xff\xff",
    "a cut entry": b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03",
}


@pytest.mark.parametrize("damage", DAMAGED_EXIF)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_is_said_and_costs_no_pixel(format_name: str, damage: str) -> None:
    options: dict[str, object] = {"lossless": True} if format_name == "WEBP" else {}
    intact = making.encoded(RGB, format_name, **options)
    file = making.encoded(RGB, format_name, exif=b"Exif\0\0" + DAMAGED_EXIF[damage], **options)
    result = decoded(file)
    assert torch.equal(eight_bits(result)[:3], making.seen(intact))
    assert result.notes == EXIF_DAMAGED


def test_an_orientation_that_does_not_exist_is_said() -> None:
    result = decoded(making.encoded(RGB, "PNG", exif=making.turned(9)))
    assert torch.equal(eight_bits(result)[:3], COLOURS[:3])
    assert result.notes == EXIF_DAMAGED


def test_exif_data_that_is_damaged_after_the_orientation_still_turns() -> None:
    whole = making.turned(6)
    count = whole.index(b"MM\0*") + 8
    file = making.encoded(RGB, "JPEG", exif=whole[:count] + b"\0\x09" + whole[count + 2 :])
    result = decoded(file)
    assert result.pixels.shape == (3, 13, 11)
    assert result.notes == ()


def test_a_16_bit_picture_with_a_profile_has_the_right_colours_and_says_what_it_cost() -> None:
    values = making.random_levels(4, 6, 7, 65535)
    file = making.png16(values, making.profiled(making.wide_profile()))
    result = decoded(file)
    with Image.open(io.BytesIO(file)) as image:
        converted, fits = profiles.to_srgb(image.convert("RGB"))
    assert fits
    assert torch.equal(eight_bits(Decoded(result.pixels, None, ()))[:3], making.levels(converted))
    assert result.alpha is not None
    assert torch.equal(result.alpha, values[3] / 65535)
    assert result.notes == (BITS_TRADED,)


def test_a_transparent_colour_is_found_before_the_profile_moves_it() -> None:
    values = making.random_levels(3, 5, 6, 65535)
    key = making.transparent(*values[:, 2, 3].tolist())
    result = decoded(making.png16(values, making.profiled(making.wide_profile()), key))
    assert result.alpha is not None
    assert (result.alpha == 0).nonzero().tolist() == [[2, 3]]


@pytest.mark.parametrize("channels", [1, 2])
def test_a_16_bit_grey_picture_obeys_a_profile_for_grey(channels: int) -> None:
    steps = torch.arange(0, 65536, 257)  # the 256 levels that the colour engine knows
    values = torch.stack([steps, steps])[:channels].reshape(channels, 16, 16)
    file = making.png16(values, making.profiled(making.grey_profile(1.0)))
    result = decoded(file)
    grey = Image.frombytes("L", (16, 16), bytes(range(256)))
    grey.info["icc_profile"] = making.grey_profile(1.0)
    converted, _ = profiles.to_srgb(grey)
    assert float(result.pixels[0, 8, 0]) > 0.7  # linear 0.5 is sRGB 0.73
    torch.testing.assert_close(result.pixels, making.levels(converted) / 255)
    assert result.notes == (BITS_TRADED,)


def test_a_profile_for_grey_makes_no_steps_in_dark_parts() -> None:
    values = torch.arange(4096).reshape(1, 1, -1)
    file = making.png16(values, making.profiled(making.grey_profile(1.0)))
    pixels = grey_pixels(decoded(file))[0]
    assert float(pixels[-1]) > 0.25
    assert float(pixels.diff().min()) > 0
    assert float(pixels.diff().max()) < 0.001


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("broken", ["no profile", "another space"])
def test_a_profile_that_cannot_be_used_is_said_for_16_bits_too(broken: str, channels: int) -> None:
    values = making.random_levels(channels, 4, 5, 65535)
    icc = b"not a profile" * 20 if broken == "no profile" else making.cmyk_profile()
    result = decoded(making.png16(values, making.profiled(icc)))
    colours = values[:3] if channels >= 3 else values[:1].expand(3, -1, -1)
    assert torch.equal(result.pixels, colours / 65535)
    assert result.notes == (profiles.NOTE,)


BROKEN_TIFFS = ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4", "raw"]


@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("compression", BROKEN_TIFFS)
def test_a_broken_tiff_says_nothing_behind_our_back(
    capfd: pytest.CaptureFixture[str], compression: str, pages: int
) -> None:
    image = RGB.resize((64, 48))
    page = image.convert("1") if compression == "group4" else image
    more = [page] * (pages - 1)
    file = making.encoded(page, "TIFF", compression=compression, save_all=True, append_images=more)
    refused = 0
    for at in range(8, len(file) - 40, len(file) // 40):
        try:
            decoded(file[:at] + b"\x81\xff" * 20 + file[at + 40 :])
        except InputError:
            refused += 1
    assert refused > 0
    assert capfd.readouterr() == ("", "")


def test_stderr_works_again_after_a_tiff(capfd: pytest.CaptureFixture[str]) -> None:
    decoded(making.encoded(RGB, "TIFF"))
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"
