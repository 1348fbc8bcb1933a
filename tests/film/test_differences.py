"""What is said of two films that are not the same."""

import pytest

from dreamer.film.base import Encoding
from dreamer.film.differences import differences, encoded_otherwise
from dreamer.film.zoom import Key, Stretch, ZoomRecipe
from dreamer.recipe import Origin, Recipe
from dreamer.render.look import Request, look


def picture(preset: str = "dream", sha256: str = "1" * 64, **more) -> Recipe:
    request = Request(preset=preset, threads=1, device="cpu", **more)
    return look(request).recipe(Origin(name="a.png", sha256=sha256), (240, 160))


DREAM, EYES = picture(), picture("eyes")


def film(*looks: Recipe, **changed) -> ZoomRecipe:
    stretches = tuple(Stretch(until=index + 1.0, recipe=each) for index, each in enumerate(looks))
    values = {"size": (96, 64), "fps": 30.0, "frames": 90, "stretches": stretches}
    return ZoomRecipe(**{**values, **changed})


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (film(DREAM), []),
        (film(DREAM, encoding=Encoding(codec="h265")), []),
        (film(DREAM, fps=24.0, frames=72), ["fps (24 instead of 30)"]),
        (film(DREAM, frames=60), ["seconds (2 instead of 3)"]),
        (film(DREAM, size=(98, 64)), ["size (98x64 instead of 96x64)"]),
        (film(EYES), ["preset (eyes instead of dream)"]),
        (film(DREAM, outward=True), ["direction (out instead of in)"]),
        (film(DREAM, ease=True), ["ease (yes instead of no)"]),
        (film(DREAM, loop=True), ["loop (yes instead of no)"]),
        (film(DREAM, method="feedback"), ["method (feedback instead of nested)"]),
        (film(DREAM, camera=(Key(speed=3.0),)), ["speed (3 instead of 2)"]),
        (film(DREAM, camera=(Key(rotate=5.0),)), ["rotate (5 instead of 0)"]),
        (film(DREAM, camera=(Key(centre=(0.5, 0.0)),)), ["center (0.75,0.5 instead of 0.5,0.5)"]),
        (film(DREAM, engine=99), ["the version of the program"]),
        (film(DREAM, pull=0.1), ["pull"]),
        (film(picture(seed=3)), ["the seed"]),
        (film(picture(sha256="2" * 64)), ["the photo"]),
        (film(picture(overrides={"ascent.steps": 3})), ["ascent.steps (3 instead of 5)"]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, list) else "",
)  # fmt: skip
def test_each_difference_is_named_as_the_user_knows_it(new, said):
    assert differences(film(DREAM), new) == said


def test_a_path_and_a_journey_are_told_in_short():
    path = film(DREAM, camera=(Key(), Key(at=1.5, speed=3.0)))
    keys = "a path with keys at 0 s, 1.5 s"
    assert differences(film(DREAM), path) == [f"camera ({keys} instead of steady)"]
    assert differences(path, film(DREAM)) == [f"camera (steady instead of {keys})"]
    faster = film(DREAM, camera=(Key(), Key(at=1.5, speed=4.0)))
    assert differences(path, faster) == ["camera"]
    journey = film(DREAM, EYES)
    assert differences(film(DREAM), journey) == [
        "journey (dream to 1s, eyes to 2s instead of none)"
    ]


def test_how_it_is_written_is_told_apart_from_what_it_shows():
    old = Encoding(codec="h264", crf=18)
    assert encoded_otherwise(old, old) == []
    assert encoded_otherwise(old, Encoding(codec="h265", crf=20)) == [
        "codec (h265 instead of h264)",
        "crf (20 instead of 18)",
    ]
    assert encoded_otherwise(old, Encoding(codec="h264", crf=18, audio="1")) == ["the sound"]
