"""Caricatures and directions on their way: in recipes, to workers, and back from a file."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dreamer
from dreamer import cli, recipe
from dreamer.errors import InputError, UsageError
from dreamer.film import fades
from dreamer.media import images
from dreamer.recipe import Recipe
from dreamer.render import pictures, steering, still
from dreamer.render.batch import cluster
from dreamer.render.batch.tasks import Made, Task
from dreamer.render.job import prepare, read_recipe
from dreamer.render.look import Request, look
from dreamer.settings import Settings, check

# Written before terms could be anything but layers, channels, neurons and classes.
OLD = (
    '{"schema":1,"engine":2,"dreamer":"0.1.0","preset":"dream","origin":{"start":"sky","name":"",'
    '"sha256":""},"size":[64,43],"network":"efficientnet_lite0",'
    '"weights":"579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",'
    '"settings":{"description":"The classic: animals, eyes and patterns grow out of whatever is '
    'there.","strong":true,"target":"0.7*parts - 0.2*class:zebra + block5:3@1,2","targets":{},'
    '"octaves":{"count":1,"scale":1.6,"coarsest":150},"ascent":{"steps":0,"coarse_steps":2.0,'
    '"step_size":0.03,"strength":1.0,"decay":0.0,"momentum":0.5},"view":{"jitter":16,'
    '"rotate":7.0,"zoom":0.1},"gradient":{"tilt":1.5,"grain":0.8,"decorrelate":0.5},'
    '"colour":{"mode":"free","hold":0.03},"mix":{"blend":0.0}},"terms":[{"weight":0.7,'
    '"layer":"block9","channel":null,"at":null,"label":"block9"},{"weight":-0.2,'
    '"layer":"logits","channel":340,"at":null,"label":"class:zebra"},{"weight":1.0,'
    '"layer":"block5","channel":3,"at":[1,2],"label":"block5:3@1,2"}],"octaves":[[64,43]],'
    '"steps":[0],"seed":3,"threads":1,"device":"cpu","partial":false}'
)
OLD_HASH = "a32bf8270194c9408fd48faa02c648b0320b306a0de4c2f2752eca6dae889b44"

TARGET = 'like:"far/my cat.png"@parts + 0.5*direction:far/v.npy@block8 - 0.2*block5:[3, -2*12]'
NAMED = 'like:"my cat.png"@parts + 0.5*direction:v.npy@block8 - 0.2*block5:[3, -2*12]'
QUICK = {"size": 64, "octaves": 1, "steps": 1, "threads": 1}
FLAGS = ("--size", "64", "--octaves", "1", "--steps", "1", "--threads", "1")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, chelsea, coffee):
    monkeypatch.chdir(tmp_path)
    Path("far").mkdir()
    Path("near").mkdir()
    for source, name in ((chelsea, "far/my cat.png"), (coffee, "near/cup.png")):
        with Image.open(source) as photo:
            photo.convert("RGB").resize((60, 40)).save(name)
    np.save("far/v.npy", np.arange(112) - 50.0)


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


def resolved(target: str = TARGET) -> Recipe:
    asked = Request(photo="near/cup.png", overrides={"target": target}, size=64, to_file=False)
    return prepare(replace(asked, device="cpu", threads=1)).recipe


def test_recipes_without_files_and_directions_keep_their_text_and_hash():
    read = recipe.from_json(OLD, "old.png")
    assert read.to_json() == OLD
    assert read.hash == OLD_HASH
    assert "like" not in read.to_dict()["terms"][0]


def test_a_recipe_says_what_was_in_its_files_and_not_where_they_were(tmp_path):
    made = resolved()
    text = made.to_json()
    assert str(tmp_path) not in text
    assert "far" not in text
    assert made.settings.target == NAMED
    like, direction, inline = made.to_dict()["terms"]
    assert like["like"] == {"name": "my cat.png", "sha256": made.terms[0].like.sha256}
    assert like["label"] == 'like:"my cat.png"@block9'
    assert [share for _, share in direction["direction"]] == [k - 50 for k in range(112) if k != 50]
    assert inline["direction"] == [[3, 1.0], [12, -2.0]]
    again = recipe.from_json(text, "it")
    assert again == made
    assert again.hash == made.hash
    assert again.terms[0].like.path == ""
    assert made.terms[0].like.path == str(tmp_path / "far/my cat.png")
    for travelled in (pickle.loads(pickle.dumps(made)), made.model_copy(update={"seed": 3})):
        assert travelled.terms[0].like.path == made.terms[0].like.path


def test_the_hash_is_of_the_content_wherever_it_is():
    first = resolved()
    Path("far").rename("moved")
    assert resolved(TARGET.replace("far/", "moved/")).hash == first.hash
    np.save("moved/v.npy", np.arange(112) - 49.0)
    changed = resolved(TARGET.replace("far/", "moved/"))
    assert changed.hash != first.hash
    said = ["what is in the files that the target names"]
    assert recipe.differences(first, changed) == said
    Image.new("RGB", (60, 40), "teal").save("moved/my cat.png")
    assert resolved(TARGET.replace("far/", "moved/")).hash not in (first.hash, changed.hash)


@pytest.mark.parametrize(
    "wrong",
    [
        {"like": {"name": "a.png", "sha256": "../../etc"}},
        {"like": {"name": "a.png"}},
        {"direction": [[3, 0.0]]},
        {"direction": [[3, 1.0], [3, 2.0]]},
        {"direction": [[-3, 1.0]]},
    ],
    ids=str,
)
def test_a_term_that_was_tampered_with_is_refused(wrong):
    values = json.loads(OLD)
    values["terms"][0] |= wrong
    with pytest.raises(UsageError, match="damaged"):
        recipe.from_json(json.dumps(values), "x.png")


def test_a_recipe_cannot_say_which_file_is_read():
    values = json.loads(OLD)
    values["terms"][0]["like"] = {"name": "a.png", "sha256": 64 * "0", "path": "/etc/passwd"}
    assert recipe.from_json(json.dumps(values), "x.png").terms[0].like.path == ""


def test_a_dream_of_files_is_made_again_beside_them_and_nowhere_else(run, monkeypatch):
    assert run("dream", "near/cup.png", "-t", TARGET, *FLAGS, "-o", "near/a.png")[0] == 0
    code, _, said = run("dream", "--from", "near/a.png", "-o", "b.png")
    assert code == 4
    assert "needs the picture 'my cat.png', which is not here" in said
    Path("far/my cat.png").rename("near/my cat.png")  # beside the recipe's file; no v.npy is needed
    assert run("dream", "--from", "near/a.png", "-o", "b.png")[0] == 0
    assert Path("b.png").read_bytes() == Path("near/a.png").read_bytes()
    monkeypatch.chdir("near")  # in the folder one is in
    Path("../b.png").rename("../far/b.png")
    assert run("dream", "--from", "../far/b.png", "-o", "c.png")[0] == 0
    assert Path("c.png").read_bytes() == Path("a.png").read_bytes()
    Image.new("RGB", (60, 40), "teal").save("my cat.png")  # another photo of that name
    code, _, said = run("dream", "--from", "a.png", "-o", "d.png")
    assert code == 4
    assert "'my cat.png', and the one of that name here is another" in said
    asked = (*FLAGS, "-t", 'like:"my cat.png"@parts', "-o", "d.png")
    assert run("dream", "--from", "a.png", *asked)[0] == 0  # it was asked for by name
    assert read_recipe("d.png").terms[0].like.sha256 != read_recipe("a.png").terms[0].like.sha256


def test_a_photo_that_is_replaced_before_it_is_read_is_an_error(embedded):
    made = resolved()
    Image.new("RGB", (60, 40), "teal").save("far/my cat.png")
    pictures.reference.cache_clear()  # what was read before is still the right one
    with pytest.raises(InputError, match="my cat.png' has changed"):
        still.dream(made, images.load("near/cup.png"), embedded)


def test_the_middle_of_a_photo_is_cut_to_the_picture_s_shape():
    made = resolved()
    (photo,) = steering.references(made, (20, 40)).values()
    whole = images.load("far/my cat.png").pixels[None]
    assert torch.equal(photo, whole[:, :, :, 20:40])
    (wide,) = steering.references(made, (60, 20)).values()
    assert torch.equal(wide, whole[:, :, 10:30])
    assert next(iter(steering.references(made, (24, 16)).values())).shape == (1, 3, 16, 24)
    assert steering.references(recipe.from_json(OLD, "x"), (40, 20)) == {}
    assert list(steering.references(made, (20, 40))) == [made.terms[0].like.sha256]


def test_python_and_presets_take_files_too(embedded):
    made = dreamer.dream("near/cup.png", target=TARGET, network=embedded, **QUICK)
    still_photo = dreamer.dream(
        "near/cup.png", target=TARGET, network=embedded, **QUICK, strength=0
    )
    assert not torch.equal(made.pixels, still_photo.pixels)
    Path("mine.toml").write_text(
        'schema = 1\nextends = "dream"\n[targets]\nefficientnet_lite0 = "like:none.png@block5"\n'
    )
    with pytest.raises(InputError, match=r"none\.png"):
        dreamer.dream("near/cup.png", preset="mine.toml", network=embedded, **QUICK)
    values = {"description": "x", "target": "parts"}
    files = {"efficientnet_lite0": "like:none.png@block5 + direction:none.npy@block5"}
    assert isinstance(check({**values, "targets": files}), Settings)
    assert not isinstance(
        check({**values, "targets": {"efficientnet_lite0": "like:a@blok5"}}), Settings
    )


def test_a_batch_makes_the_very_pictures_that_dream_makes(run):
    flags = (*FLAGS, "-t", TARGET)
    assert run("batch", "near", *flags, "-o", "out")[0] == 0
    assert run("dream", "near/cup.png", *flags, "-o", "one.png")[0] == 0
    assert Path("out/cup-dream.png").read_bytes() == Path("one.png").read_bytes()
    code, said, _ = run("batch", "near", *flags, "-o", "out", "--json")
    assert code == 0
    assert json.loads(said)["result"]["counts"]["skipped"] == 1


def test_a_node_of_a_cluster_takes_the_photos_that_travelled():
    asked = Request(overrides={"target": TARGET, "octaves.count": 1, "ascent.steps": 1})
    how = look(replace(asked, device="cpu", threads=1))
    like = next(iter(how.files.photos.values()))
    shipped = {f"{like.sha256}.png": Path("far/my cat.png").read_bytes()}
    data = Path("near/cup.png").read_bytes()
    for path in ("far/my cat.png", "far/v.npy"):
        Path(path).unlink()
    task = pickle.loads(pickle.dumps(Task(1, how, "photo", "cup.png", 64, ".png", True, data)))
    assert isinstance(cluster.make(task, cluster.VERSION, {}, shipped), Made)


def test_a_fade_goes_from_one_photo_or_direction_to_another():
    one, two = resolved("like:near/cup.png@block5"), resolved('like:"far/my cat.png"@block5')
    both = fades.mixed(one, two, 0.25)
    assert [(term.weight, term.label) for term in both.terms] == [
        (0.75, "like:cup.png@block5"),
        (0.25, 'like:"my cat.png"@block5'),
    ]
    assert [Path(term.like.path).name for term in both.terms] == ["cup.png", "my cat.png"]
    turned = fades.mixed(resolved("block5:[1, 2]"), resolved("block5:[1]"), 0.5)
    assert [term.label for term in turned.terms] == ["block5:[1, 2]", "block5:[1]"]


def test_a_zoom_towards_a_photo_is_made(run):
    arguments = ("--size", "32x32", "--seconds", "0.5", "--fps", "4", "--threads", "1")
    flags = ("--octaves", "1", "--steps", "1", "-t", TARGET, "-o", "z.mp4")
    code, _, said = run("zoom", "near/cup.png", *arguments, *flags)
    assert code == 0, said
