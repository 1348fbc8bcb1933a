"""Which precision a dream has, and whether its steps are replayed, by the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

import torch

from dreamer.core.acceleration import Accelerated
from dreamer.core.capture import Graphs

if TYPE_CHECKING:
    from dreamer.networks.network import Features, Network

_DTYPES = {"cuda": torch.float16, "mps": torch.float16, "cpu": torch.bfloat16}
"""What mixed precision computes in. On CUDA and MPS that is the format with more digits, since
scores are scaled: with it a gradient points nearer to where it does in 32 bits. Processors that
compute in 16 bits at all do so in the other one."""

_graphs: WeakKeyDictionary[Network, Graphs] = WeakKeyDictionary()


def features(
    network: Network, layers: Sequence[str], precision: Literal["float32", "mixed"]
) -> Features | Accelerated:
    """Cut a network after the deepest of `layers`, for the gradients of one dream.

    Args:
        network: on its device. Graphs of its steps are kept as long as it is.
        layers: see `Network.features`.
        precision: the recipe's.
    """
    cut, kind = network.features(layers), network.device.type
    dtype = _DTYPES.get(kind, torch.float32) if precision == "mixed" else torch.float32
    graphs = None
    if kind == "cuda":
        graphs = _graphs.setdefault(network, Graphs())
    elif dtype == torch.float32:
        return cut
    return Accelerated(cut, kind, dtype, graphs, tuple(sorted(layers)))
