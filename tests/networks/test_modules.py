"""Modules of the user's own, and that they stay the user's."""

import copy
import gc
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import dreamer
from dreamer.errors import DreamerError, InputError, NetworkError, UsageError
from dreamer.networks import layouts, network
from dreamer.networks.network import Network

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
QUICK = {"octaves": 1, "steps": 2, "size": 64, "threads": 1}


class Small(nn.Module):
    """A CNN as people write them: names of all kinds, `view`, in-place activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, 2, 1)
        self.norm = nn.BatchNorm2d(6)
        self.act1 = nn.ReLU(inplace=True)
        self.middle_part = nn.Sequential(nn.Conv2d(6, 7, 3, 2, 1), nn.SiLU(inplace=True))
        self.conv3 = nn.Conv2d(7, 8, 3, 2, 1)
        self.drop = nn.Dropout(0.5)
        self.last = nn.ReLU6()
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(32, 5)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm(self.conv1(x)))
        x = self.last(self.drop(self.conv3(self.middle_part(x))))
        x = self.pool(x)
        return self.fc(x.view(x.shape[0], -1))


class Tokens(nn.Module):
    """A vision transformer of one size: a stem of convolutions, then tokens."""

    def __init__(self, class_token: bool, side: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 8, 8)
        count = (side // 8) ** 2 + class_token
        self.position = nn.Parameter(torch.randn(1, count, 12))
        self.first = nn.Parameter(torch.randn(1, 1, 12)) if class_token else None
        self.norm = nn.LayerNorm(12)
        self.attention = nn.MultiheadAttention(12, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.first is not None:
            x = torch.cat([self.first.expand(len(x), -1, -1), x], 1)
        y = self.norm(x + self.position)
        x = x + self.attention(y, y, y)[0]
        return self.head(self.mlp(x)[:, 0])


class ChannelsLast(nn.Module):
    """Maps `(N, h, w, C)` between two ordinary convolutions; as many channels as rows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.mix = nn.Linear(16, 16)
        self.act = nn.GELU()
        self.out = nn.Conv2d(16, 9, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.mix(self.stem(x).permute(0, 2, 3, 1)))
        return self.out(x.permute(0, 3, 1, 2))


class Flattening(nn.Module):
    """The CNN of most tutorials: its last layers take one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 5)
        self.conv2 = nn.Conv2d(6, 8, 5)
        self.fc = nn.Linear(8 * 25, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.fc(F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1))


class Returning(nn.Module):
    """Answers with whatever a function makes of its feature maps."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.inner = Function(make)

    def forward(self, x: Tensor) -> Any:
        return self.inner(self.conv(x))


class Function(nn.Module):
    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor) -> Any:
        return self.make(x)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def taken(module: nn.Module, size: int = 64, **how: Any) -> Network:
    return Network.from_module(module, MEAN, STD, size=size, **how)


def everything(taken: Network, pixels: Tensor) -> dict[str, Tensor]:
    return taken.features([layer.name for layer in taken.row.layers])(pixels)


def heard(module: nn.Module, pixels: Tensor) -> dict[str, Tensor]:
    """What plain hooks on a copy hear: after each module and, as `X.pre`, before it."""
    module = copy.deepcopy(module).eval()
    found: dict[str, Tensor] = {}

    def keep(name: str, value: Any) -> None:
        if isinstance(value, Tensor):
            found[name] = value.clone()

    for path, each in module.named_modules():
        each.register_forward_pre_hook(lambda _, inputs, path=path: keep(f"{path}.pre", inputs[0]))
        each.register_forward_hook(lambda _, inputs, output, path=path: keep(path, output))
    with torch.no_grad():
        x = (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        module(x)
    return found


def test_layers_are_found_in_execution_order_with_their_facts() -> None:
    row = taken(Small()).row
    found = [(each.name, each.channels, each.stride) for each in row.layers]
    assert found == [
        ("conv1", 6, 2),
        ("norm", 6, 2),
        ("act1.pre", 6, 2),
        ("act1", 6, 2),
        ("middle_part.0", 7, 4),
        ("middle_part.1.pre", 7, 4),
        ("middle_part.1", 7, 4),
        ("conv3", 8, 8),
        ("last.pre", 8, 8),
        ("last", 8, 8),
        ("pool", 8, 32),
        ("logits", 5, 0),
    ]
    depths = {each.name: each.depth for each in row.layers}
    assert (depths["conv1"], depths["act1"], depths["conv3"]) == (0.25, 0.25, 0.75)
    assert depths["logits"] == 1
    assert row.aliases == {"middle_part": "middle_part.1", "drop": "conv3", "fc": "logits"}
    assert (row.name, row.minimum, row.window) == ("Small", 32, None)
    assert set(row.levels["objects"]) == {"last"}  # after the activation, and not what is pooled
    named = taken(Small(), name="my net").row
    assert named.name == "my net"
    assert (named.published().mean, named.published().std) == (MEAN, STD)


@pytest.mark.parametrize("size", [(64, 64), (50, 75)])
def test_every_layer_answers_as_plain_hooks_hear_it(size: tuple[int, int]) -> None:
    module, pixels = Small(), torch.rand(2, 3, *size)
    expected = heard(module, pixels)
    found = everything(taken(module), pixels)
    expected["logits"] = expected["fc"][:, :, None, None]
    for name, maps in found.items():
        assert torch.equal(maps, expected[name]), name


def test_in_place_activations_change_neither_the_layer_before_nor_pre() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 2, 3))
    own, pixels = taken(module), torch.rand(1, 3, 40, 40)
    for wanted in (["0"], ["1.pre"], ["0", "1.pre", "1"], ["0", "1.pre", "2"]):
        maps = own.features(wanted)(pixels)
        assert list(maps) == wanted
        assert all(maps[name].min() < 0 for name in wanted[:1])
        if "1.pre" in maps and "0" in maps:
            assert torch.equal(maps["0"], maps["1.pre"])
        if "1" in maps:
            assert torch.equal(maps["1"], maps["0"].relu())


@pytest.mark.parametrize("kind", [nn.ReLU6, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.PReLU])
def test_every_activation_has_a_layer_before_and_after(kind: type[nn.Module]) -> None:
    own = taken(nn.Sequential(nn.Conv2d(3, 4, 3), kind()), size=32)
    maps = everything(own, torch.rand(1, 3, 32, 32))
    assert list(maps) == ["0", "1.pre", "1"]
    torch.testing.assert_close(
        own.features(["1"])(torch.rand(1, 3, 32, 32))["1"].shape, maps["1"].shape
    )
    assert not torch.equal(maps["1"], maps["1.pre"])


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "vit_b_32"])
def test_torchvision_s_models_are_taken_as_they_are(name: str) -> None:
    window = 224 if name == "vit_b_32" else None
    module = torchvision.models.get_model(name, weights=None, num_classes=10)
    own = taken(module, size=window or 96)
    zoo = network.load(name, random_seed=0).row
    zoos = {layer.name: layer for layer in zoo.layers}
    mine = {layer.name: layer for layer in own.row.layers}
    assert own.row.window == window
    for name, layer in zoos.items():
        listed = mine[own.row.aliases.get(name, name)]
        assert layer.stride == listed.stride
        assert layer.channels == listed.channels or name == "logits"
    last = own.row.layers[-2 if window else -1].name
    maps = own.features([*own.row.level("parts"), last])(torch.rand(1, 3, 100, 130))
    assert all(own.row.layer(name).channels == each.shape[1] for name, each in maps.items())


@pytest.mark.parametrize("class_token", [True, False])
def test_tokens_become_maps_and_windows_take_any_size(class_token: bool) -> None:
    module = Tokens(class_token)
    own = taken(module, size=32)
    assert own.row.window == 32
    assert own.row.axis == "tokens"
    pixels = torch.rand(2, 3, 32, 32)
    expected = heard(module, pixels)
    maps = everything(own, pixels)
    assert torch.equal(maps["patches"], expected["patches"])
    for name in ("norm", "mlp.0", "mlp.1.pre", "mlp.1", "mlp.2"):
        tokens = expected[name][:, int(class_token) :]
        assert torch.equal(maps[name], tokens.transpose(1, 2).unflatten(2, (4, 4))), name
        assert own.row.layer(name) == rows_layer(own, name, tokens.shape[2], 8)
    larger = everything(own, torch.rand(1, 3, 50, 90))
    assert {tuple(each.shape[2:]) for each in larger.values()} == {(7, 12), (1, 1)}
    assert larger["logits"].shape == (1, 4, 1, 1)


def rows_layer(own: Network, name: str, channels: int, stride: int):
    layer = own.row.layer(name)
    return type(layer)(name, channels, stride, layer.depth)


def test_tokens_of_any_size_are_read_with_all_that_are_no_places() -> None:
    class Registers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 6, 8, 8)
            self.body = nn.Linear(6, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2)
            return self.body(torch.cat([x.new_zeros(len(x), 3, 6), x], 1))[:, 0]

    module, pixels = Registers(), torch.rand(1, 3, 60, 90)
    own = taken(module)
    assert own.row.window is None
    expected = heard(module, pixels)["body"][:, 3:].transpose(1, 2).unflatten(2, (7, 11))
    assert torch.equal(own.features(["body"])(pixels)["body"], expected)


def test_layouts_are_told_apart_layer_by_layer_in_one_module() -> None:
    module, pixels = ChannelsLast(), torch.rand(1, 3, 64, 64)
    own = taken(module)  # 16 channels of 16x16: the square picture alone does not tell
    expected, maps = heard(module, pixels), everything(own, pixels)
    assert own.row.axis == "nhwc"
    for name in ("stem", "out"):
        assert torch.equal(maps[name], expected[name])
    for name in ("mix", "act.pre", "act"):
        assert torch.equal(maps[name], expected[name].permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("one", "wide", "layer", "expected"),
    [
        ((1, 8, 16, 16), (1, 8, 16, 32), nn.Linear(1, 1), ("nchw", 8, 4, 0)),
        ((1, 16, 16, 16), None, nn.Linear(1, 1), ("nhwc", 16, 4, 0)),
        ((1, 16, 16, 16), None, nn.Conv2d(1, 1, 1), ("nchw", 16, 4, 0)),
        ((1, 16, 16, 5), None, nn.Identity(), ("nhwc", 5, 4, 0)),
        ((1, 5, 22, 22), (1, 5, 22, 43), nn.Identity(), ("nchw", 5, 3, 0)),
        ((1, 5, 1, 1), (1, 5, 1, 1), nn.Identity(), ("nchw", 5, 0, 0)),
        ((1, 64, 7), (1, 128, 7), nn.Identity(), ("tokens", 7, 8, 0)),
        ((1, 7, 69), (1, 7, 133), nn.Identity(), ("sequence", 7, 8, 5)),
        ((1, 69, 7), None, nn.Identity(), ("tokens", 7, 8, 5)),
        ((1, 7, 64), None, nn.Identity(), ("sequence", 7, 8, 0)),
        ((1, 30), (1, 30), nn.Identity(), ("flat", 30, 0, 0)),
    ],
)
def test_a_layout_is_read_off_two_shapes(one, wide, layer, expected) -> None:
    found = layouts.read(one, wide, 64, layer)
    assert isinstance(found, layouts.Layout)
    assert (found.kind, found.channels, found.stride, found.extra) == expected


def test_a_head_of_one_size_does_not_hold_the_convolutions_to_it() -> None:
    module, pixels = Flattening(), torch.rand(1, 3, 70, 45)
    own = taken(module, size=32)
    assert own.row.window == 32
    assert own.row.layer("conv2").stride == 2
    assert torch.equal(own.features(["conv2"])(pixels)["conv2"], heard_until_fc(module, pixels))
    assert own.features(["conv2", "logits"])(pixels)["logits"].shape == (1, 10, 1, 1)


def heard_until_fc(module: Flattening, pixels: Tensor) -> Tensor:
    headless = copy.deepcopy(module)
    headless.fc = nn.Identity()  # type: ignore[assignment]
    return heard(headless, pixels)["conv2"]


def test_the_smallest_picture_is_found_and_smaller_ones_are_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 21), nn.Conv2d(4, 4, 21), nn.Conv2d(4, 4, 4))
    own = taken(module)
    assert own.row.minimum == 44
    own.features(["2"])(torch.rand(1, 3, 44, 44))
    with pytest.raises(InputError, match="43x60"):
        own.features(["2"])(torch.rand(1, 3, 60, 43))


def test_nothing_past_the_deepest_wanted_layer_is_computed() -> None:
    calls: list[str] = []
    module = Small()
    for path, each in module.named_modules():
        each.register_forward_pre_hook(lambda *_, path=path: calls.append(path))
    own = taken(module)
    calls.clear()
    own.features(["act1", "middle_part.1.pre"])(torch.rand(1, 3, 64, 64))
    assert calls == [
        *("", "conv1", "norm", "act1", "middle_part", "middle_part.0", "middle_part.1")
    ]
    assert "middle_part.1.pre" in own.features(["middle_part.1.pre"])(torch.rand(1, 3, 64, 64))


class Stateful(Small):
    """Updates a buffer in every forward, in place and by another tensor, and can fail."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(2))
        self.register_buffer("other", torch.zeros(2))
        self.failure: BaseException | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen += 1
        self.other = self.other + 1
        answer = super().forward(x)
        if self.failure is not None:
            raise self.failure
        return answer


def state(module: nn.Module) -> list[Any]:
    """All that is visible of a module, with the identity of every object in it."""
    return [
        [(path, each.training) for path, each in module.named_modules()],
        [
            (path, id(p), p.requires_grad, p._version, id(p.grad), p.device, p.dtype)
            for path, p in module.named_parameters()
        ],
        [(path, id(each), each.tolist()) for path, each in module.named_buffers()],
        [
            (path, list(hooks), [id(hook) for hook in hooks.values()])
            for path, each in module.named_modules()
            for hooks in (
                each._forward_hooks,
                each._forward_pre_hooks,
                each._backward_hooks,
                each._backward_pre_hooks,
                each._forward_hooks_with_kwargs,
                each._forward_pre_hooks_with_kwargs,
                each._forward_hooks_always_called,
            )
        ],
        {name: value.tolist() for name, value in module.state_dict().items()},
    ]


@pytest.mark.parametrize("failure", [None, ValueError("mine"), KeyboardInterrupt()])
def test_the_module_is_left_exactly_as_it_was(failure: BaseException | None) -> None:
    module = Stateful().train()
    module.norm.eval()
    module.conv1.weight.requires_grad_(False)
    module.conv3.weight.grad = torch.ones_like(module.conv3.weight)
    ran: list[int] = []
    module.conv1.register_forward_hook(lambda *_: ran.append(1))
    module.fc.register_forward_pre_hook(lambda *_: ran.append(2))
    before = state(module)
    own = taken(module)
    assert state(module) == before
    for layers in (["conv3"], ["middle_part.1.pre", "logits"]):
        module.failure = failure
        ran.clear()
        pixels = torch.rand(2, 3, 64, 64, requires_grad=True)
        features = own.features(layers)
        features.train().to(torch.float64).float()  # reaches what is ours alone
        if failure is None or layers == ["conv3"]:
            sum(maps.square().mean() for maps in features(pixels).values()).backward()
            assert pixels.grad is not None
            assert pixels.grad.any()
        else:
            with pytest.raises(type(failure)):
                features(pixels)
        assert ran == ([1] if layers == ["conv3"] else [1, 2])
        assert state(module) == before
    assert not list(own.features(["conv3"]).parameters())


def test_it_runs_in_evaluation_mode_with_frozen_weights_and_a_pending_backward_survives() -> None:
    seen: list[bool] = []
    module = Small().train()
    pending = module(torch.rand(2, 3, 64, 64)).sum()
    module.drop.register_forward_hook(
        lambda each, *_: seen.extend([each.training, module.conv1.weight.requires_grad])
    )
    own, pixels = taken(module), torch.rand(1, 3, 64, 64)
    first, again = (own.features(["last"])(pixels)["last"] for _ in range(2))
    assert torch.equal(first, again)
    assert not any(seen)
    pending.backward()
    assert module.conv1.weight.grad is not None


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_met_and_answers_are_float32_with_gradients(dtype) -> None:
    module = Small()
    expected = everything(taken(module), torch.full((1, 3, 64, 64), 0.3))
    module = module.to(dtype)
    own, pixels = taken(module), torch.full((1, 3, 64, 64), 0.3, requires_grad=True)
    maps = everything(own, pixels)
    assert {each.dtype for each in maps.values()} == {torch.float32}
    for name, each in maps.items():
        torch.testing.assert_close(each, expected[name], rtol=0.1, atol=0.1)
    maps["conv3"].square().mean().backward()
    assert pixels.grad is not None
    assert pixels.grad.dtype == torch.float32
    assert pixels.grad.any()
    assert {each.dtype for each in module.parameters()} == {dtype}


def test_the_device_is_the_parameters_and_without_any_the_processor() -> None:
    assert taken(Small()).device == torch.device("cpu")
    bare = taken(nn.Sequential(nn.AvgPool2d(2), nn.ReLU()))
    assert bare.device == torch.device("cpu")
    assert [layer.name for layer in bare.row.layers] == ["0", "1.pre", "1"]
    assert [layer.depth for layer in bare.row.layers] == [0.3333, 0.6667, 1.0]


def test_the_weights_hash_is_of_names_shapes_and_bytes() -> None:
    module = Small()
    first = taken(module).weights_sha256
    assert len(first) == 64
    assert taken(copy.deepcopy(module)).weights_sha256 == first
    assert taken(module).published.sha256 == first
    with torch.no_grad():
        module.fc.bias[0] += 1e-3
    second = taken(module).weights_sha256
    module.norm.running_mean[0] += 1e-3
    assert len({first, second, taken(module).weights_sha256}) == 3
    convolution = nn.Conv2d(3, 3, 1)
    ones = [nn.Sequential(OrderedDict({name: convolution})) for name in ("a", "b")]
    assert taken(ones[0]).weights_sha256 != taken(ones[1]).weights_sha256


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (lambda x: x.mean((2, 3)), 4),
        (lambda x: x.mean((2, 3), keepdim=True), 4),
        (lambda x: (x, x.mean((2, 3))[:, :3], x.mean((2, 3))), 3),
        (lambda x: {"maps": x, "scores": [x.mean((2, 3))[:, :2]]}, 2),
        (lambda x: x, None),
        (lambda x: (x, 3, None, "words"), None),
        (lambda x: None, None),
    ],
)
def test_logits_are_the_first_scores_that_a_module_returns(make, channels) -> None:
    own = taken(Returning(make))
    names = [layer.name for layer in own.row.layers]
    assert ("logits" in names) == (channels is not None)
    if channels is not None:
        assert names[-1] == "logits"
        maps = own.features(["logits", "conv"])(torch.rand(2, 3, 64, 64))
        assert maps["logits"].shape == (2, channels, 1, 1)
    else:
        with pytest.raises(UsageError, match="logits"):
            own.features(["logits"])


def test_a_softmax_at_the_end_leaves_the_scores_before_it_a_layer() -> None:
    own = taken(nn.Sequential(Small(), nn.Softmax(1)))
    maps = own.features(["0.fc", "1.pre", "1"])(torch.rand(1, 3, 64, 64))
    assert list(maps) == ["0.fc", "1.pre", "logits"]
    torch.testing.assert_close(maps["logits"], maps["0.fc"].softmax(1))
    assert torch.equal(maps["1.pre"], maps["0.fc"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: (x, x), "returns a tuple"),
        (lambda x: {"a": x}, "returns a dict"),
        (lambda x: None, "returns a NoneType"),
        (lambda x: x.mean((0, 2, 3)), "no axis of channels"),
        (lambda x: x.mean(), "no axis of channels"),
        (lambda x: x.flatten(1), "width changes with the picture's size"),
        (lambda x: x.argmax(1), "int64"),
        (lambda x: x.transpose(0, 1), "does not count pictures"),
        (lambda x: x.transpose(1, 3), "number of channels"),
        (lambda x: x[:, :, :5, 0], "its tokens are no places"),
    ],
)
def test_what_is_no_layer_is_not_listed_and_asked_for_says_why(make, said) -> None:
    own = taken(Returning(make))
    assert "inner" not in [layer.name for layer in own.row.layers]
    with pytest.raises(NetworkError, match=said) as caught:
        own.features(["inner"])
    assert "row.layers" in caught.value.advice
    assert own.features(["conv"])(torch.rand(1, 3, 64, 64))


def test_layers_that_are_called_twice_or_never_or_have_two_names_are_told() -> None:
    class Twice(Small):
        def __init__(self) -> None:
            super().__init__()
            self.same = self.conv3

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(self.act1(x).abs())

    own = taken(Twice())
    names = [layer.name for layer in own.row.layers]
    assert not {"act1", "act1.pre", "unused"} & set(names)
    for name in ("act1", "act1.pre"):
        with pytest.raises(NetworkError, match=r"called 2 times.*ambiguous"):
            own.features([name])
    with pytest.raises(NetworkError, match="not called"):
        own.features(["unused"])
    assert list(own.features(["same"])(torch.rand(1, 3, 64, 64))) == ["conv3"]
    with pytest.raises(UsageError, match="conv4") as caught:
        own.features(["conv4"])
    assert "conv3" in caught.value.advice
    assert "network.row.layers" in caught.value.advice
    # A target names the same reason.
    with pytest.raises(NetworkError, match="ambiguous"):
        dreamer.dream("sky", network=own, target="act1:2", **QUICK)


def test_attention_between_tokens_is_not_taken_for_a_map() -> None:
    class Attending(Tokens):
        def __init__(self) -> None:
            super().__init__(True)
            self.weigh = nn.Softmax(-1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.patches(x).flatten(2).transpose(1, 2) + self.position[:, 1:])
            return self.head((self.weigh((x @ x.mT)[:, None])[:, 0] @ x)[:, 0])

    names = [layer.name for layer in taken(Attending(), size=32).row.layers]
    assert names == ["patches", "norm", "logits"]


def test_layers_that_change_between_calls_are_refused_at_that_call() -> None:
    module = Returning(lambda x: x.relu())
    own = taken(module)
    features = own.features(["inner"])
    for make in (lambda x: x[:, :2], lambda x: x.mean((2, 3)), lambda x: (x,), lambda x: x[:0]):
        module.inner.make = make
        with pytest.raises(NetworkError, match=r"'inner' of Returning.*changes shape"):
            features(torch.rand(1, 3, 64, 64))
    module.forward = module.conv.forward  # type: ignore[method-assign]
    with pytest.raises(NetworkError, match="was not called"):
        features(torch.rand(1, 3, 64, 64))


def _broken(value: float) -> nn.Module:
    module = Small()
    with torch.no_grad():
        module.conv3.bias[0] = value
    return module


def _meta(**where: str) -> nn.Module:
    module = Small()
    module.fc.to(**where)
    return module


def _inference() -> nn.Module:
    with torch.inference_mode():
        return Small()


@pytest.mark.parametrize(
    ("module", "how", "kind", "said"),
    [
        (lambda: Small, {}, UsageError, "class Small is not an nn.Module"),
        (lambda: {"a": 1}, {}, UsageError, "not an nn.Module"),
        (Small, {"mean": (0.5, 0.5)}, UsageError, "mean"),
        (Small, {"mean": 0.5}, UsageError, "mean"),
        (Small, {"mean": (0.5, math.nan, 0.5)}, UsageError, "mean"),
        (Small, {"std": ("a", 1, 1)}, UsageError, "std"),
        (Small, {"std": (0.5, 0, 0.5)}, UsageError, "above zero"),
        (Small, {"size": 0}, UsageError, "size"),
        (Small, {"size": 1.5}, UsageError, "size"),
        (Small, {"name": ""}, UsageError, "name"),
        (Small, {"layers": ["conv9"]}, UsageError, "conv9"),
        (Small, {"layers": []}, UsageError, "layers"),
        (
            lambda: Tokens(True),
            {},
            NetworkError,
            r"Tokens fails on.*\(1, 3, 64, 64\).*RuntimeError",
        ),
        (lambda: nn.Conv2d(4, 3, 1), {}, NetworkError, "Conv2d fails on a picture"),
        (lambda: nn.Bilinear(3, 3, 3), {}, NetworkError, "TypeError"),
        (lambda: nn.Conv2d(3, 3, 1), {}, NetworkError, "no layer with an axis of channels"),
        (lambda: _broken(math.nan), {}, NetworkError, "'conv3.bias' of Small.*not finite"),
        (lambda: _broken(math.inf), {}, NetworkError, "'conv3.bias' of Small.*not finite"),
        (lambda: Returning(lambda x: x.mean((2, 3)) / 0), {}, NetworkError, "not finite"),
        (lambda: _meta(device="meta"), {}, NetworkError, "several devices: cpu and meta"),
        (lambda: Small().to("meta"), {}, NetworkError, "meta device"),
        (_inference, {}, NetworkError, "inference_mode"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_an_advice(module, how, kind, said) -> None:
    how = {"mean": MEAN, "std": STD, "size": 64, **how}
    with pytest.raises(DreamerError, match=said) as caught:
        Network.from_module(module(), **how)
    assert type(caught.value) is kind
    assert len(caught.value.advice) > 20


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_module_is_refused_and_a_compiled_one_taken_for_what_it_wraps() -> None:
    with pytest.raises(NetworkError, match="TorchScript"):
        taken(torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))))
    wrapper = nn.Module()
    wrapper._orig_mod = Small()  # as torch.compile has it, which takes seconds
    own = taken(wrapper)
    assert (own.row.name, own.row.layers[0].name) == ("Small", "conv1")


def test_a_layer_without_gradients_says_so_when_they_are_wanted() -> None:
    own = taken(Returning(torch.no_grad()(lambda x: x.relu())))
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    with pytest.raises(NetworkError, match="'inner' of Returning passes no gradient"):
        own.features(["inner"])(pixels)
    with torch.no_grad():
        assert own.features(["inner"])(pixels)


def test_the_layers_to_list_can_be_chosen() -> None:
    own = taken(Small(), layers=["fc", "middle_part", "conv1"])
    assert [layer.name for layer in own.row.layers] == ["conv1", "middle_part.1", "logits"]
    assert set(own.row.levels["objects"]) == {"middle_part.1"}
    assert list(everything(own, torch.rand(1, 3, 64, 64))) == ["conv1", "middle_part.1", "logits"]


def test_inference_mode_around_all_of_it_does_no_harm() -> None:
    module = Small()
    with torch.inference_mode():
        own = taken(module)
        made = dreamer.dream("sky", network=own, target="conv3", **QUICK)
    assert made.pixels.shape == (3, 43, 64)


def test_rectified_layers_are_told_for_every_kind_of_network() -> None:
    own = taken(Small())
    assert [own.rectified(name) for name in ("act1.pre", "act1", "last", "middle_part")] == [
        *(False, True, True, False)
    ]
    assert taken(Tokens(True), size=32).rectified("patches") is False
    torchvisions = network.load("squeezenet1_1", random_seed=1)
    assert torchvisions.rectified("features.1")
    assert not torchvisions.rectified("features.0")
    embedded = dreamer.load_network("efficientnet_lite0")
    assert embedded.rectified("stem")
    assert not embedded.rectified("block3")
    calls: list[int] = []
    module = Small()
    own = taken(module)
    module.conv1.register_forward_hook(lambda *_: calls.append(1))
    assert [own.rectified("act1"), own.rectified("act1")] == [True, True]
    assert len(calls) == 1
    with pytest.raises(UsageError):
        own.rectified("act9")


def test_a_dream_on_a_module_moves_its_channel_and_makes_the_same_again(tmp_path) -> None:
    module = Small()
    own = dreamer.Network.from_module(module, MEAN, STD, size=64)
    made = dreamer.dream("sky", network=own, target="conv3:5", **QUICK)
    still = dreamer.dream("sky", network=own, target="conv3:5", strength=0, **QUICK)
    features = own.features(["conv3"])
    before, after = (features(d.pixels[None])["conv3"][:, 5].mean() for d in (still, made))
    assert after > before
    assert made.recipe.network == "Small"
    assert made.recipe.weights == own.weights_sha256
    made.save(tmp_path / "a.png")
    again = dreamer.dream(recipe=tmp_path / "a.png", network=own, threads=1)
    assert again.recipe.hash == made.recipe.hash
    assert torch.equal(again.pixels, made.pixels)
    # Detail levels and neurons come from the module's own row.
    for target in ("parts", "0.5*act1.pre:1 - logits:2", "conv3:5@3,4"):
        assert dreamer.dream("sky", network=own, target=target, **QUICK).pixels.isfinite().all()
    with pytest.raises(UsageError, match="no channel 8"):
        dreamer.dream("sky", network=own, target="conv3:8", **QUICK)


def test_nothing_holds_on_to_a_module_that_is_let_go() -> None:
    module = Small()
    own = taken(module)
    own.features(["conv3"])(torch.rand(1, 3, 64, 64))
    watched = weakref.ref(module)
    del module, own
    gc.collect()
    assert watched() is None
