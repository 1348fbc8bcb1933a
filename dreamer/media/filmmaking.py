"""Encode frames as they come: one function a kind of film, all with the same shape.

Each takes a `Job` and where to write, and yields the function that takes one frame. When its
block ends the film is finished; an exception in the block ends ffmpeg. None of them holds more
than a few frames, whatever the length of the film.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

from PIL import Image

from dreamer.errors import OutputError, UsageError
from dreamer.media import ffmpeg, files, metadata, profiles
from dreamer.media.filmformats import FPS, THREADS

RECIPE = "recipe.json"
"""The file that carries the recipe beside the frames in a folder."""

TIMESTAMPS = "timestamps.txt"
"""The file beside the frames in a folder that says when each is shown, as mkvmerge reads it."""

RECIPE_BYTES = 25_000
"""The longest recipe, in characters: it is an argument of ffmpeg's, and Windows limits those."""

Frame = bytes | memoryview
Sink = Callable[[Frame], None]

# Players take the colours of a film for bt709, so it is converted by that and says so: as parts
# of the frames (`setparams`), since the encoders' own options for it do not outlast the filters.
_YUV = (
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int+full_chroma_inp"
    "+bitexact,format=yuv420p,"
    "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
)
_SAME_BYTES = ("-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact")
_WEBP_BYTES = 2**32 - 10  # that its header has room for


@dataclass(frozen=True)
class Pace:
    """When the frames of a film are shown, one by one, and where its sound begins.

    Attributes:
        times: when each frame is first shown, in seconds, and last when the last one ends: one
            more than there are frames, strictly growing from 0.
        sound_from: where in the file of the sound the film begins, in seconds from the beginning
            of that file, which is where its earliest stream begins.
        cut: whether the sound is cut where the film begins and ends. If not all of it is kept,
            and the pictures begin later than the sound if they did in its file.

    Raises:
        ValueError: `times` is not like that.
    """

    times: tuple[Fraction, ...]
    sound_from: Fraction = Fraction(0)
    cut: bool = True

    def __post_init__(self) -> None:
        pairs = zip(self.times, self.times[1:], strict=False)
        if len(self.times) < 2 or self.times[0] or any(one >= other for one, other in pairs):
            raise ValueError("The times of a film grow from 0, one more than it has frames.")

    @property
    def frames(self) -> int:
        """How many frames the film has."""
        return len(self.times) - 1

    @property
    def seconds(self) -> Fraction:
        """How long the film is."""
        return self.times[-1]

    @property
    def rate(self) -> Fraction:
        """Frames a second, on average."""
        return self.frames / self.seconds

    @property
    def steady(self) -> bool:
        """Whether all frames last equally long."""
        return all(time * self.rate == number for number, time in enumerate(self.times))


@dataclass(frozen=True)
class Job:
    """How a film is encoded.

    Attributes:
        kind: the name of its format.
        size: (width, height) in pixels.
        rate: frames a second; on average, if `clock` is not 0.
        encoding: ffmpeg's arguments for the pictures.
        muxing: ffmpeg's arguments for the file.
        audio: a file whose first sound stream goes with the film, or None.
        sound: ffmpeg's arguments to encode it anew; none to copy it.
        recipe: JSON to carry in the film, or None.
        pace: when its frames are shown, or None for at `rate`.
        clock: what the times of `pace` are counted in, in parts of a second, where ffmpeg has to
            know each; 0 for at `rate`.
        lead: how long after the sound the pictures begin, in seconds.
    """

    kind: str
    size: tuple[int, int]
    rate: Fraction
    encoding: tuple[str, ...]
    muxing: tuple[str, ...]
    audio: str | None
    sound: tuple[str, ...]
    recipe: str | None
    pace: Pace | None = None
    clock: int = 0
    lead: Fraction = Fraction(0)

    @property
    def source(self) -> tuple[str, ...]:
        """The arguments of ffmpeg for the frames that it is fed."""
        if self.clock:
            return ("-f", "nut", "-probesize", "32", "-i", "pipe:0")
        width, height = self.size
        shape = ("-s", f"{width}x{height}", "-framerate", str(self.rate))
        return ("-f", "rawvideo", "-pix_fmt", "rgb24", *shape, "-i", "pipe:0")

    @property
    def timing(self) -> tuple[str, ...]:
        """The arguments of ffmpeg for the times of what it writes."""
        passed = ("-fps_mode", "passthrough")
        return (*passed, "-enc_time_base", f"1:{self.clock}") if self.clock else passed

    def lasting(self, seconds: Fraction) -> tuple[str, ...]:
        """The arguments of ffmpeg that let the last frame end at `seconds`."""
        if not self.clock:
            return ()
        # Of the others only the start counts, in every container. An MP4 ends where the frame
        # does that ends last, and where the one does that is stored last: hence all of them.
        return ("-bsf:v", f"setts=pts=PTS:dts=DTS:duration=round({float(seconds):.9f}/TB)-PTS")

    def starts(self, number: int) -> Fraction:
        """When the frame of this number is first shown, in seconds."""
        return number / self.rate if self.pace is None else self.pace.times[number]


@contextlib.contextmanager
def video(job: Job, stream: BinaryIO) -> Iterator[Sink]:
    """Encode a film with ffmpeg into the file of `stream`.

    Sound is laid under the film once that has its length, which the sound must neither cut nor
    stretch: it needs room for the film twice.
    """
    comment = () if job.recipe is None else ("-metadata", f"comment={_comment(job.recipe)}")
    encode: tuple[str, ...] = (*job.source, "-vf", _YUV, *job.timing, *job.encoding)
    if job.pace is not None:
        encode += job.lasting(job.pace.seconds)
    encode += ("-flags:v", "+bitexact", *_SAME_BYTES)
    finish = (*comment, *job.muxing, "-y", ffmpeg.address(stream.name))
    with contextlib.ExitStack() as stack:
        if job.audio is not None:
            silent = ffmpeg.address(stack.enter_context(files.temporary(stream.name)).name)
            ending: tuple[str, ...] = (*job.muxing, "-y", silent)
        else:
            ending = finish
        process = stack.enter_context(ffmpeg.running([*encode, *ending], feed=True))
        count = 0
        with _fed(job, process) as feed:

            def add(frame: Frame) -> None:
                nonlocal count
                feed(frame)
                count += 1

            yield add
        process.finish()
        if job.audio is None:
            return
        mix = _laid(job, silent, job.starts(count))
        with ffmpeg.running([*mix, *_SAME_BYTES, *finish]) as mixing:
            mixing.finish()


def _laid(job: Job, silent: str, seconds: Fraction) -> tuple[str, ...]:
    """Return ffmpeg's arguments that lay the sound under the film that has none."""
    assert job.audio is not None
    pace = job.pace or Pace((Fraction(0), seconds))
    # Not sought, which is inexact in some containers: all before the film is read over.
    mix: tuple[str, ...] = ("-itsoffset", _seconds(job.lead), "-i", silent)
    mix += ("-itsoffset", _seconds(job.lead - pace.sound_from), "-i", ffmpeg.address(job.audio))
    mix += ("-map", "0:v", "-map", "1:a:0", "-c:v", "copy", *job.lasting(job.lead + seconds))
    if pace.cut:
        mix += ("-t", _seconds(seconds))
    if job.sound:
        end = f":end={_seconds(seconds)}" if pace.cut else ""
        # 5.1 and its kin have more than one order of channels, which Opus in ffmpeg refuses.
        return (*mix, "-af", f"atrim=start=0{end},aformat=channel_layouts=stereo|mono", *job.sound)
    # What an encoder puts before the sound is before the film, too, but belongs to the sound.
    early = ("-copypriorss:a", "0") if pace.cut and pace.sound_from else ()
    return (*mix, "-c:a", "copy", *early)


def _seconds(number: Fraction) -> str:
    return f"{float(number):.6f}"


@contextlib.contextmanager
def _fed(job: Job, process: ffmpeg.Process) -> Iterator[Sink]:
    """Yield what feeds frames to ffmpeg, with their times if it has to know them."""
    if not job.clock:
        yield process.feed
        return
    assert job.pace is not None
    ticks = [int(time * job.clock) for time in job.pace.times]
    av, pipe = timing_library(), _Pipe(process)
    # NUT holds raw frames as they are and any time; it is read as it comes.
    container = av.open(pipe, "w", format="nut", buffer_size=1 << 20)
    try:
        least, most = map(Fraction, FPS)  # encoders want to know a rate, and AV1 takes no others
        rate = min(max(job.rate, least), most).limit_denominator(1001)
        stream = container.add_stream("rawvideo", rate=rate)
        (stream.width, stream.height), stream.pix_fmt = job.size, "rgb24"
        stream.time_base = Fraction(1, job.clock)
        count = 0

        def add(frame: Frame) -> None:
            nonlocal count
            packet = av.Packet(frame)
            packet.stream, packet.time_base = stream, Fraction(1, job.clock)
            packet.pts = packet.dts = ticks[count]
            packet.duration = ticks[count + 1] - ticks[count]
            packet.is_keyframe = True
            container.mux(packet)
            count += 1

        yield add
        container.close()
    finally:
        pipe.process = None  # what is still to be written would wait for ffmpeg, or miss it
        with contextlib.suppress(av.FFmpegError):  # of before, which was raised then
            container.close()


class _Pipe:
    """A file for PyAV to write that is the input of ffmpeg, as long as there is one."""

    def __init__(self, process: ffmpeg.Process) -> None:
        self.process: ffmpeg.Process | None = process

    def write(self, data: bytes) -> int:
        if self.process is not None:
            self.process.feed(data)
        return len(data)


def timing_library() -> Any:
    """Return PyAV, which is an extra.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UsageError(
            "A film whose frames do not last equally long needs an extra package (PyAV).",
            'Install it: pip install "dreamer[video]"',
        ) from error
    return av


@contextlib.contextmanager
def gif(job: Job, stream: BinaryIO) -> Iterator[Sink]:
    """Encode a GIF with one palette made for all of the film.

    The palette is known only after the last frame, so the frames wait in a hidden file, without
    loss, in a third to all of the room of raw pixels. ffmpeg counts every different colour: some
    50 bytes each, so that the memory depends on how colourful the film is, not on its length.
    """
    with files.temporary(stream.name) as waiting:
        # Both at once: the palette is one small picture, which stays in the pipe until the end.
        split = "[0:v]split[kept][seen];[seen]palettegen=stats_mode=full[palette]"
        keep: tuple[str, ...] = (
            "-map",
            "[kept]",
            "-c:v",
            "ffv1",
            "-pix_fmt",
            "bgr0",
            "-threads",
            str(THREADS),
        )
        keep += (*job.timing, "-f", "nut", "-y", ffmpeg.address(waiting.name))
        palette = ("-map", "[palette]", "-f", "rawvideo", "-pix_fmt", "bgra", "pipe:1")
        command = [*job.source, "-filter_complex", split, *keep, *palette]
        with ffmpeg.running(command, feed=True, read=True) as process:
            with _fed(job, process) as feed:
                yield feed
            process.finish()
            colours = process.stdout.read()
        dither = "[0:v][1:v]paletteuse=dither=sierra2_4a"
        command = ["-i", ffmpeg.address(waiting.name), "-f", "rawvideo", "-pix_fmt", "bgra"]
        command += ["-s", "16x16", "-i", "pipe:0", "-filter_complex", dither, "-c:v", "gif"]
        command += [*job.timing, *_SAME_BYTES, "-loop", "0"]
        if job.clock and job.pace is not None:
            last = job.pace.times[-1] - job.pace.times[-2]
            command += ["-final_delay", str(int(last * job.clock))]
        command += ["-f", "gif", "pipe:1"]
        with ffmpeg.running(command, feed=True, read=True) as process:
            process.feed(colours)
            process.starve()
            _copy_gif(process, stream, job.recipe)
            process.finish()


@contextlib.contextmanager
def webp(job: Job, stream: BinaryIO) -> Iterator[Sink]:
    """Encode an animated WebP, every frame by itself and at once written.

    Not with libwebp's own encoder for animations, which keeps the whole file in memory and
    leaves out a frame that looks like the one before it.
    """
    width, height = job.size
    exif = b"" if job.recipe is None else metadata.save_options("WEBP", job.recipe)["exif"]
    assert isinstance(exif, bytes)
    flags = 0x02 | (0x08 if exif else 0)  # it moves; it carries EXIF
    canvas = _three(width - 1) + _three(height - 1)
    stream.write(b"RIFF\0\0\0\0WEBP")
    stream.write(_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + canvas))
    stream.write(_chunk(b"ANIM", b"\xff\xff\xff\xff" + struct.pack("<H", 0)))  # for ever
    count = 0

    def add(frame: Frame) -> None:
        nonlocal count
        start, end = (round(job.starts(number) * 1000) for number in (count, count + 1))
        picture = io.BytesIO()
        _image(frame, job.size).save(picture, "WEBP", quality=90, method=4)
        covers = bytes([0x02])  # it hides the frame before it
        head = bytes(6) + canvas + _three(end - start) + covers
        data = _chunk(b"ANMF", head + picture.getbuffer()[12:])  # without "RIFF....WEBP"
        if stream.tell() + len(data) + len(exif) > _WEBP_BYTES:
            raise OutputError(
                "A .webp holds at most 4 GB.", "Make it shorter or smaller, or write an .mp4."
            )
        stream.write(data)
        count += 1

    yield add
    if exif:
        stream.write(_chunk(b"EXIF", exif))
    size = stream.tell() - 8
    stream.seek(4)
    stream.write(struct.pack("<I", size))


@contextlib.contextmanager
def folder(job: Job, place: str) -> Iterator[Sink]:
    """Write the frames as 000000.png, 000001.png, ... into the folder `place`."""
    icc = profiles.srgb_bytes()
    count = 0

    def add(frame: Frame) -> None:
        nonlocal count
        picture = io.BytesIO()
        _image(frame, job.size).save(picture, "PNG", icc_profile=icc)
        with files.replacing(os.path.join(place, f"{count:06d}.png")) as stream:
            stream.write(picture.getbuffer())
        count += 1

    yield add
    if job.pace is not None:
        lines = [f"{float(time * 1000):.6f}" for time in job.pace.times]
        with files.replacing(os.path.join(place, TIMESTAMPS)) as stream:
            stream.write("\n".join(["# timestamp format v2", *lines, ""]).encode("ascii"))
    if job.recipe is not None:
        with files.replacing(os.path.join(place, RECIPE)) as stream:
            stream.write((metadata.unwrapped(_comment(job.recipe)) or "").encode("ascii"))


def _comment(recipe: str) -> str:
    return metadata.wrapped(recipe)


def _image(frame: Frame, size: tuple[int, int]) -> Image.Image:
    return Image.frombytes("RGB", size, frame)


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def _copy_gif(process: ffmpeg.Process, stream: BinaryIO, recipe: str | None) -> None:
    """Copy a GIF to its file, with the comment that ffmpeg does not write before its frames."""
    source = io.BufferedReader(process.stdout)  # type: ignore[type-var]
    try:
        header = source.read(13)
        if len(header) == 13 and header[10] & 0x80:
            header += source.read(3 << ((header[10] & 7) + 1))
        stream.write(header)
        if recipe is not None:
            text = _comment(recipe).encode("ascii")
            stream.write(b"!\xfe")
            for start in range(0, len(text), 255):
                block = text[start : start + 255]
                stream.write(bytes([len(block)]) + block)
            stream.write(b"\0")
        shutil.copyfileobj(source, stream)
    finally:
        source.detach()
