"""Optical flow, and what is carried along it from frame to frame."""

import math

import pytest
import torch

from dreamer.core import flow, video

HEIGHT, WIDTH = 120, 160


def scene(shift=(0.0, 0.0), turn=0.0):
    """A picture of many waves, moved right and down by px and turned about its middle (degrees)."""
    y = torch.arange(HEIGHT)[:, None] + 0.5 - HEIGHT / 2 - shift[1]
    x = torch.arange(WIDTH)[None] + 0.5 - WIDTH / 2 - shift[0]
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    x, y = cos * x + sin * y, cos * y - sin * x
    waves = [torch.sin(f * (x * a + y * b)) for f, a, b in
             ((0.13, 1, 0.2), (0.21, -0.3, 1), (0.4, 0.7, 0.7), (0.07, 0.5, -1))]  # fmt: skip
    return (0.5 + 0.1 * torch.stack([sum(waves), waves[0] + waves[2], waves[1] - waves[3]]))[None]


@pytest.fixture(scope="module")
def estimator():
    return flow.Estimator()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (-7.5, 4.0)])
def test_a_shift_is_found(estimator, shift):
    found, seen = estimator.motion(scene(), scene(shift))
    assert found.shape == (1, 2, HEIGHT, WIDTH)
    assert seen.shape == (1, 1, HEIGHT, WIDTH)
    inner = found[0, :, 16:-16, 16:-16]
    # The same thing was that much further left and up.
    assert float((inner[0] + shift[0]).abs().median()) < 0.3
    assert float((inner[1] + shift[1]).abs().median()) < 0.3
    assert float(seen[..., 16:-16, 16:-16].mean()) > 0.95


def test_a_turn_is_found(estimator):
    before, after = scene(), scene(turn=4.0)
    found, _ = estimator.motion(before, after)
    inner = (..., slice(20, -20), slice(20, -20))
    unmoved = (after - before)[inner].abs().mean()
    assert (after - flow.warp(before, found))[inner].abs().mean() < 0.15 * unmoved


def test_motion_is_in_pixels_of_the_whole_picture_however_large(estimator, monkeypatch):
    monkeypatch.setattr(flow, "LONGEST", 80)
    found, _ = estimator.motion(scene(), scene((6.0, 2.0)))
    assert found.shape == (1, 2, HEIGHT, WIDTH)
    middle = found[0, :, 30:-30, 30:-30].median(1).values.median(1).values
    assert torch.allclose(middle, torch.tensor([-6.0, -2.0]), atol=0.5)


def test_what_came_into_view_is_not_trusted(estimator):
    _, seen = estimator.motion(scene(), scene((10.0, 0.0)))
    assert seen[..., :6].mean() < 0.2
    assert seen[..., 24:-16].mean() > 0.9


def test_flows_that_do_not_lead_back_disagree():
    back = torch.zeros(1, 2, 6, 8)
    back[0, 0] = 2.0
    forth = -back
    assert flow.agreement(back, forth)[..., :6].min() == 1
    assert flow.agreement(back, forth)[..., 6:].max() == 0  # outside of the picture before
    assert flow.agreement(back, back)[..., :6].max() == 0
    slightly = forth + 0.4  # 2 x 0.4^2 is less than the floor
    assert flow.agreement(back, slightly)[..., :5].min() == 1


def test_a_warp_by_whole_pixels_is_a_shift():
    picture = torch.rand(1, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    motion = torch.zeros(1, 2, 10, 12)
    motion[0, 0], motion[0, 1] = 3.0, -2.0
    moved = flow.warp(picture, motion)
    assert torch.allclose(moved[..., 2:, :9], picture[..., :8, 3:], atol=1e-5)
    assert torch.allclose(moved[..., 5, 9:], picture[..., 3, 11:], atol=1e-5)  # as at its edge


def test_a_dream_moves_along_and_the_clip_stays_as_it_is(estimator):
    before, after = scene(), scene((5.0, 0.0))
    dreamed = before.clone()
    dreamed[..., 50:70, 60:80] += 0.2
    start = video.carried(before, dreamed - before, after, 0.9, estimator)
    assert start is not None
    change = start - after
    assert change[..., 54:66, 70:80].mean() == pytest.approx(0.18, abs=0.03)  # 5 px further right
    assert change[..., 54:66, 56:62].abs().mean() < 0.02
    assert change[..., 90:, :].abs().max() < 1e-3


def test_nothing_dreamed_is_the_clip_to_the_bit(estimator):
    before, after = scene(), scene((3.0, 3.0))
    start = video.carried(before, torch.zeros_like(before), after, 0.98, estimator)
    assert start is not None
    assert torch.equal(start, after.clamp(0, 1))


def test_another_scene_begins_anew(estimator):
    other = torch.rand(scene().shape, generator=torch.Generator().manual_seed(3))
    assert video.carried(scene(), torch.zeros_like(scene()), other, 0.9, estimator) is None


def test_values_stay_in_range(estimator):
    before = scene()
    start = video.carried(before, 1 - before, before, 0.98, estimator)
    assert start is not None
    assert 0 <= start.min() <= start.max() <= 1


def test_the_same_pictures_give_the_same_motion():
    one, two = (flow.Estimator().motion(scene(), scene((2.5, 1.0)))[0] for _ in range(2))
    assert torch.equal(one, two)


def test_a_dream_is_brought_back_to_its_strength():
    assert video.gain(0.1, 0.1) == 1
    assert video.gain(0.08, 0.1) == pytest.approx(1.5625)  # weaker: larger steps
    assert video.gain(0.125, 0.1) == pytest.approx(0.64)
    assert video.gain(0.01, 0.5) == 2.5
    assert video.gain(0.5, 0.01) == 0.4
    assert video.gain(0.0, 0.0) == video.gain(0.0, 0.1) == 1  # nothing is dreamed at all
    grey = torch.full((1, 3, 4, 4), 0.5)
    assert video.strength(torch.full_like(grey, 0.25)) == pytest.approx(0.25)
