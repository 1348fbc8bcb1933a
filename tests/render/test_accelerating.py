"""Which dreams are computed how, by device and recipe."""

import gc
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dreamer import recipe as recipes
from dreamer.core.acceleration import Accelerated
from dreamer.errors import UsageError
from dreamer.networks.network import Features, load
from dreamer.recipe import Origin, Recipe
from dreamer.render import accelerating, still
from dreamer.render.job import Request, prepare
from dreamer.render.look import look

QUICK = {"ascent.steps": 2, "octaves.count": 1, "target": "block5"}


class Somewhere:
    """A network that says that it is on some device."""

    def __init__(self, kind):
        self.device = torch.device(kind)

    def features(self, layers):
        return SimpleNamespace(layers=layers)


@pytest.mark.parametrize(
    ("kind", "precision", "dtype"),
    [
        ("cuda", "mixed", torch.float16),
        ("cuda", "float32", torch.float32),
        ("mps", "mixed", torch.float16),
        ("cpu", "mixed", torch.bfloat16),
    ],
)
def test_each_device_has_its_way(kind, precision, dtype):
    network = Somewhere(kind)
    found = accelerating.features(network, ["a", "b"], precision)
    assert isinstance(found, Accelerated)
    assert (found.device, found.dtype) == (kind, dtype)
    assert (found._graphs is not None) == (kind == "cuda")


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_in_32_bits_a_network_is_used_as_it_is_where_nothing_is_recorded(kind):
    found = accelerating.features(Somewhere(kind), ["a"], "float32")
    assert not isinstance(found, Accelerated)


def test_all_dreams_with_a_network_share_its_graphs_and_end_with_it():
    network = Somewhere("cuda")
    one, two = (accelerating.features(network, names, "mixed") for names in (["a"], ["b"]))
    other = accelerating.features(Somewhere("cuda"), ["a"], "mixed")
    assert one._graphs is two._graphs
    assert one._graphs is not other._graphs
    assert one._name != two._name
    graphs = weakref.ref(one._graphs)
    del network, one, two
    gc.collect()
    assert graphs() is None


def resolved(device, precision="auto", old=None):
    how = look(Request(precision=precision, overrides=QUICK))
    how = replace(how, device=device, old=old)
    return how.recipe(Origin(start="sky"), (96, 64))


@pytest.mark.parametrize(
    ("device", "precision", "wanted"),
    [
        ("cpu", "auto", "float32"),
        ("mps", "auto", "float32"),
        ("cuda", "auto", "mixed"),
        ("cuda:1", "auto", "mixed"),
        ("cuda", "float32", "float32"),
        ("cpu", "mixed", "mixed"),
    ],
)
def test_the_recipe_says_the_precision(device, precision, wanted):
    assert resolved(device, precision).precision == wanted


def test_a_recipe_is_made_again_in_its_precision_where_it_was_made():
    mixed = resolved("cpu", "mixed")
    assert resolved("cpu", old=mixed).precision == "mixed"
    assert resolved("cpu", "float32", old=mixed).precision == "float32"
    assert resolved("cuda", old=resolved("cuda", "float32")).precision == "float32"
    assert resolved("cpu", old=resolved("cuda")).precision == "float32"


def test_32_bits_are_not_written_and_16_make_another_recipe():
    plain, mixed = resolved("cpu"), resolved("cpu", "mixed")
    assert "precision" not in plain.to_dict()
    assert mixed.to_dict()["precision"] == "mixed"
    assert plain.hash != mixed.hash
    assert recipes.differences(plain, mixed) == ["the precision"]
    for each in (plain, mixed):
        assert recipes.from_json(each.to_json(), "a.png") == each


def test_an_unknown_precision_is_an_error_that_names_the_valid_ones():
    with pytest.raises(UsageError, match="no precision named 'float16'.*auto, float32, mixed"):
        look(Request(precision="float16"))


def dreamed(precision, **changes):
    request = Request(
        photo="sky", precision=precision, size=96, device="cpu", threads=1, to_file=False
    )
    job = prepare(replace(request, overrides=QUICK | changes))
    return still.dream(job.recipe, job.photo, job.load_network())


def test_a_picture_in_mixed_precision_is_much_like_that_in_32_bits_and_made_again_the_same():
    plain, mixed = dreamed("float32").pixels, dreamed("mixed").pixels
    assert not torch.equal(plain, mixed)
    start = dreamed("float32", **{"ascent.steps": 0}).pixels
    changes = [(made - start).flatten() for made in (plain, mixed)]
    assert torch.cosine_similarity(*changes, 0) > 0.5
    assert torch.equal(mixed, dreamed("mixed").pixels)


def test_on_a_processor_nothing_changes_unless_it_is_asked_for(monkeypatch):
    before = dreamed("float32").pixels
    monkeypatch.setattr(
        accelerating, "features", lambda network, layers, _: network.features(layers)
    )
    assert torch.equal(dreamed("auto").pixels, before)


def test_what_was_not_as_it_should_be_is_told_with_the_picture(monkeypatch):
    def loud(network, layers, precision):
        def answers(pixels):
            found = cut(pixels)
            return {
                name: values * (1e9 if values.dtype != torch.float32 else 1)
                for name, values in found.items()
            }

        cut = network.features(layers)
        assert isinstance(cut, Features)
        return Accelerated(answers, "cpu", torch.float16)

    monkeypatch.setattr(accelerating, "features", loud)
    made = dreamed("mixed")
    assert "16 bits do not suffice for this network: computed in 32, which is slow" in made.notes


def test_a_likeness_is_held_in_mixed_precision(monkeypatch):
    held = dreamed("mixed", **{"likeness.amount": 0.5})
    free = dreamed("mixed")
    network = load("efficientnet_lite0").features(["block2"])
    start = dreamed("mixed", **{"ascent.steps": 0}).pixels[None]
    with torch.no_grad():
        wanted, *found = (
            network(each)["block2"] for each in (start, held.pixels[None], free.pixels[None])
        )
    assert (found[0] - wanted).norm() < (found[1] - wanted).norm()
    assert isinstance(held.recipe, Recipe)
