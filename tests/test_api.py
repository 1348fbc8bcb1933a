"""The Python interface."""

import copy
import functools
import shutil
import time
from pathlib import Path

import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

import dreamer
from dreamer import presets, recipe
from dreamer.core import ascent, judging, visualization
from dreamer.networks import rows
from dreamer.render import devices

QUICK = {"octaves": 1, "steps": 1, "size": 64, "threads": 2}


@pytest.fixture(scope="module")
def embedded():
    return dreamer.load_network("efficientnet_lite0")


@pytest.fixture(scope="module", params=["efficientnet_lite0", "googlenet", "resnet18"])
def any_network(request):
    if request.param == "efficientnet_lite0":
        return dreamer.load_network(request.param)
    return dreamer.load_network(request.param, random_seed=0)


@pytest.mark.parametrize("preset", presets.names())
def test_every_preset_dreams_on_every_network(any_network, preset):
    made = dreamer.dream("sky", preset=preset, network=any_network, **QUICK)
    assert made.pixels.shape == (3, 43, 64)
    assert made.pixels.isfinite().all()
    assert (
        made.pixels - dreamer.dream("sky", network=any_network, strength=0, **QUICK).pixels
    ).abs().mean() > 1e-4


def test_a_picture_and_a_tensor_give_the_same_dream(embedded):
    image = Image.effect_noise((64, 48), 60).convert("RGB")
    data = bytearray(image.tobytes())
    tensor = torch.frombuffer(data, dtype=torch.uint8).view(48, 64, 3).permute(2, 0, 1)
    made = [
        dreamer.dream(start, network=embedded, octaves=1, steps=1).pixels
        for start in (image, tensor)
    ]
    assert torch.equal(*made)


def test_every_step_is_reported(embedded):
    seen = []
    plan = {"octaves": 2, "steps": 3, "ascent_coarse_steps": 2.0}
    dreamer.dream("sky", network=embedded, size=96, on_step=seen.append, **plan)
    assert [step.octave for step in seen] == [0] * 6 + [1] * 3
    assert isinstance(seen[0], ascent.Step)
    assert seen[0].picture().shape == (1, 3, 64, 96)


def test_the_result_saves_and_carries_its_recipe(embedded, tmp_path):
    made = dreamer.dream("sky", network=embedded, **QUICK)
    made.save(tmp_path / "out.png")
    with pytest.raises(dreamer.DreamerError) as caught:
        made.save(tmp_path / "out.png")
    assert caught.value.exit_code == 5
    assert recipe.from_json(made.recipe.to_json(), "it") == made.recipe
    assert made.image.size == (64, 43)


def test_unknown_settings_are_refused_with_the_nearest_name(embedded):
    with pytest.raises(dreamer.DreamerError, match="stepz") as caught:
        dreamer.dream("sky", network=embedded, stepz=3)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"size": 0}, "size"),
        ({"size": "64"}, "size"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"threads": 0}, "threads"),
        ({"photo": 5}, "int"),
        ({"photo": [[0.5]]}, "list"),
        ({"foo": 1}, "octave_scale"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_in_our_words(embedded, arguments, named):
    with pytest.raises(dreamer.DreamerError) as caught:
        dreamer.dream(**{"network": embedded, "octaves": 1, "steps": 1, "size": 64, **arguments})
    assert named in str(caught.value)
    assert caught.value.advice in str(caught.value)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_caller_that_turned_gradients_off_dreams_all_the_same(off):
    expected = dreamer.dream("sky", **QUICK).pixels
    picture = torch.rand(3, 48, 64)
    with off():
        assert torch.equal(dreamer.dream("sky", **QUICK).pixels, expected)
        made = dreamer.dream(picture.clone(), octaves=1, steps=1)
    assert not torch.equal(made.pixels, picture)


def test_a_recipe_is_taken_from_a_picture(embedded, tmp_path):
    first = dreamer.dream("sky", network=embedded, preset="fur", **{**QUICK, "steps": 2}, seed=3)
    first.save(tmp_path / "a.png")
    again = dreamer.dream(recipe=tmp_path / "a.png", network=embedded)
    assert again.recipe == first.recipe
    assert torch.equal(again.pixels, first.pixels)


def test_a_dream_is_printed_in_one_line_and_the_package_lists_itself(embedded):
    assert repr(dreamer.dream("sky", network=embedded, **QUICK)).startswith("Dream(64x43, ")
    assert {"dream", "load_network"} <= set(dir(dreamer))


def test_the_network_is_left_as_it_was_after_success_and_after_an_error(embedded):
    features = embedded.features(("block9", "block10", "block8"))
    before = [parameter.clone() for parameter in features.parameters()]

    def fail(step):
        raise KeyError("stop")

    dreamer.dream("sky", network=embedded, **QUICK)
    with pytest.raises(KeyError):
        dreamer.dream("sky", network=embedded, on_step=fail, **QUICK)
    for parameter, old in zip(features.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert not parameter.requires_grad
        assert parameter.grad is None
    assert not any(module.training for module in features.modules())
    assert not any(module._forward_hooks for module in features.modules())


def test_the_number_of_threads_is_put_back(embedded):
    before = torch.get_num_threads()
    dreamer.dream("sky", network=embedded, **{**QUICK, "threads": 1})
    assert torch.get_num_threads() == before


def test_the_hash_is_of_what_decides_the_picture(embedded):
    first = dreamer.dream("sky", network=embedded, **QUICK).recipe
    assert first.model_copy(update={"preset": "other", "partial": True}).hash == first.hash
    assert dreamer.dream("sky", network=embedded, seed=1, **QUICK).recipe.hash != first.hash
    assert (
        dreamer.dream("sky", network=embedded, **{**QUICK, "threads": 1}).recipe.hash != first.hash
    )


def test_a_neuron_of_the_last_row_is_there_and_one_beyond_is_not(embedded):
    row = rows.row("efficientnet_lite0")
    assert recipe.grid(row, "block8", (64, 43)) == (4, 3)
    dreamer.dream("sky", network=embedded, target="block8:5@2,3", **QUICK)
    with pytest.raises(dreamer.DreamerError, match="3 rows and 4 columns"):
        dreamer.dream("sky", network=embedded, target="block8:5@3,0", **QUICK)


def test_a_damaged_or_newer_recipe_is_refused():
    with pytest.raises(dreamer.DreamerError, match="version 99"):
        recipe.from_json('{"schema": 99}', "x.png")
    with pytest.raises(dreamer.DreamerError, match="damaged"):
        recipe.from_json('{"schema": 1, "seed": "a"}', "x.png")


OTHERS = {
    "octaves.count": 1,
    "octaves.scale": 1.3,
    "octaves.coarsest": 40,
    "ascent.canvas": "fourier",
    "ascent.steps": 3,
    "ascent.coarse_steps": 3.0,
    "ascent.step_size": 0.05,
    "ascent.strength": 0.5,
    "ascent.decay": 0.7,
    "ascent.momentum": 0.0,
    "view.jitter": 3,
    "view.rotate": 0.0,
    "view.zoom": 0.0,
    "gradient.tilt": 1.0,
    "gradient.grain": 0.2,
    "gradient.decorrelate": 1.0,
    "colour.mode": "keep",
    "colour.hold": 0.3,
    "mix.blend": 0.5,
    "mask.where": "ellipse:0.5,0.5,0.3,0.3",
    "mask.keep": "dark",
    "likeness.amount": 0.5,
    "regions": {"ellipse:0.5,0.5,0.3,0.3": "block5"},
    "target": "block5",
}
DESCRIPTIONS = {"description", "strong", "targets"}
# They do nothing alone: what each is beside, and what it becomes.
BESIDE = {
    "ascent.change": ({}, 0.05),
    "ascent.quality": ({"steps": None}, "draft"),
    "colour.when": ({"color": "match:cup.png"}, "before"),
    "mask.feather": ({"mask": "ellipse:0.5,0.5,0.3,0.3"}, 0.1),
    "mask.invert": ({"mask": "ellipse:0.5,0.5,0.3,0.3"}, True),
    "likeness.layer": ({"likeness": 0.5}, "block5"),
}


def test_every_setting_changed_alone_changes_the_picture(embedded, tmp_path, monkeypatch):
    from dreamer.settings import all_settings

    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(skimage.data.__file__).parent / "coffee.png", "cup.png")
    known = OTHERS.keys() | BESIDE.keys() | DESCRIPTIONS
    assert {each.path for each in all_settings()} == known
    plain = {"network": embedded, "size": 128, "steps": 2, "octaves_coarsest": 60, "threads": 2}
    before = dreamer.dream("sky", **plain).pixels
    for path, value in OTHERS.items():
        changed = dreamer.dream("sky", **{**plain, path.replace(".", "_"): value}).pixels
        assert (changed - before).abs().mean() > 1e-4, path
    for path, (others, value) in BESIDE.items():
        beside = {**plain, **others}
        without = dreamer.dream("sky", **beside).pixels
        changed = dreamer.dream("sky", **beside, **{path.replace(".", "_"): value}).pixels
        assert (changed - without).abs().mean() > 1e-4, path


def test_a_loaded_network_is_not_given_other_weights_or_another_device(embedded):
    for wrong in ({"weights": "own.pth"}, {"device": "cuda"}, {"device": "toaster"}):
        with pytest.raises(dreamer.DreamerError, match="loaded"):
            dreamer.dream("sky", network=embedded, **QUICK, **wrong)


def test_a_step_shows_its_own_picture_later_too(embedded):
    steps, pictures = [], []

    def keep(step):
        steps.append(step)
        pictures.append(step.picture())

    dreamer.dream("sky", network=embedded, size=64, octaves=1, steps=3, on_step=keep)
    assert not torch.equal(pictures[0], pictures[1])
    for step, picture in zip(steps, pictures, strict=True):
        assert torch.equal(step.picture(), picture)


@pytest.mark.parametrize(
    "changes",
    [{"preset": "x/../../out"}, {"threads": 0}, {"size": (0, 0)}, {"seed": -1}],
    ids=str,
)
def test_a_recipe_that_was_tampered_with_is_refused(embedded, changes):
    made = dreamer.dream("sky", network=embedded, **QUICK).recipe
    text = made.model_copy(update=changes).to_json()
    with pytest.raises(dreamer.DreamerError, match="damaged"):
        recipe.from_json(text, "x.png")


# Feature visualizations

LOOK = {"size": 64, "steps": 3, "threads": 1}
REAL = judging.held_out


@pytest.fixture
def few_crops(monkeypatch):
    """Judge by 2 crops: 64 take longer than the few steps."""
    monkeypatch.setattr(judging, "held_out", functools.partial(REAL, crops=2))


@pytest.mark.usefixtures("few_crops")
def test_one_target_gives_a_picture_and_several_or_variants_a_list(embedded):
    made = dreamer.visualize("block8:37", network=embedded, **LOOK)
    assert made.pixels.shape == (3, 64, 64)
    assert made.recipe.target == "block8:37"
    for several in (["block8:37"], ("block8:37",)):
        (only,) = dreamer.visualize(several, network=embedded, **LOOK)
        assert torch.equal(only.pixels, made.pixels)
    two = dreamer.visualize(["block8:37", "class:zebra"], network=embedded, **LOOK)
    assert [each.recipe.target for each in two] == ["block8:37", "class:zebra"]
    assert torch.equal(two[0].pixels, made.pixels)
    variants = dreamer.visualize("block8:37", diversity=2, network=embedded, **LOOK)
    assert [each.recipe.label for each in variants] == ["block8:37 #1", "block8:37 #2"]
    (lone,) = dreamer.visualize("block8:37", diversity=1, network=embedded, **LOOK)
    assert torch.equal(lone.pixels, made.pixels)


@pytest.mark.usefixtures("few_crops")
def test_a_visualization_takes_a_side_or_two_and_saves(embedded, tmp_path):
    for size in ((80, 48), [80, 48]):
        made = dreamer.visualize("block8:37", network=embedded, **{**LOOK, "size": size})
        assert made.image.size == (80, 48)
    assert made.save(tmp_path / "a.png") == tmp_path / "a.png"
    with pytest.raises(dreamer.DreamerError) as caught:
        made.save(tmp_path / "a.png")
    assert caught.value.exit_code == 5
    seen = []
    dreamer.visualize("block8:37", network=embedded, on_step=seen.append, **LOOK)
    assert [each.work for each in seen] == [4096, 8192, 12288]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"stepz": 3}, "Did you mean steps"),
        ({"canvass": "pixel"}, "Did you mean canvas"),
        ({"canvas": "fuorier"}, "Did you mean fourier"),
        ({"method": "lucit"}, "Did you mean lucid"),
        ({"method": 3}, "'3'"),
        ({"target": 5}, "5 is no target"),
        ({"target": None}, "None is no target"),
        ({"target": ["block8", 3]}, "3 is no target"),
        ({"target": []}, "nothing to visualize"),
        ({"size": "64"}, "size"),
        ({"size": 64.5}, "size"),
        ({"size": (64,)}, "size"),
        ({"size": (64, 64, 64)}, "size"),
        ({"steps": "3"}, "steps"),
        ({"diversity": 0}, "diversity"),
        ({"restarts": 1.5}, "restarts"),
        ({"seed": -1}, "seed"),
        ({"threads": 0}, "threads"),
        ({"spectrum": 3, "canvas": "maco"}, "'3'"),
        ({"weights": "own.pth"}, "loaded"),
        ({"device": "cuda"}, "loaded"),
    ],
    ids=str,
)
def test_wrong_options_of_visualize_are_refused_in_our_words(embedded, arguments, named):
    given = {"target": "block8:37", "network": embedded, **LOOK, **arguments}
    with pytest.raises(dreamer.DreamerError) as caught:
        dreamer.visualize(**given)
    assert named in str(caught.value)
    assert caught.value.advice in str(caught.value)


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_caller_that_turned_gradients_off_visualizes_all_the_same(embedded, off):
    expected = dreamer.visualize("block8:37", network=embedded, **LOOK).pixels
    with off():
        assert torch.equal(dreamer.visualize("block8:37", **LOOK).pixels, expected)


# Of each channel, what it responds to: nothing, green, red, blue, and not red.
COLOURS = torch.tensor(
    [[0, 0, 0], [-0.5, 1, -0.5], [1, -0.5, -0.5], [-0.5, -0.5, 1], [-1, 0.5, 0.5]]
)


class Painted(nn.Module):
    """A CNN whose channel n responds to a colour n."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 5, 8, 8)
        self.norm = nn.BatchNorm2d(5)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, 5)
        paint(self.mix, self.head)

    def forward(self, x):
        return self.head(self.act(self.norm(self.mix(x))).mean((2, 3)))


class PaintedTokens(nn.Module):
    """A vision transformer of one size whose channel n responds to a colour n, in every token."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 5, 8, 8)
        self.first = nn.Parameter(torch.zeros(1, 1, 5))
        self.norm = nn.Identity()
        self.act = nn.GELU()
        self.head = nn.Linear(5, 5)
        paint(self.mix, self.head)

    def forward(self, x):
        x = self.mix(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1)
        return self.head(self.act(self.norm(x)).mean(1))


def paint(mix, head):
    with torch.no_grad():
        mix.weight.copy_(COLOURS[:, :, None, None].expand(5, 3, 8, 8) / 64)
        mix.bias.zero_()
        head.weight.copy_(torch.eye(5))
        head.bias.zero_()


def of(module):
    return dreamer.Network.from_module(module, (0.5,) * 3, (0.25,) * 3, size=64, name="mine")


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("module", [Painted, PaintedTokens])
@pytest.mark.parametrize(
    ("target", "colour"),
    [
        ("act:2", (1, 0, 0)),
        ("act:1", (0, 1, 0)),
        ("act:3", (0, 0, 1)),
        ("norm:2", (1, 0, 0)),
        ("mix:2", (1, 0, 0)),
        ("-mix:2", (0, 1, 1)),
        ("act:2@3,5", (1, 0, 0)),
        ("act:3@0,0", (0, 0, 1)),
        ("class:2", (1, 0, 0)),
        ("class:1", (0, 1, 0)),
        ("act:[2]", (1, 0, 0)),
        ("norm:[2, -1]", (1, 0, 0)),
        ("mix:[-2]", (0, 1, 1)),
    ],
)
def test_channel_n_is_channel_n_whatever_is_asked_of_it(module, target, colour):
    taken = of(module().train())
    how = {**LOOK, "steps": 8, "transforms": "none", "canvas": "pixel", "decorrelate": False}
    made = dreamer.visualize(target, network=taken, **how)
    shown = made.pixels
    if "@" in target:  # a neuron sees its own patch, and no other
        row, column = map(int, target.partition("@")[2].split(","))
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = True
        assert (shown[:, ~inside] - 0.5).abs().mean() < 0.02
        shown = shown[:, inside]
    means = shown.flatten(1).mean(1)
    on = torch.tensor(colour, dtype=torch.bool)
    assert means[on].min() > means[~on].max() + 0.02, means
    assert made.score > 0


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("module", [Painted, PaintedTokens])
def test_a_layer_is_all_its_channels_and_only_those(module):
    only = module()
    with torch.no_grad():  # of which one is left
        only.mix.weight[[0, 1, 3, 4]] = 0
    how = {**LOOK, "steps": 8, "transforms": "none", "canvas": "pixel", "decorrelate": False}
    made = dreamer.visualize("act", network=of(only), **how)
    red, green, blue = made.pixels.flatten(1).mean(1)
    assert (red - green).abs() > 0.02
    assert (green - blue).abs() < 0.02


def state(module):
    """All that a call could have left on a user's module."""
    return (
        [each.training for each in module.modules()],
        [each.requires_grad for each in module.parameters()],
        [each.grad for each in module.parameters()],
        [len(each._forward_hooks) for each in module.modules()],
        [len(each._forward_pre_hooks) for each in module.modules()],
        [len(each._backward_hooks) for each in module.modules()],
    )


@pytest.mark.usefixtures("few_crops")
@pytest.mark.parametrize("module", [Painted, PaintedTokens])
@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_user_s_module_is_left_as_it_was(module, error, workers, monkeypatch):
    monkeypatch.setattr(visualization, "TOGETHER", 4096)
    monkeypatch.setattr(devices, "default_threads", lambda: workers)
    mine = module().train()
    mine.head.requires_grad_(False)
    mine.act.eval()
    mine.mix.register_forward_hook(lambda *_: None)
    before, values = state(mine), copy.deepcopy(mine.state_dict())
    taken = of(mine)

    def fail(progress):
        if error is not None:
            raise error

    targets = ["act:2", "mix:1", "class:3", "act:[1, 2]", "act:2@1,1"]
    if error is None:
        dreamer.visualize(targets, network=taken, on_step=fail, size=64, steps=2)
    else:
        with pytest.raises(error):
            dreamer.visualize(targets, network=taken, on_step=fail, size=64, steps=2)
    assert state(mine) == before
    for name, value in mine.state_dict().items():
        assert torch.equal(value, values[name])


@pytest.mark.usefixtures("few_crops")
def test_pictures_of_a_user_s_module_that_are_made_at_once_do_not_mix(monkeypatch):
    class Slow(Painted):
        def forward(self, x):
            x = self.mix(x)
            time.sleep(0.002)  # in which another thread has its turn
            return self.head(self.act(self.norm(x)).mean((2, 3)))

    taken = of(Slow())
    targets = ["act:1", "mix:2", "act:3", "class:2"]
    one = [dreamer.visualize(each, network=taken, **LOOK) for each in targets]
    monkeypatch.setattr(visualization, "TOGETHER", 4096)
    monkeypatch.setattr(devices, "default_threads", lambda: 4)
    for alone, beside in zip(one, dreamer.visualize(targets, network=taken, **LOOK), strict=True):
        assert torch.equal(alone.pixels, beside.pixels)
