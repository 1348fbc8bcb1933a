from hypothesis import given
from hypothesis import strategies as st

from dreamer.core import octaves


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.floats(1.05, 4),
    st.one_of(st.none(), st.integers(1, 16)),
    st.integers(16, 400),
    st.integers(1, 300),
)
def test_octaves_grow_strictly_to_the_full_size(size, scale, count, coarsest, minimum):
    sizes = octaves.plan(size, scale, count=count, coarsest=coarsest, minimum=minimum)
    assert sizes[-1] == size
    assert len(sizes) <= (count or 10**6)
    for smaller, larger in zip(sizes, sizes[1:], strict=False):
        assert smaller[0] <= larger[0]
        assert smaller[1] <= larger[1]
        assert smaller != larger
        assert min(smaller) >= minimum


def test_a_large_picture_starts_as_coarse_as_a_small_one():
    shortest = [
        min(octaves.plan(size, 1.5, count=None, coarsest=150, minimum=32)[0])
        for size in ((512, 512), (1024, 768), (4000, 3000), (6000, 4000))
    ]
    assert all(150 / 1.3 < short < 150 * 1.3 for short in shortest)


def test_the_octaves_of_googles_notebook():
    assert octaves.plan((1024, 576), 1.4, count=4, coarsest=1, minimum=1) == (
        (373, 210),
        (522, 294),
        (731, 411),
        (1024, 576),
    )


def test_coarse_octaves_take_more_steps():
    assert octaves.steps(8, 2.0, 4) == (16, 13, 10, 8)
    assert octaves.steps(8, 1.0, 3) == (8, 8, 8)
    assert octaves.steps(8, 5.0, 1) == (8,)
    assert octaves.steps(0, 5.0, 3) == (0, 0, 0)


FINEST, RATIOS, COUNTS = st.integers(0, 300), st.floats(0.1, 20), st.integers(1, 16)


@given(FINEST, RATIOS, COUNTS, st.floats(0.05, 1), st.floats(1, 8))
def test_a_share_of_the_steps_takes_no_octave_away_and_leaves_the_coarsest(
    finest, coarse, count, fewer, more
):
    usual = octaves.steps(finest, coarse, count)
    few, many = (octaves.steps(finest, coarse, count, share) for share in (fewer, more))
    for one, two, three in zip(few, usual, many, strict=True):
        assert min(1, two) <= one <= two <= three
    if count > 1:
        assert few[0] == usual[0] == many[0]


def test_a_share_is_of_the_finest_octaves_steps_and_less_of_each_coarser_ones():
    assert octaves.steps(8, 1.0, 3, 0.25) == (8, 4, 2)
    assert octaves.steps(8, 1.0, 3, 4.0) == (8, 16, 32)
    assert octaves.steps(8, 1.0, 1, 0.5) == (4,)
    assert octaves.steps(1, 1.0, 2, 0.1) == (1, 1)


@given(st.integers(1, 100), COUNTS, st.floats(0.1, 8))
def test_stretched_steps_come_as_far_as_all_of_them(finest, count, share):
    taken = sum(octaves.steps(finest, 1.0, count, share))
    assert abs(taken * octaves.stretch(finest, count, share) - finest * count) < 1e-6
    assert octaves.stretch(finest, count, 1.0) == 1.0
