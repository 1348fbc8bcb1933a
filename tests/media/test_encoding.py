import errno
import io
import os
import resource
import signal
import subprocess
import sys
import zlib
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from dreamer.errors import OutputError, UsageError
from dreamer.media import encoding, formats, images, metadata, profiles, reading

DEEP = [row.suffixes[0] for row in formats.FORMATS if 16 in row.depths]
SHALLOW = [suffix for row in formats.FORMATS if 16 not in row.depths for suffix in row.suffixes]
WRITTEN = [(row.suffixes[0], depth) for row in formats.FORMATS for depth in row.depths]


def random_values(
    channels: int, height: int, width: int, seed: int = 0, top: int = 65535
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, top + 1, (channels, height, width), generator=generator)


VALUES = random_values(4, 40, 30)


def encoded(values: Tensor, suffix: str, depth: int = 16, recipe: str | None = None) -> bytes:
    """The file of whole values (3 or 4, H, W) from 0 to the largest that the depth has."""
    planes = values / (2**depth - 1)
    alpha = planes[3] if len(planes) == 4 else None
    return images.encode(planes[:3], suffix, alpha=alpha, depth=depth, recipe=recipe)


def read_again(file: bytes) -> Tensor:
    """The planes of a file (3 or 4, H, W), of which nothing was given up."""
    photo = images.load(file)
    assert photo.notes == ()
    planes = [photo.pixels] if photo.alpha is None else [photo.pixels, photo.alpha[None]]
    return torch.cat(planes)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DEEP),
    st.sampled_from([8, 16]),
    st.sampled_from([3, 4]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 300),
    st.integers(0, 10_000),
)
def test_every_value_of_every_size_is_read_again(
    suffix: str, depth: int, channels: int, height: int, width: int, strip: int, seed: int
) -> None:
    values = random_values(channels, height, width, seed, 2**depth - 1)
    with mock.patch.object(encoding, "STRIP", strip):
        file = encoded(values, suffix, depth)
    assert torch.equal(read_again(file), values / (2**depth - 1))


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", DEEP)
def test_another_program_reads_the_same_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, channels: int, depth: int
) -> None:
    monkeypatch.setattr(encoding, "STRIP", 100)
    values = random_values(channels, 40, 30, top=2**depth - 1)
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(encoded(values, suffix, depth))
    if suffix == ".tif":
        read = tifffile.imread(path)
    else:
        read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3][:channels]]
    assert read.dtype == (np.uint8 if depth == 8 else np.uint16)
    assert torch.equal(torch.from_numpy(read.astype(np.int64)).permute(2, 0, 1), values)


def size_by_pillow(values: Tensor) -> int:
    buffer = io.BytesIO()
    Image.fromarray(values.permute(1, 2, 0).numpy().astype(np.uint8)).save(buffer, "PNG")
    return len(buffer.getvalue())


def test_a_png_chooses_its_filters_as_well_as_pillow_does() -> None:
    # Plain, across, down, both, and noise: each is what one of the filters is for.
    down, across = torch.arange(64)[:, None] * 7, torch.arange(64) * 5
    bands = [torch.full((64, 64), 9), across + 0 * down, down + 0 * across, down + across]
    bands.append(random_values(1, 64, 64)[0])
    values = torch.cat([band.expand(3, -1, -1) for band in bands], 1) % 256
    file = encoded(values, ".png", 8)
    assert torch.equal(read_again(file), values / 255)
    bare = len(file) - len(zlib.compress(profiles.srgb_bytes()))
    assert bare < size_by_pillow(values) * 1.05


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_photo_takes_no_more_room_than_pillow_s_png(coffee: Path, suffix: str) -> None:
    pixels = images.load(coffee).pixels
    levels = (pixels * 255).round().long()
    assert len(images.encode(pixels, suffix)) < size_by_pillow(levels) * 1.1


@pytest.mark.parametrize("suffix", DEEP)
def test_16_bits_are_rounded_to_the_nearest_level_and_a_half_to_the_even_one(suffix: str) -> None:
    values = torch.tensor([-9, 0, 0.5, 1.5, 2.5, 2.6, 32767.5, 65534.4, 65535, 7e4]).double()
    pixels = (values / 65535).expand(3, 1, -1)
    assert torch.equal(pixels[0, 0] * 65535 % 1 == 0.5, values % 1 == 0.5)
    expected = torch.tensor([0, 0, 0, 2, 2, 3, 32768, 65534, 65535, 65535])
    again = read_again(images.encode(pixels, suffix, depth=16))
    assert torch.equal(again, (expected / 65535).expand(3, 1, -1))


@pytest.mark.parametrize("suffix", DEEP)
def test_a_16_bit_photo_goes_round_and_round_to_the_byte(suffix: str) -> None:
    once = encoded(VALUES, suffix)
    photo = images.load(once)
    assert images.encode(photo.pixels, suffix, alpha=photo.alpha, depth=16) == once


@pytest.mark.parametrize(("suffix", "depth"), WRITTEN)
def test_recipe_profile_and_depth_are_in_the_file(suffix: str, depth: int) -> None:
    recipe = '{"target": "\\u00e9", "seed": 7}'
    file = images.encode(VALUES[:3] / 65535, suffix, recipe=recipe, depth=depth)
    assert metadata.read(file) == recipe
    assert reading.depth(file) == depth
    with Image.open(io.BytesIO(file)) as image:
        assert image.info["icc_profile"] == profiles.srgb_bytes()


@pytest.mark.parametrize("suffix", SHALLOW)
def test_a_format_without_16_bits_says_which_ones_have_them(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / "new" / f"poster{suffix}"
    for attempt in (
        lambda: images.save(VALUES[:3] / 65535, target, depth=16),
        lambda: formats.check_depth(target, 16),
    ):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert "does not hold 16 bits a colour" in caught.value.message
        assert str(target) in caught.value.message
        assert caught.value.advice.startswith("Write a PNG or TIFF instead")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("depth", [0, 1, 12, 32, -8])
def test_a_depth_that_no_format_has_is_refused_with_those_there_are(depth: int) -> None:
    with pytest.raises(UsageError, match=f"{depth} is not valid for depth") as caught:
        formats.check_depth("poster.png", depth)
    assert caught.value.advice == "It can be 8 or 16."


def test_the_depth_of_other_programs_files_is_known(photos: Path) -> None:
    grey = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8))
    for suffix in ("PNG", "TIFF"):
        buffer = io.BytesIO()
        grey.save(buffer, suffix)
        assert reading.depth(buffer.getvalue()) == 16
    for name in ("astronaut.png", "rocket.jpg"):
        assert reading.depth(photos / name) == 8


class Pipe:
    """What a pipe is to a writer: it takes bytes and cannot go back."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: bytes) -> int:
        self.taken += data
        return len(data)

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("seek")

    tell = seek


@pytest.mark.parametrize(("suffix", "depth"), WRITTEN)
def test_a_pipe_and_a_file_that_is_begun_get_the_same_bytes(suffix: str, depth: int) -> None:
    file = images.encode(VALUES[:3] / 65535, suffix, recipe="{}", depth=depth)
    pipe, begun = Pipe(), io.BytesIO(b"begun")
    begun.seek(0, io.SEEK_END)
    for stream in (pipe, begun):
        images.write(
            stream,  # type: ignore[arg-type]
            VALUES[:3] / 65535,
            suffix,
            recipe="{}",
            depth=depth,
        )
    assert pipe.taken == file
    assert begun.getvalue() == b"begun" + file


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("height", [1, 40])
def test_a_tiff_too_large_for_short_offsets_has_long_ones(
    monkeypatch: pytest.MonkeyPatch, height: int, depth: int
) -> None:
    monkeypatch.setattr(encoding, "_BIG", 0)
    monkeypatch.setattr(encoding, "STRIP", 100)
    values = random_values(4, height, 30, top=2**depth - 1)
    file = encoded(values, ".tif", depth, "{}")
    assert file[:4] == b"II\x2b\0"
    assert torch.equal(read_again(file), values / (2**depth - 1))
    assert metadata.read(file) == "{}"


@pytest.mark.parametrize(("suffix", "depth"), WRITTEN)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_disk_that_fills_up_on_the_way_is_said_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, depth: int, share: float
) -> None:
    monkeypatch.setattr(encoding, "STRIP", 100)
    pixels = VALUES[:3] / 65535
    room = int(len(images.encode(pixels, suffix, depth=depth)) * share)
    target = tmp_path / f"out{suffix}"
    target.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OutputError) as caught:
            images.save(pixels, target, depth=depth, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert caught.value.message == f"There is no room left to write '{target}'."
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize(("suffix", "depth"), WRITTEN)
def test_a_stream_that_fails_tells_the_system_s_reason(suffix: str, depth: int) -> None:
    class Full(Pipe):
        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        images.write(Full(), VALUES[:3] / 65535, suffix, depth=depth)  # type: ignore[arg-type]
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(("suffix", "depth"), WRITTEN)
def test_nothing_is_written_of_what_holds_no_numbers_at_its_end(suffix: str, depth: int) -> None:
    pixels = VALUES[:3] / 65535
    pixels[2, -1, -1] = float("nan")
    pipe = Pipe()
    with pytest.raises(OutputError, match="not numbers"):
        images.write(pipe, pixels, suffix, depth=depth)  # type: ignore[arg-type]
    assert pipe.taken == b""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    pixels, alpha = VALUES[:3] / 65535, VALUES[3] / 65535
    whole = images.load(images.encode(pixels, suffix, alpha=alpha))
    monkeypatch.setattr(encoding, "STRIP", 70)
    stripped = images.load(images.encode(pixels, suffix, alpha=alpha))
    assert torch.equal(whole.pixels, stripped.pixels)
    if whole.alpha is not None:
        assert stripped.alpha is not None
        assert torch.equal(whole.alpha, stripped.alpha)


MEASURED = """
import resource, sys, torch
from dreamer.media import images
side, (target, depth) = 5000, sys.argv[1:]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
images.load(images.encode(torch.rand(3, 64, 64), target, depth=int(depth)))
pixels = torch.linspace(0, 1, side).expand(3, side, side).contiguous()
before = peak()
images.save(pixels, target, depth=int(depth))
print((peak() - before) / side**2)
del pixels
again = images.load(target)
print((peak() - before) / side**2 + 12)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counted in kilobytes there")
@pytest.mark.parametrize(
    ("suffix", "depth", "written", "read"),
    [(".png", 8, 2.5, 18), (".png", 16, 2.5, 22), (".tif", 16, 2.5, 22), (".jpg", 8, 6, 18)],
)
def test_a_large_picture_takes_little_more_than_its_planes(
    tmp_path: Path, suffix: str, depth: int, written: float, read: float
) -> None:
    """Bytes a pixel beside the planes, which take 12, and with them."""
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / f"large{suffix}"), str(depth)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    encoding_takes, decoding_takes = map(float, said.stdout.split())
    assert encoding_takes < written
    assert decoding_takes < read


def test_what_cannot_be_compressed_is_kept_as_well() -> None:
    values = random_values(3, 700, 700, top=255)
    file = encoded(values, ".png", 8)
    assert file.count(b"IDAT") > 1
    assert torch.equal(read_again(file), values / 255)
