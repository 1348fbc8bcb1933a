import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from dreamer.errors import DreamerError, InputError, OutputError, UsageError
from dreamer.media import clips, ffmpeg, films

SIZE = (64, 48)
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", "2")
LOSSLESS = ("-c:v", "ffv1")
UNEVEN = "settb=1/1000,setpts='N*40+floor(N/3)*17+floor(N/5)*90'"  # in milliseconds
NTSC = Fraction(30000, 1001)


def run(path: Path, *arguments: str) -> Path:
    command = [ffmpeg.program(), "-v", "error", "-y", *arguments, f"file:{path}"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def pictures(*, size: str = "64x48", rate: str = "25", seconds: float = 1) -> tuple[str, ...]:
    odd = int(size.partition("x")[0]) % 2  # which testsrc2 is not
    name = "testsrc" if odd else "testsrc2"
    return ("-f", "lavfi", "-i", f"{name}=s={size}:r={rate}:d={seconds}")


def tone(seconds: float) -> tuple[str, ...]:
    return ("-f", "lavfi", "-i", f"sine=d={seconds}:r=48000")


def uneven(path: Path, *options: str, seconds: float = 0.8) -> Path:
    vfr = ("-vf", UNEVEN, "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
    return run(path, *pictures(seconds=seconds), *vfr, *(options or H264))


def uneven_times(count: int) -> list[Fraction]:
    return [Fraction(n * 40 + n // 3 * 17 + n // 5 * 90, 1000) for n in range(count)]


def remade(clip: clips.Clip, path: Path, **how: object) -> Path:
    how = {"audio": clip.path if clip.sound else None, **how}
    size = (clip.width, clip.height)
    with films.writing(path, size, None, pace=clip.pace, **how) as writer:  # type: ignore[arg-type]
        for frame in clips.frames(clip):
            writer.add(frame)
    return path


def asked(path: Path, stream: str, entries: str) -> dict[str, list[dict[str, str]]]:
    command = ["ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", entries]
    done = subprocess.run([*command, "-of", "json", path], capture_output=True, check=True)
    got: dict[str, list[dict[str, str]]] = json.loads(done.stdout)
    return got


def shown(path: Path, stream: str = "v:0") -> list[Fraction]:
    """When the packets of a stream are shown, as the system's ffprobe counts it: exactly."""
    got = asked(path, stream, "stream=time_base:packet=pts")
    base = Fraction(got["streams"][0]["time_base"])
    return sorted(int(packet["pts"]) * base for packet in got["packets"])


def sound_hash(path: Path) -> bytes:
    command = [ffmpeg.program(), "-v", "error", "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-c", "copy", "-f", "streamhash", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def middle(frame: bytes, size: tuple[int, int]) -> tuple[int, ...]:
    at = 3 * (size[0] * (size[1] // 2) + size[0] // 2)
    return tuple(frame[at : at + 3])


def children() -> list[str]:
    """Return the processes of ffmpeg that this one has started; other tests may have others."""
    started = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in started if Path(f"/proc/{pid}/comm").read_text().startswith("ffmpeg")]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """No test leaves a process, an open file or a thread behind."""
    ffmpeg.encoders()
    films.filmmaking.timing_library()
    before = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    assert not children()
    assert (sorted(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize(
    ("name", "rate", "exact"),
    [
        ("a.mp4", "25", Fraction(25)),
        ("a.mkv", "30000/1001", NTSC),
        ("a.ts", "24000/1001", Fraction(24000, 1001)),
        ("a.webm", "60", Fraction(60)),
        ("a.avi", "12", Fraction(12)),
        ("a.mov", "240", Fraction(240)),
        ("a.mp4", "12.5", Fraction(25, 2)),
    ],
)
def test_a_constant_rate_is_exact_though_its_file_rounds_it(
    tmp_path: Path, name: str, rate: str, exact: Fraction
) -> None:
    options = ("-c:v", "libvpx", "-cpu-used", "8") if name == "a.webm" else H264
    clip = clips.survey(run(tmp_path / name, *pictures(rate=rate), *options))
    assert clip.times == tuple(number / exact for number in range(clip.frames + 1))
    assert clip.frames == pytest.approx(float(exact), abs=1)
    assert (clip.width, clip.height, clip.sound, clip.cut) == (64, 48, False, False)
    assert clip.notes == ()
    assert len(list(clips.frames(clip))) == clip.frames


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_every_frame_keeps_its_own_time(tmp_path: Path, name: str) -> None:
    clip = clips.survey(uneven(tmp_path / name))
    assert list(clip.times[:-1]) == uneven_times(20)
    assert clip.start == 0


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("b.mp4", {}),
        ("b.mp4", {"codec": "h265"}),
        ("b.mp4", {"codec": "av1"}),
        ("b.webm", {}),
        ("b.webm", {"codec": "av1"}),
    ],
)
def test_a_film_has_the_times_of_its_clip(
    tmp_path: Path, name: str, how: dict[str, object]
) -> None:
    clip = clips.survey(uneven(tmp_path / "a.mkv"))
    remade(clip, tmp_path / name, **how)
    assert shown(tmp_path / name) == uneven_times(20)
    again = clips.survey(tmp_path / name)
    assert again.times[:-1] == clip.times[:-1]
    length = asked(tmp_path / name, "v:0", "format=duration")["format"]["duration"]  # type: ignore[call-overload]
    assert float(length) == pytest.approx(float(clip.times[-1]), abs=0.0011)
    for one, other in zip(clips.frames(clip), clips.frames(again), strict=True):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one) < 9
    assert sorted(os.listdir(tmp_path)) == ["a.mkv", name]


def test_times_that_no_clock_counts_are_kept_to_a_millionth(tmp_path: Path) -> None:
    times = tuple(Fraction(n, 7) + Fraction(n * n, 1013) + Fraction(n**3, 9973) for n in range(9))
    pace = films.Pace(times)
    with films.writing(tmp_path / "a.mp4", SIZE, None, pace=pace) as writer:
        for number in range(8):
            writer.add(bytes([20 * number]) * (3 * 64 * 48))
    for one, other in zip(shown(tmp_path / "a.mp4"), times[:-1], strict=True):
        assert abs(one - other) <= Fraction(1, 2_000_000)


@pytest.mark.parametrize(("name", "rate"), [("b.mp4", NTSC), ("b.webm", NTSC), ("b.mp4", 25)])
def test_a_film_of_a_constant_rate_has_it_exactly(
    tmp_path: Path, name: str, rate: Fraction | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)  # which it does without
    clip = clips.survey(run(tmp_path / "a.mkv", *pictures(rate=str(rate)), *H264))
    remade(clip, tmp_path / name)
    assert films.probe(tmp_path / name).fps == rate
    got = shown(tmp_path / name)
    assert len(got) == clip.frames
    if name == "b.mp4":
        assert got == list(clip.times[:-1])


def test_animations_and_folders_have_the_times_too(tmp_path: Path) -> None:
    clip = clips.survey(uneven(tmp_path / "a.mkv"))
    size = (clip.width, clip.height)
    assert films.check(tmp_path / "b.gif", size, None, pace=clip.pace) == ()
    for name, unit in (("b.gif", 100), ("b.webp", 1000)):
        remade(clip, tmp_path / name)
        again = clips.survey(tmp_path / name)
        assert again.times == tuple(Fraction(round(time * unit), unit) for time in clip.times)
    remade(clip, tmp_path / "b", comment='{"a": 1}')
    head, *lines = (tmp_path / "b" / "timestamps.txt").read_text().splitlines()
    assert head == "# timestamp format v2"
    assert [Fraction(line) / 1000 for line in lines] == list(clip.times)
    remade(clip, tmp_path / "b", overwrite=True)  # which it may: nothing in it is foreign
    with films.writing(tmp_path / "b", size, 25, overwrite=True) as writer:
        writer.add(bytes(3 * 64 * 48))
    assert os.listdir(tmp_path / "b") == ["000000.png"]


def test_a_gif_does_not_drift_and_says_what_it_cannot_hold(tmp_path: Path) -> None:
    clip = clips.survey(run(tmp_path / "a.mp4", *pictures(rate="30", seconds=2), *H264))
    remade(clip, tmp_path / "b.gif")
    got = clips.survey(tmp_path / "b.gif").times
    assert all(abs(a - b) <= Fraction(1, 200) for a, b in zip(got, clip.times, strict=True))
    fast = films.Pace(tuple(Fraction(n, 100) for n in range(4)))
    (note,) = films.check(tmp_path / "c.gif", SIZE, None, pace=fast)
    assert "shown later" in note
    assert "at least two" in note


def test_a_rate_beyond_those_of_films_is_kept(tmp_path: Path) -> None:
    clip = clips.survey(run(tmp_path / "a.mkv", *pictures(rate="0.5", seconds=6), *LOSSLESS))
    for codec in ("h264", "av1"):
        remade(clip, tmp_path / f"{codec}.mp4", codec=codec)
        assert shown(tmp_path / f"{codec}.mp4") == [0, 2, 4]


def test_the_same_clip_makes_the_same_bytes(tmp_path: Path) -> None:
    clip = clips.survey(uneven(tmp_path / "a.mkv"))
    for suffix in ("mp4", "webm", "gif"):
        one, other = (remade(clip, tmp_path / f"{n}.{suffix}").read_bytes() for n in "bc")
        assert one == other


SOUNDS = [
    ("a.mp4", ("-c:a", "aac"), "b.mp4"),
    ("a.mkv", ("-c:a", "aac"), "b.mp4"),
    ("a.ts", ("-c:a", "aac"), "b.mp4"),
    ("a.mov", ("-c:a", "alac"), "b.mp4"),
    ("a.mkv", ("-c:a", "libopus"), "b.webm"),
    ("a.mkv", ("-c:a", "libvorbis"), "b.webm"),
]


@pytest.mark.parametrize("later", ["", "pictures", "sound"])
@pytest.mark.parametrize(("name", "options", "target"), SOUNDS)
def test_sound_stays_bit_for_bit_and_in_its_place(
    tmp_path: Path, name: str, options: tuple[str, ...], target: str, later: str
) -> None:
    late = ("-itsoffset", "0.5")
    source = (*(late if later == "pictures" else ()), *pictures(seconds=0.8))
    source += (*(late if later == "sound" else ()), *tone(1.1))
    vfr = ("-vf", f"{UNEVEN[:-1]}+STARTPTS'", "-fps_mode", "passthrough")
    vfr += ("-enc_time_base", "1:1000")
    clip = clips.survey(run(tmp_path / name, *source, *vfr, *H264, *options))
    assert clip.sound
    remade(clip, tmp_path / target)
    if name == "a.ts":  # whose packets have a header of their own each
        assert seconds_heard(tmp_path / target) == seconds_heard(clip.path)
    else:
        assert sound_hash(tmp_path / target) == sound_hash(clip.path)
    offsets = [
        float(shown(path)[0] - shown(path, "a:0")[0]) for path in (clip.path, tmp_path / target)
    ]
    assert offsets[0] == pytest.approx(offsets[1], abs=0.0011)
    if later:
        assert abs(offsets[0]) > 0.4
    got = shown(tmp_path / target)
    tick = 0.0006 if target == "b.webm" else 0.00002
    for one, other in zip(got, clip.times[:-1], strict=True):
        assert float(one - got[0]) == pytest.approx(float(other), abs=2 * tick)


def seconds_heard(path: Path) -> float:
    """How long the sound is, decoded."""
    command = [ffmpeg.program(), "-v", "error", "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-f", "s16le", "-ac", "1", "-ar", "48000", "-"]
    return len(subprocess.run(command, capture_output=True, check=True).stdout) / 96000


@pytest.mark.parametrize(
    ("name", "codec", "target"),
    [("a.mp4", "aac", "b.mp4"), ("a.mkv", "pcm_s16le", "b.mp4"), ("a.mkv", "pcm_s16le", "b.webm")],
)
def test_sound_is_cut_with_the_clip(tmp_path: Path, name: str, codec: str, target: str) -> None:
    # A beep tells where the sound is: from second 1.5147, in whole blocks of samples.
    beep = "sine=d=3:r=48000,volume=0:enable='not(between(t,1.5,1.6))'"
    source = (*pictures(seconds=3), "-f", "lavfi", "-i", beep)
    path = run(tmp_path / name, *source, *H264, "-c:a", codec)
    clip = clips.survey(path, start=1.2, end=2)
    assert (clip.frames, clip.start, clip.cut) == (20, Fraction(6, 5), True)
    remade(clip, tmp_path / target)
    command = [ffmpeg.program(), "-v", "error", "-i", str(tmp_path / target), "-map", "0:a:0"]
    command += ["-af", "aresample=async=1:first_pts=0", "-f", "s16le", "-ac", "1", "-ar", "48000"]
    data = subprocess.run([*command, "-"], capture_output=True, check=True).stdout
    samples = memoryview(data).cast("h")
    loud = [number / 48000 for number, sample in enumerate(samples) if abs(sample) > 1000]
    assert (min(loud), max(loud)) == pytest.approx((0.3147, 0.4213), abs=0.003)
    assert len(samples) / 48000 == pytest.approx(0.8, abs=0.03)
    assert shown(tmp_path / target)[0] == 0


def test_more_sound_tracks_than_one_are_said(tmp_path: Path) -> None:
    two = (*tone(1), "-map", "0:v", "-map", "1:a", "-map", "1:a")
    path = run(tmp_path / "a.mp4", *pictures(), *two, *H264, "-c:a", "aac")
    (note,) = films.check(tmp_path / "b.mp4", SIZE, None, pace=clips.survey(path).pace, audio=path)
    assert "first of its 2 sound tracks" in note


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("start", [0.42, 50.02])
def test_a_part_is_chosen_by_when_its_frames_are_shown(
    tmp_path: Path, name: str, start: float
) -> None:
    path = run(tmp_path / name, *pictures(seconds=start + 1), *H264, "-g", "250")
    whole = clips.survey(path)
    first = sum(time < Fraction(str(start)) for time in whole.times[:-1])
    part = clips.survey(path, start=start, end=start + 0.6, every=2)
    assert part.cut
    assert part.frames == 8
    assert part.start == whole.times[first]
    assert part.times == tuple(Fraction(2 * number, 25) for number in range(9))
    all_frames = list(clips.frames(whole))
    assert list(clips.frames(part)) == all_frames[first : first + 15 : 2]
    assert list(clips.frames(part, first=5)) == all_frames[first + 10 : first + 15 : 2]
    assert list(clips.frames(part, first=8)) == []


def test_frames_go_on_where_they_were_left(tmp_path: Path) -> None:
    clip = clips.survey(uneven(tmp_path / "a.mp4"))
    everything = list(clips.frames(clip))
    for first in (1, 7, 19):
        assert list(clips.frames(clip, first=first)) == everything[first:]


def test_an_end_is_where_the_next_frame_would_be(tmp_path: Path) -> None:
    path = uneven(tmp_path / "a.mkv")
    times = uneven_times(20)
    clip = clips.survey(path, end=float(times[7]))
    assert clip.times == tuple(times[:8])
    assert clip.cut
    thinned = clips.survey(path, every=3)
    assert thinned.times[:-1] == tuple(times[::3])
    assert not thinned.cut


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_is_turned_as_its_file_asks(tmp_path: Path, degrees: int) -> None:
    halves = "color=red:s=64x48:d=0.2,drawbox=0:0:32:48:blue:fill"
    lying = run(tmp_path / "a.mp4", "-f", "lavfi", "-i", halves, *H264)
    path = run(
        tmp_path / "b.mp4", "-display_rotation", str(degrees), "-i", str(lying), "-c", "copy"
    )
    clip = clips.survey(path)
    assert (clip.width, clip.height) == ((64, 48) if degrees == 180 else (48, 64))
    image = Image.frombytes("RGB", (clip.width, clip.height), next(clips.frames(clip)))
    # The blue half was left; the file asks for turns against the clock.
    place = {90: (24, 54), 180: (54, 24), 270: (24, 8)}[degrees]
    assert image.getpixel(place) == pytest.approx((0, 0, 255), abs=8)


@pytest.mark.parametrize(("ratio", "size"), [("4/3", (85, 48)), ("3/4", (64, 64))])
def test_pixels_are_made_square(tmp_path: Path, ratio: str, size: tuple[int, int]) -> None:
    path = run(tmp_path / "a.mp4", *pictures(seconds=0.2), "-vf", f"setsar={ratio}", *H264)
    clip = clips.survey(path)
    assert (clip.width, clip.height) == size
    assert f"{size[0]}x{size[1]}" in clip.notes[0]
    assert all(len(frame) == 3 * size[0] * size[1] for frame in clips.frames(clip))


@pytest.mark.parametrize(
    ("name", "options"), [("a.mkv", LOSSLESS), ("a.webm", ("-c:v", "libvpx-vp9"))]
)
def test_odd_sides_stay(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    clip = clips.survey(run(tmp_path / name, *pictures(size="63x47", seconds=0.3), *options))
    assert (clip.width, clip.height) == (63, 47)
    remade(clip, tmp_path / "b.webm")
    assert films.probe(tmp_path / "b.webm").width == 63


MATRICES = ["bt709", "smpte170m", "bt470bg"]


@pytest.mark.parametrize("depth", ["yuv420p", "yuv420p10le", "yuv444p"])
@pytest.mark.parametrize("levels", ["tv", "pc"])
@pytest.mark.parametrize("matrix", [*MATRICES, ""])
def test_colours_are_those_that_the_clip_declares(
    tmp_path: Path, matrix: str, levels: str, depth: str
) -> None:
    colour = (200, 60, 30)
    name = f"0x{bytes(colour).hex()}"
    made = matrix or "smpte170m"  # what few lines without a word are taken for
    vf = f"scale=out_color_matrix={made}:out_range={levels},format={depth}"
    declared = f",setparams=colorspace={matrix or 'unknown'}:range={levels}"
    source = ("-f", "lavfi", "-i", f"color={name}:s=64x48:d=0.1,format=rgb24")
    clip = clips.survey(run(tmp_path / "a.mkv", *source, "-vf", vf + declared, *H264))
    assert middle(next(clips.frames(clip)), SIZE) == pytest.approx(colour, abs=4)


@pytest.mark.parametrize(("transfer", "code"), [("smpte2084", "PQ"), ("arib-std-b67", "HLG")])
@pytest.mark.parametrize(("nits", "level"), [(100, 191), (203, 228), (26, 109), (1000, 255)])
def test_hdr_is_brought_to_standard_colours(
    tmp_path: Path, transfer: str, code: str, nits: int, level: int
) -> None:
    pq = {26: 0.380, 100: 0.508, 203: 0.581, 1000: 0.752}[nits]
    hlg = {26: 0.378, 100: 0.627, 203: 0.750, 1000: 1.0}[nits]
    luma = round(64 + 876 * (pq if code == "PQ" else hlg))
    grey = f"geq=lum={luma}:cb=512:cr=512"
    source = ("-f", "lavfi", "-i", f"color=gray:s=63x47:d=0.1,format=yuv420p10le,{grey}")
    tags = f"setparams=range=tv:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    clip = clips.survey(run(tmp_path / "a.mkv", *source, "-vf", tags, *LOSSLESS))
    assert clip.notes == (f"HDR ({code}) is tone-mapped to standard colours",)
    assert middle(next(clips.frames(clip)), (63, 47)) == pytest.approx([level] * 3, abs=4)


def test_hdr_that_this_ffmpeg_cannot_convert_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    path = run(tmp_path / "a.mkv", *pictures(seconds=0.1), "-vf", tags, *LOSSLESS)
    monkeypatch.setattr(clips, "_filters", lambda: frozenset({"scale", "tonemap"}))
    with pytest.raises(InputError, match=r"a\.mkv' has HDR \(PQ\).*Convert it to SDR"):
        clips.survey(path)


def test_wide_colours_are_narrowed(tmp_path: Path) -> None:
    # The green of BT.709, written in the wider primaries, comes back as itself.
    wide = "zscale=pin=bt709:tin=bt709:min=gbr:rin=full:p=bt2020:t=bt2020-10:m=bt2020nc:r=tv"
    vf = f"format=gbrp,{wide},format=yuv444p10le"
    source = ("-f", "lavfi", "-i", "color=0x20c040:s=64x48:d=0.1")
    clip = clips.survey(run(tmp_path / "a.mkv", *source, "-vf", vf, *LOSSLESS))
    assert "BT.2020" in clip.notes[0]
    assert middle(next(clips.frames(clip)), SIZE) == pytest.approx((0x20, 0xC0, 0x40), abs=5)


def test_an_interlaced_clip_is_said(tmp_path: Path) -> None:
    flags = ("-flags", "+ilme+ildct", "-vf", "setfield=tff")
    path = run(tmp_path / "a.ts", *pictures(seconds=0.4), *flags, "-c:v", "mpeg2video")
    assert "interlaced" in " ".join(clips.survey(path).notes)


def test_one_frame_is_a_clip(tmp_path: Path) -> None:
    clip = clips.survey(run(tmp_path / "a.mp4", *pictures(), "-frames:v", "1", *H264))
    assert clip.times == (0, Fraction(1, 25))
    remade(clip, tmp_path / "b.mp4")
    assert shown(tmp_path / "b.mp4") == [0]


def test_a_picture_as_large_as_films_go_is_read(tmp_path: Path) -> None:
    source = pictures(size="7680x4320", seconds=0.04)
    clip = clips.survey(run(tmp_path / "a.mp4", *source, *H264))
    assert (clip.width, clip.height, clip.frames) == (7680, 4320, 1)
    assert len(next(clips.frames(clip))) == 3 * 7680 * 4320


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_animations_are_clips(tmp_path: Path, name: str) -> None:
    colours = ["red", "lime", "blue", "white"]
    first, *rest = [Image.new("RGB", SIZE, colour) for colour in colours]
    lasts = [100, 250, 0, 70]
    first.save(tmp_path / name, save_all=True, append_images=rest, duration=lasts)
    clip = clips.survey(tmp_path / name)
    ends = [0, 100, 350, 450, 520]  # browsers show a frame of no length for a tenth
    assert clip.times == tuple(Fraction(end, 1000) for end in ends)
    got = list(clips.frames(clip))
    assert middle(got[2], SIZE) == pytest.approx((0, 0, 255), abs=6)
    part = clips.survey(tmp_path / name, start=0.1, every=2)
    assert (part.frames, part.cut, part.start) == (2, True, Fraction(1, 10))
    assert list(clips.frames(part)) == got[1::2]
    assert list(clips.frames(part, first=1)) == got[3::2]


def clip_of(path: Path, size: str) -> bytes:
    return run(path, *pictures(size=size), *H264, "-f", "h264").read_bytes()


@pytest.mark.parametrize("other", ["48x64", "64x32", "128x48"])
def test_a_picture_that_changes_its_size_is_refused(tmp_path: Path, other: str) -> None:
    joined = clip_of(tmp_path / "b.h264", "64x48") + clip_of(tmp_path / "c.h264", other)
    (tmp_path / "a.h264").write_bytes(joined)
    with pytest.raises(InputError, match=r"a\.h264' changes its size at second 1\.00.*--end 1\.00"):
        clips.survey(tmp_path / "a.h264")
    assert clips.survey(tmp_path / "a.h264", end=1).frames == 25


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.gif", "a.webp"])
def test_a_clip_that_is_cut_off_is_refused(tmp_path: Path, name: str) -> None:
    source = ("-f", "lavfi", "-i", "mandelbrot=s=160x120:r=25", "-frames:v", "25")
    options = {"a.gif": (), "a.webp": ("-c:v", "libwebp_anim")}.get(name, H264)
    fast = ("-movflags", "+faststart") if name == "a.mp4" else ()
    path = run(tmp_path / name, *source, *options, *fast)
    whole = path.read_bytes()
    for part in (0.05, 0.5, 0.95):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(InputError, match=rf"{name}' (is|holds)"):
            clips.survey(path)
    if name == "a.mkv":
        path.write_bytes(whole[: len(whole) // 2])
        assert clips.survey(path, end=0.2).frames == 5  # what is used is whole


def test_damage_within_a_clip_is_found_and_placed(tmp_path: Path) -> None:
    source = ("-f", "lavfi", "-i", "mandelbrot=s=160x120:r=25", "-frames:v", "50")
    data = bytearray(run(tmp_path / "a.mkv", *source, *H264).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (tmp_path / "a.mkv").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.mkv' is damaged.* after second [01]\.\d\d"):
        clips.survey(tmp_path / "a.mkv")


def test_what_is_no_clip_is_refused(tmp_path: Path, coffee: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello\n" * 1000)
    (tmp_path / "frames").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    run(tmp_path / "sound.m4a", *tone(0.3))
    run(tmp_path / "sound.wav", *tone(0.3))
    covered = ("-i", str(coffee), "-map", "0", "-map", "1", "-c:v", "png")
    run(tmp_path / "cover.m4a", *tone(0.3), *covered, "-disposition:v", "attached_pic")
    run(tmp_path / "none.mp4", *pictures(), "-frames:v", "0", *H264)
    with Image.open(coffee) as image:
        for name in ("still.jpg", "still.webp", "still.gif", "still.avif"):
            image.convert("RGB").resize(SIZE).save(tmp_path / name)
    said = {
        "gone.mp4": "cannot be read",
        "empty.mp4": "is empty",
        "text.mp4": "is no film",
        "frames": "is a folder.*ffmpeg -framerate",
        "pipe.mp4": "is no file",
        "sound.m4a": "sound but no moving picture",
        "sound.wav": "sound but no moving picture",
        "cover.m4a": "sound but no moving picture",
        "none.mp4": "none.mp4' (is no film|holds no frame)",
        **dict.fromkeys(("still.jpg", "still.webp", "still.gif"), "still picture.*dreamer dream"),
        "still.avif": "still picture",
    }
    for name, words in said.items():
        with pytest.raises(InputError, match=words) as caught:
            clips.survey(tmp_path / name)
        assert name in caught.value.message


@pytest.mark.parametrize(
    ("part", "kind", "said"),
    [
        ({"start": -1}, UsageError, "--start is -1"),
        ({"start": float("nan")}, UsageError, "--start is nan"),
        ({"end": 0}, UsageError, "--end"),
        ({"start": 1, "end": 1}, UsageError, r"--end \(1 s\) is not after the start \(1 s\)"),
        ({"every": 0}, UsageError, "--every is 0"),
        ({"start": 2}, InputError, r"no frame from second 2.*ends at second 1\.00"),
        ({"start": 200}, InputError, "no frame from second 200"),
        ({"start": 0.97, "end": 0.98}, InputError, "from second 0.97 before second 0.98"),
    ],
)
def test_a_part_that_is_not_there_is_refused(
    tmp_path: Path, part: dict[str, float], kind: type[DreamerError], said: str
) -> None:
    path = run(tmp_path / "a.mp4", *pictures(), *H264)
    with pytest.raises(kind, match=said):
        clips.survey(path, **part)  # type: ignore[arg-type]


def test_a_clip_that_has_changed_is_noticed(tmp_path: Path) -> None:
    path = run(tmp_path / "a.mkv", *pictures(), *H264)
    clip = clips.survey(path)
    others = [pictures(seconds=0.6), pictures(seconds=1.4), pictures(size="48x64")]
    for other in others:
        run(path, *other, *H264)
        with pytest.raises(InputError, match=r"a\.mkv' has changed"):
            list(clips.frames(clip))
    path.unlink()
    with pytest.raises(InputError, match=r"a\.mkv' cannot be read"):
        list(clips.frames(clip))


def test_frames_may_be_left(tmp_path: Path) -> None:
    clip = clips.survey(run(tmp_path / "a.mp4", *pictures(seconds=3), *H264))
    reader = clips.frames(clip)
    assert len(next(reader)) == 3 * 64 * 48
    reader.close()  # type: ignore[attr-defined]


def test_a_missing_package_is_said_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = films.Pace((Fraction(0), Fraction(1, 10), Fraction(1, 4)))
    monkeypatch.setitem(sys.modules, "av", None)
    for name in ("a.mp4", "a.webm", "a.gif"):
        with pytest.raises(UsageError, match=r'PyAV.*pip install "dreamer\[video\]"'):
            films.check(tmp_path / name, SIZE, None, pace=pace)
    for name in ("a.webp", "a"):
        assert films.check(tmp_path / name, SIZE, None, pace=pace) == ()


def test_a_pace_fits_its_film(tmp_path: Path) -> None:
    pace = films.Pace((Fraction(0), Fraction(1, 10), Fraction(1, 4)))
    picture = bytes(3 * 64 * 48)
    for times in ((), (Fraction(0),), (Fraction(1), Fraction(2)), (Fraction(0),) * 2):
        with pytest.raises(ValueError, match="grow from 0"):
            films.Pace(times)
    for fps, given in ((None, None), (25, pace)):
        with pytest.raises(ValueError, match="a rate or a pace"):
            films.check(tmp_path / "a.mp4", SIZE, fps, pace=given)
    with (
        pytest.raises(OutputError, match=r"a\.mp4' was not written: only 1 of its 2"),
        films.writing(tmp_path / "a.mp4", SIZE, None, pace=pace) as writer,
    ):
        writer.add(picture)
    with (
        pytest.raises(ValueError, match="has 2 frames, no more"),
        films.writing(tmp_path / "a.mp4", SIZE, None, pace=pace) as writer,
    ):
        for _ in range(3):
            writer.add(picture)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["b.mp4", "b.gif"])
def test_a_film_that_cannot_be_finished_leaves_nothing(tmp_path: Path, name: str) -> None:
    clip = clips.survey(uneven(tmp_path / "a.mkv"))
    frame = next(clips.frames(clip))
    for failure in (RuntimeError, KeyboardInterrupt):
        with (
            pytest.raises(failure),
            films.writing(tmp_path / name, SIZE, None, pace=clip.pace) as writer,
        ):
            writer.add(frame)
            raise failure
    with (
        pytest.raises(OutputError, match="could not be encoded: .*signal 9"),
        films.writing(tmp_path / name, SIZE, None, pace=clip.pace) as writer,
    ):
        writer.add(frame)
        while not (started := children()):  # a program has its name a moment after it began
            time.sleep(0.01)
        os.kill(int(started[0]), signal.SIGKILL)
        for _ in range(clip.frames - 1):
            writer.add(frame)
    assert os.listdir(tmp_path) == ["a.mkv"]


def test_a_clip_made_by_hand_needs_no_survey(tmp_path: Path) -> None:
    clip = clips.survey(run(tmp_path / "a.mp4", *pictures(seconds=0.4), *H264))
    assert list(clips.frames(replace(clip, shown=()))) == list(clips.frames(clip))
