"""Films that are written frame by frame, whole or not at all.

| target  | pictures                    | sound       | recipe in         |
|---------|-----------------------------|-------------|-------------------|
| .mp4    | H.264, H.265 or AV1         | copied, AAC | comment           |
| .webm   | VP9 or AV1                  | copied, Opus| comment           |
| .gif    | 255 colours chosen for it   | none        | comment extension |
| .webp   | every frame lossy           | none        | EXIF UserComment  |
| folder  | 000000.png, 000001.png, ... | none        | recipe.json       |

Frames come at a constant rate, or each at a time of its own (`Pace`): a folder of frames then
has their times in timestamps.txt.

The same frames and settings make the same bytes with the same ffmpeg on the same kind of
processor, however many cores it has. Needs Pillow and ffmpeg, not torch.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import BinaryIO

from dreamer.errors import OutputError, UsageError, unknown
from dreamer.media import ffmpeg, files, filmmaking, footage
from dreamer.media.filmformats import FOLDER, FORMATS, FPS, SUFFIXES, Codec, Format, by_suffix
from dreamer.media.filmmaking import Frame, Job, Pace, Sink
from dreamer.media.footage import Info, frames, probe, read_comment

__all__ = [
    "FORMATS",
    "FPS",
    "SUFFIXES",
    "Codec",
    "Format",
    "Info",
    "Pace",
    "Writer",
    "by_suffix",
    "check",
    "frames",
    "probe",
    "read_comment",
    "writing",
]

_FINEST, _COARSEST = 1_000_000, 10_000  # parts of a second that times in an MP4 are counted in
_TOGETHER = Fraction(1, 1000)  # seconds: pictures and sound that begin less apart begin at once

_Maker = Callable[[Job, BinaryIO], contextlib.AbstractContextManager[Sink]]
_MAKERS: dict[str, _Maker] = {"GIF": filmmaking.gif, "WebP": filmmaking.webp}


class Writer:
    """Takes the frames of a film, see `writing`.

    Attributes:
        count: how many frames it has taken.
    """

    def __init__(self, path: str | os.PathLike[str], job: Job, sink: Sink) -> None:
        self.count = 0
        self._path = path
        self._bytes = 3 * job.size[0] * job.size[1]
        self._frames = None if job.pace is None else job.pace.frames
        self._sink = sink
        self._torn = False

    def add(self, frame: Frame) -> None:
        """Add one frame, waiting until it is taken.

        Args:
            frame: RGB, 3 * width * height bytes, rows from the top; any contiguous buffer.

        Raises:
            ValueError: it has another length, or the film's `Pace` has no time for it.
            OutputError: it cannot be written or encoded.
        """
        view = memoryview(frame).cast("B")
        if len(view) != self._bytes:
            raise ValueError(f"A frame of this film has {self._bytes} bytes, not {len(view)}.")
        if self.count == self._frames:
            raise ValueError(f"This film has {self._frames} frames, no more.")
        if self._torn:
            raise self._incomplete()
        self._torn = True
        with _said(self._path):
            self._sink(view)
        self._torn = False
        self.count += 1

    def check(self) -> None:
        """Refuse a film that ends without a frame, or within one, as Ctrl-C may leave it.

        So is one that ends before its `Pace` does.

        Raises:
            OutputError: it is such a film.
        """
        if self._torn:
            raise self._incomplete()
        if not self.count:
            raise OutputError(
                f"'{files.shown(self._path)}' was not written: it would have no frame.",
                "Make it longer.",
            )
        if self._frames is not None and self.count < self._frames:
            raise OutputError(
                f"'{files.shown(self._path)}' was not written: only {self.count} of its "
                f"{self._frames} frames were made.",
                "Make it again.",
            )

    def _incomplete(self) -> OutputError:
        return OutputError(
            f"'{files.shown(self._path)}' was not written: its last frame was not taken whole.",
            "Make it again.",
        )


def check(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    fps: float | Fraction | None,
    *,
    pace: Pace | None = None,
    codec: str | None = None,
    crf: int | None = None,
    audio: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Refuse a film that could not be written, before any work is done for it.

    Args:
        path: the film; its suffix chooses the format, see `by_suffix`.
        size: (width, height) of its frames in pixels.
        fps: frames a second; None with a `pace`.
        pace: when each frame is shown, and where the film begins in `audio`; None for at `fps`.
        codec: one of the format's, by name; None for its first.
        crf: the codec's constant rate factor, less is better and larger; None for its own.
        audio: a file whose first sound stream goes with the film.
        overwrite: whether a film that exists is replaced. A folder is replaced only if it holds
            nothing but frames and their recipe.

    Returns:
        What will be other than asked for, in words for the user, who should see it.

    Raises:
        UsageError: a value that is not valid for this format, or an encoder that this ffmpeg
            does not have, or no ffmpeg, or no PyAV where it is needed for the `pace`.
        ValueError: neither `fps` nor `pace` is given, or both are.
        OutputError: the target cannot be written, or exists and `overwrite` is False.
        InputError: `audio` cannot be read or has no sound.
    """
    _, notes = _planned(path, size, fps, pace, codec, crf, audio, None, overwrite)
    return notes


@contextlib.contextmanager
def writing(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    fps: float | Fraction | None,
    *,
    pace: Pace | None = None,
    codec: str | None = None,
    crf: int | None = None,
    audio: str | os.PathLike[str] | None = None,
    comment: str | None = None,
    overwrite: bool = False,
) -> Iterator[Writer]:
    """Write a film, frame by frame; it appears under `path` only once it is whole.

    Until the block ends the film is a hidden file, or folder, beside `path`. If the block raises
    anything, Ctrl-C included, ffmpeg is ended, what was written is removed, and `path` is left as
    it was. A GIF, and a film with sound, need room for a second hidden file until then.

    Args:
        path: as for `check`, like the other arguments.
        size: (width, height) in pixels.
        fps: frames a second.
        pace: when each frame is shown.
        codec: a name.
        crf: the codec's constant rate factor.
        audio: it is cut to the film's length, unless the `pace` says otherwise; a film that is
            longer ends in silence.
        comment: the recipe (JSON) to carry in the film, see `read_comment`.
        overwrite: whether a film that exists is replaced.

    Raises:
        UsageError, OutputError, InputError: as `check`; OutputError also if the film cannot be
            encoded or written, or got no frame.
    """
    job, _ = _planned(path, size, fps, pace, codec, crf, audio, comment, overwrite)
    failure: Exception | None = None
    try:
        with _said(path), _target(path, job, overwrite) as sink:
            writer = Writer(path, job, sink)
            try:
                yield writer
            except Exception as error:
                failure = error
                raise _Abandoned from error
            writer.check()
    except _Abandoned:
        pass
    if failure is not None:  # the caller's own, not to be taken for one of writing the film
        raise failure


class _Abandoned(Exception):  # noqa: N818 - no fault of its own
    """Ends a film on the way out of a block that raised something."""


def _planned(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    fps: float | Fraction | None,
    pace: Pace | None,
    codec: str | None,
    crf: int | None,
    audio: str | os.PathLike[str] | None,
    comment: str | None,
    overwrite: bool,
) -> tuple[Job, tuple[str, ...]]:
    """Check everything and return how the film is made, and the notes."""
    row = by_suffix(path)
    chosen = _codec(row, codec)
    _check_size(row, size)
    if (fps is None) == (pace is None):
        raise ValueError("A film has a rate or a pace.")
    clock = 0
    if fps is not None:
        rate, notes = _rate(row, fps)
    elif pace is not None:
        rate, pace, clock, notes = _timed(row, pace)
    quality = _quality(row, chosen, crf)
    sound: tuple[str, ...] = ()
    if audio is not None and not row.sound_name:
        raise UsageError(f"{row.label} has no sound.", "Write an .mp4 or a .webm.")
    if comment is not None and len(comment) > filmmaking.RECIPE_BYTES:
        raise OutputError(
            f"The recipe is too long for a film ({len(comment)} characters).",
            "Leave the recipe out with --no-metadata.",
        )
    if row is FOLDER:
        _check_folder(path, overwrite)
    else:
        files.check(path, overwrite=overwrite)
    if chosen.encoder and chosen.encoder not in ffmpeg.encoders():
        others = [other.name for other in row.codecs if other.encoder in ffmpeg.encoders()]
        raise UsageError(
            f"This ffmpeg ('{files.shown(ffmpeg.program())}') cannot encode {chosen.name}: "
            f"it lacks {chosen.encoder}.",
            f"Use another codec ({', '.join(others)}), or the ffmpeg of imageio-ffmpeg."
            if others
            else "Use the ffmpeg that comes with imageio-ffmpeg.",
        )
    if audio is not None:
        heard, *others = footage.sound_codecs(audio)
        if others:
            notes += (f"only the first of its {1 + len(others)} sound tracks goes with the film",)
        sound = () if heard in row.sounds else row.sound
        if heard not in row.sounds:
            notes += (
                f"the sound ({heard}) is encoded anew as {row.sound_name}, "
                f"since {row.suffixes[0]} files do not hold it for every player",
            )
    encoding = ("-c:v", chosen.encoder, *chosen.options, *quality)
    # Absolute, so that the film's folder may change while it is made.
    heard_from = None if audio is None else os.path.abspath(audio)
    lead = Fraction(0)
    if heard_from is not None and pace is not None and not pace.cut:
        earlier = pace.sound_from - footage.sound_start(heard_from)
        lead = earlier if earlier > _TOGETHER else lead
    if heard_from is not None and pace is not None:
        pace = replace(pace, sound_from=pace.sound_from - _missed(heard_from))
    job = Job(
        row.name,
        size,
        rate,
        encoding,
        row.muxing,
        heard_from,
        sound,
        comment,
        pace=pace,
        clock=clock,
        lead=lead,
    )
    return job, notes


def _codec(row: Format, name: str | None) -> Codec:
    if name is None:
        return row.codecs[0]
    for codec in row.codecs:
        if codec.name == name.lower():
            return codec
    names = [codec.name for codec in row.codecs]
    where = f"{row.label} can be {', '.join(names)}"
    raise unknown(f"codec for {row.suffixes[0] if row.suffixes else 'frames'}", name, names, where)


def _check_size(row: Format, size: tuple[int, int]) -> None:
    width, height = size
    if not row.shortest <= min(size) or not max(size) <= row.longest:
        raise UsageError(
            f"{row.label} has sides of {row.shortest} to {row.longest} pixels: "
            f"{width}x{height} is not possible.",
            "Choose another size.",
        )
    if row.even and (width % 2 or height % 2):
        raise UsageError(
            f"{row.label} has even sides: {width}x{height} is not possible.",
            f"Make it {width - width % 2}x{height - height % 2}, or write a .webm.",
        )


def _rate(row: Format, fps: float | Fraction) -> tuple[Fraction, tuple[str, ...]]:
    least, most = FPS
    if not math.isfinite(fps) or not least <= fps <= most:
        raise UsageError(
            f"A film has {least} to {most} frames a second, not {fps}.", "30 and 60 are usual."
        )
    rate = Fraction(fps).limit_denominator(1001)  # 30000/1001 is the rate of American television
    if not row.tick:
        return rate, ()
    nearest_rate = Fraction(row.tick, max(2, round(row.tick / rate)))
    if nearest_rate == rate:
        return rate, ()
    note = (
        f"{float(nearest_rate):.4g} frames a second instead of {float(rate):.4g}: in a "
        f"{row.suffixes[0]} they last whole hundredths of a second, at least two"
    )
    return nearest_rate, (note,)


def _timed(row: Format, pace: Pace) -> tuple[Fraction, Pace, int, tuple[str, ...]]:
    """Return the rate, the pace as the format can hold it, the clock of `Job`, and notes."""
    if row is FOLDER:
        return pace.rate, pace, 0, ()
    least, most = FPS
    if pace.steady and not row.tick and least <= pace.rate <= most:
        return pace.rate, pace, 0, ()  # containers say a rate more exactly than each time
    clock = row.clock or _common_clock(pace)
    shortest = 2 if row.tick else 1
    ticks, late = [0], False
    for time in pace.times[1:]:
        tick = round(time * clock)
        late = late or tick < ticks[-1] + shortest
        ticks.append(max(tick, ticks[-1] + shortest))
    notes: tuple[str, ...] = ()
    if late:
        unit = "hundredths" if clock == 100 else "thousandths" if clock == 1000 else "millionths"
        notes = (
            f"some frames are shown later than they should be: in a {row.suffixes[0]} each lasts "
            f"whole {unit} of a second{', at least two' if shortest == 2 else ''}",
        )
    held = replace(pace, times=tuple(Fraction(tick, clock) for tick in ticks))
    if row.name == "WebP" or (held.steady and row.tick):
        return held.rate, held, 0, notes
    filmmaking.timing_library()
    return held.rate, held, clock, notes


def _missed(audio: str) -> Fraction:
    """Return how much later a file begins when only its sound is read: in some containers it does.

    It is read alone when it is laid under a film.
    """
    return footage.sound_start(audio) - footage.sound_start(audio, alone=True)


def _common_clock(pace: Pace) -> int:
    """Return the parts of a second that all times are whole numbers of, or else millionths."""
    clock = math.lcm(*(time.denominator for time in pace.times))
    if clock > _FINEST:
        return _FINEST
    return clock * -(-_COARSEST // clock)  # some encoders and players know no coarse ones


def _quality(row: Format, codec: Codec, crf: int | None) -> tuple[str, ...]:
    if codec.crfs is None:
        if crf is not None:
            raise UsageError(f"{row.label} has no crf.", "Leave it out.")
        return ()
    least, most = codec.crfs
    if crf is not None and not least <= crf <= most:
        raise UsageError(
            f"The crf of {codec.name} is {least} (best) to {most}, not {crf}.",
            f"Leave it out for {codec.crf}.",
        )
    return ("-crf", str(codec.crf if crf is None else crf))


@contextlib.contextmanager
def _target(path: str | os.PathLike[str], job: Job, overwrite: bool) -> Iterator[Sink]:
    """Open where the film goes, and put it there when the block ends."""
    if job.kind != FOLDER.name:
        make = _MAKERS.get(job.kind, filmmaking.video)
        with files.replacing(path, overwrite=overwrite) as stream, make(job, stream) as sink:
            yield sink
        return
    target = os.path.realpath(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with files.temporary_folder(target) as hidden:
        with filmmaking.folder(job, hidden) as sink:
            yield sink
        _place_folder(hidden, target, path, overwrite)


def _beside(target: str) -> str:
    return os.path.join(os.path.dirname(target), f".{secrets.token_hex(8)}.part")


def _check_folder(path: str | os.PathLike[str], overwrite: bool) -> None:
    with _said(path):
        target = os.path.realpath(path)
        if os.path.lexists(target):
            if not os.path.isdir(target):
                raise OutputError(
                    f"'{files.shown(path)}' is a file, not a folder for frames.",
                    f"Choose another name, or one that ends in {', '.join(SUFFIXES)}.",
                )
            _refuse_foreign(target, path)
            if not overwrite and os.listdir(target):
                raise FileExistsError
        files.check(_beside(target))


def _refuse_foreign(folder: str, path: str | os.PathLike[str]) -> None:
    others = footage.foreign(folder)
    if others:
        raise OutputError(
            f"The folder '{files.shown(path)}' holds other files than frames, "
            f"such as '{files.shown(others[0])}'.",
            "Choose a folder that is new or empty.",
        )


def _place_folder(hidden: str, target: str, path: str | os.PathLike[str], overwrite: bool) -> None:
    """Move the finished folder to its name, where an empty one or frames may be."""
    with contextlib.suppress(OSError):
        os.rmdir(target)  # only if it is empty
    if not os.path.lexists(target):
        os.rename(hidden, target)
        return
    if not overwrite:
        raise FileExistsError
    old = _beside(target)
    os.rename(target, old)
    try:
        _refuse_foreign(old, path)
        os.rename(hidden, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _said(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong with the film's files and with ffmpeg into an error about `path`."""
    with files.writing(path):
        try:
            yield
        except ffmpeg.Failed as error:
            if error.no_room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise OutputError(
                f"'{files.shown(path)}' could not be encoded: {error.reason}.",
                "Try another codec or format, or a smaller size.",
            ) from error
        except OutputError as error:
            # Said of a hidden file, which the user has not heard of.
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise
