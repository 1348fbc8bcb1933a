"""What only a CUDA device shows: `pytest -m gpu`, where there is one."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from dreamer.core.acceleration import Accelerated
from dreamer.core.capture import WARM, Graphs
from dreamer.core.objectives import Objective, Term
from dreamer.networks.network import load
from dreamer.recipe import Recipe
from dreamer.render import accelerating, devices, still
from dreamer.render.job import Request, prepare, read_recipe

pytestmark = pytest.mark.gpu

LAYER = Objective((Term("block8"),))
SUM = Objective((Term("block8"), Term("block5", 3, weight=0.5), Term("logits", 340)))
QUICK = ("--steps", "6", "--octaves", "2", "--size", "160")


@pytest.fixture(scope="module")
def cuda():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return "cuda"


@pytest.fixture(scope="module")
def network(cuda):
    return load("efficientnet_lite0", device=cuda)


def here(y, x):
    return y, x


def picture(seed, cuda, size=(96, 128)):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed)).to(cuda)


def alike(one, other):
    return torch.cosine_similarity(one.flatten().float(), other.flatten().float(), 0)


@pytest.mark.parametrize("objective", [LAYER, SUM], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_is_replayed_is_what_is_computed(network, cuda, objective, dtype):
    features, graphs = network.features(objective.layers), Graphs()
    replayed = Accelerated(features, "cuda", dtype, graphs)
    plain = Accelerated(features, "cuda", dtype)
    for size in ((96, 128), (128, 160)):
        for seed in range(WARM + 4):
            given = picture(seed, cuda, size), [objective], here, {}
            (score,), (slope,) = replayed.objectives(*given)
            (wanted,), (other,) = plain.objectives(*given)
            assert score == pytest.approx(wanted, rel=1e-2)
            assert alike(slope, other) > 0.99
    assert len(graphs) == 2
    assert replayed.notes == []


def test_half_precision_points_where_single_precision_points(network, cuda):
    features = network.features(SUM.layers)
    half, single = (
        Accelerated(features, "cuda", dtype).objectives(picture(1, cuda), [SUM], here, {})
        for dtype in (torch.float16, torch.float32)
    )
    assert alike(half[1][0], single[1][0]) > 0.95


def test_what_waits_for_the_device_is_noted_and_others_are_still_recorded(network, cuda):
    features, graphs = network.features(LAYER.layers), Graphs()

    def waiting(pixels):
        return {k: values * (1 + 0 * values.sum().item()) for k, values in features(pixels).items()}

    broken = Accelerated(waiting, "cuda", torch.float32, graphs, "waiting")
    sound = Accelerated(features, "cuda", torch.float32, graphs, "sound")
    for accelerated in (broken, sound):
        for seed in range(WARM + 2):
            given = picture(seed, cuda), [LAYER], here, {}
            slope = accelerated.objectives(*given)[1][0]
            assert slope.isfinite().all()
    assert len(broken.notes) == 1
    assert sound.notes == []
    assert len(graphs) == 1


def test_transfers_change_nothing(cuda):
    pixels = torch.rand(3, 40, 50)
    there = devices.sent(pixels, torch.device(cuda))
    assert there.device.type == "cuda"
    assert torch.equal(devices.fetching(there)(), pixels)


def dreamed(device, **options):
    overrides = {"ascent.steps": 8, "octaves.count": 2}
    request = Request(photo="sky", size=192, device=device, to_file=False, overrides=overrides)
    job = prepare(request)
    return still.dream(job.recipe, job.photo, load("efficientnet_lite0", device=device), **options)


def test_a_dream_rises_as_high_as_on_a_processor(cuda):
    made, wanted = dreamed(cuda), dreamed("cpu")
    assert (made.recipe.device, made.recipe.precision) == ("cuda", "mixed")
    assert made.notes == ()
    features = load("efficientnet_lite0").features(["block8"])
    with torch.no_grad():
        scores = [features(each.pixels[None])["block8"].square().mean() for each in (made, wanted)]
    assert scores[0] > 0.8 * scores[1]


def test_a_second_dream_of_the_size_needs_no_other_graph(cuda):
    network = load("efficientnet_lite0", device=cuda)
    request = Request(photo="sky", size=192, network=network, to_file=False)
    job = prepare(request)
    counts = []
    for _ in range(2):
        still.dream(job.recipe, job.photo, network)
        counts.append(len(accelerating._graphs[network]))
    assert counts[0] == counts[1] > 0


def run(*arguments):
    command = [sys.executable, "-m", "dreamer", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["result"]


def test_a_batch_uses_every_device_and_makes_every_picture(cuda, tmp_path):
    count = 3 * torch.cuda.device_count() + 1
    for index in range(count):
        colour = (40 * index % 256, 90, 200)
        Image.new("RGB", (160, 120), colour).save(tmp_path / f"{index}.png")
    report = run("batch", tmp_path, "-o", tmp_path / "out", "--device", cuda, *QUICK)
    assert [item["status"] for item in report["items"]] == ["done"] * count
    for item in report["items"]:
        recipe = read_recipe(item["output"])
        assert isinstance(recipe, Recipe)
        assert (recipe.device, recipe.precision) == ("cuda", "mixed")
