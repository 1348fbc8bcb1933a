import math

import pytest
import torch
from torch import Tensor

from dreamer.core import masks


def disc(side: int, radius: float) -> Tensor:
    return masks.ellipse((side, side), (0.5, 0.5, radius, radius))


def test_an_ellipse_has_its_place_its_area_and_an_edge_of_a_pixel() -> None:
    mask = masks.ellipse((100, 200), (0.25, 0.5, 0.1, 0.4))
    assert mask.shape == (1, 1, 100, 200)
    assert mask.dtype == torch.float32
    assert float(mask.sum()) == pytest.approx(math.pi * 20 * 40, rel=0.01)
    assert masks.box(mask) == (10, 30, 90, 70)
    assert mask[0, 0, 50, 50] == 1
    row = mask[0, 0, 50]
    assert int(((row > 0) & (row < 1)).sum()) <= 4
    assert masks.box(masks.ellipse((20, 20), (-0.9, 0.5, 0.3, 0.3))) is None


@pytest.mark.parametrize("centre", [0.5, 0.525])
def test_the_middle_of_an_ellipse_is_whole(centre: float) -> None:
    assert masks.ellipse((20, 20), (centre, centre, 0.2, 0.3)).amax() == 1


def test_a_feathered_edge_rises_smoothly_inside() -> None:
    mask = torch.zeros(1, 1, 8, 20)
    mask[..., 10:] = 1
    row = masks.feather(mask, 4)[0, 0, 3]
    share = torch.tensor([0.5, 1.5, 2.5, 3.5]) / 4
    assert torch.equal(row[:10], torch.zeros(10))
    torch.testing.assert_close(row[10:14], share**2 * (3 - 2 * share))
    assert torch.equal(row[14:], torch.ones(6))  # nor is the border an edge


@pytest.mark.parametrize("radius", [1, 5, 16, 23, 40, 90])
def test_feathering_never_reaches_outside_and_leaves_a_middle(radius: float) -> None:
    mask = disc(151, 0.4)
    soft = masks.feather(mask, radius)
    assert soft.shape == mask.shape
    assert bool((soft <= mask).all())
    assert bool((soft[mask == 0] == 0).all())
    assert soft.amax() > 0.99
    middle = soft[0, 0, 75, :76]
    assert bool((middle.diff() >= -1e-6).all())
    # The edge is as wide as asked for, if there is room.
    wide = int(((middle > 0.01) & (middle < 0.99)).sum())
    assert wide == pytest.approx(0.88 * min(radius, 60), abs=5)


@pytest.mark.parametrize("width", [1, 2, 3, 9])
@pytest.mark.parametrize("radius", [4, 50])
def test_what_is_thinner_than_the_feather_does_not_vanish(width: int, radius: float) -> None:
    mask = torch.zeros(1, 1, 64, 90)
    mask[..., 30 : 30 + width] = 1
    soft = masks.feather(mask, radius)
    assert soft.amax() > 0.9
    assert bool((soft <= mask).all())


def test_a_feather_keeps_greys_and_what_has_no_edge() -> None:
    grey = torch.full((1, 1, 30, 40), 0.25)
    assert torch.equal(masks.feather(grey, 10), grey)
    assert torch.equal(masks.feather(disc(40, 0.3), 0), disc(40, 0.3))
    assert not masks.feather(torch.zeros(1, 1, 30, 40), 10).any()


def test_a_feather_is_as_wide_at_any_size() -> None:
    small, large = masks.feather(disc(100, 0.4), 12), masks.feather(disc(400, 0.4), 48)
    assert float((masks.bring(large, (100, 100)) - small).abs().mean()) < 0.01


def ramp() -> Tensor:
    return torch.linspace(0, 1, 256).expand(1, 3, 64, 256)


def test_what_is_dark_and_what_is_light_is_held() -> None:
    dark, light = (keep(ramp())[0, 0, 32] for keep in (masks.keep_dark, masks.keep_light))
    assert bool((dark[:25] < 0.01).all())
    assert bool((dark[110:] == 1).all())
    assert bool((light[:150] == 1).all())
    assert bool((light[230:] < 0.01).all())
    for mask in (dark, light.flip(0)):
        assert bool((mask.diff() >= -1e-6).all())
        assert float(mask.diff().max()) < 0.05


def drawing(side: int) -> Tensor:
    picture = torch.full((1, 3, side, side), 0.5)
    picture[:, 0, :, side // 2 :] = 1.0
    picture[:, :, side // 4, :] += 0.02  # a faint line
    return picture


def test_contours_are_held_and_nothing_else() -> None:
    mask = masks.keep_edges(drawing(256))
    assert mask.shape == (1, 1, 256, 256)
    assert bool((mask[0, 0, :, 127:129] < 0.1).all())
    assert bool((mask[0, 0, :, :110] > 0.99).all())
    assert bool((mask[0, 0, :, 150:] > 0.99).all())


def test_contours_mean_the_same_at_any_size() -> None:
    small, large = masks.keep_edges(drawing(512)), masks.keep_edges(drawing(2048))
    assert float((masks.bring(large, (512, 512)) - small).abs().max()) < 0.1


def test_a_mask_is_where_heat_is_highest() -> None:
    heat = torch.zeros(1, 1, 60, 80)
    heat[..., 10:40, 20:50] = 3
    heat[..., 25, 30] = 0  # a pinhole
    heat[..., 50, 70] = 3  # a speck
    mask = masks.from_heat(heat)
    assert mask.shape == heat.shape
    assert bool((mask[..., 14:36, 24:46] == 1).all())
    assert masks.box(mask) is not None
    outside = mask.clone()
    outside[..., 6:44, 16:54] = 0
    assert not outside.any()
    assert torch.equal(masks.from_heat(1024 * heat), mask)


def test_two_hot_places_are_two_parts() -> None:
    heat = 0.1 * torch.rand(1, 1, 60, 80, generator=torch.Generator().manual_seed(1))
    heat[..., 10:30, 10:30] += 1
    heat[..., 30:50, 50:70] += 0.8
    mask = masks.from_heat(heat)
    assert mask[0, 0, 20, 20] == 1
    assert mask[0, 0, 40, 60] == 1
    assert mask[0, 0, 40, 20] == 0


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_flat_heat_is_nowhere(value: float) -> None:
    assert not masks.from_heat(torch.full((1, 1, 7, 5), value)).any()


def test_masks_are_added_up_and_shared() -> None:
    one, two = torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4)
    one[..., :3] = torch.tensor([1.0, 1.0, 0.5])
    two[..., 1:3] = torch.tensor([1.0, 0.25])
    assert masks.overlap([one, two]) == 0.25
    first, second = masks.shares([one, two])
    assert first.flatten().tolist() == [1, 0.5, 0.5, 0]
    assert second.flatten().tolist() == [0, 0.5, 0.25, 0]
    assert masks.rest([one, two]).flatten().tolist() == [0, 0, 0.25, 1]
    assert masks.invert(one).flatten().tolist() == [0, 0, 0.5, 1]


def test_a_box_holds_all_that_is_covered() -> None:
    mask = torch.zeros(1, 1, 5, 6)
    assert masks.box(mask) is None
    mask[0, 0, 1, 4] = 1e-6
    mask[0, 0, 3, 2] = 1
    assert masks.box(mask) == (1, 2, 4, 5)


def test_a_mask_of_another_size_keeps_its_area_and_its_zeros() -> None:
    mask = disc(100, 0.25)
    for size in ((40, 40), (250, 250), (30, 220)):
        brought = masks.bring(mask, size)
        assert brought.shape[2:] == size
        assert float(brought.mean()) == pytest.approx(float(mask.mean()), rel=0.02)
        assert not brought[:, :, : round(0.23 * size[0])].any()
        assert brought[0, 0, size[0] // 2, size[1] // 2] == 1
    assert torch.equal(masks.bring(mask, (100, 100)), mask)
