import math

import pytest
import torch

from dreamer.core import colour, judging, spectra
from dreamer.core.objectives import Objective, Term

TERM = Objective((Term("pixels", 0),))


def network(pixels):
    return {"pixels": pixels}


def picture(*size, seed=0):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def natural(size, seed=0):
    """A picture whose magnitudes are exactly natural, at random phases."""
    angle = torch.rand(3, size[0], size[1] // 2 + 1, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.polar(spectra.natural(size), 2 * math.pi * angle)
    values = torch.fft.irfft2(spectrum, s=size)
    return colour.correlate(values[None] / values.std()).sigmoid()


def test_held_out_crops_of_one_colour_are_that_colour():
    red = torch.tensor([0.75, 0.5, 0.25]).view(1, 3, 1, 1).expand(1, 3, 7, 12)
    assert judging.held_out(red, network, TERM, crops=5) == pytest.approx(0.75)


def test_held_out_crops_are_inside_the_picture_and_as_the_docstring_says():
    seen = []
    ramp = torch.linspace(1 / 64, 63 / 64, 32)  # a pixel's value is the place of its centre

    def keep(pixels):
        seen.append(pixels[:, 0])
        return {"pixels": pixels}

    judging.held_out(ramp.expand(1, 3, 32, 32), keep, TERM, crops=400, batch=150)
    assert [len(some) for some in seen] == [150, 150, 100]
    crops = torch.cat(seen)
    side = (crops[:, 0, 20] - crops[:, 0, 10]) / (ramp[20] - ramp[10])
    left = crops[:, 0, 15:17].mean(1) - side / 2
    assert side.min() > 0.7499
    assert side.max() < 1.0001
    assert side.mean() == pytest.approx(0.875, abs=0.01)
    place = left / (1 - side)
    assert place[side < 0.99].min() > -1e-3
    assert place[side < 0.99].max() < 1.001
    assert place[side < 0.99].mean() == pytest.approx(0.5, abs=0.05)


def test_a_neuron_is_looked_for_where_its_place_is_in_each_crop():
    pixels = torch.zeros(1, 3, 40, 60)
    pixels[:, :, 16:24, 10:14] = 1  # around a half of the height, a fifth of the width
    there, elsewhere = (Objective((Term("pixels", 0, (0.5, x)),)) for x in (0.2, 0.5))
    assert judging.held_out(pixels, network, there) == pytest.approx(1, abs=0.05)
    assert judging.held_out(pixels, network, elsewhere) == 0


def test_held_out_is_the_same_every_time_and_whatever_the_batch():
    pixels = picture(16, 24)
    torch.manual_seed(1)
    once = judging.held_out(pixels, network, TERM)
    torch.manual_seed(2)
    assert judging.held_out(pixels, network, TERM) == once
    assert judging.held_out(pixels, network, TERM, batch=7) == pytest.approx(once, abs=1e-6)
    assert judging.held_out(pixels, network, TERM, seed=1) != once


@pytest.mark.parametrize("size", [(24, 24), (24, 37), (31, 20)])
def test_a_ring_is_the_mean_over_all_frequencies_around_a_circle(size):
    pixels = picture(*size)
    spectrum = judging.radial_spectrum(pixels)
    window = torch.outer(*(torch.hann_window(n + 2, periodic=False)[1:-1] for n in size))
    values = colour.uncorrelate(pixels.clamp(1 / 510, 1 - 1 / 510).logit())
    values = (values - values.mean((2, 3), keepdim=True)) * window
    magnitude = torch.fft.fft2(values)[0].abs()
    f = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1]))
    ring = (f * min(size)).round()
    count = min(size) // 2
    plain = torch.stack([magnitude[:, ring == k].mean(1) for k in range(1, count + 1)], 1).log()
    assert spectrum.shape == (3, count)
    torch.testing.assert_close(spectrum - spectrum[0, 0], plain - plain[0, 0], rtol=0, atol=1e-4)


def test_contrast_does_not_count_in_a_spectrum():
    logits = picture(32, 32).logit(1e-3) / 4
    full, half = logits.sigmoid(), (logits / 2).sigmoid()
    expected = judging.radial_spectrum(full)
    torch.testing.assert_close(judging.radial_spectrum(half), expected, rtol=0, atol=1e-3)


def test_a_grey_picture_has_a_finite_spectrum():
    assert judging.radial_spectrum(picture(16, 16)[:, :1].expand(-1, 3, -1, -1)).isfinite().all()
    assert judging.radial_spectrum(torch.full((1, 3, 9, 5), 0.5)).isfinite().all()


def test_a_natural_spectrum_is_near_the_natural_one_and_noise_is_far():
    for size in ((96, 96), (90, 131)):
        near, far = (
            judging.spectrum_distance(natural(size)),
            judging.spectrum_distance(picture(*size)),
        )
        assert near < 0.3
        assert far > 4 * near


def test_only_the_shape_of_the_reference_counts():
    pixels, reference = picture(20, 33), spectra.natural((20, 33))
    expected = judging.spectrum_distance(pixels)
    assert judging.spectrum_distance(pixels, 5 * reference) == pytest.approx(expected)
    assert judging.spectrum_distance(pixels, reference.sqrt()) < expected  # noise is flatter


def test_clipped_counts_what_8_bits_hold_as_black_or_white():
    values = torch.tensor([0, 0.4 / 255, 0.6 / 255, 4 / 255, 0.5, 250 / 255, 254.6 / 255, 1])
    assert judging.clipped(values) == 4 / 8
    assert judging.clipped(values, 4) == 6 / 8


def test_a_picture_is_grey_if_no_colour_varies_by_4_levels():
    stripes = torch.tensor([-1.0, 1.0]).repeat(4).expand(1, 3, 8, 8)
    assert judging.is_grey(torch.full((1, 3, 8, 8), 0.3))
    assert judging.is_grey(0.5 + stripes * 3 / 255)
    assert not judging.is_grey(0.5 + stripes * 5 / 255)
    blue = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert not judging.is_grey(0.5 + blue * stripes * 5 / 255)
