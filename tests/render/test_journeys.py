"""Journeys and camera paths as users write them, and what is said of their mistakes."""

from pathlib import Path

import pytest

from dreamer.errors import UsageError
from dreamer.render import journeys
from dreamer.render.journeys import CameraKey, Stretch
from dreamer.render.look import Request
from dreamer.render.stretches import looks

LOOK = '[[look]]\npreset = "eyes"\nseconds = 3\n'
CAMERA = "[[camera]]\nat = 0\n"


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def written(text: str | bytes) -> str:
        data = text.encode() if isinstance(text, str) else text
        Path("flight.toml").write_bytes(data)
        return "flight.toml"

    return written


def test_a_journey_on_the_command_line():
    assert journeys.parse("textures 4s, 0.5*parts - block8:3@4,5 6.5,class:zebra  1s") == (
        Stretch("textures", 4.0),
        Stretch("0.5*parts - block8:3@4,5", 6.5),
        Stretch("class:zebra", 1.0),
    )
    assert journeys.parse(
        'block8:[3, -2*4] 1s, like:"a, b.jpg"@parts 2s, class:"tiger cat" 3s'
    ) == (
        Stretch("block8:[3, -2*4]", 1.0),
        Stretch('like:"a, b.jpg"@parts', 2.0),
        Stretch('class:"tiger cat"', 3.0),
    )
    assert journeys.is_file("flight.toml")
    assert not journeys.is_file("textures 4s, eyes 6s")


def test_a_file_says_looks_and_how_the_camera_moves(written):
    script = journeys.read(
        written(
            '# a film\n[[look]]\npreset = "eyes"\nseconds = 3\n\n'
            "[[camera]]\nat = 0.5\nspeed = 1.5\n"
            '[[look]]\ntarget = "block8:3"\nseconds = 2.5\nfade = 0\n'
            '[[camera]]\nat = 2\ncentre = [0.25, 1]\nrotate = -10\nease = "hold"\n'
            "[[camera]]\nat = 3\nspeed = 1\n"
        ),
        "look",
    )
    assert script.looks == (
        Stretch("eyes", 3.0, None, "preset", "flight.toml:3: "),
        Stretch("block8:3", 2.5, 0.0, "target", "flight.toml:10: "),
    )
    # What a key does not say stays as it was, but for how it goes on.
    assert script.camera == (
        CameraKey(0.5, 1.5, where="flight.toml:7: "),
        CameraKey(2.0, 1.5, -10.0, (0.25, 1.0), "hold", "flight.toml:14: "),
        CameraKey(3.0, 1.0, -10.0, (0.25, 1.0), "smooth", "flight.toml:19: "),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LOOK + "fad = 1\n", ["flight.toml:4: look.fad: ", "Did you mean fade?"]),
        ('[[look]]\npreset = "eyes"\n', ["flight.toml:1: look.seconds: is missing."]),
        ("[[look]]\nseconds = 3\n", ["flight.toml:1: look: ", "a preset or a target"]),
        (LOOK + 'target = "block8"\n', ["flight.toml:1: look: ", "a preset or a target"]),
        (LOOK.replace("3", "0"), ["flight.toml:3: look.seconds: 0 is", "more than 0"]),
        (LOOK.replace("3", "-1"), ["flight.toml:3: look.seconds: -1 is", "more than 0"]),
        (LOOK.replace("3", "90000"), ["flight.toml:3: look.seconds: ", "up to 86400"]),
        (LOOK.replace("3", "nan"), ["flight.toml:3: look.seconds: nan is", "finite"]),
        (LOOK.replace("3", '"3s"'), ["flight.toml:3: look.seconds: '3s' is", "valid number"]),
        (LOOK + "fade = -1\n", ["flight.toml:4: look.fade: -1 is", "0 to 86400"]),
        (LOOK.replace('"eyes"', "8"), ["flight.toml:2: look.preset: 8 is", "valid string"]),
        ('[[look]]\ntarget = "7*"\nseconds = 3\n', ["flight.toml:2: look.target: ", "7*"]),
        ('[[look]]\ntarget = "class:zebrra"\nseconds = 3\n', ["flight.toml:2: ", "zebra"]),
        (LOOK + "[[camra]]\nat = 0\n", ["flight.toml:4: camra: ", "Did you mean camera?"]),
        (LOOK + CAMERA + "center = [0, 1]\n", ["flight.toml:6: camera.center: ", "centre?"]),
        (LOOK + "[[camera]]\nspeed = 2\n", ["flight.toml:4: camera.at: is missing."]),
        (LOOK + CAMERA + "speed = 0.5\n", ["flight.toml:6: camera.speed: 0.5 is", "1 to 8"]),
        (LOOK + CAMERA + "speed = 9\n", ["flight.toml:6: camera.speed: 9 is", "1 to 8"]),
        (LOOK + CAMERA + "rotate = 400\n", ["flight.toml:6: camera.rotate: ", "-360 to 360"]),
        (LOOK + CAMERA + "centre = [0.5, 1.5]\n", ["flight.toml:6: camera.centre: 1.5", "0 to 1"]),
        (LOOK + CAMERA + "centre = [0.5]\n", ["flight.toml:6: camera.centre: [0.5]", "such as"]),
        (LOOK + CAMERA + "centre = 0.5\n", ["flight.toml:6: camera.centre: 0.5", "[0.5, 0.5]"]),
        (LOOK + CAMERA + 'ease = "smoth"\n', ["flight.toml:6: camera.ease: ", "mean smooth?"]),
        (LOOK + "[[camera]]\nat = -1\n", ["flight.toml:5: camera.at: -1 is"]),
        (LOOK + CAMERA + CAMERA, ["flight.toml:7: camera.at: 0 is not after", "at 0."]),
        (LOOK + CAMERA + "\n[[camera]]\nat = 4\n[[camera]]\nat = 3\n", ["flight.toml:10: "]),
        ("[look]\nseconds = 3\n", ["flight.toml:1: look: should be tables: write [[look]]"]),
        ("look = [3]\n", ["flight.toml:1: look: 3 should be a table: write [[look]]"]),
        ("seconds = 3\n", ["flight.toml:1: seconds: ", "There are look, camera."]),
        (CAMERA, ["'flight.toml' has no [[look]]"]),
        ("", ["'flight.toml' has no [[look]]"]),
        ("[[look]\n", ["flight.toml:1:", "TOML"]),
        (b"# \xff\n", ["flight.toml:1: the file is not UTF-8"]),
        (b"#" * 70_000, ["The journey flight.toml is larger than 64 KiB"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_answered_with_its_line_and_what_would_be_right(written, text, said):
    with pytest.raises(UsageError) as caught:
        journeys.read(written(text), "look")
    for part in said:
        assert part in str(caught.value)
    assert len(caught.value.message.splitlines()) == 1


def test_all_mistakes_are_told_at_once_in_their_order(written):
    text = LOOK + "fad = 1\n[[camera]]\nat = 0\nspeed = 99\n" + LOOK.replace("3", "-3")
    with pytest.raises(UsageError) as caught:
        journeys.read(written(text), "look")
    lines = [int(problem.split(":")[1]) for problem in caught.value.message.splitlines()]
    assert lines == [4, 7, 10]
    assert "these 3 things" in caught.value.advice


def test_a_path_needs_a_camera_and_takes_no_notice_of_looks(written):
    with pytest.raises(UsageError, match="no \\[\\[camera\\]\\]"):
        journeys.read(written(LOOK), "camera")
    assert journeys.read(written(LOOK + CAMERA), "camera").camera[0].speed == 2


def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="The path gone.toml cannot be read") as caught:
        journeys.read("gone.toml", "camera")
    assert "--speed" in caught.value.advice
    Path("folder.toml").mkdir()
    with pytest.raises(UsageError, match="folder.toml"):
        journeys.read("folder.toml", "look")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('preset = "eyez"', ["flight.toml:2: There is no preset named 'eyez'", "eyes"]),
        ('preset = "gone/x.toml"', ["flight.toml:2: There is no preset file"]),
        ('target = "blok8"', ["flight.toml:2: There is no level or layer", "block8"]),
        ('target = "block8:999"', ["flight.toml:2: ", "no channel 999"]),
        ('target = "eyes"', ["flight.toml:2: ", "layer"]),
    ],
)
def test_what_the_network_or_the_presets_do_not_have_is_named_with_its_line(written, table, said):
    script = journeys.read(written(f"[[look]]\n{table}\nseconds = 3\n"), "look")
    with pytest.raises(UsageError) as caught:
        looks(Request(threads=1, device="cpu"), script.looks)
    for part in said:
        assert part in str(caught.value)
