"""Every parametrisation against a twin in NumPy, at even, odd and oblong sizes."""

import math

import numpy as np
import pytest
import torch

from dreamer.core import colour, spectra
from dreamer.core.parametrisation import (
    FourierParametrisation,
    MacoParametrisation,
    PixelParametrisation,
)

KINDS = [PixelParametrisation, FourierParametrisation, MacoParametrisation]
SIZES = [(8, 8), (7, 9), (6, 11), (9, 4)]
COLOUR = np.array([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]]) / 0.46195


def generators(count=1, seed=0):
    return [torch.Generator().manual_seed(seed + k) for k in range(count)]


def numpy_frequencies(height, width):
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])


def numpy_picture(values):
    """Colour `(3, H, W)`: correlate, then squash."""
    return 1 / (1 + np.exp(-np.einsum("ij,jhw->ihw", COLOUR, values)))


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_squashed_colours(size):
    canvas = PixelParametrisation.start(size, generators())
    twin = numpy_picture(canvas.parameters.detach().double().numpy()[0])
    assert np.allclose(canvas.show()[0].detach().numpy(), twin, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_fourier_is_lucids_image(size):
    height, width = size
    canvas = FourierParametrisation.start(size, generators())
    pairs = canvas.parameters.detach().double().numpy()[0]
    scale = math.sqrt(height * width) / np.maximum(
        numpy_frequencies(height, width), 1 / max(height, width)
    )
    spectrum = (pairs[..., 0] + 1j * pairs[..., 1]) * scale
    twin = numpy_picture(np.fft.irfft2(spectrum, s=size) / 4)
    assert np.allclose(canvas.show()[0].detach().numpy(), twin, atol=1e-5)


@pytest.mark.parametrize("neutral", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_maco_has_the_magnitude_of_natural_pictures(size, neutral):
    height, width = size
    canvas = MacoParametrisation.start(size, generators(), neutral=neutral)
    phases = canvas.parameters.detach().double().numpy()[0]
    f = np.maximum(numpy_frequencies(height, width), 1 / max(height, width))
    fits = [(3.28, 1.33, 0.283, 4.2), (3.12, 1.37, 0.263, 4.5), (3.14, 1.32, 0.281, 4.7)]
    magnitude = np.stack([np.exp(a) * f**-b / (1 + (f / knee) ** s) for a, b, knee, s in fits])
    if neutral:
        magnitude[:, 0, 0] = 0
    values = np.fft.irfft2(magnitude * np.exp(1j * phases), s=size)
    twin = numpy_picture((values - values.mean()) / (values.std() + 1e-6))
    assert np.allclose(canvas.show()[0].detach().numpy(), twin, atol=1e-4)


def test_a_neutral_maco_picture_has_no_colour_cast():
    shown = MacoParametrisation.start((64, 64), generators(8)).show()
    logits = colour.uncorrelate(shown.detach().double().logit())
    assert logits.mean((2, 3)).abs().max() < 1e-3
    free = MacoParametrisation.start((64, 64), generators(8), neutral=False).show()
    logits = colour.uncorrelate(free.detach().double().logit())
    assert logits.mean((2, 3)).abs().max() > 0.1


def test_maco_takes_another_spectrum():
    photos = [torch.rand(1, 3, 64, 48, generator=each) for each in generators(3)]
    profile = spectra.measured(photos)
    canvas = MacoParametrisation.start((40, 52), generators(), profile)
    spectrum = torch.fft.rfft2(colour.uncorrelate(canvas.show().detach().double().logit()))[0]
    wanted = spectra.from_profile(profile, (40, 52)).double()
    ratio = (spectrum.abs() / wanted)[:, 1:20, 1:20].flatten(1)
    # White noise has a flat spectrum, natural pictures anything but.
    assert (ratio.std(1) / ratio.mean(1)).max() < 0.05
    assert spectrum.abs()[0, 1:20, 1:20].std() / spectrum.abs()[0, 1:20, 1:20].mean() < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_the_start_is_that_of_the_generators_and_each_picture_its_own(kind):
    three = kind.start((16, 12), generators(3))
    second = kind.start((16, 12), [torch.Generator().manual_seed(1)])
    assert torch.equal(three.show()[1], second.show()[0])
    assert not torch.equal(three.show()[0], three.show()[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(16, 16), (15, 22)])
def test_a_picture_grows_without_changing(kind, size):
    canvas = kind.start((8, 11), generators())
    canvas.parameters.data.mul_(20)  # something to be seen
    grown = canvas.enlarged(size)
    assert grown.size == size
    assert grown.parameters.is_leaf
    assert grown.parameters.requires_grad
    shown = grown.show().detach()
    assert shown.shape[2:] == size
    back = torch.nn.functional.interpolate(shown, (8, 11), mode="area")
    close = torch.corrcoef(torch.stack([back.flatten(), canvas.show().detach().flatten()]))[0, 1]
    assert close > 0.8


def test_fourier_grows_exactly():
    canvas = FourierParametrisation.start((8, 12), generators(), decorrelate=False)
    canvas.parameters.data[..., 4, :, :] = 0  # what is halfway between two frequencies
    canvas.parameters.data[..., 6, :] = 0
    grown = canvas.enlarged((16, 24)).show().detach()
    assert torch.allclose(grown[:, :, ::2, ::2], canvas.show().detach(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_between_two_pictures_the_ends_are_the_pictures(kind):
    canvas = kind.start((9, 8), generators(2))
    first, second = canvas.parameters[:1].detach(), canvas.parameters[1:].detach()
    for share, wanted in ((0.0, 0), (1.0, 1)):
        on_the_way = canvas.between(first, second, torch.tensor([share]))
        assert torch.allclose(canvas.show(on_the_way)[0], canvas.show()[wanted], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_way_the_contrast_is_kept(kind):
    canvas = kind.start((32, 32), generators(2))
    first, second = canvas.parameters[:1].detach(), canvas.parameters[1:].detach()
    half = canvas.show(canvas.between(first, second, torch.tensor([0.5]))).detach()
    assert half.std() > 0.8 * canvas.show().detach().std()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind):
    canvas = kind.start((6, 6), generators())
    weights = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(7))
    (gradient,) = torch.autograd.grad((canvas.show() * weights).sum(), canvas.parameters)
    assert bool(gradient.isfinite().all())
    assert (gradient != 0).float().mean() > 0.5


def test_colours_of_noise_are_correlated_unless_told_otherwise():
    def alike(decorrelate):
        shown = FourierParametrisation.start((64, 64), generators(), decorrelate=decorrelate)
        return torch.corrcoef(shown.show().detach()[0].flatten(1))[0, 1]

    assert alike(True) > 0.7
    assert abs(alike(False)) < 0.5
