"""Which tiles a picture is seen in, what is said of them, and dreams that run short of memory."""

import json

import pytest
import torch
from PIL import Image

import dreamer
from dreamer import cli
from dreamer import recipe as recipes
from dreamer.errors import DeviceError, UsageError
from dreamer.networks.network import Features, load
from dreamer.render import memory
from dreamer.render.job import read_recipe

GB = 10**9
SIZES = [(8000, 6000), (12000, 8400), (6000, 8000), (2600, 2000)]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def left(monkeypatch):
    """Say how much memory there is."""

    def set_to(amount):
        monkeypatch.setattr(memory, "capacity", lambda: amount)

    set_to(100 * GB)
    return set_to


def photo(width=240, height=180):
    random = torch.Generator().manual_seed(2)
    small = torch.rand(1, 3, 12, 16, generator=random)
    shape = {"size": (height, width), "mode": "bicubic"}
    return torch.nn.functional.interpolate(small, **shape)[0].clamp(0, 1)


def dream(picture=None, **more):
    given = {"octaves": 2, "steps": 2, "threads": 1, **more}
    return dreamer.dream(photo() if picture is None else picture, **given)


@pytest.mark.parametrize("network", ["efficientnet_lite0", "vgg16", "densenet121", "new"])
def test_large_pictures_are_seen_in_tiles_and_small_ones_whole(network, left):
    assert memory.tile(network, (1024, 1024)) == 0
    assert memory.tile(network, (2048, 2048)) == 0
    sides = {memory.tile(network, size) for size in SIZES}
    assert len(sides) == 1
    (side,) = sides
    assert 512 <= side <= 2048
    assert side % 64 == 0
    assert side**2 * memory.PER_PIXEL.get(network, 2600) <= memory.TILE
    # On other devices what there is is not known.
    left(0)
    assert memory.tile(network, SIZES[0], "cuda") == side
    assert memory.tile(network, (2048, 2048), "cuda") == 0


def test_the_shorter_the_memory_the_smaller_the_tiles(left):
    found = []
    for amount in (100, 4, 3.6, 2, 0):
        left(int(amount * GB))
        found.append(
            [memory.tile("efficientnet_lite0", size) for size in ((8000, 6000), (2048, 2048))]
        )
    assert found[0][1] == 0
    assert found == sorted(found, key=lambda pair: -pair[0])
    assert found[-1] == [256, 256]
    assert 256 < found[1][0] < found[0][0]
    assert found[-2][1] > 256


def recipe_of(**more):
    return dream(steps=0, octaves=1).recipe.model_copy(update=more)


def test_in_tiles_a_picture_takes_less_memory():
    whole = recipe_of(size=(8000, 6000))
    tiled = recipe_of(size=(8000, 6000), tile=1024)
    assert memory.needed(tiled) < 5 * GB < 40 * GB < memory.needed(whole)
    assert memory.needed(recipe_of(size=(12000, 8400), tile=1024)) < 9 * GB
    small = recipe_of(size=(300, 200), tile=1024)
    assert memory.needed(small) == memory.needed(recipe_of(size=(300, 200)))


def test_how_views_are_cut_follows_the_network():
    embedded = load("efficientnet_lite0", random_seed=0)
    shallow = memory.tiling(embedded, ["block2"], 512)
    deep = memory.tiling(embedded, ["block2", "block11"], 512)
    classes = memory.tiling(embedded, ["logits"], 0)
    assert (shallow.stride, deep.stride, classes.stride) == (4, 32, 32)
    assert shallow.halo < deep.halo == classes.halo
    assert (shallow.side, classes.side) == (512, 0)
    assert (deep.strides["block11"], deep.strides["logits"]) == (32, 0)
    assert deep.least == 32
    assert memory.tiling(load("vit_b_16", random_seed=0), ["encoder.ln"], 512).least == 224


def test_a_recipe_says_in_which_tiles_it_was_made():
    whole, tiled = dream(), dream(tile=128)
    assert "tile" not in whole.recipe.to_dict()
    assert tiled.recipe.to_dict()["tile"] == 128
    assert whole.recipe.hash != tiled.recipe.hash
    assert recipes.differences(whole.recipe, tiled.recipe) == ["the tile"]
    again = recipes.from_json(tiled.recipe.to_json(), "it")
    assert again.tile == 128
    # What was made before there were tiles was seen whole.
    assert recipes.from_json(whole.recipe.to_json(), "it").tile == 0
    assert not torch.equal(whole.pixels, tiled.pixels)
    assert torch.equal(dream(tile=128).pixels, tiled.pixels)


@pytest.mark.parametrize("value", [-1, 65_536, 1.5, "auto"])
def test_a_tile_is_a_number_of_pixels(value):
    with pytest.raises(UsageError, match="not valid for tile"):
        dream(tile=value)


TARGETS = [
    "0.6*parts + 0.4*class:zebra",
    "block5:7@3,4",
    "block8:strong3@step",
    "-1*textures + objects",
]


@pytest.mark.parametrize("target", TARGETS)
def test_targets_of_every_kind_are_dreamed_in_tiles(target):
    made = dream(target=target, tile=128)
    assert (made.pixels - photo()).abs().mean() > 0.01
    assert not made.notes


def test_regions_and_likeness_are_dreamed_in_tiles():
    regions = {"ellipse:0.3,0.5,0.25,0.4": "parts", "rest": "textures"}
    made = dream(regions=regions, likeness=0.5, tile=128)
    assert (made.pixels - photo()).abs().mean() > 0.01
    kept = dream(mask="ellipse:0.3,0.5,0.2,0.3", mask_feather=0.0, tile=128).pixels
    assert torch.equal(kept[:, :, 200:], photo()[:, :, 200:])


@pytest.mark.parametrize("canvas", ["fourier", "maco"])
def test_waves_are_dreamed_in_tiles(canvas):
    assert (dream(canvas=canvas, tile=128).pixels - photo()).abs().mean() > 0.01


@pytest.fixture
def short(monkeypatch):
    """Let the network run out of memory with more than so many pixels."""

    def of(most):
        forward = Features.forward

        def limited(self, pixels):
            if pixels.shape[2] * pixels.shape[3] > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
            return forward(self, pixels)

        monkeypatch.setattr(Features, "forward", limited)

    return of


def test_where_memory_is_short_a_dream_goes_on_in_tiles_and_says_so(short):
    tiles = []
    short(200 * 200)
    made = dream(photo(300, 250), on_step=lambda step: tiles.append(step.tile))
    assert tiles[0] == 0
    assert tiles[-1] == made.recipe.tile == 158
    assert made.notes == ("memory was short: tiles of 158 px",)
    assert (made.pixels - photo(300, 250)).abs().mean() > 0.01


def test_where_not_even_small_tiles_fit_it_is_an_error_with_an_advice(short):
    short(100 * 100)
    with pytest.raises(DeviceError, match="not enough memory for 240x180 pixels"):
        dream()


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = cli.run([str(argument) for argument in arguments])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def written(path, size):
    pixels = photo(*size).mul(255).round().byte().permute(1, 2, 0).contiguous()
    Image.frombytes("RGB", size, bytes(pixels.numpy())).save(path)


def test_a_picture_of_megapixels_is_made_in_tiles(run):
    size = (1900, 1300)
    written("photo.png", size)
    fast = ("--octaves", 1, "--steps", 1, "--threads", 1, "--target", "textures")
    code, out, _ = run("dream", "photo.png", "-o", "out.png", "--tile", 512, "--json", *fast)
    assert code == 0
    assert json.loads(out)["result"]["recipe"]["tile"] == 512
    assert read_recipe("out.png").tile == 512
    with Image.open("out.png") as made:
        assert made.size == size
    # The recipe in the file makes the same, which is there already.
    again = ("-o", "out.png", "--from", "out.png", "--json")
    code, out, _ = run("dream", "photo.png", *again)
    assert code == 0
    assert json.loads(out)["result"]["kept"]
    code, out, _ = run("inspect", "out.png")
    assert "512 px" in out


def test_batches_are_made_in_tiles(run, tmp_path):
    (tmp_path / "in").mkdir()
    written(tmp_path / "in" / "photo.png", (240, 180))
    quick = ("--octaves", 1, "--steps", 1, "--target", "textures", "--tile", 128)
    code, _, _ = run("batch", "in", "-o", "out", "--workers", 1, *quick)
    assert code == 0
    (made,) = (tmp_path / "out").rglob("*.png")
    assert read_recipe(str(made)).tile == 128


def test_a_large_picture_is_cut_by_itself(monkeypatch, left, tmp_path):
    monkeypatch.setattr(memory, "WHOLE", 200 * 200)
    monkeypatch.setattr(memory, "LEAST_SIDE", 128)
    monkeypatch.setattr(memory, "TILE", 128**2 * memory.PER_PIXEL["efficientnet_lite0"])
    assert dream(photo(180, 180)).recipe.tile == 0
    made = dream(photo(300, 200))
    assert made.recipe.tile == 128
    # Again from what it says, whatever would be chosen now.
    made.save(tmp_path / "made.png")
    monkeypatch.setattr(memory, "WHOLE", 1 << 22)
    again = dreamer.dream(photo(300, 200), recipe=tmp_path / "made.png")
    assert again.recipe.tile == 128
    assert torch.equal(again.pixels, made.pixels)


def test_tiles_do_not_depend_on_what_else_takes_memory_just_now(monkeypatch):
    monkeypatch.setattr(memory, "free", lambda: 0)
    assert dream(steps=0).recipe.tile == 0
    assert memory.free() < memory.capacity()
