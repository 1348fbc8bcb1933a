"""How much work a dream is worth: drafts, what presets promise, and finer ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from clip_making import still, write
from hypothesis import given
from hypothesis import strategies as st

import dreamer
from dreamer import cli, presets
from dreamer.film import fades
from dreamer.media import images
from dreamer.recipe import Origin, Recipe, from_json
from dreamer.render import video_plan, zoom_plan
from dreamer.render.film_job import Delivery
from dreamer.render.look import Request, look, read_recipe
from dreamer.settings import QUALITIES

PHOTO = Origin(name="a.png", sha256="1" * 64)
SIDES = st.integers(64, 5000)
SMALL = {"size": 96, "octaves": 2, "octaves_coarsest": 60, "threads": 2}


def recipe(
    quality: str | None, size: tuple[int, int] = (512, 340), preset: str = "dream", **overrides: Any
) -> Recipe:
    asked = {f"ascent.{name}": value for name, value in overrides.items()}
    request = Request(
        preset=preset,
        overrides={"ascent.quality": quality, **asked},
        threads=1,
        device="cpu",
    )
    return look(request).recipe(PHOTO, size)


@pytest.mark.parametrize("preset", presets.names())
def test_every_preset_takes_less_work_for_a_draft_and_more_for_a_fine_dream(preset: str) -> None:
    settings = presets.load(preset).settings

    @given(SIDES, SIDES)
    def of_any_size(width: int, height: int) -> None:
        draft, normal, fine = (recipe(name, (width, height), preset) for name in QUALITIES)
        assert draft.work < normal.work < fine.work
        assert draft.octaves == normal.octaves == fine.octaves
        if len(normal.octaves) > 1:  # the composition
            assert draft.steps[0] == normal.steps[0] == fine.steps[0]
        assert normal.steps[-1] == settings.ascent.steps

    of_any_size()


def test_a_draft_is_little_work_and_a_fine_dream_two_or_three_times_as_much() -> None:
    for size in ((512, 340), (1024, 768), (3000, 2000)):
        draft, normal, fine = (recipe(name, size).work for name in QUALITIES)
        assert 0.25 < draft / normal < 0.45
        assert 2 < fine / normal < 3


def test_the_recipe_says_the_quality_and_one_as_usual_is_as_it_was_without() -> None:
    normal, fine = recipe(None), recipe("fine")
    assert recipe("normal") == normal
    assert recipe("normal").hash == normal.hash != fine.hash
    assert "quality" not in normal.to_json()
    for each in (normal, fine, recipe("draft")):
        assert from_json(each.to_json(), "a.png") == each
        assert from_json(each.to_json(), "a.png").hash == each.hash


def test_steps_that_are_asked_for_are_just_those() -> None:
    for quality in QUALITIES:
        found = recipe(quality, steps=5)
        assert found.steps[-1] == 5
        assert found == recipe(None, steps=5)


def test_what_lies_between_two_drafts_is_one() -> None:
    drafts = [recipe("draft", preset=name) for name in ("parts", "patterns")]
    assert fades.mixed(*drafts, 0.3).steps == drafts[0].steps
    finer = fades.mixed(drafts[0], recipe("normal", preset="patterns"), 0.7)
    assert finer.steps == recipe("normal", preset="patterns").steps


def test_a_draft_is_made_finer_from_its_recipe_and_as_it_was(tmp_path: Path) -> None:
    made = {name: dreamer.dream("sky", quality=name, **SMALL) for name in ("draft", "fine")}
    path = tmp_path / "draft.png"
    made["draft"].save(path)
    again = dreamer.dream("sky", recipe=path)
    assert again.recipe.hash == made["draft"].recipe.hash
    assert again.pixels.equal(made["draft"].pixels)
    finer = dreamer.dream("sky", recipe=path, quality="fine")
    assert finer.recipe.hash == made["fine"].recipe.hash
    assert finer.pixels.equal(made["fine"].pixels)


def test_the_flag_says_it_and_the_plan_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("--size", "96", "--octaves", "2", "--threads", "2")
    assert cli.run(["dream", "sky", *few, "--quality", "draft", "-o", "draft.png"]) == 0
    found = read_recipe("draft.png")
    assert found is not None
    assert found.settings.ascent.quality == "draft"
    assert images.load("draft.png").pixels.shape[2] == 96
    capfd.readouterr()
    dry = ["dream", "--from", "draft.png", "sky", "--quality", "fine", "--dry-run", "--json"]
    assert cli.run(dry) == 0
    planned = json.loads(capfd.readouterr().out)["result"]["recipe"]
    assert planned["settings"]["ascent"]["quality"] == "fine"
    assert planned["steps"][-1] > found.steps[-1]
    assert cli.run(["dream", "sky", "--quality", "best"]) == 2
    assert "draft, normal, fine" in capfd.readouterr().err


def test_the_frames_of_a_film_go_as_far_in_a_draft_as_otherwise(
    tmp_path: Path, chelsea: Path
) -> None:
    write(tmp_path / "clip.mkv", still(chelsea, 2))
    again, zoomed = [], []
    for quality in QUALITIES:
        asked = {"overrides": {"ascent.quality": quality}, "threads": 1, "device": "cpu"}
        clip = video_plan.Wanted(
            clip=tmp_path / "clip.mkv",
            delivery=Delivery(tmp_path / "film.mp4"),
            request=Request(preset="brush", size=480, **asked),  # type: ignore[arg-type]
            steadiness=0.5,
        )
        again.append(video_plan.prepare(clip).recipe.again)  # type: ignore[attr-defined]
        zoom = zoom_plan.Wanted(
            delivery=Delivery(tmp_path / "zoom.mp4"),
            request=Request(photo=str(chelsea), **asked),  # type: ignore[arg-type]
            size=(320, 240),
            method="feedback",
            seconds=0.5,
        )
        (stretch,) = zoom_plan.prepare(zoom).recipe.stretches  # type: ignore[attr-defined]
        zoomed.append(stretch.again)
    assert again[0].work < again[1].work < again[2].work
    assert zoomed[0].work <= zoomed[1].work < zoomed[2].work
    for recipes in (again, zoomed):
        ways = [sum(each.steps) * each.settings.ascent.strength for each in recipes]
        assert ways == pytest.approx([ways[1]] * 3, rel=0.01)
