import pytest
import torch
from PIL import Image

from dreamer.networks import efficientnet_lite, imagenet, rows
from dreamer.networks.network import load


@pytest.fixture(scope="module")
def network():
    return load("efficientnet_lite0")


def whole(network, pixels, names, plain):
    """Run the embedded network, in the plain way or not."""
    features = network.features(names)
    x = (pixels - features.mean) / features.std
    return features.body.network(x, names, plain=plain)


def centre(path, side=224):
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), 3)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    data = bytearray(image.crop((left, top, left + side, top + side)).tobytes())
    flat = torch.frombuffer(data, dtype=torch.uint8)
    return flat.view(side, side, 3).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("side", [224, 223])
@pytest.mark.parametrize(
    ("photo", "expected", "at_least"),
    [("chelsea", "tiger cat", 0.3), ("coffee", "espresso", 0.9), ("rocket", "missile", 0.2)],
)
def test_it_names_real_photos(request, network, photo, expected, at_least, side):
    pixels = centre(request.getfixturevalue(photo), side)
    with torch.no_grad():
        odds = network.features(["logits"])(pixels)["logits"].flatten().softmax(0)
    best = int(odds.argmax())
    assert imagenet.name(best) == expected
    assert odds[best] >= at_least


def test_the_rows_channels_and_strides_are_the_networks(network):
    row = rows.row("efficientnet_lite0")
    names = [layer.name for layer in row.layers]
    assert names == list(efficientnet_lite.EfficientNetLite("efficientnet_lite0").layer_names)
    with torch.no_grad():
        taken = network.features(names)(torch.rand(1, 3, 96, 128))
    for layer in row.layers[:-1]:
        shape = (1, layer.channels, -(-96 // layer.stride), -(-128 // layer.stride))
        assert tuple(taken[layer.name].shape) == shape


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (63, 47), (33, 96)])
def test_the_gradient_equals_that_of_plain_relu6_and_plain_padding(network, monkeypatch, size):
    pixels = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    names = ["stem", "block5", "head", "logits"]

    def gradient(plain):
        leaf = pixels.clone().requires_grad_()
        taken = whole(network, leaf, names, plain)
        score = torch.stack([v.square().mean() for v in taken.values()]).sum()
        return torch.autograd.grad(score, leaf)[0]

    def plain_convolution(self, x):
        if self.stride[0] == 1:
            return torch.nn.Conv2d.forward(self, x)
        margins = []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // 2) - 1) * 2 + self.taps - length, 0)
            margins += [total // 2, total - total // 2]
        weight = self.weight[:, :, 1:, 1:]
        padded = torch.nn.functional.pad(x, margins)
        return torch.nn.functional.conv2d(padded, weight, self.bias, 2, 0, 1, self.groups)

    ours = gradient(plain=False)
    monkeypatch.setattr(efficientnet_lite.SameConv2d, "forward", plain_convolution)
    torch.testing.assert_close(ours, gradient(plain=True), atol=1e-6, rtol=1e-3)


def test_a_cut_gives_what_the_whole_network_gives(network):
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        alone = network.features(["block8"])(pixels)["block8"]
        with_all = network.features(["block3", "block8", "logits"])(pixels)["block8"]
    assert torch.equal(alone, with_all)


def test_other_lite_networks_have_their_published_width():
    assert len(efficientnet_lite.block_plan("efficientnet_lite0")) == 16
    assert efficientnet_lite.block_plan("efficientnet_lite1")[-1][1].channels == 320
    assert efficientnet_lite.block_plan("efficientnet_lite2")[-1][1].channels == 352
