"""Read films back, as far as it takes to check and show them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from PIL import Image

from dreamer.errors import InputError
from dreamer.media import ffmpeg, files, metadata, reading
from dreamer.media.filmmaking import RECIPE, TIMESTAMPS

_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,nut,ivf,h264,hevc,obu"
LOCAL = ("-protocol_whitelist", "file,pipe")
"""ffmpeg's arguments for reading nothing but the file itself."""

FILM = (*LOCAL, "-format_whitelist", _FORMATS)
"""ffmpeg's arguments for containers of films alone: it would take a text file for one, too, and
a playlist would lead it to other files."""

_FRAME_NAME = re.compile(r"[0-9]{6,}\.png")
VIDEO = re.compile(
    r"^  Stream #[^\n]*?: Video: (?P<codec>\w+)[^\n]*?, (?P<pixels>[a-z]\w+)"
    r"(?:\((?P<colour>[^)\n]*)\))?"
    r"(?:, [^,\n]*)??, (?P<width>\d+)x(?P<height>\d+)(?P<rest>[^\n]*)",
    re.MULTILINE,
)
SOUND = re.compile(r"^  Stream #[^\n]*?: Audio: (\w+)", re.MULTILINE)
_RATE = re.compile(r", ([0-9.]+)(k?) (?:fps|tbr)")
COVER = "(attached pic)"
CUT_OFF = ("partial file", "ended prematurely", "corrupt input packet")
AGAIN = "Get the file again, or make it anew."


@dataclass(frozen=True)
class Info:
    """What a film is.

    Attributes:
        width: in pixels.
        height: in pixels.
        fps: frames a second; 0 if it has no rate, as a folder of frames or a single picture.
        frames: how many there are, counted.
        seconds: how long it plays; 0 if it has no rate.
        codec: as ffmpeg names it: "h264", "hevc", "vp9", "av1", "gif", "webp", "png".
        pixel_format: as ffmpeg names it, such as "yuv420p".
        has_audio: whether it has sound.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    seconds: float
    codec: str
    pixel_format: str
    has_audio: bool


def probe(path: str | os.PathLike[str]) -> Info:
    """Return what a film is, from its header and a walk over all of it, which decodes nothing.

    Args:
        path: a film, or a folder of frames.

    Raises:
        InputError: it cannot be read, is no film, is cut off, or has no picture.
        UsageError: there is no ffmpeg.
    """
    kind = kind_of(path)
    if kind == "folder":
        return _probe_folder(path)
    if kind in ("gif", "webp"):
        return _probe_animation(path, kind)
    said = ffmpeg.described(path, *FILM)
    videos = [found for found in VIDEO.finditer(said) if COVER not in found["rest"]]
    if not videos:
        raise no_picture(path, said)
    spans, base = _packets(path)
    if not spans:
        raise InputError(f"'{files.shown(path)}' holds no frame.", AGAIN)
    lengths = {length for _, length in spans}
    if len(lengths) == 1 and base.denominator > 1000 and lengths != {0}:
        fps = 1 / (lengths.pop() * base)  # exact, unlike what is said of it in words
    else:
        fps = said_rate(videos[0]["rest"])
    ticks = max(start + length for start, length in spans) - min(start for start, _ in spans)
    return Info(
        width=int(videos[0]["width"]),
        height=int(videos[0]["height"]),
        fps=fps,
        frames=len(spans),
        seconds=float(ticks * base),
        codec=videos[0]["codec"],
        pixel_format=videos[0]["pixels"],
        has_audio=bool(SOUND.search(said)),
    )


def frames(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the frames of a film one by one: 3 * width * height bytes each, RGB, from the top.

    Closing the iterator ends ffmpeg; so does its last frame.

    Raises:
        InputError: as `probe`; for damage, only when it is met.
        UsageError: there is no ffmpeg.
    """
    kind = kind_of(path)
    if kind == "folder":
        shown: Iterator[Image.Image] = _pictures_of_folder(path)
    elif kind in ("gif", "webp"):
        shown = pictures(path, kind)
    else:
        yield from _decoded(path)
        return
    with contextlib.closing(shown):  # type: ignore[type-var]
        for picture in shown:
            yield picture.convert("RGB").tobytes()


def read_comment(path: str | os.PathLike[str]) -> str | None:
    """Return the recipe (JSON, ASCII) that a film or a folder of frames carries, or None.

    Raises:
        InputError: it cannot be read, or is no film.
        UsageError: there is no ffmpeg.
    """
    kind = kind_of(path)
    if kind == "folder":
        recipe = Path(path) / RECIPE
        with _reading(path):
            return recipe.read_text("utf-8") if recipe.exists() else None
    if kind == "webp":
        return metadata.read(path)
    if kind == "gif":
        with reading.opened(path) as header:
            comment = header.image.info.get("comment", b"")
        return metadata.unwrapped(comment.decode("utf-8", "replace"))
    with ffmpeg.running(
        [*FILM, "-i", ffmpeg.address(path), "-f", "ffmetadata", "pipe:1"], read=True
    ) as process:
        text = process.stdout.readall().decode("utf-8", "replace")  # type: ignore[attr-defined]
        try:
            process.finish()
        except ffmpeg.Failed as error:
            raise no_picture(path, "") from error
    general = re.split(r"(?m)^\[(?:STREAM|CHAPTER)\]$", text)[0]
    found = re.search(r"(?ims)^comment=((?:\\.|[^\\\n])*)$", general)
    return None if found is None else metadata.unwrapped(re.sub(r"(?s)\\(.)", r"\1", found[1]))


def sound_codec(path: str | os.PathLike[str]) -> str:
    """Return what ffmpeg calls the codec of a file's first sound stream, such as "aac".

    Raises:
        InputError: it cannot be read, or has no sound.
        UsageError: there is no ffmpeg.
    """
    return sound_codecs(path)[0]


def sound_codecs(path: str | os.PathLike[str]) -> list[str]:
    """Return the codecs of all sound streams of a file: at least one, as `sound_codec`.

    Raises:
        InputError: it cannot be read, or has no sound.
        UsageError: there is no ffmpeg.
    """
    if kind_of(path) == "folder":
        raise InputError(f"'{files.shown(path)}' is a folder.", "Name a sound file.")
    found = SOUND.findall(ffmpeg.described(path, *LOCAL))
    if not found:
        raise InputError(
            f"'{files.shown(path)}' has no sound that can be read.",
            "Name a sound file, such as an .mp3, .m4a, .wav or .flac, or a film with sound.",
        )
    return found


def sound_start(path: str | os.PathLike[str], *, alone: bool = False) -> Fraction:
    """Return when a file's first sound stream is first heard, in seconds after its beginning.

    That is not when the stream starts: what an encoder puts in front of the sound, and decoders
    leave out, does not count.

    Args:
        path: of the file.
        alone: count from where ffmpeg has the file begin when nothing but the sound is read.

    Raises:
        InputError: it cannot be decoded.
        UsageError: there is no ffmpeg.
    """
    command = [*LOCAL, "-i", ffmpeg.address(path), "-map", "0:a:0"]
    command += ["-frames:a", "1"] if alone else ["-map", "0:V:0?", "-c:v", "copy"]
    base = Fraction(1)
    with (
        ffmpeg.running([*command, "-f", "framecrc", "pipe:1"], read=True) as process,
        contextlib.closing(open(process.stdout.fileno(), "rb", closefd=False)) as lines,
    ):
        for line in lines:
            if line.startswith(b"#tb 0:"):
                base = Fraction(line.split()[2].decode())
            elif line.startswith(b"0,"):
                return int(line.split(b",")[2]) * base
    raise InputError(f"The sound of '{files.shown(path)}' cannot be decoded.", AGAIN)


def foreign(folder: str | os.PathLike[str]) -> list[str]:
    """Return the names in `folder` that are not those of a film written as frames."""
    return [
        name
        for name in sorted(os.listdir(folder))
        if name not in (RECIPE, TIMESTAMPS) and not _FRAME_NAME.fullmatch(name)
    ]


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return "folder", "gif", "webp" or "film", by what is there and not by its name.

    Raises:
        InputError: nothing is there, or it cannot be read, or it is empty or no file.
    """
    with _reading(path):
        if "\0" in os.fspath(path):  # the one character that Python refuses with a ValueError
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            return "folder"
        if not stat.S_ISREG(mode):
            raise InputError(f"'{files.shown(path)}' is no file.", "Name a film.")
        with open(path, "rb") as stream:
            head = stream.read(12)
    if not head:
        raise InputError(f"'{files.shown(path)}' is empty.", AGAIN)
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    return "webp" if head[:4] == b"RIFF" and head[8:] == b"WEBP" else "film"


@contextlib.contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"'{files.shown(path)}' cannot be read: {error.strerror or error}.",
            "Check the path, and that you may read it.",
        ) from error


def no_picture(path: str | os.PathLike[str], said: str) -> InputError:
    """Return the error for a file of which ffmpeg says no picture."""
    if SOUND.search(said):
        return InputError(f"'{files.shown(path)}' has sound but no moving picture.", "Name a film.")
    return InputError(
        f"'{files.shown(path)}' is no film, or is damaged or incomplete.",
        "Films are .mp4, .webm, .gif, animated .webp and the like, or folders of frames.",
    )


def cut_off(path: str | os.PathLike[str]) -> InputError:
    """Return the error for a file that is not whole."""
    return InputError(f"'{files.shown(path)}' is damaged or incomplete.", AGAIN)


def said_rate(rest: str) -> Fraction:
    """Return the rate in what ffmpeg says of a stream, where it is rounded to hundredths."""
    found = _RATE.search(rest)
    if found is None:
        return Fraction(0)
    rate = Fraction(found[1]) * (1000 if found[2] else 1)
    ntsc = Fraction(round(rate) * 1000, 1001)
    return ntsc if rate.denominator > 1 and abs(ntsc - rate) <= Fraction(1, 200) else rate


def _packets(path: str | os.PathLike[str]) -> tuple[list[tuple[int, int]], Fraction]:
    """Return when each frame starts and how long it lasts, and the second's part they count in."""
    spans: list[tuple[int, int]] = []
    base = Fraction(1)
    command = ["-xerror", *FILM, "-i", ffmpeg.address(path), "-map", "0:V:0", "-c", "copy"]
    with ffmpeg.running([*command, "-f", "framecrc", "pipe:1"], read=True) as process:
        with contextlib.closing(open(process.stdout.fileno(), "rb", closefd=False)) as lines:
            for line in lines:
                if line.startswith(b"#tb 0:"):
                    base = Fraction(line.split()[2].decode())
                elif not line.startswith(b"#"):
                    _, _, start, length, *_ = line.split(b",")
                    spans.append((int(start), int(length)))
        try:
            process.finish()
        except ffmpeg.Failed as error:
            raise cut_off(path) from error
    if any(said in process.complaint for said in CUT_OFF):
        raise cut_off(path)
    return spans, base


def _decoded(path: str | os.PathLike[str]) -> Iterator[bytes]:
    command = ["-xerror", *FILM, "-i", ffmpeg.address(path), "-map", "0:V:0"]
    # Each picture says its own size, which a film turned by its player would not have told.
    command += ["-fps_mode", "passthrough", "-sws_flags", "accurate_rnd+full_chroma_int"]
    command += ["-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe", "pipe:1"]
    count = 0
    with ffmpeg.running(command, read=True) as process:
        with contextlib.closing(open(process.stdout.fileno(), "rb", closefd=False)) as stream:
            while stream.readline() == b"P6\n":
                width, height = map(int, stream.readline().split())
                stream.readline()
                frame = stream.read(3 * width * height)
                if len(frame) < 3 * width * height:
                    raise cut_off(path)
                yield frame
                count += 1
        try:
            process.finish()
        except ffmpeg.Failed as error:
            raise (cut_off(path) if count else no_picture(path, "")) from error
    if any(said in process.complaint for said in CUT_OFF):
        raise cut_off(path)
    if not count:
        raise InputError(f"'{files.shown(path)}' holds no frame.", AGAIN)


def pictures(path: str | os.PathLike[str], kind: str) -> Iterator[Image.Image]:
    """Yield the pictures of a GIF or WebP; the `info` of each tells how long it is shown (ms).

    Raises:
        InputError: it cannot be read, or is damaged or cut off.
    """
    label = f"'{files.shown(path)}'"
    _refuse_cut_off(path, kind)
    with reading.opened(path) as header:
        image = header.image
        for number in range(getattr(image, "n_frames", 1)):
            with reading.guarded(label):
                image.seek(number)
                image.load()
            yield image


def _refuse_cut_off(path: str | os.PathLike[str], kind: str) -> None:
    """Refuse an animation that lacks its end, which Pillow takes for a shorter one."""
    with _reading(path), open(path, "rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        if kind == "gif":
            stream.seek(max(0, size - 64))
            whole = stream.read().rstrip(b"\0").endswith(b";")
        else:
            stream.seek(4)
            whole = size >= int.from_bytes(stream.read(4), "little") + 8
    if not whole:
        raise cut_off(path)


def _probe_animation(path: str | os.PathLike[str], kind: str) -> Info:
    durations = []
    width = height = 0
    for picture in pictures(path, kind):
        durations.append(round(picture.info.get("duration", 0)))
        width, height = picture.size
    total = sum(durations)
    return Info(
        width=width,
        height=height,
        fps=_simplest_rate(len(durations), total),
        frames=len(durations),
        seconds=total / 1000,
        codec=kind,
        pixel_format="pal8" if kind == "gif" else "yuv420p",
        has_audio=False,
    )


def _simplest_rate(count: int, total: int) -> Fraction:
    """Return the plainest rate at which `count` frames last `total` ms, give or take a half."""
    if not total:
        return Fraction(0)
    exact = Fraction(1000 * count, total)
    for denominator in range(1, 101):
        rate = Fraction(round(exact * denominator), denominator)
        if rate and abs(1000 * count / rate - total) <= Fraction(1, 2):
            return rate
    return exact


def _frame_paths(path: str | os.PathLike[str]) -> list[Path]:
    with _reading(path):
        names = sorted(name for name in os.listdir(path) if _FRAME_NAME.fullmatch(name))
    if not names:
        raise InputError(
            f"The folder '{files.shown(path)}' holds no frames.",
            "Frames are named 000000.png, 000001.png, and so on.",
        )
    paths = [Path(path) / f"{number:06d}.png" for number in range(len(names))]
    for frame, name in zip(paths, sorted(names, key=lambda name: int(name[:-4])), strict=True):
        if frame.name != name:
            raise InputError(f"'{files.shown(frame)}' is missing.", AGAIN)
    return paths


def _pictures_of_folder(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    size = None
    for frame in _frame_paths(path):
        with reading.opened(frame) as header, reading.guarded(header.label):
            header.image.load()
            picture = header.image
        if size not in (None, picture.size):
            raise InputError(
                f"'{files.shown(frame)}' has another size than the frames before it.", AGAIN
            )
        size = picture.size
        yield picture


def _probe_folder(path: str | os.PathLike[str]) -> Info:
    paths = _frame_paths(path)
    sizes = {reading.probe(frame) for frame in paths}
    if len(sizes) > 1:
        raise InputError(f"The frames in '{files.shown(path)}' differ in size.", AGAIN)
    ((width, height),) = sizes
    return Info(width, height, Fraction(0), len(paths), 0.0, "png", "rgb24", has_audio=False)
