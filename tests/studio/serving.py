"""A studio on a free port in a thread of this process, and people who use it."""

import contextlib
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import uvicorn
from PIL import Image

from dreamer.studio import guard
from dreamer.studio.app import Studio, build

OURS = {"X-Dreamer": "studio"}
PATIENCE = 20.0
"""Seconds after which something that was asked for is taken to hang."""


class Answer:
    """What came back, read whole."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.data = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def message(self) -> str:
        """What went wrong; every error has a message and advice."""
        error = self.json["error"]
        assert error["message"]
        assert error["advice"]
        return str(error["message"])


class Visitor:
    """A browser with its cookies, as far as the studio can tell."""

    def __init__(self, port: int, *, known: bool = True, host: str = "localhost") -> None:
        self.port = port
        self.host = f"{host}:{port}"
        self.cookies: dict[str, str] = {}
        if known:
            assert self.get("/").status == 200

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        said = {"Host": self.host}
        if self.cookies:
            said["Cookie"] = "; ".join(f"{name}={each}" for name, each in self.cookies.items())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, said | (headers or {}))
            with connection.getresponse() as response:
                answer = Answer(response)
        for line in answer.headers.get_all("set-cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        return self.ask("POST", path, data, OURS | headers)

    def give(self, data: bytes, name: str = "photo.png", kind: str = "photo") -> Answer:
        return self.post(f"/api/files?{urlencode({'name': name, 'as': kind})}", data)

    def photo(self, data: bytes, name: str = "photo.png", kind: str = "photo") -> str:
        """Give a picture; returns its id."""
        answer = self.give(data, name, kind)
        assert answer.status == 201, answer.data
        return str(answer.json["file"]["id"])

    def state(self) -> dict[str, Any]:
        """What is told at the beginning of a page's life."""
        with self.listening() as events:
            name, data = next(events)
        assert name == "state"
        return data

    @contextlib.contextmanager
    def listening(self) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
        """Yield the events that this person is told."""
        cookies = "; ".join(f"{name}={each}" for name, each in self.cookies.items())
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/api/events", headers={"Host": self.host, "Cookie": cookies})
            with connection.getresponse() as response:
                assert response.status == 200
                yield _events(response)

    def made(self, answer: Answer, status: str = "done") -> dict[str, Any]:
        """Wait for a job that was asked for, and return it."""
        assert answer.status == 202, answer.data
        name = answer.json["job"]["id"]
        with self.listening() as events:
            for kind, data in events:
                jobs = data["jobs"] if kind == "state" else [data] if kind == "job" else []
                for job in jobs:
                    if job["id"] == name and job["status"] in ("done", "stopped", "failed"):
                        assert job["status"] == status, job
                        return dict(job)
        raise AssertionError("the studio hung up")

    def thing(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the one thing that a job made."""
        (name,) = job["made"]
        return next(each for each in self.state()["made"] if each["id"] == name)


def _events(response: HTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in response:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))


class Served:
    """A studio that answers.

    Attributes:
        folder: of the studio.
        port: that it listens on.
        studio: what the pages share.
    """

    def __init__(self, folder: Path, *, guarded: bool = False) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.folder = folder / "studio"
        self.studio = Studio(folder)
        keys = guard.Keys(self.folder, guarded=guarded)
        self.token = keys.token or ""
        config = uvicorn.Config(
            build(self.studio, keys), log_level="error", access_log=False, ws="none"
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        until(lambda: self._server.started)

    def visitor(self, **options: Any) -> Visitor:
        return Visitor(self.port, **options)

    def files(self) -> set[str]:
        """Every file below the studio's folder but the cookies' secret, by its path in it."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix() for path in found} - {".secret"}

    def close(self) -> None:
        self.studio.leave()
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        self._listener.close()


@contextlib.contextmanager
def serving(folder: Path, *, guarded: bool = False) -> Iterator[Served]:
    """Serve a studio, with the folder as the one that we are in: commands are run there."""
    with contextlib.chdir(folder):
        served = Served(Path("outputs"), guarded=guarded)
        try:
            yield served
        finally:
            served.close()


def until(done: Any, patience: float = PATIENCE) -> None:
    """Wait until something is so."""
    end = time.monotonic() + patience
    while not done():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)


def picture(size: tuple[int, int] = (96, 64), colour: str = "teal", kind: str = "PNG") -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind)
    return stream.getvalue()


def small(path: Path, size: tuple[int, int] = (96, 64)) -> bytes:
    """A real photo made small, as PNG."""
    stream = io.BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").resize(size).save(stream, "PNG")
    return stream.getvalue()


def told(text: str) -> str:
    """A part of a path as the browser writes it."""
    return quote(text, safe="")
