"""The frames of a dreamed clip: steady, each its clip's own, and always the same."""

import io
from dataclasses import replace

import pytest
import torch
from clip_making import EXACT, SIZE, decoded, run, sliding, still, write
from PIL import Image

from dreamer.core import ascent
from dreamer.core.flow import Estimator
from dreamer.errors import InputError, NetworkError
from dreamer.media import images
from dreamer.networks import network
from dreamer.render import still as pictures_alone
from dreamer.render import video_plan
from dreamer.render.film_job import Delivery
from dreamer.render.look import Request
from dreamer.render.video import Frames
from dreamer.render.video_plan import Wanted
from dreamer.render.zoom import keyframe_seed

TINY = {"ascent.steps": 1, "octaves.count": 1}
NOTHING = {"ascent.step_size": 0.0}


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
def clips(tmp_path_factory, astronaut, coffee, chelsea):
    folder = tmp_path_factory.mktemp("clips")
    write(folder / "sliding.mkv", sliding(chelsea, 6, 2))
    write(folder / "other.mkv", sliding(coffee, 6, 2))
    write(folder / "shorter.mkv", sliding(chelsea, 5, 2))
    write(folder / "cut.mkv", sliding(chelsea, 3, 2) + sliding(astronaut, 3, 2))
    write(folder / "dark.mkv", [bytes(len(p)) for p in still(chelsea, 2)] + still(chelsea, 2))
    return folder


@pytest.fixture
def dreams(net, clips, tmp_path):
    """Open the frames of a film of a clip; nothing is dreamed yet."""

    def dreams(clip="sliding.mkv", folder="kept", output="film.mp4", **wanted) -> Frames:
        overrides = {**TINY, **wanted.pop("overrides", {})}
        asked = {"overrides": overrides, "threads": 1, **wanted.pop("request", {})}
        film = video_plan.prepare(
            Wanted(
                clip=clips / clip,
                delivery=Delivery(tmp_path / output),
                request=Request(network=net, **asked),
                **wanted,
            )
        )
        (tmp_path / folder).mkdir(exist_ok=True)
        pictures = film.open(tmp_path / folder, net)
        assert isinstance(pictures, Frames)
        return pictures

    return dreams


def made(frames: Frames, first: int = 0) -> list[bytes]:
    """Dream those that are to be dreamed, and return all."""
    assert list(frames.dream(first)) == list(range(first, frames.recipe.frames))
    return list(frames.frames(0, frames.recipe.frames))


def pixels(data: bytes, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """Return a frame, `(h, w, 3)` in 0..1."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(size[1], size[0], 3) / 255


def alone(frames: Frames, number: int, photo: bytes, net) -> bytes:
    """Return the dream of a frame by itself, RGB bytes."""
    size = frames.recipe.size
    recipe = frames.recipe.whole
    recipe = recipe.model_copy(update={"seed": keyframe_seed(recipe.seed, number)})
    image = io.BytesIO()
    Image.frombytes("RGB", size, photo).save(image, "PNG")
    dream = pictures_alone.dream(recipe, images.load(image.getvalue()), net)
    return dream.image.tobytes()


def test_with_steadiness_0_each_frame_is_the_dream_of_that_frame_alone(dreams, clips, net):
    frames = dreams(steadiness=0.0, overrides={"octaves.count": 2, "ascent.steps": 2})
    photos = decoded(clips / "sliding.mkv")
    for number, data in enumerate(made(frames)):
        assert data == alone(frames, number, photos[number], net)


def test_another_steadiness_goes_on_from_the_frame_before(dreams, clips, net):
    frames = dreams(steadiness=0.5)
    photos = decoded(clips / "sliding.mkv")
    data = made(frames)
    assert data[0] == alone(frames, 0, photos[0], net)
    assert all(data[n] != alone(frames, n, photos[n], net) for n in range(1, 6))


@pytest.fixture(scope="module")
def moving(net, clips, tmp_path_factory, astronaut):
    """A moving clip that is dreamed with the preset as it is: its frames, steadily and alone."""
    size, count, shift = (160, 112), 10, 3
    folder = tmp_path_factory.mktemp("moving")
    photos = sliding(astronaut, count, shift, size)
    write(folder / "clip.mkv", photos, size=size)
    found = [[pixels(photo, size) for photo in photos]]
    for steadiness in (video_plan.STEADINESS, 0.0):
        wanted = Wanted(folder / "clip.mkv", Delivery(folder / "film.mp4"))
        wanted = replace(wanted, request=Request(network=net, threads=1), steadiness=steadiness)
        film = video_plan.prepare(wanted)
        (folder / f"{steadiness}").mkdir()
        data = made(film.open(folder / f"{steadiness}", net))
        found.append([pixels(frame, size) for frame in data])
    return (shift, *found)


def flicker(frames: list[torch.Tensor], shift: int) -> float:
    """The mean difference to the frame before, moved as the clip did."""
    pairs = zip(frames, frames[1:], strict=False)
    found = [(after[:, :-shift] - before[:, shift:]).abs().mean() for before, after in pairs]
    return float(torch.stack(found).mean())


def strength(frame: torch.Tensor, photo: torch.Tensor) -> float:
    return float((frame - photo).square().mean().sqrt())


def test_what_is_dreamed_moves_with_the_clip(moving):
    shift, photos, steady, alone = moving
    assert flicker(photos, shift) == 0  # the motion is known
    assert flicker(alone, shift) > 0.05
    assert flicker(steady, shift) < 0.5 * flicker(alone, shift)


def test_a_steady_dream_does_not_fade(moving):
    _, photos, steady, _ = moving
    found = [strength(*pair) for pair in zip(steady, photos, strict=True)]
    assert found[0] > 0.03
    assert min(found) >= 0.7 * found[0]
    assert max(found) <= 1.6 * found[0]


def test_at_the_border_that_it_moves_into_it_dreams_as_well(moving):
    _, photos, steady, _ = moving
    found = strength(steady[-1], photos[-1])
    for side in (slice(0, 6), slice(-6, None)):
        assert 0.3 * found < strength(steady[-1][:, side], photos[-1][:, side]) < 2 * found


def test_a_steady_film_is_less_work(dreams):
    preset = {"ascent.steps": None, "octaves.count": None}
    for size in (480, 960):
        recipe = dreams(request={"size": size}, overrides=preset).recipe
        assert recipe.again.work < 0.8 * recipe.whole.work
        assert recipe.again.octaves == recipe.whole.octaves


@pytest.mark.parametrize(("clip", "cut"), [("cut.mkv", 3), ("dark.mkv", 2)])
def test_after_a_cut_the_clip_begins_anew(dreams, clips, net, clip, cut):
    frames = dreams(clip, overrides={"octaves.count": 2})
    photos = decoded(clips / clip)
    data = made(frames)
    for number in range(len(photos)):
        begins = number in (0, cut)
        assert (data[number] == alone(frames, number, photos[number], net)) == begins


def test_after_a_frame_without_anything_to_see_the_clip_begins_anew_and_so_it_does_after_it(
    clips, chelsea
):
    from dreamer.core import video

    (scene,) = (pixels(data).permute(2, 0, 1)[None] for data in still(chelsea, 1))
    for plain in (0.0, 0.5, 1.0):
        nothing = torch.full_like(scene, plain)
        for before, after in ((nothing, scene), (scene, nothing)):
            assert video.carried(before, torch.zeros_like(before), after, 0.9, Estimator()) is None
        assert (
            video.carried(nothing, torch.zeros_like(nothing), nothing, 0.9, Estimator()) is not None
        )
    # A fade, and a flash, are no cuts.
    fade = [scene * share / 12 for share in range(13)]
    for before, after in zip(fade, fade[1:], strict=False):
        assert video.carried(before, torch.zeros_like(before), after, 0.9, Estimator()) is not None
    flash = (scene * 1.5 + 0.1).clamp(0, 1)
    assert video.carried(scene, torch.zeros_like(scene), flash, 0.9, Estimator()) is not None


@pytest.mark.parametrize("clip", ["sliding.mkv", "cut.mkv"])
@pytest.mark.parametrize("nothing", [NOTHING, {"ascent.steps": 0}, {"mix.blend": 1.0}], ids=str)
def test_without_dreaming_the_film_is_the_clip_and_no_ghost_of_it(dreams, clips, clip, nothing):
    assert made(dreams(clip, overrides=nothing)) == decoded(clips / clip)


def test_a_frame_keeps_no_more_of_the_one_before_than_can_change(dreams):
    assert dreams(steadiness=1.0).recipe.keep == video_plan.MOST_KEPT
    assert dreams(steadiness=0.3).recipe.keep == 0.3


@pytest.mark.parametrize(
    ("output", "size"),
    [("film.webm", 95), ("film.webm", 97), ("film.webm", 60), ("film.mp4", 98), ("film.mp4", 150)],
)
def test_a_film_of_another_size_is_all_of_the_clip(dreams, clips, size, output):
    frames = dreams(output=output, request={"size": size}, overrides=NOTHING)
    width, height = frames.recipe.size
    assert abs(width - size) <= (output == "film.mp4")
    photos = decoded(clips / "sliding.mkv")
    for data, photo in zip(made(frames), photos, strict=True):
        wanted = Image.frombytes("RGB", SIZE, photo).resize((width, height))
        apart = pixels(data, (width, height)) - pixels(wanted.tobytes(), (width, height))
        assert float(apart.abs().mean()) < 0.04


def test_an_odd_side_loses_a_line_and_stays_sharp(dreams, clips, tmp_path, net, chelsea):
    photos = sliding(chelsea, 2, 3, (97, 65))
    write(clips / "odd.mkv", photos, size=(97, 65))
    frames = dreams("odd.mkv", overrides=NOTHING)
    assert frames.recipe.size == (96, 64)
    for data, photo in zip(made(frames), photos, strict=True):
        assert torch.equal(pixels(data), pixels(photo, (97, 65))[:64, :96])


def test_gone_on_with_from_any_frame_it_is_the_same_film(dreams):
    whole = made(dreams("cut.mkv"))
    for first in range(7):
        some = dreams("cut.mkv", folder=f"from-{first}")
        for number in range(first):
            path = some.path(number)
            path.write_bytes((path.parent.parent / "kept" / path.name).read_bytes())
        assert some.kept() == some.ready(first) == first
        assert made(some, first) == whole
        assert [path.read_bytes() for path in sorted(some.folder.iterdir())] == [
            path.read_bytes() for path in sorted((some.folder.parent / "kept").iterdir())
        ]


def test_the_same_recipe_makes_the_same_film_again_and_another_seed_another(dreams):
    frames = dreams()
    whole = made(frames)
    assert made(dreams(folder="again")) == whole
    other = dreams(folder="other", request={"seed": 1})
    assert other.recipe.hash != frames.recipe.hash
    assert all(one != two for one, two in zip(made(other), whole, strict=True))


def test_the_motion_does_not_depend_on_how_many_threads_look_for_it(dreams, astronaut):
    import cv2

    before, after = (
        pixels(data, (240, 160)).permute(2, 0, 1)[None]
        for data in sliding(astronaut, 2, 9, (240, 160))
    )
    threads = cv2.getNumThreads()
    found = []
    try:
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            found.append(Estimator().motion(before, after)[0])
    finally:
        cv2.setNumThreads(threads)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_decides_the_film_decides_its_hash(dreams, clips):
    frames = dreams()
    hashes = {frames.recipe.hash}
    (clips / "renamed.mkv").write_bytes((clips / "sliding.mkv").read_bytes())
    assert dreams("renamed.mkv").recipe.hash in hashes
    assert dreams(output="film.webm").recipe.hash in hashes
    others = [
        dreams("other.mkv"),
        dreams(steadiness=0.8),
        dreams(start=0.05),
        dreams(end=0.2),
        dreams(every=2),
        dreams(request={"size": 90}),
        dreams(overrides={"target": "block5"}),
    ]
    assert len(hashes | {other.recipe.hash for other in others}) == 8


def test_a_frame_that_is_stopped_is_not_kept(dreams):
    frames = dreams()
    told = []
    assert list(frames.dream(0, on_progress=told.append, stop=lambda: True)) == []
    assert list(frames.folder.iterdir()) == []
    assert [(said.picture, said.of, said.work, said.whole) for said in told] == [
        (0, 6, frames.recipe.whole.work, frames.recipe.whole.work)
    ]


def test_it_tells_how_far_it_is(dreams):
    frames = dreams(overrides={"ascent.steps": 2, "octaves.count": 2})
    told = []
    assert list(frames.dream(0, on_progress=told.append)) == list(range(6))
    for number in range(6):
        works = [said.work for said in told if said.picture == number]
        recipe = frames.recipe.again if number else frames.recipe.whole
        assert works == sorted(works)
        assert works[-1] == recipe.work


def test_between_frames_gradients_and_threads_are_the_callers(dreams):
    frames = dreams(request={"threads": 3})
    with torch.inference_mode():
        for _ in frames.dream(0):
            assert torch.is_inference_mode_enabled()
            assert torch.get_num_threads() == 1


def test_what_is_kept_is_counted_up_to_the_first_that_is_missing(dreams):
    frames = dreams()
    made(frames)
    assert frames.kept() == 6
    frames.path(2).unlink()
    assert frames.kept() == 2


@pytest.mark.parametrize("other", ["shorter.mkv", "cut.mkv"])
def test_a_clip_that_changes_while_it_is_dreamed_is_noticed_by_its_frames(
    dreams, clips, tmp_path, other
):
    clip = clips / "changing.mkv"
    clip.write_bytes((clips / "sliding.mkv").read_bytes())
    frames = dreams("changing.mkv")
    run(clip, "-i", str(clips / other), "-vf", "trim=end_frame=4", *EXACT)
    with pytest.raises(InputError, match=r"changing\.mkv' has changed"):
        list(frames.dream(0))
    assert frames.kept() == 4


def test_a_network_whose_answers_are_no_numbers_is_refused(dreams, monkeypatch):
    real = ascent.dream

    def broken(*given, **more):
        for step in real(*given, **more):
            yield replace(step, score=float("nan"))

    monkeypatch.setattr(ascent, "dream", broken)
    frames = dreams()
    with pytest.raises(NetworkError, match="not numbers"):
        list(frames.dream(0))
    assert frames.kept() == 0
