"""`dreamer video` as its users run it."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from clip_making import (
    EXACT,
    H264,
    SIZE,
    UNEVEN,
    apart,
    asked,
    beep,
    decoded,
    heard,
    length,
    run,
    shown,
    sliding,
    sound_packets,
    still,
    uneven_times,
    write,
)
from PIL import Image

from dreamer import cli
from dreamer.errors import NetworkError, OutputError
from dreamer.film import reading
from dreamer.media import clips as media_clips
from dreamer.media import films, footage
from dreamer.networks import network, rows
from dreamer.render.look import Look

FAST = ["--steps", "1", "--octaves", "1", "--threads", "1"]
UNDREAMED = [*FAST, "--step-size", "0"]
COUNT = 4
VFR = ("-vf", UNEVEN, "-fps_mode", "passthrough", "-enc_time_base", "1:1000")
KEYS = {
    "output",
    "recipe",
    "recipe_hash",
    "frames",
    "keyframes",
    "seconds",
    "kept",
    "dry_run",
    "notes",
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small pictures take longer with more, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _one_network():
    """It is the same for all of them, and takes longer to load than a frame to dream."""
    loaded = network.load(rows.DEFAULT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Look, "load_network", lambda _: loaded)
        yield


@pytest.fixture(scope="module")
def clips(tmp_path_factory, astronaut, coffee):
    """A folder of clips."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = sliding(astronaut, COUNT, 2)
    seconds = COUNT / 25
    write(folder / "clip.mp4", pictures, *beep(seconds), *H264, "-c:a", "aac")
    write(folder / "opus.mkv", pictures, *beep(seconds), *EXACT, "-c:a", "libopus")
    write(folder / "mute.mkv", pictures)
    write(folder / "ntsc.mkv", pictures, *H264, rate="30000/1001")
    write(folder / "uneven.mkv", pictures, *beep(0.4), *VFR, *H264, "-c:a", "aac")
    write(folder / "one.mp4", pictures[:1], *H264)
    write(folder / "odd.mkv", sliding(coffee, 3, 2, (97, 65)), size=(97, 65))
    write(folder / "deep.mkv", pictures[:3], *H264[:-1], "yuv420p10le")
    turned = ("-display_rotation", "90", "-i", str(folder / "clip.mp4"), "-c", "copy")
    run(folder / "turned.mp4", *turned)
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, clips):
    shutil.copytree(clips, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def call(capfd):
    """Run the command line; returns the exit code, stdout and stderr."""

    def call(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def video(call):
    """Dream a clip; returns the exit code and what the envelope says."""

    def video(clip, *arguments):
        code, out, err = call("video", clip, *FAST, *arguments, "--json")
        return code, json.loads(out) if code == 0 else err

    return video


def tree() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def leftovers() -> list[Path]:
    return [path for path in Path().rglob(".*") if path.name != ".hypothesis"]


def frames_in(folder: str) -> list[bytes]:
    """The frames of a folder, exactly."""
    found = []
    for path in sorted(Path(folder).glob("*.png")):
        with Image.open(path) as image:
            found.append(image.convert("RGB").tobytes())
    return found


FORMATS = [
    ("film.mp4", "h264", "yuv420p"),
    ("film.webm", "vp9", "yuv420p"),
    ("film.gif", "gif", "bgra"),
    ("film.webp", "webp", "yuv420p"),
    ("film", "png", "rgb24"),
    ("below/and/FILM.MP4", "h264", "yuv420p"),
]


@pytest.mark.parametrize(("name", "codec", "pixel_format"), FORMATS)
def test_the_suffix_chooses_what_is_written_and_it_keeps_the_times(call, name, codec, pixel_format):
    code, out, err = call("video", "clip.mp4", "-o", name, *FAST)
    assert (code, out) == (0, f"{name}\n"), err
    times = [Fraction(number, 25) for number in range(COUNT + 1)]
    sounding = name.lower().endswith((".mp4", ".webm"))
    assert ("sound: the clip's is left out" in err) != sounding
    if name == "film":
        assert sorted(os.listdir("film")) == [
            *(f"{number:06}.png" for number in range(COUNT)),
            "recipe.json",
            "timestamps.txt",
        ]
        said = Path("film/timestamps.txt").read_text().splitlines()[1:]
        assert [Fraction(line) / 1000 for line in said] == times
        with Image.open("film/000000.png") as first:
            size, count = first.size, len(frames_in("film"))
    elif name == "film.webp":  # which ffmpeg does not decode
        with Image.open(name) as film:
            size, count = film.size, film.n_frames
            lasts = []
            for number in range(count):
                film.seek(number)
                film.load()
                lasts.append(film.info["duration"])
        assert lasts == [40] * COUNT
    else:
        stream = asked(name, "v:0", "stream=codec_name,pix_fmt,width,height")["streams"][0]
        size, count = (int(stream["width"]), int(stream["height"])), len(decoded(name))
        assert (stream["codec_name"], stream["pix_fmt"]) == (codec, pixel_format)
        assert shown(name) == times[:-1]
    assert (size, count) == (SIZE, COUNT)
    if sounding:
        assert asked(name, "a", "stream=index")["streams"]
        assert length(name) == pytest.approx(0.16, abs=0.03)
    if name == "film.mp4":
        assert sound_packets(name) == sound_packets("clip.mp4")
    recipe = reading.from_json(footage.read_comment(name) or "", name)
    assert (recipe.size, recipe.frames, recipe.film) == (SIZE, COUNT, "video")
    assert (recipe.name, recipe.steadiness, recipe.every) == ("clip.mp4", 0.9, 1)
    assert not leftovers()


def test_every_format_holds_the_same_pictures_in_the_same_order(call):
    names = ["film", "film.mp4", "film.webm", "film.gif"]
    for name in names:
        assert call("video", "mute.mkv", "-o", name, *FAST)[0] == 0
    exact = frames_in("film")
    for name in names[1:]:
        for number, frame in enumerate(decoded(name)):
            near = min(range(COUNT), key=lambda other: apart(frame[::29], exact[other][::29]))
            assert near == number


def test_undreamed_a_film_is_its_clip(call):
    for name in ("film", "film.mp4", "film.webm"):
        assert call("video", "mute.mkv", "-o", name, *UNDREAMED)[0] == 0
    assert frames_in("film") == decoded("mute.mkv")
    for name in ("film.mp4", "film.webm"):
        for one, other in zip(decoded(name), decoded("mute.mkv"), strict=True):
            assert apart(one, other) < 6


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.gif", "film"])
def test_every_frame_of_a_clip_without_a_rate_keeps_its_time(call, name):
    assert call("video", "uneven.mkv", "-o", name, *FAST)[0] == 0
    wanted = uneven_times(COUNT)
    if name == "film":
        lines = Path("film/timestamps.txt").read_text().splitlines()[1:]
        assert [Fraction(line) / 1000 for line in lines[:-1]] == wanted
    elif name == "film.gif":
        got = shown(name)
        assert all(abs(a - b) <= Fraction(1, 200) for a, b in zip(got, wanted, strict=True))
    else:
        assert shown(name) == wanted
    if name == "film.mp4":
        assert sound_packets(name) == sound_packets("uneven.mkv") != b""


def test_a_broadcast_rate_is_exact(call):
    assert call("video", "ntsc.mkv", "-o", "film.mp4", *FAST)[0] == 0
    assert shown("film.mp4") == [Fraction(1001 * number, 30000) for number in range(COUNT)]
    assert length("film.mp4") == pytest.approx(COUNT * 1001 / 30000, abs=0.0011)
    (stream,) = asked("film.mp4", "v:0", "stream=r_frame_rate")["streams"]
    assert stream["r_frame_rate"] == "30000/1001"


def test_sound_that_a_webm_holds_stays_bit_for_bit(call):
    assert call("video", "opus.mkv", "-o", "film.webm", *FAST)[0] == 0
    assert sound_packets("film.webm") == sound_packets("opus.mkv") != b""


def test_the_clips_sound_is_left_out_or_another_one_taken(call, video):
    assert video("clip.mp4", "-o", "film.mp4", "--silent")[0] == 0
    assert sound_packets("film.mp4") == b""
    run(Path("other.m4a"), *beep(0.16, 0.03, 0.08), "-c:a", "aac")
    code, out, _ = call("video", "clip.mp4", "-o", "a.mp4", "--audio", "other.m4a", *FAST)
    assert (code, out) == (0, "a.mp4\n")
    assert sound_packets("a.mp4") == sound_packets("other.m4a")
    assert video("clip.mp4", "-o", "b.mp4", "--audio", "other.m4a", "--silent")[0] == 0
    assert sound_packets("b.mp4") == sound_packets("other.m4a")
    assert video("mute.mkv", "-o", "c.mp4")[0] == 0
    assert sound_packets("c.mp4") == b""
    # It begins with the film, wherever that begins in the clip.
    assert video("clip.mp4", "-o", "d.mp4", "--start", "0.03", "--audio", "other.m4a")[0] == 0
    assert heard("d.mp4") == pytest.approx(heard("other.m4a"), abs=0.003)


def test_a_part_of_a_clip_keeps_its_frames_and_its_sound_in_their_places(call, astronaut):
    pictures = sliding(astronaut, 40, 1)
    sound = beep(1.6, 0.9, 1.0)
    write(Path("long.mkv"), pictures, *sound, *EXACT, "-c:a", "pcm_s16le")
    part = ["--start", "0.6", "--end", "1.2", "--every", "3"]
    assert call("video", "long.mkv", "-o", "film", *UNDREAMED, *part)[0] == 0
    assert frames_in("film") == pictures[15:30:3]
    assert call("video", "long.mkv", "-o", "film.mp4", *UNDREAMED, *part)[0] == 0
    assert shown("film.mp4") == [Fraction(3 * number, 25) for number in range(5)]
    assert length("film.mp4") == pytest.approx(0.6, abs=0.002)
    first, last = heard("long.mkv")
    assert heard("film.mp4") == pytest.approx((first - 0.6, last - 0.6), abs=0.003)
    recipe = reading.recipe_in(Path("film.mp4"))
    assert (recipe.start, recipe.seconds, recipe.every) == (0.6, 0.6, 3)


def test_sides_that_are_odd_are_made_even_where_they_have_to_be(call):
    code, _, err = call("video", "odd.mkv", "-o", "film.mp4", *UNDREAMED)
    assert code == 0
    assert "Note: the film is 96x64: its sides have to be even.\n" in err
    for name, size in (("film.mp4", ["96", "64"]), ("film.webm", ["97", "65"])):
        code, _, err = call("video", "odd.mkv", "-o", name, *UNDREAMED, "--overwrite")
        (stream,) = asked(name, "v:0", "stream=width,height")["streams"]
        assert [stream["width"], stream["height"]] == list(map(int, size))
        assert ("even" in err) == (name == "film.mp4")
    assert call("video", "odd.mkv", "-o", "film", *UNDREAMED)[0] == 0
    assert frames_in("film") == decoded("odd.mkv")


@pytest.mark.parametrize(("size", "wanted"), [("48", (48, 32)), ("98", (98, 64))])
def test_a_size_is_the_longer_side(call, size, wanted):
    assert call("video", "mute.mkv", "-o", "film.mp4", "--size", size, *UNDREAMED)[0] == 0
    (stream,) = asked("film.mp4", "v:0", "stream=width,height")["streams"]
    assert (int(stream["width"]), int(stream["height"])) == wanted
    smooth = Image.frombytes("RGB", SIZE, decoded("mute.mkv")[2]).resize(wanted)
    assert apart(decoded("film.mp4")[2], smooth.tobytes()) < 12


def test_a_clip_that_lies_on_its_side_is_dreamed_upright(call):
    assert call("video", "turned.mp4", "-o", "film.mp4", *UNDREAMED)[0] == 0
    (stream,) = asked("film.mp4", "v:0", "stream=width,height:stream_side_data=rotation")["streams"]
    assert (int(stream["width"]), int(stream["height"])) == (SIZE[1], SIZE[0])
    assert "side_data_list" not in stream  # which would turn it once more
    lying = Image.frombytes("RGB", SIZE, decoded("clip.mp4")[0])
    upright = lying.transpose(Image.Transpose.ROTATE_90)
    assert apart(decoded("film.mp4")[0], upright.tobytes()) < 6
    assert sound_packets("film.mp4") == sound_packets("clip.mp4")


def test_one_frame_is_a_film(call):
    code, _, err = call("video", "one.mp4", "-o", "film.mp4", *FAST)
    assert code == 0, err
    assert shown("film.mp4") == [0]
    assert length("film.mp4") == pytest.approx(0.04, abs=0.001)
    assert call("video", "one.mp4", "-o", "film.gif", *FAST)[0] == 0
    assert len(decoded("film.gif")) == 1


def test_ten_bits_become_eight(call):
    assert call("video", "deep.mkv", "-o", "film.mp4", *UNDREAMED)[0] == 0
    (stream,) = asked("film.mp4", "v:0", "stream=pix_fmt")["streams"]
    assert stream["pix_fmt"] == "yuv420p"
    for one, other in zip(decoded("film.mp4"), decoded("deep.mkv"), strict=True):
        assert apart(one, other) < 6


def test_a_gif_is_a_clip(call):
    colours = [Image.effect_noise((96, 64), spread).convert("RGB") for spread in (20, 60, 90)]
    colours[0].save("a.gif", save_all=True, append_images=colours[1:], duration=[100, 250, 70])
    assert call("video", "a.gif", "-o", "film.mp4", *FAST)[0] == 0
    assert shown("film.mp4") == [0, Fraction(1, 10), Fraction(35, 100)]
    assert length("film.mp4") == pytest.approx(0.42, abs=0.002)


def test_another_preset_and_steadiness_make_another_film(call):
    found = set()
    for number, options in enumerate(
        (
            [],
            ["--steadiness", "0"],
            ["--steadiness", "0.5"],
            ["--preset", "eyes"],
            ["--color", "luma"],
            ["--seed", "1"],
        )
    ):
        options = [*options, "--end", "0.1", *FAST]
        assert call("video", "mute.mkv", "-o", f"film-{number}", *options)[0] == 0
        found.add(tuple(frames_in(f"film-{number}")))
    assert len(found) == 6


def test_the_same_command_makes_the_same_bytes(call):
    for name in ("film.mp4", "film.gif"):
        made = []
        for _ in range(2):
            options = [*FAST, "--end", "0.1", "--overwrite"]
            assert call("video", "clip.mp4", "-o", name, *options)[0] == 0
            made.append(Path(name).read_bytes())
        assert made[0] == made[1]


def test_the_name_follows_the_clip_unless_one_is_given(call):
    code, out, _ = call("video", "one.mp4", *FAST)
    assert (code, out) == (0, f"{Path('outputs/one-dream.mp4')}\n")
    assert shown("outputs/one-dream.mp4") == [0]
    assert not leftovers()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other limits")
def test_names_as_long_as_they_can_be_and_of_any_character_are_no_problem(call):
    long = "é" * 125 + ".mp4"
    Path("one.mp4").rename(long)
    code, out, err = call("video", long, *FAST)
    assert code == 0, err
    assert shown(out.rstrip("\n")) == [0]
    for name in ("%d a b'c\".mp4", "-.gif", "file:x.webm"):
        code, _, err = call("video", long, f"--output={name}", *FAST)
        assert code == 0, err
        assert len(decoded(name)) == 1
    code, _, err = call("video", "file:x.webm", "-o", "again.mp4", *FAST)
    assert code == 0, err
    assert not leftovers()


def test_the_envelope_tells_all(video):
    code, said = video("clip.mp4", "-o", "film.mp4")
    assert code == 0
    assert {key: said[key] for key in ("schema", "command", "status", "error")} == {
        "schema": 1,
        "command": "video",
        "status": "success",
        "error": None,
    }
    result = said["result"]
    assert set(result) == KEYS
    assert result["output"] == "film.mp4"
    assert (result["frames"], result["keyframes"]) == (COUNT, COUNT)
    assert (result["kept"], result["dry_run"]) == (False, False)
    assert result["seconds"] > 0
    recipe = reading.from_json(json.dumps(result["recipe"]), "the envelope")
    assert recipe.hash == result["recipe_hash"]
    assert reading.recipe_in(Path("film.mp4")) == recipe


def test_errors_are_in_the_envelope_too(call):
    code, out, err = call("video", "gone.mp4", "--json")
    assert code == 4
    said = json.loads(out)
    assert (said["command"], said["status"], said["result"]) == ("video", "error", None)
    assert said["error"]["code"] == 4
    assert "gone.mp4" in said["error"]["message"]
    assert "Traceback" not in err


def test_a_dry_run_writes_nothing(call, video):
    before = tree()
    code, out, _ = call("video", "clip.mp4", "-o", "below/film.mp4", "--dry-run", *FAST)
    assert code == 0
    for said in (
        "clip.mp4",
        "dream, steadiness 0.9",
        "96x64, 4 frames in 0.16 s",
        "below/film.mp4",
    ):
        assert said in out.replace(os.sep, "/")
    code, said = video("clip.mp4", "--dry-run", "--preview", "--strip", "strip.png")
    assert code == 0
    assert set(said["result"]) == KEYS
    assert said["result"]["dry_run"] is True
    assert tree() == before
    assert not Path("below").exists()
    assert not Path("outputs").exists()


def test_a_film_that_is_there_is_kept_and_another_one_is_an_error(call, video):
    assert video("clip.mp4", "-o", "film.mp4")[0] == 0
    first = Path("film.mp4").read_bytes(), Path("film.mp4").stat().st_mtime_ns
    assert video("clip.mp4", "-o", "film.mp4")[1]["result"]["kept"] is True
    code, out, err = call("video", "clip.mp4", "-o", "film.mp4", *FAST)
    assert (code, out) == (0, "film.mp4\n")
    assert "kept" in err
    for options, said in (
        (["--steadiness", "0.5"], "another recipe: steadiness (0.5 instead of 0.9)."),
        (["--seed", "1"], "another recipe: the seed."),
        (["--every", "2"], "another recipe: frames (2 instead of 4), every (2 instead of 1)."),
        (["--silent"], "another encoding: the sound."),
        (["--crf", "30"], "another encoding: crf (30 instead of 18)."),
    ):
        code, err = video("clip.mp4", "-o", "film.mp4", *options)
        assert code == 5
        assert f"'film.mp4' exists, with {said}" in err
        assert "--overwrite" in err
        assert len(err.splitlines()) == 2
    shutil.copy("uneven.mkv", "clip.mkv")
    code, err = video("clip.mkv", "-o", "film.mp4")
    assert code == 5
    assert "clip (clip.mkv, " in err
    assert (Path("film.mp4").read_bytes(), Path("film.mp4").stat().st_mtime_ns) == first
    assert video("clip.mp4", "-o", "film.mp4", "--steadiness", "0.5", "--overwrite")[0] == 0
    assert Path("film.mp4").read_bytes() != first[0]
    assert video("clip.mp4", "-o", "film.mp4", "--overwrite")[0] == 0
    assert Path("film.mp4").read_bytes() == first[0]
    assert not leftovers()


@pytest.mark.parametrize("name", ["film", "film.gif", "film.webp", "film.webm"])
def test_films_of_every_kind_are_known_again(video, name):
    assert video("one.mp4", "-o", name)[1]["result"]["kept"] is False
    assert video("one.mp4", "-o", name)[1]["result"]["kept"] is True
    assert video("one.mp4", "-o", name, "--steadiness", "0.5")[0] == 5


def test_what_it_is_made_of_is_kept_if_wanted(video):
    assert video("clip.mp4", "-o", "film.mp4", "--keep-frames")[0] == 0
    work = Path(".film.mp4.dreamer")
    assert leftovers() == [work]
    kept = sorted(path.name for path in work.iterdir())
    assert kept == [*(f"keyframe-{number:06}.png" for number in range(COUNT)), "recipe.json"]
    assert video("clip.mp4", "-o", "film.mp4", "--keep-frames")[1]["result"]["kept"] is True
    assert leftovers() == [work]
    assert video("clip.mp4", "-o", "film.mp4")[0] == 0
    assert not leftovers()


def test_the_recipe_is_left_out_if_wanted(video):
    for name in ("film.mp4", "film.gif", "film.webp", "film"):
        assert video("one.mp4", "-o", name, "--no-metadata")[0] == 0
        assert footage.read_comment(name) is None
        assert video("one.mp4", "-o", name, "--no-metadata")[0] == 5
    data = b"".join(data for name, data in tree().items() if name.startswith("film"))
    assert b"one.mp4" not in data


def test_a_strip_shows_the_film_from_its_first_frame_to_its_last(video):
    assert video("mute.mkv", "-o", "film", "--strip", "strip.png")[0] == 0
    with Image.open("strip.png") as strip:
        assert strip.size == (4 * (96 + 8) + 8, 64 + 26 + 2 * 8)
        first = strip.crop((8, 8, 104, 72)).tobytes()
        last = strip.crop((8 + 3 * 104, 8, 104 + 3 * 104, 72)).tobytes()
    made = frames_in("film")
    assert (first, last) == (made[0], made[-1])
    Path("strip.png").unlink()
    assert video("mute.mkv", "-o", "film", "--strip", "strip.png")[1]["result"]["kept"] is True
    assert Path("strip.png").exists()
    code, err = video("mute.mkv", "-o", "other.mp4", "--strip", "strip.png")
    assert code == 5
    assert "strip.png" in err
    assert not Path("other.mp4").exists()


def test_a_preview_comes_first_and_is_smaller(call, astronaut):
    write(Path("large.mkv"), sliding(astronaut, 8, 2, (400, 200)), *H264, size=(400, 200))
    run(Path("sound.mkv"), "-i", "large.mkv", *beep(0.32), "-c:v", "copy", "-c:a", "aac")
    options = ["--steps", "1", "--octaves", "1", "--threads", "1", "--preview", "-v"]
    code, out, err = call("video", "sound.mkv", "-o", "film.mp4", *options)
    assert (code, out) == (0, "film.mp4\n"), err
    preview, film = err.index("The preview: film-preview.mp4"), err.index("frame 8/8")
    assert preview < film
    (stream,) = asked("film-preview.mp4", "v:0", "stream=width,height")["streams"]
    assert (int(stream["width"]), int(stream["height"])) == (320, 160)
    assert shown("film-preview.mp4") == [Fraction(3 * number, 25) for number in range(3)]
    assert len(shown("film.mp4")) == 8
    assert not leftovers()


def test_a_preview_replaces_previews_only(video):
    Path("film-preview.mp4").write_text("mine")
    code, err = video("one.mp4", "-o", "film.mp4", "--preview")
    assert code == 5
    assert "film-preview.mp4" in err
    assert Path("film-preview.mp4").read_text() == "mine"
    assert not Path("film.mp4").exists()
    Path("film-preview.mp4").unlink()
    assert video("one.mp4", "-o", "film.mp4", "--preview")[0] == 0
    assert video("one.mp4", "-o", "film.mp4", "--preview", "--seed", "1", "--overwrite")[0] == 0
    assert not leftovers()


def test_a_preview_has_no_sound_but_the_clips_own(video):
    run(Path("other.m4a"), *beep(0.16, 0.03, 0.08), "-c:a", "aac")
    assert video("clip.mp4", "-o", "film.mp4", "--preview", "--audio", "other.m4a")[0] == 0
    assert sound_packets("film.mp4") == sound_packets("other.m4a")
    assert sound_packets("film-preview.mp4") == b""


def test_it_says_what_it_does_only_if_asked(call):
    assert call("video", "clip.mp4", *FAST, "-o", "a.mp4", "-q")[1:] == ("a.mp4\n", "")
    code, out, err = call("video", "clip.mp4", *FAST, "-o", "b.mp4", "-v")
    assert (code, out) == (0, "b.mp4\n")
    counted = [int(number) for number in re.findall(r"^frame (\d)/4$", err, re.M)]
    assert counted == [1, 2, 3, 4]


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom dreamer.cli import run\nrun(['video', '--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'imageio', 'cv2', 'av')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--steadiness" in done.stdout


BAD = [
    (("--steadiness", "-0.1"), 2, "-0.1 is not valid for --steadiness"),
    (("--steadiness", "1.1"), 2, "1.1 is not valid for --steadiness"),
    (("--steadiness", "nan"), 2, "nan is not valid for --steadiness"),
    (("--steadiness", "much"), 2, "much"),
    (("--start", "2"), 4, "from second 2"),
    (("--start", "0.16"), 4, "from second 0.16"),
    (("--start", "-1"), 2, "--start"),
    (("--start", "nan"), 2, "--start"),
    (("--start", "0.15", "--end", "0.1"), 2, "--end"),
    (("--start", "0.1", "--end", "0.1"), 2, "--end"),
    (("--start", "0.01", "--end", "0.02"), 4, "from second 0.01 before second 0.02"),
    (("--end", "0"), 2, "--end"),
    (("--end", "inf"), 2, "--end"),
    (("--every", "0"), 2, "--every"),
    (("--every", "-1"), 2, "--every"),
    (("--every", "1.5"), 2, "--every"),
    (("--size", "0"), 2, "0"),
    (("--size", "70000"), 2, "70000"),
    (("--size", "16"), 4, "16x10"),
    (("--codec", "theora"), 2, "h264"),
    (("--crf", "99"), 2, "99"),
    (("--audio", "gone.mp3"), 4, "gone.mp3"),
    (("--audio", "mute.mkv"), 4, "mute.mkv"),
    (("--audio", "clip.mp4", "-o", "film.gif"), 2, "sound"),
    (("--strip", "strip.bmp"), 2, "strip.bmp"),
    (("--strip", "clip.mp4"), 2, "clip.mp4"),
    (("--strip", "film.webp", "-o", "film.webp"), 2, "one file"),
    (("-o", ""), 2, "-o"),
    (("-o", "-"), 2, "stdout"),
    (("-o", "."), 2, "names no film"),
    (("-o", "film.avi"), 2, ".avi"),
    (("-o", "film.mkv"), 2, ".mkv"),
    (("-o", "clip.mp4"), 2, "would be one file"),
    (("-o", "clip.mp4", "--overwrite"), 2, "would be one file"),
    (("-o", "link.mp4", "--overwrite"), 2, "would be one file"),
    (("-o", "text.mp4/film.mp4"), 5, "text.mp4/film.mp4"),
    (("-o", "text.mp4"), 5, "text.mp4"),
    (("-o", "folder"), 5, "notes.txt"),
    (("-o", "folder", "--overwrite"), 5, "notes.txt"),
    (("-o", "b" * 252 + ".mp4"), 5, "too long"),
    (("--preset", "eyez"), 2, "eyes"),
    (("--target", "blok8"), 2, "block8"),
    (("--detail", "parts", "--target", "block8"), 2, "--detail"),
    (("--network", "googlenet", "--offline"), 3, "googlenet"),
    (("--device", "cuda:9"), 6, "cuda:9"),
    (("--from", "clip.mp4"), 4, "clip.mp4"),
    (("--octaves", "99"), 2, "--octaves"),
    (("--steadyness", "1"), 2, "--steadiness"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    BAD,
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else "",
)
def test_bad_input_gets_its_code_and_two_lines_and_leaves_everything_as_it_was(
    call, arguments, code, named, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    refuse(call, ("clip.mp4", *arguments), code, named)


def refuse(call, arguments, code, named) -> None:
    Path("text.mp4").write_text("this is no clip\n" * 99)
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("mine")
    Path("link.mp4").symlink_to("clip.mp4")
    given = [] if "-o" in arguments else ["-o", "film.mp4"]
    before = sorted(Path().rglob("*")), tree()
    found, out, err = call("video", *arguments, *given)
    assert found == code, err
    assert out == ""
    lines = [line for line in err.splitlines() if not line.startswith("Note: ")]
    assert len(lines) == 2, err
    assert lines[0].startswith("Error: ")
    assert named in err
    assert (sorted(Path().rglob("*")), tree()) == before


@pytest.mark.parametrize(
    ("clip", "named"),
    [
        ("gone.mp4", "'gone.mp4' cannot be read"),
        ("", "is a folder"),
        ("-", "'-'"),
        ("text.mp4", "'text.mp4' is no film"),
        ("empty.mp4", "'empty.mp4' is empty"),
        ("folder", "'folder' is a folder"),
        ("photo.png", "'photo.png' is a still picture"),
        ("photo.jpg", "'photo.jpg' is a still picture"),
        ("cut.mp4", "'cut.mp4' is no film, or is damaged or incomplete"),
        ("cut.mkv", "'cut.mkv' is damaged or incomplete after second"),
        ("sound.m4a", "'sound.m4a' has sound but no moving picture"),
        ("none.mp4", "none.mp4' "),
        ("resized.h264", "'resized.h264' changes its size at second 0.24"),
        ("small.mkv", "A film of 20x14 pixels"),
    ],
)
def test_a_clip_that_is_none_is_refused(call, clip, named, astronaut, coffee):
    make = {
        "empty.mp4": lambda path: path.touch(),
        "photo.png": lambda path: shutil.copy(astronaut, path),
        "photo.jpg": lambda path: Image.new("RGB", SIZE).save(path),
        "cut.mp4": lambda path: cut(Path("clip.mp4"), path),
        "cut.mkv": lambda path: cut(Path("mute.mkv"), path),
        "sound.m4a": lambda path: run(path, *beep(0.3)),
        "none.mp4": lambda path: run(path, "-i", "clip.mp4", "-frames:v", "0", "-an", *H264),
        "resized.h264": resized,
        "small.mkv": lambda path: write(path, still(coffee, 2, (20, 14)), size=(20, 14)),
    }
    if clip in make:
        make[clip](Path(clip))
    refuse(call, (clip,), 4, named)


def cut(whole: Path, path: Path) -> None:
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def resized(path: Path) -> None:
    for name, size in (("a.h264", "96x64"), ("b.h264", "64x96")):
        source = ("-f", "lavfi", "-i", f"testsrc2=s={size}:r=25:d=0.24")
        run(Path(name), *source, *H264, "-f", "h264")
    path.write_bytes(Path("a.h264").read_bytes() + Path("b.h264").read_bytes())


def test_without_opencv_it_says_how_to_get_it(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    refuse(call, ("clip.mp4",), 2, 'pip install "dreamer[video]"')


def test_without_what_tells_ffmpeg_the_times_it_says_how_to_get_it(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    refuse(call, ("uneven.mkv",), 2, 'pip install "dreamer[video]"')
    assert call("video", "mute.mkv", "-o", "film.mp4", *FAST)[0] == 0  # which needs none


def test_a_wrong_name_is_told_before_the_clip_is_looked_at(call, monkeypatch):
    monkeypatch.setattr(media_clips, "survey", lambda *_, **__: pytest.fail("it was looked at"))
    for arguments in (("--preset", "eyez"), ("-o", "film.avi"), ("--steadiness", "2")):
        assert call("video", "clip.mp4", *arguments)[0] == 2


def test_a_folder_that_may_not_be_written_is_an_error_before_any_work(call, monkeypatch):
    real = os.open

    def refusing(path, flags, *more, **named):
        if flags & os.O_CREAT and "out" in os.fspath(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *more, **named)

    Path("out").mkdir()
    monkeypatch.setattr(os, "open", refusing)
    code, _, err = call("video", "clip.mp4", "-o", "out/film.mp4", *FAST)
    assert code == 5
    assert "permission was denied" in err
    assert len(err.splitlines()) == 2
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize("name", ["film.mp4", "film.webp", "film"])
def test_on_a_full_disk_nothing_is_half_written_and_with_more_room_it_goes_on(call, tmp_path, name):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=56k", "tmpfs", str(small)]
    if os.name == "nt" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only the superuser can make a small disk")
    try:
        code, out, err = call("video", "clip.mp4", "-o", small / name, *FAST)
        assert (code, out) == (5, "")
        assert "no room" in err
        assert len([line for line in err.splitlines() if not line.startswith("Note: ")]) == 2
        assert {path.name for path in small.iterdir()} == {f".{name}.dreamer"}
        assert not list(small.rglob(".*.part"))
        kept = len(list(small.glob(".*/keyframe-*.png")))
        assert 0 < kept < COUNT
        subprocess.run(["mount", "-o", "remount,size=4M", str(small)], check=True)
        code, _, err = call("video", "clip.mp4", "-o", small / name, *FAST, "-v")
        assert code == 0
        counted = [int(number) for number in re.findall(r"^frame (\d)/4$", err, re.M)]
        assert counted == list(range(kept + 1, COUNT + 1))
        assert [path.name for path in small.iterdir()] == [name]
        assert call("video", "clip.mp4", "-o", name, *FAST)[0] == 0
        if name == "film":
            assert frames_in("film") == frames_in(str(small / "film"))
        else:
            assert Path(name).read_bytes() == (small / name).read_bytes()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_when_the_encoder_fails_dreaming_stops_and_what_was_dreamed_is_kept(
    call, monkeypatch, astronaut
):
    def failing(self, frame):
        raise OutputError("It broke.", "Mend it.")

    write(Path("long.mkv"), sliding(astronaut, 40, 1))
    with monkeypatch.context() as patch:
        patch.setattr(films.Writer, "add", failing)
        code, _, err = call("video", "long.mkv", "-o", "film.mp4", *FAST)
    assert (code, err) == (5, "Error: It broke.\nMend it.\n")
    assert [path.name for path in leftovers() if path.parent == Path()] == [".film.mp4.dreamer"]
    assert 0 < len(list(Path(".film.mp4.dreamer").glob("*.png"))) < 20


def test_what_fails_before_anything_is_dreamed_leaves_nothing(call, monkeypatch):
    def broken(self):
        raise NetworkError("The weights are broken.", "Get them again.")

    monkeypatch.setattr(Look, "load_network", broken)
    code, _, err = call("video", "mute.mkv", "-o", "film.mp4", *FAST)
    assert code == 3
    assert err.count("\n") == 2
    assert not leftovers()


def test_frames_that_no_memory_suffices_for_are_refused_at_once(call, monkeypatch):
    from dreamer.render import memory

    monkeypatch.setattr(memory, "free", lambda: 600_000_000)
    code, _, err = call("video", "clip.mp4", *FAST, "-o", "film.mp4")
    assert code == 6
    assert "A picture of 96x64 pixels needs about 0.6 GB" in err
    assert "--size" in err
    assert not Path("film.mp4").exists()
