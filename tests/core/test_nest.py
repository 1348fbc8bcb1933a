import pytest
import torch

from dreamer.core import zoom
from dreamer.core.nest import Nest
from dreamer.core.zoom import Camera

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
    Camera(),
    Camera(angle=0.7),
    Camera(centre=(0.4, -0.6)),
    Camera(factor=1.5, angle=-0.4, centre=(-0.8, 0.3)),
]


def nested(outer, inner, camera):
    return Nest(outer, inner, zoom.view(camera, 1, SIZE), SIZE)


def shown(nest, camera, amount):
    return nest.frame(zoom.view(camera, amount, SIZE))


def test_at_the_beginning_a_frame_is_the_middle_of_its_keyframe(picture):
    frame = shown(nested(picture, None, Camera()), Camera(), 0)
    top, left = (CANVAS[0] - SIZE[0]) // 2, (CANVAS[1] - SIZE[1]) // 2
    middle = picture[:, :, top : top + SIZE[0], left : left + SIZE[1]]
    assert frame.shape == (1, 3, *SIZE)
    assert (frame - middle).abs().max() < 0.02


@pytest.mark.parametrize("camera", CAMERAS)
def test_one_keyframe_takes_over_from_the_other_without_a_jump(picture, camera):
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(1))
    second = torch.lerp(zoom.begin(picture, zoom.view(camera, 1, SIZE)), noise, 0.5)
    third = torch.lerp(zoom.begin(second, zoom.view(camera, 1, SIZE)), noise.flip(3), 0.5)
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
    inside = zoom.begin(picture, zoom.view(camera, 1, SIZE))
    alone, both = nested(picture, None, camera), nested(picture, inside, camera)
    for amount in (0.1, 0.5, 0.9):
        difference = shown(alone, camera, amount) - shown(both, camera, amount)
        assert difference.abs().mean() < 0.004


def test_the_keyframe_inside_has_no_edge(picture):
    outer, inner = torch.zeros_like(picture), torch.ones_like(picture)
    camera = Camera(angle=0.3)
    for amount in (0.2, 0.5, 0.8, 1.0):
        frame = shown(nested(outer, inner, camera), camera, amount)[0, 0]
        steps = torch.cat([frame.diff(dim=0).abs().flatten(), frame.diff(dim=1).abs().flatten()])
        assert steps.max() < 0.25
    assert frame.min() > 0.999  # and in the end it fills the view
