"""The kinds of film that can be written, and their codecs: one row each.

Needs nothing heavy, so that a wrong suffix is refused at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from dreamer.errors import UsageError, nearest
from dreamer.media import files

THREADS = 4
"""Of an encoder. What x264 and VP9 make depends on it, so it must not come from the machine."""

FPS = (1, 240)
"""The fewest and the most frames a second."""


@dataclass(frozen=True)
class Codec:
    """A way to encode pictures.

    Attributes:
        name: what the user calls it.
        encoder: what ffmpeg calls its encoder; "" if ffmpeg is not needed.
        crf: its constant rate factor unless another is asked for: less is better and larger.
        crfs: the least and the most that may be asked for; None if there is no such choice.
        options: ffmpeg's other arguments for it.
    """

    name: str
    encoder: str = ""
    crf: int = 0
    crfs: tuple[int, int] | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A kind of film.

    Attributes:
        name: what it is called.
        suffixes: the file names that mean it, lower case, with their dot; none for a folder.
        codecs: how its pictures may be encoded; the first is what it is without being asked.
        even: whether sides must be even.
        shortest: the fewest pixels that a side may have.
        longest: the most pixels that a side may have.
        tick: a second's part of which a frame lasts a whole number, at least two; 0 if any.
        clock: the parts of a second that its times are whole numbers of; 0 if it may be any.
        sounds: the codecs of sound that it takes as they are.
        sound_name: the codec that other sound is encoded with; "" if it has no sound.
        sound: ffmpeg's arguments for that.
        muxing: ffmpeg's arguments for the file.
    """

    name: str
    suffixes: tuple[str, ...]
    codecs: tuple[Codec, ...]
    even: bool = False
    shortest: int = 1
    longest: int = 2**31 - 1
    tick: int = 0
    clock: int = 0
    sounds: tuple[str, ...] = ()
    sound_name: str = ""
    sound: tuple[str, ...] = ()
    muxing: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """How messages name it."""
        return f"A film in {self.suffixes[0]}" if self.suffixes else "A folder of frames"


_THREADS = ("-threads", str(THREADS))
_POOLS = f"pools={THREADS}:frame-threads=2:log-level=error:info=0"
_H264 = Codec("h264", "libx264", 18, (1, 51), ("-preset", "medium", *_THREADS))
# hvc1: Apple's players refuse the other tag.
_H265 = Codec(
    "h265",
    "libx265",
    20,
    (0, 51),
    ("-preset", "medium", "-x265-params", _POOLS, "-tag:v", "hvc1"),
)
_AV1 = Codec(
    "av1",
    "libsvtav1",
    26,
    (1, 63),
    ("-preset", "6", "-svtav1-params", f"lp={THREADS}"),
)
_VP9_OPTIONS = ("-b:v", "0", "-deadline", "good", "-cpu-used", "3", "-row-mt", "1", *_THREADS)
_VP9 = Codec("vp9", "libvpx-vp9", 24, (0, 63), _VP9_OPTIONS)

FOLDER = Format("frames", (), (Codec("png"),))
FORMATS = (
    # Sound that most players take; Opus and FLAC in an .mp4 are legal and often silent.
    Format(
        "MP4",
        (".mp4",),
        (_H264, _H265, _AV1),
        even=True,
        shortest=16,
        longest=16_384,
        sounds=("aac", "mp3", "ac3", "eac3", "alac"),
        sound_name="AAC",
        sound=("-c:a", "aac", "-b:a", "192k", "-flags:a", "+bitexact"),
        # What a player needs first comes first, so that it starts before all is there. The time
        # between the starts of pictures and sound would be rounded to thousandths otherwise.
        muxing=("-movflags", "+faststart", "-movie_timescale", "90000", "-f", "mp4"),
    ),
    Format(
        "WebM",
        (".webm",),
        (_VP9, _AV1),
        shortest=16,
        longest=16_384,
        clock=1000,
        sounds=("opus", "vorbis"),
        sound_name="Opus",
        sound=("-c:a", "libopus", "-b:a", "160k", "-flags:a", "+bitexact"),
        muxing=("-f", "webm"),
    ),
    Format("GIF", (".gif",), (Codec("gif", "gif"),), longest=65_535, tick=100, clock=100),
    Format("WebP", (".webp",), (Codec("webp"),), longest=16_383, clock=1000),
    FOLDER,
)

SUFFIXES = tuple(suffix for row in FORMATS for suffix in row.suffixes)


def by_suffix(path: str | os.PathLike[str]) -> Format:
    """Return the format that `path` asks for by its suffix (or that a bare suffix is).

    A path without a suffix, one that ends with a separator, and a folder that exists ask for a
    folder of frames.

    Raises:
        UsageError: the suffix is not one of `SUFFIXES`.
    """
    text = os.fspath(path)
    separators = tuple(filter(None, (os.sep, os.altsep)))
    if text.endswith(separators) or ("\0" not in text and os.path.isdir(text)):
        return FOLDER
    name = os.path.basename(text).lower()
    suffix = name if name in SUFFIXES else Path(name).suffix
    if not suffix and text:
        return FOLDER
    for row in FORMATS:
        if suffix in row.suffixes:
            return row
    near = nearest(suffix, SUFFIXES, count=1)
    offer = f"Did you mean {near[0]}? " if near else ""
    wrong = f"'{suffix}' is no kind of film to write" if suffix else "it has no name"
    raise UsageError(
        f"Cannot tell how to write '{files.shown(path)}': {files.shown(wrong)}.",
        f"{offer}The suffix chooses the kind: {', '.join(SUFFIXES)}; "
        f"a name that ends with '{os.sep}' is a folder for the frames.",
    )
