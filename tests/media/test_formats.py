import io
import os
from pathlib import Path

import making
import pytest
import torch
from PIL import Image

from dreamer.errors import OutputError, UsageError
from dreamer.media import formats, images

WRITTEN = [(row, suffix) for row in formats.FORMATS for suffix in row.suffixes]


@pytest.mark.parametrize(("row", "suffix"), WRITTEN)
def test_a_suffix_chooses_its_format_however_it_is_written(
    row: formats.Format, suffix: str
) -> None:
    for name in (suffix, suffix.upper(), f"dream{suffix}", f"a.b/v1.0 ü{suffix.upper()}"):
        assert formats.by_suffix(name) is row
        assert formats.by_suffix(Path(name)) is row


@pytest.mark.parametrize(("row", "suffix"), WRITTEN)
def test_a_file_is_in_the_format_of_its_suffix(row: formats.Format, suffix: str) -> None:
    file = images.encode(torch.rand(3, 4, 5), suffix)
    with Image.open(io.BytesIO(file)) as image:
        assert image.format == row.name
        assert image.size == (5, 4)


@pytest.mark.parametrize(
    ("name", "wrong", "offer"),
    [
        ("dream.jpgg", "'.jpgg' is no format to write", "Did you mean .jpg?"),
        ("dream.PGN", "'.pgn' is no format to write", "Did you mean .png?"),
        ("dream.docx", "'.docx' is no format to write", "The suffix chooses the format"),
        ("dream.gif", "'.gif' is no format to write", "Did you mean .tif?"),
        ("dream", "It has no suffix", "The suffix chooses the format"),
        ("png", "It has no suffix", "The suffix chooses the format"),
        ("folder.png/dream", "It has no suffix", "The suffix chooses the format"),
        ("", "It has no suffix", "The suffix chooses the format"),
    ],
)
def test_another_suffix_is_refused_with_those_there_are(name: str, wrong: str, offer: str) -> None:
    with pytest.raises(UsageError) as caught:
        formats.by_suffix(name)
    assert caught.value.message == f"Cannot tell how to write '{name}': {wrong}."
    assert caught.value.advice.startswith(offer)
    assert caught.value.advice.endswith(".png, .jpg, .jpeg, .webp, .avif, .tif, .tiff.")


def test_a_name_is_shown_on_one_line() -> None:
    with pytest.raises(UsageError, match=r"'two\\nlines'"):
        formats.by_suffix("two\nlines")
    with pytest.raises(OutputError, match=r"'two\\nlines\.webp'"):
        formats.check_size("two\nlines.webp", 20_000, 1)


LIMITS = [(".jpg", 65_500), (".webp", 16_383), (".avif", 32_768)]


@pytest.mark.parametrize(("suffix", "longest"), LIMITS)
def test_a_side_may_be_as_long_as_the_format_says_and_no_longer(suffix: str, longest: int) -> None:
    for size in ((longest, 1), (1, longest)):
        formats.check_size(suffix, *size)
    for size in ((longest + 1, 1), (1, longest + 1)):
        with pytest.raises(OutputError) as caught:
            formats.check_size(f"dream{suffix}", *size)
        assert f"at most {longest} pixels a side" in caught.value.message
        assert f"'dream{suffix}' would be {size[0]}x{size[1]}" in caught.value.message
    row = formats.by_suffix(suffix)
    # It is not stricter than need be: one pixel more is not written, or not read again.
    with pytest.raises((OSError, ValueError)):
        Image.open(io.BytesIO(making.encoded(Image.new("RGB", (longest + 1, 1)), row.name)))


@pytest.mark.parametrize(("suffix", "longest"), LIMITS)
def test_a_picture_at_the_limit_is_written_and_one_beyond_it_refused(
    suffix: str, longest: int
) -> None:
    file = images.encode(torch.zeros(3, 1, longest), suffix)
    assert images.probe(file) == (longest, 1)
    with pytest.raises(OutputError, match="pixels a side"):
        images.encode(torch.zeros(3, 1, longest + 1), suffix)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_png_and_tiff_hold_what_the_others_do_not(suffix: str) -> None:
    file = images.encode(torch.zeros(3, 1, 70_000), suffix)
    assert images.probe(file) == (70_000, 1)


def test_a_target_is_checked_before_the_work(tmp_path: Path) -> None:
    target = tmp_path / "dream.png"
    formats.check_target(target)
    assert os.listdir(tmp_path) == []
    target.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists already"):
        formats.check_target(target)
    formats.check_target(target, overwrite=True)
    assert target.read_bytes() == b"old"
    with pytest.raises(UsageError):
        formats.check_target(tmp_path / "dream.txt")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        formats.check_target(tmp_path / "folder.png", overwrite=True)
