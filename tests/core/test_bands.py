"""Large pictures are worked on in bands of rows: with the same results as small ones."""

import pytest
import torch

from dreamer.core import bands, gradients, resampling
from dreamer.core import canvas as canvases


@pytest.fixture
def narrow(monkeypatch):
    """Let pictures of some thousand pixels be large ones."""

    def shrink():
        monkeypatch.setattr(bands, "LARGE", 1000)
        monkeypatch.setattr(bands, "_BAND", 700)
        monkeypatch.setattr(bands, "_SAMPLED", 1)

    return shrink


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def canvas(kind="pixel", **more):
    base = random(1, 3, 91, 60)
    made = canvases.start(kind, base, **more)
    made.ascend(random(1, 3, 91, 60, seed=1) - 0.5, 0.1)
    return made


@pytest.mark.parametrize("size", [(1, 5), (40, 2), (91, 60), (3, 9000), (700, 3)])
def test_bands_are_all_rows_in_turn(size, narrow):
    picture = torch.arange(size[0] * size[1]).view(1, 1, *size)
    assert bands.bands(picture) == [slice(0, size[0])]
    narrow()
    parts = bands.bands(picture)
    assert torch.equal(torch.cat([picture[:, :, rows] for rows in parts], 2), picture)
    assert len(parts) > 1 or size[0] * size[1] <= 1000
    assert all((rows.stop - rows.start) * size[1] <= max(700, size[1]) for rows in parts[1:])


def test_a_mean_of_bands_is_that_of_all(narrow):
    values = 3 * random(1, 3, 91, 60) - 1
    whole = bands.rms(values)
    assert torch.equal(whole, values.square().mean().add(1e-20).sqrt())
    narrow()
    torch.testing.assert_close(bands.rms(values), whole)


@pytest.mark.parametrize("size", [(91, 60), (64, 64), (200, 31), (9, 301)])
def test_a_large_gradient_is_conditioned_as_a_small_one_is(size, narrow):
    gradient = random(1, 3, *size) * random(1, 1, *size, seed=2) - 0.3
    expected = gradients.condition(gradient, 1.5, 0.6)
    narrow()
    given = gradient.clone()
    found = gradients.condition(given, 1.5, 0.6)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    assert found.data_ptr() == given.data_ptr()


@pytest.mark.parametrize("size", [(91, 60), (90, 61), (33, 7), (2, 2)])
def test_rows_of_an_enlarged_picture_are_its_rows(size):
    like = random(1, 3, *size)
    small = random(1, 3, (size[0] + 1) // 2, (size[1] + 1) // 2, seed=3)
    whole, rows = resampling.enlarge(small, like), resampling.Enlarged(small, like)
    for step in (1, 5, 100):
        for top in range(0, size[0], step):
            part = slice(top, min(top + step, size[0]))
            torch.testing.assert_close(rows[part], whole[:, :, part])


WHERE = (random(1, 1, 91, 60, seed=4) - 0.3).clamp(0, 1)


@pytest.mark.parametrize("where", [None, WHERE], ids=["all", "part"])
@pytest.mark.parametrize("together", [False, True])
def test_a_large_canvas_is_changed_as_a_small_one_is(where, together, narrow):
    direction = random(1, 3, 91, 60, seed=5) - 0.5
    found = []
    for large in (False, True):
        if large:
            narrow()
        made = canvas(where=where, together=together)
        held = made.difference
        made.ascend(direction, 0.2)
        made.settle(0.3)
        read = made.reader()
        parts = [read((top, 0, min(top + 40, 91), 60)) for top in range(0, 91, 40)]
        assert torch.equal(torch.cat(parts, 2), made.pixels())
        assert (made.difference is held) == large
        found.append(made.pixels())
    torch.testing.assert_close(found[1], found[0])
    assert (found[0] - random(1, 3, 91, 60)).abs().amax() > 0.1


@pytest.mark.parametrize("kind", ["fourier", "maco"])
def test_waves_are_preconditioned_whole(kind, narrow):
    gradient = random(1, 3, 91, 60, seed=6) - 0.5
    settings = {"tilt": 1.5, "grain": 0.5, "decorrelate": 0.5}
    expected = canvas(kind).precondition(gradient, **settings)
    narrow()
    torch.testing.assert_close(canvas(kind).precondition(gradient, **settings), expected)
