import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer.core.canvas import PixelCanvas, soft_clip
from dreamer.core.resampling import lowpass, resample


def photo(height=20, width=30, seed=0):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(st.floats(0, 1, width=32), st.floats(-1e6, 1e6, width=32))
def test_soft_clip_stays_in_range_and_moves_the_right_way(base, difference):
    before, change = torch.full((1, 3, 1, 1), base), torch.full((1, 3, 1, 1), difference)
    after = soft_clip(before, change)
    assert after.min() >= 0
    assert after.max() <= 1
    assert bool(((after - before) * difference >= 0).all())


def test_no_difference_is_the_photo_to_the_bit():
    base = torch.cat([photo(), torch.zeros(1, 3, 2, 30), torch.ones(1, 3, 2, 30)], 2)
    for together in (False, True):
        assert torch.equal(soft_clip(base, torch.zeros_like(base), together=together), base)


def test_a_small_difference_is_added_as_it_is():
    base = torch.full((1, 3, 4, 4), 0.5)
    torch.testing.assert_close(soft_clip(base, torch.full_like(base, 1e-4)), base + 1e-4)


def test_strong_differences_keep_their_order_instead_of_posterising():
    base = torch.full((1, 3, 1, 50), 0.6)
    after = soft_clip(base, torch.linspace(-3, 3, 50).expand(1, 3, 1, 50))
    assert bool((after.diff(dim=3) > 0).all())


@settings(deadline=None)
@given(st.floats(0, 1, width=32), st.floats(-1e6, 1e6, width=32))
def test_no_dream_makes_a_level_black_or_white_that_was_not(base, difference):
    before, change = torch.full((1, 3, 1, 1), base), torch.full((1, 3, 1, 1), difference)
    after = soft_clip(before, change)
    was, level = ((255 * x[0, 0, 0, 0]).round().item() for x in (before, after))
    assert level not in {0, 255} or was == level


def test_a_step_moves_by_its_size_whatever_room_there_is():
    for base in (photo(), torch.ones(1, 3, 20, 30), torch.zeros(1, 3, 20, 30)):
        canvas = PixelCanvas(base)
        for seed in range(3):
            before = canvas.difference
            canvas.ascend(photo(seed=seed) - 0.5, 0.05)
            moved = canvas.difference - before
            torch.testing.assert_close(moved.square().mean().sqrt(), torch.tensor(0.05))


def test_what_is_nearly_burnt_out_is_pushed_less_and_comes_back_freely():
    base = torch.full((1, 3, 2, 2), 0.5)
    burnt = torch.zeros_like(base)
    burnt[..., 0] = 2.0

    def moved(sign):
        canvas = PixelCanvas(base, burnt.clone())
        canvas.ascend(torch.full_like(base, sign), 0.1)
        return (canvas.difference - burnt).abs()[0, 0, 0].tolist()

    near, far = moved(1.0)
    assert near < 0.3 * far
    near, far = moved(-1.0)
    assert near == pytest.approx(far)


def test_together_keeps_a_grey_change_grey():
    base, change = photo(), torch.randn(1, 1, 20, 30).expand(1, 3, 20, 30)
    moved = soft_clip(base, change, together=True) - base
    torch.testing.assert_close(moved[:, 0], moved[:, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved[:, 0], moved[:, 2], atol=1e-6, rtol=0)


def test_only_the_difference_is_resampled_between_octaves():
    fine = photo(40, 60)
    canvas = PixelCanvas(resample(fine, (20, 30))).onto(fine)
    assert torch.equal(canvas.pixels(), fine)


def test_settling_takes_back_the_broad_drift_and_leaves_the_detail():
    base = torch.full((1, 3, 64, 64), 0.5)
    detail = (torch.arange(64) % 2 * 2 - 1).float().expand(1, 3, 64, 64) * 0.1
    canvas = PixelCanvas(base, detail + 0.2)
    for _ in range(200):
        canvas.settle(0.1)
    assert canvas.difference.mean().abs() < 1e-3
    assert (canvas.difference - detail).abs().max() < 0.02


def test_lowpass_of_a_flat_picture_is_the_picture():
    flat = torch.full((1, 3, 33, 7), 0.3)
    torch.testing.assert_close(lowpass(flat), flat)
