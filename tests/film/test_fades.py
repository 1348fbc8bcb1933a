"""Cross-fades: what is dreamed between two looks."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer import targets
from dreamer.film import fades
from dreamer.film.zoom import Stretch, ZoomRecipe
from dreamer.networks import rows
from dreamer.recipe import Origin, Recipe
from dreamer.render.look import Request, look
from dreamer.render.steering import objective
from dreamer.render.still import plan


def picture(target: str | None = None, preset: str = "dream", **overrides) -> Recipe:
    values = {name.replace("__", "."): value for name, value in overrides.items()}
    request = Request(
        preset=preset, overrides={"target": target, **values}, threads=1, device="cpu"
    )
    return look(request).recipe(Origin(name="a.png", sha256="1" * 64), (240, 160))


def weights(recipe: Recipe) -> dict[str, float]:
    return {term.label: term.weight for term in recipe.terms}


def film(*parts: tuple[float, Recipe, float], loop: bool = False, **more) -> ZoomRecipe:
    stretches = tuple(
        Stretch(until=until, recipe=recipe, fade=fade) for until, recipe, fade in parts
    )
    seconds = parts[-1][0]
    return ZoomRecipe(
        size=(96, 64), fps=10.0, frames=round(seconds * 10), stretches=stretches, loop=loop, **more
    )


A, B = picture("block5"), picture("block8:3 - 0.5*class:zebra")


@given(st.floats(0.001, 0.999))
def test_both_targets_are_in_it_by_their_shares_however_large_their_weights(weight):
    found = weights(fades.mixed(A, B, weight))
    assert found["block5"] == pytest.approx(1 - weight)
    assert found["block8:3"] == pytest.approx(weight * 2 / 3)
    assert found["class:zebra"] == pytest.approx(-weight / 3)
    large = picture("100*block8:3 - 50*class:zebra")
    assert weights(fades.mixed(A, large, weight)) == pytest.approx(found)
    assert math.fsum(map(abs, found.values())) == pytest.approx(1)


def test_at_its_ends_it_is_one_of_the_two():
    assert fades.mixed(A, B, 0.0) is A
    assert fades.mixed(A, B, 1.0) is B
    assert fades.mixed(A, A, 0.3) is A


def test_a_term_that_both_have_is_one():
    both = fades.mixed(picture("block5 + block6"), picture("block5 + 3*block7"), 0.5)
    assert weights(both) == pytest.approx({"block5": 0.375, "block6": 0.25, "block7": 0.375})


def test_what_cancels_out_leaves_the_nearer_look():
    against = picture("-1*block5")
    assert weights(fades.mixed(A, against, 0.5)) == weights(against)
    assert weights(fades.mixed(A, against, 0.25)) == pytest.approx({"block5": 0.5})


def test_numbers_lie_between_and_the_rest_is_the_nearer_ones():
    one = picture("block5", ascent__steps=10, ascent__strength=1.0, view__jitter=8)
    two = picture(
        "block8",
        ascent__steps=21,
        ascent__strength=2.0,
        view__jitter=9,
        colour__mode="luma",
        octaves__count=2,
        octaves__scale=2.0,
    )
    for weight in (0.25, 0.75):
        found = fades.mixed(one, two, weight)
        nearer = one if weight < 0.5 else two
        settings = found.settings
        assert settings.ascent.steps == round(10 + 11 * weight)
        assert settings.ascent.strength == pytest.approx(1 + weight)
        assert isinstance(settings.view.jitter, int)
        assert settings.octaves == nearer.settings.octaves
        assert settings.colour.mode == nearer.settings.colour.mode
        assert found.octaves == nearer.octaves
        assert len(found.steps) == len(found.octaves)
        assert found.steps[-1] == settings.ascent.steps


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9])
def test_it_is_a_whole_recipe_like_any_other(weight):
    found = fades.mixed(picture(preset="eyes"), picture(preset="textures"), weight)
    assert Recipe.model_validate_json(found.to_json()) == found
    assert found.preset == "eyes to textures"
    terms = targets.resolve(targets.parse(found.settings.target), rows.row(found.network))
    assert {term.label: term.weight for term in terms} == pytest.approx(weights(found))
    assert objective(found, rows.row(found.network)).layers
    assert plan(found).work == found.work > 0


def test_in_a_fade_one_look_goes_as_the_other_comes():
    made = film((4.0, A, 0.0), (10.0, B, 2.0))
    assert made.fade_at(1.0) == (0, 0, 0.0)
    assert made.fade_at(3.0) == (0, 0, 0.0)
    for time in (3.1, 3.5, 4.0, 4.5, 4.9):
        assert made.fade_at(time) == (0, 1, pytest.approx((time - 3) / 2))
    assert made.fade_at(5.0) == (1, 1, 0.0)
    assert made.fade_at(10.0) == (1, 1, 0.0)


def test_without_a_fade_it_is_a_cut():
    made = film((4.0, A, 0.0), (10.0, B, 0.0))
    assert [made.fade_at(time)[0] for time in (3.9, 4.0, 4.1)] == [0, 0, 1]
    assert {made.fade_at(time / 10)[2] for time in range(101)} == {0.0}


def test_in_a_loop_the_last_look_fades_into_the_first_across_the_end():
    made = film((4.0, A, 2.0), (10.0, B, 0.0), loop=True)
    assert made.fade_at(9.0) == (1, 1, 0.0)
    assert made.fade_at(9.5) == (1, 0, pytest.approx(0.25))
    assert made.fade_at(10.0) == (1, 0, pytest.approx(0.5))
    assert made.fade_at(0.0) == (1, 0, pytest.approx(0.5))
    assert made.fade_at(0.5) == (1, 0, pytest.approx(0.75))
    assert made.fade_at(1.0) == (0, 0, 0.0)
    once = film((4.0, A, 2.0), (10.0, B, 0.0))
    assert once.fade_at(0.0) == (0, 0, 0.0)
    assert once.fade_at(10.0) == (1, 1, 0.0)


def test_keyframes_in_a_fade_are_dreamed_with_both():
    made = film((4.0, A, 0.0), (10.0, B, 4.0))  # a keyframe a second, from 0 to 10
    found = [weights(made.recipe_at(number)).get("block5", 0.0) for number in range(11)]
    assert found == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0])
    outward = film((4.0, A, 0.0), (10.0, B, 4.0), outward=True)
    again = [weights(outward.recipe_at(number)).get("block5", 0.0) for number in range(11)]
    assert again == pytest.approx(found[::-1])


def test_by_feedback_every_frame_fades():
    few = (picture("block5", ascent__steps=1), picture("block8", ascent__steps=1))
    parts = (Stretch(until=1.0, recipe=A, again=few[0]), Stretch(until=2.0, recipe=B, again=few[1]))
    stretches = (parts[0], parts[1].model_copy(update={"fade": 1.0}))
    made = ZoomRecipe(size=(96, 64), fps=10.0, frames=20, stretches=stretches, method="feedback")
    assert made.recipe_at(0) == A
    found = [weights(made.recipe_at(frame)).get("block8", 0.0) for frame in range(20)]
    assert found[1:] == pytest.approx([0] * 5 + [(n + 1) / 10 for n in range(9)] + [1] * 5)
    assert {made.recipe_at(frame).settings.ascent.steps for frame in range(1, 20)} == {1}
