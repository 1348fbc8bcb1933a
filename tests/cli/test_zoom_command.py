"""`dreamer zoom` as its users run it."""

import errno
import json
import os
import re
import subprocess
import sys
import wave
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.film import reading
from dreamer.media import ffmpeg, footage

FAST = ["--size", "96x64", "--fps", "8", "--steps", "1", "--octaves", "1", "--threads", "1"]
SHORT = [*FAST, "--seconds", "1"]
PATH = """
[[camera]]
at = 0
speed = 1.5
rotate = 30
centre = [0.2, 0.3]

[[camera]]
at = 0.5
speed = 4
rotate = -20
centre = [0.9, 0.5]
"""
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


@pytest.fixture
def run(capfd):
    """Run the command line; returns the exit code, stdout and stderr."""

    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def zoom(run):
    """Make a short film of the photo; returns the exit code and what the envelope says."""

    def zoom(*arguments):
        code, out, err = run("zoom", "photo.png", *SHORT, *arguments, "--json")
        return code, json.loads(out) if code == 0 else err

    return zoom


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((128, 96), 60).convert("RGB").save("photo.png")


def tree() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def leftovers() -> list[Path]:
    return [path for path in Path().rglob(".*") if path.name != ".hypothesis"]


def frames(path: str) -> list[bytes]:
    return list(footage.frames(path))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "fps"),
    [
        ("film.mp4", "h264", "yuv420p", 8),
        ("film.webm", "vp9", "yuv420p", 8),
        ("film.gif", "gif", "pal8", 25 / 3),
        ("film.webp", "webp", "yuv420p", 8),
        ("film", "png", "rgb24", 0),
        ("film.v2/", "png", "rgb24", 0),
        ("below/and/FILM.MP4", "h264", "yuv420p", 8),
    ],
)
def test_the_suffix_chooses_what_is_written(run, name, codec, pixels, fps):
    code, out, err = run("zoom", "photo.png", "-o", name, *SHORT)
    assert code == 0, err
    info = footage.probe(name)
    assert (info.width, info.height, info.frames) == (96, 64, 8)
    assert (info.codec, info.pixel_format) == (codec, pixels)
    assert float(info.fps) == pytest.approx(fps, rel=0.03)
    assert out == f"{name}\n"
    recipe = reading.from_json(footage.read_comment(name) or "", name)
    assert (recipe.size, recipe.frames, recipe.fps) == ((96, 64), 8, 8.0)
    assert recipe.stretches[0].recipe.origin.name == "photo.png"
    assert not leftovers()


def test_every_format_holds_the_same_pictures_in_the_same_order(run):
    for name in ("film", "film.mp4", "film.webm", "film.gif", "film.webp"):
        assert run("zoom", "photo.png", "-o", name, *SHORT, "--strength", "0.2")[0] == 0
    exact = frames("film")
    for name in ("film.mp4", "film.webm", "film.gif", "film.webp"):
        made = frames(name)
        assert len(made) == len(exact)
        for number, frame in enumerate(made):
            near = min(range(len(exact)), key=lambda other: distance(frame, exact[other]))
            assert near == number


def distance(a: bytes, b: bytes) -> int:
    return sum(abs(x - y) for x, y in zip(a[::29], b[::29], strict=True))


def test_the_name_follows_the_photo_unless_one_is_given(run):
    code, out, _ = run("zoom", "photo.png", *SHORT)
    assert (code, out) == (0, f"{Path('outputs/photo-zoom.mp4')}\n")
    code, out, _ = run("zoom", *SHORT)
    assert (code, out) == (0, f"{Path('outputs/sky-zoom.mp4')}\n")
    assert footage.probe("outputs/sky-zoom.mp4").frames == 8
    assert run("zoom", "noise", *SHORT)[1] == f"{Path('outputs/noise-zoom.mp4')}\n"
    assert not leftovers()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other limits")
def test_names_as_long_as_they_can_be_and_of_any_character_are_no_problem(run):
    long = "é" * 125 + ".png"
    Path(long).write_bytes(Path("photo.png").read_bytes())
    code, out, err = run("zoom", long, *SHORT)
    assert code == 0, err
    assert footage.probe(out.rstrip("\n")).frames == 8
    for name in ("%d-%03d.mp4", "a b'c\".mp4", "-.gif", "file:x.webm", "é" * 125 + ".mp4"):
        code, out, err = run("zoom", "photo.png", f"--output={name}", *SHORT)
        assert code == 0, err
        assert footage.probe(name).frames == 8
    assert not leftovers()


def test_without_a_size_it_has_the_shape_of_the_photo(run):
    Image.effect_noise((151, 100), 60).convert("RGB").save("odd.png")
    options = ["--seconds", "0.3", "--fps", "6", *FAST[4:]]
    assert run("zoom", "odd.png", "-o", "odd.mp4", *options)[0] == 0
    info = footage.probe("odd.mp4")
    assert (info.width, info.height, info.frames) == (150, 100, 2)
    assert run("zoom", "odd.png", "-o", "odd.webp", *options)[0] == 0
    assert (footage.probe("odd.webp").width, footage.probe("odd.webp").height) == (151, 100)


def test_the_envelope_tells_all(zoom):
    code, said = zoom("-o", "film.mp4")
    assert code == 0
    assert {key: said[key] for key in ("schema", "command", "status", "error")} == {
        "schema": 1,
        "command": "zoom",
        "status": "success",
        "error": None,
    }
    result = said["result"]
    assert set(result) == KEYS
    assert result["output"] == "film.mp4"
    assert (result["frames"], result["keyframes"], result["kept"]) == (8, 2, False)
    assert result["seconds"] > 0
    recipe = reading.from_json(json.dumps(result["recipe"]), "the envelope")
    assert recipe.hash == result["recipe_hash"]
    assert reading.recipe_in(Path("film.mp4")) == recipe


def test_a_dry_run_writes_nothing(run, zoom):
    before = tree()
    code, out, _ = run("zoom", "photo.png", *SHORT, "-o", "below/film.mp4", "--dry-run")
    assert code == 0
    for said in ("photo.png", "96x64, 8 frames at 8 a second", "2 of 115x77", "below/film.mp4"):
        assert said in out.replace(os.sep, "/")
    code, said = zoom("--dry-run")
    assert code == 0
    assert set(said["result"]) == KEYS
    assert said["result"]["dry_run"] is True
    assert tree() == before
    assert not Path("below").exists()
    assert not Path("outputs").exists()


def test_a_film_that_is_there_is_kept_and_another_one_is_an_error(run, zoom):
    assert zoom("-o", "film.mp4")[0] == 0
    first = Path("film.mp4").read_bytes(), Path("film.mp4").stat().st_mtime_ns
    code, said = zoom("-o", "film.mp4")
    assert (code, said["result"]["kept"]) == (0, True)
    code, out, err = run("zoom", "photo.png", *SHORT, "-o", "film.mp4")
    assert (code, out) == (0, "film.mp4\n")
    assert "kept" in err
    code, err = zoom("-o", "film.mp4", "--seed", "1")
    assert code == 5
    assert "film.mp4" in err
    assert "--overwrite" in err
    assert len(err.splitlines()) == 2
    assert (Path("film.mp4").read_bytes(), Path("film.mp4").stat().st_mtime_ns) == first
    assert zoom("-o", "film.mp4", "--seed", "1", "--overwrite")[0] == 0
    assert Path("film.mp4").read_bytes() != first[0]
    assert zoom("-o", "film.mp4", "--overwrite")[0] == 0
    assert Path("film.mp4").read_bytes() == first[0]
    assert not leftovers()


def test_a_film_that_is_written_otherwise_is_not_kept_without_a_word(zoom):
    tone("tone.wav", 1.0)
    assert zoom("-o", "film.mp4")[0] == 0
    data = Path("film.mp4").read_bytes()
    for options, said in (
        (["--crf", "40"], "crf (40 instead of 18)"),
        (["--codec", "h265"], "codec (h265 instead of h264), crf (20 instead of 18)"),
        (["--audio", "tone.wav"], "the sound"),
    ):
        code, err = zoom("-o", "film.mp4", *options)
        assert code == 5
        assert f"'film.mp4' exists, with another encoding: {said}." in err
        assert "make it anew with --overwrite" in err
    assert Path("film.mp4").read_bytes() == data
    assert zoom("-o", "film.mp4", "--crf", "18", "--codec", "H264")[1]["result"]["kept"] is True
    code, said = zoom("-o", "film.mp4", "--audio", "tone.wav", "--crf", "40", "--overwrite")
    assert (code, said["result"]["kept"]) == (0, False)
    assert footage.probe("film.mp4").has_audio
    assert zoom("-o", "film.mp4", "--audio", "tone.wav", "--crf", "40")[1]["result"]["kept"] is True
    tone("tone.wav", 0.5)
    assert zoom("-o", "film.mp4", "--audio", "tone.wav", "--crf", "40")[0] == 5
    assert zoom("-o", "film.mp4", "--audio", "gone.wav", "--crf", "40")[0] == 4
    assert zoom("-o", "film.mp4", "--codec", "h266")[0] == 2


def test_how_a_film_that_exists_differs_is_told(zoom):
    assert zoom("-o", "film.mp4")[0] == 0
    code, err = zoom("-o", "film.mp4", "--fps", "10", "--preset", "eyes")
    assert code == 5
    assert "with another recipe: fps (10 instead of 8), preset (eyes instead of dream)." in err
    assert "the seed" in zoom("-o", "film.mp4", "--seed", "1")[1]


@pytest.mark.parametrize("name", ["film", "film.gif", "film.webp"])
def test_films_of_every_kind_are_known_again(zoom, name):
    assert zoom("-o", name)[1]["result"]["kept"] is False
    assert zoom("-o", name)[1]["result"]["kept"] is True
    assert zoom("-o", name, "--seed", "1")[0] == 5


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX's")
def test_a_film_that_is_kept_needs_no_right_to_write(zoom):
    zoom("-o", "below/film.mp4")
    Path("below").chmod(0o500)
    try:
        assert zoom("-o", "below/film.mp4")[1]["result"]["kept"] is True
    finally:
        Path("below").chmod(0o700)


@pytest.mark.parametrize("content", [b"", b"no film", b'{"dreamer": {}}', b"GIF89a" + bytes(9)])
def test_what_is_no_film_is_not_replaced(zoom, content):
    Path("film.gif").write_bytes(content)
    code, err = zoom("-o", "film.gif")
    assert code == 5
    assert "film.gif" in err
    assert Path("film.gif").read_bytes() == content


def test_a_folder_that_only_looks_like_frames_is_not_replaced(zoom):
    Path("film").mkdir()
    Path("film/recipe.json").write_bytes(b"\xff\xfe no text")
    Path("film/000000.png").write_bytes(b"")
    assert zoom("-o", "film")[0] == 5
    assert sorted(path.name for path in Path("film").iterdir()) == ["000000.png", "recipe.json"]


def test_a_strip_shows_the_film_from_its_first_frame_to_its_last(zoom):
    assert zoom("-o", "film", "--strip", "strip.png", "--seconds", "2")[0] == 0
    with Image.open("strip.png") as strip:
        assert strip.format == "PNG"
        assert strip.size == (4 * (96 + 8) + 8, 3 * (64 + 26 + 8) + 8)
        first = strip.crop((8, 8, 104, 72)).tobytes()
        last = strip.crop((8 + 3 * 104, 8 + 2 * 98, 104 + 3 * 104, 72 + 2 * 98)).tobytes()
    made = frames("film")
    assert (first, last) == (made[0], made[-1])


def test_a_strip_can_be_had_of_a_film_that_is_there_and_replaces_nothing_unasked(zoom):
    zoom("-o", "film")
    code, said = zoom("-o", "film", "--strip", "strip.png")
    assert (code, said["result"]["kept"]) == (0, True)
    later = Path("strip.png").read_bytes()
    assert zoom("-o", "film", "--strip", "strip.png")[0] == 0
    assert Path("strip.png").read_bytes() == later
    photo = Path("photo.png").read_bytes()
    code, err = zoom("-o", "other.mp4", "--strip", "photo.png")
    assert code == 5
    assert "photo.png" in err
    assert Path("photo.png").read_bytes() == photo
    assert not Path("other.mp4").exists()
    assert zoom("-o", "again", "--strip", "strip.png", "--overwrite")[0] == 0
    assert Path("strip.png").read_bytes() == later


def test_what_it_is_made_of_is_kept_if_wanted(zoom):
    assert zoom("-o", "film.mp4", "--keep-frames")[0] == 0
    work = Path(".film.mp4.dreamer")
    assert leftovers() == [work]
    kept = sorted(path.name for path in work.iterdir())
    assert kept == ["keyframe-00000.png", "keyframe-00001.png", "recipe.json"]
    assert zoom("-o", "film.mp4")[0] == 0
    assert not leftovers()


def test_the_recipe_is_left_out_if_wanted(zoom):
    for name in ("film.mp4", "film.gif", "film.webp", "film"):
        assert zoom("-o", name, "--no-metadata")[0] == 0
        assert footage.read_comment(name) is None
        assert zoom("-o", name, "--no-metadata")[0] == 5
    assert b"photo.png" not in b"".join(
        data for name, data in tree().items() if name.startswith("film")
    )


@pytest.mark.parametrize("name", ["film.mp4", "film.webm", "film.gif", "film.webp", "film"])
def test_inspect_shows_how_a_film_was_made(run, zoom, name):
    _, made = zoom("-o", name, "--rotate", "30", "--journey", "eyes 0.5s, textures 0.5s")[:2]
    assert isinstance(made, str)  # the journey says how long it is
    code, out, err = run(
        "zoom",
        "photo.png",
        *FAST,
        "-o",
        name,
        "--rotate",
        "30",
        "--ease",
        "--journey",
        "eyes 0.5s, textures 0.5s",
        "--json",
    )
    assert code == 0, err
    recipe_hash = json.loads(out)["result"]["recipe_hash"]
    code, out, _ = run("inspect", name)
    assert code == 0
    for said in (
        "photo.png",
        "96x64, 8 frames at 8 a second",
        "nested",
        "turning 30 degrees",
        "ease",
        "eyes",
        "textures",
        recipe_hash,
    ):
        assert said in out
    code, out, _ = run("inspect", name, "--json")
    result = json.loads(out)["result"]
    assert result["recipe_hash"] == recipe_hash
    assert reading.from_json(json.dumps(result["recipe"]), name).hash == recipe_hash


def test_inspect_says_that_a_film_carries_no_recipe(run, zoom):
    zoom("-o", "film.mp4", "--no-metadata")
    code, _, err = run("inspect", "film.mp4")
    assert code == 4
    assert "carries no recipe" in err
    assert len(err.splitlines()) == 2
    data = Path("film.mp4").read_bytes()
    Path("cut.mp4").write_bytes(data[: len(data) // 3])
    assert run("inspect", "cut.mp4")[0] == 4


def test_a_film_is_not_taken_for_a_picture(run, zoom):
    zoom("-o", "film.webp")
    code, _, err = run("dream", "photo.png", "--from", "film.webp", "-o", "out.png")
    assert code in (2, 4)
    assert len(err.splitlines()) == 2
    assert not Path("out.png").exists()


def tone(path: str, seconds: float) -> None:
    with wave.open(path, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(int(16000 * seconds)))


@pytest.mark.parametrize("seconds", [0.4, 3.0])
def test_sound_goes_with_the_film_and_does_not_change_its_length(zoom, seconds):
    tone("tone.wav", seconds)
    code, said = zoom("-o", "film.mp4", "--audio", "tone.wav")
    assert code == 0, said
    info = footage.probe("film.mp4")
    assert info.has_audio
    assert (info.frames, info.seconds) == (8, pytest.approx(1.0, abs=0.01))
    assert any("AAC" in note for note in said["result"]["notes"])
    assert not leftovers()


def test_codec_and_quality_are_chosen(zoom):
    assert zoom("-o", "fine.mp4", "--crf", "8")[0] == 0
    assert zoom("-o", "rough.mp4", "--crf", "45")[0] == 0
    assert Path("rough.mp4").stat().st_size < Path("fine.mp4").stat().st_size / 2
    assert zoom("-o", "film.webm", "--codec", "av1")[0] == 0
    assert footage.probe("film.webm").codec == "av1"


def test_everything_that_moves_the_camera_moves_it(zoom):
    Path("path.toml").write_text(PATH)
    found = set()
    for number, options in enumerate(
        (
            [],
            ["--direction", "out"],
            ["--rotate", "90"],
            ["--center", "0,1"],
            ["--speed", "4"],
            ["--ease"],
            ["--loop"],
            ["--method", "feedback"],
            ["--path", "path.toml"],
        )
    ):
        assert zoom("-o", f"film-{number}", *options)[0] == 0
        found.add(tuple(frames(f"film-{number}")))
    assert len(found) == 9


def test_options_of_dream_apply(zoom):
    code, said = zoom("-o", "film.mp4", "--detail", "edges", "--color", "luma", "--seed", "7")
    assert code == 0
    first = said["result"]["recipe"]["stretches"][0]["recipe"]
    assert (first["preset"], first["seed"], first["threads"]) == ("edges", 7, 1)
    assert first["settings"]["colour"]["mode"] == "luma"


def test_a_preview_comes_first_and_is_smaller(run):
    options = ["--seconds", "1", "--size", "480x320", "--fps", "16", *FAST[4:], "--preview"]
    code, out, err = run("zoom", "photo.png", "-o", "film.mp4", *options)
    assert (code, out) == (0, "film.mp4\n")
    assert "film-preview.mp4" in err
    info = footage.probe("film-preview.mp4")
    assert (info.width, info.height, info.frames, float(info.fps)) == (320, 214, 12, 12)
    assert footage.probe("film.mp4").frames == 16
    assert not leftovers()


def test_a_preview_replaces_previews_only(zoom):
    Path("film-preview.mp4").write_text("mine")
    code, err = zoom("-o", "film.mp4", "--preview")
    assert code == 5
    assert "film-preview.mp4" in err
    assert Path("film-preview.mp4").read_text() == "mine"
    assert not Path("film.mp4").exists()
    Path("film-preview.mp4").unlink()
    assert zoom("-o", "film.mp4", "--preview")[0] == 0
    assert zoom("-o", "film.mp4", "--preview", "--seed", "1", "--overwrite")[0] == 0
    assert not leftovers()


def test_a_loop_says_what_it_changes_to_end_where_it_began(zoom):
    assert zoom("-o", "a.mp4", "--loop")[1]["result"]["notes"] == []
    assert zoom("-o", "b.mp4", "--rotate", "50", "--speed", "3")[1]["result"]["notes"] == []
    notes = zoom("-o", "c.mp4", "--loop", "--rotate", "50", "--speed", "3")[1]["result"]["notes"]
    assert len(notes) == 2
    assert "enlarges 4 times a second" in notes[0]
    assert "turns 0 degrees a second" in notes[1]


def test_a_loop_with_a_path_says_what_it_changes(zoom):
    Path("path.toml").write_text(PATH)
    code, said = zoom("-o", "a.mp4", "--loop", "--path", "path.toml")
    assert code == 0
    notes = said["result"]["notes"]
    assert any("goes back to how it began, from 0.5 s" in note for note in notes)
    assert any("times as fast as asked, a whole number of doublings" in note for note in notes)
    assert any("degrees a second more, to end upright" in note for note in notes)


def test_the_example_in_the_guide_runs_and_tells_of_its_camera_and_fades(run):
    guide = Path(__file__).parents[2] / "docs" / "guide.md"
    examples = re.findall(r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), re.S)
    Path("flight.toml").write_text(next(text for text in examples if "[[camera]]" in text))
    options = ["photo.png", *FAST, "--fps", "4", "--journey", "flight.toml", "-o", "film.mp4"]
    code, _, err = run("zoom", *options)
    assert code == 0, err
    assert "Note: the corners mirror from" in err
    assert footage.probe("film.mp4").frames == 40
    recipe = reading.recipe_in(Path("film.mp4"))
    assert [stretch.fade for stretch in recipe.stretches] == [0.0, 2.5]
    assert [key.speed for key in recipe.camera] == [1.6, 2.2, 1.0, 2.0]
    code, out, _ = run("inspect", "film.mp4")
    assert code == 0
    for said in (
        "from 3 s 2.2 times a second about 0.8,0.6, turning 20 degrees a second, smooth",
        "until 10 s, after a fade of 2.5 s",
        "h264, crf 18",
    ):
        assert said in out
    assert run("zoom", *options)[1:] == (
        "film.mp4\n",
        err + "It is there already, with this very recipe: kept.\n",
    )
    # The same camera over one look.
    code, out, err = run(
        "zoom", "sky", *FAST, "--seconds", "8", "--path", "flight.toml", "--dry-run"
    )
    assert code == 0, err


WRONG = [
    (("--path", "gone.toml"), "", "gone.toml cannot be read"),
    (("--path", "path.toml"), "", "'path.toml' has no [[camera]]"),
    (("--path", "path.toml"), "[[camera]]\nat = 0\nspeed = 9\n", "path.toml:3: camera.speed"),
    (("--path", "path.toml", "--speed", "2"), "[[camera]]\nat = 0\n", "path and --speed"),
    (("--path", "path.toml", "--rotate", "0"), "[[camera]]\nat = 0\n", "path and --rotate"),
    (("--path", "path.toml", "--center", "0.5,0.5"), "[[camera]]\nat = 0\n", "and --center"),
    (("--path", "path.toml"), "[[camera]]\nat = 11\n", "path.toml:2: the key at 11 s is beyond"),
    (("--path", "path.toml"), "[[camera]]\nat = 0\nspeed = 1\n", "does not zoom"),
    (
        ("--path", "path.toml", "--loop"),
        "[[camera]]\nat = 0\n[[camera]]\nat = 10\ncentre = [0, 0]\n",
        "path.toml:4: the last key",
    ),
    (("--journey", "path.toml"), "[[camera]]\nat = 0\n", "has no [[look]]"),
    (("--journey", "path.toml"), "[[look]]\npreset = 'eyez'\nseconds = 3\n", "path.toml:2: "),
    (("--journey", "path.toml"), "[[look]]\ntarget = 'blok8'\nseconds = 3\n", "path.toml:2: "),
    (
        ("--journey", "path.toml", "--path", "path.toml"),
        "[[look]]\npreset = 'eyes'\nseconds = 3\n[[camera]]\nat = 0\n",
        "has a camera, too",
    ),
    (
        ("--journey", "path.toml", "--speed", "3"),
        "[[look]]\npreset = 'eyes'\nseconds = 3\n[[camera]]\nat = 0\n",
        "path and --speed",
    ),
    (
        ("--journey", "path.toml"),
        "[[look]]\npreset = 'eyes'\nseconds = 3\n[[look]]\npreset = 'fur'\nseconds = 3\nfade = 4\n",
        "path.toml:5: a fade of 4 s",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "text", "named"), WRONG, ids=[f"{said[-1]}" for said in WRONG]
)
def test_mistakes_in_a_journey_or_a_path_are_told(run, arguments, text, named):
    Path("path.toml").write_text(text)
    refuse(run, ("photo.png", *arguments, "-o", "film.mp4"), 2, named)


def test_an_animation_plays_in_pillow(zoom):
    for name in ("film.gif", "film.webp"):
        zoom("-o", name)
        with Image.open(name) as animation:
            assert animation.n_frames == 8
            assert animation.info["loop"] == 0


BAD = [
    (("--size", "0x0"), 2, "0x0"),
    (("--size", "1x1"), 2, "1x1"),
    (("--size", "99999x2"), 2, "99999x2"),
    (("--size", "96"), 2, "'96'"),
    (("--size", "9.5x64"), 2, "9.5x64"),
    (("--size", "-96x64"), 2, "-96x64"),
    (("--size", "8k"), 2, "1080p"),
    (("--size", ""), 2, "size"),
    (("--size", "97x64"), 2, "Make it 96x64"),
    (("--size", "97x65"), 2, "Make it 96x64"),
    (("--size", "8x8"), 4, "8x8"),
    (("--fps", "0"), 2, "--fps"),
    (("--fps", "nan"), 2, "--fps"),
    (("--fps", "-1"), 2, "--fps"),
    (("--fps", "241"), 2, "--fps"),
    (("--fps", "many"), 2, "--fps"),
    (("--speed", "1"), 2, "--speed"),
    (("--speed", "9"), 2, "--speed"),
    (("--speed", "nan"), 2, "--speed"),
    (("--rotate", "nan"), 2, "--rotate"),
    (("--rotate", "400"), 2, "--rotate"),
    (("--center", "2,0"), 2, "--center"),
    (("--center", "a,b"), 2, "a,b"),
    (("--center", "0.5"), 2, "0.5"),
    (("--center", "nan,0.5"), 2, "--center"),
    (("--center", "0.5,nan"), 2, "--center"),
    (("--center", "0.5,-0.1"), 2, "--center"),
    (("--direction", "up"), 2, "up"),
    (("--method", "magic"), 2, "magic"),
    (("--method", "feedback", "--loop"), 2, "--method"),
    (("--seconds", "0"), 2, "--seconds"),
    (("--seconds", "nan"), 2, "--seconds"),
    (("--seconds", "1e9"), 2, "--seconds"),
    (("--journey", "eyes"), 2, "'eyes'"),
    (("--journey", "eyes -1s"), 2, "eyes -1s"),
    (("--journey", "eyes infs"), 2, "eyes infs"),
    (("--journey", "eyes 3s,"), 2, "''"),
    (("--journey", "eyez 3s"), 2, "eyes"),
    (("--journey", "class:zebrra 3s"), 2, "zebra"),
    (("--journey", "blok8 3s"), 2, "block8"),
    (("--journey", "5s"), 2, "5s"),
    (("--journey", ""), 2, "''"),
    (("--journey", "eyes 3s", "--seconds", "3"), 2, "--journey and --seconds"),
    (("--journey", "eyes 90000s"), 2, "90000"),
    (("--journey", ", ".join(["eyes 1s"] * 60)), 2, "too long"),
    (("--journey", "eyes 3s, fur 3s", "--fade", "-1"), 2, "--fade"),
    (("--journey", "eyes 3s, fur 3s", "--fade", "nan"), 2, "--fade"),
    (("--journey", "eyes 3s, fur 3s", "--fade", "4"), 2, "a fade of 4 s is longer than"),
    (("--journey", "eyes 3s", "--fade", "1"), 2, "--fade is for a journey"),
    (("--fade", "1"), 2, "--fade is for a journey"),
    (("--codec", "theora"), 2, "h264"),
    (("--codec", ""), 2, "h264"),
    (("--crf", "99"), 2, "99"),
    (("--crf", "best"), 2, "best"),
    (("--audio", "gone.mp3"), 4, "gone.mp3"),
    (("--audio", "photo.png"), 4, "photo.png"),
    (("--audio", "text.jpg"), 4, "text.jpg"),
    (("--audio", "folder"), 4, "folder"),
    (("--strip", "strip.bmp"), 2, "strip.bmp"),
    (("--strip", "folder"), 2, "folder"),
    (("--strip", "text.jpg/strip.png"), 5, "text.jpg/strip.png"),
    (("--strip", "text.jpg"), 5, "text.jpg"),
    (("--strip", "film.webp", "-o", "film.webp"), 2, "one file"),
    (("-o", ""), 2, "-o"),
    (("-o", "-"), 2, "stdout"),
    (("-o", "film.avi"), 2, ".avi"),
    (("-o", "film.mp3"), 2, ".mp4"),
    (("-o", "text.jpg/film.mp4"), 5, "text.jpg/film.mp4"),
    (("-o", "folder"), 5, "notes.txt"),
    (("-o", "folder", "--overwrite"), 5, "notes.txt"),
    (("-o", "text.jpg"), 2, ".jpg"),
    (("-o", "b" * 252 + ".mp4"), 5, "too long"),
    (("-o", "film.gif", "--audio", "tone.wav"), 2, "sound"),
    (("-o", "film.gif", "--crf", "20"), 2, "crf"),
    (("--preset", "eyez"), 2, "eyes"),
    (("--target", "blok8"), 2, "block8"),
    (("--detail", "parts", "--target", "block8"), 2, "--detail"),
    (("--network", "googlenet", "--offline"), 3, "googlenet"),
    (("--weights", "gone.pth"), 3, "gone.pth"),
    (("--weights", "text.jpg"), 3, "text.jpg"),
    (("--device", "cuda:9"), 6, "cuda:9"),
    (("--from", "photo.png"), 4, "photo.png"),
    (("--octaves", "99"), 2, "--octaves"),
    (("--zise", "96x64"), 2, "--size"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    BAD,
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else "",
)
def test_bad_input_gets_its_code_and_two_lines_and_leaves_everything_as_it_was(
    run, arguments, code, named, monkeypatch, tmp_path
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    refuse(run, ("photo.png", *arguments), code, named)


@pytest.mark.parametrize(
    ("photo", "named"),
    [
        ("gone.jpg", "gone.jpg"),
        ("text.jpg", "text.jpg"),
        ("empty.jpg", "empty.jpg"),
        ("cut.png", "cut.png"),
        ("folder", "folder"),
        ("line.png", "96x64"),
        ("-", "-"),
        ("", ""),
    ],
)
def test_a_photo_that_is_none_is_refused(run, photo, named):
    if photo == "line.png":  # any shape can be cut to the film's
        Image.new("RGB", (4000, 1)).save("line.png")
        assert run("zoom", photo, "-o", "line.mp4", *SHORT)[0] == 0
        return
    refuse(run, (photo, "-o", "film.mp4"), 4, named)


def two_lines(err: str) -> list[str]:
    """Return what was said but notes."""
    return [line for line in err.splitlines() if not line.startswith("Note: ")]


def refuse(run, arguments, code, named) -> None:
    Path("empty.jpg").touch()
    Path("text.jpg").write_text("this is no picture\n")
    data = Path("photo.png").read_bytes()
    Path("cut.png").write_bytes(data[: len(data) // 2])
    Path("folder").mkdir()
    Path("folder/notes.txt").write_text("mine")
    tone("tone.wav", 0.1)
    before = sorted(Path().rglob("*")), tree()
    given = [] if "--size" in arguments else ["--size", "96x64"]
    found, out, err = run("zoom", *arguments, *given)
    assert found == code, err
    assert out == ""
    lines = two_lines(err)
    assert len(lines) == 2, err
    assert lines[0].startswith("Error: ")
    assert named in err
    assert (sorted(Path().rglob("*")), tree()) == before


def test_an_encoder_that_this_ffmpeg_lacks_is_named(run, monkeypatch):
    monkeypatch.setattr(ffmpeg, "encoders", lambda: frozenset({"libvpx-vp9"}))
    refuse(run, ("photo.png", "-o", "film.mp4"), 2, "libx264")


def test_without_ffmpeg_it_says_how_to_get_one(run, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    ffmpeg.encoders.cache_clear()
    ffmpeg.program.cache_clear() if hasattr(ffmpeg.program, "cache_clear") else None
    try:
        refuse(run, ("photo.png", "-o", "film.mp4"), 2, "ffmpeg")
    finally:
        monkeypatch.undo()
        ffmpeg.encoders.cache_clear()


def test_a_folder_that_may_not_be_written_is_an_error_before_any_work(run, monkeypatch):
    real = os.open

    def refusing(path, flags, *more, **named):
        if flags & os.O_CREAT and "out" in os.fspath(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *more, **named)

    Path("out").mkdir()
    monkeypatch.setattr(os, "open", refusing)
    code, _, err = run("zoom", "photo.png", "-o", "out/film.mp4", *SHORT)
    assert code == 5
    assert "permission was denied" in err
    assert len(err.splitlines()) == 2
    assert not list(Path("out").iterdir())


@pytest.mark.parametrize(
    ("name", "room"),
    [("film.mp4", "60k"), ("film.gif", "130k"), ("film.webp", "60k"), ("film", "130k")],
)
def test_on_a_full_disk_nothing_is_half_written_and_with_more_room_it_goes_on(
    run, tmp_path, name, room
):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(small)]
    if os.name == "nt" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only the superuser can make a small disk")
    options = ["zoom", "photo.png", *FAST, "--seconds", "2"]
    try:
        code, out, err = run(*options, "-o", small / name)
        if code:
            assert (code, out) == (5, "")
            assert "no room" in err
            assert len(two_lines(err)) == 2
            assert {path.name for path in small.iterdir()} <= {f".{name}.dreamer"}
            assert not list(small.rglob(".*.part"))
        else:  # it is small
            assert room == "130k"
        subprocess.run(["mount", "-o", "remount,size=4M", str(small)], check=True)
        assert run(*options, "-o", small / name)[0] == 0
        assert [path.name for path in small.iterdir()] == [name]
        assert run(*options, "-o", name)[0] == 0
        assert frames(name) == frames(str(small / name))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_when_the_encoder_fails_dreaming_stops_and_what_was_dreamed_is_kept(run, monkeypatch):
    from dreamer.media import films
    from dreamer.render import zoom

    def failing(self, frame):
        raise films.OutputError("It broke.", "Mend it.")

    dreamed = []
    real = zoom.Keyframes.make

    def make(self, number, **more):
        dreamed.append(number)
        return real(self, number, **more)

    monkeypatch.setattr(zoom.Keyframes, "make", make)
    with monkeypatch.context() as patch:
        patch.setattr(films.Writer, "add", failing)
        code, _, err = run("zoom", "photo.png", *FAST, "-o", "film.mp4", "--seconds", "9")
    assert (code, err) == (5, "Error: It broke.\nMend it.\n")
    assert len(dreamed) < 10
    assert [path.name for path in leftovers() if path.parent == Path()] == [".film.mp4.dreamer"]


def test_what_fails_before_anything_is_dreamed_leaves_nothing(run, monkeypatch):
    from dreamer.errors import NetworkError
    from dreamer.render.look import Look

    def broken(self):
        raise NetworkError("The weights are broken.", "Get them again.")

    monkeypatch.setattr(Look, "load_network", broken)
    code, _, err = run("zoom", "photo.png", *SHORT, "-o", "film.mp4")
    assert code == 3
    assert err.count("\n") == 2
    assert not leftovers()


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom dreamer.cli import run\nrun(['zoom', '--help'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'PIL', 'imageio')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--journey" in done.stdout


def test_it_says_what_it_does_only_if_asked(run):
    assert run("zoom", "photo.png", *SHORT, "-o", "a.mp4", "-q")[1:] == ("a.mp4\n", "")
    _, out, err = run("zoom", "photo.png", *SHORT, "-o", "b.mp4", "-v")
    assert out == "b.mp4\n"
    assert "keyframe 2/2" in err


def test_a_film_whose_name_was_not_asked_for_gets_a_number_beside_another(run):
    names = []
    for seed in ("0", "0", "1", "1"):
        code, out, err = run("zoom", "photo.png", *SHORT, "--seed", seed)
        assert code == 0, err
        names.append(out.strip())
    assert names == ["outputs/photo-zoom.mp4"] * 2 + ["outputs/photo-zoom-2.mp4"] * 2
