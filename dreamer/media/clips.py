"""Clips that are read to be made anew: first surveyed, then frame by frame.

A survey decodes a clip once and notes when each frame is shown, so that damage is met before the
work and not within it, and so that a film made of the frames can keep their times.

The frames are RGB as a player shows them: upright, with square pixels, full range. They are
converted with the matrix and the range that the clip declares; one that declares no matrix is
taken for BT.709 from 720 lines on, else for BT.601. Colours of a wider gamut (BT.2020) and light
beyond white (PQ, HLG) are brought to BT.709: white at 203 cd/m2 is kept bright, and what is
brighter is compressed, up to 1000 cd/m2. The curve of the light is left as it is otherwise, so
that what `films` writes as BT.709 looks as before.

Needs Pillow and ffmpeg, not torch.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path

from PIL import Image

from dreamer.errors import InputError, UsageError
from dreamer.media import ffmpeg, files, footage, reading
from dreamer.media.filmmaking import Pace

__all__ = ["Clip", "frames", "survey"]

_HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
_WIDE = ("bt2020", "bt2020nc", "bt2020c")
_PEAK = 1000 / 203  # of the light that is kept, in whites: ITU-R BT.2408 puts white at 203 cd/m2
_UNKNOWN = ("", "unknown", "reserved")
_INTERLACED = ("t", "b", "m")  # of the header of YUV4MPEG2
_SEEKABLE = ("mov", "matroska")  # containers with an index that ffmpeg finds any second by
_SEEK_FROM, _SEEK_EARLY = 40, 20  # seconds: earlier is not worth it; frames depend on earlier ones
# In some containers ffmpeg has a file begin where the earliest stream does that it reads: hence
# the sound, too, whose times are to be told by the same clock.
_BESIDE = ("-map", "0:a:0", "-c", "copy", "-f", "null", "-")
_NEAR = Fraction(1, 1_000_000)  # seconds: nearer than any two frames, and than ffmpeg counts
_ROUNDED = Fraction(1, 1000)  # seconds: Matroska and its kin count in thousandths
_TIMELESS, _SHOWN = Fraction(1, 100), Fraction(1, 10)  # seconds: frames that browsers slow down


@dataclass(frozen=True)
class Clip:
    """A clip, or the part of one, whose frames are known.

    Attributes:
        path: the file.
        width: of the frames in pixels, as a player shows them.
        height: likewise.
        times: when each frame is first shown, in seconds from the first, and last when the last
            one ends: one more than there are frames, strictly growing from 0. Exact for a clip
            of a constant rate, even where its file rounds them.
        start: when the first of them is shown, in seconds from the beginning of the file, which
            is where its earliest stream begins.
        sound: whether the file has sound.
        codec: of its pictures, as ffmpeg names it, such as "h264".
        notes: what the user should know of how it is read.
        cut: whether it is only a part of the file, by its start or its end.
        every: it has every so-manieth frame of that part.
        shown: when each frame is shown, in seconds from the beginning of the file, as that says.
    """

    path: Path
    width: int
    height: int
    times: tuple[Fraction, ...]
    start: Fraction
    sound: bool
    codec: str
    notes: tuple[str, ...] = ()
    cut: bool = False
    every: int = 1
    shown: tuple[Fraction, ...] = field(default=(), repr=False)

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return len(self.times) - 1

    @property
    def pace(self) -> Pace:
        """When to show a film's frames that are made of these, for `films.writing`."""
        return Pace(self.times, self.start, self.cut)


def survey(
    path: str | os.PathLike[str],
    *,
    start: float | None = None,
    end: float | None = None,
    every: int = 1,
) -> Clip:
    """Decode the part of a clip that is used, and return what it is and when its frames are shown.

    Args:
        path: a film, a GIF or an animated WebP.
        start: leave out the frames that are shown before, in seconds from the file's beginning.
        end: leave out the frames that are shown from then on.
        every: keep only every so-manieth of the frames, at least 1.

    Raises:
        UsageError: `start`, `end` or `every` is not possible, or there is no ffmpeg.
        InputError: the clip cannot be read, has no moving picture or no frame in that part, is
            damaged, changes its size, or has colours that this ffmpeg cannot convert.
    """
    _check_part(start, end, every)
    kind = footage.kind_of(path)
    look = _look(path, kind)
    first = None if start is None else Fraction(start).limit_denominator(1_000_000)
    last = None if end is None else Fraction(end).limit_denominator(1_000_000)
    listing = _animated(path, kind) if look.film is None else _listed(path, look, first)
    starts: list[Fraction] = []
    over = Fraction(0)  # when the last frame so far ends
    cut = False
    with contextlib.closing(listing):  # type: ignore[type-var]
        for shown, ends, *_ in listing:
            if last is not None and shown >= last:
                cut, over = True, shown if starts else over
                break
            over = ends
            if first is not None and shown < first:
                cut = True
            else:
                starts.append(shown)
    if not starts:
        raise _nothing_there(path, first, last, over)
    kept = starts[::every]
    times = [shown - kept[0] for shown in (*kept, over)]
    return Clip(
        path=Path(path),
        width=look.width,
        height=look.height,
        times=tuple(_steadied(times, look.rate / every, every)),
        start=kept[0],
        sound=look.sound,
        codec=look.codec,
        notes=look.notes,
        cut=cut,
        every=every,
        shown=tuple(kept),
    )


def frames(clip: Clip, first: int = 0) -> Iterator[bytes]:
    """Yield the frames of a clip one by one, as it was surveyed.

    Closing the iterator ends ffmpeg; so does its last frame. Memory holds one frame.

    Args:
        clip: from `survey`.
        first: the number of the first frame, from 0.

    Yields:
        3 * width * height bytes: RGB, rows from the top.

    Raises:
        InputError: the file cannot be read any more, or has other frames than before.
        UsageError: there is no ffmpeg.
    """
    kind = footage.kind_of(clip.path)
    look = _look(clip.path, kind)
    if (look.width, look.height) != (clip.width, clip.height):
        raise _changed(clip)
    if first >= clip.frames:
        return
    source = _drawn(clip, first, kind) if look.film is None else _decoded(clip, first, look)
    with contextlib.closing(source):  # type: ignore[type-var]
        for _ in range(first, clip.frames):
            frame = next(source, None)
            if frame is None or len(frame) != 3 * clip.width * clip.height:
                raise _changed(clip)
            yield frame
        if not clip.cut and next(source, None) is not None:
            raise _changed(clip)


@dataclass(frozen=True)
class _Look:
    """What the header of a clip says.

    Attributes:
        film: which containers ffmpeg takes it for; None if Pillow reads it.
        width: in square pixels.
        height: likewise.
        codec: of the pictures.
        sound: whether there is any.
        rate: frames a second, as declared; 0 if none is.
        filters: what makes RGB of its frames.
        notes: for the user.
    """

    film: str | None
    width: int
    height: int
    codec: str
    sound: bool = False
    rate: Fraction = Fraction(0)
    filters: str = ""
    notes: tuple[str, ...] = ()


def _check_part(start: float | None, end: float | None, every: int) -> None:
    for name, value in (("--start", start), ("--end", end)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise UsageError(
                f"{name} is {value}.", "Give seconds from the clip's beginning, from 0."
            )
    if end is not None and end <= (start or 0):
        raise UsageError(
            f"--end ({end:g} s) is not after the start ({start or 0:g} s).", "Give a later one."
        )
    if every < 1:
        raise UsageError(f"--every is {every}.", "1 keeps all frames, 2 every second one.")


def _look(path: str | os.PathLike[str], kind: str) -> _Look:
    if kind == "folder":
        raise InputError(
            f"'{files.shown(path)}' is a folder, which does not say how fast its frames follow.",
            "Make a clip of them: `ffmpeg -framerate 30 -i FOLDER/%06d.png -c:v ffv1 clip.mkv`.",
        )
    _refuse_still(path)
    if kind in ("gif", "webp"):
        with reading.opened(path) as header:
            return _Look(None, *header.image.size, codec=kind)
    said = ffmpeg.described(path, *footage.FILM)
    videos = [found for found in footage.VIDEO.finditer(said) if footage.COVER not in found["rest"]]
    head = _first_line(path) if videos else b""
    if not videos or not head:
        raise _no_clip(path, said)
    video = videos[0]
    matrix, primaries, transfer = _colours(video["colour"] or "")
    width, height, ratio, order = _shape(head)
    square = _squared(width, height, ratio)
    notes = []
    if square != (width, height):
        notes.append(f"its pixels are not square: it is read as {square[0]}x{square[1]}")
    if order in _INTERLACED:
        notes.append("it is interlaced: `ffmpeg -i CLIP -vf bwdif` first would avoid combs")
    if transfer in _HDR:
        notes.append(f"HDR ({_HDR[transfer]}) is tone-mapped to standard colours")
    elif primaries in _WIDE:
        notes.append("its wide colours (BT.2020) are brought to standard ones")
    return _Look(
        film=said.partition("Input #0, ")[2].partition(", from ")[0],
        width=square[0],
        height=square[1],
        codec=video["codec"],
        sound=footage.SOUND.search(said) is not None,
        rate=footage.said_rate(video["rest"]),
        filters=_to_rgb(path, square, height, matrix, primaries, transfer),
        notes=tuple(notes),
    )


def _first_line(path: str | os.PathLike[str]) -> bytes:
    """Return what ffmpeg says of the first frame, once it is turned as its file asks."""
    command = [*footage.FILM, "-i", ffmpeg.address(path), "-map", "0:V:0", "-frames:v", "1"]
    command += ["-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "pipe:1"]
    with ffmpeg.running(command, read=True) as process:
        return process.stdout.readline()


def _shape(head: bytes) -> tuple[int, int, Fraction, str]:
    """Return width, height, the shape of a pixel, and the order of the fields."""
    fields = {part[:1]: part[1:] for part in head.decode("ascii", "replace").split()[1:] if part}
    across, _, down = fields.get("A", "").partition(":")
    square = "0" in (across, down) or not (across.isdigit() and down.isdigit())
    ratio = Fraction(1) if square else Fraction(int(across), int(down))
    return int(fields["W"]), int(fields["H"]), ratio, fields.get("I", "")


def _squared(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Return the size with square pixels that is nowhere less fine."""
    return (round(width * ratio), height) if ratio >= 1 else (width, round(height / ratio))


def _colours(said: str) -> tuple[str, str, str]:
    """Return the matrix, the primaries and the transfer curve from ffmpeg's words, "" if unsaid.

    Args:
        said: such as "tv, bt2020nc/bt2020/smpte2084, progressive", or one name for all three.
    """
    for part in said.split(", "):
        names = part.split("/") if "/" in part else [part] * 3
        if len(names) == 3 and (("/" in part) or part.startswith(("bt", "smpte", "gbr", "fcc"))):
            matrix, primaries, transfer = ("" if name in _UNKNOWN else name for name in names)
            return matrix, primaries, transfer
    return "", "", ""


def _to_rgb(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    lines: int,
    matrix: str,
    primaries: str,
    transfer: str,
) -> str:
    """Return ffmpeg's filters that make RGB of the frames, see the module."""
    fine = "accurate_rnd+full_chroma_int+full_chroma_inp+bicubic"
    sized = f"scale={size[0]}:{size[1]}:flags={fine}"
    if transfer not in _HDR and primaries not in _WIDE:
        declared = "" if matrix else f":in_color_matrix={'bt709' if lines >= 720 else 'bt601'}"
        return f"{sized}{declared}:out_range=full,format=rgb24"
    if not {"zscale", "tonemap"} <= _filters():
        what = f"HDR ({_HDR[transfer]})" if transfer in _HDR else "wide colours (BT.2020)"
        raise InputError(
            f"'{files.shown(path)}' has {what}, which this ffmpeg cannot convert.",
            "Convert it to SDR (BT.709) in another program, or use the ffmpeg of imageio-ffmpeg.",
        )
    # Not in 4:2:0, of which zscale takes no odd sizes.
    source = f"pin={primaries or 'bt2020'}:min={matrix or 'bt2020nc'}"
    source = f"{sized},format=yuv444p16le,zscale={source}:tin={transfer or 'bt709'}"
    if transfer not in _HDR:
        return f"{source}:p=bt709:t=bt709:m=gbr:r=full,format=gbrp,format=rgb24"
    light = f"{source}:t=linear:npl=203,format=gbrpf32le,zscale=p=bt709"
    mapped = f"tonemap=mobius:param=0.5:desat=0:peak={_PEAK:.4f}"
    return f"{light},{mapped},zscale=t=bt709:m=gbr:r=full,format=gbrp,format=rgb24"


@cache
def _filters() -> frozenset[str]:
    """Return the names of the filters that this ffmpeg has."""
    with ffmpeg.running(["-filters"], read=True) as process:
        lines = process.stdout.readall().decode("utf-8", "replace")  # type: ignore[attr-defined]
    return frozenset(line.split()[1] for line in lines.splitlines() if len(line.split()) > 2)


def _listed(
    path: str | os.PathLike[str], look: _Look, first: Fraction | None
) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield when each frame of a film is first shown and when it ends, as far as it is known."""
    # Strips of the frames, which cost nothing, tell of another size by their bytes.
    strips = "[0:V:0]split[a][b];[a]crop=iw:min(2\\,ih):0:0[w];[b]crop=min(2\\,iw):ih:0:0[h]"
    seek, passed = _sought(look, first)
    command = ["-xerror", *footage.FILM, *seek, "-i", ffmpeg.address(path)]
    command += ["-filter_complex", strips, "-map", "[w]", "-map", "[h]", "-noautoscale"]
    command += ["-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framecrc", "pipe:1"]
    command += _BESIDE if look.sound else ()
    sizes: dict[bytes, bytes] = {}
    base = Fraction(0)
    shown: Fraction | None = None
    with ffmpeg.running(command, read=True) as process:
        with contextlib.closing(open(process.stdout.fileno(), "rb", closefd=False)) as lines:
            for line in lines:
                if line.startswith(b"#tb 0:"):
                    base = Fraction(line.split()[2].decode())
                if line.startswith(b"#"):
                    continue
                strip, _, counted, lasts, size, *_ = line.split(b",")
                at = int(counted) * base + passed
                if sizes.setdefault(strip, size) != size:
                    yield at, at  # which may be past the part that is used
                    raise _resized(path, at)
                if strip != b"0":
                    continue
                if shown is not None and at <= shown:
                    raise InputError(
                        f"'{files.shown(path)}' shows two frames at second {float(at):.2f}.",
                        "Give its frames times of their own: `ffmpeg -i CLIP -fps_mode cfr NEW`.",
                    )
                usual = (1 / look.rate if look.rate else _SHOWN) if shown is None else at - shown
                yield at, at + (int(lasts) * base or usual)
                shown = at
        try:
            process.finish()
        except ffmpeg.Failed as error:
            raise _damaged(path, shown) from error
    if any(said in process.complaint for said in footage.CUT_OFF):
        raise _damaged(path, shown)


def _sought(look: _Look, first: Fraction | None) -> tuple[tuple[str, ...], int]:
    """Return how ffmpeg gets near a second without decoding all before it, and what it skips."""
    known = (look.film or "").split(",")[0] in _SEEKABLE
    if first is None or first < _SEEK_FROM or not known:
        return (), 0
    skipped = int(first) - _SEEK_EARLY
    return ("-noaccurate_seek", "-ss", str(skipped)), skipped


def _decoded(clip: Clip, first: int, look: _Look) -> Iterator[bytes]:
    """Yield the frames of a film from number `first` on, and more if there are any."""
    at = _shown(clip, first)
    seek, passed = _sought(look, at)
    chosen = f"select=gte(t\\,{float(at - passed - _NEAR):.7f})"
    if clip.every > 1:
        chosen += f",select=not(mod(n\\,{clip.every}))"
    command = ["-xerror", *footage.FILM, *seek, "-i", ffmpeg.address(clip.path), "-map", "0:V:0"]
    command += ["-vf", f"{chosen},{look.filters}", "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1", *(_BESIDE if look.sound else ())]
    with ffmpeg.running(command, read=True) as process:
        with contextlib.closing(open(process.stdout.fileno(), "rb", closefd=False)) as stream:
            while frame := stream.read(3 * clip.width * clip.height):
                yield frame
        try:
            process.finish()
        except ffmpeg.Failed as error:
            raise footage.cut_off(clip.path) from error


def _animated(
    path: str | os.PathLike[str], kind: str
) -> Iterator[tuple[Fraction, Fraction, Image.Image]]:
    """Yield the frames of a GIF or WebP, each after when it is shown and when it ends."""
    at = Fraction(0)
    with contextlib.closing(footage.pictures(path, kind)) as pictures:  # type: ignore[type-var]
        for picture in pictures:
            lasts = Fraction(picture.info.get("duration", 0)) / 1000
            ends = at + (lasts if lasts > _TIMELESS else _SHOWN)
            yield at, ends, picture
            at = ends


def _drawn(clip: Clip, first: int, kind: str) -> Iterator[bytes]:
    """Yield the frames of a GIF or WebP, as `_decoded`."""
    number = 0
    with contextlib.closing(_animated(clip.path, kind)) as listing:  # type: ignore[type-var]
        for shown, _, picture in listing:
            if shown < _shown(clip, first):
                continue
            if number % clip.every == 0:
                yield picture.convert("RGB").tobytes()
            number += 1


def _shown(clip: Clip, number: int) -> Fraction:
    """Return when a frame is shown in the file."""
    return clip.shown[number] if clip.shown else clip.start + clip.times[number]


def _steadied(times: list[Fraction], rate: Fraction, every: int) -> list[Fraction]:
    """Return the times at the constant rate that they were rounded from, if there is one.

    Args:
        times: as of `Clip`.
        rate: frames a second, as declared; 0 if none is.
        every: of `Clip`: then the last frame may end too early for the rate.
    """
    if not rate:
        return times
    steady = [number / rate for number in range(len(times))]
    pairs = zip(times[:-1], steady, strict=False)
    late = times[-1] - steady[-1]
    # How long the last one lasts is often said loosely; no frame depends on it.
    ends = late <= 1 / rate / 2 and (every > 1 or late >= -1 / rate / 2)
    return steady if ends and all(abs(a - b) <= _ROUNDED for a, b in pairs) else times


def _refuse_still(path: str | os.PathLike[str]) -> None:
    try:
        with reading.opened(path) as header:
            if getattr(header.image, "n_frames", 1) > 1:
                return
    except InputError:  # no picture; whether it is a film is for others to say
        return
    raise InputError(
        f"'{files.shown(path)}' is a still picture, not a clip.", "`dreamer dream` is for those."
    )


def _no_clip(path: str | os.PathLike[str], said: str) -> InputError:
    if any(footage.COVER not in line for line in said.splitlines() if ": Video: " in line):
        return InputError(f"'{files.shown(path)}' holds no frame that can be read.", footage.AGAIN)
    return footage.no_picture(path, ffmpeg.described(path, *footage.LOCAL))


def _nothing_there(
    path: str | os.PathLike[str], first: Fraction | None, last: Fraction | None, over: Fraction
) -> InputError:
    if first is None and last is None:
        return InputError(f"'{files.shown(path)}' holds no frame.", footage.AGAIN)
    since = f" from second {float(first):g}" if first else ""
    until = f" before second {float(last):g}" if last is not None else ""
    known = f"It ends at second {float(over):.2f}" if over and last is None else "Look when it ends"
    return InputError(
        f"'{files.shown(path)}' has no frame{since}{until}.",
        f"{known}; --start and --end count in seconds.",
    )


def _resized(path: str | os.PathLike[str], at: Fraction) -> InputError:
    return InputError(
        f"The picture of '{files.shown(path)}' changes its size at second {float(at):.2f}.",
        f"End there with --end {float(at):.2f}; for the rest, make a clip of its own of it: "
        f"`ffmpeg -ss {float(at):.2f} -i CLIP NEW`.",
    )


def _damaged(path: str | os.PathLike[str], shown: Fraction | None) -> InputError:
    if shown is None:
        return footage.cut_off(path)
    return InputError(
        f"'{files.shown(path)}' is damaged or incomplete after second {float(shown):.2f}.",
        "Get the file again, or leave out what is damaged with --end or --start.",
    )


def _changed(clip: Clip) -> InputError:
    return InputError(
        f"'{files.shown(clip.path)}' has changed since it was looked at.", "Start again."
    )
