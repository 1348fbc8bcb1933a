import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dreamer.core.redirect import redirected
from dreamer.networks.efficientnet_lite import SameConv2d

FUNCTIONS = {
    "relu": F.relu,
    "torch.relu": torch.relu,
    "relu in place": lambda x: F.relu(x * 1, inplace=True),
    "torch.relu_": lambda x: torch.relu_(x * 1),
    "method": lambda x: x.relu(),
    "module": nn.ReLU(),
    "module in place": lambda x: nn.ReLU(inplace=True)(x * 1),
}


def embedded(x):
    """Clip as the embedded network does, after a convolution that changes nothing."""
    convolution = SameConv2d(1, 1, 1)
    with torch.no_grad():
        convolution.weight.fill_(1)
        convolution.bias.zero_()
    return convolution.clipped(x.reshape(len(x), 1, 1, -1)).reshape(x.shape)


SIXES = {
    "relu6": F.relu6,
    "module": nn.ReLU6(),
    "module in place": lambda x: nn.ReLU6(inplace=True)(x * 1),
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
    "embedded": embedded,
}


def gradient(function, x, loss):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(loss(function(x)), x)[0]


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_dead_unit_is_pushed_up_and_never_further_down(function):
    x = torch.tensor([[-1.0, -2.0, -3.0]])
    wanted = torch.tensor([1.0, -1.0, 0.0])

    def loss(y):
        return -(y * wanted).sum()

    assert not gradient(function, x, loss).any()
    with redirected():
        found = gradient(function, x, loss)
    # The loss falls if the first rises; that the second is below zero already costs nothing.
    assert found.tolist() == [[-1.0, 0.0, 0.0]]


@pytest.mark.parametrize("function", SIXES.values(), ids=SIXES)
def test_a_unit_at_six_is_pushed_down(function):
    x = torch.tensor([[-1.0, 8.0, 9.0]])
    wanted = torch.tensor([0.0, -1.0, 1.0])
    with redirected():
        found = gradient(function, x, lambda y: -(y * wanted).sum())
    assert found.tolist() == [[0.0, 1.0, 0.0]]


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *SIXES.values()])
def test_where_anything_lives_gradients_are_as_ever_picture_by_picture(function):
    x = torch.tensor([[-1.0, 2.0], [-1.0, -2.0]])
    with redirected():
        found = gradient(function, x, lambda y: -y.sum())
    assert found.tolist() == [[0.0, -1.0], [-1.0, -1.0]]


@pytest.mark.parametrize("function", [*FUNCTIONS.values(), *SIXES.values()])
def test_values_are_the_same_and_all_is_restored(function):
    x = torch.linspace(-9, 9, 19)[None]
    plain = function(x)
    with redirected():
        assert torch.equal(function(x), plain)
    with pytest.raises(KeyboardInterrupt), redirected():
        raise KeyboardInterrupt
    assert not gradient(function, -x.abs() - 1, lambda y: -y.sum()).any()


def test_a_network_that_is_dead_at_the_start_comes_to_life():
    from dreamer.core import visualization
    from dreamer.core.objectives import Objective, Term
    from dreamer.core.parametrisation import FourierParametrisation
    from dreamer.core.views import Views

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU())
    network[2].bias.data.fill_(-0.2)
    network.requires_grad_(False)

    def last(redirect):
        plan = visualization.Plan(
            ((16, 16),),
            (40,),
            FourierParametrisation.start,
            "adam",
            0.1,
            Views(),
            redirect=redirect,
        )
        goal = Objective((Term("out", 0),))
        run = visualization.visualize(lambda x: {"out": network(x)}, [goal], plan, [0])
        return list(run)[-1].scores.item()

    assert last(0) == 0
    assert last(40) > 0
