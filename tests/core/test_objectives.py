import numpy as np
import pytest
import torch

from dreamer.core.objectives import Objective, Pick, Term

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


def each(term, activations, **more):
    return term.each({term.layer: torch.from_numpy(activations)}, **more).numpy()


RANDOM = np.random.default_rng(4)
MAPS = RANDOM.normal(size=(3, 5, 4, 6))


def agreement(values, wanted, power):
    """Lucid's: mean over places of dot x max(0.1, cosine)^power; both `(N, C, h, w)`."""
    found = []
    for one, other in zip(values, np.broadcast_to(wanted, values.shape), strict=True):
        places = []
        for y, x in np.ndindex(*one.shape[1:]):
            a, b = one[:, y, x], other[:, y, x]
            cosine = a @ b / np.sqrt(a @ a) / np.sqrt(b @ b)
            places.append(a @ b * max(0.1, cosine) ** power)
        found.append(np.mean(places))
    return np.array(found)


def test_each_picture_of_a_batch_has_its_own_value():
    np.testing.assert_allclose(each(Term("a"), MAPS), (MAPS**2).mean((1, 2, 3)))
    np.testing.assert_allclose(each(Term("a", 2), MAPS), MAPS[:, 2].mean((1, 2)))


def test_a_neuron_is_looked_for_at_its_own_place_in_each_view():
    places = torch.tensor([[0.0, 0.0], [0.49, 0.99], [2.0, -1.0]])
    found = each(Term("a", 3, (0.5, 0.5)), MAPS, locate=lambda y, x: places)
    np.testing.assert_array_equal(found, [MAPS[0, 3, 0, 0], MAPS[1, 3, 1, 5], MAPS[2, 3, 3, 0]])
    one = each(Term("a", 3, (0.5, 0.2)), MAPS)
    np.testing.assert_array_equal(one, MAPS[:, 3, 2, 1])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_direction_is_the_dot_product_with_its_unit_times_the_cosine(power):
    term = Term("a", direction=((1, 3.0), (4, -4.0)), power=power)
    wanted = np.array([0, 0.6, 0, 0, -0.8]).reshape(1, 5, 1, 1)
    np.testing.assert_allclose(each(term, MAPS), agreement(MAPS, wanted, power), rtol=1e-6)
    longer = Term("a", direction=((1, 30.0), (4, -40.0)), power=power)
    np.testing.assert_allclose(each(term, MAPS), each(longer, MAPS), rtol=1e-6)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("count", [1, 3])
def test_a_caricature_is_the_dot_product_with_the_photo_times_the_cosine(power, count):
    photo = RANDOM.normal(size=(count, 5, 4, 6))
    term = Term("a", like="cat", power=power)
    references = {"cat": {"a": torch.from_numpy(photo)}, "dog": {}}
    found = each(term, MAPS, references=references)
    np.testing.assert_allclose(found, agreement(MAPS, photo, power), rtol=1e-6)


def test_the_photos_that_are_needed_are_named_once():
    terms = (Term("a", like="cat"), Term("b", like="dog"), Term("b", like="cat"), Term("a"))
    assert Objective(terms).likes == ("cat", "dog")


def varied(*spreads):
    """Answers `(1, C, 4, 4)` of channels that vary by so much about a mean of 3."""
    waves = torch.tensor([1.0, -1.0]).repeat(8).view(1, 1, 4, 4)
    return 3 + torch.tensor(spreads).view(1, -1, 1, 1) * waves


SPREADS = varied(0.5, 0.0, 4.0, 0.25, 0.0, 2.0)


@pytest.mark.parametrize(
    ("rank", "count", "expected"),
    [
        ("strong", 1, (2,)),
        ("strong", 3, (0, 2, 5)),
        ("weak", 1, (3,)),
        ("weak", 2, (0, 3)),
        ("weak", 9, (0, 2, 3, 5)),
        ("strong", 9, (0, 2, 3, 5)),
    ],
)
def test_channels_are_picked_by_how_far_they_vary_and_dead_ones_never(rank, count, expected):
    assert Pick(rank, count).of(SPREADS) == expected
    assert Pick(rank, count).of(torch.cat([SPREADS, SPREADS])) == expected


@pytest.mark.parametrize("size", [(4, 4), (9, 11), (30, 37)], ids=str)
@pytest.mark.parametrize("level", [0.0, 0.1, 7.7, -123.456])
def test_a_channel_that_has_one_value_is_dead_whatever_the_value(size, level):
    values = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    values[:, 1] = level
    assert Pick("weak", 3).of(values) == (0, 2)


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("rank", ["strong", "weak"])
def test_with_nothing_to_pick_there_is_a_score_that_nothing_moves(rank, anew):
    values = torch.full((2, 5, 3, 4), 1.5, requires_grad=True)
    objective = Objective((Term("a", pick=Pick(rank, 2, anew)),))
    assert Pick(rank, 2).of(values) == ()
    for each in (objective, objective.picked({"a": values})):
        score = each({"a": values})
        assert score == 0
        (slope,) = torch.autograd.grad(score, values)
        assert not slope.any()


def test_channels_are_worth_the_mean_of_their_squares():
    term = Term("a", channels=(0, 3, 4))
    np.testing.assert_allclose(each(term, MAPS), (MAPS[:, [0, 3, 4]] ** 2).mean((1, 2, 3)))
    every = Term("a", channels=tuple(range(5)))
    np.testing.assert_allclose(each(every, MAPS), each(Term("a"), MAPS))
    assert each(Term("a", channels=(2,)), MAPS[:1]) == pytest.approx((MAPS[0, 2] ** 2).mean())


def test_what_is_picked_is_worth_as_much_as_the_same_channels_listed():
    found = Term("a", pick=Pick("strong", 2)).each({"a": SPREADS})
    assert torch.equal(found, Term("a", channels=(2, 5)).each({"a": SPREADS}))


def test_channels_are_picked_once_by_the_photo_or_anew_by_each_picture():
    photo, later = {"a": varied(1.0, 2.0, 3.0)}, {"a": varied(3.0, 2.0, 1.0)}
    once, anew = (Objective((Term("a", pick=Pick("strong", 1, how)),)) for how in (False, True))
    assert (once.picky, anew.picky) == (True, False)
    settled = once.picked(photo)
    assert not settled.picky
    assert settled.terms[0].channels == (2,)
    assert settled(later) == later["a"][:, 2].square().mean()
    assert anew.picked(photo) == anew
    assert anew(later) == later["a"][:, 0].square().mean()


def test_only_terms_with_a_pick_are_touched_by_it():
    pick = 0.5 * Objective((Term("a", pick=Pick("weak", 1), label="weak"),))
    total = A + pick - B
    settled = total.picked({"a": varied(1.0, 2.0, 3.0)})
    assert settled.terms[::2] == total.terms[::2]
    assert settled.terms[1].channels == (0,)
    assert str(settled) == str(total) == "a + 0.5*weak - b:2"
    assert (A - B).picked({}) == A - B
