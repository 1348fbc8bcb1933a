"""The page about steering: its commands run, its pictures are there, its errors are said."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from dreamer import cli
from dreamer.render.explaining import seeing

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "steering.md").read_text(encoding="utf-8")


def _script():
    spec = importlib.util.spec_from_file_location("make_steering", DOCS / "make_steering.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
COMMANDS = SCRIPT.commands(TEXT)
MISTAKES = re.findall(r"^\| `(-.+?)` \| (.+?) \|$", TEXT, re.MULTILINE)
# As small as can be.
SMALL = {
    "dream": {"--size": "96", "--steps": "1", "--octaves": "1"},
    "zoom": {"--size": "96x96", "--steps": "1", "--octaves": "1", "--fps": "2"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("steering")
    SCRIPT.prepare(made)
    return made


@pytest.fixture
def _there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(seeing, "USUAL", 4)


def shrunk(words):
    small = SMALL[words[0]]
    kept = [
        word
        for before, word in zip(("", *words), words, strict=False)
        if word not in small and before not in small
    ]
    return [*kept, *(word for pair in small.items() for word in pair), "--threads", "1"]


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: shlex.join(each.words)[:80])
def test_a_command_of_the_page_runs_and_writes_its_file(command):
    written = Path(command.words[command.words.index("-o") + 1])
    assert not written.exists()
    assert cli.run(shrunk(command.words)) == 0
    assert written.stat().st_size > 0
    with Image.open(command.picture) as picture:
        picture.load()


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize(("given", "said"), MISTAKES, ids=lambda text: text[:60])
def test_a_mistake_of_the_page_is_answered_as_it_says(given, said, capfd):
    words = ["dream", "astronaut.png", "-o", "mistake.png", *shlex.split(given)]
    assert cli.run(words) in (2, 4)
    assert said in capfd.readouterr().err
    assert not Path("mistake.png").exists()


def test_nothing_of_the_page_is_left_out():
    assert len(COMMANDS) == len(re.findall(r"^dreamer .* -o ", _blocks(), re.MULTILINE))
    assert len(COMMANDS) > 40
    assert len(MISTAKES) == len(re.findall(r"^\| `-", TEXT, re.MULTILINE)) > 10


def test_every_picture_is_there_and_named():
    named = set(re.findall(r"!\[[^]]+\]\(steering/([^)]+)\)", TEXT))
    assert named == {path.name for path in (DOCS / "steering").iterdir()}
    assert named == {f"{name}.jpg" for name in SCRIPT.pictures(TEXT)}


def test_pictures_are_small():
    sizes = []
    for path in (DOCS / "steering").iterdir():
        sizes.append(path.stat().st_size)
        with Image.open(path) as picture:
            assert picture.format == "JPEG"
            assert picture.width <= 1100
    assert max(sizes) < 250_000
    assert sum(sizes) < 2_500_000


def _blocks():
    return "".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
