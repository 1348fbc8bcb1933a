"""Keep memory that was freed for the next step, instead of giving it back to the system.

A step takes and frees hundreds of megabytes. GNU's C library gets large pieces from the system and
returns them at once, and the system fills every page with zeros that nobody reads: at a megapixel
that was half of a step's time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator
from functools import cache
from threading import Lock

# Of glibc's `mallopt`, from its malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
_MOST = 2**31 - 1
_PAD = 64 * 2**20
# What the library comes to by itself in a program that frees large pieces; once it was told
# anything it no longer adapts.
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26, _TOP_PAD: 2**17}
_HELD = {_MMAP_MAX: 0, _TRIM_THRESHOLD: _MOST, _TOP_PAD: _PAD}
# Variables by which users have a say in it themselves.
_USERS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD")

_lock = Lock()
_holders = 0


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold freed memory until the last that asked for it is done, then give all of it back.

    It is the whole process' memory. Without GNU's C library, and where the user has set how it
    allocates, nothing changes.
    """
    global _holders
    library = _library()
    if library is None:
        yield
        return
    with _lock:
        _holders += 1
        if _holders == 1:
            _tell(library, _HELD)
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                _tell(library, _USUAL)
                library.malloc_trim(0)


def trim() -> None:
    """Give back what is free now, though it is held: what comes next has no use for it as it is.

    Pieces of many sizes leave gaps in the memory that nothing fits into.
    """
    library = _library()
    if library is not None:
        library.malloc_trim(0)


def _tell(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for name, value in values.items():
        library.mallopt(name, value)


@cache
def _library() -> ctypes.CDLL | None:
    """Return the C library if it is GNU's and its settings are nobody else's."""
    if platform.libc_ver()[0] != "glibc" or any(map(os.environ.get, _USERS)):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
