import pytest
import torch

from dreamer.core.objectives import Objective, Term

ACTIVATIONS = {
    "a": torch.arange(24.0).view(1, 2, 3, 4),
    "b": torch.linspace(-1, 1, 36).view(1, 4, 3, 3),
}
A, B = Objective((Term("a"),)), Objective((Term("b", 2),))


def test_two_a_and_three_b_is_two_a_and_three_b():
    total = 2 * A + 3 * B
    expected = 2 * A(ACTIVATIONS) + 3 * B(ACTIVATIONS)
    torch.testing.assert_close(total(ACTIVATIONS), expected)
    torch.testing.assert_close((A - B)(ACTIVATIONS), A(ACTIVATIONS) - B(ACTIVATIONS))
    torch.testing.assert_close((-(2 * A))(ACTIVATIONS), -2 * A(ACTIVATIONS))


def test_arithmetic_leaves_its_operands_alone():
    before = str(A), str(B)
    _ = 2 * A + 3 * B - A
    assert (str(A), str(B)) == before


def test_objectives_print_the_target_they_were_made_of():
    zebra = Objective((Term("logits", 340, label="class:zebra"),))
    assert str(0.7 * A + 0.3 * zebra - 0.2 * B) == "0.7*a + 0.3*class:zebra - 0.2*b:2"
    assert str(-A) == "-a"


def test_a_layer_is_the_mean_of_squares_and_a_channel_the_mean():
    torch.testing.assert_close(A(ACTIVATIONS), ACTIVATIONS["a"].square().mean())
    torch.testing.assert_close(B(ACTIVATIONS), ACTIVATIONS["b"][:, 2].mean())


@pytest.mark.parametrize(
    ("at", "row", "column"), [((0, 0), 0, 0), ((0.5, 0.9), 1, 3), ((1, 1), 2, 3)]
)
def test_a_neuron_is_one_value_of_one_channel(at, row, column):
    neuron = Objective((Term("a", 1, at),))
    assert neuron(ACTIVATIONS) == ACTIVATIONS["a"][0, 1, row, column]


def test_a_neuron_follows_its_place_into_the_view():
    neuron = Objective((Term("a", 1, (0.1, 0.1)),))
    moved = neuron(ACTIVATIONS, lambda y, x: (y + 0.5, x + 0.5))
    assert moved == ACTIVATIONS["a"][0, 1, 1, 2]


def test_each_layer_is_named_once():
    assert (A + B + A).layers == ("a", "b")
