"""What the page may ask for: every body checked, and turned into flags."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import picture

from dreamer.errors import DreamerError, UsageError
from dreamer.render.look import look as resolve
from dreamer.studio import asks
from dreamer.studio.people import Person, Photo


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    monkeypatch.chdir(tmp_path)
    person = Person("a", Path("outputs") / "a", lambda *_: None)
    for name, kind in (("a.png", "photo"), ("cat.png", "guide"), ("mask.png", "mask")):
        path = person.folder / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture())
        person.give(Photo(name, 96, 64, kind, name))  # type: ignore[arg-type]
    return person


def look(person: Person, **said: Any) -> asks.Asked:
    return asks.look(asks.read(asks.LookBody, said), person)


WRONG: list[tuple[type, Any]] = [
    (asks.DreamBody, None),
    (asks.DreamBody, []),
    (asks.DreamBody, "sky"),
    (asks.DreamBody, 3),
    (asks.DreamBody, {}),
    (asks.DreamBody, {"photo": 3}),
    (asks.DreamBody, {"photo": ""}),
    (asks.DreamBody, {"photo": "x" * 201}),
    (asks.DreamBody, {"photo": ["sky"]}),
    (asks.DreamBody, {"photo": "sky", "extra": 1}),
    (asks.DreamBody, {"photo": "sky", "output": "/tmp/x.png"}),
    (asks.DreamBody, {"photo": "sky", "size": 10**9}),
    (asks.DreamBody, {"photo": "sky", "size": -1}),
    (asks.DreamBody, {"photo": "sky", "size": 99.5}),
    (asks.DreamBody, {"photo": "sky", "seed": -1}),
    (asks.DreamBody, {"photo": "sky", "seed": 2**63}),
    (asks.DreamBody, {"photo": "sky", "seed": float("nan")}),
    (asks.DreamBody, {"photo": "sky", "look": "eyes"}),
    (asks.DreamBody, {"photo": "sky", "look": {"strength": float("inf")}}),
    (asks.DreamBody, {"photo": "sky", "look": {"color": "match:/etc/passwd"}}),
    (asks.DreamBody, {"photo": "sky", "look": {"target": "x" * 3000}}),
    (asks.DreamBody, {"photo": "sky", "look": {"keep": "faces"}}),
    (asks.DreamBody, {"photo": "sky", "look": {"mask": {"photo": "m", "feather": 2}}}),
    (asks.DreamBody, {"photo": "sky", "look": {"guide": {"photo": "g", "how": "file"}}}),
    (asks.DreamBody, {"photo": "sky", "look": {"guide": {"photo": "g", "weight": 0}}}),
    (asks.ZoomBody, {"photo": "sky", "seconds": 1e9}),
    (asks.ZoomBody, {"photo": "sky", "seconds": float("nan")}),
    (asks.ZoomBody, {"photo": "sky", "fps": 0}),
    (asks.ZoomBody, {"photo": "sky", "fps": 1000}),
    (asks.ZoomBody, {"photo": "sky", "speed": 1}),
    (asks.ZoomBody, {"photo": "sky", "center": [0.5, float("nan")]}),
    (asks.ZoomBody, {"photo": "sky", "center": [0.5]}),
    (asks.ZoomBody, {"photo": "sky", "center": [2, 0]}),
    (asks.ZoomBody, {"photo": "sky", "format": "../mp4"}),
    (asks.ZoomBody, {"photo": "sky", "size": "1" * 13}),
    (asks.ZoomBody, {"photo": "sky", "journey": [{"what": "eyes", "seconds": 1}] * 25}),
    (asks.ZoomBody, {"photo": "sky", "journey": [{"what": "eyes", "seconds": float("nan")}]}),
    (asks.BatchBody, {"photos": []}),
    (asks.BatchBody, {"photos": ["a"] * 501}),
    (asks.BatchBody, {"photos": ["a"], "presets": ["eyes"] * 65}),
    (asks.BatchBody, {"photos": ["a"], "seeds": 17}),
    (asks.BatchBody, {"photos": ["a"], "zoom": 1000}),
    (asks.UnitsBody, {"targets": []}),
    (asks.UnitsBody, {"targets": ["block8:0"] * 49}),
    (asks.UnitBody, {"target": "block8:0", "size": 4096}),
]


@pytest.mark.parametrize(("model", "body"), WRONG, ids=range(len(WRONG)))
def test_bodies_of_other_kinds_are_refused(model: type, body: Any) -> None:
    with pytest.raises(UsageError) as caught:
        asks.read(model, body)
    assert caught.value.advice


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = {name for model in (asks.DreamBody, asks.ZoomBody) for name in model.model_fields}


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), json_values))
def test_whatever_is_asked_for_is_read_or_refused(body: dict[str, Any]) -> None:
    for model in (asks.DreamBody, asks.ZoomBody):
        try:
            read = asks.read(model, body | {"photo": "sky"})
        except UsageError:
            continue
        json.dumps(read.model_dump(mode="json", by_alias=True), allow_nan=False)


@pytest.mark.parametrize(
    "target",
    [
        "like:secret.png@parts",
        "guide:/etc/passwd@parts",
        'style:"secret.png"@parts',
        "parts + 0.1*like:outputs/a/photos/a.png@parts",
        "direction:secret.npy@block8",
    ],
)
def test_a_target_names_no_files(person: Person, target: str) -> None:
    Path("secret.png").write_bytes(picture())
    for ask in (lambda: look(person, target=target), lambda: asks.plain_target(target)):
        with pytest.raises(UsageError, match="names a file"):
            ask()


@pytest.mark.parametrize(
    "level",
    [
        'parts + like:"secret.png"@parts',
        'parts + guide:"/etc/passwd"@parts',
        "parts + block8:3",
        "parts - 0.5*textures",
        "parts; sky=parts",
        "nope",
        "",
        " ",
        'x"@parts',
    ],
)
@pytest.mark.parametrize("weight", [1, 0.5])
def test_a_guide_is_followed_at_one_level_and_names_no_other_file(
    person: Person, level: str, weight: float
) -> None:
    Path("secret.png").write_bytes(picture())
    with pytest.raises(UsageError):
        look(person, guide={"photo": "cat.png", "level": level, "weight": weight})


def test_a_guide_has_its_share(person: Person) -> None:
    whole = look(person, guide={"photo": "cat.png", "weight": 1})
    assert whole.overrides["target"] == "guide:outputs/a/photos/cat.png@parts"
    shared = look(
        person, target="block8:3", guide={"photo": "cat.png", "weight": 0.25, "how": "style"}
    )
    target = shared.overrides["target"]
    assert target == "0.75*block8:3 + 0.25*style:outputs/a/photos/cat.png@parts"
    usual = look(person, preset="eyes", guide={"photo": "cat.png"}).overrides["target"]
    assert usual.endswith("0.5*guide:outputs/a/photos/cat.png@parts")
    assert "block8:96" in usual


@pytest.mark.parametrize("keep", [["/etc/passwd"], ["faces", "secret.png"], ["edges,secret.png"]])
def test_what_is_kept_is_no_file(person: Person, keep: list[str]) -> None:
    with pytest.raises(UsageError, match="--keep"):
        look(person, keep=keep)


@pytest.mark.parametrize("name", ["quality", "canvas"])
@pytest.mark.parametrize("value", ["", "x" * 1000, "__class__", "../x"])
def test_a_choice_is_one_of_the_choices(person: Person, name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        look(person, **{name: value})
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "preset", ["/etc/passwd", "../../x.toml", "eyes.toml", "./eyes", "presets/eyes.toml", "nope"]
)
def test_a_preset_is_named_and_no_path(person: Person, preset: str) -> None:
    with pytest.raises(UsageError):
        look(person, preset=preset)
    with pytest.raises(UsageError):
        asks.preset_of(preset, person)


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "outputs/a/photos/a.png", "b.png"])
def test_photos_are_named_by_ids(person: Person, name: str) -> None:
    asked = ({"from": name}, {"mask": {"photo": name}}, {"guide": {"photo": name}})
    for said in asked:
        with pytest.raises(UsageError, match="There is no photo"):
            look(person, **said)
    with pytest.raises(UsageError, match="There is no photo"):
        asks.photo_of(name, person)


def test_what_needs_no_photo_has_no_path(person: Person) -> None:
    assert [asks.photo_of(name, person) for name in ("sky", "noise")] == ["sky", "noise"]
    assert asks.title_of("sky", person) == "clouds"


def test_a_look_is_looked_for_nowhere_else(person: Person) -> None:
    request = look(person, preset="eyes").request()
    assert request.offline
    assert not request.here


def test_flags_say_what_the_look_says(person: Person) -> None:
    asked = look(
        person,
        preset="eyes",
        strength=1.5,
        octaves=2,
        quality="draft",
        color="keep",
        blend=0.25,
        likeness=0.5,
        keep=["edges", "dark"],
        mask={"photo": "mask.png", "invert": True, "feather": 0.02},
    )
    flags = asked.flags()
    assert flags[:2] == ["--preset", "eyes"]
    assert flags[flags.index("--mask") + 1] == "outputs/a/photos/mask.png"
    assert "--mask-invert" in flags
    assert flags[flags.index("--strength") + 1] == "1.5"
    assert flags[flags.index("--keep") + 1] == "edges,dark"
    settings = resolve(asked.request()).settings
    assert (settings.ascent.strength, settings.mix.blend) == (1.5, 0.25)
    assert settings.mask.invert


@given(st.floats(min_value=0, max_value=10))
def test_numbers_in_flags_read_back_as_the_very_same(value: float) -> None:
    assert float(asks.number(value)) == value


def test_numbers_in_flags_are_short() -> None:
    assert [asks.number(value) for value in (1.0, 0.5, 1.23456789)] == ["1", "0.5", "1.23456789"]


@given(st.lists(st.text(min_size=1).filter(lambda text: "\0" not in text), min_size=1))
def test_lines_are_what_a_shell_reads_back(words: list[str]) -> None:
    line = asks.line("dream", *words, output=Path("a b'c.png"))
    read = shlex.split(line)
    assert read[:2] == ["dreamer", "dream"]
    assert [word.removeprefix("./") for word in read[2:3]] == [words[0].removeprefix("./")]
    assert read[3:] == [*words[1:], "-o", "a b'c.png"]


def test_a_first_word_is_never_a_flag() -> None:
    out = Path("o.png")
    assert shlex.split(asks.line("dream", "-rf.png", output=out))[2] == "./-rf.png"
    assert shlex.split(asks.line("visualize", "-block8:3", output=out))[2] == " -block8:3"


@pytest.mark.parametrize("text", ["(" * 900, "*" * 900, "1e999*parts", "0*parts", "\0", "parts +"])
def test_a_target_that_is_none_is_refused_quickly(text: str) -> None:
    with pytest.raises(DreamerError):
        asks.plain_target(text)
