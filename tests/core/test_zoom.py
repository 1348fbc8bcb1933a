import math

import pytest
import torch

from dreamer.core import zoom
from dreamer.core.zoom import Camera, Nest, Tone

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


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("amount", [-1.0, 0.0, 0.3, 1.0])
def test_the_centre_stays_where_it_is_and_the_rest_moves_away_from_it(camera, amount):
    places = zoom.view(camera, amount, SIZE)
    centre = torch.tensor([*camera.centre, 1.0], dtype=torch.float64)
    assert torch.allclose(places @ centre, centre[:2])
    # Lengths in pixels shrink by the factor, whatever the turn.
    aspect = SIZE[1] / SIZE[0]
    for step in ((0.1, 0.0), (0.0, 0.1)):
        moved = places[:, :2] @ torch.tensor(step, dtype=torch.float64)
        length = math.hypot(float(moved[0]) * aspect, float(moved[1]))
        before = math.hypot(step[0] * aspect, step[1])
        assert length / before == pytest.approx(camera.factor**-amount)


@pytest.mark.parametrize("camera", CAMERAS)
def test_two_halves_of_a_motion_are_the_whole(camera):
    def square(places):
        return torch.cat([places, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)])

    half = square(zoom.view(camera, 0.5, SIZE))
    assert torch.allclose((half @ half)[:2], zoom.view(camera, 1, SIZE))


def test_at_the_beginning_a_frame_is_the_middle_of_its_keyframe(picture):
    frame = Nest(picture, None, Camera(), SIZE).frame(0)
    top, left = (CANVAS[0] - SIZE[0]) // 2, (CANVAS[1] - SIZE[1]) // 2
    middle = picture[:, :, top : top + SIZE[0], left : left + SIZE[1]]
    assert frame.shape == (1, 3, *SIZE)
    assert (frame - middle).abs().max() < 0.02


@pytest.mark.parametrize("camera", CAMERAS)
def test_one_keyframe_takes_over_from_the_other_without_a_jump(picture, camera):
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(1))
    second = torch.lerp(zoom.begin(picture, camera, SIZE), noise, 0.5)
    third = torch.lerp(zoom.begin(second, camera, SIZE), noise.flip(3), 0.5)
    before = Nest(picture, second, camera, SIZE)
    after = Nest(second, third, camera, SIZE)
    step = 1e-4
    usual = max(
        float((nest.frame(at + step) - nest.frame(at)).abs().mean())
        for nest, at in ((before, 0.5), (before, 0.95), (after, 0.05))
    )
    jump = float((after.frame(0) - before.frame(1 - step)).abs().mean())
    assert jump < 3 * usual


@pytest.mark.parametrize("camera", CAMERAS[:2])
def test_what_is_only_enlarged_looks_the_same_with_and_without_what_lies_inside(picture, camera):
    inside = zoom.begin(picture, camera, SIZE)
    alone, nested = Nest(picture, None, camera, SIZE), Nest(picture, inside, camera, SIZE)
    for amount in (0.1, 0.5, 0.9):
        assert (alone.frame(amount) - nested.frame(amount)).abs().mean() < 0.004


def test_the_keyframe_inside_has_no_edge(picture):
    outer, inner = torch.zeros_like(picture), torch.ones_like(picture)
    for amount in (0.2, 0.5, 0.8, 1.0):
        frame = Nest(outer, inner, Camera(angle=0.3), SIZE).frame(amount)[0, 0]
        steps = torch.cat([frame.diff(dim=0).abs().flatten(), frame.diff(dim=1).abs().flatten()])
        assert steps.max() < 0.25
    assert frame.min() > 0.999  # and in the end it fills the view


def test_held_a_keyframe_differs_in_its_fine_detail_only(picture):
    start = zoom.begin(picture, Camera(), SIZE)
    dreamed = (start + 0.3 * torch.sin(torch.arange(CANVAS[1]) / 9.0)).clamp(0.1, 0.9)
    held = zoom.hold(dreamed, start, 1.0, 2.0)
    before = (zoom.smooth(dreamed, 2) - zoom.smooth(start, 2)).abs().mean()
    assert (zoom.smooth(held, 2) - zoom.smooth(start, 2)).abs().mean() < 0.1 * before
    assert torch.equal(zoom.hold(dreamed, start, 0.0, 2.0), dreamed)


def test_a_tone_is_reached_and_kept_over_hundreds_of_keyframes(picture):
    wanted = Tone(light=0.45, contrast=0.2, detail=0.12, colour=0.12)
    faded = 0.8 + 0.05 * picture
    now = faded
    for _ in range(300):
        now = zoom.begin(zoom.steady(now, wanted, 0.4), Camera(angle=0.2), SIZE)
        grain = torch.randn(now.shape, generator=torch.Generator().manual_seed(_))
        now = (now + 0.05 * grain).clamp(0, 1)
    found = zoom.tone(zoom.steady(now, wanted, 0.4))
    assert found.light == pytest.approx(wanted.light, abs=0.06)
    assert 0.5 * wanted.contrast < found.contrast < 1.5 * wanted.contrast
    assert torch.equal(zoom.steady(faded, wanted, 0.0), faded)


def test_steadying_burns_nothing_out(picture):
    strong = zoom.steady(picture, Tone(0.5, 0.6, 0.5, 0.5), 1.0)
    assert strong.min() > 0
    assert strong.max() < 1


def test_an_implant_is_what_the_zoom_arrives_at(picture):
    camera = Camera(angle=0.4)
    seed = picture.flip(1)
    around = torch.full_like(picture, 0.5)
    planted = zoom.implant(around, seed, camera, 1, SIZE)
    arrived = zoom.begin(planted, camera, SIZE)
    height, width = CANVAS
    inner = (slice(None), slice(None), slice(height * 3 // 8, height * 5 // 8))
    middle = (*inner, slice(width * 3 // 8, width * 5 // 8))
    assert (arrived[middle] - seed[middle]).abs().mean() < 0.02
    assert torch.equal(planted[:, :, 0], around[:, :, 0])
