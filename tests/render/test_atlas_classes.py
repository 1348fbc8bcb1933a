import pytest
import torch
from torch import nn

from dreamer.media import images
from dreamer.networks import imagenet
from dreamer.networks import network as networks
from dreamer.render.atlas import classes


@pytest.fixture(scope="module")
def network():
    return networks.load("efficientnet_lite0")


@pytest.fixture(scope="module")
def cat(chelsea):
    return images.resize(images.load(chelsea), 192).pixels[None]


def scaled(network, layer, channel, pixels, by):
    """The logits with a channel of a block made so many times what it is."""
    block = network.features([layer, "logits"]).body.network.blocks[int(layer[5:])]

    def change(module, inputs, output):
        output = output.clone()
        output[:, channel] *= by
        return output

    hook = block.register_forward_hook(change)
    try:
        with torch.no_grad():
            return network.features(["logits"])(pixels)["logits"].flatten().double()
    finally:
        hook.remove()


@pytest.mark.parametrize("layer", ["block8", "block11", "block14"])
def test_shares_are_what_a_little_less_of_the_channel_costs_the_class(network, cat, layer):
    """Against finite differences, on a network that works in place."""
    with torch.no_grad():
        answers = network.features([layer])(cat)[layer][0].mean((1, 2))
    channels = answers.topk(3).indices.tolist()
    fed = classes.fed(network, layer, channels, cat.repeat(3, 1, 1, 1), count=12)
    for channel, named in zip(channels, fed, strict=True):
        more, less = (scaled(network, layer, channel, cat, by) for by in (1.005, 0.995))
        for name, share in named[:4]:
            at = [i for i, each in enumerate(imagenet.names()) if each == name]
            wanted = ((more - less) / 0.01)[at]
            assert min(abs(wanted - share)) < 0.05 * abs(share) + 0.02


def test_taking_the_channel_away_lowers_most_of_the_classes_it_feeds(network, cat):
    with torch.no_grad():
        answers = network.features(["block14"])(cat)["block14"][0].mean((1, 2))
    channels = answers.topk(8).indices.tolist()
    fed = classes.fed(network, "block14", channels, cat.repeat(8, 1, 1, 1))
    whole = scaled(network, "block14", 0, cat, 1.0)
    lowered = [
        bool(
            scaled(network, "block14", channel, cat, 0.0)[imagenet.index(name)]
            < whole[imagenet.index(name)]
        )
        for channel, named in zip(channels, fed, strict=True)
        for name, share in named
        if imagenet.known(name) and share > 0.2
    ]
    assert len(lowered) >= 8
    assert sum(lowered) >= 0.8 * len(lowered)


def test_channels_that_a_cat_excites_feed_cats(network, cat):
    """All of them together, as one channel may be about the grass."""
    with torch.no_grad():
        answers = network.features(["head"])(cat)["head"][0].mean((1, 2))
    channels = answers.topk(16).indices.tolist()
    fed = classes.fed(network, "head", channels, cat.repeat(16, 1, 1, 1))
    named = [name for each in fed for name, _ in each]
    cats = sum(name in ("tabby", "tiger cat", "Egyptian cat", "lynx") for name in named)
    assert cats > len(named) / 3


def test_shares_are_of_each_picture_by_itself_and_the_most_first(network, cat):
    noise = torch.rand(cat.shape, generator=torch.Generator().manual_seed(1))
    fed = classes.fed(network, "block11", [3, 5], torch.cat([cat, noise]), count=4)
    assert len(fed) == 2
    for named in fed:
        shares = [share for _, share in named]
        assert shares == sorted(shares, reverse=True)
        assert all(share > 0 for share in shares)
        assert len(named) <= 4


def test_a_class_is_its_own(network, cat):
    fed = classes.fed(network, "logits", [340], cat)
    assert fed == [[("zebra", 1.0)]]


class _InPlace(nn.Module):
    """A layer whose output the next module overwrites, as torchvision's ReLUs do."""

    def __init__(self, count):
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.last = nn.Linear(6, count)

    def forward(self, x):
        return self.last(self.relu(self.first(x)).mean((2, 3)))


@pytest.mark.parametrize("layer", ["first", "relu"])
def test_what_is_worked_on_in_place_and_copied_is_attributed_all_the_same(layer):
    torch.manual_seed(0)
    module = _InPlace(1000).eval()
    loaded = networks.Network.from_module(module, (0.5,) * 3, (0.5,) * 3, size=64)
    pictures = torch.rand(3, 3, 64, 64)
    fed = classes.fed(loaded, layer, [0, 1, 2], pictures, count=12)
    maps = module.first((pictures - 0.5) / 0.5).relu().detach()
    for at, named in enumerate(fed):
        shares = maps[at, at].mean() * module.last.weight[:, at]
        assert named
        for name, share in named:
            indices = [i for i, each in enumerate(imagenet.names()) if each == name]
            assert min(abs(shares[indices] - share)) < 1e-4


def test_a_torchvision_network_too():
    loaded = networks.load("squeezenet1_1", random_seed=0)
    pictures = torch.rand(2, 3, 64, 64)
    fed = classes.fed(loaded, "features.9", [1, 4], pictures, count=12)
    assert any(fed)


def test_networks_of_other_classes_feed_none_that_have_names():
    loaded = networks.Network.from_module(_InPlace(10), (0.5,) * 3, (0.5,) * 3, size=64)
    assert classes.fed(loaded, "relu", [0, 1], torch.rand(2, 3, 64, 64)) == [[], []]
