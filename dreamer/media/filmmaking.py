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
from typing import BinaryIO

from PIL import Image

from dreamer.errors import OutputError
from dreamer.media import ffmpeg, files, metadata, profiles
from dreamer.media.filmformats import THREADS

RECIPE = "recipe.json"
"""The file that carries the recipe beside the frames in a folder."""

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
class Job:
    """How a film is encoded.

    Attributes:
        kind: the name of its format.
        size: (width, height) in pixels.
        rate: frames a second.
        encoding: ffmpeg's arguments for the pictures.
        muxing: ffmpeg's arguments for the file.
        audio: a file whose first sound stream goes with the film, or None.
        sound: ffmpeg's arguments for it.
        recipe: JSON to carry in the film, or None.
    """

    kind: str
    size: tuple[int, int]
    rate: Fraction
    encoding: tuple[str, ...]
    muxing: tuple[str, ...]
    audio: str | None
    sound: tuple[str, ...]
    recipe: str | None

    @property
    def source(self) -> tuple[str, ...]:
        """The arguments of ffmpeg for the frames that it is fed."""
        width, height = self.size
        shape = ("-s", f"{width}x{height}", "-framerate", str(self.rate))
        return ("-f", "rawvideo", "-pix_fmt", "rgb24", *shape, "-i", "pipe:0")


@contextlib.contextmanager
def video(job: Job, stream: BinaryIO) -> Iterator[Sink]:
    """Encode a film with ffmpeg into the file of `stream`.

    Sound is laid under the film once that has its length, which the sound must neither cut nor
    stretch: it needs room for the film twice.
    """
    comment = () if job.recipe is None else ("-metadata", f"comment={_comment(job.recipe)}")
    encode: tuple[str, ...] = (*job.source, "-vf", _YUV, "-fps_mode", "passthrough", *job.encoding)
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

        def add(frame: Frame) -> None:
            nonlocal count
            process.feed(frame)
            count += 1

        yield add
        process.finish()
        if job.audio is None:
            return
        length = f"{float(count / job.rate):.6f}"
        mix: tuple[str, ...] = ("-i", silent, "-t", length, "-i", ffmpeg.address(job.audio))
        mix += ("-map", "0:v", "-map", "1:a:0", "-c:v", "copy", *job.sound, *_SAME_BYTES)
        with ffmpeg.running([*mix, *finish]) as mixing:
            mixing.finish()


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
        keep += ("-f", "nut", "-y", ffmpeg.address(waiting.name))
        palette = ("-map", "[palette]", "-f", "rawvideo", "-pix_fmt", "bgra", "pipe:1")
        command = [*job.source, "-filter_complex", split, *keep, *palette]
        with ffmpeg.running(command, feed=True, read=True) as process:
            yield process.feed
            process.finish()
            colours = process.stdout.read()
        dither = "[0:v][1:v]paletteuse=dither=sierra2_4a"
        command = ["-i", ffmpeg.address(waiting.name), "-f", "rawvideo", "-pix_fmt", "bgra"]
        command += ["-s", "16x16", "-i", "pipe:0", "-filter_complex", dither, "-c:v", "gif"]
        command += ["-fps_mode", "passthrough", *_SAME_BYTES, "-loop", "0", "-f", "gif", "pipe:1"]
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
        start, end = (round(number * 1000 / job.rate) for number in (count, count + 1))
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
