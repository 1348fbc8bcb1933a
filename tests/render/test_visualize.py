"""Feature visualizations end to end, on the embedded network and its real weights."""

import functools
import itertools
import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

import dreamer
from dreamer import visual_recipe
from dreamer.core import judging, spectra, visualization
from dreamer.errors import NetworkError, UsageError
from dreamer.media import images, metadata
from dreamer.render import steering, visual_job, visualize
from dreamer.render.look import Request
from dreamer.render.visual_job import VisualRequest
from dreamer.visual_recipe import from_json, sheet_json

REAL = judging.held_out
STEPS = 4


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small pictures take longer with more, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def few_crops(monkeypatch):
    """Judge by 2 crops: 64 take longer than the few steps."""
    monkeypatch.setattr(judging, "held_out", functools.partial(REAL, crops=2))


@pytest.fixture(scope="module")
def network():
    return dreamer.load_network("efficientnet_lite0")


@pytest.fixture
def prepare(network):
    def prepare(*targets, size=(64, 64), seed=None, network=network, **more):
        settings = {"steps": STEPS, **more.pop("settings", {})}
        look = Request(network=network, threads=1, seed=seed, to_file=False)
        return visual_job.prepare(
            VisualRequest(targets=targets, size=size, settings=settings, look=look, **more)
        )

    return prepare


@pytest.fixture
def make(network, prepare):
    """Make pictures; keywords of `visualize.make` beside those of a request."""

    def make(*targets, **more):
        how = {name: more.pop(name) for name in ("on_step", "stop", "workers") if name in more}
        return visualize.make(prepare(*targets, **more).recipes, network, **how)

    return make


def worth(network, recipe, pixels):
    """What a picture's target is worth in some pixels `(3, H, W)`, as a user would compute it."""
    goal = steering.objective(recipe, network.row)
    return REAL(pixels[None], network.features(goal.layers), goal)


def start(recipe):
    """The pixels that a picture starts from."""
    plan = visualize.plan(recipe, torch.device("cpu"))
    seed = visualize.start_seed(recipe.seed, recipe.variant, 0)
    canvas = plan.start(plan.sizes[-1], [visualization.generator(seed, -2)])
    return canvas.show().detach()[0]


def again(path, network):
    look = Request(network=network, to_file=False)
    return visual_job.prepare(VisualRequest(recipe=str(path), look=look))


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_file_makes_its_picture_again_to_the_byte(network, make, tmp_path, suffix):
    first, second = (make("block8:37 + 0.5*class:zebra", seed=3)[0] for _ in range(2))
    first.save(tmp_path / f"a{suffix}")
    second.save(tmp_path / f"b{suffix}")
    job = again(tmp_path / f"a{suffix}", network)
    assert not job.notes
    visualize.make(job.recipes, network)[0].save(tmp_path / f"c{suffix}")
    data = [(tmp_path / f"{name}{suffix}").read_bytes() for name in "abc"]
    assert data[0] == data[1] == data[2]


@pytest.mark.usefixtures("few_crops")
def test_every_picture_of_several_is_made_again_alone(network, make, tmp_path):
    for made in make("block8:1", "block5:3", "class:zebra"):
        made.save(tmp_path / "one.png", overwrite=True)
        (alone,) = visualize.make(again(tmp_path / "one.png", network).recipes, network)
        assert torch.equal(alone.pixels, made.pixels)
        assert alone.recipe == made.recipe


@pytest.mark.usefixtures("few_crops")
def test_one_of_a_group_is_made_again_beside_the_others(network, make, tmp_path):
    group = make("block8:1", diversity=3)
    for made in group[::2]:
        made.save(tmp_path / "one.png", overwrite=True)
        (alone,) = visualize.make(again(tmp_path / "one.png", network).recipes, network)
        assert torch.equal(alone.pixels, made.pixels)
        assert alone.recipe == made.recipe


def test_the_file_holds_the_pixels_and_the_score_is_the_files(network, make, tmp_path):
    (made,) = make("block8:37")
    made.save(tmp_path / "a.png")
    read = images.load(tmp_path / "a.png")
    assert torch.equal(read.pixels, made.pixels)
    assert made.score == float(f"{worth(network, made.recipe, read.pixels):.6g}")
    assert made.recipe.score == made.score
    text = metadata.read(str(tmp_path / "a.png"))
    assert from_json(text, "a.png") == (made.recipe,)
    assert made.image.mode == "RGB"
    assert made.image.tobytes() == Image.open(tmp_path / "a.png").tobytes()


@pytest.mark.parametrize("canvas", ["fourier", "maco", "pixel"])
@pytest.mark.parametrize("size", [(96, 40), (47, 65)], ids=str)
def test_every_canvas_raises_its_target_at_any_shape(network, make, canvas, size):
    steps = {"steps": 8, "canvas": canvas}
    (made,) = make("block5:3", size=size, settings=steps)
    assert made.pixels.shape == (3, size[1], size[0])
    assert made.recipe.settings.optimiser == ("nadam" if canvas == "maco" else "adam")
    assert made.score > worth(network, made.recipe, start(made.recipe)) + 0.05


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("canvas", ["fourier", "maco", "pixel"])
def test_octaves_grow_to_the_size_asked_for(make, canvas):
    seen = []
    (made,) = make(
        "block3:1",
        size=(83, 71),
        settings={"octaves": 2, "steps": 5, "canvas": canvas},
        on_step=lambda progress: seen.append(progress.pictures().shape[2:]),
    )
    assert made.recipe.sizes == ((42, 36), (83, 71))
    assert made.recipe.steps == (3, 2)
    assert seen == [(36, 42)] * 3 + [(71, 83)] * 2
    assert made.pixels.shape == (3, 71, 83)
    assert not torch.equal(
        made.pixels, make("block3:1", size=(83, 71), settings={"canvas": canvas})[0].pixels
    )


def test_negative_lowers_the_unit(network, make):
    (made,) = make("block5:3", negative=True, settings={"steps": 8})
    assert made.recipe.terms[0].weight == -1
    assert made.recipe.target == "-block5:3"
    assert made.score > worth(network, made.recipe, start(made.recipe)) + 0.05
    assert torch.equal(made.pixels, make("-block5:3", settings={"steps": 8})[0].pixels)


@pytest.mark.usefixtures("few_crops")
def test_variants_differ_and_diversity_has_a_part_in_it(make):
    group = make("block8:1", diversity=3)
    assert [each.recipe.variant for each in group] == [0, 1, 2]
    assert [each.recipe.label for each in group] == [f"block8:1 #{k}" for k in (1, 2, 3)]
    for one, other in itertools.combinations(group, 2):
        assert (one.pixels - other.pixels).abs().mean() > 0.005
    apart = make("block8:1", diversity=3, settings={"diversity": 0.0})
    assert not torch.equal(apart[0].pixels, group[0].pixels)


@pytest.mark.usefixtures("few_crops")
def test_variants_of_a_class_have_textures_to_differ_by(network, prepare, make):
    job = prepare("class:zebra", diversity=2)
    goals = [steering.objective(each, network.row) for each in job.recipes]
    layers = visualize._layers(job.recipes, goals, network)
    assert layers == ["logits", [each.name for each in network.row.layers if each.stride][-1]]
    assert visualize._layers(job.recipes[:1], goals[:1], network) == layers
    assert visualize._layers(prepare("class:zebra").recipes, goals, network) == ["logits"]
    pushed = visualize.make(job.recipes, network)
    alone = make("class:zebra", diversity=2, settings={"diversity": 0.0})
    assert not torch.equal(pushed[1].pixels, alone[1].pixels)


def test_the_best_of_several_starts_is_kept(monkeypatch, make):
    scores = []

    def judged(*arguments, **more):
        scores.append(REAL(*arguments, crops=2, **more))
        return scores[-1]

    monkeypatch.setattr(judging, "held_out", judged)
    (made,) = make("block8:37", restarts=3)
    assert len(set(scores)) == 3
    assert made.score == float(f"{max(scores):.6g}")
    assert made.recipe.restarts == 3
    assert (made.recipe.label, made.recipe.partial) == ("block8:37", False)
    scores.clear()
    (first,) = make("block8:37")
    assert first.score <= made.score


def test_starts_are_all_distinct_and_the_first_is_the_seed():
    drawn = {
        visualize.start_seed(seed, variant, restart)
        for seed in (0, 1, 2)
        for variant in range(5)
        for restart in range(5)
    }
    assert len(drawn) == 75
    assert all(0 <= each < 2**63 for each in drawn)
    assert visualize.start_seed(7, 0, 0) == 7


@pytest.mark.usefixtures("few_crops")
def test_alpha_is_in_the_file_and_leaves_the_picture_as_it_is(make, tmp_path):
    (made,) = make("block8:37", settings={"alpha": True})
    (opaque,) = make("block8:37")
    assert torch.equal(made.pixels, opaque.pixels)
    assert opaque.alpha is None
    assert made.alpha is not None
    assert made.alpha.shape == (64, 64)
    assert made.alpha.min() == 0
    assert made.alpha.max() == 1
    made.save(tmp_path / "a.png")
    read = images.load(tmp_path / "a.png")
    assert read.alpha is not None
    torch.testing.assert_close(read.alpha, made.alpha, atol=0.5 / 255 + 1e-6, rtol=0)
    assert made.image.mode == "RGBA"


def test_opacity_is_the_eased_rank_between_two_quantiles():
    # Smaller than the 24 cells of the low pass, which so leaves it as it is.
    influence = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]) * 3
    low, high = 0.2 * 8, 0.6 * 8  # quantiles of 0..8
    share = ((influence / 3 - low) / (high - low)).clamp(0, 1)
    torch.testing.assert_close(visualize.opacity(influence), share**2 * (3 - 2 * share))


def test_a_fifth_is_transparent_and_two_fifths_are_opaque():
    influence = torch.rand(200, 300, generator=torch.Generator().manual_seed(0))
    alpha = visualize.opacity(influence)
    assert (alpha == 0).float().mean() == pytest.approx(0.2, abs=0.03)
    assert (alpha == 1).float().mean() == pytest.approx(0.4, abs=0.03)
    torch.testing.assert_close(visualize.opacity(influence * 1024), alpha)


@pytest.mark.usefixtures("few_crops")
def test_a_maco_picture_takes_the_spectrum_of_a_folder(network, make, photos, tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("chelsea.png", "coffee.png"):
        (tmp_path / "mine" / name).write_bytes((photos / name).read_bytes())
    (tmp_path / "mine" / "broken.jpg").write_text("no picture")
    settings = {"canvas": "maco"}
    (made,) = make("block8:1", spectrum=str(tmp_path / "mine"), settings=settings)
    shown = (
        images.resize(images.load(photos / name), 256).pixels[None]
        for name in ("chelsea.png", "coffee.png")
    )
    assert made.recipe.settings.spectrum == spectra.measured(shown)
    (plain,) = make("block8:1", settings=settings)
    assert not torch.equal(made.pixels, plain.pixels)
    made.save(tmp_path / "a.png")
    (repeated,) = visualize.make(again(tmp_path / "a.png", network).recipes, network)
    assert torch.equal(repeated.pixels, made.pixels)
    assert b"mine" not in (tmp_path / "a.png").read_bytes()


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize(
    "settings",
    [
        {"border": "grey"},
        {"border": "mean"},
        {"decorrelate": False},
        {"transforms": "none"},
        {"transforms": "lucid"},
        {"transforms": "distill"},
        {"views": 2},
        {"rate": 0.1},
        {"decay": 0.9},
        {"optimiser": "nadam"},
        {"steps": STEPS + 1},
        {"octaves": 2, "steps": STEPS},
    ],
    ids=str,
)
def test_every_setting_changed_alone_changes_the_picture_and_the_hash(make, settings):
    (plain,) = make("block8:37", size=(80, 80))
    (other,) = make("block8:37", size=(80, 80), settings=settings)
    assert not torch.equal(plain.pixels, other.pixels)
    assert plain.recipe.hash != other.recipe.hash


@pytest.mark.usefixtures("few_crops")
def test_a_stopped_picture_is_what_it_was_and_says_so(make):
    steps = []
    made = make("block8:1", "block8:2", stop=lambda: True, on_step=steps.append)
    assert [each.recipe.partial for each in made] == [True, True]
    assert len(steps) == 1
    whole = make("block8:1", settings={"steps": 1}, stop=lambda: True)
    assert whole[0].recipe.partial is False  # it was done
    assert torch.equal(made[0].pixels, whole[0].pixels)


@pytest.mark.usefixtures("few_crops")
def test_stopped_at_a_later_start_the_whole_one_is_kept_but_marked(make):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > STEPS

    (made,) = make("block8:1", restarts=3, stop=stop)
    assert made.recipe.partial is True  # it is the best of one start, not of three
    assert torch.equal(made.pixels, make("block8:1")[0].pixels)


def test_a_network_that_answers_with_no_numbers_is_an_error(network, prepare):
    class Broken:
        row, device = network.row, network.device

        def features(self, layers):
            real = network.features(layers)
            return lambda pixels: {name: value * torch.nan for name, value in real(pixels).items()}

    with pytest.raises(NetworkError, match="not numbers") as caught:
        visualize.make(prepare("block8:1").recipes, Broken())
    assert "networks verify" in caught.value.advice


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("workers", [1, 3])
def test_progress_adds_up_to_the_whole(monkeypatch, prepare, network, workers):
    monkeypatch.setattr(visualization, "TOGETHER", 64 * 64 * 4)
    seen = []
    recipes = prepare(
        "block3:1", "block3:2", "block5:3", restarts=2, settings={"octaves": 2, "views": 2}
    ).recipes
    visualize.make(recipes, network, on_step=seen.append, workers=workers)
    works = [each.work for each in seen]
    assert works == sorted(works)
    assert works[-1] == seen[0].whole == sum(each.work for each in recipes)
    assert len(seen) == 3 * 2 * STEPS
    assert seen[0].pictures().shape == (1, 3, 32, 32)


@pytest.mark.usefixtures("few_crops")
def test_workers_make_the_same_bytes(monkeypatch, prepare, network):
    monkeypatch.setattr(visualization, "TOGETHER", 64 * 64)
    recipes = prepare("block5:1", "block5:2", "block8:1", "class:zebra").recipes
    assert all(each.threads == 1 for each in recipes)
    before = torch.get_num_threads()
    one = visualize.make(recipes, network)
    many = visualize.make(recipes, network, workers=3)
    assert torch.get_num_threads() == before
    for alone, beside in zip(one, many, strict=True):
        assert torch.equal(alone.pixels, beside.pixels)
        assert alone.recipe == beside.recipe
    monkeypatch.undo()
    for alone, batched in zip(one, visualize.make(recipes, network), strict=True):
        assert torch.equal(alone.pixels, batched.pixels)


def test_when_one_worker_fails_the_others_do_not_go_on(monkeypatch, prepare, network):
    monkeypatch.setattr(visualization, "TOGETHER", 64 * 64)
    monkeypatch.setattr(judging, "held_out", lambda *_, **__: 0.0)
    recipes = prepare("block5:1", "block5:2", "block5:3", settings={"steps": 100_000}).recipes
    calls = []

    def pressed(progress):
        calls.append(progress)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        visualize.make(recipes[:1], network, on_step=pressed)
    # The first to be waited for fails; the second would take minutes.
    calls.clear()
    real = visualize._run

    def failing(recipes, *more):
        if recipes[0].terms[0].channel == 1:
            raise NetworkError("It broke.", "Mend it.")
        return real(recipes, *more)

    monkeypatch.setattr(visualize, "_run", failing)
    with pytest.raises(NetworkError, match="broke"):
        visualize.make(recipes, network, workers=2)


@pytest.mark.usefixtures("few_crops")
def test_what_nothing_can_move_is_told():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
    with torch.no_grad():
        module[2].weight[1] = 0
    network = dreamer.Network.from_module(module, (0.5,) * 3, (0.5,) * 3, size=64, name="mine")
    made = dreamer.visualize(["2:1", "2:2"], network=network, size=64, steps=3, threads=1)
    assert made[0].notes == ("nothing moves '2:1': its gradient is zero",)
    assert made[1].notes == ()


@pytest.mark.usefixtures("few_crops")
def test_a_picture_prints_itself_in_one_line(make):
    (made,) = make("block8:37")
    assert repr(made) == f"Visualization(block8:37, 64x64, score {made.score:.4g})"
    assert made.seconds > 0


# Recipes


def test_a_recipe_round_trips_and_its_hash_ignores_what_only_describes(prepare):
    recipe = prepare("0.5*block8:37@1,2 - class:zebra", "block5:[3, -0.5*12]").recipes[1]
    for each in (recipe, recipe.model_copy(update={"score": 1.5, "partial": True})):
        assert from_json(each.to_json(), "it") == (each,)
        assert from_json(json.dumps(each.to_dict()), "it") == (each,)
    described = {"score": 3.0, "partial": True, "method": "other", "dreamer": "9.9"}
    assert recipe.model_copy(update=described).hash == recipe.hash
    for decisive in (
        {"seed": 1},
        {"threads": 2},
        {"size": (64, 65)},
        {"restarts": 2},
        {"weights": "x"},
        {"engine": 99},
        {"terms": recipe.terms * 2},
    ):
        assert recipe.model_copy(update=decisive).hash != recipe.hash


def test_a_sheet_carries_all_recipes_in_their_order(prepare):
    recipes = prepare("block8:3", "block8:1", diversity=2).recipes
    text = sheet_json(recipes)
    assert json.loads(text)["kind"] == "visualization sheet"
    assert from_json(text, "it") == recipes
    assert visual_recipe.is_visual(text)
    assert sheet_json(recipes[:1]) == recipes[0].to_json()
    for other in ("", "[]", "{}", '"visualization"', '{"kind": "dream"}', '{"kind": 3}'):
        assert not visual_recipe.is_visual(other)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"schema": 99}, "version 99"),
        ({"seed": "a"}, "damaged recipe: seed"),
        ({"seed": -1}, "seed"),
        ({"size": [0, 64]}, "size"),
        ({"settings": {}}, "settings"),
        ({"group": 2, "variant": 2}, "variant"),
        ({"variant": 1}, "variant"),
        ({"restarts": 1000}, "restarts"),
        ({"method": "x/../../out"}, "method"),
        ({"more": 1}, "more"),
    ],
    ids=str,
)
def test_a_damaged_or_newer_recipe_is_refused(prepare, changes, named):
    (recipe,) = prepare("block8:1").recipes
    text = json.dumps(recipe.to_dict() | changes)
    with pytest.raises(UsageError, match=named) as caught:
        from_json(text, "x.png")
    assert "x.png" in caught.value.message
    with pytest.raises(UsageError, match="damaged"):
        from_json('{"kind": "visualization sheet", "schema": 1, "pictures": []}', "x.png")


def test_differences_are_said_in_the_users_words(prepare):
    (recipe,) = prepare("block8:1").recipes

    def said(**changes):
        return visual_recipe.differences(recipe, recipe.model_copy(update=changes))

    assert said() == said(score=1.0, partial=True) == []
    assert said(seed=3, threads=7) == ["the seed", "the number of threads"]
    assert said(size=(65, 64)) == ["the size"]
    assert said(restarts=4) == ["how many are made"]
    assert said(terms=recipe.terms * 2) == ["the target"]
    settings = recipe.settings.model_copy(update={"rate": 0.1, "canvas": "pixel"})
    assert said(settings=settings) == [
        "canvas (pixel instead of fourier)",
        "rate (0.1 instead of 0.05)",
    ]
    long = recipe.settings.model_copy(update={"spectrum": ((0.5,) * 24,) * 3})
    assert said(settings=long) == ["spectrum"]


def test_labels_on_a_sheet_name_the_picture_and_its_score():
    picture = Image.new("RGB", (2, 2))
    made = SimpleNamespace(
        recipe=SimpleNamespace(label="block8:1 #2"), score=1.23456, image=picture
    )
    assert list(visualize.labels([made])) == [("block8:1 #2  1.23", picture)]
