import contextlib
import errno
import io
import os
import signal
import struct
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import making
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dreamer.errors import DeviceError, DreamerError, InputError
from dreamer.media import images, metadata, reading

PICTURE = making.image_of(making.random_levels(3, 30, 40))
FORMATS = ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "PPM", "HEIF"]


def small(format_name: str) -> bytes:
    """A file of a few hundred bytes with everything that a reader looks at."""
    picture = making.image_of(making.random_levels(3, 10, 12))
    if format_name in ("GIF", "BMP", "PPM"):
        return making.encoded(picture, format_name)
    options: dict[str, object] = {"exif": making.turned(6)}
    if format_name != "HEIF":
        options["icc_profile"] = making.wide_profile()
    return making.encoded(picture, format_name, **options)


FILES = {name: small(name) for name in FORMATS}
FILES["16-bit PNG"] = making.png16(
    making.random_levels(3, 10, 12, 65535),
    making.profiled(making.wide_profile()),
    making.transparent(1, 2, 3),
)
FILES["16-bit TIFF"] = making.tiff16(making.random_levels(3, 10, 12, 65535), big_endian=True)
FILES["deflated TIFF"] = making.tiff16(making.random_levels(4, 10, 12, 65535), deflated=True)
FILES["palette PNG"] = making.encoded(PICTURE.quantize(8), "PNG", transparency=2)
FILES["animated GIF"] = making.encoded(
    PICTURE, "GIF", save_all=True, append_images=[PICTURE.rotate(90)]
)
FILES["CMYK JPEG"] = making.encoded(PICTURE.convert("CMYK"), "JPEG")


def refusal(attempt: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        attempt()
    for line in (caught.value.message, caught.value.advice):
        assert line.splitlines() == [line]
        assert "\x1b" not in line
    return caught.value.message


@pytest.mark.parametrize("read", [images.load, reading.probe, metadata.read])
def test_what_is_no_file_is_named_for_what_it_is(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "text.jpg").write_text("this is no picture\n")
    (tmp_path / "link.png").symlink_to("nowhere")
    (tmp_path / "circle.png").symlink_to("circle.png")
    for name, words in {
        "gone.jpg": "There is no file '{}'.",
        "link.png": "There is no file '{}'.",
        "empty.jpg/in it.png": "There is no file '{}'.",
        "empty.jpg": "'{}' is empty (0 bytes).",
        "folder.png": "'{}' is a folder, not a picture.",
        "text.jpg": "'{}' is not a picture that can be read.",
        "circle.png": "'{}' cannot be read: Too many levels of symbolic links.",
        "x" * 300: "'{}' cannot be read: File name too long.",
    }.items():
        path = tmp_path / name
        assert refusal(lambda path=path: read(path)) == words.format(path)
    assert refusal(lambda: read(Path("a\0b.png"))).startswith("'a\\x00b.png' cannot be read: ")


def test_bytes_are_refused_like_a_file_and_named_as_told() -> None:
    assert refusal(lambda: images.load(b"")) == "'stdin' is empty (0 bytes)."
    assert refusal(lambda: images.load(b"no picture", name="the upload")) == (
        "'the upload' is not a picture that can be read."
    )


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    def too_late(*_: object) -> None:
        raise TimeoutError

    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(5)
    try:
        message = refusal(lambda: images.load(pipe))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert message == f"'{pipe}' is a device or a pipe, not a picture file."
    assert "device or a pipe" in refusal(lambda: images.load("/dev/zero"))


def test_a_file_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by its mode: a superuser, as which tests may run, can read every file.
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    path = tmp_path / "secret.png"
    path.write_bytes(FILES["PNG"])
    monkeypatch.setattr(reading, "open", refuse, raising=False)
    assert refusal(lambda: images.load(path)) == (
        f"'{path}' may not be read: permission was denied."
    )


class FailingDisk(io.RawIOBase):
    """A file of which everything after `whole` bytes is unreadable."""

    def __init__(self, data: bytes, whole: int) -> None:
        self.data, self.whole, self.at = data, whole, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self.at = offset + (0, self.at, len(self.data))[whence]
        return self.at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if self.at >= self.whole:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        piece = self.data[self.at : self.whole][: len(buffer)]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


@pytest.mark.parametrize("whole", ["nothing", "the header", "the picture"])
def test_a_disk_that_fails_is_said_wherever_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: str
) -> None:
    data = making.encoded(PICTURE, "BMP")
    # Pillow reads on in large pieces, so that the last failure has to lie far behind the picture.
    readable = {"nothing": 0, "the header": 300, "the picture": len(data) + 200_000}[whole]
    path = tmp_path / "photo.bmp"
    path.write_bytes(data)

    def failing(*_: object) -> io.BufferedReader:
        return io.BufferedReader(FailingDisk(data + bytes(300_000), readable), 256)

    monkeypatch.setattr(reading, "open", failing, raising=False)
    assert refusal(lambda: images.load(path)) == f"'{path}' cannot be read: Input/output error."


@pytest.mark.parametrize(
    "name", ["two\nlines.png", "😀👩‍🚀 dröm.png", "\x1b[31mred.png", "\udce9.png"]
)
def test_odd_names_are_read_and_shown_on_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    missing = refusal(lambda: images.load(path))
    path.write_bytes(FILES["PNG"])
    assert images.load(path).name == name
    path.write_bytes(FILES["PNG"][:200])
    damaged = refusal(lambda: images.load(str(path)))
    for message in (missing, damaged):
        assert (name if name.startswith("😀") else ascii(name)[1:-1]) in message


@pytest.mark.parametrize("kind", FILES)
def test_a_file_cut_anywhere_is_refused_or_whole(kind: str) -> None:
    data = FILES[kind]
    whole = images.load(data)
    said = set()
    for size in range(1, len(data), max(1, len(data) // 60)):
        try:
            photo = images.load(data[:size])
        except InputError as error:
            said.add(error.message)
        else:  # what may go missing is what follows the pixels, such as a checksum
            assert size > 0.7 * len(data)
            assert torch.equal(photo.pixels, whole.pixels)
    assert "'stdin' is not a picture that can be read." in said
    assert said <= {
        "'stdin' is damaged or incomplete.",
        "'stdin' is not a picture that can be read.",
    }


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_photo_of_which_the_half_is_missing_is_refused_from_a_file_too(
    tmp_path: Path, format_name: str
) -> None:
    data = making.encoded(PICTURE.resize((200, 150)), format_name)
    path = tmp_path / "photo"
    for size in (len(data) // 4, len(data) // 2, len(data) * 3 // 4):
        path.write_bytes(data[:size])
        assert str(path) in refusal(lambda: images.load(path))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=8),
    end=st.one_of(st.none(), st.integers(1, 2**16)),
)
@pytest.mark.parametrize("kind", FILES)
def test_a_corrupt_file_is_read_or_refused_and_nothing_else(
    kind: str, changes: list[tuple[int, int]], end: int | None
) -> None:
    data = bytearray(FILES[kind])
    for place, value in changes:
        data[place % len(data)] = value
    file = bytes(data if end is None else data[: end % len(data)])
    try:
        photo = images.load(file, max_pixels=100_000)
    except DreamerError:
        pass
    else:
        width, height = photo.size
        assert photo.pixels.shape == (3, height, width)
        assert bool(((photo.pixels >= 0) & (photo.pixels <= 1)).all())
        assert photo.size == reading.probe(file, max_pixels=100_000)
    for read in (reading.probe, metadata.read):
        with contextlib.suppress(DreamerError):
            read(file)


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = making.png((100_000, 100_000), 8, making.RGB, b"")
    for read in (images.load, reading.probe, metadata.read):
        assert refusal(lambda read=read: read(bomb)) == (
            "'stdin' is too large: 100000x100000 pixels, 10,000 megapixels."
        )


def test_pixels_of_another_size_than_the_header_says_are_refused() -> None:
    # HEIC pads a picture to 64 pixels and says what to cut off; here that lies outside of it.
    file = bytearray(making.encoded(making.image_of(making.random_levels(3, 10, 12)), "HEIF"))
    denominator = file.index(b"clap") + 24
    file[denominator : denominator + 4] = struct.pack(">I", 1)
    assert reading.probe(bytes(file)) == (12, 10)
    assert refusal(lambda: images.load(bytes(file))) == "'stdin' is damaged or incomplete."


def test_the_size_limit_is_exact_and_can_be_moved() -> None:
    file = making.encoded(PICTURE, "PNG")
    assert images.load(file, max_pixels=1200).size == (40, 30)
    assert reading.probe(file, max_pixels=1200) == (40, 30)
    for source in (file, PICTURE):
        assert "is too large: 40x30 pixels" in refusal(
            lambda source=source: images.load(source, max_pixels=1199)
        )


def test_a_picture_without_pixels_is_refused() -> None:
    assert refusal(lambda: images.load(Image.new("RGB", (0, 5)))) == "'image' has no pixels: 0x5."
    bmp = making.encoded(PICTURE, "BMP")
    files = [
        making.png((0, 5), 8, making.RGB, b""),
        making.png((5, 0), 8, making.RGB, b""),
        b"GIF89a" + struct.pack("<HHBBB", 0, 5, 0, 0, 0) + b",\0\0\0\0\0\0\5\0\0\2\0;",
        b"P6 0 5 255\n",
        bmp[:18] + bytes(8) + bmp[26:],
        making.tiff((0, 5), [b""], {}),
    ]
    for file in files:
        assert "'stdin'" in refusal(lambda file=file: images.load(file))


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
@pytest.mark.parametrize("format_name", FORMATS)
def test_the_smallest_and_the_thinnest_pictures_are_read(
    format_name: str, size: tuple[int, int]
) -> None:
    file = making.encoded(Image.new("RGB", size, "white"), format_name)
    photo = images.load(file)
    assert photo.size == reading.probe(file) == size
    assert float(photo.pixels.min()) > 0.98


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "HEIF"])
def test_the_header_tells_the_size_that_the_photo_will_have(format_name: str, value: int) -> None:
    file = making.encoded(PICTURE, format_name, exif=making.turned(value))
    expected = (30, 40) if value >= 5 else (40, 30)
    assert reading.probe(file) == images.load(file).size == expected
    if format_name != "HEIF":  # pillow_heif is registered with Pillow by a first HEIC file only
        with Image.open(io.BytesIO(file)) as image:
            assert reading.probe(image) == images.load(image).size == expected
            assert reading.probe(image) == expected  # Pillow has turned some of them by now


def test_the_header_of_a_stack_tells_its_size_too() -> None:
    file = making.encoded(
        PICTURE, "TIFF", exif=making.turned(6), save_all=True, append_images=[PICTURE]
    )
    assert reading.probe(file) == images.load(file).size == (30, 40)


def test_an_orientation_after_the_pixels_counts() -> None:
    exif = making.turned(6).removeprefix(b"Exif\0\0")
    whole = making.encoded(PICTURE, "PNG")
    file = whole[:-12] + making.png_chunk(b"eXIf", exif) + whole[-12:]
    assert reading.probe(file) == images.load(file).size == (30, 40)


def test_looking_at_the_header_decodes_no_pixel() -> None:
    data = making.encoded(PICTURE.resize((800, 600)), "JPEG")
    assert reading.probe(data[:700]) == (800, 600)


def test_without_its_package_a_heic_picture_is_refused_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError) as caught:
        images.load(FILES["HEIF"], name="IMG_1.HEIC")
    assert caught.value.message == (
        "'IMG_1.HEIC' is a HEIC picture, which needs an extra package to be read."
    )
    assert caught.value.advice == 'Install it: pip install "dreamer[heic]"'
    assert images.load(FILES["AVIF"]).size == (10, 12)  # of the same family, but built in


def test_a_picture_of_pillows_stays_open_and_as_it_is() -> None:
    with Image.open(io.BytesIO(FILES["GIF"])) as image:
        before = image.copy()
        first, second = images.load(image), images.load(image)
        assert torch.equal(first.pixels, second.pixels)
        assert image.tobytes() == before.tobytes()
        assert (image.mode, image.size) == (before.mode, before.size)


def test_the_file_is_closed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = []

    def watched(path: Path, mode: str) -> object:
        streams.append(path.open(mode))
        return streams[-1]

    monkeypatch.setattr(reading, "open", watched, raising=False)
    path = tmp_path / "photo"
    for data in (*FILES.values(), FILES["PNG"][:300], b"no picture"):
        path.write_bytes(data)
        with contextlib.suppress(InputError):
            images.load(path)
    assert len(streams) == len(FILES) + 2
    assert all(stream.closed for stream in streams)


@pytest.mark.parametrize("file", [FILES["PNG"], FILES["PNG"][:300], b"no picture"])
def test_pillows_limit_and_pythons_warnings_are_as_before(
    monkeypatch: pytest.MonkeyPatch, file: bytes
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)  # which this picture exceeds twice over
    before = list(warnings.filters)
    for read in (images.load, reading.probe, metadata.read):
        try:
            read(file)
        except InputError:
            assert file is not FILES["PNG"]
        assert Image.MAX_IMAGE_PIXELS == 7
        assert warnings.filters == before


def test_two_threads_do_not_mix_up_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    inside, seen = threading.Event(), []

    def other() -> None:
        with reading.guarded("'b'"):
            inside.set()

    thread = threading.Thread(target=other)
    with reading.guarded("'a'"):
        thread.start()
        seen.append(inside.wait(0.1))
    thread.join(10)
    assert seen == [False]
    assert inside.is_set()
    assert Image.MAX_IMAGE_PIXELS == 7


@pytest.mark.parametrize("demand", [lambda: bytes(2**62), lambda: torch.empty(2**50)])
def test_too_little_memory_is_no_damage(demand: Callable[[], object]) -> None:
    with pytest.raises(DeviceError) as caught, reading.guarded("'big.png'"):
        demand()
    assert caught.value.message == "There is not enough memory to read 'big.png'."


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 20_000))
@example(1, 100_000, 1)
def test_a_fitted_size_has_the_long_edge_and_the_shape(
    width: int, height: int, long_edge: int
) -> None:
    fitted = reading.fitted(width, height, long_edge)
    assert max(fitted) == long_edge
    assert min(fitted) >= 1
    exact = min(width, height) * long_edge / max(width, height)
    assert min(fitted) == 1 or abs(min(fitted) - exact) <= 0.5 + 1e-6
    assert (fitted[0] <= fitted[1]) == (width <= height) or fitted[0] == fitted[1]


# ---- The bytes of a file.


def test_the_bytes_of_a_picture_file_are_its_own(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        assert reading.read(tmp_path / name) == data
    (tmp_path / "link").symlink_to("PNG")
    assert reading.read(tmp_path / "link") == FILES["PNG"]


def test_the_bytes_of_what_is_no_picture_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far more than there is memory: only the header may be looked at.
    header = FILES["BMP"][:18] + struct.pack("<ii", 200_000, 200_000) + FILES["BMP"][26:]
    (tmp_path / "bomb.bmp").write_bytes(header)
    os.truncate(tmp_path / "bomb.bmp", 120_000_000_054)
    (tmp_path / "empty.png").touch()
    (tmp_path / "zeros.png").touch()
    os.truncate(tmp_path / "zeros.png", 2**40)
    (tmp_path / "text.png").write_text("this is no picture\n")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in {
        "bomb.bmp": "is too large: 200000x200000 pixels",
        "empty.png": "is empty (0 bytes)",
        "zeros.png": "is not a picture that can be read",
        "text.png": "is not a picture that can be read",
        "folder.png": "is a folder",
        "pipe.png": "is a device or a pipe",
        "gone.png": "There is no file",
    }.items():
        message = refusal(lambda name=name: reading.read(tmp_path / name))
        assert words in message
        assert str(tmp_path / name) in message
    assert "device or a pipe" in refusal(lambda: reading.read("/dev/zero"))


def test_a_picture_file_larger_than_any_picture_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(FILES["PNG"])
    monkeypatch.setattr(reading, "MAX_BYTES", len(FILES["PNG"]))
    assert reading.read(path) == FILES["PNG"]
    os.truncate(path, 10**13)
    assert refusal(lambda: reading.read(path)) == f"'{path}' is too large: 10,000.0 GB."


def test_a_file_that_fails_as_its_bytes_are_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            if size is None or size < 0:
                raise failures[0]
            return super().read(size)

    path = tmp_path / "photo.bmp"
    path.write_bytes(FILES["BMP"])
    monkeypatch.setattr(reading, "open", lambda path, mode: Failing(path, mode), raising=False)
    failures: list[BaseException] = [OSError(errno.EIO, os.strerror(errno.EIO))]
    assert refusal(lambda: reading.read(path)) == f"'{path}' cannot be read: Input/output error."
    failures[0] = MemoryError()
    with pytest.raises(DeviceError, match="not enough memory to read"):
        reading.read(path)
