import contextlib
import errno
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from dreamer.errors import DreamerError, InputError, OutputError, UsageError
from dreamer.media import ffmpeg, files, films

SIZE = (64, 48)
COUNT = 12
ROWS = [
    (name, codec.name)
    for name, row in (
        ("film.mp4", films.FORMATS[0]),
        ("film.webm", films.FORMATS[1]),
        ("film.gif", films.FORMATS[2]),
        ("film.webp", films.FORMATS[3]),
        ("film", films.FORMATS[4]),
    )
    for codec in row.codecs
]
NAMES = ["film.mp4", "film.webm", "film.gif", "film.webp", "film"]
CALLED = {"h264": "h264", "h265": "hevc"}  # by ffmpeg
RECIPE = json.dumps(
    {"text": "Träume \"quoted\" 'single' = ; # \\ \n 😀", "long": "=;#\\" * 800},
    ensure_ascii=False,
)
ODD_STEMS = [
    "with spaces",
    'it\'s "quoted"',
    "two\nlines",
    "-y",
    "%d-%04d%%",
    "träum😀",
    "a:b,c;d[e]",
    "bad\udcff",
]


def flat(colour: tuple[int, int, int], size: tuple[int, int] = SIZE) -> bytes:
    return bytes(colour) * (size[0] * size[1])


def moving(count: int = COUNT, size: tuple[int, int] = SIZE) -> list[bytes]:
    base = Image.linear_gradient("L").resize(size)
    return [
        Image.merge("RGB", [base.rotate(turn + 30 * n) for turn in (0, 90, 200)]).tobytes()
        for n in range(count)
    ]


def make(path: Path | str, pictures: Sequence[bytes], fps: float = 30, **how: object) -> None:
    size = how.pop("size", SIZE)
    with films.writing(path, size, fps, **how) as writer:  # type: ignore[arg-type]
        for picture in pictures:
            writer.add(picture)


def difference(one: bytes, other: bytes) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def digest(path: Path) -> str:
    if path.is_dir():
        return " ".join(f"{part.name}:{digest(part)}" for part in sorted(path.iterdir()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def asked(path: Path, *entries: str) -> dict[str, str]:
    """What the system's ffprobe says of a film's pictures."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_frames"]
    command += ["-show_entries", f"stream={','.join(entries)}", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    stream = json.loads(done.stdout)["streams"][0]
    return {entry: str(stream[entry]) for entry in entries}


def hash_of_sound(path: Path) -> str:
    command = [ffmpeg.program(), "-v", "error", "-i", f"file:{path}", "-map", "0:a:0"]
    command += ["-c", "copy", "-f", "md5", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def seconds_of_sound(path: Path) -> float:
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries"]
    command += ["packet=pts_time,duration_time", "-of", "json", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    packets = json.loads(done.stdout)["packets"]
    return float(packets[-1]["pts_time"]) + float(packets[-1]["duration_time"])


def sound(path: Path, seconds: float, *options: str) -> Path:
    command = [ffmpeg.program(), "-v", "error", "-f", "lavfi", "-i", f"sine=d={seconds}:r=48000"]
    subprocess.run([*command, *options, f"file:{path}"], check=True)
    return path


def children() -> list[str]:
    """Return the processes of ffmpeg that this one has started; other tests may have others."""
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as listing:
        started = listing.read().split()
    return [pid for pid in started if Path(f"/proc/{pid}/comm").read_text().startswith("ffmpeg")]


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """No test leaves a process, a zombie, an open file or a thread behind."""
    ffmpeg.encoders()
    before = children(), sorted(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    assert (children(), sorted(os.listdir("/proc/self/fd")), threading.active_count()) == before


@pytest.mark.parametrize(("name", "codec"), ROWS)
def test_a_film_has_the_frames_size_rate_and_length_that_it_was_given(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = tmp_path / name
    assert films.check(path, SIZE, 25, codec=codec) == ()
    make(path, moving(), 25, codec=codec)
    info = films.probe(path)
    assert (info.width, info.height, info.frames) == (*SIZE, COUNT)
    assert info.codec == CALLED.get(codec, codec)
    assert not info.has_audio
    if path.is_file():
        assert info.fps == 25
        assert info.seconds == pytest.approx(COUNT / 25, abs=0.002)
    got = list(films.frames(path))
    assert len(got) == COUNT
    for one, other in zip(got, moving(), strict=True):
        assert difference(one, other) < 9
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "codec"), [row for row in ROWS if row[0][-4:] in (".mp4", "webm")]
)
def test_another_program_finds_the_same_in_it(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    make(path, moving(), Fraction(30000, 1001), codec=codec)
    entries = ["nb_read_frames", "width", "height", "pix_fmt", "color_space", "color_range"]
    entries += ["color_primaries", "color_transfer", "avg_frame_rate", "codec_tag_string"]
    said = asked(path, *entries)
    rate = Fraction(said.pop("avg_frame_rate"))
    assert float(rate) == pytest.approx(30000 / 1001, rel=0.001)
    tag = {"h264": "avc1", "h265": "hvc1", "av1": "av01"}.get(codec, "[0][0][0][0]")
    assert said.pop("codec_tag_string") == ("[0][0][0][0]" if name.endswith("webm") else tag)
    colours = dict.fromkeys(("color_space", "color_primaries", "color_transfer"), "bt709")
    counted = {"nb_read_frames": str(COUNT), "width": "64", "height": "48"}
    assert said == counted | colours | {"pix_fmt": "yuv420p", "color_range": "tv"}
    info = films.probe(path)
    assert (info.fps, info.pixel_format) == (Fraction(30000, 1001), "yuv420p")


@pytest.mark.parametrize("how", [{}, {"codec": "h265"}, {"audio": True}])
def test_an_mp4_starts_to_play_before_all_of_it_is_there(
    tmp_path: Path, how: dict[str, object]
) -> None:
    if "audio" in how:
        how = {"audio": sound(tmp_path / "s.m4a", 1)}
    make(tmp_path / "film.mp4", moving(), **how)
    data = (tmp_path / "film.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(("name", "codec"), ROWS)
def test_colours_come_back(tmp_path: Path, name: str, codec: str, coffee: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)]
    photo = Image.open(coffee).convert("RGB").resize(SIZE).tobytes()
    pictures = [flat(colour) for colour in colours for _ in range(2)] + [photo] * 2
    path = tmp_path / name
    make(path, pictures, 10, codec=codec)
    got = list(films.frames(path))
    for number, colour in enumerate(colours):
        middle = 3 * (SIZE[0] * (SIZE[1] // 2) + SIZE[0] // 2)
        assert got[2 * number][middle : middle + 3] == pytest.approx(colour, abs=6)
    assert difference(got[-1], photo) < 8


def test_other_programs_see_the_colours_too(tmp_path: Path) -> None:
    # Read as the older bt601 it would be (255, 24, 0)-like: the tag and the conversion agree.
    make(tmp_path / "film.mp4", [flat((220, 40, 60))] * 3)
    command = ["/usr/bin/ffmpeg", "-v", "error", "-i", str(tmp_path / "film.mp4")]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert data[:3] == pytest.approx((220, 40, 60), abs=4)


@pytest.mark.parametrize(
    ("name", "fps", "lasts"), [("film.gif", 25, [40]), ("film.webp", 30, [33, 34])]
)
def test_an_animation_plays_in_a_browser_for_ever(
    tmp_path: Path, name: str, fps: int, lasts: list[int]
) -> None:
    make(tmp_path / name, [*moving(), moving()[-1]], fps)  # a frame that stands still counts too
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == COUNT + 1
        assert image.info["loop"] == 0
        durations = []
        for number in range(COUNT + 1):
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
    assert set(durations) <= set(lasts)
    assert sum(durations) == pytest.approx((COUNT + 1) * 1000 / fps, abs=1)


@pytest.mark.parametrize(
    ("asked_for", "becomes"), [(30, Fraction(100, 3)), (60, 50), (240, 50), (24, 25), (12, 12.5)]
)
def test_a_gif_has_the_nearest_rate_that_it_can_have_and_says_so(
    tmp_path: Path, asked_for: int, becomes: Fraction | float
) -> None:
    (note,) = films.check(tmp_path / "film.gif", SIZE, asked_for)
    assert f"instead of {asked_for}" in note
    make(tmp_path / "film.gif", moving(4), asked_for)
    assert films.probe(tmp_path / "film.gif").fps == becomes


@pytest.mark.parametrize("name", NAMES)
def test_the_recipe_comes_back(tmp_path: Path, name: str) -> None:
    assert len(RECIPE) > 3000
    make(tmp_path / name, moving(3), comment=RECIPE)
    got = films.read_comment(tmp_path / name)
    assert got is not None
    assert got.isascii()
    assert json.loads(got) == json.loads(RECIPE)
    make(tmp_path / name, moving(3), overwrite=True)
    assert films.read_comment(tmp_path / name) is None


def test_a_film_with_sound_keeps_its_recipe(tmp_path: Path) -> None:
    audio = sound(tmp_path / "s.mp3", 1, "-metadata", "comment=of another")
    make(tmp_path / "film.mp4", moving(3), comment='{"a": 1}', audio=audio)
    assert films.read_comment(tmp_path / "film.mp4") == '{"a": 1}'
    make(tmp_path / "film.mp4", moving(3), audio=audio, overwrite=True)
    assert films.read_comment(tmp_path / "film.mp4") is None


def test_a_comment_of_others_is_no_recipe(tmp_path: Path) -> None:
    make(tmp_path / "film.mp4", moving(2))
    command = [ffmpeg.program(), "-v", "error", "-i", str(tmp_path / "film.mp4"), "-c", "copy"]
    subprocess.run([*command, "-metadata", "comment=hello", str(tmp_path / "b.mp4")], check=True)
    assert films.read_comment(tmp_path / "b.mp4") is None


def test_a_recipe_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        make(tmp_path / "film.mp4", moving(1), comment="x" * 30_000)


@pytest.mark.parametrize(("name", "codec"), ROWS)
def test_the_same_frames_make_the_same_bytes_on_any_number_of_cores(
    tmp_path: Path, name: str, codec: str
) -> None:
    size = (320, 180)  # enough for the encoders to share the work among threads
    pictures = moving(COUNT, size)
    suffix = Path(name).suffix
    make(tmp_path / f"a{suffix}", pictures, codec=codec, comment=RECIPE, size=size)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        make(tmp_path / f"b{suffix}", pictures, codec=codec, comment=RECIPE, size=size)
    finally:
        os.sched_setaffinity(0, cores)
    assert digest(tmp_path / f"a{suffix}") == digest(tmp_path / f"b{suffix}")


@pytest.mark.parametrize(
    ("name", "source", "options"),
    [
        ("film.mp4", "s.m4a", ()),
        ("film.mp4", "s.mp3", ()),
        ("film.webm", "s.opus", ("-c:a", "libopus")),
        ("film.webm", "s.ogg", ("-c:a", "libvorbis")),
    ],
)
def test_sound_is_copied_untouched(
    tmp_path: Path, name: str, source: str, options: tuple[str, ...]
) -> None:
    audio = sound(tmp_path / source, 0.3, *options)
    assert films.check(tmp_path / name, SIZE, 30, audio=audio) == ()
    make(tmp_path / name, moving(), audio=audio)  # 0.4 s: longer than the sound
    assert hash_of_sound(tmp_path / name) == hash_of_sound(audio)
    info = films.probe(tmp_path / name)
    assert info.has_audio
    assert (info.frames, info.fps) == (COUNT, 30)
    assert info.seconds == pytest.approx(0.4, abs=0.002)


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_longer_sound_is_cut_to_the_length_of_the_film(tmp_path: Path, codec: str) -> None:
    audio = sound(tmp_path / "s.mp3", 5)
    make(tmp_path / "film.mp4", moving(30), 30, codec=codec, audio=audio)
    assert seconds_of_sound(tmp_path / "film.mp4") == pytest.approx(1, abs=0.06)
    assert films.probe(tmp_path / "film.mp4").frames == 30
    assert sorted(os.listdir(tmp_path)) == ["film.mp4", "s.mp3"]


@pytest.mark.parametrize(("name", "codec"), [("film.mp4", "AAC"), ("film.webm", "Opus")])
def test_other_sound_is_encoded_and_that_is_said(tmp_path: Path, name: str, codec: str) -> None:
    audio = sound(tmp_path / "s.wav", 1, "-ac", "6")
    (note,) = films.check(tmp_path / name, SIZE, 30, audio=audio)
    assert "pcm_s16le" in note
    assert codec in note
    make(tmp_path / name, moving(), audio=audio)
    assert films.footage.sound_codec(tmp_path / name) == codec.lower()
    assert seconds_of_sound(tmp_path / name) == pytest.approx(0.4, abs=0.06)
    make(tmp_path / f"b{name}", moving(), audio=audio)
    assert digest(tmp_path / name) == digest(tmp_path / f"b{name}")


class OopsError(Exception):
    pass


@pytest.mark.parametrize("failure", [OopsError, KeyboardInterrupt, SystemExit, PermissionError])
@pytest.mark.parametrize("name", NAMES)
def test_whatever_ends_the_block_leaves_what_was_there(
    tmp_path: Path, name: str, failure: type[BaseException]
) -> None:
    path = tmp_path / name
    make(path, moving(2))
    old = digest(path)
    raised = failure("of the caller's")
    with pytest.raises(failure) as caught, films.writing(path, SIZE, 30, overwrite=True) as writer:
        for picture in moving():
            writer.add(picture)
        raise raised
    assert caught.value is raised
    assert os.listdir(tmp_path) == [name]
    assert digest(path) == old


def test_an_error_of_the_callers_keeps_its_cause(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="'other' cannot be written") as caught,
        films.writing(tmp_path / "film.mp4", SIZE, 30),
        files.writing("other"),
    ):
        raise PermissionError(errno.EACCES, "no")
    assert isinstance(caught.value.__cause__, PermissionError)


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.gif"])
@pytest.mark.parametrize("when", ["between frames", "at the end"])
def test_a_killed_ffmpeg_is_said_and_leaves_what_was_there(
    tmp_path: Path, name: str, when: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match="could not be encoded: .*signal 9"),
        films.writing(path, SIZE, 30, overwrite=True) as writer,
    ):
        writer.add(moving(1)[0])
        (child,) = children()
        os.kill(int(child), signal.SIGKILL)
        if when == "between frames":
            for picture in moving(200):
                writer.add(picture)
    assert os.listdir(tmp_path) == [name]
    assert path.read_bytes() == b"old"


def test_ctrl_c_ends_a_film_that_is_being_made(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from dreamer.media import films
        with films.writing(sys.argv[1], (64, 48), 30) as writer:
            while True:
                writer.add(bytes(64 * 48 * 3))
                print("writing", flush=True)
    """)
    command = [sys.executable, "-c", program, str(tmp_path / "film.mp4")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
    with subprocess.Popen(command, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as the terminal does it
        _, complaint = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in complaint
    assert b"could not be encoded" not in complaint
    assert os.listdir(tmp_path) == []


def test_what_a_killed_program_left_can_be_removed(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import os, signal, sys
        from dreamer.media import files, films
        with films.writing(sys.argv[1], (64, 48), 30) as writer:
            writer.add(bytes(64 * 48 * 3))
            assert files.remove_unfinished(os.path.dirname(sys.argv[1])) == 0  # in use
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    command = [sys.executable, "-c", program, str(tmp_path / "film.mp4")]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    assert [Path(name).suffix for name in os.listdir(tmp_path)] == [".part"]
    assert files.remove_unfinished(tmp_path) == 1


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def noise(count: int, size: tuple[int, int]) -> Iterator[bytes]:
    for number in range(count):  # none is like the one before: nothing makes it small
        yield random.Random(number).randbytes(3 * size[0] * size[1])


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    size = (160, 120)
    path = tmp_path / "small" / name
    with small_disk(tmp_path / "small"):
        make(path, moving(2))
        old = digest(path)
        with (
            pytest.raises(OutputError) as caught,
            films.writing(path, size, 30, overwrite=True) as writer,
        ):
            for picture in noise(60, size):
                writer.add(picture)
        assert caught.value.message == f"There is no room left to write '{path}'."
        assert files.no_room(caught.value)
        assert os.listdir(path.parent) == [name]
        assert digest(path) == old


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_on_file_sizes_is_said_as_a_full_disk(tmp_path: Path, name: str) -> None:
    size = (160, 120)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(OutputError, match="There is no room left"):
            make(tmp_path / name, list(noise(30, size)), size=size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


def test_a_slow_encoder_makes_the_caller_wait(tmp_path: Path) -> None:
    size = (640, 480)
    taken = 0
    with pytest.raises(OopsError), films.writing(tmp_path / "film.mp4", size, 30) as writer:
        (child,) = children()
        os.kill(int(child), signal.SIGSTOP)

        def feed() -> None:
            nonlocal taken
            with contextlib.suppress(OutputError):
                for _ in range(100):
                    writer.add(bytes(3 * 640 * 480))
                    taken += 1

        feeder = threading.Thread(target=feed)
        feeder.start()
        feeder.join(1)
        assert feeder.is_alive()
        assert taken < 3  # not even one fits into the pipe
        os.kill(int(child), signal.SIGKILL)
        feeder.join()
        raise OopsError


@pytest.mark.parametrize("name", NAMES)
def test_a_film_without_a_frame_is_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="no frame"):
        make(tmp_path / name, [])
    assert os.listdir(tmp_path) == []


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="9216 bytes, not 9215"):
        make(tmp_path / "film.mp4", [bytes(64 * 48 * 3 - 1)])
    assert os.listdir(tmp_path) == []


def test_a_frame_may_be_any_buffer(tmp_path: Path) -> None:
    with films.writing(tmp_path / "film.webp", SIZE, 30) as writer:
        writer.add(memoryview(bytearray(moving(1)[0])))
        writer.add(memoryview(moving(1)[0]).cast("B", (48, 64, 3)))
    assert films.probe(tmp_path / "film.webp").frames == 2


def test_a_frame_that_ctrl_c_cut_off_does_not_end_up_in_a_film(tmp_path: Path) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with (
        pytest.raises(OutputError, match="not taken whole"),
        films.writing(tmp_path / "film.mp4", SIZE, 30) as writer,
    ):
        writer.add(moving(1)[0])
        sink, writer._sink = writer._sink, interrupted
        with contextlib.suppress(KeyboardInterrupt):
            writer.add(moving(1)[0])
        writer._sink = sink
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.mp4", "MP4"),
        ("A.MP4", "MP4"),
        (".mp4", "MP4"),
        ("x/.gif", "GIF"),
        ("a.b.webm", "WebM"),
        ("a.webp", "WebP"),
        ("frames", "frames"),
        ("frames.mp4/", "frames"),
        ("v1.0/frames", "frames"),
    ],
)
def test_a_suffix_chooses_the_format(name: str, kind: str) -> None:
    assert films.by_suffix(name).name == kind


def test_a_folder_that_exists_is_for_frames(tmp_path: Path) -> None:
    (tmp_path / "v1.5").mkdir()
    assert films.by_suffix(tmp_path / "v1.5").name == "frames"


@pytest.mark.parametrize(
    ("name", "offer"),
    [("a.mp5", "Did you mean .mp4?"), ("a.web", "Did you mean .web"), ("a.docx", "The suffix")],
)
def test_another_suffix_is_refused_with_those_there_are(name: str, offer: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}'.*no kind of film") as caught:
        films.by_suffix(name)
    assert caught.value.advice.startswith(offer)
    assert ".mp4, .webm, .gif, .webp" in caught.value.advice


REFUSED: list[tuple[str, dict[str, object], type[DreamerError], str]] = [
    ("a.mp4", {"codec": "h266"}, UsageError, "h264"),
    ("a.webm", {"codec": "h264"}, UsageError, "can be vp9, av1"),
    ("a.gif", {"codec": "h264"}, UsageError, "codec for .gif"),
    ("frames/", {"codec": "h264"}, UsageError, "codec for frames"),
    ("a.mp4", {"size": (63, 48)}, UsageError, "62x48"),
    ("a.mp4", {"size": (64, 47)}, UsageError, "64x46"),
    ("a.mp4", {"size": (8, 64)}, UsageError, "16 to"),
    ("a.webp", {"size": (20_000, 64)}, UsageError, "16383"),
    ("a.gif", {"size": (0, 64)}, UsageError, "0x64"),
    ("a.mp4", {"fps": 0.5}, UsageError, "1 to 240"),
    ("a.mp4", {"fps": 241}, UsageError, "1 to 240"),
    ("a.mp4", {"fps": float("nan")}, UsageError, "1 to 240"),
    ("a.mp4", {"fps": float("inf")}, UsageError, "1 to 240"),
    ("a.mp4", {"crf": 0}, UsageError, r"1 \(best\) to 51"),
    ("a.mp4", {"crf": 52}, UsageError, r"1 \(best\) to 51"),
    ("a.webm", {"crf": 64}, UsageError, r"0 \(best\) to 63"),
    ("a.gif", {"crf": 20}, UsageError, "no crf"),
    ("a.gif", {"audio": "s.m4a"}, UsageError, "no sound"),
    ("frames/", {"audio": "s.m4a"}, UsageError, "no sound"),
    ("a.mp4", {"audio": "gone.m4a"}, InputError, "gone.m4a"),
    ("a.mp4", {"audio": "silent.mp4"}, InputError, "no sound"),
    ("a.mp4", {"audio": "note.txt"}, InputError, "no sound"),
    ("a.mp4", {"audio": "full"}, InputError, "is a folder"),
    ("a.mp4", {"audio": "a\0b"}, InputError, r"a\\x00b"),
    ("silent.mp4", {}, OutputError, "exists already"),
    ("note.txt/a.mp4", {}, OutputError, "a folder in its path is a file"),
    ("a\0b.mp4", {}, OutputError, "no file name"),
    ("a\0b", {}, OutputError, "no file name"),
    ("a.mp9", {}, UsageError, "no kind of film"),
    ("", {}, UsageError, "no name"),
    ("full", {}, OutputError, "holds other files than frames"),
    ("full", {"overwrite": True}, OutputError, "note.txt"),
    ("framed", {}, OutputError, "exists already"),
    ("note", {}, OutputError, "is a file, not a folder"),
]


@pytest.mark.parametrize(("name", "how", "kind", "said"), REFUSED)
def test_what_cannot_work_is_refused_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    how: dict[str, object],
    kind: type[DreamerError],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "silent.mp4", moving(2))
    make(tmp_path / "framed", moving(2))
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "note").write_text("hello")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("hello")
    before = sorted(os.listdir(tmp_path))
    size, fps = how.get("size", SIZE), how.get("fps", 30)
    rest = {key: value for key, value in how.items() if key not in ("size", "fps")}
    for refuse in (films.check, lambda *a, **k: films.writing(*a, **k).__enter__()):
        with pytest.raises(kind) as caught:
            refuse(name, size, fps, **rest)  # type: ignore[operator]
        assert caught.match(said)
        assert "\0" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", ["film.webm", "film.gif", "film.webp", "film"])
def test_odd_sides_are_written_where_they_can_be(tmp_path: Path, name: str) -> None:
    make(tmp_path / name, moving(3, (63, 47)), 20, size=(63, 47))
    info = films.probe(tmp_path / name)
    assert (info.width, info.height, info.frames) == (63, 47, 3)


@pytest.mark.parametrize(("name", "codec"), ROWS)
def test_the_smallest_size_that_is_allowed_is_written(
    tmp_path: Path, name: str, codec: str
) -> None:
    side = films.by_suffix(name).shortest
    make(tmp_path / name, moving(2, (side, side)), codec=codec, size=(side, side))
    assert films.probe(tmp_path / name).frames == 2


def test_a_codec_that_this_ffmpeg_lacks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffmpeg, "encoders", lambda: frozenset({"libx264"}))
    with pytest.raises(UsageError, match="cannot encode h265.*libx265.*h264"):
        films.check(tmp_path / "a.mp4", SIZE, 30, codec="h265")
    with pytest.raises(UsageError, match="cannot encode vp9"):
        films.check(tmp_path / "a.webm", SIZE, 30)


def test_a_missing_ffmpeg_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "film.mp4", moving(2))
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    calls: list[Callable[[], object]] = [
        lambda: make(tmp_path / "b.mp4", moving(1)),
        lambda: films.probe(tmp_path / "film.mp4"),
        lambda: list(films.frames(tmp_path / "film.mp4")),
        lambda: films.read_comment(tmp_path / "film.mp4"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="cannot be run.*pip install"):
            call()
    assert os.listdir(tmp_path) == ["film.mp4"]
    make(tmp_path / "film.webp", moving(1))  # which does without


@pytest.mark.parametrize("stem", ODD_STEMS)
def test_odd_names_are_written_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    odd = tmp_path / f"{stem} folder"
    odd.mkdir()
    monkeypatch.chdir(odd)
    audio = sound(Path(f"{stem}.m4a"), 0.1)
    for name in (f"{stem}.mp4", f"{stem}.gif", f"{stem}/"):
        how: dict[str, object] = {"audio": audio} if name.endswith("mp4") else {}
        make(name, moving(2), 20, comment='{"a": 1}', **how)
        assert films.probe(name).frames == 2
        assert films.read_comment(name) == '{"a": 1}'
        assert len(list(films.frames(name))) == 2
    assert sorted(os.listdir(odd)) == sorted([f"{stem}.m4a", f"{stem}.mp4", f"{stem}.gif", stem])


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    for name in ("a/b/film.gif", "c/d/frames"):
        films.check(tmp_path / name, SIZE, 20)
        assert not (tmp_path / name).parent.exists()
        make(tmp_path / name, moving(2), 20)
        assert films.probe(tmp_path / name).frames == 2


def test_frames_appear_together_and_replace_only_frames(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()  # an empty one may be there
    with films.writing(folder, SIZE, 30, comment='{"a": "ü"}') as writer:
        for picture in moving(3):
            writer.add(picture)
        assert os.listdir(folder) == []
    names = ["000000.png", "000001.png", "000002.png"]
    assert sorted(os.listdir(folder)) == [*names, "recipe.json"]
    assert json.loads((folder / "recipe.json").read_text()) == {"a": "ü"}
    make(folder, moving(2), overwrite=True)
    assert sorted(os.listdir(folder)) == names[:2]
    with (
        pytest.raises(OutputError, match="holds other files"),
        films.writing(folder, SIZE, 30, overwrite=True) as writer,
    ):
        writer.add(moving(1)[0])
        (folder / "mine.txt").write_text("put there in the meantime")
    assert sorted(os.listdir(folder)) == [*names[:2], "mine.txt"]
    assert os.listdir(tmp_path) == ["frames"]


def test_a_film_that_appeared_in_the_meantime_is_not_lost(tmp_path: Path) -> None:
    for name in ("film.mp4", "frames"):
        with (
            pytest.raises(OutputError, match="exists already"),
            films.writing(tmp_path / name, SIZE, 30) as writer,
        ):
            writer.add(moving(1)[0])
            make(tmp_path / name, moving(3))
        assert films.probe(tmp_path / name).frames == 3


READERS: list[Callable[[Path], object]] = [films.probe, lambda path: list(films.frames(path))]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.gif", "film.webp"])
def test_a_film_that_is_cut_off_is_refused(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    size = (160, 120)
    make(tmp_path / name, list(noise(8, size)), 20, size=size)
    whole = (tmp_path / name).read_bytes()
    for part in (0.01, 0.5, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(InputError, match=r"film\.\w+' is (no film|damaged|no picture)"):
            read(tmp_path / name)


@pytest.mark.parametrize("read", [*READERS, films.read_comment])
def test_what_is_no_film_is_refused(
    tmp_path: Path, read: Callable[[Path], object], coffee: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello\n" * 1000)
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfilm.mp4\n")
    (tmp_path / "random.webm").write_bytes(os.urandom(5000))
    os.mkfifo(tmp_path / "pipe.mp4")
    paths = [tmp_path / name for name in sorted(os.listdir(tmp_path))]
    for path in [*paths, tmp_path / "gone.mp4", coffee]:
        with pytest.raises(InputError, match=path.name):
            read(path)


@pytest.mark.parametrize("read", READERS)
def test_sound_alone_and_a_folder_of_other_things_are_no_film(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    with pytest.raises(InputError, match="s.m4a"):
        read(sound(tmp_path / "s.m4a", 0.2))
    with pytest.raises(InputError, match="holds no frames"):
        read(tmp_path)
    make(tmp_path / "frames", moving(3))
    (tmp_path / "frames" / "000001.png").unlink()
    with pytest.raises(InputError, match="000001.png' is missing"):
        read(tmp_path / "frames")


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_read_one_by_one_and_may_be_left(tmp_path: Path, name: str) -> None:
    make(tmp_path / name, moving(40))
    reader = films.frames(tmp_path / name)
    assert len(next(reader)) == 3 * 64 * 48
    reader.close()  # type: ignore[attr-defined]
    assert children() == []


def test_a_film_of_another_program_is_read(tmp_path: Path) -> None:
    for name in ("film.mkv", "film.avi", "film.mov", "film.ts"):
        command = ["/usr/bin/ffmpeg", "-v", "error", "-f", "lavfi"]
        command += ["-i", "testsrc=s=64x48:r=24:d=1", str(tmp_path / name)]
        subprocess.run(command, check=True)
        info = films.probe(tmp_path / name)
        assert (info.width, info.height, info.fps, info.frames) == (64, 48, 24, 24)
        assert len(list(films.frames(tmp_path / name))) == 24
        assert films.read_comment(tmp_path / name) is None
