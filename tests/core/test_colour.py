import pytest
import torch

from dreamer.core import colour


def test_decorrelation_moves_the_pixels_along_the_colour_covariance():
    gradient = torch.randn(1, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    root = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
    matrix = root @ root.T
    expected = torch.einsum("ij,njhw->nihw", matrix / matrix.diagonal().mean(), gradient)
    torch.testing.assert_close(colour.decorrelate(gradient, 1.0), expected)
    assert colour.decorrelate(gradient, 0.0) is gradient


def test_decorrelation_favours_grey_over_colour():
    grey, green = torch.ones(1, 3, 1, 1), torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    after = colour.decorrelate(green, 1.0).flatten()
    assert after.min() > 0.5 * after.max()
    assert colour.decorrelate(grey, 1.0).norm() > 2 * grey.norm()


def test_mute_keeps_the_luminance_and_scales_the_rest():
    change = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    luma = torch.tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)
    before = (change * luma).sum(1)
    for chroma in (0.0, 0.25, 0.5):
        muted = colour.mute(change, chroma)
        torch.testing.assert_close((muted * luma).sum(1), before)
        torch.testing.assert_close(muted - before[:, None], chroma * (change - before[:, None]))
    assert colour.mute(change, 1.0) is change


@pytest.mark.parametrize("amount", [0.0, 0.3, 1.0])
def test_a_change_of_colour_space_keeps_the_direction_uphill(amount):
    gradient = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    assert (colour.decorrelate(gradient, amount) * gradient).sum() > 0
