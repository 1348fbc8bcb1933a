"""Whole dreams in mixed precision, or replayed from graphs, on what stands for CUDA."""

from dataclasses import replace

import pytest
import torch
from capturing import Cuda

from dreamer.core import ascent
from dreamer.core.acceleration import SCALE, Accelerated
from dreamer.core.ascent import Ascent
from dreamer.core.canvas import PixelCanvas
from dreamer.core.capture import WARM, Graphs
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Term
from dreamer.core.sight import Goal, Likeness, Scene, Sight
from dreamer.core.sources import noise, sky
from dreamer.core.tiles import Tiling
from dreamer.core.transforms import View
from dreamer.networks.network import load

PLAN = Ascent(
    sizes=((40, 56), (56, 80)),
    steps=(WARM + 2, WARM + 3),
    step_size=0.02,
    decay=0.0,
    momentum=0.5,
    view=View(8),
    tilt=1.5,
    grain=0.6,
    decorrelate=0.5,
    chroma=1.0,
    hold=0.03,
    blend=0.0,
)
LAYER = Objective((Term("block5"),))
SUM = Objective((Term("block8"), Term("block3", 7, weight=0.4), Term("logits", 340, weight=-0.2)))
LIKE = Objective((Term("block5", like="photo"),))
GUIDED = Objective((Term("block8", guide="guide"), Term("block8", guide="guide", by="style")))
STRIDES = {"block3": 8, "block5": 16, "block8": 16, "logits": 0}
TILING = Tiling(side=64, halo=16, stride=16, strides=STRIDES, least=32)


@pytest.fixture(scope="module")
def network():
    return load("efficientnet_lite0")


@pytest.fixture(scope="module")
def photo():
    return sky((56, 80), torch.Generator().manual_seed(3))


def left_half():
    where = torch.zeros(1, 1, 56, 80)
    where[..., :40] = 1
    return where


def dreamed(photo, features, objective, plan=PLAN, **beside):
    for step in ascent.dream(photo, features, objective, plan, 0, **beside):
        last = step
    return last.picture()


CASES = {
    "layer": (LAYER, {}),
    "sum": (SUM, {}),
    "turned": (LAYER, {"view": View(8, 5.0, 0.05)}),
    "caricature": (LIKE, {}),
    "guided": (GUIDED, {}),
    "regions": ((Goal(LAYER, left_half()), Goal(SUM, 1 - left_half())), {}),
    "held": (LAYER, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_dream_what_plain_steps_dream(network, photo, case):
    objective, changes = CASES[case]
    goals = (Goal(objective),) if isinstance(objective, Objective) else objective
    features = network.features({name for goal in goals for name in goal.objective.layers})
    early = network.features(["block3"])
    other = noise((48, 48), torch.Generator().manual_seed(4))
    beside = {
        "photos": {"photo": other} if case == "caricature" else None,
        "guides": {"guide": Guide(other, None, 32)} if case == "guided" else None,
    }
    cuda = Cuda()
    graphs = Graphs(cuda)
    quick = Accelerated(features, "cpu", torch.float32, graphs, "deep")
    held = Accelerated(early, "cpu", torch.float32, graphs, "early")
    plan = replace(PLAN, **changes)
    plain = dreamed(
        photo,
        features,
        objective,
        plan,
        **beside,
        likeness=Likeness(early, 0.5) if case == "held" else None,
    )
    made = dreamed(
        photo,
        quick,
        objective,
        plan,
        **beside,
        likeness=Likeness(held, 0.5) if case == "held" else None,
    )
    torch.testing.assert_close(made, plain, atol=2e-3, rtol=0)
    assert (plain - photo).abs().mean() > 0.01
    assert quick.notes == held.notes == []
    wanted = [2, 2, 3, 3] if case == "held" else [2, 3]
    assert [graph.replays for graph in cuda.graphs] == wanted


def test_the_next_dream_of_the_same_size_and_target_replays_from_its_first_step(network, photo):
    features = network.features(LAYER.layers)
    cuda = Cuda()
    graphs = Graphs(cuda)
    for seed in range(3):
        other = sky((56, 80), torch.Generator().manual_seed(seed))
        dreamed(other, Accelerated(features, "cpu", torch.float32, graphs), LAYER)
    assert [graph.replays for graph in cuda.graphs] == [2 + 5 + 5, 3 + 6 + 6]


@pytest.mark.parametrize("objective", [LAYER, SUM], ids=str)
def test_in_mixed_precision_a_target_rises_as_well(network, photo, objective):
    features = network.features(objective.layers)
    mixed = Accelerated(features, "cpu", torch.bfloat16)
    made = dreamed(photo, mixed, objective)
    goal = ascent.balance(PixelCanvas(photo), features, objective, View(0), torch.Generator())
    with torch.no_grad():
        assert goal(features(made)) > goal(features(photo))
    assert mixed.notes == []


def test_the_terms_of_a_sum_are_balanced_alike_in_mixed_precision(network, photo):
    features = network.features(SUM.layers)
    half = Accelerated(features, "cpu", torch.float16)
    plain, mixed = (
        ascent.balance(PixelCanvas(photo), each, SUM, View(0), torch.Generator()).terms
        for each in (features, half)
    )
    for term, other in zip(plain, mixed, strict=True):
        assert other.weight == pytest.approx(term.weight, rel=0.05)


def seen(features, photo, objective, likeness=None):
    """Look at a photo in tiles; returns the score and the gradient."""
    size = (photo.shape[2], photo.shape[3])
    canvas = PixelCanvas(photo)
    placement = View(8).draw(size, torch.Generator().manual_seed(1))
    scene = Scene(canvas.base, canvas.reader(), placement, (0, 0, 0))
    sight = Sight(features, {}, {}, TILING)
    assert not TILING.whole(placement.size)
    score, (slope,) = sight.gradients(scene, [Goal(objective)], likeness)
    return score, slope


def alike(one, other):
    return torch.cosine_similarity(one.flatten(), other.flatten(), 0)


def test_tiles_lose_no_faint_gradients_in_half_precision(network, photo):
    features = network.features(LAYER.layers)
    half = Accelerated(features, "cpu", torch.float16)
    faint = 1e-7 * LAYER
    wanted, found = (seen(each, photo, faint) for each in (features, half))
    assert found[0] == pytest.approx(wanted[0], rel=0.02)
    assert alike(found[1], wanted[1]) > 0.95
    assert found[1].norm().item() == pytest.approx(wanted[1].norm().item(), rel=0.1)
    assert half.scale == SCALE
    half.scale = 1.0
    assert alike(seen(half, photo, faint)[1], wanted[1]) < 0.7


def test_tiles_whose_gradients_overflow_are_computed_again(network, photo):
    features = network.features(LAYER.layers)
    half = Accelerated(features, "cpu", torch.float16)
    wanted, found = (seen(each, photo, 1e3 * LAYER) for each in (features, half))
    assert alike(found[1], wanted[1]) > 0.95
    assert half.scale < SCALE
    assert half.notes == []


def test_a_likeness_is_held_in_tiles_and_in_half_precision_alike(network, photo):
    features, early = network.features(LAYER.layers), network.features(["block3"])
    half = Accelerated(features, "cpu", torch.float16)
    base = noise((56, 80), torch.Generator().manual_seed(6))
    made = (0.7 * photo + 0.3 * base).clamp(0, 1)
    plain, mixed = Likeness(early, 0.8), Likeness(Accelerated(early, "cpu", torch.float16), 0.8)
    wanted = seen(features, made, LAYER, plain)
    found = seen(half, made, LAYER, mixed)
    assert alike(found[1], wanted[1]) > 0.95


def test_graphs_are_given_up_before_tiles_become_smaller(network, photo):
    features = network.features(LAYER.layers)
    cuda = Cuda()
    graphs = Graphs(cuda)
    dreamed(photo, Accelerated(features, "cpu", torch.float32, graphs), LAYER)
    assert len(graphs) == 2

    def short(pixels):
        if len(graphs):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return features(pixels)

    tiles = []
    accelerated = Accelerated(short, "cpu", torch.float32, graphs)
    for step in ascent.dream(photo, accelerated, LAYER, PLAN, 0, tiling=TILING):
        tiles.append(step.tile)
    assert tiles[0] == TILING.side
    assert cuda.emptied == 1


def test_without_graphs_too_little_memory_is_too_little():
    def short(pixels):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    steps = ascent.dream(
        torch.rand(1, 3, 56, 80), Accelerated(short, "cpu", torch.float32), LAYER, PLAN, 0
    )
    with pytest.raises(torch.OutOfMemoryError):
        next(steps)
