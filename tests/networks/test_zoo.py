"""A handful of architectures that differ in what can go wrong; the rest share their code."""

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from dreamer.networks import network, rows, survey, zoo

# In-place ReLUs in a row; branches; residuals; norms that cannot be folded; squeeze-excitation;
# shared activations; maps with the channels last; tokens.
NAMES = [
    "alexnet",
    "googlenet",
    "resnet18",
    "densenet121",
    "efficientnet_b0",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "convnext_tiny",
    "swin_t",
    "vit_b_32",
]


def reference(built: nn.Module, row: rows.Row, x: Tensor) -> dict[str, Tensor]:
    """Run the whole network as torchvision has it and copy what each layer returns."""
    seen: dict[str, Tensor] = {}

    def note(name: str):
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            seen[name] = zoo.as_maps(output.clone(), row.axis)

        return hook

    handles = [
        built.get_submodule(layer.name).register_forward_hook(note(layer.name))
        for layer in row.layers[:-1]
    ]
    with torch.no_grad():
        seen[rows.LOGITS] = built(x)[:, :, None, None]
    for handle in handles:
        handle.remove()
    return seen


def picture(row: rows.Row) -> Tensor:
    sides = [row.window] * 2 if row.window else [max(row.minimum, 64), 96]
    return torch.rand(1, 3, *sides, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_cut_and_folded_networks_respond_as_the_whole_unfolded_one(name: str) -> None:
    row = rows.row(name)
    published = row.weights[0]
    built = zoo.randomised(row, published, seed=1).double()
    x = picture(row).double() * 2 - 1
    expected = reference(copy.deepcopy(built), row, x)
    folded = zoo.fold(built)
    everything = zoo.cut(folded, row, published, [layer.name for layer in row.layers])(x)
    assert set(everything) == {layer.name for layer in row.layers}
    for layer in row.layers:
        assert everything[layer.name].shape[1] == layer.channels
        assert (everything[layer.name].shape[2:] == (1, 1)) == (layer.stride == 0) or row.window
        torch.testing.assert_close(
            everything[layer.name], expected[layer.name], rtol=1e-9, atol=1e-9, msg=layer.name
        )
    for level in rows.LEVELS:
        layers = row.level(level)
        cut = zoo.cut(folded, row, published, layers)(x)
        for layer_name in layers:
            torch.testing.assert_close(cut[layer_name], everything[layer_name])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_pixels_from_every_level_and_nothing_else(name: str) -> None:
    loaded = network.load(name, random_seed=1)
    for layers in ([rows.LOGITS], *map(loaded.row.level, rows.LEVELS)):
        pixels = picture(loaded.row).requires_grad_()
        features = loaded.features(layers)
        sum(maps.square().mean() for maps in features(pixels).values()).backward()
        assert pixels.grad is not None
        assert pixels.grad.isfinite().all()
        assert pixels.grad.any()
        assert not any(p.requires_grad or p.grad is not None for p in features.parameters())
        assert not features.training
        assert not any(module.training for module in features.modules())


@pytest.mark.parametrize("name", ["alexnet", "inception_v3", "vgg11", "squeezenet1_1", "swin_t"])
def test_a_network_takes_its_smallest_picture(name: str) -> None:
    loaded = network.load(name, random_seed=1)
    side = loaded.row.minimum
    names = [layer.name for layer in loaded.row.layers]
    with torch.no_grad():
        for maps in loaded.features(names)(torch.rand(1, 3, side, side + 3)).values():
            assert maps.numel()
            assert maps.isfinite().all()


def test_every_batch_normalisation_after_a_convolution_is_folded() -> None:
    row = rows.row("resnet18")
    folded = zoo.fold(zoo.randomised(row, row.weights[0], seed=1))
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]


def test_layers_past_the_cut_are_not_run() -> None:
    row = rows.row("googlenet")
    built = zoo.skeleton(row, row.weights[0])
    shallow = zoo.cut(built, row, row.weights[0], ["inception4c"])
    names = [name for name, _ in shallow.named_modules()]
    assert any("inception4c" in name for name in names)
    assert not any("inception4d" in name or "fc" in name for name in names)


def test_a_token_network_takes_any_size_and_gives_maps_without_the_class_token() -> None:
    loaded = network.load("vit_b_32", random_seed=1)
    pixels = torch.rand(1, 3, 250, 300, requires_grad=True)
    maps = loaded.features(["encoder.layers.encoder_layer_1", "logits"])(pixels)
    assert maps["encoder.layers.encoder_layer_1"].shape == (1, 768, 8, 10)
    assert maps["logits"].shape == (1, 1000, 1, 1)
    maps["encoder.layers.encoder_layer_1"].square().mean().backward()
    assert pixels.grad is not None
    assert (pixels.grad.abs().sum((0, 1)) > 0).all()


def test_tokens_become_maps_in_reading_order() -> None:
    tokens = torch.arange(1 + 9).view(1, 10, 1).float()
    assert zoo.as_maps(tokens, "tokens").flatten().tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert zoo.as_maps(tokens, "tokens").shape == (1, 1, 3, 3)


def test_a_skeleton_takes_no_memory() -> None:
    row = rows.row("vgg16")
    built = zoo.skeleton(row, row.weights[0])
    assert all(parameter.is_meta for parameter in built.parameters())


def test_random_weights_depend_on_the_seed_alone_and_leave_the_global_generator() -> None:
    row = rows.row("squeezenet1_1")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = zoo.randomised(row, row.weights[0], seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again = zoo.randomised(row, row.weights[0], seed=1).state_dict()
    other = zoo.randomised(row, row.weights[0], seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "inception_v3", "vit_b_32"])
def test_random_networks_respond_with_ordinary_numbers_at_every_level(name: str) -> None:
    loaded = network.load(name, random_seed=3)
    layers = [layer for level in rows.LEVELS for layer in loaded.row.level(level)]
    with torch.no_grad():
        for maps in loaded.features([*layers, "logits"])(picture(loaded.row)).values():
            assert 1e-2 < maps.std() < 1e3


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18", "swin_t", "vit_b_32"])
def test_the_measured_layers_are_those_of_the_installed_torchvision(name: str) -> None:
    found = survey.survey_torchvision(name)
    stored = rows._measured()[name]
    assert found["layers"] == stored["layers"]
    assert found["minimum"] == stored["minimum"]
    assert {w["name"]: w["sha256"] for w in found["weights"]} == {
        w["name"]: w["sha256"] for w in stored["weights"]
    }


def test_every_torchvision_classification_network_has_a_row() -> None:
    from torchvision import models

    assert set(models.list_models(module=models)) <= set(rows.names())


@pytest.mark.parametrize("name", [name for name in rows.names() if rows.row(name).embedded])
def test_the_embedded_networks_are_measured_from_their_own_module(name: str) -> None:
    assert survey.survey_lite(name) == rows._measured()[name]


def test_nothing_holds_on_to_a_network_that_is_let_go() -> None:
    loaded = network.load("squeezenet1_1", random_seed=1)
    features = loaded.features(["features.4"])
    features(torch.rand(1, 3, 64, 64))
    watched = weakref.ref(features)
    del loaded, features
    gc.collect()
    assert watched() is None
