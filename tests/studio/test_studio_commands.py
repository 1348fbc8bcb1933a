"""What is made carries its recipe, its command makes it again, dropped back it is itself again."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Served, Visitor, picture, serving, small

from dreamer import visual_recipe
from dreamer.cli import run
from dreamer.film.reading import recipe_in
from dreamer.media import metadata
from dreamer.render.look import read_recipe
from dreamer.studio.work.engine import Engine

FAST = {"quality": "draft", "octaves": 1}
OWN = b'schema = 1\nextends = "fur"\ndescription = "mine"\n[ascent]\nstrength = 1.5\n'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("commands")) as found:
        yield found


@pytest.fixture(scope="module")
def visitor(served: Served, chelsea: Path, coffee: Path) -> Visitor:
    """Somebody who has given a photo, a guide, a mask and a preset."""
    visitor = served.visitor()
    assert visitor.photo(small(chelsea), "my cat.png") == "my_cat.png"
    assert visitor.photo(small(coffee), "cup.png", "guide") == "cup.png"
    assert visitor.photo(picture((48, 32), "white"), "mask.png", "mask") == "mask.png"
    assert visitor.give(OWN, "mine.toml", "preset").status == 201
    return visitor


def hash_of(path: Path) -> str:
    """The hash of the recipe that a picture or a film carries."""
    film = recipe_in(path)
    if film is not None:
        return film.hash
    text = metadata.read(str(path))
    assert text is not None
    if visual_recipe.is_visual(text):
        return visual_recipe.from_json(text, path.name)[0].hash
    recipe = read_recipe(str(path))
    assert recipe is not None
    return recipe.hash


def again(made: dict[str, Any], to: Path) -> Path:
    """Run a thing's command, with another place for what it makes."""
    words = shlex.split(made["command"])
    assert words[0] == "dreamer"
    assert words[-2:] == ["-o", made["files"][0]]
    assert run([*words[1:-1], str(to), "--quiet"]) == 0
    return to


LOOKS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "a preset": {"preset": "eyes"},
    "one's own preset": {"preset": "mine"},
    "a target": {"target": "0.7*parts - 0.3*class:zebra"},
    "odd numbers": {"strength": 1.23456789, "blend": 0.123456789, "likeness": 0.3333333333},
    "its colours": {"color": "keep"},
    "waves": {"canvas": "fourier", "quality": "draft"},
    "its edges": {"keep": ["edges", "dark"]},
    "a mask": {"mask": {"photo": "mask.png", "invert": False, "feather": 0.0123456789}},
    "a guide": {"guide": {"photo": "cup.png", "level": "parts", "how": "guide", "weight": 1}},
    "half a guide": {"guide": {"photo": "cup.png", "how": "style", "weight": 0.3333333333}},
    "a caricature": {"guide": {"photo": "cup.png", "how": "like", "weight": 0.5}},
}


@pytest.mark.parametrize("what", [*LOOKS])
def test_a_dream_is_made_again_by_its_command_to_the_byte(
    visitor: Visitor, tmp_path: Path, what: str
) -> None:
    body = {"photo": "my_cat.png", "size": 96, "seed": 7, "look": FAST | LOOKS[what]}
    made = visitor.thing(visitor.made(visitor.post("/api/dream", body)))
    (name,) = made["files"]
    copy = again(made, tmp_path / "again.png")
    assert hash_of(copy) == hash_of(Path(name))
    assert copy.read_bytes() == Path(name).read_bytes()


@pytest.mark.parametrize("photo", ["sky", "noise"])
def test_so_is_one_without_a_photo(visitor: Visitor, tmp_path: Path, photo: str) -> None:
    body = {"photo": photo, "size": 64, "seed": 2**63 - 1, "look": FAST}
    made = visitor.thing(visitor.made(visitor.post("/api/dream", body)))
    assert again(made, tmp_path / "a.png").read_bytes() == Path(made["files"][0]).read_bytes()


def test_so_is_one_of_the_photos_own_size(visitor: Visitor, tmp_path: Path) -> None:
    body = {"photo": "my_cat.png", "size": None, "look": FAST | {"preset": "fur"}}
    made = visitor.thing(visitor.made(visitor.post("/api/dream", body)))
    assert (made["width"], made["height"]) == (96, 64)
    assert again(made, tmp_path / "a.png").read_bytes() == Path(made["files"][0]).read_bytes()


@pytest.mark.parametrize("kind", ["/api/strip", "/api/units"])
def test_so_is_one_that_overtook_another_job(visitor: Visitor, tmp_path: Path, kind: str) -> None:
    bodies = {
        "/api/strip": {"photo": "my_cat.png", "seed": 5},
        "/api/units": {"targets": [f"block8:{k}" for k in range(40, 56)]},
    }
    with visitor.listening() as events:
        first = visitor.post(kind, bodies[kind]).json["job"]["id"]
        for name, job in events:
            if name == "job" and job["id"] == first and job["status"] == "running":
                break
        seed = 8 + len(kind)
        body = {"photo": "my_cat.png", "size": 96, "seed": seed, "look": FAST | {"preset": "fur"}}
        made = visitor.thing(visitor.made(visitor.post("/api/dream", body)))
    visitor.post(f"/api/jobs/{first}/stop")
    assert again(made, tmp_path / "a.png").read_bytes() == Path(made["files"][0]).read_bytes()


def test_a_dream_dropped_back_is_the_same_dream(visitor: Visitor, tmp_path: Path) -> None:
    asked = FAST | LOOKS["half a guide"] | LOOKS["a mask"] | {"strength": 1.7}
    body = {"photo": "my_cat.png", "size": 96, "seed": 11, "look": asked}
    made = visitor.thing(visitor.made(visitor.post("/api/dream", body)))
    data = Path(made["files"][0]).read_bytes()
    back = visitor.give(data, "back.png").json["file"]
    restored = back["restored"]
    assert restored["missing"] == []
    assert restored["asked"]["photo"] == "my_cat.png"
    assert restored["asked"]["seed"] == 11
    assert restored["shown"]["strength"] == 1.7
    job = visitor.made(visitor.post("/api/dream", restored["asked"]))
    assert "it was here already, with this very recipe" in job["notes"]
    assert job["made"] == [made["id"]]
    # With another seed it is another one, and its command knows the settings' file.
    job = visitor.made(visitor.post("/api/dream", restored["asked"] | {"seed": 12}))
    other = visitor.thing(job)
    assert "--from" in other["command"]
    copy = again(other, tmp_path / "a.png")
    assert copy.read_bytes() == Path(other["files"][0]).read_bytes()


@pytest.mark.parametrize("target", ["block3:3", "-block2:3"])
def test_a_unit_is_made_again_and_dropped_back(
    visitor: Visitor, tmp_path: Path, target: str
) -> None:
    body = {"target": target, "size": 64, "canvas": "pixel", "seed": 4}
    made = visitor.thing(visitor.made(visitor.post("/api/unit", body)))
    data = Path(made["files"][0]).read_bytes()
    copy = again(made, tmp_path / "a.png")
    assert hash_of(copy) == hash_of(Path(made["files"][0]))
    assert copy.read_bytes() == data
    restored = visitor.give(data, "unit.png").json["file"]["restored"]
    assert restored["kind"] == "visual"
    assert restored["asked"] == body


FILMS: dict[str, dict[str, Any]] = {
    "a zoom": {"photo": "my_cat.png", "seconds": 0.75, "seed": 3},
    "one out of clouds": {
        "photo": "sky",
        "seconds": 0.5,
        "direction": "out",
        "rotate": -12.5,
        "speed": 3,
        "center": [0.25, 0.75],
        "ease": True,
    },
    "a loop": {"photo": "my_cat.png", "seconds": 1, "loop": True},
    "a journey": {
        "photo": "my_cat.png",
        "seconds": None,
        "journey": [{"what": "fur", "seconds": 0.5}, {"what": "block8:37", "seconds": 0.5}],
        "fade": 0.25,
    },
}


@pytest.mark.parametrize("what", [*FILMS])
def test_a_film_is_made_again_and_dropped_back(visitor: Visitor, tmp_path: Path, what: str) -> None:
    body = {"fps": 4, "size": "64x48", "look": FAST, "format": "gif"} | FILMS[what]
    made = visitor.thing(visitor.made(visitor.post("/api/zoom", body)))
    path = Path(made["files"][0])
    assert hash_of(again(made, tmp_path / "a.gif")) == hash_of(path)
    assert visitor.get(made["thumb"]).status == 200
    restored = visitor.give(path.read_bytes(), "film.gif").json["restored"]
    assert restored["kind"] == "zoom"
    said = restored["asked"]
    for name, value in body.items():
        if name not in ("photo", "look", "format", "journey", "seconds"):
            assert said[name] == pytest.approx(value), name
    assert sum(each["seconds"] for each in said["journey"]) == pytest.approx(
        sum(each["seconds"] for each in body.get("journey", []))
    )
    assert (said["look"]["quality"], said["look"]["octaves"]) == ("draft", 1)
    assert said["photo"] == body["photo"]
    assert restored["missing"] == []


def test_a_preview_is_quick_and_its_command_is_that_of_the_film(visitor: Visitor) -> None:
    body = {"photo": "sky", "seconds": 1, "fps": 8, "size": "128x96", "look": FAST, "preview": True}
    made = visitor.thing(visitor.made(visitor.post("/api/zoom", body | {"format": "gif"})))
    assert made["kind"] == "preview"
    assert recipe_in(Path(made["files"][0])) is not None
    words = shlex.split(made["command"])
    assert words[words.index("--size") + 1] == "128x96"
    assert words[-1] != made["files"][0]


def test_a_batch_is_made_again_by_its_command(visitor: Visitor, tmp_path: Path) -> None:
    body = {
        "photos": ["my_cat.png", "cup.png"],
        "presets": ["eyes", "mine"],
        "size": 64,
        "seeds": 2,
        "look": FAST,
    }
    made = visitor.thing(visitor.made(visitor.post("/api/batch", body)))
    folder = again(made, tmp_path / "batch")
    first = {path.name: path for path in Path(made["files"][0]).glob("*.png")}
    assert len(first) == 8
    assert {path.name for path in folder.glob("*.png")} == {*first}
    for name, path in first.items():
        assert hash_of(path) == hash_of(folder / name)
        assert (folder / name).read_bytes() == path.read_bytes()


def test_pictures_keep_their_settings_after_a_restart(served: Served, visitor: Visitor) -> None:
    body = {"photo": "my_cat.png", "size": 96, "seed": 31, "look": FAST}
    made = visitor.thing(visitor.made(visitor.post("/api/dream", body)))
    key = Path(made["files"][0]).parent.name
    person = type(served.studio.people)(served.folder, lambda *_: None)[key]
    assert person.shown(person.made[made["id"]]) == made


def test_the_network_is_that_of_the_command_line() -> None:
    engine = Engine(Path("unused"))
    assert engine.network is engine.network
    assert engine.network.row.name == "efficientnet_lite0"
