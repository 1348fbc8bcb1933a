"""Dreams in tiles are the dreams of the whole picture, as far as rounding lets any two be."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dreamer.core import ascent, bands, tiles
from dreamer.core.ascent import Ascent, Goal
from dreamer.core.guidance import Guide
from dreamer.core.objectives import Objective, Pick, Term
from dreamer.core.sight import Scene, Sight
from dreamer.core.sources import sky
from dreamer.core.tiles import Tiling
from dreamer.core.transforms import View
from dreamer.networks.network import load

PLAN = Ascent(
    sizes=((120, 160), (240, 320)),
    steps=(2, 3),
    step_size=0.03,
    decay=0.0,
    momentum=0.5,
    view=View(8, 7.0, 0.1),
    tilt=1.5,
    grain=0.6,
    decorrelate=0.5,
    chroma=1.0,
    hold=0.03,
    blend=0.0,
    change=0.1,
)
DOUBLE = torch.float64
STRIDES = {"early": 2, "layer": 4, "logits": 0}
TILING = Tiling(128, 32, 4, STRIDES)
WEIGHTS = [
    torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE) / 8
    for seed, size in enumerate([(8, 3, 5, 5), (12, 8, 3, 3)])
]


def small(pixels):
    """A network of two random layers that are smooth: no rounding turns anything over."""
    weights = [weight.to(pixels) for weight in WEIGHTS]
    early = F.softplus(4 * F.conv2d(pixels - 0.45, weights[0], padding=2, stride=2))
    layer = F.softplus(F.conv2d(early, weights[1], padding=1, stride=2))
    return {"early": early, "layer": layer, "logits": layer.mean((2, 3), keepdim=True)}


@pytest.fixture(scope="module")
def photo():
    return sky((240, 320), torch.Generator().manual_seed(3)).to(DOUBLE)


@pytest.fixture
def narrow(monkeypatch):
    """Let pictures of some thousand pixels be large ones."""

    def shrink(sampled=1):
        monkeypatch.setattr(bands, "LARGE", 4000)
        monkeypatch.setattr(bands, "_BAND", 1000)
        monkeypatch.setattr(bands, "_SAMPLED", sampled)

    return shrink


def dream(photo, objective, plan=PLAN, tiling=None, seed=0, network=small, **more):
    for step in ascent.dream(photo, network, objective, plan, seed, tiling=tiling, **more):
        last = step
    return last


OBJECTIVES = {
    "layer": Objective((Term("layer"),)),
    "sum": Objective((Term("layer", 3), Term("early", weight=-0.5))),
    "picked": Objective((Term("layer", pick=Pick("strong", 2)), Term("early", 1))),
    "guided": Objective((Term("layer", guide="guide", by="means"),)),
}


@pytest.mark.parametrize("kind", ["pixel", "fourier", "maco"])
@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
def test_in_tiles_with_wide_halos_the_picture_is_the_same(photo, objective, kind):
    guides = {"guide": Guide(photo.flip(3))} if objective.guides else None
    plan = replace(PLAN, canvas=kind)
    whole = dream(photo, objective, plan, guides=guides)
    tiled = dream(photo, objective, plan, TILING, guides=guides)
    assert (whole.tile, tiled.tile) == (0, 128)
    assert tiled.score == pytest.approx(whole.score, rel=1e-6)
    assert (whole.picture() - photo).abs().mean() > 0.03
    torch.testing.assert_close(tiled.picture(), whole.picture(), atol=1e-6, rtol=0)


def test_large_pictures_in_tiles_and_bands_are_the_same(photo, narrow):
    mask = torch.zeros(1, 1, 240, 320, dtype=DOUBLE)
    mask[:, :, 30:150, 60:290] = 0.8
    goals = [Goal(OBJECTIVES["layer"], mask), Goal(OBJECTIVES["sum"], (0.9 - mask).clamp(0, 1))]
    whole = dream(photo, goals).picture()
    narrow()
    tiled = dream(photo, goals, tiling=TILING).picture()
    # Where it went is kept with half the digits.
    torch.testing.assert_close(tiled, whole, atol=2e-4, rtol=0)


def test_without_momentum_a_large_picture_is_the_same(photo, narrow):
    plan = replace(PLAN, momentum=0.0, chroma=0.25, change=0.0, blend=0.2)
    whole = dream(photo, OBJECTIVES["layer"], plan).picture()
    narrow()
    tiled = dream(photo, OBJECTIVES["layer"], plan, TILING).picture()
    torch.testing.assert_close(tiled, whole, atol=1e-6, rtol=0)


def test_of_a_large_picture_a_sample_says_how_far_steps_go(photo, narrow):
    whole = dream(photo, OBJECTIVES["layer"])
    narrow(sampled=4)
    tiled = dream(photo, OBJECTIVES["layer"], tiling=TILING)
    changes = [(each.picture() - photo).square().mean().sqrt().item() for each in (whole, tiled)]
    assert changes == pytest.approx([PLAN.change] * 2, rel=0.02)
    assert (tiled.picture() - whole.picture()).abs().mean() < 0.02


def test_a_step_of_a_large_octave_is_shown_before_the_next_octave(photo, narrow):
    narrow()
    steps = list(ascent.dream(photo, small, OBJECTIVES["layer"], PLAN, 0, tiling=TILING))
    with pytest.raises(RuntimeError, match="before the next octave"):
        steps[1].picture()
    assert (steps[-1].picture() - photo).abs().mean() > 0.03


@pytest.mark.parametrize("large", [False, True])
def test_in_tiles_no_change_is_the_photo_to_the_bit(photo, large, narrow):
    if large:
        narrow()
    plan = replace(PLAN, step_size=0.0, change=0.0)
    assert torch.equal(dream(photo, OBJECTIVES["layer"], plan, TILING).picture(), photo)


def test_a_photo_is_left_as_it_is(photo, narrow):
    narrow()
    before = photo.clone()
    for step in ascent.dream(photo, small, OBJECTIVES["layer"], PLAN, 0, tiling=TILING):
        step.picture()
    assert torch.equal(photo, before)


def test_the_same_seed_cuts_the_same_tiles(photo):
    tiling = replace(TILING, halo=0)
    first = dream(photo, OBJECTIVES["layer"], tiling=tiling).picture()
    assert torch.equal(dream(photo, OBJECTIVES["layer"], tiling=tiling).picture(), first)
    whole = dream(photo, OBJECTIVES["layer"]).picture()
    assert not torch.equal(first, whole)


def test_octaves_that_are_no_larger_than_a_tile_are_seen_whole(photo):
    sizes = []

    def watched(pixels):
        sizes.append(tuple(pixels.shape[2:]))
        return small(pixels)

    dream(photo, OBJECTIVES["layer"], tiling=replace(TILING, side=170), network=watched)
    assert sizes[:2] == [(128, 168)] * 2
    assert len(sizes) > 2 + 3 * 2
    assert all(max(size) <= 170 for size in sizes)


def test_where_memory_is_short_each_step_says_in_which_tiles_it_was_seen(photo):
    def tight(pixels):
        if pixels.shape[2] * pixels.shape[3] > 180 * 180:
            raise MemoryError
        return small(pixels)

    tiling = replace(TILING, side=0)
    found = ascent.dream(photo, tight, OBJECTIVES["layer"], PLAN, 0, tiling=tiling)
    assert [step.tile for step in found] == [0, 0, 164, 164, 164]
    made = dream(photo, OBJECTIVES["layer"], tiling=tiling, network=tight).picture()
    whole = dream(photo, OBJECTIVES["layer"]).picture()
    torch.testing.assert_close(made, whole, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def network():
    return load("efficientnet_lite0")


@pytest.mark.parametrize(("layers", "halo"), [(("block8", "block9"), 32), (("block11",), 64)])
def test_a_trained_network_leaves_no_seam_in_the_gradient(network, layers, halo, photos):
    """Near a seam it is as strong as it is there in the whole view, and nowhere far from it."""
    from dreamer.media import images

    astronaut = images.load(str(photos / "astronaut.png")).pixels[None]
    strides = {each.name: each.stride for each in network.row.layers}
    stride = strides[layers[-1]]
    assert tiles.halo(stride) == halo
    tiling = Tiling(384, halo, stride, strides, 32)
    features = network.features(layers)
    goals = [Goal(Objective(tuple(Term(layer) for layer in layers)))]
    near, apart = torch.zeros(2), torch.zeros(2)
    for step in range(3):
        placement = View(0).draw((512, 512), torch.Generator())
        scene = Scene(
            astronaut, lambda b: astronaut[:, :, b[0] : b[2], b[1] : b[3]], placement, (0, 0, step)
        )
        slopes = [
            Sight(features, {}, {}, how).gradients(scene, goals)[1][0] for how in (None, tiling)
        ]
        band = torch.zeros(512, 512, dtype=torch.bool)
        for tile in tiling.tiles((512, 512), tiles.generator(*scene.cut)):
            top, left, _, _ = tile.core
            band[max(0, top - 16) : top + 16] |= top > 0
            band[:, max(0, left - 16) : left + 16] |= left > 0
        near += torch.stack([slope[:, :, band].square().sum() for slope in slopes])
        apart += torch.stack([(slopes[1] - slopes[0]).square().sum(), slopes[0].square().sum()])
    assert abs((near[1] / near[0]).sqrt() - 1) < 0.03
    assert (apart[0] / apart[1]).sqrt() < 0.2
