import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamer.core import judging
from dreamer.errors import InputError, OutputError, UsageError
from dreamer.media import metadata
from dreamer.networks import network as networks
from dreamer.networks import rows
from dreamer.render import visual_job, visualize
from dreamer.render.atlas import classes, plan, run, store
from dreamer.render.atlas.run import atlas
from dreamer.render.look import Request
from dreamer.render.visual_job import VisualRequest

WISH = {"layers": ["stem", "block5"], "channels": "0-9,17", "size": 64, "steps": 2}
ONE = {**WISH, "layers": ["stem"], "channels": "0-3"}


REAL, CANDIDATES = judging.held_out, classes.CANDIDATES


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Judge pictures by a glance: most of the time would go into it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "held_out", functools.partial(REAL, crops=1))
        patch.setattr(classes, "CANDIDATES", 2)
        yield


@pytest.fixture(scope="module")
def network():
    return networks.load("efficientnet_lite0", random_seed=0)


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    for index in range(5):
        noise = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(index))
        pixels = (noise * 255).byte().numpy()
        size = (150, 100 + index)
        Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    (folder / "torn.jpg").write_bytes(b"\xff\xd8 nothing more")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def wish(**more):
    return {**WISH, "channels": "0-9,13", **more}


@pytest.fixture(scope="module")
def whole(network, album, tmp_path_factory):
    """An atlas that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "atlas"
    made = atlas(folder, network=network, photos=album, **wish())
    assert (made.made, made.kept, made.left, made.whole) == (22, 0, 0, True)
    assert len(made.notes) == 1
    assert "torn.jpg" in made.notes[0]
    return folder


def test_every_channel_has_its_files_and_its_entry(whole, network):
    names = set(tree(whole))
    assert {"index.html", "atlas.json", "stem/channels.json", "block5/013.png"} <= names
    assert {f"stem/{channel:03}.png" for channel in (*range(10), 13)} <= names
    assert "stem/010.png" not in names
    with Image.open(whole / "stem/003.png") as picture:
        assert picture.size == (64, 64)
    recipe = json.loads(metadata.read(str(whole / "stem" / "003.png")))
    assert recipe["terms"][0]["channel"] == 3
    entry = store.read_channels(whole / "stem")[3]
    assert len(entry.recipe) == 64
    assert entry.pictures == ("003.png",)
    values = [photo.value for photo in entry.photos]
    assert values == sorted(values, reverse=True)
    assert len(values) == 4
    assert all((whole / "stem" / photo.file).is_file() for photo in entry.photos)
    record = store.read(whole)
    assert [layer.name for layer in record.layers] == ["stem", "block5"]
    assert [layer.rectified for layer in record.layers] == [True, False]
    assert str(whole.parent) not in (whole / "atlas.json").read_text()
    assert "album" not in json.dumps({n: t.decode("latin-1") for n, t in tree(whole).items()})


def test_a_whole_atlas_is_kept_as_it_is(whole, network, album):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*.[pj][np]g")}
    bytes_before = tree(whole)
    made = atlas(whole, network=network, photos=album, **wish())
    assert (made.made, made.kept, made.left) == (0, 22, 0)
    assert before == {path: path.stat().st_mtime_ns for path in whole.rglob("*.[pj][np]g")}
    assert tree(whole) == bytes_before


@pytest.mark.parametrize("after", [3, 6])  # among the photos, then the pictures
def test_what_was_stopped_goes_on_to_the_very_same_files(after, whole, network, album, tmp_path):
    seen = []

    def stop():
        return len(seen) > after

    folder = tmp_path / "atlas"
    made = atlas(
        folder, network=network, photos=album, **wish(), on_progress=seen.append, stop=stop
    )
    assert not made.whole
    assert (folder / "index.html").is_file()
    assert store.read(folder).left == made.left > 0
    again = atlas(folder, network=network, photos=album, **wish())
    assert again.whole
    assert again.kept == made.made
    assert tree(folder) == tree(whole)


def test_an_error_keeps_what_is_whole_and_shows_it(whole, network, album, tmp_path):
    folder = tmp_path / "atlas"

    def burst(at):
        if at.layer == "block5":
            raise RuntimeError("burst")

    with pytest.raises(RuntimeError, match="burst"):
        atlas(folder, network=network, photos=album, **wish(), on_progress=burst)
    assert '"stem"' in (folder / "index.html").read_text()
    assert len(list((folder / "stem").glob("???.png"))) == 11
    atlas(folder, network=network, photos=album, **wish())
    assert tree(folder) == tree(whole)


def test_a_lost_picture_is_made_again_and_nothing_else_is_touched(whole, network, album, tmp_path):
    folder = tmp_path / "atlas"
    shutil.copytree(whole, folder)
    (folder / "block5" / "004.png").unlink()
    (folder / "block5" / "002-photo-1.jpg").unlink()
    others = {p: p.stat().st_mtime_ns for p in folder.rglob("*.png")}
    made = atlas(folder, network=network, photos=album, **wish())
    assert (made.made, made.kept) == (1, 21)
    assert all(path.stat().st_mtime_ns == time for path, time in others.items())
    assert tree(folder) == tree(whole)


def test_a_batch_is_made_of_the_same_channels_whatever_there_is_of_it(
    network, tmp_path, monkeypatch
):
    made, real = [], visualize.make

    def make(recipes, *rest, **options):
        made.append([recipe.terms[0].channel for recipe in recipes])
        return real(recipes, *rest, **options)

    monkeypatch.setattr(visualize, "make", make)
    atlas(tmp_path, network=network, **{**ONE, "channels": "1-3,9,31"})
    assert sorted(made) == [list(range(8)), list(range(8, 16)), list(range(24, 32))]
    (tmp_path / "stem" / "002.png").unlink()
    made.clear()
    atlas(tmp_path, network=network, **{**ONE, "channels": "1-3,9,31"})
    assert made == [list(range(8))]


def test_a_killed_run_goes_on_to_the_very_same_files(tmp_path, monkeypatch):
    """Killed for good, whatever it was doing, by what no program can catch."""
    monkeypatch.setattr(judging, "held_out", REAL)
    monkeypatch.setattr(classes, "CANDIDATES", CANDIDATES)
    code = (
        "from dreamer.networks import network; from dreamer.render.atlas.run import atlas;"
        "atlas('atlas', network=network.load('efficientnet_lite0', random_seed=0),"
        " layers=['stem'], channels='0-23', size=64, steps=4)"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    journal = tmp_path / "atlas" / "stem" / "channels.json"
    until = time.monotonic() + 60
    while not journal.exists() and time.monotonic() < until:
        time.sleep(0.01)
    killed.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    assert killed.wait() != 0
    loaded = networks.load("efficientnet_lite0", random_seed=0)
    settings = {"layers": ["stem"], "channels": "0-23", "size": 64, "steps": 4}
    made = atlas(tmp_path / "atlas", network=loaded, **settings)
    assert made.whole
    assert 0 < made.kept < 24
    atlas(tmp_path / "other", network=loaded, **settings)
    assert tree(tmp_path / "atlas") == tree(tmp_path / "other")


def test_more_layers_and_channels_join_an_atlas_and_change_nothing_there(network, tmp_path):
    folder = tmp_path / "atlas"
    atlas(folder, network=network, **ONE)
    first = (folder / "stem" / "002.png").read_bytes()
    atlas(folder, network=network, **{**ONE, "layers": ["block5"]})
    made = atlas(folder, network=network, **{**ONE, "channels": range(5)})
    assert (made.made, made.kept) == (1, 4)
    assert (folder / "stem" / "002.png").read_bytes() == first
    assert [layer.name for layer in store.read(folder).layers] == ["stem", "block5"]


def test_other_settings_are_refused_by_name_until_they_may_replace(network, tmp_path):
    folder = tmp_path / "atlas"
    atlas(folder, network=network, **{**ONE, "layers": ["stem", "block5"]})
    (folder / "stem" / "mine.txt").touch()
    with pytest.raises(OutputError, match=r"steps \(3 instead of 2\)"):
        atlas(folder, network=network, **{**ONE, "steps": 3})
    with pytest.raises(OutputError, match="the seed"):
        atlas(folder, network=network, **ONE, seed=4)
    other = networks.load("efficientnet_lite0", random_seed=1)
    with pytest.raises(OutputError, match="weights"):
        atlas(folder, network=other, **ONE)
    made = atlas(folder, network=network, **{**ONE, "channels": "1", "steps": 3}, overwrite=True)
    assert made.made == 1
    assert set(tree(folder)) == {
        "atlas.json",
        "index.html",
        "stem/001.png",
        "stem/channels.json",
        "stem/mine.txt",
    }


def test_variants_are_files_of_their_own(network, tmp_path):
    folder = tmp_path / "atlas"
    atlas(folder, network=network, **{**ONE, "channels": "1"}, variants=2)
    entry = store.read_channels(folder / "stem")[1]
    assert entry.pictures == ("001.png", "001-2.png")
    assert len(set(entry.scores)) == 2
    assert (folder / "stem/001.png").read_bytes() != (folder / "stem/001-2.png").read_bytes()


def test_one_run_at_a_time(network, tmp_path):
    with (
        store.claimed(tmp_path),
        pytest.raises(OutputError, match="Another dreamer"),
    ):
        atlas(tmp_path, network=network, **ONE)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": 1, "layers": 3}', '{"schema": 99}'])
def test_a_damaged_or_newer_atlas_is_refused_and_may_be_replaced(text, network, tmp_path):
    (tmp_path / "atlas.json").write_text(text)
    with pytest.raises(OutputError, match="damaged|newer"):
        run.look_at(plan.plan(plan.Wanted(tmp_path, network=network, **ONE)))
    wanted = plan.Wanted(tmp_path, network=network, **ONE, overwrite=True)
    assert run.look_at(plan.plan(wanted)).files == 4


def test_somebody_elses_page_is_not_replaced(network, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(OutputError, match="not an atlas's"):
        atlas(tmp_path, network=network, **ONE)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_hostile_record_names_no_file_outside_its_folder(network, tmp_path):
    folder = tmp_path / "atlas"
    atlas(folder, network=network, **ONE)
    (tmp_path / "treasure.png").touch()
    path = folder / "stem" / "channels.json"
    values = json.loads(path.read_text())
    values["channels"]["0"]["pictures"] = ["../../treasure.png"]
    path.write_text(json.dumps(values))
    assert 0 not in store.read_channels(folder / "stem")
    atlas(folder, network=network, **{**ONE, "steps": 3}, overwrite=True)
    assert (tmp_path / "treasure.png").exists()


def test_a_folder_that_is_a_file_is_an_output_error(network, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file"):
        atlas(tmp_path / "file", network=network, **ONE)


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"layers": ["blok5"]}, UsageError, "block5"),
        ({"layers": []}, UsageError, "No layers"),
        ({"channels": "0-32"}, UsageError, "no channel 32.*0 to 31"),
        ({"channels": "999999999"}, UsageError, "0 to 31"),
        ({"channels": "5-3"}, UsageError, "0-15,37"),
        ({"channels": "a"}, UsageError, "0-15,37"),
        ({"channels": "1,,2"}, UsageError, "0-15,37"),
        ({"channels": "-3"}, UsageError, "0-15,37"),
        ({"channels": ""}, UsageError, "0-15,37"),
        ({"size": 0}, UsageError, "size"),
        ({"variants": 17}, UsageError, "variants"),
        ({"steps": 0}, UsageError, "steps"),
        ({"seed": -1}, UsageError, "seed"),
        ({"photos": "nowhere"}, InputError, "nowhere"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_made(
    wrong, error, said, network, tmp_path
):
    with pytest.raises(error, match=said):
        atlas(tmp_path / "atlas", network=network, **{**ONE, **wrong})
    assert not os.listdir(tmp_path)


def test_an_atlas_among_the_photos_is_refused(network, album):
    with pytest.raises(OutputError, match="photos"):
        atlas(album, network=network, photos=album, **ONE)
    with pytest.raises(OutputError, match="stem"):
        (album / "sub" / "stem").mkdir(parents=True)
        (album / "0.png").rename(album / "sub" / "stem" / "0.png")
        try:
            atlas(album / "sub", network=network, photos=album / "sub" / "stem", **ONE)
        finally:
            (album / "sub" / "stem" / "0.png").rename(album / "0.png")
            (album / "sub" / "stem").rmdir()
            (album / "sub").rmdir()


def test_layers_by_level_by_name_all_and_the_logits_only_by_name():
    row = rows.row("efficientnet_lite0")

    def names(wanted):
        return [layer.name for layer in plan.chosen_layers(row, wanted)]

    assert names(None) == ["block2", "block5", "block8", "block9", "block10", "block11"]
    assert names(["objects", "block2", "block11"]) == ["block2", "block10", "block11"]
    assert names(["all"]) == [layer.name for layer in row.layers][:-1]
    assert names(["logits", "stem"]) == ["stem", "logits"]


def test_a_picture_has_the_recipe_by_which_visualize_makes_it(network, tmp_path):
    planned = plan.plan(plan.Wanted(tmp_path, network=network, size=96, steps=7, seed=3))
    request = Request(network=network, seed=3, threads=1)
    wanted = VisualRequest(("block8:37",), size=(96, 96), settings={"steps": 7}, look=request)
    assert visual_job.prepare(wanted).recipes[0] == planned.recipes("block8", 37)[0]


def test_batches_do_not_depend_on_what_is_wanted():
    every = plan.batches(20, range(20), 8)
    assert every == [tuple(range(8)), tuple(range(8, 16)), tuple(range(16, 20))]
    assert plan.batches(20, [17, 3], 8) == [every[0], every[2]]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50", "densenet121", "vit_b_16"])
def test_every_layer_has_a_folder_of_its_own(name):
    folders = plan.folder_names(rows.row(name))
    assert len({folder.casefold() for folder in folders.values()}) == len(folders)
    assert all(
        folder.strip(".") == folder == os.path.basename(folder) for folder in folders.values()
    )


def test_odd_names_of_layers_become_plain_folders():
    layers = tuple(rows.Layer(n, 1, 1, 0.5) for n in ("a/b", "a b", "A_b", "..", "", "ü" * 300))
    row = rows.Row("odd", 1, "nchw", (), layers, {}, {})
    folders = list(plan.folder_names(row).values())
    assert folders == ["a_b", "a_b-2", "A_b-3", "layer", "layer-2", "_"]
