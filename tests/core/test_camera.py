"""A camera's path: one smooth motion, however it is taken apart."""

import cmath
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamer.core import camera
from dreamer.core.camera import Key, Path, Similarity

places = st.complex_numbers(max_magnitude=2, allow_nan=False)


@st.composite
def paths(draw, eases=("smooth", "linear", "hold")) -> Path:
    count = draw(st.integers(1, 6))
    times = sorted(draw(st.sets(st.integers(0, 200), min_size=count, max_size=count)))
    keys = [
        Key(
            time / 10,
            draw(st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])),
            draw(st.floats(-6, 6)),
            draw(places),
            draw(st.sampled_from(eases)),
        )
        for time in times
    ]
    return Path(keys, draw(st.floats(0.1, 30)))


def near(one: Similarity, two: Similarity) -> bool:
    return cmath.isclose(one.factor, two.factor, rel_tol=1e-9) and cmath.isclose(
        one.shift, two.shift, rel_tol=1e-9, abs_tol=1e-9
    )


@given(paths(), st.lists(st.floats(0, 40), min_size=2, max_size=30))
def test_it_never_goes_back(path, times):
    depths = [path.depth(time) for time in sorted(times)]
    assert all(after >= before - 1e-12 for before, after in zip(depths, depths[1:], strict=False))
    assert path.depth(0) == 0


@given(paths(), st.floats(0, 100))
def test_every_depth_is_come_to_and_no_earlier_than_told(path, depth):
    time = path.time(depth)
    assert path.depth(time) == pytest.approx(depth, abs=1e-9)
    assert path.depth(time * (1 - 1e-9)) <= depth + 1e-9
    assert depth == 0 or path.depth(time - 1e-3) < depth


@given(paths(), st.tuples(*[st.floats(0, 35)] * 3))
def test_parts_of_a_motion_make_the_whole(path, times):
    first, middle, last = sorted(times)
    whole = path.between(first, last)
    assert near(path.between(first, middle) @ path.between(middle, last), whole)
    assert near(path.between(last, first) @ whole, Similarity()) or abs(whole.factor) < 1e-6
    assert path.between(middle, middle) == Similarity()


@given(paths(), st.floats(0, 35), st.floats(0, 35))
def test_scale_and_turn_are_those_of_the_depth_and_the_angle(path, first, last):
    factor = path.between(first, last).factor
    deeper = path.depth(last) - path.depth(first)
    assert abs(factor) == pytest.approx(2**-deeper, rel=1e-9)
    turned = cmath.exp(1j * (path.angle(last) - path.angle(first))) * factor
    assert abs(turned.imag) <= 1e-9 * abs(factor)


@given(st.floats(0, 3), st.floats(-6, 6), places, st.floats(0, 20), st.floats(0, 20))
def test_a_steady_camera_keeps_its_centre_where_it_is(rate, turn, centre, first, last):
    first, last = sorted((first, last))
    seen = Path([Key(0, rate, turn, centre)], 20).between(first, last)
    assert near(seen, camera.motion(centre, rate * (last - first), turn * (last - first)))
    assert cmath.isclose(seen(centre), centre, abs_tol=1e-9)


def test_keys_that_are_all_alike_are_one():
    one = Path([Key(0, 1.2, 0.4, 0.3 + 0.1j)], 10)
    many = Path([Key(time, 1.2, 0.4, 0.3 + 0.1j) for time in (1, 2, 5)], 10)
    for time in (0.0, 0.5, 1.7, 3.3, 9.0, 10.0):
        assert near(many.between(0.2, time), one.between(0.2, time))
        assert many.depth(time) == pytest.approx(one.depth(time), rel=1e-12)


def test_after_a_thousand_doublings_no_digit_is_lost():
    keys = [Key(0, 3.5, -1.0, -0.4), Key(30, 3.0, 0.5, 0.6j)]
    late = [
        Key(0, 3.5, 0.7, 0.2),
        *(Key(key.at + 300, key.rate, key.turn, key.centre) for key in keys),
    ]
    path, early = Path(late, 400), Path(keys, 100)
    assert path.depth(300) > 1000
    for time in (0.0, 7.3, 20.0, 29.9):
        assert near(path.between(time + 300, time + 301), early.between(time, time + 1))


WINDING = [
    Key(0, 0.6, 0.0, -0.6 - 0.3j),
    Key(2, 1.6, 0.9, 0.8 + 0.5j),
    Key(4, 0.0, 0.5, 0.2, "linear"),
    Key(5, 0.0, -0.4, 0.0),
    Key(8, 2.5, 0.0, -0.9j),
]


def velocities(keys, rate: float, seconds: float = 10.0) -> list[complex]:
    """Return how fast two corners move from frame to frame, at a rate of frames."""
    path = Path(keys, seconds)
    found = []
    for frame in range(int(seconds * rate)):
        step = path.between(frame / rate, (frame + 1) / rate)
        found.append(((step(1.5 + 1j) - 1.5 - 1j) * rate, (step(-1.5 + 1j) + 1.5 - 1j) * rate))
    return found


def jump(found) -> float:
    pairs = zip(found, found[1:], strict=False)
    return max(max(abs(b[0] - a[0]), abs(b[1] - a[1])) for a, b in pairs)


def test_from_frame_to_frame_neither_the_place_nor_the_speed_jumps():
    # A jump would stay as large as it is, however short the time between two frames.
    coarse, fine = (jump(velocities(WINDING, rate)) for rate in (30, 120))
    assert fine < 0.3 * coarse
    assert coarse < 0.25
    held = [Key(key.at, key.rate, key.turn, key.centre, "hold") for key in WINDING]
    assert jump(velocities(held, 120)) > 10 * fine


def test_one_keyframe_takes_over_from_the_other_without_a_jump():
    path = Path(WINDING, 10)
    for number in range(1, int(path.depth(10))):
        time = path.time(number)
        before, step = path.time(number - 1), 1e-6
        seen = path.between(before, time) @ path.between(time, time + step)
        assert near(seen, path.between(before, time + step))
        for corner in (1.5 + 1j, -1.5 + 1j):
            assert abs(path.between(time, time + step)(corner) - corner) < 1e-4


def test_a_moving_centre_is_followed_as_finely_as_can_be_seen(monkeypatch):
    usual = Path(WINDING, 10).between(0, 9)
    monkeypatch.setattr(camera, "MOMENTS", 20_000)
    monkeypatch.setattr(camera, "MOST", 80_000)
    exact = Path(WINDING, 10).between(0, 9)
    assert abs(usual.shift - exact.shift) < 1e-4  # of half a frame's height


def test_after_the_film_it_goes_straight_on():
    path = Path([Key(0, 0.0, 2.0, 0.5), Key(4, 0.0, 2.0, 0.5)], 3)
    assert path.time(1.5) == pytest.approx(4.5)
    assert near(path.between(3, 4.5), camera.motion(0.5, 1.5, 0.0))
    assert path.depth(math.inf) == math.inf


@pytest.mark.parametrize(
    ("ease", "depths", "across"),
    [
        ("smooth", [0.0, 1.109375, 2.75, 8.0], [0.15625, 0.5, 1.0]),
        ("linear", [0.0, 1.25, 3.0, 8.0], [0.25, 0.5, 1.0]),
        ("hold", [0.0, 1.0, 2.0, 4.0], [0.0, 0.0, 1.0]),
    ],
)
def test_an_ease_says_how_it_goes_from_key_to_key(ease, depths, across):
    path = Path([Key(0, 1.0, 1.0, 0, ease), Key(4, 3.0, 3.0, 1.0)], 10)
    assert [path.depth(time) for time in (0, 1, 2, 4)] == pytest.approx(depths)
    assert [path.angle(time) for time in (0, 1, 2, 4)] == pytest.approx(depths)
    for time, wanted in zip((1, 2, 4), across, strict=True):
        step = path.between(time, time + 1e-3)
        centre = step.shift / (1 - step.factor)
        assert centre == pytest.approx(wanted, abs=0.01)
