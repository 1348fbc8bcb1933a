"""Checkpoints: reading state dicts, never code, and loading them into networks."""

from __future__ import annotations

import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dreamer.errors import NetworkError
from dreamer.networks.rows import Row
from dreamer.networks.weights import SUFFIXES

# What training scripts wrap a state dict in, and put before every name in it.
WRAPPERS = ("state_dict", "model")
PREFIX = "module."
# Heads that only help training; the networks are built without them.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
SHOWN = 3  # how many of the parameters at fault an error names


def read(path: Path, *, verified: bool = False) -> dict[str, Tensor]:
    """Read a state dict: `.pth` or `.pt` (tensors only, never code), or `.safetensors`.

    A dict of `{"state_dict": ...}` or `{"model": ...}` is opened, and the "module." that
    `DataParallel` puts before every name is removed. Half precision becomes float32. Files that can
    be mapped are: of a network that is cut, what lies beyond is never read.

    Args:
        path: the file.
        verified: whether its hash is a published one: its values are then known to be finite.

    Returns:
        The tensors by name, on the CPU.

    Raises:
        NetworkError: the file cannot be read, holds something else than tensors, or a tensor has
            a value that is not finite.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise NetworkError(
            f"{path} is not a checkpoint: its name ends in '{path.suffix}'.",
            f"Give a state dict in a {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} file.",
        )
    tensors = _read_safetensors(path) if path.suffix.lower() == SUFFIXES[-1] else _read_torch(path)
    if all(name.startswith(PREFIX) for name in tensors):
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor = tensor.float()
            if not verified and not tensor.isfinite().all():
                raise NetworkError(
                    f"{path} has values in '{name}' that are not numbers (NaN or infinite).",
                    "Use another checkpoint; this one was saved after its training diverged.",
                )
    return tensors


def _read_torch(path: Path) -> dict[str, Tensor]:
    refused = NetworkError(
        f"{path} is not a state dict: it is damaged, or holds something else than tensors by name.",
        "Save it as `torch.save(model.state_dict(), FILE)`; pickled code is never run.",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch warns of is refused below
            mapped = zipfile.is_zipfile(path)  # older files can only be read as a whole
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file may raise anything
        raise refused from error
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise refused
    if not all(isinstance(key, str) and torch.is_tensor(loaded[key]) for key in loaded):
        raise refused
    tensors: OrderedDict[str, Tensor] = OrderedDict(loaded)
    if hasattr(loaded, "_metadata"):  # by which torch converts older versions of a module
        tensors._metadata = loaded._metadata  # type: ignore[attr-defined]
    return tensors


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        import safetensors.torch
    except ImportError as error:
        raise NetworkError(
            f"Reading {path} takes the package safetensors, which is not installed.",
            'Run `pip install "dreamer[safetensors]"`.',
        ) from error
    try:
        tensors = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise NetworkError(
            f"{path} is not a safetensors file, or a damaged one: {error}.",
            "Use another copy of it.",
        ) from error
    return dict(tensors)


def fill(network: nn.Module, state: Mapping[str, Tensor], row: Row, path: Path) -> None:
    """Load a state dict into a network without copying it.

    Args:
        network: of the row's architecture, on the meta device.
        state: from `read`.
        row: for messages, and for what is particular to a network.
        path: the file, for messages.

    Raises `NetworkError` that names the first parameters that lack, are unknown, or have another
    shape.
    """
    known = network.state_dict()
    given = OrderedDict(
        (_modern(name), tensor) for name, tensor in state.items() if not name.startswith(AUXILIARY)
    )
    for name in known:
        if name.endswith("num_batches_tracked"):  # older files lack it, and only training needs it
            given.setdefault(name, torch.tensor(0))
    version_of = getattr(state, "_metadata", None) or known._metadata  # type: ignore[attr-defined]
    given._metadata = version_of  # type: ignore[attr-defined]
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(known[name].shape)}"
        for name in known
        if name in given and given[name].shape != known[name].shape
    ]
    if shapes:
        raise mismatch(row, path, "differing", shapes)
    missing, unexpected = network.load_state_dict(given, strict=False, assign=True)
    if missing:
        raise mismatch(row, path, "missing", missing)
    if unexpected:
        raise mismatch(row, path, "unknown", unexpected)
    network.requires_grad_(False)


def _modern(name: str) -> str:
    """Return today's name of a parameter: DenseNet's files say `norm.1` where it is `norm1`."""
    block, found, rest = name.partition("denselayer")
    if not found:
        return name
    for number in ("1", "2"):
        for kind in ("norm", "conv"):
            rest = rest.replace(f".{kind}.{number}.", f".{kind}{number}.")
    return block + found + rest


def mismatch(row: Row, path: Path, kind: str, names: Sequence[str]) -> NetworkError:
    """Build the error for a checkpoint of another architecture.

    Args:
        row: the network it was to be loaded into.
        path: the checkpoint.
        kind: what is wrong with the parameters: "missing", "unknown" or "differing".
        names: the parameters; the first few are shown.
    """
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return NetworkError(
        f"{path} is no checkpoint of {row.name}: {kind}: {', '.join(names[:SHOWN])}{more}.",
        "Name the network it was made for with --network (`dreamer networks list`).",
    )
