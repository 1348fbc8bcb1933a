import bisect
import io
import json
from pathlib import Path

import making
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from dreamer.errors import InputError, OutputError
from dreamer.media import formats, images, metadata

PIXELS = torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(1))
PICTURE = images.to_image(PIXELS)
SUFFIXES = [row.suffixes[0] for row in formats.FORMATS]

RECIPES = {
    "plain": {"schema": 1, "target": "parts + 0.5*block8:3", "seed": 7},
    "no ASCII": {"photo": "dröm på 日本.png"},
    "emoji": {"photo": "😀👩‍🚀.png"},
    "quotes and braces": {"photo": '"}{\\" \\u0000 \n\t'},
    "a name that is no text": {"photo": "caf\udce9.png"},
    "a recipe in it": {"dreamer": {"dreamer": "}"}},
    "nothing": {},
}


@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_recipe_is_found_again_in_every_format(tmp_path: Path, suffix: str, kind: str) -> None:
    for escaped in (True, False):
        recipe = json.dumps(RECIPES[kind], ensure_ascii=escaped)
        file = images.encode(PIXELS, suffix, recipe=recipe)
        found = metadata.read(file)
        assert found is not None
        assert found.isascii()
        assert json.loads(found) == RECIPES[kind]
        if escaped:
            assert found == recipe
    path = tmp_path / f"dream{suffix}"
    path.write_bytes(file)
    assert metadata.read(path) == metadata.read(str(path)) == found
    with Image.open(path) as image:
        assert metadata.read(image) == found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_recipe_changes_no_pixel(suffix: str) -> None:
    plain, carrying = (images.encode(PIXELS, suffix, recipe=recipe) for recipe in (None, "{}"))
    assert metadata.read(plain) is None
    assert torch.equal(images.load(plain).pixels, images.load(carrying).pixels)
    assert images.load(carrying).notes == ()


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".jpg"])
def test_a_very_long_recipe_is_found_again(suffix: str) -> None:
    recipe = json.dumps({"photo": "é😀" * 100_000})
    assert len(recipe) > 1_000_000
    assert metadata.read(images.encode(PIXELS, suffix, recipe=recipe)) == recipe


def test_the_longest_recipe_of_a_jpeg_is_found_again_and_a_longer_one_refused() -> None:
    def fits(length: int) -> bool:
        try:
            metadata.save_options("JPEG", json.dumps("x" * length))
        except OutputError:
            return False
        return True

    lengths = range(60_000, 70_000)
    longest = lengths[bisect.bisect_left(lengths, True, key=lambda length: not fits(length))] - 1
    recipe = json.dumps("x" * longest)
    assert metadata.read(images.encode(PIXELS, ".jpg", recipe=recipe)) == recipe
    with pytest.raises(OutputError) as caught:
        images.encode(PIXELS, ".jpg", recipe=json.dumps("x" * (longest + 1)))
    assert caught.value.message.startswith("The recipe is too long for a JPEG (")
    assert caught.value.advice == "Write a .png, or leave the recipe out with --no-metadata."
    too_long = metadata.save_options("WEBP", json.dumps("x" * (longest + 2)))
    with pytest.raises(ValueError, match="EXIF data is too long"):  # not stricter than need be
        making.encoded(PICTURE, "JPEG", **too_long)


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_any_json_comes_out_of_its_wrapping_with_the_same_meaning(
    value: object, escaped: bool
) -> None:
    wrapped = metadata.wrapped(json.dumps(value, ensure_ascii=escaped))
    assert wrapped.isascii()
    assert json.loads(wrapped) == {"dreamer": value}
    recipe = metadata.unwrapped(wrapped)
    assert recipe is not None
    assert json.loads(recipe) == value


def comment(data: bytes | str) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = data
    return exif.tobytes()


FOREIGN = [
    b"ASCII\0\0\0taken on holiday",
    b"ASCII\0\0\0" + bytes(100),
    b'ASCII\0\0\0{"other": 1}',
    b'ASCII\0\0\0{"dreamer": 1',
    b'ASCII\0\0\0about {"dreamer": 1}',
    b"UNICODE\0t\0a\0k\0e\0n\0",
    b"\0\0\0\0\0\0\0\0\xff\xfe\x80",
    b"",
    "just text",
]


@pytest.mark.parametrize("text", FOREIGN)
@pytest.mark.parametrize("format_name", ["JPEG", "WEBP", "AVIF", "PNG"])
def test_a_comment_of_another_program_is_not_taken_for_ours(
    format_name: str, text: bytes | str
) -> None:
    file = making.encoded(PICTURE, format_name, exif=comment(text))
    assert metadata.read(file) is None


def test_other_places_for_comments_are_not_taken_for_ours() -> None:
    ours = metadata.wrapped("{}")
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Comment", ours)
    texts.add_itxt("Description", ours)
    files = [
        making.encoded(PICTURE, "PNG", pnginfo=texts),
        making.encoded(PICTURE, "JPEG", comment=ours),
        making.encoded(PICTURE, "GIF", comment=ours),
        making.encoded(PICTURE, "TIFF", tiffinfo={270: "a ship"}),
        making.encoded(PICTURE, "TIFF", tiffinfo={270: "two\nlines ü".encode()}),
        making.encoded(PICTURE, "TIFF", tiffinfo={305: ours}),
        making.encoded(PICTURE, "BMP"),
        making.encoded(PICTURE, "HEIF"),
    ]
    for file in files:
        assert metadata.read(file) is None


def test_a_comment_that_ends_in_padding_is_still_ours() -> None:
    text = metadata.wrapped('{"seed": 1}').encode() + b"\0\0  \0"
    for file in (
        making.encoded(PICTURE, "JPEG", exif=comment(b"ASCII\0\0\0" + text)),
        making.encoded(PICTURE, "TIFF", tiffinfo={270: text.decode()}),
    ):
        assert metadata.read(file) == '{"seed": 1}'


def test_a_recipe_that_another_program_moved_after_the_pixels_is_found() -> None:
    whole = making.encoded(PICTURE, "PNG")
    chunk = making.png_chunk(b"iTXt", b"dreamer\0\0\0\0\0" + b'{"seed": 1}')
    assert metadata.read(whole[:-12] + chunk + whole[-12:]) == '{"seed": 1}'
    ours = images.encode(PIXELS, ".png", recipe='{"seed": 1}')
    with Image.open(io.BytesIO(ours)) as image:
        texts = PngImagePlugin.PngInfo()
        texts.add_text("dreamer", image.info["dreamer"], zip=True)
        again = making.encoded(image, "PNG", pnginfo=texts)
    assert metadata.read(again) == '{"seed": 1}'


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_carries_no_recipe(format_name: str) -> None:
    whole = comment(metadata.wrapped("{}").encode())
    for damaged in (b"Exif\0\0garbage", whole[:20], whole[:40], whole[:-10]):
        file = making.encoded(PICTURE, format_name, exif=damaged)
        assert metadata.read(file) is None


def test_what_is_no_picture_is_refused() -> None:
    file = images.encode(PIXELS, ".png")
    for broken in (b"", b'{"dreamer": {}}', file[:50]):
        with pytest.raises(InputError):
            metadata.read(broken)
