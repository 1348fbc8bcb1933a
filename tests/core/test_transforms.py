import pytest
import torch

from dreamer.core.transforms import View


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photo(height=40, width=56):
    return torch.rand(1, 3, height, width, generator=generator(9))


def test_a_still_view_shows_the_canvas_itself():
    canvas = photo()
    assert torch.equal(View(0).look(canvas, generator()).pixels, canvas)


@pytest.mark.parametrize("seed", range(6))
def test_a_shifted_view_holds_the_whole_canvas_and_its_mirror_image(seed):
    canvas = photo()
    look = View(8).look(canvas, generator(seed))
    assert look.pixels.shape == (1, 3, 48, 64)
    top, left = (round(v * s) for v, s in zip(look.locate(0, 0), (48, 64), strict=True))
    assert torch.equal(look.pixels[:, :, top : top + 40, left : left + 56], canvas)
    if left > 0:
        torch.testing.assert_close(look.pixels[:, :, top, left - 1], canvas[:, :, 0, 1])


def test_every_shift_up_to_the_jitter_occurs():
    random = generator(1)
    tops = {round(View(3).look(photo(), random).locate(0, 0)[0] * 43) for _ in range(80)}
    assert tops == {0, 1, 2, 3}


@pytest.mark.parametrize("view", [View(8), View(8, rotate=20, zoom=0.3), View(0, rotate=45)])
def test_the_gradient_of_the_view_comes_back_to_the_same_place(view):
    canvas = torch.zeros(1, 3, 40, 56)
    for seed in range(5):
        look = view.look(canvas, generator(seed))
        y, x = look.locate((20 + 0.5) / 40, (30 + 0.5) / 56)
        height, width = look.pixels.shape[2:]
        grid = torch.tensor([[[[2 * x - 1, 2 * y - 1]]]], dtype=torch.float32)
        sampled = torch.nn.functional.grid_sample(look.pixels, grid, align_corners=False)
        gradient = look.gradient(sampled.sum())
        assert gradient.shape == canvas.shape
        peak = gradient[0].sum(0).flatten().argmax().item()
        assert abs(peak // 56 - 20) <= 1, (height, width)
        assert abs(peak % 56 - 30) <= 1


def test_views_are_drawn_from_the_generator_alone():
    view = View(16, rotate=10, zoom=0.2)
    first = view.look(photo(), generator(4)).pixels
    torch.rand(7)
    assert torch.equal(view.look(photo(), generator(4)).pixels, first)
    assert not torch.equal(view.look(photo(), generator(5)).pixels, first)


def test_a_flat_canvas_stays_flat_in_every_view():
    flat = torch.full((1, 3, 24, 24), 0.7)
    for seed in range(5):
        pixels = View(30, rotate=180, zoom=0.5).look(flat, generator(seed)).pixels
        torch.testing.assert_close(pixels, torch.full_like(pixels, 0.7))


@pytest.mark.parametrize("view", [View(0), View(8), View(8, rotate=20, zoom=0.3)])
def test_another_picture_is_shown_just_as_the_canvas_is(view):
    canvas, other = photo(), photo().flip(3)
    look = view.look(canvas, generator(3))
    assert torch.equal(look.show(canvas), look.pixels)
    assert torch.equal(look.show(other), view.look(other, generator(3)).pixels)


def test_a_canvas_of_the_upright_size_is_only_shifted_and_as_far_as_otherwise():
    turning, settling = View(4, 30.0, 0.3), View(4, 30.0, 0.3, upright=(8, 10))
    for seed in range(10):
        one, two = (
            view.draw((8, 10), torch.Generator().manual_seed(seed)) for view in (turning, settling)
        )
        assert one.angle is not None
        assert two.angle is None
        assert two.shift == one.shift
        coarser = settling.draw((6, 8), torch.Generator().manual_seed(seed))
        assert coarser.angle is not None
