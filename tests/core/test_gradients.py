import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dreamer.core import gradients


def noise(height, width, seed=0):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 7))
def test_the_bands_of_the_pyramid_add_up_to_the_picture(height, width, bands):
    picture = noise(height, width)
    merged = gradients.merge(gradients.laplacian(picture.clone(), bands))
    torch.testing.assert_close(merged, picture, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 60), st.integers(2, 60), st.floats(1e-8, 1e8), st.floats(0.5, 4))
def test_a_step_has_unit_strength_whatever_the_gradient(height, width, scale, tilt):
    step = gradients.condition(noise(height, width) * scale, tilt, 0.6)
    assert abs(step.square().mean().sqrt().item() - 1) < 1e-3
    assert step.mean((2, 3)).abs().max() < 1e-3


def test_scaling_the_gradient_changes_nothing():
    gradient = noise(64, 48)
    once = gradients.condition(gradient.clone(), 1.5, 0.6)
    torch.testing.assert_close(gradients.condition(gradient * 1e4, 1.5, 0.6), once)


def test_tilt_favours_coarse_bands_and_grain_takes_the_finest():
    def share_of_fine_detail(tilt, grain):
        step = gradients.condition(noise(128, 128), tilt, grain)
        return gradients.laplacian(step, 2)[0].square().mean().item()

    assert share_of_fine_detail(2.0, 1.0) < 0.5 * share_of_fine_detail(1.0, 1.0)
    assert share_of_fine_detail(1.5, 0.1) < 0.4 * share_of_fine_detail(1.5, 1.0)


def test_no_gradient_gives_no_step_and_no_nan():
    step = gradients.condition(torch.zeros(1, 3, 32, 32), 1.5, 0.6)
    assert gradients.is_zero(torch.zeros(1, 3, 4, 4))
    assert torch.equal(step, torch.zeros_like(step))


def test_nothing_wraps_around_the_borders():
    gradient = torch.zeros(1, 3, 64, 64)
    gradient[..., 30:34, 0:2] = torch.randn(1, 3, 4, 2, generator=torch.Generator().manual_seed(5))
    step = gradients.condition(gradient, 1.0, 1.0)
    left, right = step[..., :, :8].abs().max(), step[..., :, -8:].abs().max()
    assert right < 0.2 * left
