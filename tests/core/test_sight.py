"""In tiles: the score and the gradient of a view are those of the whole view."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from dreamer.core import sight
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Pick, Term
from dreamer.core.sight import Goal, Likeness, Scene, Sight
from dreamer.core.tiles import Tiling
from dreamer.core.transforms import View
from dreamer.networks.network import load

STRAIGHT, TURNED = View(16), View(16, 25.0, 0.3)


def random(*shape, seed=1, dtype=torch.float64):
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def scene(base, view, seed=3, canvas=None):
    shown = base if canvas is None else canvas
    size = (base.shape[2], base.shape[3])
    return Scene(
        base,
        lambda box: shown[:, :, box[0] : box[2], box[1] : box[3]],
        view.draw(size, torch.Generator().manual_seed(seed)),
        (0, 0, seed),
    )


def compared(network, seen, goals, tiling, likeness=None, photos=None, guides=None):
    """Return the score and gradients of the whole view, and those of tiles."""
    size = (seen.base.shape[2], seen.base.shape[3])
    found = []
    for how in (None, tiling):
        looking = Sight.of(network, goals, size, photos or {}, guides or {}, how)
        found.append(looking.gradients(seen, goals, likeness))
    return found


def check(whole, tiled, tolerance=1e-9):
    assert tiled[0] == pytest.approx(whole[0], rel=tolerance)
    for expected, slope in zip(whole[1], tiled[1], strict=True):
        assert expected.abs().amax() > 0
        apart = (slope - expected).norm() / expected.norm()
        assert apart < tolerance


# With halos wider than half of the receptive field.
NETWORKS = [
    ("efficientnet_lite0", "block2", 128, 32),
    ("efficientnet_lite0", "block3", 192, 48),
    ("googlenet", "conv3", 128, 32),
    ("squeezenet1_1", "features.5", 192, 48),
    ("resnet50", "layer1.1", 128, 32),
    ("inception_v3", "maxpool2", 192, 48),
]


@pytest.mark.parametrize(("name", "layer", "side", "halo"), NETWORKS)
def test_the_gradient_of_tiles_is_that_of_the_whole(name, layer, side, halo):
    network = load(name, random_seed=0)
    strides = {each.name: each.stride for each in network.row.layers}
    tiling = Tiling(side, halo, strides[layer], strides, network.row.minimum)
    features = network.features([layer]).double()
    for size in ((150, 286), (161, 229)):
        seen = scene(random(1, 3, *size), STRAIGHT)
        assert len(list(tiling.tiles(seen.placement.size, torch.Generator()))) > 1
        check(*compared(features, seen, [Goal(Objective((Term(layer),)))], tiling))


SIZE = (201, 307)
WEIGHTS = [random(12, 3, 5, 5, seed=2) - 0.5, random(16, 12, 3, 3, seed=3) - 0.5]
STRIDES = {"early": 2, "layer": 4, "logits": 0}
TILING = Tiling(128, 32, 4, STRIDES)


def small(pixels):
    """A network of two random layers, and logits."""
    weights = [weight.to(pixels) for weight in WEIGHTS]
    early = F.relu(F.conv2d(pixels - 0.45, weights[0], padding=2, stride=2))
    layer = F.relu(F.conv2d(early, weights[1], padding=1, stride=2))
    return {"early": early, "layer": layer, "logits": layer.square().mean((2, 3), keepdim=True)}


def early(pixels):
    return {"early": small(pixels)["early"]}


OBJECTIVES = {
    "layers": Objective((Term("layer"), Term("early", weight=-0.3))),
    "channel": Objective((Term("layer", 3),)),
    "channels": Objective((Term("layer", channels=(1, 5)),)),
    "neuron": Objective((Term("layer", 3, (0.31, 0.77)),)),
    "neurons": Objective((Term("layer", 3, (0.0, 0.0)), Term("early", 2, (0.999, 0.5)))),
    "direction": Objective((Term("layer", direction=((2, 1.0), (7, -0.5))),)),
    "like": Objective((Term("layer", like="photo"),)),
    "best": Objective((Term("layer", guide="guide"),)),
    "means": Objective((Term("layer", guide="guide", by="means", weight=2.0),)),
    "style": Objective((Term("layer", guide="guide", by="style"), Term("early"))),
    "picked anew": Objective((Term("layer", pick=Pick("strong", 3, True)),)),
    "picked least": Objective((Term("layer", pick=Pick("weak", 2, True), weight=-1.0),)),
}


@pytest.mark.parametrize("view", [STRAIGHT, TURNED], ids=["straight", "turned"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_every_objective_has_the_gradient_of_the_whole(objective, view):
    photos = {"photo": random(1, 3, *SIZE, seed=8)} if objective.likes else {}
    guides = {"guide": Guide(random(1, 3, 150, 140, seed=9))} if objective.guides else {}
    seen = scene(random(1, 3, *SIZE), view)
    check(*compared(small, seen, [Goal(objective)], TILING, None, photos, guides))


@pytest.mark.parametrize("view", [STRAIGHT, TURNED], ids=["straight", "turned"])
def test_goals_and_what_is_held_have_the_gradients_of_the_whole(view):
    mask = random(1, 1, *SIZE, seed=4)
    goals = [Goal(OBJECTIVES["layers"], mask), Goal(OBJECTIVES["channel"], 1 - mask)]
    base = random(1, 3, *SIZE)
    seen = scene(base, view, canvas=(base + 0.1 * random(1, 3, *SIZE, seed=5)).clamp(0, 1))
    check(*compared(small, seen, goals, TILING, Likeness(small_layers("early", "layer"), 0.6)))


def small_layers(*names):
    return lambda pixels: {name: small(pixels)[name] for name in names}


def test_terms_are_as_strong_as_in_the_whole():
    seen = scene(random(1, 3, *SIZE), TURNED)
    goal = Goal(OBJECTIVES["layers"], random(1, 1, *SIZE, seed=4))
    whole, tiled = (Sight(small, {}, {}, how).norms(seen, goal) for how in (None, TILING))
    assert tiled == pytest.approx(whole, rel=1e-9)


def test_what_has_no_places_is_the_mean_of_the_tiles_and_as_strong_everywhere():
    seen = scene(random(1, 3, 400, 400), STRAIGHT)
    goals = [Goal(Objective((Term("logits", 3),)))]
    whole, tiled = compared(small, seen, goals, TILING)
    assert tiled[0] == pytest.approx(whole[0], rel=0.1)
    # The mean over a tile of what is a mean over the whole: the same but for the tiles' edges.
    apart = (tiled[1][0] - whole[1][0]).norm() / whole[1][0].norm()
    assert apart < 0.2
    strengths = [
        slope[0][:, :, 20:-20, 20:-20].square().mean().item() for _, slope in (whole, tiled)
    ]
    assert strengths[1] == pytest.approx(strengths[0], rel=0.02)


def test_layers_with_and_without_places_add_up():
    seen = scene(random(1, 3, *SIZE), STRAIGHT)
    places, logits = Term("layer"), Term("logits", 3, weight=0.5)
    looking = Sight(small, {}, {}, TILING)
    parts = [
        looking.gradients(seen, [Goal(Objective(terms))])
        for terms in ((places,), (logits,), (places, logits))
    ]
    assert parts[2][0] == pytest.approx(parts[0][0] + parts[1][0])
    torch.testing.assert_close(parts[2][1][0], parts[0][1][0] + parts[1][1][0])


def test_answers_are_put_together_from_tiles():
    picture = random(1, 3, *SIZE)
    whole, tiled = (Sight(small, {}, {}, how).answers(picture) for how in (None, TILING))
    for name in ("early", "layer"):
        torch.testing.assert_close(tiled[name], whole[name])
    torch.testing.assert_close(tiled["logits"], whole["logits"], rtol=0.15, atol=0)


def test_a_narrow_halo_is_felt_near_the_seams_only():
    seen = scene(random(1, 3, 201, 301), View(0))
    goals = [Goal(Objective((Term("layer"),)))]
    tiling = Tiling(128, 0, 4, STRIDES)
    whole, tiled = compared(small, seen, goals, tiling)
    apart = (tiled[1][0] - whole[1][0]).abs().amax((0, 1))
    near = torch.zeros_like(apart, dtype=torch.bool)
    for tile in tiling.tiles((201, 301), sight.tiles.generator(*seen.cut)):
        top, left, bottom, right = tile.core
        inner = torch.zeros_like(near)
        inner[top + 16 * (top > 0) : bottom - 16 * (bottom < 201)] = True
        inner[:, : left + 16 * (left > 0)] = inner[:, right - 16 * (right < 301) :] = False
        near |= inner
    assert apart[near].amax() < 1e-12
    assert apart[~near].amax() > 0


# Where memory is short: in the network, in the objective, on the way back.
PHASES = ("forward", "objective", "backward")
ERRORS = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory."),
]


class Short(torch.autograd.Function):
    """Passes on what it is given, unless more pixels than `most` are on the way."""

    @staticmethod
    def forward(ctx, values, pixels, most, error):
        ctx.short = pixels > most, error
        return values.view_as(values)

    @staticmethod
    def backward(ctx, slope):
        short, error = ctx.short
        if short:
            raise error
        return slope, None, None, None


class Answers(dict):
    """Activations that there is no memory to measure."""

    def __init__(self, error):
        super().__init__(layer=None)
        self.error = error

    def __getitem__(self, name):
        raise self.error


def tight(phase, most, error, seen):
    """A network that fails with views of more than so many pixels."""

    def network(pixels):
        count = pixels.shape[2] * pixels.shape[3]
        seen.append(count)
        if phase == "forward" and count > most:
            raise error
        found = small(pixels)
        if phase == "objective" and count > most:
            return Answers(error)
        if phase == "backward" and pixels.requires_grad:
            found["layer"] = Short.apply(found["layer"], count, most, error)
        return found

    return network


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("side", [0, 400], ids=["whole", "tiles"])
@pytest.mark.parametrize("phase", PHASES)
def test_where_memory_is_short_a_step_goes_on_with_smaller_tiles(phase, side, error):
    counts = []
    network = tight(phase, 220 * 220, error, counts)
    tiling = Tiling(side, 32, 4, STRIDES)
    looking = Sight(network, {}, {}, tiling)
    seen = scene(random(1, 3, 300, 420), STRAIGHT)
    goals = [Goal(Objective((Term("layer"),)))]
    found = looking.gradients(seen, goals)
    assert looking.tiling.side == {0: 218, 400: 200}[side]
    check(Sight(small, {}, {}).gradients(seen, goals), found)
    # The next step begins with tiles of that size.
    counts.clear()
    check(found, looking.gradients(seen, goals))
    assert max(counts) <= 220 * 220


@pytest.mark.parametrize("phase", PHASES)
def test_below_the_smallest_tile_the_error_is_passed_on(phase):
    network = tight(phase, 10, MemoryError("no more"), [])
    looking = Sight(network, {}, {}, TILING)
    with pytest.raises(MemoryError, match="no more"):
        looking.gradients(scene(random(1, 3, 300, 420), STRAIGHT), [Goal(OBJECTIVES["channel"])])


def test_without_tiles_and_for_other_errors_nothing_is_tried_again():
    seen, goals = scene(random(1, 3, 300, 420), STRAIGHT), [Goal(OBJECTIVES["channel"])]
    for tiling, error in ((None, MemoryError()), (TILING, RuntimeError("shapes differ"))):
        counts = []
        looking = Sight(tight("forward", 10, error, counts), {}, {}, tiling)
        with pytest.raises(type(error)):
            looking.gradients(seen, goals)
        assert len(counts) == 1


def test_what_is_seen_of_guides_and_photos_is_relieved_too():
    most = 220 * 220
    guides = {"guide": Guide(random(1, 3, 300, 420, seed=9))}
    goals = [Goal(OBJECTIVES["means"])]
    network = tight("forward", most, MemoryError(), [])
    tiling = Tiling(0, 32, 4, STRIDES)
    looking = Sight.of(network, goals, (300, 420), {}, guides, tiling)
    assert looking.tiling.side == 210
    whole = Sight.of(small, goals, (300, 420), {}, guides)
    for name in ("rows", "mean", "moments"):
        found, expected = (getattr(s.banks["guide"]["layer"], name) for s in (looking, whole))
        torch.testing.assert_close(found, expected)


def test_every_tile_is_let_go_of_before_the_next():
    """No more than one tile's activations are there at once."""
    alive = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            alive.append(1)
            ctx.kept = Keeper()
            return values.view_as(values)

        @staticmethod
        def backward(ctx, slope):
            return slope

    class Keeper:
        def __del__(self):
            alive.pop()

    most = itertools.count()
    peaks = []

    def network(pixels):
        found = small(pixels)
        next(most)
        if pixels.requires_grad:
            found["layer"] = Counted.apply(found["layer"])
            peaks.append(len(alive))
        return found

    goals = [Goal(Objective((Term("layer"),)))]
    Sight(network, {}, {}, TILING).gradients(scene(random(1, 3, *SIZE), STRAIGHT), goals)
    assert len(peaks) > 3
    assert max(peaks) == 1
