"""A film's recipe: every number that decides it, and what follows from them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer.core.camera import Similarity
from dreamer.core.zoom import canvas_size
from dreamer.errors import UsageError
from dreamer.film import base
from dreamer.film import reading as film
from dreamer.film.zoom import Key, Stretch, ZoomRecipe
from dreamer.recipe import Origin, Recipe
from dreamer.render.look import Request, look
from dreamer.render.zoom import frames_ready

SIZE = (96, 64)


def picture(preset: str = "dream", name: str = "photo.png") -> Recipe:
    height, width = canvas_size((SIZE[1], SIZE[0]))
    origin = Origin(name=name, sha256="1" * 64)
    return look(Request(preset=preset, threads=1, device="cpu")).recipe(origin, (width, height))


DREAM, EYES = picture(), picture("eyes")


def recipe(doublings: float = 3.0, turn: float = 0.0, centre=(0.0, 0.0), **changed) -> ZoomRecipe:
    """Return the recipe of a film with a steady camera, unless it has another one."""
    values = {"size": SIZE, "fps": 8.0, "frames": 24, **changed}
    seconds = values["frames"] / values["fps"]
    key = Key(speed=2 ** (doublings / seconds), rotate=turn / seconds, centre=centre)
    values.setdefault("stretches", (Stretch(until=3.0, recipe=DREAM),))
    return ZoomRecipe(**{"camera": (key,), **values})


def journey(*until: float, **changed) -> ZoomRecipe:
    looks = (DREAM, EYES) * len(until)
    parts = (Stretch(until=end, recipe=each) for end, each in zip(until, looks, strict=False))
    return recipe(stretches=tuple(parts), **changed)


@st.composite
def cameras(draw) -> tuple[Key, ...]:
    """Draw a path that zooms at first, and may stand later."""
    count = draw(st.integers(1, 5))
    times = sorted(draw(st.sets(st.integers(0, 300), min_size=count, max_size=count)))
    place = st.floats(-1, 1)
    return tuple(
        Key(
            at=time / 10,
            speed=draw(st.floats(1.01, 8) if index == 0 else st.sampled_from([1.0, 1.5, 4.0])),
            rotate=draw(st.floats(-90, 90)),
            centre=(draw(place), draw(place)),
            ease=draw(st.sampled_from(["smooth", "linear", "hold"])),
        )
        for index, time in enumerate(times)
    )


motions = st.builds(
    recipe,
    frames=st.integers(1, 400),
    fps=st.floats(6, 240),
    camera=cameras(),
    outward=st.booleans(),
    ease=st.booleans(),
)
loops = st.builds(
    recipe,
    frames=st.integers(1, 400),
    doublings=st.integers(1, 40).map(float),
    outward=st.booleans(),
    ease=st.booleans(),
    loop=st.just(True),
)


def test_it_is_written_and_read_back():
    whole = journey(1.5, 3.0, turn=90.0, centre=(0.25, -0.5), ease=True, outward=True)
    again = film.from_json(whole.to_json(), "a.mp4")
    assert again == whole
    assert again.hash == whole.hash
    assert "\n" not in whole.to_json()
    assert whole.to_dict()["film"] == "zoom"


def test_what_only_describes_a_film_does_not_change_its_hash():
    renamed = Stretch(
        until=3.0,
        recipe=picture(name="other.png").model_copy(
            update={
                "preset": "mine",
                "dreamer": "9.9",
                "settings": DREAM.settings.model_copy(update={"description": "else"}),
            }
        ),
    )
    assert recipe(stretches=(renamed,), dreamer="9.9").hash == recipe().hash
    written = base.Encoding(codec="h265", crf=3, audio="2" * 64)
    assert recipe(encoding=written).hash == recipe().hash
    assert film.from_json(recipe(encoding=written).to_json(), "a.mp4").encoding == written


@pytest.mark.parametrize(
    "changed",
    [
        {"size": (98, 64)},
        {"fps": 9.0},
        {"frames": 25},
        {"doublings": 3.5},
        {"turn": 1.0},
        {"centre": (0.0, 0.1)},
        {"outward": True},
        {"ease": True},
        {"loop": True},
        {"hold": 0.7},
        {"pull": 0.3},
        {"camera": (Key(), Key(at=1.0))},
        {"camera": (Key(at=0.1),)},
        {"camera": (Key(ease="hold"),)},
        {"stretches": (Stretch(until=3.0, recipe=DREAM, fade=1.0),)},
        {"engine": base.ENGINE + 1},
        {"method": "feedback"},
        {"stretches": (Stretch(until=3.0, recipe=EYES),)},
        {"stretches": (Stretch(until=3.0, recipe=DREAM.model_copy(update={"seed": 1})),)},
    ],
    ids=str,
)
def test_every_number_changes_the_hash(changed):
    assert recipe(**changed).hash != recipe().hash


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the whole"),
        ("[]", "the whole"),
        ('{"schema": 1}', "film"),
        (DREAM.to_json(), "preset"),
        (recipe().to_json().replace('"fps":8.0', '"fps":0'), "fps"),
        (recipe().to_json().replace('"fps":8.0', '"fps":1e-300'), "fps"),
        (recipe().to_json().replace('"frames":24', '"frames":1' + 400 * "0"), "frames"),
        (recipe().to_json().replace(f'"schema":{base.SCHEMA}', '"schema":99', 1), "version 99"),
    ],
)
def test_what_is_no_recipe_of_a_film_is_refused_by_name(text, said):
    with pytest.raises(UsageError) as caught:
        film.from_json(text, "a.mp4")
    assert "a.mp4" in caught.value.message
    if said != "preset":
        assert said in caught.value.message


@given(motions)
def test_a_film_zooms_from_the_beginning_to_the_end_in_order(made):
    depths = [made.depth(frame) for frame in range(made.frames)]
    if made.outward:
        depths.reverse()
    assert depths == sorted(depths)
    if made.frames > 1:
        assert depths[0] == 0
        assert depths[-1] == made.doublings


@given(motions | loops)
def test_outward_is_inward_reversed_to_the_last_bit(made):
    last = made.frames if made.loop else max(1, made.frames - 1)
    other = made.model_copy(update={"outward": not made.outward})
    for frame in range(last + 1):
        assert made.depth(frame) == other.depth(last - frame)


@given(loops)
def test_a_loop_ends_one_step_before_its_beginning(made):
    depths = [made.depth(frame) for frame in range(made.frames)]
    beginning, end = (made.doublings, 0.0) if made.outward else (0.0, made.doublings)
    assert depths[0] == beginning
    assert made.depth(made.frames) == end
    assert all(0 <= depth <= made.doublings for depth in depths)
    assert len(set(depths)) == made.frames or made.ease


@pytest.mark.parametrize("ease", [False, True])
def test_without_ease_it_is_steady_and_with_it_slow_at_both_ends(ease):
    made = recipe(frames=101, ease=ease)
    steps = [made.depth(frame + 1) - made.depth(frame) for frame in range(100)]
    if not ease:
        assert steps == pytest.approx([0.03] * 100)
        return
    assert max(steps[0], steps[-1]) < 0.05 * max(steps)
    assert made.depth(50) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("doublings", "loop", "keyframes"),
    [
        (0.0, False, 1),
        (0.2, False, 2),
        (1.0, False, 2),
        (1.0 + 1e-12, False, 2),
        (2.5, False, 4),
        (3.0, False, 4),
        (1.0, True, 1),
        (3.0, True, 3),
    ],
)
def test_one_picture_is_dreamed_a_doubling_and_one_more_to_end_in(doublings, loop, keyframes):
    assert recipe(doublings=doublings, loop=loop).keyframes == keyframes


@given(motions)
def test_every_frame_lies_between_two_keyframes(made):
    for frame in range(made.frames):
        outer, depth = made.outer(frame), made.depth(frame)
        assert outer - 1e-6 <= depth <= outer + 1 + 1e-6
        assert math.ceil(depth - 1e-6) <= made.keyframes - 1


@given(motions | loops)
def test_frames_are_promised_in_order_and_all_in_the_end(made):
    ready = [frames_ready(made, kept) for kept in range(made.keyframes + 1)]
    assert ready == sorted(ready)
    assert ready[0] == 0 or made.keyframes == 0
    assert ready[-1] == made.frames
    for kept, count in enumerate(ready[:-1]):
        for frame in range(count):
            # The keyframe it is inside of, and the next one.
            assert made.outer(frame) + 1 < kept


def presets(made: ZoomRecipe) -> list[str]:
    return [made.recipe_at(number).preset for number in range(made.keyframes)]


def test_keyframes_follow_the_journey():
    made = journey(1.4, 3.0)
    assert presets(made) == ["dream", "dream", "eyes", "eyes"]
    assert presets(journey(0.5, 1.5, 3.0)) == ["dream", "eyes", "dream", "dream"]
    assert presets(journey(3.0)) == ["dream"] * 4


def test_outward_a_journey_ends_with_what_was_dreamed_first():
    assert presets(journey(1.4, 3.0, outward=True)) == ["eyes", "eyes", "dream", "dream"]


def test_a_journey_that_loops_changes_its_look_as_one_that_does_not():
    assert presets(journey(1.4, 3.0, loop=True)) == ["dream", "dream", "eyes"]


@pytest.mark.parametrize("outward", [False, True])
@pytest.mark.parametrize("change", [0.4, 1.0, 1.9, 2.6])
def test_with_ease_a_look_changes_at_its_second_as_well(change, outward):
    made = journey(change, 3.0, ease=True, outward=outward, frames=3001, fps=1000.0)
    for number in range(made.keyframes):
        # The frame at which this keyframe is seen whole.
        frame = min(range(made.frames), key=lambda frame: abs(made.depth(frame) - number))
        wanted = "dream" if frame / made.fps <= change else "eyes"
        assert made.recipe_at(number).preset == wanted


def test_seconds_that_are_no_whole_number_of_frames_still_have_a_look_for_every_keyframe():
    made = journey(1.4, 2.9, frames=24)  # rounded up to 3 s
    assert presets(made)[-1] == "eyes"


def test_by_feedback_every_frame_is_dreamed_with_the_look_of_its_second():
    stretches = (
        Stretch(until=1.0, recipe=DREAM, again=DREAM.model_copy(update={"seed": 1})),
        Stretch(until=3.0, recipe=EYES, again=EYES.model_copy(update={"seed": 1})),
    )
    made = recipe(method="feedback", stretches=stretches)
    assert made.keyframes == made.frames
    assert (made.recipe_at(0).preset, made.recipe_at(0).seed) == ("dream", 0)
    assert (made.recipe_at(1).preset, made.recipe_at(1).seed) == ("dream", 1)
    assert (made.recipe_at(9).preset, made.recipe_at(9).seed) == ("eyes", 1)
    assert [frames_ready(made, kept) for kept in range(25)] == list(range(25))
    for outward in (False, True):
        made = recipe(method="feedback", stretches=stretches, outward=outward, turn=90.0)
        whole = Similarity()
        for frame in range(made.frames - 1):
            assert made.places(frame) == Similarity()
            whole @= made.step(frame)
        back = whole.inverse if outward else whole
        assert back.factor == pytest.approx(-1j * 2**-made.doublings)
