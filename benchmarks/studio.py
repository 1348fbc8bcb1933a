"""What the studio's page waits for: the strip of all presets, and the first picture of a dream.

The strip is a ratio to one default dream. The rest is measured on a running studio, over HTTP, as a
page does it; what it costs while nobody does anything as well.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

import dreamer
from benchmarks import strength
from benchmarks.rows import Row
from dreamer.media import images
from dreamer.render import strip

PHOTO = "coffee.png"
LONG_EDGE, SIZE = 1600, 384
MOST = 6.0
DREAM_SIZE = 1024
FIRST, IDLE = 1.5, 0.01
"""Seconds until a dream is seen, and the share of a processor that an idle studio takes."""
WATCHED = 10.0
"""Seconds for which it is watched."""


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure the strip, then a running studio."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        photo = images.resize(images.load(strength.FOLDER / PHOTO), LONG_EDGE)
        images.save(photo.pixels, path)
        return [_strip(path, repeats), *_running(path, repeats, WATCHED / 2 if quick else WATCHED)]


def _strip(path: Path, repeats: int) -> Row:
    """Make both in turn from one photo, decoding included, and take the median of the ratios."""
    network = dreamer.load_network("efficientnet_lite0")

    def one() -> object:
        return dreamer.dream(path, size=SIZE, network=network)

    def every() -> object:
        return strip.make(str(path), network=network)

    pairs = [(_seconds(every), _seconds(one)) for _ in range(repeats + 1)][1:]  # warm
    every_preset, single = (statistics.median(each) for each in zip(*pairs, strict=True))
    detail = f"{every_preset:.2f} / {single:.2f} s, drafts of {strip.SIZE} px"
    print(f"  {detail}", file=sys.stderr, flush=True)
    name = f"strip of all presets, {LONG_EDGE}-px photo / one default dream at {SIZE} px"
    ratio = statistics.median(strips / dream for strips, dream in pairs)
    return Row(name, ratio, "x", None, MOST, detail)


def _running(path: Path, repeats: int, watched: float) -> list[Row]:
    """Ask a running studio for dreams, as a page does, and watch it while nothing is asked for."""
    command = [sys.executable, "-m", "dreamer", "studio", "--port", "0", "--quiet"]
    process = subprocess.Popen(
        [*command, "--output-dir", str(path.parent / "outputs")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        page = _Page(process.stdout.readline().strip())
        page.post("/api/files?name=photo.jpg", path.read_bytes())
        times = [page.first_picture(seed) for seed in range(repeats + 1)][1:]  # warm
        page.wait()
        time.sleep(1)
        spent = _processor_seconds(process.pid)
        time.sleep(watched)
        share = (_processor_seconds(process.pid) - spent) / watched
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
    told = " ".join(f"{seconds:.2f}" for seconds in times)
    print(f"  first pictures after {told} s; idle {share:.2%}", file=sys.stderr, flush=True)
    name = f"first picture of a dream of {DREAM_SIZE} px, {LONG_EDGE}-px photo"
    return [
        Row(name, statistics.median(times), "s", None, FIRST, told),
        Row("processor that an idle studio with a page takes", share, "", None, IDLE, ""),
    ]


class _Page:
    """A page of the studio: it asks, and is told.

    Args:
        url: of the studio.
    """

    def __init__(self, url: str) -> None:
        place = urlsplit(url).netloc
        self._place = place
        connection = http.client.HTTPConnection(place, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        connection.close()
        self._headers = {"x-dreamer": "studio", "cookie": cookie}
        self._frames: dict[str, str] = {}
        self._ended = set[str]()
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def post(self, path: str, body: bytes) -> Any:
        """Ask for something."""
        connection = http.client.HTTPConnection(self._place, timeout=60)
        connection.request("POST", path, body, self._headers)
        found = json.loads(connection.getresponse().read())
        connection.close()
        return found

    def first_picture(self, seed: int) -> float:
        """Ask for a dream; return the seconds until a picture of it was fetched."""
        self.wait()
        body = {"photo": "photo.jpg", "size": DREAM_SIZE, "seed": seed + 1}
        began = time.perf_counter()
        job = self.post("/api/dream", json.dumps(body).encode())["job"]["id"]
        with self._news:
            self._news.wait_for(lambda: job in self._frames, 60)
        connection = http.client.HTTPConnection(self._place, timeout=60)
        connection.request("GET", self._frames[job], headers=self._headers)
        assert connection.getresponse().read().startswith(b"\xff\xd8")
        connection.close()
        return time.perf_counter() - began

    def wait(self) -> None:
        """Wait until all that was asked for is over."""
        with self._news:
            self._news.wait_for(lambda: self._ended >= self._frames.keys(), 120)

    def _listen(self) -> None:
        for job in self._jobs():
            with self._news:
                if job["frame"] and job["id"] not in self._frames:
                    self._frames[job["id"]] = job["frame"]
                if job["status"] in ("done", "stopped", "failed"):
                    self._ended.add(job["id"])
                self._news.notify_all()

    def _jobs(self) -> Iterator[dict[str, Any]]:
        connection = http.client.HTTPConnection(self._place)
        connection.request("GET", "/api/events", headers=self._headers)
        name = ""
        for line in connection.getresponse():
            kind, _, text = line.decode().partition(": ")
            if kind == "event":
                name = text.strip()
            elif kind == "data" and name == "job":
                yield json.loads(text)


def _processor_seconds(number: int) -> float:
    times = psutil.Process(number).cpu_times()
    return times.user + times.system


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began
