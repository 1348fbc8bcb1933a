"""Every transform against a twin in NumPy, on pictures small enough to follow."""

import math

import numpy as np
import pytest
import torch

from dreamer.core import published, views
from dreamer.core.views import (
    Crop,
    Frames,
    Jitter,
    Noise,
    Pad,
    Rotate,
    Scale,
    Views,
    Zoom,
    look,
    place,
)

SIZE = (7, 10)


def picture(size=SIZE, seed=0):
    return torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed))


def drawn(*transforms, count=1, size=SIZE, seed=0, step=0.0):
    return Views(transforms, count).draw(size, step, torch.Generator().manual_seed(seed))


def numpy_sample(image, x, y, border):
    """Read `(3, H, W)` bilinearly at pixel coordinates, beyond the border as told."""
    height, width = image.shape[1:]

    def pixel(column, row):
        if border == "reflect":
            # Reflection about the outer edges of the border pixels, as it is for sampling.
            column = column % (2 * width)
            row = row % (2 * height)
            column = 2 * width - 1 - column if column >= width else column
            row = 2 * height - 1 - row if row >= height else row
            return image[:, row, column]
        if 0 <= column < width and 0 <= row < height:
            return image[:, row, column]
        return np.full(3, 0.5) if border == "grey" else image.mean((1, 2))

    left, top = math.floor(x), math.floor(y)
    a, b = x - left, y - top
    return (
        (1 - a) * (1 - b) * pixel(left, top)
        + a * (1 - b) * pixel(left + 1, top)
        + (1 - a) * b * pixel(left, top + 1)
        + a * b * pixel(left + 1, top + 1)
    )


def numpy_look(image, frames, index):
    """Show `(3, H, W)` through one frame, one pixel after the other."""
    height, width = frames.size
    matrix = frames.maps[index].numpy()
    seen = np.zeros((3, height, width))
    for row in range(height):
        for column in range(width):
            point = np.array([column - (width - 1) / 2, row - (height - 1) / 2])
            x, y = matrix[:, :2] @ point + matrix[:, 2]
            x, y = x + (image.shape[2] - 1) / 2, y + (image.shape[1] - 1) / 2
            seen[:, row, column] = numpy_sample(image, x, y, frames.border)
    return seen


def test_without_transforms_the_picture_is_seen_as_it_is():
    assert torch.equal(look(picture(), drawn()), picture())


@pytest.mark.parametrize("border", ["reflect", "mean", "grey"])
@pytest.mark.parametrize(
    "transforms",
    [
        (Rotate(40.0),),
        (Scale(0.6, 1.7),),
        (Jitter(3), Rotate(30.0), Scale(0.8, 1.2)),
        (Zoom(0.8, 0.8, 0.1, 0.2, 6),),
    ],
    ids=["rotate", "scale", "all", "zoom"],
)
def test_resampled_views_are_those_of_the_twin(transforms, border):
    frames = drawn(Pad(2, border), *transforms, count=3, seed=5)
    seen = look(picture(), frames)
    for index in range(3):
        twin = numpy_look(picture()[0].double().numpy(), frames, index)
        assert np.allclose(seen[index].numpy(), twin, atol=1e-5)


@pytest.mark.parametrize(("border", "mode"), [("reflect", "reflect"), ("grey", "constant")])
def test_pad_and_jitter_only_move_pixels(border, mode):
    frames = drawn(Pad(3, border), Jitter(2), Jitter(4), count=5, seed=1)
    assert frames.size == (7 + 6 - 6, 10 + 6 - 6)
    seen = look(picture(), frames)
    fill = {} if mode == "reflect" else {"constant_values": 0.5}
    padded = np.pad(picture()[0].numpy(), ((0, 0), (3, 3), (3, 3)), mode, **fill)
    for index, (dx, dy) in enumerate(frames.maps[:, :, 2].tolist()):
        top, left = int(dy) + 3, int(dx) + 3
        cut = padded[:, top : top + 7, left : left + 10]
        assert np.array_equal(seen[index].numpy(), cut.astype(np.float32))


def test_the_mean_colour_is_beyond_the_border():
    seen = look(picture(), drawn(Pad(2, "mean")))
    assert torch.allclose(seen[0, :, 0, 0], picture().mean((2, 3))[0], atol=1e-6)
    assert torch.allclose(seen[:, :, 2:-2, 2:-2], picture(), atol=1e-6)


def test_jitter_reaches_every_place_and_no_other():
    frames = drawn(Jitter(3), count=400)
    assert {tuple(shift) for shift in (frames.maps[:, :, 2] + 1.5).tolist()} == {
        (float(x), float(y)) for x in range(4) for y in range(4)
    }
    assert frames.size == (4, 7)


def test_an_odd_jitter_is_still_whole_pixels_of_the_picture():
    seen = look(picture(), drawn(Jitter(3), count=4, seed=2))
    flat = picture()[0, 0].flatten()
    assert all(bool(torch.isin(view[0].flatten(), flat).all()) for view in seen)


def test_scale_and_rotation_stay_in_their_ranges():
    frames = drawn(Scale(0.9, 1.3), Rotate(10.0), count=300)
    factors = 1 / frames.maps[:, :, :2].det().sqrt()
    turns = torch.atan2(frames.maps[:, 1, 0], frames.maps[:, 0, 0]).rad2deg()
    assert 0.9 <= factors.min() < 0.92
    assert 1.28 < factors.max() <= 1.3 + 1e-9
    assert -10 <= turns.min() < -9.5
    assert 9.5 < turns.max() <= 10


def test_choices_and_whole_degrees_are_all_that_is_drawn():
    frames = drawn(Scale(choices=(0.95, 1.05)), Rotate(5.0, whole=True), count=300)
    factors = 1 / frames.maps[:, :, :2].det().sqrt()
    turns = torch.atan2(frames.maps[:, 1, 0], frames.maps[:, 0, 0]).rad2deg()
    assert {round(factor, 6) for factor in factors.tolist()} == {0.95, 1.05}
    assert {round(turn, 6) + 0.0 for turn in turns.tolist()} == {float(k) for k in range(-5, 6)}


def test_lucid_does_not_turn_six_of_twenty_six_draws():
    rotate = next(each for each in published.lucid() if isinstance(each, Rotate))
    frames = drawn(rotate, count=20_000)
    still = (frames.maps[:, 1, 0].abs() < 1e-12).double().mean()
    assert still == pytest.approx(6 / 26, abs=0.01)


def test_crop_cuts_the_border_off():
    seen = look(picture(), drawn(Crop(2)))
    assert torch.equal(seen, picture()[:, :, 2:-2, 2:-2])


def test_zoom_follows_maco_over_the_run():
    zoom = next(each for each in published.maco() if isinstance(each, Zoom))
    for step, mean in ((0.0, 0.5), (1.0, 0.072)):  # the last are clipped at 0.05
        frames = drawn(zoom, count=4000, size=(512, 512), step=step)
        shares = frames.maps[:, 0, 0] * 224 / 512
        assert shares.mean() == pytest.approx(mean, abs=0.005)
        assert shares.min() >= 0.05
        centres = frames.maps[:, :, 2] / 512
        assert centres.std() == pytest.approx(0.15, abs=0.005)


def test_noise_is_that_of_the_generator_and_the_same_for_every_picture():
    frames = drawn(Noise(0.08, 0.04), count=2, size=(200, 200))
    two = torch.zeros(2, 3, 200, 200)
    seen = look(two, frames, torch.Generator().manual_seed(3))
    assert torch.equal(seen[:2], seen[2:])
    assert not torch.equal(seen[0], seen[1])
    assert seen.std() == pytest.approx(math.hypot(0.08, 0.04 / math.sqrt(3)), rel=0.02)
    assert torch.equal(look(two, frames), two.repeat_interleave(2, 0))


@pytest.mark.parametrize("border", ["reflect", "mean", "grey"])
@pytest.mark.parametrize("transforms", [(Jitter(2),), (Rotate(20.0), Scale(0.8, 1.2))])
def test_gradients_flow_through_every_border(transforms, border):
    pixels = picture((5, 6)).double().requires_grad_()
    frames = drawn(Pad(2, border), *transforms, count=2, size=(5, 6))
    assert torch.autograd.gradcheck(lambda x: look(x, frames), pixels)


def test_a_place_is_found_again_in_every_view():
    size = (40, 60)
    spot = torch.zeros(1, 3, *size)
    spot[:, :, 25, 38] = 1
    frames = drawn(Pad(4), Jitter(8), Rotate(30.0), Scale(0.9, 1.2), count=8, size=size)
    seen = look(spot, frames)[:, 0]
    places = place(frames, size, 25.5 / 40, 38.5 / 60)
    for view, (y, x) in zip(seen, places, strict=True):
        at = int(view.argmax())
        row, column = at // frames.size[1], at % frames.size[1]
        assert abs(float(y) * frames.size[0] - 0.5 - row) <= 1
        assert abs(float(x) * frames.size[1] - 0.5 - column) <= 1


def test_views_depend_on_the_generator_alone():
    chain = published.dreamer()
    torch.manual_seed(1)
    first = drawn(*chain, count=3, size=(64, 64), seed=9)
    torch.manual_seed(2)
    second = drawn(*chain, count=3, size=(64, 64), seed=9)
    assert torch.equal(first.maps, second.maps)


@pytest.mark.parametrize("name", ["dreamer", "lucid", "distill", "maco", "none"])
def test_published_transforms_make_views_of_the_sizes_they_should(name):
    frames = drawn(*published.TRANSFORMS[name](), size=(128, 128))
    sides = {"dreamer": 128, "lucid": 140, "distill": 104, "maco": 224, "none": 128}
    assert frames.size == (sides[name], sides[name])
    border = {"lucid": "grey", "distill": "grey"}.get(name, "reflect")
    assert frames.border == border


def test_a_margin_wider_than_the_picture_is_sampled_instead():
    frames = Frames(torch.eye(2, 3, dtype=torch.float64)[None], (30, 30))
    seen = look(picture((6, 6)), frames)
    assert seen.shape == (1, 3, 30, 30)
    assert bool(seen.isfinite().all())
    assert views.look(picture((6, 6)), frames).std() > 0
