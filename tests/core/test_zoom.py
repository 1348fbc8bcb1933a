import math

import pytest
import torch

from dreamer.core import zoom
from dreamer.core.camera import motion

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


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("amount", [-1.0, 0.0, 0.3, 1.0])
def test_the_centre_stays_where_it_is_and_the_rest_moves_away_from_it(camera, amount):
    places = view(camera, amount)
    centre = torch.tensor([*camera[2], 1.0], dtype=torch.float64)
    assert torch.allclose(places @ centre, centre[:2])
    # Lengths in pixels shrink by the factor, whatever the turn.
    aspect = SIZE[1] / SIZE[0]
    for step in ((0.1, 0.0), (0.0, 0.1)):
        moved = places[:, :2] @ torch.tensor(step, dtype=torch.float64)
        length = math.hypot(float(moved[0]) * aspect, float(moved[1]))
        before = math.hypot(step[0] * aspect, step[1])
        assert length / before == pytest.approx(camera[0] ** -amount)


@pytest.mark.parametrize("camera", CAMERAS)
def test_two_halves_of_a_motion_are_the_whole(camera):
    def square(places):
        return torch.cat([places, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)])

    half = square(view(camera, 0.5))
    assert torch.allclose((half @ half)[:2], view(camera, 1))


def test_held_a_keyframe_differs_in_its_fine_detail_only(picture):
    start = zoom.begin(picture, view(PLAIN, 1))
    dreamed = (start + 0.3 * torch.sin(torch.arange(CANVAS[1]) / 9.0)).clamp(0.1, 0.9)
    held = zoom.hold(dreamed, start, 1.0, 2.0)
    before = (zoom.smooth(dreamed, 2) - zoom.smooth(start, 2)).abs().mean()
    assert (zoom.smooth(held, 2) - zoom.smooth(start, 2)).abs().mean() < 0.1 * before
    assert torch.equal(zoom.hold(dreamed, start, 0.0, 2.0), dreamed)


def test_an_implant_is_what_the_zoom_arrives_at(picture):
    camera = (2.0, 0.4, (0.0, 0.0))
    seed = picture.flip(1)
    around = torch.full_like(picture, 0.5)
    planted = zoom.implant(around, seed, view(camera, 1))
    arrived = zoom.begin(planted, view(camera, 1))
    height, width = CANVAS
    inner = (slice(None), slice(None), slice(height * 3 // 8, height * 5 // 8))
    middle = (*inner, slice(width * 3 // 8, width * 5 // 8))
    assert (arrived[middle] - seed[middle]).abs().mean() < 0.02
    assert torch.equal(planted[:, :, 0], around[:, :, 0])
