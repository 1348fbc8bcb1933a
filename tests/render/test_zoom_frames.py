"""The frames of a zoom: smooth from one to the next, and always the same."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from dreamer.core import ascent
from dreamer.core.zoom import MARGIN, canvas_size
from dreamer.errors import NetworkError
from dreamer.networks import network
from dreamer.render import zoom, zoom_plan
from dreamer.render.film_job import Delivery
from dreamer.render.journeys import CameraKey, Stretch
from dreamer.render.look import Request
from dreamer.render.zoom import Keyframes, frames_ready

SIZE = (96, 64)
TINY = {"ascent.steps": 1, "octaves.count": 1}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def net():
    return network.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def make(net, tmp_path_factory, astronaut):
    """Dream all keyframes of a film; the same one is dreamed only once."""
    made: dict[str, Keyframes] = {}

    def make(photo: str | None = str(astronaut), anew: bool = False, **wanted) -> Keyframes:
        folder = tmp_path_factory.mktemp("film")
        overrides = {**TINY, **wanted.pop("overrides", {})}
        request = Request(photo=photo, network=net, overrides=overrides, threads=1)
        values = {"seconds": 3.0, "fps": 8.0, "size": SIZE, "delivery": Delivery(folder / "a.mp4")}
        film = zoom_plan.prepare(zoom_plan.Wanted(request=request, **{**values, **wanted}))
        found = made.get(film.recipe.hash)
        if found is None or anew:
            keyframes = film.open(folder, net)
            for number in range(film.recipe.keyframes):
                assert keyframes.make(number)
            made[film.recipe.hash] = found = keyframes
        return found

    return make


def shown(keyframes: Keyframes) -> list[torch.Tensor]:
    """Return all frames, `(h, w, 3)` in 0..255."""
    width, height = keyframes.recipe.size
    return [
        torch.frombuffer(bytearray(data), dtype=torch.uint8).view(height, width, 3).float()
        for data in keyframes.frames(0, keyframes.recipe.frames)
    ]


def data(keyframes: Keyframes) -> list[bytes]:
    return list(keyframes.frames(0, keyframes.recipe.frames))


def steps(pictures: list[torch.Tensor]) -> list[float]:
    """Return how much each frame differs from the one before, on average."""
    pairs = zip(pictures, pictures[1:], strict=False)
    return [float((after - before).abs().mean()) for before, after in pairs]


PATH = (
    CameraKey(0, 1.5, 30.0, (0.2, 0.3)),
    CameraKey(1.2, 3.0, -40.0, (0.9, 0.6), "linear"),
    CameraKey(2.0, 2.0, 0.0, (0.5, 0.5)),
)
JOURNEY = Stretch("textures", 1.5), Stretch("eyes", 1.5)
MOTIONS = [
    {},
    {"rotate": 40.0},
    {"centre": (0.2, 0.7)},
    {"speed": 3.0, "rotate": -20.0, "centre": (1.0, 0.0)},
    {"photo": None},
    {"journey": JOURNEY, "seconds": None},
    {"path": PATH},
]


@pytest.mark.parametrize("motion", MOTIONS, ids=str)
def test_no_frame_jumps_least_of_all_where_a_keyframe_takes_over(make, motion):
    keyframes = make(fps=16.0, **motion)
    recipe = keyframes.recipe
    found = steps(shown(keyframes))
    assert min(found) > 0
    boundaries = [
        index
        for index in range(1, len(found) - 1)
        if recipe.outer(index) != recipe.outer(index + 1)
    ]
    assert len(boundaries) >= recipe.keyframes - 2
    for index in boundaries:
        assert found[index] <= 1.5 * max(found[index - 1], found[index + 1])
    for before, after in zip(found, found[1:], strict=False):
        assert after <= 1.6 * before + 0.5


@pytest.mark.parametrize("path", [(), PATH], ids=["steady", "path"])
@pytest.mark.parametrize("outward", [False, True])
def test_the_end_of_a_loop_flows_into_its_beginning(make, outward, path):
    pictures = shown(make(loop=True, outward=outward, seconds=4.0, path=path))
    found = steps([*pictures, pictures[0], pictures[1]])
    last = len(pictures) - 1
    assert found[last] <= 1.5 * max(found[last - 1], found[last + 1])
    assert found[last] >= 0.3 * min(found[last - 1], found[last + 1])


def test_a_film_that_does_not_loop_does_not_end_where_it_began(make):
    pictures = shown(make())
    assert (pictures[-1] - pictures[0]).abs().mean() > 2 * max(steps(pictures))


@pytest.mark.parametrize(
    "motion",
    [{}, {"ease": True}, {"rotate": 30.0, "seconds": 2.9}, {"path": PATH}],
    ids=str,
)
def test_outward_is_inward_backwards_to_the_byte(make, motion):
    assert data(make(outward=True, **motion)) == data(make(**motion))[::-1]


def test_a_loop_outward_is_the_loop_inward_backwards_to_the_byte(make):
    inward, outward = data(make(loop=True)), data(make(loop=True, outward=True))
    assert outward == [inward[0], *inward[:0:-1]]


@pytest.mark.parametrize(
    "nothing", [{"ascent.strength": 0.0}, {"ascent.steps": 0}, {"mix.blend": 1.0}], ids=str
)
def test_without_dreaming_the_first_frame_is_the_middle_of_the_photo(make, astronaut, nothing):
    first = shown(make(overrides=nothing))[0]
    # A frame is the middle of a keyframe, which the photo covers.
    (height, width), side = canvas_size((SIZE[1], SIZE[0])), 512
    across, down = side / MARGIN, side * height / width / MARGIN
    box = ((side - across) / 2, (side - down) / 2, (side + across) / 2, (side + down) / 2)
    with Image.open(astronaut) as photo:
        seen = photo.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC, box)
    middle = torch.frombuffer(bytearray(seen.tobytes()), dtype=torch.uint8).view(first.shape)
    assert (first - middle).abs().mean() < 6


def test_a_frame_is_not_stretched_whatever_the_shape_of_the_photo(make, tmp_path):
    wide = Image.new("RGB", (300, 60), (40, 60, 80))
    wide.paste((250, 240, 230), (140, 20, 160, 40))
    wide.save(tmp_path / "wide.png")
    first = shown(make(photo=str(tmp_path / "wide.png"), overrides={"ascent.steps": 0}))[0]
    square = (first[:, :, 0] > 145).nonzero()
    height, width = (square.amax(0) - square.amin(0) + 1).tolist()
    assert abs(height - width) <= 1
    assert 25 <= width <= 27  # a third of the height of what the frame is the middle of


def test_the_same_recipe_makes_the_same_film_again(make, tmp_path):
    first = make(rotate=15.0)
    again = make(rotate=15.0, anew=True)
    assert first is not again
    for number in range(first.recipe.keyframes):
        assert first.path(number).read_bytes() == again.path(number).read_bytes()
    assert data(first) == data(again)


def test_another_seed_makes_another_film_and_every_keyframe_has_a_seed_of_its_own(make):
    assert len({zoom.keyframe_seed(7, number) for number in range(1000)}) == 1000
    assert zoom.keyframe_seed(7, 0) == 7
    assert not {zoom.keyframe_seed(7, n) for n in range(99)} & {
        zoom.keyframe_seed(8, n) for n in range(99)
    }


def test_a_path_of_keys_that_are_all_alike_is_the_camera_of_the_flags(make):
    flags = make(speed=3.0, rotate=-20.0, centre=(0.8, 0.3))
    key = CameraKey(0.0, 3.0, -20.0, (0.8, 0.3))
    assert make(path=(key,)) is flags  # the very recipe
    alike = make(path=(key, replace(key, at=1.1, ease="linear"), replace(key, at=2.0)))
    assert alike.recipe.hash != flags.recipe.hash
    for one, two in zip(shown(alike), shown(flags), strict=True):
        # Their cameras differ in the last bits, which ascent may make a level or two of.
        apart = (one - two).abs()
        assert apart.max() <= 3
        assert apart.mean() < 0.1


def test_a_path_that_is_gone_on_with_in_the_middle_is_the_same_film(make, tmp_path):
    whole = make(path=PATH, journey=JOURNEY, seconds=None)
    for number in range(whole.recipe.keyframes):
        some = Keyframes(whole.recipe, tmp_path, whole.photo, whole.network)
        assert some.kept() == number
        assert some.make(number)
        assert some.path(number).read_bytes() == whole.path(number).read_bytes()
    assert data(some) == data(whole)


def test_in_a_fade_keyframes_are_other_than_with_a_cut(make):
    cut, fading = (make(journey=JOURNEY, seconds=None, fade=fade, speed=2.5) for fade in (0.0, 1.5))
    names = [cut.path(number).name for number in range(cut.recipe.keyframes)]
    same = [(cut.folder / name).read_bytes() == (fading.folder / name).read_bytes()
            for name in names]  # fmt: skip
    assert same[0]
    assert not same[-2]


def test_by_feedback_the_camera_follows_its_path(make):
    path = (CameraKey(0, 2.0, 40.0), CameraKey(0.5, 1.2, -40.0, (0.9, 0.2)))
    keyframes = make(method="feedback", seconds=1.0, path=path, overrides={"ascent.steps": 0})
    pictures = shown(keyframes)
    assert min(steps(pictures)) > 0
    assert data(keyframes) != data(
        make(method="feedback", seconds=1.0, overrides={"ascent.steps": 0})
    )


def test_frames_are_the_same_however_many_threads_make_them(make):
    keyframes = make(rotate=15.0)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(data(keyframes))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_frames_are_the_same_from_wherever_they_begin(make):
    keyframes = make(rotate=15.0)
    whole = data(keyframes)
    for first in (1, 7, 8, 9, 23):
        assert list(keyframes.frames(first, len(whole))) == whole[first:]


def test_making_frames_leaves_gradients_as_they_were(make):
    passing = make().frames(0, 3)
    next(passing)
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "motion",
    [
        {},
        {"seconds": 2.6},
        {"outward": True},
        {"ease": True},
        {"loop": True},
        {"loop": True, "outward": True},
        {"loop": True, "speed": 1.3},  # one keyframe
        {"path": PATH},
        {"path": (CameraKey(0, 4.0), CameraKey(1.0, 1.0, 20.0), CameraKey(2.5, 1.0))},
    ],
    ids=str,
)
def test_what_is_promised_needs_no_keyframe_that_is_not_there(make, motion, tmp_path):
    whole = make(**motion)
    wanted = data(whole)
    some = Keyframes(whole.recipe, tmp_path, whole.photo, whole.network)
    before = 0
    for number in range(whole.recipe.keyframes):
        assert some.kept() == number
        upto = frames_ready(whole.recipe, number)
        assert upto >= before
        assert list(some.frames(before, upto)) == wanted[before:upto]
        before = upto
        some.path(number).write_bytes(whole.path(number).read_bytes())
    assert frames_ready(whole.recipe, some.kept()) == whole.recipe.frames


def test_most_of_an_inward_film_can_be_shown_before_its_last_keyframe(make):
    recipe = make().recipe
    assert frames_ready(recipe, recipe.keyframes - 1) > recipe.frames / 2


def test_what_is_kept_is_counted_up_to_the_first_that_is_missing(make, tmp_path):
    whole = make()
    some = Keyframes(whole.recipe, tmp_path, whole.photo, whole.network)
    for number in (0, 1, 3):
        some.path(number).write_bytes(whole.path(number).read_bytes())
    assert some.kept() == 2
    assert whole.kept() == whole.recipe.keyframes


def test_a_keyframe_that_is_stopped_is_not_kept(make, tmp_path):
    whole = make()
    some = Keyframes(whole.recipe, tmp_path, whole.photo, whole.network)
    told = []
    assert not some.make(0, on_progress=told.append, stop=lambda: True)
    assert list(tmp_path.iterdir()) == []
    assert [(progress.picture, progress.of) for progress in told] == [(0, 4)]
    assert told[0].work == told[0].whole == whole.recipe.recipe_at(0).work
    assert some.make(0)
    assert some.path(0).read_bytes() == whole.path(0).read_bytes()


def test_keyframes_are_larger_than_frames_and_go_on_from_each_other(make):
    keyframes = make()
    height, width = canvas_size((SIZE[1], SIZE[0]))
    first, second = keyframes.load(0), keyframes.load(1)
    assert first.shape == second.shape == (1, 3, height, width)
    step = zoom.zoom.view(keyframes.recipe.step(0), keyframes.size)
    start = zoom.zoom.begin(first, step)
    coarse = (zoom.zoom.smooth(second, 2) - zoom.zoom.smooth(start, 2)).abs().mean()
    fine = (second - start).abs().mean()
    assert 0 < coarse < 0.6 * fine + 0.04


@pytest.mark.parametrize("rotate", [0.0, 20.0])
def test_by_feedback_frames_follow_from_each_other_too(make, rotate):
    keyframes = make(method="feedback", seconds=1.0, rotate=rotate)
    assert keyframes.recipe.keyframes == keyframes.recipe.frames == 8
    pictures = shown(keyframes)
    found = steps(pictures)
    assert min(found) > 0
    assert max(found) <= 2 * min(found) + 0.5
    assert data(keyframes) == data(make(method="feedback", seconds=1.0, rotate=rotate, anew=True))


def test_a_network_whose_answers_are_no_numbers_is_refused(make, tmp_path, monkeypatch):
    whole = make()
    some = Keyframes(whole.recipe, tmp_path, whole.photo, whole.network)
    real = ascent.dream

    def broken(*given, **more):
        for step in real(*given, **more):
            yield replace(step, score=math.nan)

    monkeypatch.setattr(ascent, "dream", broken)
    with pytest.raises(NetworkError, match="not numbers"):
        some.make(0)
    assert list(tmp_path.iterdir()) == []
