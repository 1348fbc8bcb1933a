"""Open a picture and refuse what is not one. Needs Pillow, not torch."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, UnidentifiedImageError

from dreamer.errors import DeviceError, DreamerError, InputError
from dreamer.media.files import shown

Source = str | os.PathLike[str] | bytes | Image.Image

MAX_PIXELS = 250_000_000
"""Larger pictures are refused: a small file can claim a size that fills any memory."""

MAX_BYTES = 4_000_000_000
"""Larger files are not read into memory: more than any picture of that many pixels needs."""

# Only plain pictures: some of Pillow's other readers start programs (PostScript) or pull in
# things that nobody dreams on. The common ones first, since Pillow loads the others slowly.
_READ = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF")
_READABLE = (
    "JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP and HEIC can be read. "
    "If it is one of these, get it again, or save it in another program."
)
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Pillow's size limit and Python's warning filters belong to the process; one thread at a time.
_lock = threading.RLock()


@dataclass(frozen=True)
class Opened:
    """A picture of which the header has been read; the pixels are decoded on first use.

    Attributes:
        image: Pillow's picture.
        name: the file's name, without its folder.
        label: how messages name it, in quotes.
        stream: the file's bytes, or None for a picture that was handed over as such.
    """

    image: Image.Image
    name: str
    label: str
    stream: IO[bytes] | None


@contextlib.contextmanager
def opened(
    source: Source, *, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> Iterator[Opened]:
    """Open a picture, check its header and size, and close it at the end.

    Args:
        source: a file, the bytes of one, or a picture of Pillow's (which stays open).
        name: what to call bytes or a picture without a file; "stdin" and "image" by default.
        max_pixels: width times height that is still accepted.

    Raises:
        InputError: it cannot be read, is no picture, is damaged, or is too large.
    """
    if isinstance(source, Image.Image):
        name = name or Path(getattr(source, "filename", "") or "image").name
        given = Opened(source, name, f"'{shown(name)}'", None)
        _refuse_size(given, max_pixels)
        yield given
        return
    with _stream(source, name) as (stream, name, label):
        with guarded(label):
            image = _identify(stream, label)
        with image:
            header = Opened(image, name, label, stream)
            _refuse_size(header, max_pixels)
            yield header


@contextlib.contextmanager
def guarded(label: str) -> Iterator[None]:
    """Run Pillow quietly, and turn whatever it raises on a broken file into an InputError.

    Decoders meet broken files with every kind of exception there is, hence the wide net; keep
    nothing but calls of theirs inside. Pillow's own size limit, half of which it only warns
    about, is off: `opened` has checked ours.

    Args:
        label: how the message names the picture.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        except DreamerError:
            raise
        except MemoryError as error:
            raise _no_memory(label) from error
        except Exception as error:
            if isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error):
                raise _no_memory(label) from error  # torch has no exception of its own for this
            # What decoders say is for programmers; only the system's reasons help a user.
            if isinstance(error, OSError) and error.errno:
                raise _unreadable(label, error) from error
            raise InputError(
                f"{label} is damaged or incomplete.",
                "Get the file again, or open and save it in another program.",
            ) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def probe(
    source: Source, *, name: str | None = None, max_pixels: int = MAX_PIXELS
) -> tuple[int, int]:
    """Return (width, height) in pixels as the picture is meant to be seen, from its header.

    Raises:
        InputError: as `opened`.
    """
    with opened(source, name=name, max_pixels=max_pixels) as header, guarded(header.label):
        width, height = header.image.size
        # Pillow turns a TIFF itself, and announces the size it will have.
        if header.image.format != "TIFF" and (orientation(header.image) or 1) >= 5:
            width, height = height, width
    return width, height


def depth(source: Source) -> int:
    """Return how many bits a channel of a picture has in its file: 8 if no more, else 16.

    Raises:
        InputError: as `opened`.
    """
    with opened(source) as header, guarded(header.label):
        layouts = [str(tile.args) for tile in getattr(header.image, "tile", [])]
        deep = header.image.mode.startswith(("I", "F")) or any(";16" in each for each in layouts)
    return 16 if deep else 8


def read(path: str | os.PathLike[str]) -> bytes:
    """Return the bytes of a picture file, after a look at its header.

    Raises:
        InputError: as `opened`; or it is larger than any picture that would be accepted.
    """
    label = f"'{shown(path)}'"
    probe(path)
    with _open(path, label) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > MAX_BYTES:
            raise InputError(
                f"{label} is too large: {size / 1e9:,.1f} GB.",
                f"At most {MAX_BYTES / 1e9:,.0f} GB are read: save it in another format.",
            )
        try:
            return stream.read()
        except MemoryError as error:
            raise _no_memory(label) from error
        except OSError as error:
            raise _unreadable(label, error) from error


def fitted(width: int, height: int, long_edge: int) -> tuple[int, int]:
    """Return (width, height) scaled so that the longer one is `long_edge` pixels."""
    scale = long_edge / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def orientation(image: Image.Image) -> int | None:
    """Return how the picture is turned (EXIF, 1 to 8), or None if that cannot be read."""
    tag = ExifTags.Base.Orientation
    try:
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            value = image.getexif().get(tag)
            data = image.info.get("exif")
            if value is None and isinstance(data, bytes):
                # Pillow reads it once; for a JPEG that was with the header, and unheard.
                again = Image.Exif()
                again.load(data)
                value = again.get(tag)
    except Exception:  # damaged EXIF data is no reason to refuse the pixels
        return None
    if value is None and not any("Corrupt EXIF" in str(said.message) for said in complaints):
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else None


@contextlib.contextmanager
def _stream(
    source: str | os.PathLike[str] | bytes, name: str | None
) -> Iterator[tuple[IO[bytes], str, str]]:
    """Open the bytes of a source; yields them with its name and its label."""
    if isinstance(source, bytes):
        name = name or "stdin"
        label = f"'{shown(name)}'"
        _refuse_empty(len(source), label)
        yield io.BytesIO(source), name, label
        return
    label = f"'{shown(source)}'"
    name = name or Path(source).name
    with _open(source, label) as stream:
        yield stream, name, label


def _open(path: str | os.PathLike[str], label: str) -> IO[bytes]:
    try:
        info = os.stat(path)
        if stat.S_ISDIR(info.st_mode):
            raise InputError(f"{label} is a folder, not a picture.", "Name a picture file in it.")
        if not stat.S_ISREG(info.st_mode):  # opening a pipe could wait for ever
            raise InputError(
                f"{label} is a device or a pipe, not a picture file.",
                "Name a file, or - to read the picture from standard input.",
            )
        _refuse_empty(info.st_size, label)
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"There is no file {label}.", "Check the name and the folder.") from error
    except PermissionError as error:
        raise InputError(
            f"{label} may not be read: permission was denied.", "Check its permissions."
        ) from error
    except (OSError, ValueError) as error:
        raise _unreadable(label, error) from error


def _identify(stream: IO[bytes], label: str) -> Image.Image:
    """Let Pillow read the header."""
    try:
        return Image.open(stream, formats=_READ)
    except UnidentifiedImageError as error:
        stream.seek(0)
        start = stream.read(16)
        stream.seek(0)
        if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
            return _identify_heic(stream, label)
        raise InputError(f"{label} is not a picture that can be read.", _READABLE) from error


def _identify_heic(stream: IO[bytes], label: str) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{label} is a HEIC picture, which needs an extra package to be read.",
            'Install it: pip install "dreamer[heic]"',
        ) from error
    pillow_heif.register_heif_opener()
    return Image.open(stream, formats=("HEIF",))


def _refuse_empty(size: int, label: str) -> None:
    if size == 0:
        raise InputError(f"{label} is empty (0 bytes).", "Get the file again.")


def _refuse_size(header: Opened, max_pixels: int) -> None:
    width, height = header.image.size
    if width * height > max_pixels:
        raise InputError(
            f"{header.label} is too large: {width}x{height} pixels, "
            f"{width * height / 1e6:,.0f} megapixels.",
            f"At most {max_pixels / 1e6:,.0f} megapixels are read: make it smaller first.",
        )
    if width < 1 or height < 1:
        raise InputError(f"{header.label} has no pixels: {width}x{height}.", "Get the file again.")


def _no_memory(label: str) -> DeviceError:
    return DeviceError(f"There is not enough memory to read {label}.", "Make it smaller first.")


def _unreadable(label: str, error: OSError | ValueError) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{label} cannot be read: {reason}.", "Check the name and the disk.")
