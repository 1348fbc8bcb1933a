import platform
import subprocess
import sys

import pytest
import torch

from dreamer.render import devices, heap


class Library:
    def __init__(self):
        self.told = []

    def mallopt(self, name, value):
        self.told.append((name, value))

    def malloc_trim(self, pad):
        self.told.append(("trim", pad))


@pytest.fixture
def library(monkeypatch):
    made = Library()
    monkeypatch.setattr(heap, "_library", lambda: made)
    return made


def test_memory_is_held_until_the_last_is_done(library):
    with heap.held():
        first = list(library.told)
        assert (heap._MMAP_MAX, 0) in first
        with heap.held():
            pass
        assert library.told == first
    assert library.told[-1] == ("trim", 0)
    assert dict(library.told[len(first) : -1]) == heap._USUAL


def test_it_is_given_back_after_an_error(library):
    with pytest.raises(ValueError, match="no"), heap.held():
        raise ValueError("no")
    assert library.told[-1] == ("trim", 0)


def test_computing_holds_memory(library):
    with devices.threads(1):
        assert library.told


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "LD_PRELOAD"])
def test_what_the_user_set_is_left_alone(monkeypatch, name):
    heap._library.cache_clear()
    monkeypatch.setenv(name, "1")
    try:
        assert heap._library() is None
        with heap.held():
            pass
    finally:
        heap._library.cache_clear()


def test_another_c_library_is_left_alone(monkeypatch):
    heap._library.cache_clear()
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    try:
        assert heap._library() is None
    finally:
        heap._library.cache_clear()


PAGES = """
import resource, torch
from dreamer.render import heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
with heap.held():
    for _ in range(8):  # pieces that are aligned leave small gaps first
        torch.ones(2**24)
    held = faults()
resident = int(open("/proc/self/statm").read().split()[1])
with heap.held():
    torch.ones(2**27)
print(plain, held, int(open("/proc/self/statm").read().split()[1]) - resident)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="GNU's C library only")
def test_the_system_is_not_asked_again_and_gets_all_back_in_the_end():
    assert torch.ones(1).item() == 1
    done = subprocess.run(
        [sys.executable, "-c", PAGES], check=True, stdout=subprocess.PIPE, text=True
    )
    plain, held, left = map(int, done.stdout.split())
    assert plain > 10_000  # 64 MB of pages of 4 KB, ten times; fewer where pages are larger
    assert held < plain / 50
    assert left < 20_000  # of the 131,072 pages that were taken
