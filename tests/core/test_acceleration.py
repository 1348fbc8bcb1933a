"""Gradients in mixed precision and from graphs, against those that are computed plainly."""

import functools
import math

import pytest
import torch
from capturing import Cuda
from torch import nn

from dreamer.core import guidance
from dreamer.core.acceleration import SCALE, Accelerated, capturable
from dreamer.core.capture import WARM, Graphs
from dreamer.core.objectives import Objective, Pick, Term
from dreamer.core.transforms import View


class Tiny(nn.Module):
    """Two layers of fixed random weights."""

    def __init__(self, gain=1.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.second = nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.gain = gain
        self.dtypes = []
        self.requires_grad_(False).eval()

    def forward(self, pixels):
        early = self.first(pixels * self.gain).relu()
        self.dtypes.append(early.dtype)
        return {"early": early, "late": self.second(early)}


def picture(seed, side=16):
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed))


def plainly(network, pixels, objectives, locate, references):
    leaf = pixels.clone().requires_grad_()
    scores = [each(network(leaf), locate, references) for each in objectives]
    return (
        [score.item() for score in scores],
        [torch.autograd.grad(score, leaf)[0] for score in scores],
    )


def here(y, x):
    return y, x


def references(network, seed):
    """What a network answers to a photo, and to a guide, of that seed."""
    with torch.no_grad():
        bank = guidance.bank(network(picture(seed + 50))["late"])
        return {"photo": network(picture(seed + 20)), "guide": {"late": bank}}


SUM = Objective((Term("early", weight=0.7), Term("late", 3, weight=0.3)))
KINDS = {
    "layer": Objective((Term("late"),)),
    "channel": Objective((Term("late", 2, label="class:two"),)),
    "sum": SUM,
    "avoided": -Objective((Term("early"),)),
    "caricature": Objective((Term("late", like="photo"),)),
    "guide": Objective((Term("late", guide="guide"),)),
    "means": Objective((Term("late", guide="guide", by="means"),)),
    "style": Objective((Term("late", guide="guide", by="style"),)),
}
PLAIN = {
    "neuron": Objective((Term("late", 2, at=(0.4, 0.6)),)),
    "chosen": Objective((Term("late", channels=(1, 4)),)),
    "picked": Objective((Term("late", pick=Pick("strong", 2, anew=True)),)),
    "direction": Objective((Term("late", direction=((0, 0.5), (3, -1.0))),)),
}


@pytest.mark.parametrize("kind", [*KINDS, *PLAIN])
def test_in_32_bits_scores_and_gradients_are_the_plain_ones(kind):
    network, objective = Tiny(), (KINDS | PLAIN)[kind]
    known = references(network, 1)
    found = Accelerated(network, "cpu", torch.float32).objectives(
        picture(1), [objective, SUM], here, known
    )
    wanted = plainly(network, picture(1), [objective, SUM], here, known)
    assert found[0] == pytest.approx(wanted[0], rel=1e-6)
    for slope, other in zip(found[1], wanted[1], strict=True):
        torch.testing.assert_close(slope, other, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_replayed_they_are_those_of_what_is_shown_by_then(kind):
    network, objective, cuda = Tiny(), KINDS[kind], Cuda()
    accelerated = Accelerated(network, "cpu", torch.float32, Graphs(cuda))
    for seed in range(WARM + 3):
        given = picture(seed), [objective], here, references(network, seed)
        found, wanted = accelerated.objectives(*given), plainly(network, *given)
        assert found[0] == pytest.approx(wanted[0], rel=1e-5)
        torch.testing.assert_close(found[1][0], wanted[1][0], rtol=1e-4, atol=1e-8)
    assert [graph.replays for graph in cuda.graphs] == [3]
    assert accelerated.notes == []


def test_other_weights_and_other_dreams_of_the_same_target_need_no_other_graph():
    network, cuda = Tiny(), Cuda()
    graphs = Graphs(cuda)
    for seed in range(WARM + 4):
        accelerated = Accelerated(network, "cpu", torch.float32, graphs)
        objective = SUM.scaled((1.0 + seed, 2.0))
        given = picture(seed), [objective], here, {}
        found, wanted = accelerated.objectives(*given), plainly(network, *given)
        assert found[0] == pytest.approx(wanted[0], rel=1e-5)
        torch.testing.assert_close(found[1][0], wanted[1][0], rtol=1e-4, atol=1e-8)
    assert [graph.replays for graph in cuda.graphs] == [4]


def test_networks_that_share_graphs_are_told_apart_by_their_names():
    cuda = Cuda()
    graphs = Graphs(cuda)
    for name, network in (("quiet", Tiny()), ("loud", Tiny(gain=3.0))):
        accelerated = Accelerated(network, "cpu", torch.float32, graphs, name)
        for seed in range(WARM + 2):
            given = picture(seed), [SUM], here, {}
            found = accelerated.objectives(*given)
            assert found[0] == pytest.approx(plainly(network, *given)[0], rel=1e-5)
    assert len(cuda.graphs) == 2


def test_pictures_beside_the_photo_are_known_by_their_names_and_not_by_their_order():
    network, objective = Tiny(), Objective((Term("late", like="a"), Term("early", like="b")))
    accelerated = Accelerated(network, "cpu", torch.float32, Graphs(Cuda()))
    with torch.no_grad():
        known = {"a": network(picture(20)), "b": network(picture(21, 16) ** 3)}
    for seed in range(2 * WARM + 4):
        names = ("a", "b") if seed < WARM + 2 else ("b", "a")
        given = picture(seed), [objective], here, {name: known[name] for name in names}
        found, wanted = accelerated.objectives(*given), plainly(network, *given)
        assert found[0] == pytest.approx(wanted[0], rel=1e-5)
        torch.testing.assert_close(found[1][0], wanted[1][0], rtol=1e-4, atol=1e-8)


def test_other_targets_have_graphs_of_their_own():
    network, cuda = Tiny(), Cuda()
    accelerated = Accelerated(network, "cpu", torch.float32, Graphs(cuda))
    for kind in ("layer", "channel", "sum"):
        for seed in range(WARM + 1):
            given = picture(seed), [KINDS[kind]], here, {}
            found = accelerated.objectives(*given)
            assert found[0] == pytest.approx(plainly(network, *given)[0], rel=1e-5)
    assert len(cuda.graphs) == 3


@pytest.mark.parametrize("kind", PLAIN)
def test_what_is_elsewhere_in_each_view_or_chosen_by_it_is_never_replayed(kind):
    network, cuda = Tiny(), Cuda()
    accelerated = Accelerated(network, "cpu", torch.float32, Graphs(cuda))
    random = torch.Generator().manual_seed(0)
    assert not any(map(capturable, PLAIN[kind].terms))
    for seed in range(WARM + 3):
        look = View(6).look(picture(seed), random)
        given = look.pixels.detach(), [PLAIN[kind]], look.locate, {}
        found, wanted = accelerated.objectives(*given), plainly(network, *given)
        assert found[0] == pytest.approx(wanted[0], rel=1e-6)
        torch.testing.assert_close(found[1][0], wanted[1][0])
    assert cuda.modes == []
    assert accelerated.notes == []


def test_a_network_that_cannot_be_recorded_is_used_as_it_is_and_that_is_noted():
    tiny = Tiny()

    def asking(pixels):
        return {name: each * (1.0 + 0 * each.sum().item()) for name, each in tiny(pixels).items()}

    graphs = Graphs(Cuda())
    for _ in range(2):  # also in a dream that comes later
        accelerated = Accelerated(asking, "cpu", torch.float32, graphs)
        for seed in range(WARM + 2):
            given = picture(seed), [KINDS["layer"]], here, {}
            found, wanted = accelerated.objectives(*given), plainly(tiny, *given)
            assert found[0] == pytest.approx(wanted[0], rel=1e-6)
        assert len(accelerated.notes) == 1
        assert accelerated.notes[0].startswith("steps are not replayed as graphs")
        assert "not permitted" in accelerated.notes[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_mixed_precision_the_network_computes_in_16_bits_and_all_else_in_32(dtype):
    network = Tiny()
    accelerated = Accelerated(network, "cpu", dtype)
    assert {each.dtype for each in accelerated(picture(1)).values()} == {torch.float32}
    scores, (slope,) = accelerated.objectives(picture(1), [SUM], here, {})
    assert set(network.dtypes) == {dtype}
    assert slope.dtype == torch.float32
    wanted = plainly(network, picture(1), [SUM], here, {})
    assert scores == pytest.approx(wanted[0], rel=0.02)
    assert torch.cosine_similarity(slope.flatten(), wanted[1][0].flatten(), 0) > 0.99
    assert slope.norm().item() == pytest.approx(wanted[1][0].norm().item(), rel=0.05)


def test_gradients_far_below_what_half_precision_can_say_are_not_lost():
    faint = functools.partial(Tiny.forward, Tiny())
    given = picture(1, 64), [1e-4 * KINDS["layer"]], here, {}
    wanted = plainly(faint, *given)[1][0]
    accelerated = Accelerated(faint, "cpu", torch.float16)
    slope = accelerated.objectives(*given)[1][0]
    assert torch.cosine_similarity(slope.flatten(), wanted.flatten(), 0) > 0.98
    accelerated.scale = 1.0
    lost = accelerated.objectives(*given)[1][0]
    assert not lost.any()


@pytest.mark.parametrize("graphs", [None, Graphs(Cuda())])
def test_where_gradients_overflow_scores_are_multiplied_by_less(graphs):
    steep = functools.partial(Tiny.forward, Tiny())
    objective = 1000.0 * Objective((Term("late", 1),))
    for seed in range(WARM + 2):
        accelerated = Accelerated(steep, "cpu", torch.float16, graphs)
        given = picture(seed), [objective], here, {}
        slope = accelerated.objectives(*given)[1][0]
        wanted = plainly(steep, *given)[1][0]
        assert 1 <= accelerated.scale < SCALE
        assert accelerated.dtype == torch.float16
        assert accelerated.notes == []
        assert torch.cosine_similarity(slope.flatten(), wanted.flatten(), 0) > 0.99
        assert slope.norm().item() == pytest.approx(wanted.norm().item(), rel=0.02)


def test_where_16_bits_do_not_reach_all_is_computed_in_32_and_that_is_noted():
    loud = functools.partial(Tiny.forward, Tiny(gain=1e6))
    accelerated = Accelerated(loud, "cpu", torch.float16)
    given = picture(1), [SUM], here, {}
    scores, (slope,) = accelerated.objectives(*given)
    wanted = plainly(loud, *given)
    assert scores == pytest.approx(wanted[0], rel=1e-6)
    torch.testing.assert_close(slope, wanted[1][0], rtol=1e-5, atol=1e-9)
    assert accelerated.dtype == torch.float32
    assert accelerated.notes == [
        "16 bits do not suffice for this network: computed in 32, which is slow"
    ]
    accelerated.objectives(*given)
    assert len(accelerated.notes) == 1


def test_what_is_no_number_in_32_bits_either_is_said_as_it_is():
    def broken(pixels):
        return {"late": pixels * math.nan}

    accelerated = Accelerated(broken, "cpu", torch.bfloat16)
    scores, _ = accelerated.objectives(picture(1), [Objective((Term("late"),))], here, {})
    assert math.isnan(scores[0])
