import json
import subprocess
import sys
from itertools import pairwise

import pytest

from dreamer.errors import InputError, UsageError
from dreamer.networks import rows

ALL = [rows.row(name) for name in rows.names()]


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_every_level_of_every_network_is_made_of_its_layers_and_gets_deeper(row: rows.Row) -> None:
    depths = [[row.layer(name).depth for name in row.level(level)] for level in rows.LEVELS]
    assert all(depths)
    for shallower, deeper in pairwise(depths):
        assert max(shallower) < max(deeper)
        assert min(shallower) < min(deeper)


@pytest.mark.parametrize("row", ALL, ids=lambda row: row.name)
def test_every_row_is_whole(row: rows.Row) -> None:
    depths = [layer.depth for layer in row.layers]
    assert depths == sorted(depths)
    assert row.layers[-1] == rows.Layer("logits", 1000, 0, 1.0)
    assert len({layer.name for layer in row.layers}) == len(row.layers)
    assert all(layer.channels > 0 and layer.stride >= 0 for layer in row.layers)
    assert set(row.aliases.values()) <= {layer.name for layer in row.layers}
    assert not set(row.aliases) & {layer.name for layer in row.layers}
    assert row.minimum >= 32
    for weights in row.weights:
        assert len(weights.sha256) >= 8
        int(weights.sha256, 16)
        assert weights.sha256.startswith(weights.filename.rpartition("-")[2].partition(".")[0])
        assert weights.size > 1_000_000
        assert weights.licence in {"BSD-3-Clause", "Apache-2.0", "CC-BY-NC-4.0"}


def test_the_tables_name_no_unknown_network_or_level() -> None:
    for name, table in rows._tables().items():
        assert name in rows.names()
        assert set(table) <= {*rows.LEVELS, "aliases", "like"}


def test_the_embedded_network_comes_first_and_needs_nothing_fetched() -> None:
    assert rows.names()[0] == rows.DEFAULT == "efficientnet_lite0"
    assert rows.row(rows.DEFAULT).embedded
    assert not rows.row("vgg16").embedded


def test_the_embedded_layers_are_those_that_are_documented() -> None:
    layers = {layer.name: layer for layer in rows.row("efficientnet_lite0").layers}
    expected = {"stem": (32, 2), "block2": (24, 4), "block4": (40, 8), "block7": (80, 16)}
    expected |= {"block10": (112, 16), "block14": (192, 32), "block15": (320, 32)}
    expected |= {"head": (1280, 32), "logits": (1000, 0)}
    for name, (channels, stride) in expected.items():
        assert (layers[name].channels, layers[name].stride) == (channels, stride)


@pytest.mark.parametrize(
    ("network", "alias", "name"),
    [
        ("vgg16", "relu4_3", "features.22"),
        ("vgg16", "conv5_1", "features.24"),
        ("vgg16_bn", "relu4_3", "features.32"),
        ("vgg19", "pool5", "features.36"),
        ("googlenet", "inception_4c", "inception4c"),
        ("googlenet", "mixed4d", "inception4d"),
        ("inception_v3", "mixed5", "Mixed_6c"),
        ("resnet50", "layer3", "layer3.5"),
        ("resnet50", "fc", "logits"),
    ],
)
def test_layers_answer_to_the_names_that_the_field_knows(
    network: str, alias: str, name: str
) -> None:
    assert rows.row(network).layer(alias).name == name


def test_a_network_without_a_table_falls_back_to_depth() -> None:
    row = rows.row("regnet_y_8gf")
    assert not row.levels
    for level, depth in rows.LEVEL_DEPTHS.items():
        (name,) = row.level(level)
        assert row.layer(name).depth == pytest.approx(depth, abs=0.1)
        assert row.layer(name).stride


def test_a_network_like_another_has_its_levels() -> None:
    assert rows.row("wide_resnet50_2").levels == rows.row("resnet50").levels
    # Names of layers are the network's own: batch normalisation moves the numbers.
    assert rows.row("vgg16_bn").levels["patterns"] == ("features.29",)


def test_every_layer_belongs_to_the_level_that_it_is_nearest_to() -> None:
    row = rows.row("efficientnet_lite0")
    levels = [row.level_of(layer) for layer in row.layers]
    assert levels == sorted(levels, key=rows.LEVELS.index)
    for level in rows.LEVELS:
        for name in row.level(level):  # which may be in the next level too
            assert name in row.level(row.level_of(row.layer(name)))


@pytest.mark.parametrize(
    ("wrong", "offer"),
    [
        (lambda: rows.row("resnet5"), "resnet50"),
        (lambda: rows.row("vgg16").layer("relu4_4"), "relu4_3"),
        (lambda: rows.row("vgg16").level("paterns"), "patterns"),
        (lambda: rows.row("resnet50").published("IMAGENET1K_V3"), "IMAGENET1K_V2"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(wrong, offer: str) -> None:
    with pytest.raises(UsageError) as caught:
        wrong()
    assert offer in caught.value.advice


def test_published_weights_are_found_whatever_the_case() -> None:
    row = rows.row("resnet50")
    assert row.published("imagenet1k_v2").sha256 == "11ad3fa6"
    assert row.published() is row.weights[0]


def test_non_commercial_weights_are_never_the_default_where_there_are_others() -> None:
    for row in ALL:
        licences = [weights.licence for weights in row.weights]
        assert licences[0] != "CC-BY-NC-4.0" or set(licences) == {"CC-BY-NC-4.0"}


def test_a_small_picture_is_refused_by_name_and_number() -> None:
    row = rows.row("inception_v3")
    row.check_size(75, 4000, "photo.jpg")
    with pytest.raises(InputError, match=r"photo\.jpg is 4000x74; inception_v3 .* 75 pixels"):
        row.check_size(4000, 74, "photo.jpg")


def test_rows_and_classes_load_without_torch() -> None:
    code = (
        "import sys, json\n"
        "from dreamer.networks import rows, imagenet, weights\n"
        "rows.row('vgg16').level('parts'); imagenet.index('zebra')\n"
        "weights.locate(rows.row('vgg16').published())\n"
        "weights.locate(rows.row('efficientnet_lite0').published())\n"
        "heavy = ['torch', 'torchvision', 'PIL', 'numpy', 'pydantic']\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
