import copy
import math

import pytest
import torch
from torch import nn

from dreamer.networks import fused, zoo
from dreamer.networks.efficientnet_lite import InvertedResidual, SameConv2d, Stage
from dreamer.networks.network import Features, load

# kernel, stride, expansion, channels out of 4: each kind of block there is
BLOCKS = [(3, 1, 1, 4), (3, 2, 1, 4), (3, 1, 3, 4), (5, 1, 2, 6), (3, 2, 3, 4), (5, 2, 2, 6)]
SIZES = [(8, 8), (7, 9), (6, 5), (1, 12), (2, 2)]


def randomised(module, seed=0):
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
            parameter.mul_(2 / max(1, parameter[0].numel()) ** 0.5)
    return module.requires_grad_(False)


def picture(*shape, seed=1, dtype=torch.float32):
    random = torch.Generator().manual_seed(seed)
    # Large enough that some values are clipped at 6.
    return 3 * torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)


def gradient(run, x):
    leaf = x.clone().requires_grad_()
    y = run(leaf)
    weights = picture(*y.shape, seed=2, dtype=y.dtype)
    return y.detach(), torch.autograd.grad((y * weights).sum(), leaf)[0]


@pytest.fixture(params=["kept", "computed again"])
def keeping(request, monkeypatch):
    """Both ways of getting the wide maps in the backward pass."""
    monkeypatch.setattr(fused, "RECOMPUTED", 2**40 if request.param == "kept" else 0)


@pytest.mark.usefixtures("keeping")
@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
@pytest.mark.parametrize("block", BLOCKS)
def test_the_backward_pass_of_a_block_is_the_derivative_of_its_forward_pass(block, size):
    kernel, stride, expand, out = block
    module = randomised(InvertedResidual(4, Stage(1, kernel, stride, expand, out))).double()
    x = picture(2, 4, *size, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module, x)


@pytest.mark.parametrize("size", [(4, 4), (5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_backward_pass_of_a_clipped_convolution_is_its_derivative(stride, size):
    module = randomised(SameConv2d(3, 5, 3, stride)).double()
    x = picture(2, 3, *size, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module.clipped, x)


@pytest.mark.usefixtures("keeping")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_computes_what_the_plain_way_computes(block, size):
    kernel, stride, expand, out = block
    module = randomised(InvertedResidual(4, Stage(1, kernel, stride, expand, out)))
    x = picture(3, 4, *size)
    exact = gradient(module.double().plain, x.double())
    for found, wanted in zip(gradient(module.float(), x), exact, strict=True):
        torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


def test_some_values_were_clipped_on_both_sides_in_these_tests():
    module = randomised(InvertedResidual(4, Stage(1, 3, 1, 3, 4)))
    wide = module.expand(picture(3, 4, 8, 8))
    assert (wide < 0).float().mean() > 0.2
    assert (wide > 6).float().mean() > 0.02


@pytest.mark.parametrize("size", [(33, 40), (64, 64), (40, 171)])
@pytest.mark.parametrize("layers", [["stem"], ["block0"], ["block4", "block5"], ["head"]])
def test_the_network_computes_what_the_plain_way_computes(layers, size):
    network = load("efficientnet_lite0").features(layers).body.network
    x = picture(1, 3, *size) / 3

    def run(plain):
        network.to(torch.float64 if plain else torch.float32)

        def score(leaf):
            maps = network(leaf, layers, plain=plain)
            return torch.stack([each.square().mean() for each in maps.values()]).sum()[None]

        return gradient(score, x.double() if plain else x)

    try:
        exact, found = run(plain=True), run(plain=False)
    finally:
        network.float()
    torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-4, atol=0)
    apart = (found[1].double() - exact[1]).norm() / exact[1].norm()
    assert apart < 1e-3  # a rounding that turns a ReLU6 comes to that


def test_an_input_without_gradient_keeps_nothing():
    module = randomised(InvertedResidual(4, Stage(1, 3, 1, 3, 4)))
    y = module(picture(1, 4, 8, 8))
    assert y.grad_fn is None


def test_a_gradient_of_another_layout_is_taken():
    module = randomised(InvertedResidual(4, Stage(1, 3, 1, 3, 4)))
    x = picture(1, 4, 6, 6).requires_grad_()
    y = module(x)
    slope = picture(1, 4, 6, 6, seed=3)
    found = torch.autograd.grad(y, x, slope.transpose(2, 3).contiguous().transpose(2, 3))[0]
    wanted = torch.autograd.grad(module.plain(x), x, slope)[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_the_incoming_gradient_is_left_as_it_was():
    module = randomised(InvertedResidual(4, Stage(1, 3, 1, 3, 4)))
    for run in (module, module.plain):
        x = picture(1, 4, 6, 6).requires_grad_()
        slope = picture(1, 4, 6, 6, seed=3)
        before = slope.clone()
        torch.autograd.grad(run(x), x, slope)
        assert torch.equal(slope, before)


def test_changed_weights_are_noticed():
    module = randomised(SameConv2d(2, 2, 1))
    x = picture(1, 2, 3, 3)
    first = module.clipped(x)
    with torch.no_grad():
        module.weight.neg_()
    assert not torch.allclose(module.clipped(x), first)
    torch.testing.assert_close(module.clipped(x), nn.functional.relu6(module(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_the_fused_operations_lack_the_result_is_the_same(monkeypatch, dtype):
    module = randomised(InvertedResidual(4, Stage(1, 3, 2, 3, 4))).to(dtype)
    x = picture(1, 4, 9, 9, dtype=dtype)
    found = gradient(module, x)
    monkeypatch.setattr(fused, "_ONEDNN", False)
    for one, other in zip(found, gradient(module, x), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_under_autocast_the_plain_way_is_taken():
    module = randomised(InvertedResidual(4, Stage(1, 3, 1, 3, 6)))
    x = picture(1, 4, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not fused.usable(x)
        assert module(x).dtype == torch.bfloat16
    assert fused.usable(x)


# A network of each kind, and at least so many convolutions with a ReLU to themselves in its cut.
FAMILIES = {
    "googlenet": 20,
    "inception_v3": 30,
    "vgg16": 9,
    "alexnet": 3,
    "resnet50": 20,
    "mobilenet_v2": 20,
    "densenet121": 20,
    "squeezenet1_1": 15,
    "shufflenet_v2_x1_0": 20,
    "regnet_y_400mf": 15,
    "mobilenet_v3_small": 4,
    "efficientnet_b0": 0,
    "convnext_tiny": 0,
    "swin_t": 0,
    "vit_b_32": 0,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cut_with_fused_convolutions_computes_what_one_without_does(name, monkeypatch):
    network = load(name, random_seed=0)
    layers = network.row.level("patterns")
    fast = network.features(layers)
    count = sum(isinstance(each, fused.ConvolutionReLU) for each in fast.modules())
    assert count >= FAMILIES[name]
    assert set(copy.deepcopy(fast).state_dict()) == set(fast.state_dict())
    monkeypatch.setattr(zoo, "_fuse", lambda body: None)
    plain = Features(network._cut(layers), network.row, network.published, network.memory_format)
    assert not any(isinstance(each, fused.ConvolutionReLU) for each in plain.modules())
    least = network.row.minimum
    sizes = [(least, least), (least + 1, least + 66), (least + 35, least)]
    sizes = sizes if network.published.window is None else [(224, 224), (231, 240)]
    for size in sizes:
        x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(size[1]))

        def score(leaf, features):
            return torch.stack([v.square().mean() for v in features(leaf).values()]).sum()[None]

        found, wanted = (gradient(lambda leaf, f=f: score(leaf, f), x) for f in (fast, plain))
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=0)
        # A rounding that turns a ReLU, or another value into a maximum, comes to that.
        assert (found[1] - wanted[1]).norm() < 2e-3 * wanted[1].norm()


@pytest.mark.parametrize("ceiling", [math.inf, 6.0])
@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, (1, 7), padding=(0, 3)),
        nn.Conv2d(4, 6, 3),
        nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 0)),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 8, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 5, padding=2, groups=4),
    ],
    ids=str,
)
def test_a_convolution_and_its_relu_are_one(convolution, ceiling):
    module = fused.ConvolutionReLU(randomised(convolution), ceiling)
    x = picture(2, 4, 9, 8)
    wanted = gradient(lambda leaf: convolution(leaf).clamp(0, ceiling), x)
    for one, other in zip(gradient(module, x), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    exact = picture(1, 4, 7, 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(module.double(), exact)
    module.float()


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.ConvTranspose2d(4, 4, 3),
        nn.Linear(4, 4),
    ],
    ids=str,
)
def test_what_cannot_be_fused_is_left(convolution):
    assert not fused.Convolution.possible(convolution)
