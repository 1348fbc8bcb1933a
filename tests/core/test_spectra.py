import numpy as np
import pytest
import torch

from dreamer.core import spectra


def test_frequencies_are_those_of_numpy():
    for size in ((8, 8), (5, 12), (7, 9)):
        twin = np.hypot(np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])[None])
        assert np.allclose(spectra.frequencies(size).numpy(), twin)


def test_seventy_seven_percent_of_natural_energy_is_in_the_lowest_frequencies():
    f = spectra.frequencies((512, 512))
    energy = spectra.natural((512, 512)).square().mean(0)
    energy[0, 0] = 0
    natural = energy[f < 0.01].sum() / energy.sum()
    plain = 1 / f.clamp_min(1 / 512).square()
    plain[0, 0] = 0
    assert natural > 2 * plain[f < 0.01].sum() / plain.sum()


def test_a_measured_spectrum_is_that_of_what_was_measured():
    from dreamer.core.colour import correlate

    random = torch.Generator().manual_seed(0)
    f = spectra.clamped((128, 96))
    photos = []
    for _ in range(6):
        noise = torch.fft.rfft2(torch.randn(3, 128, 96, generator=random)) * f**-1.2
        values = torch.fft.irfft2(noise, s=(128, 96))
        photos.append(torch.sigmoid(correlate((values / values.std())[None])))
    profile = spectra.measured(photos)
    rings = torch.tensor(spectra.RINGS).log()
    inside = (rings.exp() > 0.03) & (rings.exp() < 0.4)
    for row in profile:
        slope = np.polyfit(rings[inside].numpy(), np.array(row)[inside.numpy()], 1)[0]
        assert slope == pytest.approx(-1.2, abs=0.15)


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="at least one photo"):
        spectra.measured([])
    with pytest.raises(ValueError, match="shows something"):
        spectra.measured([torch.full((1, 3, 32, 32), 0.5)])


def test_a_profile_is_read_off_at_any_size():
    profile = tuple(tuple(float(-k) for k in range(24)) for _ in range(3))
    values = spectra.from_profile(profile, (31, 50))
    assert values.shape == (3, 31, 26)
    at = spectra.clamped((31, 50))
    place = (at / spectra.RINGS[0]).log() / np.log(spectra.RINGS[1] / spectra.RINGS[0])
    assert torch.allclose(values[0].log(), -place.clamp(0, 23), atol=1e-3)


def test_coefficients_carried_to_a_larger_size_show_the_same_waves():
    y, x = torch.meshgrid(torch.arange(9) / 9, torch.arange(12) / 12, indexing="ij")
    wave = torch.cos(2 * torch.pi * (2 * y + 3 * x)) + 0.3 * torch.sin(2 * torch.pi * y)
    spectrum = spectra.resized(torch.fft.rfft2(wave), (21, 30)) * (21 * 30) / (9 * 12)
    big = torch.fft.irfft2(spectrum, s=(21, 30))
    y, x = torch.meshgrid(torch.arange(21) / 21, torch.arange(30) / 30, indexing="ij")
    wanted = torch.cos(2 * torch.pi * (2 * y + 3 * x)) + 0.3 * torch.sin(2 * torch.pi * y)
    assert torch.allclose(big, wanted, atol=1e-5)
