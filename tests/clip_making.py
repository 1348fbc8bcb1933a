"""Make small clips, and look at films with ffmpeg and ffprobe alone."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

from dreamer.media import ffmpeg

SIZE = (96, 64)
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")
EXACT = ("-c:v", "ffv1", "-pix_fmt", "bgr0")
UNEVEN = "settb=1/1000,setpts='N*40+floor(N/3)*17'"  # in milliseconds


def run(path: Path, *arguments: str, fed: bytes | None = None) -> Path:
    """Make a file with ffmpeg."""
    command = [ffmpeg.program(), "-v", "error", "-y", *arguments, f"file:{path}"]
    subprocess.run(command, check=True, capture_output=True, input=fed)
    return path


def write(
    path: Path,
    pictures: Sequence[bytes],
    *options: str,
    size: tuple[int, int] = SIZE,
    rate: str = "25",
) -> Path:
    """Make a clip of pictures (RGB bytes); without options it holds them to the bit."""
    shape = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", rate)
    return run(path, *shape, "-i", "pipe:0", *(options or EXACT), fed=b"".join(pictures))


def beep(seconds: float, start: float = 0.0, end: float = 99.0) -> tuple[str, ...]:
    """A source of sound that is heard only from one second to another."""
    heard = f"sine=d={seconds}:r=48000,volume=0:enable='not(between(t,{start},{end}))'"
    return ("-f", "lavfi", "-i", heard)


def sliding(photo: Path, count: int, shift: int, size: tuple[int, int] = SIZE) -> list[bytes]:
    """Pictures of a photo that moves to the left by so many px from each to the next."""
    width, height = size
    with Image.open(photo) as image:
        wide = image.convert("RGB").resize((width + count * shift, height), Image.Resampling.BOX)
    places = (number * shift for number in range(count))
    return [wide.crop((place, 0, place + width, height)).tobytes() for place in places]


def still(photo: Path, count: int, size: tuple[int, int] = SIZE) -> list[bytes]:
    """The same picture again and again."""
    return sliding(photo, 1, 0, size) * count


def decoded(path: Path | str, *options: str) -> list[bytes]:
    """The frames of a film as the system's ffmpeg reads them, RGB."""
    got = asked(path, "v:0", "stream=width,height")["streams"][0]
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:v:0", *options]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    each = 3 * int(got["width"]) * int(got["height"])
    return [data[at : at + each] for at in range(0, len(data), each)]


def asked(path: Path | str, stream: str, entries: str) -> dict[str, list[dict[str, str]]]:
    """What the system's ffprobe says."""
    command = ["ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", entries]
    command += ["-of", "json", f"file:{path}"]
    done = subprocess.run(command, capture_output=True, check=True)
    got: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return got


def shown(path: Path | str) -> list[Fraction]:
    """When each frame is shown, in seconds, exactly."""
    got = asked(path, "v:0", "stream=time_base:packet=pts")
    base = Fraction(got["streams"][0]["time_base"])
    return sorted(int(packet["pts"]) * base for packet in got["packets"])


def length(path: Path | str) -> float:
    """How long a film says that it is, in seconds."""
    return float(asked(path, "v:0", "format=duration")["format"]["duration"])  # type: ignore[call-overload]


def sound_packets(path: Path | str) -> bytes:
    """A hash of the packets of the sound as they are; nothing if there is none."""
    if not asked(path, "a", "stream=index")["streams"]:
        return b""
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:a", "-c", "copy"]
    done = subprocess.run([*command, "-f", "streamhash", "-"], capture_output=True, check=True)
    return done.stdout


def heard(path: Path | str) -> tuple[float, float]:
    """When the first and the last loud sample come, in seconds from the film's beginning."""
    command = ["ffmpeg", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0", "-af"]
    command += ["aresample=async=1:first_pts=0", "-f", "s16le", "-ac", "1", "-ar", "48000", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    samples = enumerate(memoryview(data).cast("h"))
    loud = [number / 48000 for number, sample in samples if abs(sample) > 1000]
    return min(loud), max(loud)


def apart(one: bytes, other: bytes) -> float:
    """The mean difference of two frames, in levels."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def uneven_times(count: int) -> list[Fraction]:
    """When frames are shown that were given times with `UNEVEN`."""
    return [Fraction(number * 40 + number // 3 * 17, 1000) for number in range(count)]


def each_file(folder: Path) -> Iterator[Path]:
    """All files below a folder."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
