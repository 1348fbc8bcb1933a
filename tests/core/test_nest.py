import math

import pytest
import torch
from torch.nn import functional as F

from dreamer.core import zoom
from dreamer.core.camera import motion
from dreamer.core.nest import APPEARING, Nest

SIZE = (90, 140)
CANVAS = zoom.canvas_size(SIZE)


@pytest.fixture
def picture():
    """A smooth picture with detail of several sizes, of the keyframes' size."""
    height, width = CANVAS
    y = torch.linspace(0, 1, height)[:, None]
    x = torch.linspace(0, 1, width)[None]
    waves = [torch.sin(f * (x * 1.3 + y * k)) for f, k in ((9, 1.0), (17, -0.6), (30, 0.3))]
    return (0.5 + 0.16 * torch.stack([waves[0] + waves[1], waves[1] + waves[2], waves[0]]))[None]


CAMERAS = [
    (2.0, 0.0, (0.0, 0.0)),
    (2.0, 0.7, (0.0, 0.0)),
    (2.0, 0.0, (0.4, -0.6)),
    (1.5, -0.4, (-0.8, 0.3)),
]
PLAIN = CAMERAS[0]


def view(camera, amount):
    """Return what a steady camera of a factor, an angle and a centre sees."""
    factor, angle, (x, y) = camera
    centre = complex(x * SIZE[1] / SIZE[0], y)
    return zoom.view(motion(centre, math.log2(factor) * amount, angle * amount), SIZE)


def nested(outer, inner, camera):
    return Nest(outer, inner, view(camera, 1), SIZE)


def shown(nest, camera, amount):
    return nest.frame(view(camera, amount))


def test_at_the_beginning_a_frame_is_the_middle_of_its_keyframe(picture):
    frame = shown(nested(picture, None, PLAIN), PLAIN, 0)
    top, left = (CANVAS[0] - SIZE[0]) // 2, (CANVAS[1] - SIZE[1]) // 2
    middle = picture[:, :, top : top + SIZE[0], left : left + SIZE[1]]
    assert frame.shape == (1, 3, *SIZE)
    assert (frame - middle).abs().max() < 0.02


@pytest.mark.parametrize("camera", CAMERAS)
def test_one_keyframe_takes_over_from_the_other_without_a_jump(picture, camera):
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(1))
    second = torch.lerp(zoom.begin(picture, view(camera, 1)), noise, 0.5)
    third = torch.lerp(zoom.begin(second, view(camera, 1)), noise.flip(3), 0.5)
    before, after = nested(picture, second, camera), nested(second, third, camera)
    step = 1e-4
    usual = max(
        float((shown(nest, camera, at + step) - shown(nest, camera, at)).abs().mean())
        for nest, at in ((before, 0.5), (before, 0.95), (after, 0.05))
    )
    jump = float((shown(after, camera, 0) - shown(before, camera, 1 - step)).abs().mean())
    assert jump < 3 * usual


@pytest.mark.parametrize("camera", CAMERAS[:2])
def test_what_is_only_enlarged_looks_the_same_with_and_without_what_lies_inside(picture, camera):
    inside = zoom.begin(picture, view(camera, 1))
    alone, both = nested(picture, None, camera), nested(picture, inside, camera)
    for amount in (0.1, 0.5, 0.9):
        difference = shown(alone, camera, amount) - shown(both, camera, amount)
        assert difference.abs().mean() < 0.004


def test_the_keyframe_inside_has_no_edge(picture):
    outer, inner = torch.zeros_like(picture), torch.ones_like(picture)
    camera = (2.0, 0.3, (0.0, 0.0))
    for amount in (0.2, 0.5, 0.8, 1.0):
        frame = shown(nested(outer, inner, camera), camera, amount)[0, 0]
        steps = torch.cat([frame.diff(dim=0).abs().flatten(), frame.diff(dim=1).abs().flatten()])
        assert steps.max() < 0.25
    assert frame.min() > 0.999  # and in the end it fills the view


def reference(outer, inner, step, size, places):
    """Make a frame in one piece, and both keyframes everywhere."""
    height, width = size
    down, across = ((torch.arange(n, dtype=torch.float64) * 2 + 1) / n - 1 for n in size)
    pixels = torch.stack([across.expand(height, -1), down[:, None].expand(-1, width)], -1)

    def sampled(picture, places):
        grid = pixels @ places[:, :2].T + places[:, 2]
        options = {"mode": "bicubic", "padding_mode": "reflection", "align_corners": False}
        seen = F.grid_sample(picture.double(), grid[None] / zoom.MARGIN, **options)
        return seen.clamp(0, 1).float(), grid

    below, _ = sampled(outer, places)
    scale, factor = zoom.scale(places), 1 / zoom.scale(step)
    if inner is None or scale >= 1:
        return below
    share = min(1.0, max(0.0, (scale * factor - 1) / (factor - 1)))
    picture = torch.lerp(inner, zoom.smooth(inner, factor), share)
    above, grid = sampled(picture, zoom.after(zoom.inverse(step), places))
    opacity = zoom.ease((zoom.MARGIN - grid.abs().amax(2)) / (zoom.MARGIN - 1))
    opacity *= zoom.ease(torch.tensor(-math.log(scale) / math.log(factor) / APPEARING))
    return torch.lerp(below, above, opacity.float())


def noise(size, seed):
    """Return a keyframe with all detail that there can be."""
    canvas = zoom.canvas_size(size)
    return torch.rand(1, 3, *canvas, generator=torch.Generator().manual_seed(seed))


VIEWS = [
    *CAMERAS,
    (2.0, 0.05, (0.1, 0.0)),
    (2.0, -1.2, (0.0, 0.3)),
    (3.0, 0.8, (1.0, 1.0)),
    (2.0, 2.5, (-1.0, 0.9)),  # sees far beyond the edges
]


@pytest.mark.parametrize("size", [(90, 140), (211, 317), (105, 104), (40, 333), (1, 1)], ids=str)
@pytest.mark.parametrize("camera", VIEWS, ids=str)
def test_tile_by_tile_a_frame_is_what_it_is_in_one_piece(camera, size):
    outer, inner, step = noise(size, 1), noise(size, 2), view(camera, 1)
    nest = Nest(outer, inner, step, size)
    for amount in (-0.2, 0.0, 0.05, 0.3, 0.59, 0.6, 0.8, 0.999, 1.0):
        places = view(camera, amount)
        difference = (nest.frame(places) - reference(outer, inner, step, size, places)).abs()
        assert difference.mean() < 1e-4
        # At the very edge of the inner keyframe, of which next to nothing is seen.
        assert difference.max() < 0.01


def test_a_view_that_reaches_outside_sees_the_picture_mirrored(picture):
    shift = torch.tensor([[1.0, 0.0, 2 * zoom.MARGIN], [0.0, 1.0, 0.0]], dtype=torch.float64)
    straight = Nest(picture, None, view(PLAIN, 1), SIZE).frame(view(PLAIN, 0))
    mirrored = Nest(picture, None, view(PLAIN, 1), SIZE).frame(shift)
    assert (mirrored.flip(3) - straight).abs().max() < 1e-4


@pytest.mark.parametrize("camera", CAMERAS[:2])
def test_bytes_are_those_of_the_frame(picture, camera):
    nest = nested(picture, picture.flip(3), camera)
    for amount in (0.0, 0.4, 0.9):
        rounded = shown(nest, camera, amount)[0].mul(255).round().to(torch.uint8)
        expected = rounded.permute(1, 2, 0).contiguous().numpy().tobytes()
        assert nest.levels(view(camera, amount)) == expected


def test_frames_are_the_same_however_many_threads_make_them():
    size = (300, 410)
    camera = CAMERAS[1]
    nest = Nest(noise(size, 1), noise(size, 2), view(camera, 1), size)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append([nest.frame(view(camera, amount)) for amount in (0.0, 0.4, 0.9)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(*pair) for pair in zip(found[0], other, strict=True))


def test_what_goes_wrong_in_a_thread_is_told(picture):
    nest = nested(picture, None, PLAIN)
    nest.outer = picture[0]
    with pytest.raises(RuntimeError):
        shown(nest, PLAIN, 0.5)


def test_frames_can_be_made_with_and_without_gradients_being_possible(picture):
    nest = nested(picture, picture.flip(3), PLAIN)
    plain = shown(nest, PLAIN, 0.5)
    with torch.inference_mode():
        assert torch.equal(shown(nest, PLAIN, 0.5), plain)
        inside = nested(picture.clone(), picture.flip(3), PLAIN)
        assert torch.equal(shown(inside, PLAIN, 0.5), plain)
