import pytest
import torch
from torch.nn import functional as F

from dreamer.core import guidance
from dreamer.core.guidance import Bank, Guide, agreement, bank, banks, similarity
from dreamer.core.objectives import Objective, Term

BYS = ("best", "means", "style")


def rand(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def plain(rows):
    """A bank of places as they are: already standardised, and of length 1."""
    rows = torch.tensor(rows)
    channels = rows.shape[1]
    return Bank(rows, torch.zeros(channels), torch.ones(channels), rows.T @ rows / len(rows))


def places(*values):
    """Answers `(1, C, 1, P)` at places that are given one by one."""
    return torch.tensor(values).T[None, :, None]


def test_every_place_goes_towards_the_most_similar_one_of_the_guide():
    guide = plain([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]])
    dreamed = places([3.0, 4.0], [2.0, 0.0], [-3.0, -4.0], [5.0, -12.0])
    # Dot products with (0, 1), (1, 0) and twice (-.6, -.8), each times its cosine.
    expected = (4 * 0.8 + 2 * 1 + 5 * 1 + 6.6 * 6.6 / 13) / 4
    assert agreement(dreamed, guide, "best").tolist() == pytest.approx([expected], rel=1e-5)
    cosines = (0.8 + 1 + 1 + 6.6 / 13) / 4
    assert similarity(dreamed, guide).tolist() == pytest.approx([cosines], rel=1e-5)


def test_a_place_that_is_like_nothing_in_the_guide_still_has_a_slope():
    dreamed = places([-2.0, 0.0]).requires_grad_()
    found = agreement(dreamed, plain([[1.0, 0.0]]), "best")
    assert found.item() == pytest.approx(-2 * 0.1, rel=1e-5)
    (slope,) = torch.autograd.grad(found.sum(), dreamed)
    assert slope.flatten().tolist() == pytest.approx([0.1, 0.0], abs=1e-5)


@pytest.mark.parametrize("chunk", [2, 7, 100])
def test_parts_of_the_table_give_what_all_of_it_does(monkeypatch, chunk):
    monkeypatch.setattr(guidance, "_CHUNK", chunk)
    guide = bank(1 + 2 * rand(1, 5, 6, 4, seed=1))
    dreamed = rand(3, 5, 4, 3).requires_grad_()
    flat = guide.standard(dreamed).flatten(2).transpose(1, 2)
    dot = (flat @ guide.rows.T).max(2).values
    expected = (dot * (dot / flat.norm(dim=2)).clamp_min(0.1)).mean(1)
    found = agreement(dreamed, guide, "best")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    slopes = [torch.autograd.grad(each.sum(), dreamed)[0] for each in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)
    cosines = (F.normalize(flat, dim=2) @ guide.rows.T).amax(2).mean(1)
    torch.testing.assert_close(similarity(dreamed, guide), cosines)


def test_a_bank_has_the_mean_spread_and_moments_of_its_answers():
    made = bank(places([1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]))
    assert made.mean.tolist() == [2, 2]
    assert made.spread.tolist() == [1, 2]
    torch.testing.assert_close(made.moments, torch.eye(2))
    corners = {(-1, -1), (1, -1), (-1, 1), (1, 1)}
    assert {tuple(row) for row in (made.rows * 2**0.5).round().tolist()} == corners
    torch.testing.assert_close(made.rows.norm(dim=1), torch.ones(4))
    standard = made.standard(places([2.0, 2.0], [4.0, 6.0]))
    assert standard[0, :, 0].T.tolist() == [[0, 0], [2, 2]]


def test_means_are_apart_by_their_distance_in_spreads():
    guide = bank(places([1.0, 0.0], [3.0, 0.0], [1.0, 4.0], [3.0, 4.0]))
    dreamed = places([5.0, 10.0], [5.0, 10.0])
    # 3 and 4 spreads off: the root of (9 + 16) / 2.
    assert agreement(dreamed, guide, "means").item() == pytest.approx(-(12.5**0.5), rel=1e-5)


def test_styles_are_apart_by_the_distance_of_all_second_moments():
    guide = plain([[1.0, 0.0], [0.0, 1.0]])
    dreamed = places([2.0, 1.0], [0.0, 1.0])
    # Moments ((2, 1), (1, 1)) against ((.5, 0), (0, .5)).
    expected = -((1.5**2 + 1 + 1 + 0.5**2) ** 0.5) / 0.5**0.5
    assert agreement(dreamed, guide, "style").item() == pytest.approx(expected, rel=1e-5)


def test_nothing_agrees_with_a_guide_as_its_own_answers_do():
    own = 3 + torch.linspace(0.5, 4, 6).view(1, 6, 1, 1) * rand(1, 6, 5, 8)
    guide = bank(own)
    strengths = guide.standard(own).norm(dim=1).mean()
    torch.testing.assert_close(agreement(own, guide, "best"), strengths[None], rtol=1e-4, atol=0)
    for by in ("means", "style"):
        assert agreement(own, guide, by).item() == pytest.approx(0, abs=2e-3)
    for seed in range(1, 5):
        other = own.mean((2, 3), keepdim=True) + rand(1, 6, 5, 8, seed=seed)
        standard = guide.standard(other)
        as_strong = standard * guide.standard(own).norm(dim=1) / standard.norm(dim=1)
        back = as_strong * guide.spread.view(1, -1, 1, 1) + guide.mean.view(1, -1, 1, 1)
        assert agreement(back, guide, "best") < strengths - 0.01
        for by in ("means", "style"):
            assert agreement(other, guide, by) < -0.02


def test_where_things_are_does_not_matter_to_a_guide():
    own = rand(1, 4, 5, 8)
    shuffled = own.flatten(2)[:, :, torch.randperm(40, generator=torch.Generator())]
    moved = shuffled.view(1, 4, 8, 5)
    for by in BYS:
        expected = agreement(own, bank(own), by)
        torch.testing.assert_close(agreement(moved, bank(own), by), expected, rtol=1e-3, atol=1e-3)


def test_every_picture_of_a_batch_is_compared_by_itself():
    guide, dreamed = bank(rand(1, 4, 5, 8)), rand(3, 4, 6, 6, seed=1)
    for by in BYS:
        alone = torch.cat([agreement(each[None], guide, by) for each in dreamed])
        torch.testing.assert_close(agreement(dreamed, guide, by), alone)


def same(one, other):
    return all(
        torch.allclose(getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-5)
        for name in ("rows", "mean", "spread", "moments")
    )


@pytest.mark.parametrize("times", [1, 8])
def test_only_what_is_visible_counts(times):
    maps = rand(1, 3, 4, 6)
    visible = torch.full((1, 1, 4 * times, 6 * times), 0.4)
    visible[..., : 3 * times] = 0.6
    assert len(bank(maps, visible).rows) == 12
    other = maps.clone()
    other[..., 3:] = 1e6
    assert same(bank(maps, visible), bank(maps[..., :3]))
    assert same(bank(other, visible), bank(maps, visible))


def test_of_a_picture_that_is_all_transparent_everything_counts():
    maps = rand(1, 3, 4, 6)
    assert same(bank(maps, torch.zeros(1, 1, 32, 48)), bank(maps))


@pytest.mark.parametrize(
    ("own", "size", "least", "expected"),
    [
        ((100, 50), (20, 10), 1, (20, 10)),
        ((40, 160), (64, 64), 1, (32, 128)),  # as large an area, of its own shape
        ((30, 40), (300, 400), 1, (30, 40)),  # never enlarged
        ((30, 40), (300, 400), 30, (30, 40)),
        ((30, 45), (300, 400), 32, (32, 48)),  # but for what the network needs
        ((200, 300), (20, 30), 32, (32, 48)),
    ],
)
def test_a_guide_is_shown_as_large_as_the_dream(own, size, least, expected):
    guide = Guide(rand(1, 3, *own).clamp(0, 1), torch.ones(1, 1, *own), least)
    fitted = guide.at(size)
    assert fitted.pixels.shape == (1, 3, *expected)
    assert fitted.visible.shape == (1, 1, *expected)
    assert fitted.least == least
    assert 0 <= fitted.pixels.min() <= fitted.pixels.max() <= 1
    if own == expected:
        assert torch.equal(fitted.pixels, guide.pixels)
    assert Guide(guide.pixels).at(size).visible is None


def test_banks_are_what_the_layers_answer_to_the_fitted_guide():
    guide = Guide(torch.rand(1, 3, 20, 30), (torch.rand(1, 1, 20, 30) > 0.5).float())
    shown = []

    def network(pixels):
        shown.append(pixels.shape[2:])
        return {"a": pixels, "b": pixels[..., ::2, ::2], "c": pixels}

    made = banks(guide, network, (10, 15), ("a", "b"))
    assert shown == [(10, 15)]
    assert set(made) == {"a", "b"}
    fitted = guide.at((10, 15))
    assert same(made["b"], bank(fitted.pixels[..., ::2, ::2], fitted.visible))


def test_of_many_places_some_are_drawn_the_same_every_time():
    across = torch.arange(50.0).expand(1, 1, 40, 50)
    maps = torch.cat([across, rand(1, 1, 40, 50)], 1)
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = bank(maps)
    assert torch.equal(torch.rand(2), expected)
    assert same(bank(maps), first)
    assert first.rows.shape == (guidance.MOST_ROWS, 2)
    standard = first.standard(maps)[0].flatten(1).T
    gaps = torch.cdist(first.rows, F.normalize(standard, dim=1)).amin(1)
    assert gaps.max() < 1e-3
    # All of them count for the moments, and none is left out for the column it is in.
    torch.testing.assert_close(first.moments, standard.T @ standard / 2000)
    nearest = torch.cdist(first.rows, F.normalize(standard, dim=1)).argmin(1)
    assert len(set((nearest % 50).tolist())) == 50


def test_exactly_as_many_places_as_are_compared_with_are_all_taken():
    maps = rand(1, 3, 32, 32)
    made = bank(maps)
    torch.testing.assert_close(made.rows, F.normalize(made.standard(maps)[0].flatten(1).T, dim=1))


@pytest.mark.parametrize("by", BYS)
def test_a_channel_that_is_constant_in_the_guide_is_given_some_spread(by):
    own = rand(1, 4, 6, 6)
    own[:, 2] = 0.7
    guide = bank(own)
    typical = own.square().mean().sqrt()
    torch.testing.assert_close(guide.spread[2], 0.1 * typical)
    dreamed = rand(1, 4, 6, 6, seed=1).requires_grad_()
    (slope,) = torch.autograd.grad(agreement(dreamed, guide, by).sum(), dreamed)
    assert bool(torch.isfinite(slope).all())


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("level", [0.0, 0.1, 3.0])
def test_a_guide_without_any_contrast_gives_numbers(by, level):
    guide = bank(torch.full((1, 4, 6, 6), level))
    dreamed = rand(1, 4, 6, 6).requires_grad_()
    found = agreement(dreamed, guide, by)
    (slope,) = torch.autograd.grad(found.sum(), dreamed)
    assert bool(torch.isfinite(found).all())
    assert bool(torch.isfinite(slope).all())
    assert bool(torch.isfinite(similarity(dreamed, guide)).all())


def test_answers_without_contrast_have_a_slope_too():
    guide = bank(rand(1, 4, 6, 6))
    for by in BYS:
        dreamed = guide.mean.view(1, -1, 1, 1).expand(1, 4, 6, 6).clone().requires_grad_()
        (slope,) = torch.autograd.grad(agreement(dreamed, guide, by).sum(), dreamed)
        assert bool(torch.isfinite(slope).all())


def test_similarity_is_a_cosine_and_1_of_a_guide_itself():
    own = 5 + 3 * rand(1, 6, 8, 8)
    guide = bank(own)
    assert similarity(own, guide).item() == pytest.approx(1, abs=1e-5)
    found = similarity(10 * rand(40, 6, 2, 2, seed=1), guide)
    assert found.shape == (40,)
    assert bool((found.abs() <= 1 + 1e-6).all())
    assert similarity(places([1.0, 1.0]), plain([[-(0.5**0.5)] * 2])).item() == pytest.approx(-1)
    far, near = own + 20 * rand(1, 6, 8, 8, seed=2), own + 0.5 * rand(1, 6, 8, 8, seed=2)
    assert similarity(far, guide) < similarity(near, guide) < 1


@pytest.mark.parametrize("by", BYS)
def test_a_term_agrees_with_the_guide_that_it_names(by):
    values, guide = rand(2, 4, 5, 5), bank(rand(1, 4, 6, 6, seed=1))
    term = Term("a", guide="cat", by=by)
    references = {"cat": {"a": guide, "b": bank(rand(1, 2, 3, 3))}, "dog": {}}
    found = term.each({"a": values}, references=references)
    assert torch.equal(found, agreement(values, guide, by))


def test_the_guides_that_are_needed_are_named_once():
    terms = (Term("a", guide="x"), Term("b", like="cat"), Term("b", guide="x"), Term("a"))
    assert Objective(terms).guides == ("x",)
    assert Objective(terms).likes == ("cat",)
