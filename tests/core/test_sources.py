import pytest
import torch

from dreamer.core import sources


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (1, 5), (200, 32)])
@pytest.mark.parametrize("paint", [sources.sky, sources.noise])
def test_made_pictures_fit_any_size_and_depend_on_the_seed_alone(paint, size):
    first = paint(size, torch.Generator().manual_seed(3))
    assert first.shape == (1, 3, *size)
    assert first.min() >= 0
    assert first.max() <= 1
    torch.rand(5)
    assert torch.equal(paint(size, torch.Generator().manual_seed(3)), first)
    assert not torch.equal(paint(size, torch.Generator().manual_seed(4)), first)


def test_the_sky_is_bluer_above_than_below_and_holds_clouds_with_room_to_grow():
    sky = sources.sky((256, 384), torch.Generator().manual_seed(3))[0]
    blueness = (sky[2] - sky[0]).mean(1)
    assert blueness[:64].mean() > blueness[-64:].mean() + 0.1
    light = sky.mean(0)
    assert (light > 0.6).float().mean() > 0.05
    assert (light < 0.45).float().mean() > 0.05
    assert sky.min() > 0.05
    assert sky.max() < 0.95


def test_the_power_law_has_its_slope():
    field = sources.power_law((256, 256), 2.0, torch.Generator().manual_seed(1))
    power = torch.fft.rfft2(field).abs().square()
    ratio = power[8:12, 8:12].mean() / power[32:48, 32:48].mean()
    assert 4**4 / 3 < ratio < 4**4 * 3
