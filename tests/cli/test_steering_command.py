"""The flags that steer a dream, as users write them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dreamer import cli
from dreamer.cli.options import LookOptions, complete_color, complete_keep, complete_mask
from dreamer.errors import UsageError
from dreamer.render.job import prepare, read_recipe
from dreamer.render.look import look
from dreamer.settings import Likeness, Mask

FAST = ("--size", "64", "--octaves", "1", "--steps", "1", "--threads", "1")
REGION = "ellipse:0.5,0.5,0.2,0.2"


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, chelsea, coffee):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "in").mkdir()
    for source, name in ((chelsea, "in/cat.png"), (coffee, "in/cup.png"), (coffee, "guide.png")):
        with Image.open(source) as photo:
            photo.convert("RGB").resize((64, 48)).save(folder / name)
    mask = Image.new("L", (64, 48))
    mask.paste(255, (16, 8, 48, 40))
    for name in ("mask.png", "an odd=mask, really.png"):
        mask.save(folder / name)
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, pictures):
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capfd):
    def run(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def planned(run):
    """What `--dry-run --json` says of the recipe."""

    def planned(*flags):
        code, out, err = run("dream", "in/cat.png", *FAST, *flags, "--dry-run", "--json")
        assert code == 0, err
        result = json.loads(out)["result"]
        assert result["dry_run"]
        return result["recipe"]

    return planned


@pytest.mark.parametrize(
    ("flags", "section", "wanted"),
    [
        (("--mask", "mask.png"), "mask", {"where": "mask.png"}),
        (("--mask", "NOT:./mask.png"), "mask", {"where": "not:mask.png"}),
        (("--mask", "Auto"), "mask", {"where": "auto"}),
        (("--mask", "ellipse:.5,.5,.3,.3"), "mask", {"where": "ellipse:0.5,0.5,0.3,0.3"}),
        (
            ("--mask", "an odd=mask, really.png"),
            "mask",
            {"where": '"an odd=mask, really.png"'},
        ),
        (("--mask", "auto", "--mask-feather", "0"), "mask", {"where": "auto", "feather": 0.0}),
        (("--mask", "mask.png", "--mask-invert"), "mask", {"where": "mask.png", "invert": True}),
        (("--keep", "light, dark"), "mask", {"keep": "dark,light"}),
        (("--color", "match:guide.png"), "colour", {"mode": "match:guide.png"}),
        (("--color", "PALETTE: guide.png"), "colour", {"mode": "palette:guide.png"}),
        (
            ("--color", "match:guide.png", "--color-when", "before"),
            "colour",
            {"mode": "match:guide.png", "when": "before"},
        ),
        (("--likeness", "0.4"), "likeness", {"amount": 0.4}),
        (
            ("--region", f"{REGION}=block5:3 + parts", "--region", "rest=class:zebra"),
            "regions",
            {REGION: "block5:3 + parts", "rest": "class:zebra"},
        ),
        (
            ("--region", '"an odd=mask, really.png"=block5'),
            "regions",
            {'"an odd=mask, really.png"': "block5"},
        ),
    ],
    ids=str,
)
def test_flags_become_settings(planned, flags, section, wanted):
    usual = {
        "mask": Mask().model_dump(),
        "colour": {"hold": 0.03},
        "likeness": Likeness().model_dump(),
        "regions": {},
    }
    settings = planned(*flags)["settings"]
    assert settings[section] == {**usual[section], **wanted}
    for other in {"mask", "likeness", "regions"} - {section}:
        assert other not in settings


def test_without_the_flags_nothing_is_steered():
    request, _ = LookOptions(target="parts").request()
    named = {name: value for name, value in request.overrides.items() if value is not None}
    assert named == {"target": "parts"}
    assert look(request).settings.masks == ()
    request, _ = LookOptions(mask_invert=True, mask="auto", regions=["auto=parts"]).request()
    assert request.overrides["mask.invert"] is True
    assert request.overrides["regions"] == {"auto": "parts"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--mask", "autoo"), ("autoo", "auto")),
        (("--mask", ""), None),
        (("--mask", "not:"), ("empty", "ellipse:X,Y,RX,RY")),
        (("--mask", "ellipse:0.5,0.5,0.3"), ("four numbers", "ellipse:0.5,0.4,0.3,0.35")),
        (("--mask", "ellipse:0.5,0.5,0,0.3"), ("radii", "shares")),
        (("--mask", "rest"), ("'rest' is what no region covers", "--region")),
        (("--mask", "not:rest"), ("not:rest", "Name these regions")),
        (("--mask", "auto", "--mask-feather", "0.6"), ("--mask-feather: 0.6", "0 to 0.5")),
        (("--keep", "face"), ("'face'", "Did you mean faces?")),
        (("--keep", "dark,dark"), ("'dark' twice", "Name each once")),
        (("--color", "match"), ("names no file", "match:FILE")),
        (("--color", "keep:guide.png"), ("names a file", "match:FILE")),
        (("--color", "matsch:guide.png"), ("'matsch:guide.png'", "Did you mean match?")),
        (("--color-when", "befor"), ("befor", "Did you mean before?")),
        (("--region", "auto"), ("'auto' has no '='", "Write MASK=TARGET")),
        (("--region", "=parts"), ("has no mask", "Write MASK=TARGET")),
        (("--region", "auto="), ("has no target", "Write MASK=TARGET")),
        (("--region", "autoo=parts"), ("autoo", "auto")),
        (("--region", "auto=7*"), ("7*", "--help")),
        (("--region", "auto=blok5"), ("blok5", "Did you mean block5")),
        (("--region", "auto=parts", "--region", "auto=eyes"), ("'auto' twice", "auto=A + B")),
        (
            ("--region", "ellipse:.5,.5,.2,.20=parts", "--region", f"{REGION}=textures"),
            (f"'{REGION}' twice", f"{REGION}=A + B"),
        ),
        (("--region", "auto=parts", "-t", "eyes"), ("both say what to dream", "rest=TARGET")),
        (("--likeness", "1.5"), ("--likeness: 1.5", "0 to 1")),
        (("--likeness", "0.5", "--canvas", "maco"), ("likeness", "--canvas pixel or fourier")),
        (("--mask", "auto", "-t", "-1*parts"), ("only avoids", "positive weight")),
        (("-t", "guide:guide.png@logits"), ("sees it as one", "Name an earlier layer")),
        (("-t", "block5:strong900"), ("900 channels", "1 to")),
        (("-t", "style:guide.png@edges:means"), ("means of a style", "guide:photo.jpg")),
    ],
    ids=str,
)
def test_a_mistake_ends_with_2_and_says_what_would_be_right(run, flags, said):
    code, out, err = run("dream", "in/cat.png", *FAST, *flags, "-o", "out.png")
    if said is None:  # empty is no mask
        assert code == 0
        return
    assert code == 2
    assert out == ""
    for part in said:
        assert part in err
    assert "Traceback" not in err
    assert not Path("out.png").exists()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--mask", "gone.png"), "gone.png"),
        (("--region", "gone.png=parts"), "gone.png"),
        (("--color", "palette:gone.png"), "gone.png"),
        (("-t", "guide:gone.png@parts"), "gone.png"),
        (("--mask", "black.png"), "'black.png' is black all over"),
        (("--mask", "mask.png", "-t", "guide:black.png@parts"), "black.png' is of one colour"),
        (("--mask", "alpha"), "no transparency"),
    ],
    ids=str,
)
def test_pictures_that_cannot_steer_end_with_4(run, flags, named):
    Image.new("L", (64, 48)).save("black.png")
    code, _, err = run("dream", "in/cat.png", *FAST, *flags, "-o", "out.png")
    assert code == 4
    assert named in err
    assert not Path("out.png").exists()


def test_a_dry_run_shows_the_regions_with_their_targets(run):
    flags = ("--region", f"{REGION}=textures", "--region", "rest=guide:guide.png@block5")
    code, out, _ = run("dream", "in/cat.png", *FAST, *flags, "--dry-run")
    assert code == 0
    assert f"target   {REGION}: block5; rest: guide:guide.png@block5" in out
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (("--mask", "mask.png"), "mask.png"),
        (("--keep", "dark,edges"), "edges"),
        (("--color", "match:guide.png"), "guide.png"),
        (("--likeness", "0.5"), "likeness"),
    ],
    ids=str,
)
def test_a_dry_run_shows_what_else_steers(run, flags, shown):
    code, out, _ = run("dream", "in/cat.png", *FAST, *flags, "--dry-run")
    assert code == 0
    assert shown in out


def test_an_inverted_mask_needs_a_mask(run):
    code, _, err = run("dream", "in/cat.png", *FAST, "--mask-invert", "-o", "out.png")
    assert code == 2 or "--mask" in err


def test_a_note_is_said_once(run):
    flags = ("--region", "ellipse:.4,.5,.3,.3=edges", "--region", "ellipse:.6,.5,.3,.3=textures")
    code, _, err = run("dream", "in/cat.png", *FAST, *flags, "-o", "a.png")
    assert code == 0
    assert err.count("Note: regions overlap in 17% of the picture") == 1
    code, out, _ = run("dream", "in/cat.png", *FAST, *flags, "-o", "b.png", "--json")
    assert code == 0
    (note,) = json.loads(out)["result"]["notes"]
    assert note.startswith("regions overlap")


def test_one_mask_by_two_paths_is_told(run):
    flags = ("--region", "mask.png=edges", "--region", f"{Path.cwd()}/mask.png=textures")
    code, _, err = run("dream", "in/cat.png", *FAST, *flags, "-o", "out.png")
    assert code == 2
    assert "mask.png" in err


def test_the_rest_alone_with_a_mask_is_no_bug(run):
    flags = ("--region", "rest=edges", "--mask", "mask.png")
    code, _, err = run("dream", "in/cat.png", *FAST, *flags, "-o", "out.png")
    assert code in (0, 2), err


STEERED = ("--mask", "auto", "-t", "block3:5 + guide:guide.png@edges", "--mask-feather", "0.05")


def test_a_batch_makes_the_very_pictures_that_dream_makes(run):
    code, out, err = run("batch", "in", *FAST, *STEERED, "-o", "out", "--json")
    assert code == 0, err
    items = json.loads(out)["result"]["items"]
    assert [item["status"] for item in items] == ["done", "done"]
    for name in ("cat", "cup"):
        assert run("dream", f"in/{name}.png", *FAST, *STEERED, "-o", f"{name}.png")[0] == 0
        made = Path(f"out/{name}-dream.png")
        assert made.read_bytes() == Path(f"{name}.png").read_bytes()
        recipe = read_recipe(str(made))
        assert recipe.settings.mask.where == "auto"
        assert [each.name for each in recipe.pictures] == ["guide.png"]
        with Image.open(made) as dream, Image.open(f"in/{name}.png") as photo:
            same = (np.array(dream) == np.array(photo)).all(-1).mean()
        assert 0.1 < same < 0.95  # outside of a mask of its own
    code, out, _ = run("batch", "in", *FAST, *STEERED, "-o", "out", "--json")
    assert code == 0
    assert json.loads(out)["result"]["counts"]["skipped"] == 2


def test_a_batch_with_a_guide_that_leads_nowhere_is_refused_as_a_whole(run):
    Image.new("RGB", (64, 48), "teal").save("plain.png")
    code, _, err = run("batch", "in", *FAST, "-t", "guide:plain.png@edges", "-o", "out")
    assert code == 4
    assert "plain.png' is of one colour" in err
    assert not list(Path().glob("out/*.png"))


def test_a_photo_without_what_the_mask_looks_for_fails_alone(run):
    with Image.open("in/cat.png") as photo:
        photo.putalpha(Image.open("mask.png"))
        photo.save("in/cut.png")
    code, out, _ = run("batch", "in", *FAST, "--mask", "alpha", "-o", "out", "--json")
    assert code == 1
    items = {Path(item["input"]).name: item for item in json.loads(out)["result"]["items"]}
    assert items["cut.png"]["status"] == "done"
    for name in ("cat.png", "cup.png"):
        assert items[name]["status"] == "failed"
        assert "no transparency" in items[name]["error"]["message"]


def test_films_refuse_the_mask_alpha(run):
    flags = ("--mask", "alpha", "--octaves", "1", "--steps", "1", "--seconds", "1")
    code, _, err = run("zoom", "in/cat.png", *flags, "--size", "64x48", "-o", "z.mp4")
    assert code == 2
    assert "films have no transparency" in err


def test_flags_make_the_request_that_python_makes():
    request, _ = LookOptions(
        mask="mask.png", keep="dark", color="match:guide.png", regions=[f"{REGION}=block5"]
    ).request()
    job = prepare(replace(request, photo="in/cat.png", to_file=False))
    assert job.recipe.settings.mask.where == "mask.png"
    assert [each.name for each in job.recipe.files] == ["mask.png", "guide.png"]
    with pytest.raises(UsageError, match="no '='"):
        LookOptions(regions=["auto"]).request()


# Completion.


@pytest.mark.parametrize(
    ("complete", "begun", "offered"),
    [
        (complete_mask, "a", ["alpha", "auto", "an odd=mask, really.png"]),
        (complete_mask, "not:a", ["not:alpha", "not:auto", "not:an odd=mask, really.png"]),
        (complete_mask, "el", ["ellipse:"]),
        (complete_mask, "mask.p", ["mask.png"]),
        (complete_mask, "in/", ["in/cat.png", "in/cup.png"]),
        (complete_mask, "in/ca", ["in/cat.png"]),
        (complete_mask, "nowhere/", []),
        (complete_keep, "", ["faces", "edges", "dark", "light"]),
        (complete_keep, "f", ["faces"]),
        (complete_keep, "faces,", ["faces,edges", "faces,dark", "faces,light"]),
        (complete_keep, "faces,dark,l", ["faces,dark,light"]),
        (complete_keep, "faces,f", []),
        (complete_keep, "faces,edges,dark,light,", []),
        (complete_color, "", ["free", "keep", "luma", "match:", "palette:"]),
        (complete_color, "m", ["match:"]),
        (complete_color, "pal", ["palette:"]),
        (complete_color, "match:m", ["match:mask.png"]),
        (complete_color, "match:x", []),
    ],
)
def test_what_is_begun_is_completed(complete, begun, offered):
    assert complete(begun) == offered


def test_one_file_by_two_paths_is_one_file(run):
    flags = ("--mask", "./mask.png", "--color", "match:mask.png", "--dry-run")
    assert run("dream", "in/cat.png", *flags, "-o", "x.png")[0] == 0
