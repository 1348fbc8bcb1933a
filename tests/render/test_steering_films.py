"""Films that are steered: zooms and clips with masks, guides, regions and colours."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from clip_making import SIZE, sliding, write
from PIL import Image

from dreamer.errors import InputError, UsageError
from dreamer.film import fades
from dreamer.film.base import FilmRecipe
from dreamer.networks import network
from dreamer.render import journeys, steering, still, video_plan, zoom_plan
from dreamer.render.film_job import Delivery
from dreamer.render.journeys import Stretch
from dreamer.render.look import Request
from dreamer.render.video import Frames
from dreamer.render.zoom import Keyframes

TINY = {"ascent.steps": 1, "octaves.count": 1}
ELLIPSE = "ellipse:0.5,0.5,0.2,0.25"


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
def pictures(tmp_path_factory, chelsea, coffee):
    folder = tmp_path_factory.mktemp("pictures")
    for source, name in ((chelsea, "cat.png"), (coffee, "a.png")):
        with Image.open(source) as photo:
            photo.convert("RGB").resize(SIZE).save(folder / name)
    mask = Image.new("L", SIZE)
    mask.paste(255, (30, 16, 66, 48))
    mask.save(folder / "mask.png")
    (folder / "presets").mkdir()
    for name, regions in (
        ("one", f'"{ELLIPSE}" = "block5:3"\nrest = "guide:a.png@edges"'),
        ("two", 'auto = "block3:3,5"\n"mask.png" = "style:a.png@edges"'),
    ):
        text = f'schema = 1\nextends = "dream"\n[regions]\n{regions}\n'
        (folder / "presets" / f"{name}.toml").write_text(text)
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch, pictures):
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def zoom(net, tmp_path):
    """Prepare a zoom; nothing is dreamed yet."""

    def zoom(journey="", **wanted) -> Keyframes:
        overrides = {**TINY, **wanted.pop("overrides", {})}
        request = Request(photo="cat.png", network=net, overrides=overrides, threads=1)
        request = replace(request, preset=wanted.pop("preset", None))
        values = {"seconds": None if journey else 1.0, "fps": 4.0, "size": SIZE}
        film = zoom_plan.prepare(
            zoom_plan.Wanted(
                delivery=Delivery(tmp_path / "zoom.mp4"),
                request=request,
                journey=journeys.parse(journey) if journey else (),
                **{**values, **wanted},
            )
        )
        pictures = film.open(tmp_path, net)
        assert isinstance(pictures, Keyframes)
        return pictures

    return zoom


@pytest.fixture(scope="module")
def filmed(chelsea) -> list[bytes]:
    return sliding(chelsea, 3, 2)


@pytest.fixture(scope="module")
def mkv(tmp_path_factory, filmed) -> Path:
    return write(tmp_path_factory.mktemp("clip") / "clip.mkv", filmed)


@pytest.fixture
def clip(net, tmp_path, mkv):
    """Prepare the film of a clip of 3 pictures; nothing is dreamed yet."""

    def clip(name="clip.mkv", steadiness=0.9, **overrides) -> Frames:
        named = {name.replace("__", "."): value for name, value in overrides.items()}
        film = video_plan.prepare(
            video_plan.Wanted(
                clip=mkv.with_name(name),
                delivery=Delivery(tmp_path / "film.mp4"),
                request=Request(network=net, overrides={**TINY, **named}, threads=1),
                steadiness=steadiness,
            )
        )
        (tmp_path / "kept").mkdir(exist_ok=True)
        pictures = film.open(tmp_path / "kept", net)
        assert isinstance(pictures, Frames)
        return pictures

    return clip


def pixels(data: bytes) -> torch.Tensor:
    """Return a frame, `(3, h, w)` in 0..255."""
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).view(SIZE[1], SIZE[0], 3).movedim(2, 0)
    )


def whole(keyframes: Keyframes) -> list[bytes]:
    """Dream all keyframes, and return all frames."""
    for number in range(keyframes.recipe.keyframes):
        assert keyframes.make(number)
    return list(keyframes.frames(0, keyframes.recipe.frames))


def in_bytes(picture: torch.Tensor) -> torch.Tensor:
    return picture.mul(255).round().to(torch.uint8)


@pytest.mark.parametrize(
    "overrides",
    [
        {"mask.where": ELLIPSE},
        {"mask.where": f"not:{ELLIPSE}"},
        {"mask.where": "mask.png", "colour.mode": "match:a.png"},
        {"mask.where": "auto", "target": "block5:3"},
        {"regions": {"mask.png": "block5:3", "ellipse:0.3,0.4,0.2,0.2": "guide:a.png@edges"}},
    ],
    ids=str,
)
def test_outside_of_a_mask_the_first_keyframe_of_a_zoom_is_the_photo(zoom, net, overrides):
    keyframes = zoom(overrides=overrides)
    assert keyframes.make(0)
    assert keyframes.make(1)
    recipe, first = keyframes.recipe.recipe_at(0), keyframes._first()
    outside = (steering.aim(recipe, first, net).where == 0)[0, 0]
    assert 0.1 < outside.float().mean() < 0.99
    found, photo = in_bytes(keyframes.load(0)[0]), in_bytes(first[0])
    assert torch.equal(found[:, outside], photo[:, outside])
    assert (found[:, ~outside] != photo[:, ~outside]).any(0).float().mean() > 0.4


def test_a_journey_goes_from_a_guide_to_some_channels(zoom):
    keyframes = zoom("guide:a.png@textures 1s, block8:3,17 1s", overrides={"mask.where": ELLIPSE})
    first, second = (stretch.recipe for stretch in keyframes.recipe.stretches)
    assert (first.target, second.target) == ("guide:a.png@block5", "block8:3,17")
    assert [each.name for each in first.pictures] == ["a.png"]
    assert second.pictures == ()
    assert {each.settings.mask.where for each in (first, second)} == {ELLIPSE}
    frames = whole(keyframes)
    assert len(frames) == 8
    assert len(set(frames)) == 8
    text = keyframes.recipe.to_json()
    assert str(Path.cwd()) not in text
    again = type(keyframes.recipe).model_validate_json(text)
    assert again.hash == keyframes.recipe.hash
    assert isinstance(again, FilmRecipe)


def test_a_journey_of_two_guides_fades_from_one_to_the_other(zoom):
    Image.open("cat.png").rotate(90).save("b.png")
    keyframes = zoom("guide:a.png@edges 1s, style:b.png@edges 1s", fade=1.0)
    one, two = (stretch.recipe for stretch in keyframes.recipe.stretches)
    both = fades.mixed(one, two, 0.25)
    assert {(t.guide.name, t.by) for t in both.terms} == {("a.png", "best"), ("b.png", "style")}
    assert {Path(each.path).name for each in both.pictures} == {"a.png", "b.png"}
    assert sum(abs(term.weight) for term in both.terms) == pytest.approx(1)
    assert len(whole(keyframes)) == 8


@pytest.mark.parametrize(
    ("journey", "method"),
    [
        ("one 1s, two 1s", "nested"),
        ("two 1s, textures 1s", "feedback"),
        ("eyes 1s, one 1s", "nested"),
    ],
)
def test_fades_of_looks_with_regions_are_those_of_the_nearer_look(zoom, journey, method):
    keyframes = zoom(journey, fade=1.0, method=method)
    first, second = (stretch.recipe for stretch in keyframes.recipe.stretches)
    for weight, nearer in ((0.2, first), (0.8, second)):
        both = fades.mixed(first, second, weight)
        assert both.settings.regions == nearer.settings.regions
        assert both.terms == nearer.terms
        assert both.files == nearer.files
        assert both.target == nearer.target
        assert len(both.by_region) == max(1, len(nearer.settings.regions))
    assert len(whole(keyframes)) == 8


def test_a_target_of_a_journey_goes_over_a_preset_s_regions_but_not_over_those_asked_for(zoom):
    first, second = zoom("one 1s, block5 1s", preset="one").recipe.stretches
    assert first.recipe.settings.regions
    assert not second.recipe.settings.regions
    with pytest.raises(UsageError, match="regions both say what to dream"):
        zoom("one 1s, block5 1s", overrides={"regions": {ELLIPSE: "parts"}})


def test_by_feedback_frames_after_the_first_take_steps_as_they_are(zoom):
    overrides = {"ascent.step_size": 0.03, "ascent.change": 0.2}
    keyframes = zoom(overrides=overrides, method="feedback", seconds=0.5)
    (stretch,) = keyframes.recipe.stretches
    assert stretch.recipe.settings.ascent.change == 0.2
    assert stretch.again.settings.ascent.change == 0
    assert keyframes.recipe.recipe_at(1).settings.ascent.change == 0
    assert zoom(overrides=overrides).recipe.stretches[0].again is None


def test_keyframes_after_the_first_are_not_brought_to_a_change(zoom, monkeypatch):
    dials = []
    real = still.steps

    def watched(*given, **more):
        dials.append(more["dial"])
        return real(*given, **more)

    monkeypatch.setattr(still, "steps", watched)
    keyframes = zoom(overrides={"ascent.step_size": 0.03, "ascent.change": 0.2}, seconds=2.0)
    whole(keyframes)
    assert dials == [True] + [False] * (keyframes.recipe.keyframes - 1)
    assert len(dials) > 1


@pytest.mark.parametrize(
    "overrides",
    [
        {"mask__where": "mask.png", "steadiness": 0.0},
        {"mask__where": f"not:{ELLIPSE}", "mask__feather": 0.05},
        {"mask__where": "mask.png", "colour__mode": "match:a.png"},
        {"mask__where": "mask.png", "colour__mode": "palette:a.png", "colour__when": "before"},
        {"mask__where": "auto", "target": "block5:3"},
        {"mask__where": ELLIPSE, "target": "style:a.png@edges", "mix__blend": 0.3},
        {"regions": {"mask.png": "block5:3", "ellipse:0.3,0.4,0.2,0.2": "guide:a.png@edges"}},
    ],
    ids=str,
)
def test_outside_of_a_mask_each_frame_is_the_clip_s(clip, filmed, net, overrides):
    frames = clip(**overrides)
    assert list(frames.dream(0)) == [0, 1, 2]
    for data, before in zip(frames.frames(0, 3), filmed, strict=True):
        photo = frames._photo(before)
        outside = (steering.aim(frames.recipe.whole, photo, net).where == 0)[0, 0]
        assert 0.1 < outside.float().mean() < 0.99
        assert torch.equal(pixels(data)[:, outside], pixels(before)[:, outside])
        changed = pixels(data)[:, ~outside] != pixels(before)[:, ~outside]
        assert changed.any(0).float().mean() > 0.4


def test_a_guided_film_of_a_clip_is_the_same_again(clip):
    wanted = {"target": "guide:a.png@block5", "mask__where": "mask.png"}
    first = clip(**wanted)
    assert [each.name for each in first.recipe.whole.pictures] == ["a.png", "mask.png"]
    assert first.recipe.again.pictures == first.recipe.whole.pictures
    list(first.dream(0))
    data = list(first.frames(0, 3))
    list(clip(**wanted).dream(0))
    assert list(clip(**wanted).frames(0, 3)) == data
    Image.new("L", SIZE, 255).save("mask.png")
    assert clip(**wanted).recipe.hash != first.recipe.hash


@pytest.mark.parametrize(
    "overrides",
    [
        {"mask.where": "alpha"},
        {"mask.where": "not:alpha"},
        {"regions": {"alpha": "parts"}},
        {"regions": {ELLIPSE: "parts", "not:alpha": "textures"}},
    ],
    ids=str,
)
def test_films_have_no_transparency(zoom, clip, overrides):
    named = {name.replace(".", "__"): value for name, value in overrides.items()}
    for make in (lambda: zoom(overrides=overrides), lambda: clip(**named)):
        with pytest.raises(UsageError, match="films have no transparency") as caught:
            make()
        assert "Give a picture file as the mask" in caught.value.advice


def test_what_steers_nothing_is_refused_before_a_film_is_begun(zoom, clip):
    Image.new("L", SIZE).save("black.png")
    for overrides in ({"mask.where": "black.png"}, {"target": "guide:black.png@block5"}):
        named = {name.replace(".", "__"): value for name, value in overrides.items()}
        for make in (lambda o=overrides: zoom(overrides=o), lambda n=named: clip(**n)):
            with pytest.raises(InputError, match=r"black\.png"):
                make()
    with pytest.raises(InputError, match=r"black\.png"):
        zoom("block5 1s, guide:black.png@block5 1s")


def test_a_clip_that_is_not_dreamed_gets_the_colours_all_the_same(clip, filmed):
    frames = clip(ascent__steps=0, colour__mode="match:a.png", mask__where="mask.png")
    list(frames.dream(0))
    assert all(one != two for one, two in zip(frames.frames(0, 3), filmed, strict=True))


def test_a_zoom_that_is_not_dreamed_gets_the_colours_all_the_same(zoom):
    keyframes = zoom(overrides={"ascent.steps": 0, "colour.mode": "match:a.png"})
    assert keyframes.make(0)
    assert not torch.equal(in_bytes(keyframes.load(0)[0]), in_bytes(keyframes._first()[0]))


def test_looks_of_a_journey_are_read_with_their_commas():
    assert journeys.parse("guide:a.png@textures 1s, block8:3,17 1s,block8:all-2, 5 2s") == (
        Stretch("guide:a.png@textures", 1.0),
        Stretch("block8:3,17", 1.0),
        Stretch("block8:all-2, 5", 2.0),
    )


@pytest.mark.parametrize(("keep", "shade"), [("dark", 0), ("light", 255)])
def test_a_frame_in_which_all_is_kept_stays_as_it_was(clip, mkv, filmed, keep, shade):
    plain = bytes([shade]) * len(filmed[0])  # as after a fade
    write(mkv.with_name(f"{keep}.mkv"), [*filmed[:2], plain])
    frames = clip(name=f"{keep}.mkv", mask__keep=keep)
    assert list(frames.dream(0)) == [0, 1, 2]
    assert list(frames.frames(2, 3)) == [plain]


def test_a_clip_that_stands_still_stays_as_dreamed_as_it_was(clip, mkv, filmed):
    write(mkv.with_name("still.mkv"), [filmed[0]] * 5)
    frames = clip(name="still.mkv", ascent__steps=4, octaves__count=2)
    assert frames.recipe.whole.settings.ascent.change > 0
    list(frames.dream(0))
    photo = frames._photo(filmed[0])
    sizes = [float((frames.load(k) - photo).square().mean().sqrt()) for k in range(5)]
    assert all(0.75 < size / sizes[0] < 1.2 for size in sizes)


def test_a_region_that_is_empty_in_a_frame_leaves_the_others(zoom, net):
    half = torch.ones(1, 3, SIZE[1], SIZE[0])
    half[:, :, :, : SIZE[0] // 2] = 0
    regions = {"ellipse:0.2,0.5,0.1,0.2": "block5", "rest": "block3"}
    recipe = zoom(overrides={"regions": regions, "mask.keep": "dark"}).recipe.recipe_at(1)
    size = (recipe.size[1], recipe.size[0])
    found = steering.aim(recipe, torch.nn.functional.interpolate(half, size), net, filmed=True)
    first, rest = found.goals
    assert not first.where.any()
    assert rest.where.any()
    assert [step.moved for step in steering.dream(found, net, still.plan(recipe), 0)]


def test_a_clip_keeps_the_colours_that_it_was_given_before_it_is_dreamed(clip, net, filmed):
    frames = clip(colour__mode="palette:a.png", colour__when="before", ascent__strength=0.1)
    list(frames.dream(0))
    for number, data in enumerate(filmed):
        photo = frames._photo(data)
        wanted = steering.aim(frames.recipe.whole, photo, net).base
        apart = [float((each - wanted).abs().mean()) for each in (frames.load(number), photo)]
        assert apart[0] < 0.5 * apart[1]


@pytest.mark.parametrize("mode", ["match:a.png", "palette:a.png"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_a_clip_in_other_colours_does_not_run_away(clip, mkv, filmed, mode, strength):
    write(mkv.with_name("still.mkv"), [filmed[0]] * 8)
    wanted = {"colour__mode": mode, "ascent__strength": strength, "ascent__steps": 3}
    frames = clip(name="still.mkv", **wanted)
    list(frames.dream(0))
    photo = frames._photo(filmed[0])
    sizes = [float((frames.load(k) - photo).square().mean().sqrt()) for k in range(8)]
    assert all(0.8 < size / sizes[0] < 1.2 for size in sizes)
    # Gone on with in the middle it is the same film.
    data = list(frames.frames(0, 8))
    for path in (frames.path(7), frames.path(6)):
        path.unlink()
    again = clip(name="still.mkv", **wanted)
    list(again.dream(6))
    assert list(again.frames(0, 8)) == data
