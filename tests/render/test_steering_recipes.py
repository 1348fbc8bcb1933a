"""Recipes of dreams that are steered: what they carry, and how they make them again."""

import json
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import dreamer
from dreamer import cli, presets, recipe
from dreamer.errors import InputError, UsageError
from dreamer.networks import rows
from dreamer.recipe import Recipe
from dreamer.render import visual_job
from dreamer.render.job import prepare, read_recipe
from dreamer.render.look import Request
from dreamer.render.visual_job import VisualRequest
from dreamer.settings import Ascent, Mask, Settings

SIZE = (64, 48)
FLAGS = ("--octaves", "1", "--steps", "1", "--threads", "1")
EVERYTHING = {
    "mask.where": "far/my mask.png",
    "mask.feather": 0.03,
    "mask.keep": "dark,edges",
    "regions": {
        "ellipse:0.3,0.5,0.3,0.4": "guide:far/cup.png@block5 + 0.5*block8:3,17",
        "far/part.png": "style:far/cup.png@textures - 0.1*block8:strong5@step",
        "rest": "block5:all-3 + guide:far/cup.png@block5:means",
    },
    "colour.mode": "match:far/colours.png",
    "colour.when": "before",
    "likeness.amount": 0.3,
    "likeness.layer": "block2",
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, chelsea, coffee, astronaut):
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("far", "near"):
        (folder / name).mkdir()
    for source, name in (
        (chelsea, "near/cat.png"),
        (coffee, "far/cup.png"),
        (astronaut, "far/colours.png"),
    ):
        with Image.open(source) as photo:
            photo.convert("RGB").resize(SIZE).save(folder / name)
    for name, box in (("my mask.png", (8, 8, 60, 40)), ("part.png", (30, 10, 64, 48))):
        mask = Image.new("L", SIZE)
        mask.paste(255, box)
        mask.save(folder / "far" / name)
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, pictures):
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def embedded():
    return dreamer.load_network("efficientnet_lite0")


@pytest.fixture
def run(capfd):
    def call(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def resolved(**overrides) -> Recipe:
    named = {name.replace("__", "."): value for name, value in overrides.items()}
    request = Request(photo="near/cat.png", overrides=named, to_file=False, device="cpu", threads=1)
    return prepare(request).recipe


def everything(**more) -> Recipe:
    return resolved(**{**{k.replace(".", "__"): v for k, v in EVERYTHING.items()}, **more})


def test_a_recipe_says_what_was_in_its_files_and_not_where_they_were(tmp_path):
    made = everything()
    text = made.to_json()
    for folder in (str(tmp_path), tmp_path.name, "far", "near", "/", "path"):
        assert folder not in text
    values = made.to_dict()
    assert values["settings"]["mask"]["where"] == '"my mask.png"'
    assert values["settings"]["colour"] == {
        "mode": "match:colours.png",
        "when": "before",
        "hold": 0.03,
    }
    assert list(values["settings"]["regions"]) == ["ellipse:0.3,0.5,0.3,0.4", "part.png", "rest"]
    names = ["my mask.png", "part.png", "colours.png"]
    assert [each["name"] for each in values["files"]] == names
    assert all(set(each) == {"name", "sha256"} for each in values["files"])
    assert {term["region"] for term in values["terms"]} == {0, 1, 2}
    guide = {"name": "cup.png", "sha256": made.terms[0].guide.sha256}
    assert values["terms"][0]["guide"] == guide
    assert values["terms"][0]["by"] == "best"
    assert values["terms"][1]["choice"] == "3,17"
    assert [each.name for each in made.pictures] == ["cup.png", *names]


def test_it_is_read_back_as_it_was():
    made = everything()
    again = recipe.from_json(made.to_json(), "it")
    assert again == made
    assert again.hash == made.hash
    assert again.to_json() == made.to_json()
    assert again.target == made.target
    assert [len(terms) for terms in again.by_region] == [2, 3, 2]
    assert {each.path for each in again.pictures} == {""}
    for travelled in (pickle.loads(pickle.dumps(made)), made.model_copy(update={"seed": 3})):
        assert [Path(each.path).name for each in travelled.pictures] == [
            each.name for each in made.pictures
        ]
        assert all(Path(each.path).is_file() for each in travelled.pictures)


def test_what_is_usual_leaves_no_trace():
    plain = resolved(target="block5").to_json()
    said = resolved(
        target="block5",
        mask__where="",
        mask__invert=False,
        mask__keep="",
        mask__feather=Mask().feather,
        regions={},
        likeness__amount=0.0,
        colour__mode="free",
        colour__when="after",
    )
    assert said.to_json() == plain
    for name in ("mask", "regions", "likeness", "when", "files", "guide", "choice", "by", "canvas"):
        assert f'"{name}"' not in plain
    assert '"change"' not in resolved(target="block5", ascent__step_size=0.03).to_json()


def test_the_hash_of_a_recipe_that_is_not_steered_changes_with_the_engine_only():
    text = "0.7*parts - class:zebra + block5:3@1,2 + block8:[3, -2*4]"
    made = recipe.resolve(
        Settings(description="x", target=text, ascent=Ascent(coarse_steps=2.0, decay=0.0)),
        rows.row("efficientnet_lite0"),
        preset="x",
        weights=64 * "0",
        origin=recipe.Origin(start="sky"),
        size=(96, 64),
        choice=recipe.Choice(3),
    )
    assert made.hash == "3e4ab7640f8a7773d6dc2283cad6157adca548af2f9794ee946422f35eee042a"


def test_the_hash_is_of_the_content_wherever_it_is():
    first = everything()
    Path("far").rename("moved")
    moved = {key: _moved(value) for key, value in EVERYTHING.items()}
    again = resolved(**{key.replace(".", "__"): value for key, value in moved.items()})
    assert again.hash == first.hash
    assert again.to_json() == first.to_json()


def _moved(value):
    if isinstance(value, dict):
        return {_moved(key): _moved(each) for key, each in value.items()}
    return value.replace("far/", "./moved/") if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my mask.png", "what is in the files of masks and colours"),
        ("part.png", "what is in the files of masks and colours"),
        ("colours.png", "what is in the files of masks and colours"),
        ("cup.png", "what is in the files that the target names"),
    ],
)
def test_another_picture_of_that_name_is_another_recipe(name, said):
    first = everything()
    with Image.open(Path("far", name)) as picture:
        picture.rotate(180).save(Path("far", name))
    changed = everything()
    assert changed.hash != first.hash
    assert recipe.differences(first, changed) == [said]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mask__where": "far/part.png"}, 'mask.where (part.png instead of "my mask.png")'),
        ({"mask__invert": True}, "mask.invert (True instead of False)"),
        ({"mask__keep": "light"}, "mask.keep (light instead of edges,dark)"),
        ({"regions": {"rest": "parts"}}, "regions.rest (parts instead of "),
        ({"likeness__amount": 0.5}, "likeness.amount (0.5 instead of 0.3)"),
        ({"colour__when": "after"}, "colour.when (after instead of before)"),
    ],
    ids=str,
)
def test_what_is_steered_otherwise_is_named(change, said):
    first, other = everything(), everything(**change)
    assert first.hash != other.hash
    assert any(each.startswith(said) for each in recipe.differences(first, other))


@pytest.mark.parametrize(
    "overrides",
    [
        {"mask__where": "far/a.png", "target": "guide:near/a.png@block5"},
        {"mask__where": "far/a.png", "colour__mode": "palette:near/a.png"},
        {"regions": {"far/a.png": "parts", "near/a.png": "textures"}},
        {"regions": {"auto": "guide:far/a.png@parts", "rest": "style:near/a.png@parts"}},
        {"target": "guide:far/a.png@block5 + like:near/a.png@block5"},
    ],
    ids=str,
)
def test_two_files_of_one_name_are_refused(overrides):
    for folder, name in (("far", "cup.png"), ("near", "cat.png")):
        Path(folder, "a.png").write_bytes(Path(folder, name).read_bytes())
    with pytest.raises(UsageError, match="'(far|near)/a.png' and '(far|near)/a.png' have one name"):
        resolved(**overrides)
    Path("near/a.png").unlink()
    with pytest.raises(UsageError, match="have one name"):
        resolved(**overrides)


def test_one_file_may_be_named_twice():
    Image.open("far/cup.png").save("far/a.png")
    made = resolved(
        mask__where="far/a.png", target="guide:far/a.png@block5 + like:./far/a.png@block5"
    )
    assert len(made.pictures) == 1
    assert len(made.terms) == 2


def test_one_file_as_the_mask_of_two_regions_is_refused():
    with pytest.raises(UsageError, match="part.png"):
        resolved(regions={"far/part.png": "parts", "./far/part.png": "textures"})


def test_one_mask_in_two_spellings_is_refused_as_flags_are():
    same = {"ellipse:0.5,0.5,0.3,0.3": "parts", "ellipse:.5,.5,.3,.30": "textures"}
    with pytest.raises(UsageError, match="once more"):
        resolved(regions=same)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"files": [{"name": "my mask.png", "sha256": "../../etc"}]}, "files"),
        ({"files": [{"name": "my mask.png"}]}, "files"),
        ({"files": "x"}, "files"),
        ({"settings": {"regions": {}}}, "regions"),
        ({"settings": {"regions": {"rest": "7*"}}}, "settings.regions"),
        ({"settings": {"mask": {"where": "nowhere"}}}, "settings.mask.where"),
        ({"settings": {"mask": {"keep": "cats"}}}, "settings.mask.keep"),
        ({"terms": {"choice": "strong"}}, "terms.0.choice"),
        ({"terms": {"guide": {"name": "a", "sha256": "b"}}}, "terms.0.guide"),
        ({"terms": {"by": "force"}}, "terms.0.by"),
        ({"terms": {"region": -1}}, "terms.0.region"),
        ({"terms": {"region": 3}}, "regions"),
        ({"terms": {"region": None}}, "regions"),
    ],
    ids=str,
)
def test_what_was_tampered_with_is_refused(change, said):
    values = everything().to_dict()
    for key, value in change.items():
        if key == "terms":
            values["terms"][0] |= value
        elif isinstance(value, dict):
            values[key] |= value
        else:
            values[key] = value
    with pytest.raises(UsageError, match=f"damaged recipe: .*{said}"):
        recipe.from_json(json.dumps(values), "x.png")


def test_a_recipe_cannot_say_which_file_is_read():
    values = everything().to_dict()
    values["files"][0]["path"] = values["terms"][0]["guide"]["path"] = "/etc/passwd"
    assert {each.path for each in recipe.from_json(json.dumps(values), "x").pictures} == {""}


@pytest.mark.parametrize("lost", ["files", "region"])
def test_a_recipe_that_lacks_a_file_or_the_terms_of_a_region_is_damaged(lost):
    values = everything().to_dict()
    if lost == "files":
        values["files"] = values["files"][1:]
    else:
        values["terms"] = [term for term in values["terms"] if term["region"] != 1]
    with pytest.raises(UsageError, match="damaged"):
        recipe.from_json(json.dumps(values), "x.png")


# Again, from a file.


STEERED = (
    *("-t", "guide:far/cup.png@block5", "--mask", "far/my mask.png", "--color"),
    "match:far/colours.png",
)


def test_a_steered_dream_is_made_again_beside_its_pictures_and_nowhere_else(run):
    assert run("dream", "near/cat.png", *STEERED, *FLAGS, "-o", "near/a.png")[0] == 0
    for name in ("cup.png", "my mask.png", "colours.png"):
        code, _, said = run("dream", "--from", "near/a.png", "-o", "b.png")
        assert code == 4
        assert re.search(r"The recipe in '.*a\.png' needs the picture", said)
        assert f"'{name}', which is not here" in said
        assert "beside the recipe's file" in said
        Path("far", name).rename(Path("near", name))
    code, _, said = run("dream", "--from", "near/a.png", "-o", "b.png")
    assert code == 0, said
    assert Path("b.png").read_bytes() == Path("near/a.png").read_bytes()
    Image.open("near/my mask.png").rotate(180).save("near/my mask.png")
    code, _, said = run("dream", "--from", "near/a.png", "-o", "c.png")
    assert code == 4
    assert "'my mask.png', and the one of that name here is another" in said


def test_what_is_asked_for_anew_is_not_missed(run):
    assert run("dream", "near/cat.png", *STEERED, *FLAGS, "-o", "near/a.png")[0] == 0
    for name in ("my mask.png", "colours.png"):
        Path("far", name).rename(Path("near", name))
    Path("far/cup.png").unlink()
    code, _, said = run("dream", "--from", "near/a.png", "-t", "block5:3", "-o", "b.png")
    assert code == 0, said
    made = read_recipe("b.png")
    assert made.target == "block5:3"
    assert [each.name for each in made.pictures] == ["my mask.png", "colours.png"]
    Path("near/my mask.png").unlink()
    flags = ("-t", "block5:3", "--mask", "far/part.png", "-o", "c.png")
    assert run("dream", "--from", "near/a.png", *flags)[0] == 0
    assert [each.name for each in read_recipe("c.png").files] == ["part.png", "colours.png"]


@pytest.mark.parametrize("flags", [("--mask", "part.png"), ("--color", "match:part.png")], ids=str)
def test_a_file_that_is_named_anew_is_the_one_that_is_there(run, flags, monkeypatch):
    Path("near/cat.png").rename("far/cat.png")
    monkeypatch.chdir("far")
    assert run("dream", "cat.png", *flags, *FLAGS, "-o", "a.png")[0] == 0
    Image.open("cup.png").save("part.png")  # it was painted on
    code, _, said = run("dream", "--from", "a.png", *flags, "-o", "b.png")
    assert code == 0, said


def test_a_file_of_colours_may_begin_with_a_space():
    Path("far/cup.png").rename("far/ cup.png")
    assert resolved(mask__where='"far/ cup.png"').files[0].name == " cup.png"
    Path("far/ cup.png").rename(" cup.png")
    assert resolved(colour__mode='match:" cup.png"').files[0].name == " cup.png"


def test_regions_are_made_again_and_replaced_only_as_a_whole(run, monkeypatch):
    regions = ("--region", "far/part.png=block5:3", "--region", "rest=style:far/cup.png@edges")
    assert run("dream", "near/cat.png", *regions, *FLAGS, "-o", "far/a.png")[0] == 0
    Path("near/cat.png").rename("far/cat.png")
    assert run("dream", "--from", "far/a.png", "-o", "b.png")[0] == 0
    assert Path("b.png").read_bytes() == Path("far/a.png").read_bytes()
    code, _, said = run("dream", "--from", "far/a.png", "-t", "parts", "-o", "c.png")
    assert code == 0, said
    assert not read_recipe("c.png").settings.regions
    code, _, said = run("dream", "--from", "far/a.png", "-t", "parts", *regions, "-o", "d.png")
    assert code == 2
    assert "The target 'parts' and regions both say what to dream" in said
    assert "--region rest=TARGET" in said
    Path("far/cup.png").unlink()
    other = ("--region", "ellipse:0.5,0.5,0.2,0.2=block5:3", "-o", "c.png", "--overwrite")
    code, _, said = run("dream", "--from", "far/a.png", *other)
    assert code == 0, said
    assert read_recipe("c.png").settings.regions == {"ellipse:0.5,0.5,0.2,0.2": "block5:3"}
    assert read_recipe("c.png").pictures == ()


# Presets.


def test_a_step_of_another_size_does_away_with_the_change():
    preset = presets.load("dream")
    assert preset.settings.ascent.change > 0

    def merged(**values):
        named = {name.replace("__", "."): value for name, value in values.items()}
        return presets.merge(preset, named).settings.ascent

    assert merged(ascent__step_size=0.05).change == 0
    assert merged(ascent__steps=5).change == preset.settings.ascent.change
    assert merged(ascent__strength=2.0).change == preset.settings.ascent.change
    assert merged(ascent__step_size=None).change == preset.settings.ascent.change
    both = merged(ascent__step_size=0.05, ascent__change=0.1)
    assert (both.step_size, both.change) == (0.05, 0.1)


def test_a_change_that_was_asked_for_stays_in_whatever_order():
    wanted = {"ascent.change": 0.1, "ascent.step_size": 0.05}
    assert presets.merge(presets.load("dream"), wanted).settings.ascent.change == 0.1


def test_in_files_too():
    text = 'schema = 1\nextends = "dream"\n[ascent]\nstep_size = 0.05\n'
    Path("one.toml").write_text(text)
    assert presets.load("one.toml").settings.ascent.change == 0
    Path("two.toml").write_text(text + "change = 0.2\n")
    assert presets.load("two.toml").settings.ascent.change == 0.2
    Path("three.toml").write_text('schema = 1\nextends = "two.toml"\n[ascent]\nsteps = 3\n')
    assert presets.load("three.toml").settings.ascent.change == 0.2


FILE = """
schema = 1
extends = "dream"
description = "Steered."
strong = true

[mask]
where = 'file:"my mask.png"'
feather = 0.1
invert = true
keep = "light, faces"

[regions]
"ellipse:.5,.5,.25,.25" = "block8:17,3"
'not:"a b.png"' = "guide:cup.png@parts"
rest = "textures:strong3"

[likeness]
amount = 0.25
layer = "edges"

[colour]
mode = "palette:colours.png"
when = "before"
"""


def test_a_preset_s_file_steers_and_is_written_as_it_is_read():
    Path("mine.toml").write_text(FILE)
    settings = presets.load("mine.toml").settings
    assert settings.mask.model_dump() == {
        "where": '"my mask.png"',
        "feather": 0.1,
        "invert": True,
        "keep": "faces,light",
    }
    assert settings.regions == {
        "ellipse:0.5,0.5,0.25,0.25": "block8:3,17",
        'not:"a b.png"': "guide:cup.png@parts",
        "rest": "textures:strong3",
    }
    assert settings.files == ("my mask.png", "a b.png", "colours.png")
    Path("again.toml").write_text(presets.to_toml(settings))
    assert presets.load("again.toml").settings == settings
    Path("child.toml").write_text(
        'schema = 1\nextends = "mine.toml"\n[regions]\nauto = "parts"\n[mask]\nkeep = ""\n'
    )
    child = presets.load("child.toml").settings
    assert child.regions == {"auto": "parts"}
    assert child.mask == settings.mask.model_copy(update={"keep": ""})
    merged = presets.merge(presets.load("mine.toml"), {"regions": {"rest": "parts"}})
    assert merged.settings.regions == {"rest": "parts"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[mask]\nwhere = "rst"', "mask.where"),
        ("[mask]\nfeather = 0.7", "0 to 0.5"),
        ('[mask]\nkeep = "face"', "faces"),
        ('[regions]\nautoo = "parts"', "auto"),
        ('[regions]\nauto = "7*"', "7*"),
        ("[likeness]\namount = 2.0", "0 to 1"),
        ('[colour]\nmode = "match:"', "no file"),
        ('[colour]\nwhen = "during"', "after, before"),
    ],
)
def test_what_is_wrong_in_it_is_told_with_its_place(text, said):
    Path("bad.toml").write_text(f'schema = 1\nextends = "dream"\n{text}\n')
    with pytest.raises(UsageError, match=r"bad\.toml:\d+: ") as caught:
        presets.load("bad.toml")
    assert said in str(caught.value)


def test_an_unknown_layer_of_likeness_is_told():
    Path("bad.toml").write_text(
        'schema = 1\nextends = "dream"\n[likeness]\namount = 0.2\nlayer = "blok5"\n'
    )
    with pytest.raises(UsageError, match="'blok5'") as caught:
        prepare(Request(photo="near/cat.png", preset="bad.toml", to_file=False))
    assert "Did you mean block5" in caught.value.advice


def test_python_takes_all_of_it(embedded):
    made = dreamer.dream(
        "near/cat.png",
        network=embedded,
        octaves=1,
        steps=1,
        threads=1,
        region={"far/part.png": "block5:3", "rest": "guide:far/cup.png@block5"},
        mask="far/my mask.png",
        mask_feather=0.02,
        color="palette:far/colours.png",
        color_when="before",
        keep="dark",
        likeness=0.2,
    )
    settings = made.recipe.settings
    assert settings.mask.where == '"my mask.png"'
    assert settings.mask.keep == "dark"
    assert settings.colour.mode == "palette:colours.png"
    assert settings.likeness.amount == 0.2
    assert list(settings.regions) == ["part.png", "rest"]
    with pytest.raises(InputError, match="none.png"):
        dreamer.dream("near/cat.png", network=embedded, mask="none.png")


# Visualizations have no photo.


def visual(target: str, network) -> visual_job.VisualJob:
    look = Request(network=network, threads=1, to_file=False)
    return visual_job.prepare(
        VisualRequest(targets=(target,), size=(64, 64), settings={"steps": 2}, look=look)
    )


@pytest.mark.parametrize(
    "target",
    ["guide:far/cup.png@block5", "style:far/cup.png@edges", "block8:strong5", "parts:weak2@step"],
)
def test_a_visualization_is_not_steered_by_a_photo(embedded, target):
    with pytest.raises(UsageError, match="is for dreams on a photo") as caught:
        visual(target, embedded)
    assert "dreamer dream noise -t TARGET" in caught.value.advice


@pytest.mark.parametrize("target", ["block8:3,17", "block5:all-3"])
def test_a_visualization_takes_some_channels(embedded, target):
    (made,) = visual(target, embedded).recipes
    assert made.target == target
    assert made.terms[0].choice == target.partition(":")[2]
    made = dreamer.visualize(target, network=embedded, size=64, steps=2, threads=1, views=2)
    assert made.pixels.isfinite().all()


def test_ctrl_c_in_the_middle_of_writing_a_recipe_down_is_ctrl_c(monkeypatch):
    made = resolved()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dreamer.recipe._told", interrupted)
    with pytest.raises(KeyboardInterrupt):
        everything().to_json()
    assert made.to_json()
