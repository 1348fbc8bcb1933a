import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dreamer.core import tiles
from dreamer.core.tiles import SMALLEST, Tile, Tiling

sides = st.integers(1, 3000)


@st.composite
def tilings(draw):
    stride = draw(st.sampled_from([1, 2, 4, 8, 14, 16, 32]))
    return Tiling(
        side=draw(st.integers(max(SMALLEST, 4 * stride), 1500)),
        halo=draw(st.integers(0, 400)),
        stride=stride,
        strides={},
        least=draw(st.sampled_from([1, 32, 75])),
    )


def cut(tiling, view, seed=0):
    return list(tiling.tiles(view, torch.Generator().manual_seed(seed)))


def area(box):
    return (box[2] - box[0]) * (box[3] - box[1])


@given(tilings(), st.tuples(sides, sides), st.integers(0, 2**32))
def test_the_cores_are_the_view_and_each_pixel_is_in_one_of_them(tiling, view, seed):
    found = cut(tiling, view, seed)
    cores = [tile.core for tile in found]
    assert sum(map(area, cores)) == math.prod(view)
    assert math.fsum(tile.core_share for tile in found) == pytest.approx(1)
    assert all(0 <= c[0] < c[2] <= view[0] and 0 <= c[1] < c[3] <= view[1] for c in cores)
    # Boxes of that area in all that are apart in one direction or the other.
    rows, columns = sorted({(c[0], c[2]) for c in cores}), sorted({(c[1], c[3]) for c in cores})
    for spans in (rows, columns):
        assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert len(set(cores)) == len(cores) == len(rows) * len(columns)


@given(tilings(), st.tuples(sides, sides), st.integers(0, 2**32))
def test_tiles_lie_in_the_view_and_are_aligned_to_it(tiling, view, seed):
    for tile in cut(tiling, view, seed):
        for axis in (0, 1):
            first, last = tile.seen[axis], tile.seen[axis + 2]
            assert 0 <= first <= tile.core[axis]
            assert tile.core[axis + 2] <= last <= view[axis]
            assert first % tiling.stride == 0
            assert (view[axis] - (last - first)) % tiling.stride == 0
            assert last - first <= max(tiling.side, tiling.least + 2 * tiling.stride)
            assert last - first >= min(tiling.least, view[axis])


@given(tilings(), st.tuples(sides, sides), st.integers(0, 2**32))
def test_around_each_core_is_the_halo_or_a_quarter_of_the_side(tiling, view, seed):
    wanted = min(tiling.halo, tiling.side // 4 // tiling.stride * tiling.stride)
    for tile in cut(tiling, view, seed):
        for axis in (0, 1):
            assert tile.core[axis] - tile.seen[axis] >= min(wanted, tile.core[axis])
            beyond = view[axis] - tile.core[axis + 2]
            assert tile.seen[axis + 2] - tile.core[axis + 2] >= min(wanted, beyond)


@given(tilings(), st.tuples(sides, sides), st.integers(0, 9), st.sampled_from([1, 2, 4, 8, 16]))
def test_the_places_of_a_layer_are_each_in_one_tile(tiling, view, seed, stride):
    """For layers that have a place for each stride that is begun, and for each that is whole."""
    if tiling.stride % stride:
        return
    for rounded in (math.ceil, math.floor):
        shape = tuple(rounded(side / stride) for side in view)
        seen = torch.zeros(shape)
        shares = []
        for tile in cut(tiling, view, seed):
            places = tile.places(tuple(rounded(side / stride) for side in tile.size), stride)
            assert places.whole == shape
            (top, left), (height, width) = places.first, places.shape
            assert all(0 <= s.start <= s.stop for s in places.inner)
            seen[top : top + height, left : left + width] += 1
            shares.append(places.share if math.prod(shape) else 0)
        assert bool((seen == 1).all())
        assert math.fsum(shares) == pytest.approx(1 if math.prod(shape) else 0)


@given(tilings(), st.tuples(sides, sides), st.floats(0, 1), st.floats(0, 1))
def test_a_neuron_is_in_one_tile(tiling, view, y, x):
    stride = tiling.stride
    found = []
    for tile in cut(tiling, view):
        places = tile.places(tuple(math.ceil(side / stride) for side in tile.size), stride)
        here = places.within(y, x)
        if here is not None:
            index = [
                int(a * n) + f for a, n, f in zip(here, places.shape, places.first, strict=True)
            ]
            found.append(index)
    whole = [math.ceil(side / stride) for side in view]
    assert found == [[min(int(s * n), n - 1) for s, n in zip((y, x), whole, strict=True)]]


def test_a_view_that_is_no_larger_than_a_tile_is_seen_whole():
    tiling = Tiling(256, 48, 16, {})
    assert cut(tiling, (256, 200)) == [Tile((256, 200), (0, 0, 256, 200), (0, 0, 256, 200))]
    assert len(cut(tiling, (256, 257))) == 2
    assert len(cut(Tiling(0, 48, 16, {}), (5000, 9000))) == 1


def test_seams_are_elsewhere_at_each_step():
    tiling = Tiling(512, 48, 16, {})
    found = [list(tiling.tiles((1000, 3000), tiles.generator(0, 3, step))) for step in range(40)]
    seams = {tile.core[1] for parts in found for tile in parts} - {0}
    inner = len({tile.seen for parts in found for tile in parts if tile.core[0] == 0}) - 1
    assert len(seams) >= 2 * inner


@given(tilings(), st.tuples(sides, sides), st.integers(0, 9), st.integers(0, 9))
def test_all_tiles_are_of_one_size(tiling, view, seed, other):
    assert len({tile.size for s in (seed, other) for tile in cut(tiling, view, s)}) == 1


def test_tiles_see_little_twice():
    """No more than the halos and where seams may be: see `tiles.halo`."""
    tiling = Tiling(1152, 32, 16, {}, least=32)
    view = (6016, 8016)
    seen = sum(math.prod(tile.size) for tile in cut(tiling, view))
    assert seen / math.prod(view) < 1.16


def test_tiles_are_halved_down_to_what_the_network_takes():
    tiling = Tiling(0, 48, 16, {}, least=75)
    sides = []
    while tiling is not None:
        sides.append(tiling.side)
        tiling = tiling.smaller((1500, 2000))
    assert sides == [0, 1000, 500, 250]
    assert Tiling(256, 48, 16, {}).smaller((900, 900)).side == 128
    assert Tiling(255, 48, 16, {}).smaller((900, 900)) is None


@pytest.mark.parametrize("stride", [1, 4, 8, 16, 32])
def test_the_halo_is_some_places_wide(stride):
    halo = tiles.halo(stride)
    assert halo % stride == 0
    assert 2 * stride <= halo <= max(48, 2 * stride)
