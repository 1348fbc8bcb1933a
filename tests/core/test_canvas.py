import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dreamer
from dreamer import recipe as recipes
from dreamer.core import spectra
from dreamer.core.canvas import FourierCanvas, MacoCanvas, PixelCanvas, soft_clip, start
from dreamer.core.resampling import lowpass, resample

KINDS = ("pixel", "fourier", "maco")
WAVES = ("fourier", "maco")
SIZES = [(20, 30), (21, 30), (20, 31), (33, 47)]


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


def soft_photo(height=32, width=40, seed=0):
    """A photo with room on both sides of every value, as doubles."""
    return 0.35 + 0.3 * photo(height, width, seed).double()


def rms(values):
    return values.square().mean().sqrt().item()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_canvas_begins_with_the_photo_to_the_bit(kind, size):
    base = photo(*size)
    base[..., :2, :] = 0
    base[..., -2:, :] = 1
    for together in (False, True):
        canvas = start(kind, base, together=together)
        assert torch.equal(canvas.pixels(), base)
        canvas.settle(0.5)
        assert torch.equal(canvas.pixels(), base)
        fine = photo(2 * size[0] + 1, 2 * size[1])
        assert torch.equal(canvas.onto(fine).pixels(), fine)


@pytest.mark.parametrize("kind", KINDS)
def test_canvases_are_what_they_are_called(kind):
    canvas = start(kind, photo(), together=True)
    assert (
        type(canvas) is {"pixel": PixelCanvas, "fourier": FourierCanvas, "maco": MacoCanvas}[kind]
    )
    assert type(canvas.onto(photo(40, 60))) is type(canvas)
    assert canvas.onto(photo(40, 60)).together


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_a_small_step_moves_the_picture_by_its_size_the_right_way(kind, scale):
    canvas = start(kind, soft_photo())
    for seed in range(3):
        raw = torch.randn(1, 3, 32, 40, generator=torch.Generator().manual_seed(seed)).double()
        direction = canvas.precondition(raw, tilt=1.0, grain=0.5, decorrelate=0.5)
        before = canvas.pixels()
        canvas.ascend(direction * scale, 1e-4)
        moved = canvas.pixels() - before
        assert rms(moved) == pytest.approx(1e-4, rel=0.02)
        assert (moved * direction).mean() > 0.2e-4


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_preconditioned_gradient_has_mean_0_and_strength_1(kind, size):
    canvas = start(kind, photo(*size))
    gradient = 1e-3 * (photo(*size, seed=1) - 0.3)
    for decorrelate in (0.0, 1.0):
        made = canvas.precondition(gradient, tilt=1.5, grain=0.3, decorrelate=decorrelate)
        assert made.shape == gradient.shape
        assert rms(made) == pytest.approx(1, abs=1e-4)
        assert made.mean((2, 3)).abs().max() < 1e-4


def test_a_fourier_canvas_moves_low_frequencies_the_most():
    gradient = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    canvas = FourierCanvas(photo(128, 128))
    made = canvas.precondition(gradient, tilt=0.0, grain=1.0, decorrelate=0.0)
    f = spectra.frequencies((128, 128))
    strength = torch.fft.rfft2(made).abs().mean((0, 1))
    rings = [strength[(f > low) & (f <= 1.3 * low)].mean() for low in (0.05, 0.1, 0.2, 0.4)]
    for coarse, fine in zip(rings, rings[1:], strict=False):
        assert coarse / fine == pytest.approx(2, rel=0.25)  # divided by the frequency
    cut = canvas.precondition(gradient, tilt=0.0, grain=0.0, decorrelate=0.0)
    finest = torch.fft.rfft2(cut).abs().mean((0, 1))[f > 0.45].mean()
    assert finest < 0.2 * strength[f > 0.45].mean()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_maco_keeps_the_magnitude_of_the_photo_as_numpy_sees_it(size):
    base = soft_photo(*size)
    canvas = MacoCanvas(base)
    for seed in range(5):
        canvas.ascend(photo(*size, seed=seed).double() - 0.5, 0.1)
    spectrum = np.fft.rfft2(base.numpy())
    turned = np.fft.irfft2(spectrum * np.exp(1j * canvas.phases.numpy()), s=size)
    difference = torch.from_numpy(turned) - base
    assert rms(difference) > 0.05
    torch.testing.assert_close(canvas.pixels(), soft_clip(base, difference), atol=1e-9, rtol=0)
    np.testing.assert_allclose(abs(np.fft.rfft2(turned)), abs(spectrum), atol=1e-8)
    canvas.settle(0.3)
    settled = np.fft.irfft2(spectrum * np.exp(1j * canvas.phases.numpy()), s=size)
    np.testing.assert_allclose(abs(np.fft.rfft2(settled)), abs(spectrum), atol=1e-8)


def test_what_has_no_waves_cannot_be_dreamed_on_by_maco():
    flat = torch.full((1, 3, 16, 16), 0.4)
    canvas = MacoCanvas(flat)
    canvas.ascend(photo(16, 16) - 0.5, 0.1)
    torch.testing.assert_close(canvas.pixels(), flat, atol=1e-6, rtol=0)


def wave(size, phase=0.0):
    across = torch.arange(size, dtype=torch.float64) / size
    return (0.5 + 0.1 * torch.cos(math.tau * 3 * across + phase)).expand(1, 3, size, size)


def test_maco_turns_the_same_waves_of_another_size():
    coarse = MacoCanvas(wave(32))
    coarse.phases[..., 0, 3] = 1.0
    torch.testing.assert_close(
        coarse.pixels(), soft_clip(wave(32), wave(32, 1.0) - wave(32)), atol=1e-9, rtol=0
    )
    fine = coarse.onto(wave(64)).pixels()
    torch.testing.assert_close(
        fine, soft_clip(wave(64), wave(64, 1.0) - wave(64)), atol=1e-9, rtol=0
    )
    torch.testing.assert_close(fine[..., ::2, ::2], coarse.pixels(), atol=1e-9, rtol=0)


def test_a_fourier_difference_is_carried_to_another_size():
    canvas = FourierCanvas(photo(), 0.1 * (photo(seed=1) - 0.5))
    fine = canvas.onto(photo(40, 60))
    assert torch.equal(fine.difference, resample(canvas.difference, (40, 60)))


@pytest.mark.parametrize("kind", WAVES)
def test_settling_pulls_broad_changes_back_and_leaves_fine_ones(kind):
    canvas = start(kind, soft_photo(64, 64))
    for seed in range(4):
        canvas.ascend(lowpass(photo(64, 64, seed).double(), cells=6) - 0.5, 0.05)
        canvas.ascend(photo(64, 64, seed + 9).double() - 0.5, 0.05)
    before = canvas.pixels() - canvas.base
    canvas.settle(0.0)
    assert torch.equal(canvas.pixels() - canvas.base, before)
    for _ in range(100):
        canvas.settle(0.1)
    after = canvas.pixels() - canvas.base

    def bands(change):
        strength = torch.fft.rfft2(change).abs()[0].mean(0)
        f = spectra.frequencies((64, 64)) * 64
        return strength[(f > 0) & (f <= 6)].mean(), strength[f > 24].mean()

    assert bands(after)[0] < 0.2 * bands(before)[0]
    assert bands(after)[1] > 0.8 * bands(before)[1]


@pytest.mark.parametrize("kind", WAVES)
def test_together_only_the_light_changes(kind):
    canvas = start(kind, soft_photo(), together=True)
    for seed in range(3):
        direction = canvas.precondition(
            photo(32, 40, seed).double() - 0.5, tilt=0.0, grain=1.0, decorrelate=0.0
        )
        canvas.ascend(direction.mean(1, keepdim=True).expand(1, 3, 32, 40), 0.05)
    moved = canvas.pixels() - canvas.base
    assert rms(moved) > 0.01
    torch.testing.assert_close(moved[:, 0], moved[:, 1], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved[:, 0], moved[:, 2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(96, 128), (97, 65)], ids=str)
def test_levelled_brings_all_frequencies_to_one_strength(size):
    noise = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    f = spectra.clamped(size)
    steep = torch.fft.rfft2(noise) * 1e-3 * f**-2
    level = spectra.levelled(steep, size).abs().square().mean((0, 1))
    radius = spectra.frequencies(size)
    for low in (0.04, 0.08, 0.16, 0.32):
        assert level[(radius > low) & (radius <= 1.5 * low)].mean() == pytest.approx(1, rel=0.25)
    torch.testing.assert_close(
        spectra.levelled(1000 * steep, size), spectra.levelled(steep, size), rtol=1e-3, atol=1e-4
    )
    nothing = torch.zeros_like(steep)
    assert torch.equal(spectra.levelled(nothing, size), nothing)


@pytest.fixture(scope="module")
def embedded():
    return dreamer.load_network("efficientnet_lite0")


@pytest.mark.parametrize("kind", KINDS)
def test_with_step_size_0_a_dream_is_its_photo_on_every_canvas(embedded, kind):
    pixels = (photo(64, 83)[0] * 255).round() / 255
    how = {"network": embedded, "canvas": kind, "steps": 2, "octaves": 2, "threads": 1}
    assert torch.equal(dreamer.dream(pixels, step_size=0.0, **how).pixels, pixels)
    assert torch.equal(dreamer.dream(pixels, strength=0.0, **how).pixels, pixels)


@pytest.mark.parametrize("kind", WAVES)
def test_a_dream_on_waves_raises_its_target_and_is_repeated_to_the_bit(embedded, kind, astronaut):
    how = {"network": embedded, "size": 96, "canvas": kind, "target": "block5:3", "threads": 1}
    made = dreamer.dream(astronaut, steps=4, octaves=2, **how)
    plain = dreamer.dream(astronaut, steps=0, octaves=2, **how)
    features = embedded.features(["block5"])
    with torch.no_grad():
        after, before = (features(x.pixels[None])["block5"][:, 3].mean() for x in (made, plain))
    assert after > before + 0.1
    assert torch.equal(dreamer.dream(astronaut, steps=4, octaves=2, **how).pixels, made.pixels)
    other = dreamer.dream(astronaut, steps=4, octaves=2, **how | {"canvas": "pixel"})
    assert not torch.equal(other.pixels, made.pixels)


def test_recipes_name_the_canvas_only_if_it_is_not_the_one_that_there_always_was(embedded):
    how = {"network": embedded, "size": 64, "steps": 0, "octaves": 1, "threads": 1}
    made = {kind: dreamer.dream("sky", canvas=kind, **how).recipe for kind in KINDS}
    plain = dreamer.dream("sky", **how).recipe
    assert made["pixel"].to_json() == plain.to_json()
    assert "canvas" not in plain.to_json()
    for kind in WAVES:
        assert json.loads(made[kind].to_json())["settings"]["ascent"]["canvas"] == kind
        rest = made[kind].to_dict()
        del rest["settings"]["ascent"]["canvas"]
        assert rest == plain.to_dict()
    assert len({each.hash for each in made.values()}) == 3
    for each in made.values():
        assert recipes.from_json(each.to_json(), "it") == each


def window(height, width):
    """A mask of a frame's inside, with one soft column at its left: a share of 0 around it."""
    where = torch.zeros(1, 1, height, width, dtype=torch.float64)
    where[..., height // 4 : -height // 4, width // 4 : -width // 4] = 1
    where[..., height // 4 : -height // 4, width // 4] = 0.5
    return where


def dreamed_in_part(kind, where, together=False):
    canvas = start(kind, soft_photo(*where.shape[2:]), together=together, where=where)
    for seed in range(3):
        canvas.ascend(photo(*where.shape[2:], seed).double() - 0.5, 0.05)
    return canvas


def outside_is_the_base(canvas):
    outside = (canvas.where == 0).expand_as(canvas.base)
    return torch.equal(canvas.pixels()[outside], canvas.base[outside])


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_may_not_change_stays_the_photo_to_the_bit(kind, together):
    canvas = dreamed_in_part(kind, window(32, 40), together)
    larger, smaller = soft_photo(63, 81, seed=1), soft_photo(20, 26, seed=1)
    canvas.settle(0.3)
    for each in (
        canvas,
        canvas.scaled(3.0),
        canvas.onto(larger, window(63, 81)),
        canvas.onto(smaller, window(20, 26)),
        canvas.onto(larger, window(63, 81)).scaled(0.5),
    ):
        assert outside_is_the_base(each)
        inside = (each.where > 0).expand_as(each.base)
        assert rms((each.pixels() - each.base)[inside]) > 0.01
        assert each.together == together


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_moves_as_far_as_it_would_in_a_whole_picture(kind):
    base, where = soft_photo(), window(32, 40).round()
    inside = (where > 0).expand_as(base)
    moved = []
    for part in (None, where):
        canvas = start(kind, base, where=part)
        canvas.ascend(photo(seed=5, height=32, width=40).double() - 0.5, 0.01)
        moved.append(rms((canvas.pixels() - base)[inside]))
    assert moved[1] == pytest.approx(moved[0], rel=0.1)
    assert moved[1] == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_where_half_of_a_change_is_wanted_half_of_it_shows(kind):
    made = []
    for share in (1.0, 0.5):
        where = torch.full((1, 1, 32, 40), share, dtype=torch.float64)
        canvas = start(kind, soft_photo(), where=where)
        canvas.ascend(photo(32, 40, seed=5).double() - 0.5, 1e-3)
        made.append(canvas.pixels() - canvas.base)
    torch.testing.assert_close(made[1], made[0] / 2, rtol=0.02, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_if_all_may_change_it_is_as_if_nothing_was_said(kind):
    made = [
        dreamed_in_part(kind, torch.ones(1, 1, 32, 40, dtype=torch.float64)),
        start(kind, soft_photo()),
    ]
    for seed in range(3):
        made[1].ascend(photo(32, 40, seed).double() - 0.5, 0.05)
    for each in made:
        each.settle(0.2)
    torch.testing.assert_close(made[0].pixels(), made[1].pixels(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_if_nothing_may_change_nothing_does(kind):
    canvas = dreamed_in_part(kind, torch.zeros(1, 1, 32, 40, dtype=torch.float64))
    canvas.settle(0.2)
    assert torch.equal(canvas.pixels(), canvas.base)


@pytest.mark.parametrize("kind", KINDS)
def test_a_canvas_is_scaled_by_its_change(kind):
    canvas = start(kind, soft_photo())
    canvas.ascend(photo(32, 40, seed=5).double() - 0.5, 1e-3)
    before = canvas.pixels()
    change = rms(before - canvas.base)
    for factor in (0.25, 0.5, 2.0):
        made = canvas.scaled(factor)
        assert type(made) is type(canvas)
        assert rms(made.pixels() - made.base) == pytest.approx(factor * change, rel=0.02)
    assert torch.equal(canvas.scaled(1.0).pixels(), before)
    assert torch.equal(canvas.scaled(0.0).pixels(), canvas.base)
    assert torch.equal(canvas.pixels(), before)
