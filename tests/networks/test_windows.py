import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import avg_pool2d

from dreamer.networks import windows

STEP = 8
WINDOW = 4 * STEP


@given(size=st.integers(WINDOW // STEP, 60).map(lambda n: n * STEP))
def test_windows_cover_a_side_evenly_and_as_few_as_can(size: int) -> None:
    starts = windows.starts(size, WINDOW, STEP)
    assert starts[0] == 0
    assert starts[-1] == size - WINDOW
    assert all(0 < there - here <= WINDOW for here, there in pairwise(starts))
    assert all(start % STEP == 0 for start in starts)
    assert len(starts) == math.ceil(size / WINDOW)


@given(size=st.integers(WINDOW // STEP, 60).map(lambda n: n * STEP))
def test_every_place_is_taken_from_the_window_in_whose_middle_it_is(size: int) -> None:
    starts = windows.starts(size, WINDOW, STEP)
    bounds = windows.bounds(starts, size, WINDOW, STEP)
    assert bounds[0] == 0
    assert bounds[-1] == size
    for start, (here, there) in zip(starts, pairwise(bounds), strict=True):
        assert start <= here < there <= start + WINDOW
        assert here % STEP == there % STEP == 0
    for start, end, middle in zip(starts[1:], starts, bounds[1:-1], strict=False):
        # As far from the end of the window before as from the start of the next.
        assert abs((end + WINDOW - middle) - (middle - start)) <= STEP


@given(length=st.integers(1, 9), size=st.integers(9, 40))
def test_reflection_walks_to_and_fro_and_never_leaves_the_picture(length: int, size: int) -> None:
    index = windows.reflected(length, size, torch.device("cpu")).tolist()
    assert index[:length] == list(range(length))
    assert all(0 <= place < length for place in index)
    assert all(abs(here - there) == (length > 1) for here, there in pairwise(index))


def pools(x: Tensor) -> dict[str, Tensor]:
    """A network whose maps depend on nothing beyond a neuron's own pixels."""
    assert x.shape[-2:] == (WINDOW, WINDOW)
    return {
        "fine": avg_pool2d(x, 2),
        "coarse": avg_pool2d(x, 8),
        "all": x.mean((2, 3))[..., None, None],
    }


@pytest.mark.parametrize(
    "size", [(32, 32), (64, 96), (40, 104), (72, 32), (8, 16), (33, 71), (9, 100)]
)
def test_maps_are_put_together_as_if_the_network_had_seen_the_whole(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, *size, generator=generator)
    maps = windows.in_windows(pools, x, WINDOW, STEP)
    for name, stride in (("fine", 2), ("coarse", 8)):
        height, width = (math.ceil(side / stride) for side in size)
        assert maps[name].shape == (2, 3, height, width)
        whole = avg_pool2d(x, stride)
        inner = maps[name][:, :, : whole.shape[2], : whole.shape[3]]
        torch.testing.assert_close(inner, whole)
    assert maps["all"].shape == (2, 3, 1, 1)


def test_gradients_reach_every_pixel_through_the_windows() -> None:
    x = torch.rand(1, 3, 40, 72, requires_grad=True)
    windows.in_windows(pools, x, WINDOW, STEP)["fine"].sum().backward()
    assert x.grad is not None
    assert (x.grad > 0).all()
