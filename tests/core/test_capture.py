"""Graphs of functions, on what stands for CUDA."""

import inspect

import pytest
import torch
from capturing import REFUSED, Cuda

from dreamer.core.capture import WARM, Graphs


def squared(inputs):
    """The mean square of the sines of a picture, and its gradient."""
    pixels, factor = inputs
    leaf = pixels.detach().requires_grad_()
    score = (leaf.sin().square() * factor).mean()
    (slope,) = torch.autograd.grad(score, leaf)
    return score.detach(), slope


def arguments(seed, side=6):
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 3, side, side, generator=random), torch.tensor(1.0 + seed)]


def run(graphs, seeds, side=6, key="squared", function=squared):
    """Run a function on several arguments; each result must be what it gives by itself."""
    for seed in seeds:
        given = arguments(seed, side)
        (score, slope), refused = graphs(key, function, given)
        wanted = squared(arguments(seed, side))
        assert torch.equal(score, wanted[0])
        assert torch.equal(slope, wanted[1])
    return refused


def test_a_function_is_warmed_up_recorded_once_and_then_replayed_with_what_is_new():
    cuda = Cuda()
    graphs = Graphs(cuda)
    run(graphs, range(WARM))
    assert len(graphs) == 0
    (beside,) = cuda.beside
    assert beside.waited == ["current"] * WARM
    assert cuda.here.waited == ["beside"] * WARM
    run(graphs, range(WARM, WARM + 5))
    assert len(graphs) == len(cuda.graphs) == 1
    assert cuda.graphs[0].replays == 5


def test_results_are_the_callers_own():
    graphs = Graphs(Cuda())
    run(graphs, range(WARM))
    (first, slope), _ = graphs("squared", squared, arguments(1))
    kept = first.clone(), slope.clone()
    graphs("squared", squared, arguments(2))
    assert torch.equal(first, kept[0])
    assert torch.equal(slope, kept[1])


def test_each_shape_has_its_graph_and_all_share_their_memory():
    cuda = Cuda()
    graphs = Graphs(cuda)
    for side in (6, 8, 10):
        run(graphs, range(WARM + 2), side)
    assert [graph.replays for graph in cuda.graphs] == [2, 2, 2]
    run(graphs, range(2), 6)
    assert [graph.replays for graph in cuda.graphs] == [4, 2, 2]
    assert len(set(map(id, cuda.pools))) == 1


def test_functions_of_one_shape_are_told_apart_by_their_keys():
    cuda = Cuda()
    graphs = Graphs(cuda)
    run(graphs, range(WARM + 1), key="one")
    run(graphs, range(WARM + 1), key="another")
    assert len(cuda.graphs) == 2


def test_only_the_graphs_that_were_used_last_are_kept():
    cuda = Cuda()
    graphs = Graphs(cuda, most=2)
    for side in (6, 8, 6, 10):  # the one of 8 was used longest ago
        run(graphs, range(WARM + 1), side)
    assert len(graphs) == 2
    assert len(cuda.graphs) == 3
    run(graphs, range(1), 6)
    assert len(cuda.graphs) == 3
    run(graphs, range(WARM + 1), 8)
    assert len(cuda.graphs) == 4


def test_what_waits_for_the_device_goes_on_as_it_is_and_says_why():
    def waiting(inputs):
        score, slope = squared(inputs)
        return score + 0 * score.item(), slope

    cuda = Cuda()
    graphs = Graphs(cuda)
    refused = run(graphs, range(WARM + 3), function=waiting)
    assert refused == f"CUDA error: {REFUSED}"
    assert cuda.graphs == []
    assert len(cuda.modes) == 1
    # No other shape is tried: it would wait as well.
    assert run(graphs, range(WARM + 3), 8, function=waiting) == refused
    assert len(cuda.modes) == 1


def test_after_a_broken_recording_others_are_made_with_a_stream_and_a_memory_of_their_own():
    def waiting(inputs):
        score, slope = squared(inputs)
        return score + 0 * score.item(), slope

    cuda = Cuda()
    graphs = Graphs(cuda)
    run(graphs, range(WARM + 1), key="waiting", function=waiting)
    run(graphs, range(WARM + 1))
    assert len(cuda.graphs) == 1
    assert cuda.pools[0] is not cuda.pools[1]


def test_too_little_memory_for_a_graph_gives_the_others_up_and_goes_on_as_it_is():
    cuda = Cuda()
    graphs = Graphs(cuda)
    run(graphs, range(WARM + 1))
    cuda.allocations = 2
    assert run(graphs, range(WARM + 2), 8) == "there is not enough memory"
    assert len(graphs) == 0
    assert cuda.emptied == 1
    # A smaller one may still fit, and is made anew.
    cuda.allocations = float("inf")
    assert run(graphs, range(WARM + 1)) == ""
    assert len(graphs) == 1
    assert run(graphs, range(1), 8) == "there is not enough memory"


def test_what_finds_no_memory_beside_the_graphs_is_run_without_them():
    cuda = Cuda()
    graphs = Graphs(cuda)
    run(graphs, range(WARM + 1))

    def large(inputs):
        if len(graphs):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return squared(inputs)

    run(graphs, range(1), 12, key="large", function=large)
    assert len(graphs) == 0
    assert cuda.emptied == 1


def test_what_finds_no_memory_at_all_is_an_error():
    def large(inputs):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        Graphs(Cuda())("large", large, arguments(0))


def test_work_is_done_on_the_device_of_the_inputs():
    cuda = Cuda()
    run(Graphs(cuda), range(WARM + 1))
    assert set(cuda.devices) == {torch.device("cpu")}


def test_what_stands_for_cuda_is_called_as_cuda_is():
    wanted = inspect.signature(Cuda().graph).parameters
    there = inspect.signature(torch.cuda.graph).parameters
    assert {"pool", "stream", "capture_error_mode"} <= set(wanted) & set(there)
    for name in ("Stream", "stream", "current_stream", "device", "CUDAGraph", "empty_cache"):
        assert callable(getattr(torch.cuda, name))
    assert callable(torch.cuda.graph_pool_handle)
    assert callable(torch.cuda.CUDAGraph.replay)
    assert callable(torch.cuda.Stream.wait_stream)
