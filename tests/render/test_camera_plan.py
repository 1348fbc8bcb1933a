"""From the path that was asked for to the keys of a recipe."""

import math

import pytest

from dreamer.core.zoom import canvas_size
from dreamer.errors import UsageError
from dreamer.film.zoom import Key, Stretch, ZoomRecipe, camera_path
from dreamer.recipe import Origin
from dreamer.render import camera_plan, journeys
from dreamer.render.journeys import CameraKey
from dreamer.render.look import Request, look
from dreamer.render.stretches import looks, stretches

SIZE = (160, 90)


def keys(*asked: CameraKey, seconds: float = 10.0, loop: bool = False):
    return camera_plan.keys(asked, seconds, seconds, loop)


def recipe(*camera: Key, frames: int = 300, **more) -> ZoomRecipe:
    height, width = canvas_size((SIZE[1], SIZE[0]))
    picture = look(Request(threads=1, device="cpu")).recipe(Origin(start="sky"), (width, height))
    part = Stretch(until=frames / 30, recipe=picture)
    return ZoomRecipe(size=SIZE, fps=30.0, frames=frames, stretches=(part,), camera=camera, **more)


def test_a_path_is_taken_as_it_is():
    found, notes = keys(CameraKey(1.0, 3.0, 20.0, (0.25, 1.0), "linear"), CameraKey(10.0, 1.0))
    assert found == (Key(at=1, speed=3, rotate=20, centre=(-0.5, 1), ease="linear"),
                     Key(at=10, speed=1))  # fmt: skip
    assert notes == ()


def test_a_key_beyond_the_end_is_refused_with_advice():
    with pytest.raises(UsageError, match="a.toml:7: the key at 10.1 s is beyond .* 10 s") as caught:
        keys(CameraKey(), CameraKey(10.1, where="a.toml:7: "))
    assert "longer" in caught.value.advice


def test_a_path_that_only_stands_is_no_zoom():
    with pytest.raises(UsageError, match="a.toml:1: the camera does not zoom"):
        keys(CameraKey(speed=1.0, rotate=9.0, where="a.toml:1: "), CameraKey(4.0, 1.0))
    assert keys(CameraKey(speed=1.0), CameraKey(4.0, 2.0))[0][0].speed == 1


WINDING = (
    CameraKey(0.0, 1.5, 30.0, (0.2, 0.4)),
    CameraKey(3.0, 3.0, -50.0, (0.8, 0.5), "linear"),
    CameraKey(6.0, 1.0, 0.0, (0.5, 0.5)),
)


def test_a_loop_comes_back_to_how_it_began():
    found, notes = keys(*WINDING, loop=True)
    assert found[-1].at == 10
    assert found[-1].motion == found[0].motion
    path = camera_path(found, 10.0)
    depth, turns = path.depth(10.0), path.angle(10.0) / math.tau
    assert depth == pytest.approx(round(depth), abs=1e-9)
    assert depth >= 1
    assert turns == pytest.approx(round(turns), abs=1e-9)
    assert found[2].speed == 1  # what stands still stands
    assert any("goes back to how it began, from 6 s" in note for note in notes)
    assert any("degrees a second more, to end upright" in note for note in notes)
    assert any("times as fast as asked" in note for note in notes)


def test_a_loop_whose_last_key_is_another_is_refused_and_one_whose_is_the_same_is_not():
    with pytest.raises(UsageError, match="a.toml:9: the last key.*jerk"):
        keys(CameraKey(), CameraKey(10.0, 3.0, where="a.toml:9: "), loop=True)
    found, notes = keys(CameraKey(), CameraKey(5.0, 2.0, 0.0, (0, 0)), CameraKey(10.0), loop=True)
    assert [key.at for key in found] == [0, 5, 10]
    assert notes == ()


def test_a_steady_loop_stays_one_key():
    found, notes = keys(CameraKey(speed=3.0, rotate=50.0), seconds=1.0, loop=True)
    assert [key.motion for key in found] == [(4.0, 0.0, (0.0, 0.0))]
    assert len(notes) == 2


def test_corners_that_leave_the_picture_are_told_with_their_seconds():
    assert camera_plan.mirrored(recipe(Key(rotate=20.0))) == ()
    (note,) = camera_plan.mirrored(
        recipe(Key(), Key(at=4.0, speed=1.05), Key(at=6.0, speed=1.05, rotate=90.0), Key(at=8.0))
    )
    assert note.startswith("the corners mirror from ")
    assert note.endswith("turn more slowly or go faster there")
    (often,) = camera_plan.mirrored(recipe(Key(rotate=180.0)))
    assert "again and again" in often
    assert camera_plan.mirrored(recipe(Key(rotate=180.0), method="feedback", frames=9)) == ()


@pytest.mark.parametrize("outward", [False, True])
def test_the_seconds_are_those_of_the_film(outward):
    turning = recipe(Key(), Key(at=3.0, rotate=200.0), Key(at=4.0), outward=outward)
    (note,) = camera_plan.mirrored(turning)
    begin = float(note.split("from ")[1].split()[0])
    assert (5 < begin < 8) if outward else (1 < begin < 5)


def fades(*journey, fade=None, loop=False) -> list[float]:
    each = [made.placed() for made in looks(Request(threads=1, device="cpu"), journey)]
    seconds = sum(part.seconds for part in journey)
    origin = Origin(start="sky")
    found = stretches(journey, each, origin, (160, 90), seconds=seconds, fade=fade, loop=loop)
    return [stretch.fade for stretch in found]


part = journeys.Stretch


def test_a_fade_is_two_seconds_or_half_of_the_shorter_look_unless_told_otherwise():
    journey = part("eyes", 10), part("textures", 3), part("dream", 10), part("fur", 9)
    assert fades(*journey) == [0, 1.5, 1.5, 2]
    assert fades(*journey, loop=True) == [2, 1.5, 1.5, 2]
    assert fades(*journey, fade=0.5) == [0, 0.5, 0.5, 0.5]
    assert fades(part("eyes", 5), part("fur", 5, fade=0.0), fade=3) == [0, 0]
    assert fades(part("eyes", 5)) == [0]
    with pytest.raises(UsageError, match="a fade of 4 s is longer than 'textures'"):
        fades(*journey, fade=4)
    with pytest.raises(UsageError, match="a.toml:8: a fade"):
        fades(part("eyes", 5), part("fur", 5, fade=6.0, where="a.toml:8: "))
