"""The studio's server: what the page asks for, answered from lists of what there is."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import json
import mimetypes
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO, get_args

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import dreamer
from dreamer import colour_text, mask_text, presets
from dreamer.errors import (
    DeviceError,
    DreamerError,
    InputError,
    NetworkError,
    OutputError,
    UsageError,
)
from dreamer.media import files
from dreamer.networks import imagenet, rows
from dreamer.settings import setting
from dreamer.studio import asks, uploads
from dreamer.studio.guard import App, Guard, Keys, refusal
from dreamer.studio.jobs import MOST_WAITING, Job, Kind, Queue
from dreamer.studio.people import MADE_UP, As, People, Person
from dreamer.studio.work import batches, films, pictures, units
from dreamer.studio.work.engine import Engine

MOST_BODY = 256 * 1024
"""Bytes of what the page asks for."""
MOST_TABS, MOST_NEWS = 16, 400
"""Pages of one person that are told of what happens, and messages that one has not read yet."""
MOST_TAKEN, SLOW = 6, 60.0
"""Files that one person gives at once, and seconds without a byte after which one is given up."""
QUIET = 25.0
"""Seconds after which a connection without news is shown to be alive."""
ACCEPT = ".jpg,.jpeg,.png,.webp,.avif,.tif,.tiff,.gif,.bmp,.heic,.heif,.mp4,.webm,.toml"

# What a system says of suffixes may be anything.
_TYPES = mimetypes.MimeTypes()
for _kind, _suffix in (
    ("text/javascript", ".js"),
    ("image/svg+xml", ".svg"),
    ("image/webp", ".webp"),
    ("image/avif", ".avif"),
    ("video/mp4", ".mp4"),
    ("video/webm", ".webm"),
):
    _TYPES.add_type(_kind, _suffix)
_STATUS: dict[type[DreamerError], int] = {
    UsageError: 400,
    InputError: 422,
    NetworkError: 422,
    OutputError: 507,
    DeviceError: 507,
}
_SHARE = "Share of the second picture in what is dreamed of; 1 is nothing else."
_DIALS = {
    "strength": "ascent.strength",
    "octaves": "octaves.count",
    "blend": "mix.blend",
    "likeness": "likeness.amount",
    "feather": "mask.feather",
}


class Studio:
    """Everything that the pages of all persons share.

    Args:
        folder: where results go; the studio's own folder is in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "studio"
        self.queue = Queue(self.tell)
        self.people = People(self.folder, self.tell)
        self.engine = Engine(self.folder / ".units")
        self._tabs: dict[str, set[asyncio.Queue[str]]] = {}
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._taking: Counter[str] = Counter()
        # Reading a picture takes many times its file's size: one at a time. Waiting for that is
        # done here: the threads are needed to answer.
        self._reading = asyncio.Semaphore(1)

    @contextlib.asynccontextmanager
    async def running(self, _: Starlette) -> AsyncIterator[None]:
        """Start the worker thread, and end it with what it has made so far."""
        self._loop = asyncio.get_running_loop()
        self.queue.start()
        threading.Thread(target=self._warm, name="studio-warm", daemon=True).start()
        try:
            yield
        finally:
            await run_in_threadpool(self._close)

    def _close(self) -> None:
        for job in self.queue.close():
            with contextlib.suppress(OutputError):
                said = {"kind": job.kind, "title": job.title, "asked": job.asked}
                self.people[job.person].leave(said)

    def tell(self, key: str, name: str, data: Mapping[str, Any]) -> None:
        """Tell all pages of a person of something, from any thread."""
        with self._lock:
            waiting = self._tabs.get(key)
        if not waiting or self._loop is None:
            return
        message = f"event: {name}\ndata: {json.dumps(data)}\n\n"
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody looks any more
            self._loop.call_soon_threadsafe(self._pass_on, key, message)

    def leave(self) -> None:
        """End all connections: the server closes."""
        for tabs in self._tabs.values():
            for tab in tabs:
                _ended(tab)

    def routes(self) -> list[Route]:
        """Return what is answered."""
        return [
            Route("/", self.page),
            Route("/assets/{name}", self.asset),
            Route("/api/start", self.start),
            Route("/api/events", self.events),
            Route("/api/files", self.give, methods=["POST"]),
            Route("/api/files/{id}/preview", self.preview),
            Route("/api/strip", partial(self.ask, "strip"), methods=["POST"]),
            Route("/api/suggest", partial(self.ask, "suggest"), methods=["POST"]),
            Route("/api/dream", partial(self.ask, "dream"), methods=["POST"]),
            Route("/api/zoom", partial(self.ask, "film"), methods=["POST"]),
            Route("/api/batch", partial(self.ask, "batch"), methods=["POST"]),
            Route("/api/units", partial(self.ask, "units"), methods=["POST"]),
            Route("/api/unit", partial(self.ask, "unit"), methods=["POST"]),
            Route("/api/units/{target:path}", self.unit),
            Route("/api/jobs/{id}/frame", self.frame),
            Route("/api/jobs/{id}/pictures/{number}", self.picture),
            Route("/api/jobs/{id}/stop", self.stop, methods=["POST"]),
            Route("/api/jobs/{id}/drop", self.drop, methods=["POST"]),
            Route("/made/{id}/thumb", self.thumb),
            Route("/made/{id}/{path:path}", self.made),
        ]

    async def page(self, _: Request) -> Response:
        """Answer with the page."""
        return Response(_asset("index.html"), media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """Answer with a part of the page."""
        name = request.path_params["name"]
        if name not in _assets():
            return _missing()
        kind = _TYPES.guess_type(name)[0]
        return Response(_asset(name), media_type=kind, headers={"cache-control": "no-cache"})

    async def start(self, request: Request) -> Response:
        """Answer with what there is to choose from."""
        return JSONResponse(await run_in_threadpool(_start, self._person(request)))

    async def events(self, request: Request) -> Response:
        """Answer with news, until the page is left."""
        person = self._person(request)
        with self._lock:
            tabs = self._tabs.setdefault(person.key, set())
            if len(tabs) >= MOST_TABS:
                return refusal(429, "There are too many pages open.", "Close some of them.")

        async def news() -> AsyncIterator[str]:
            tab: asyncio.Queue[str] = asyncio.Queue(MOST_NEWS)
            with self._lock:
                tabs.add(tab)
            try:
                state = await run_in_threadpool(self._state, person)
                yield f"retry: 1500\nevent: state\ndata: {json.dumps(state)}\n\n"
                while True:
                    try:
                        message = await asyncio.wait_for(tab.get(), QUIET)
                    except TimeoutError:
                        message = ": here\n\n"
                    if not message:
                        return
                    yield message
            finally:
                with self._lock:
                    tabs.discard(tab)

        return StreamingResponse(news(), media_type="text/event-stream")

    def _state(self, person: Person) -> dict[str, Any]:
        jobs = [self.queue.shown(job) for job in self.queue.of(person.key)]
        return person.state() | {"jobs": jobs}

    async def give(self, request: Request) -> Response:
        """Take a file."""
        person = self._person(request)
        name = request.query_params.get("name", "photo")[:400]
        kind = request.query_params.get("as", "photo")
        if kind not in (*get_args(As), "preset"):
            raise UsageError(f"'{kind[:40]}' is nothing to give a file as.", "Give a photo.")
        most = uploads.MOST_BYTES if kind != "preset" else MOST_BODY
        length = request.headers.get("content-length", "0")
        if length.isascii() and length.isdigit() and int(length[:20]) > most:
            raise _too_large(name, most)
        if self._taking[person.key] >= MOST_TAKEN:
            return refusal(429, "There are many files on their way already.", "Wait for them.")
        self._taking[person.key] += 1
        try:
            taken = await self._taken(request, person, name, kind, most)
        finally:
            self._taking[person.key] -= 1
        return JSONResponse(taken, status_code=201)

    async def _taken(
        self, request: Request, person: Person, name: str, kind: str, most: int
    ) -> dict[str, Any]:
        digest, size = hashlib.sha256(), 0
        with files.writing(person.folder), _given(person.folder) as stream:
            blocks = aiter(request.stream())
            while (block := await _next(blocks, name)) is not None:
                size += len(block)
                if size > most:
                    raise _too_large(name, most)
                digest.update(block)
                await run_in_threadpool(stream.write, block)
            await run_in_threadpool(stream.flush)
            if kind == "preset":
                stream.seek(0)
                return await run_in_threadpool(uploads.take_preset, person, stream.read(), name)
            take = partial(uploads.take, person, stream, Path(stream.name), name)
            async with self._reading:
                return await run_in_threadpool(
                    take,
                    kind=kind,
                    sha256=digest.hexdigest(),
                )

    async def preview(self, request: Request) -> Response:
        """Answer with what the page shows of a photo."""
        person = self._person(request)
        photo = person.photos.get(request.path_params["id"])
        if photo is None:
            return _missing()
        path = person.previews / f"photo-{photo.id}.jpg"
        return _file(path, {"cache-control": "private, max-age=3600"})

    async def ask(self, kind: Kind, request: Request) -> Response:
        """Put what the page asks for in line."""
        person = self._person(request)
        body = await _json(request)
        job = await run_in_threadpool(self._ask, kind, person, body)
        return JSONResponse({"job": self.queue.shown(job)}, status_code=202)

    def _ask(self, kind: Kind, person: Person, body: object) -> Job:
        add = partial(self.queue.add, person.key)
        asked = body if isinstance(body, dict) else {}
        if kind == "strip":
            strip = asks.read(asks.StripBody, body)
            title = f"presets on {asks.title_of(strip.photo, person)}"
            run = pictures.strip(strip, person, self.engine)
            return add("strip", title, run, asked, gives_way=True)
        if kind == "suggest":
            suggest = asks.read(asks.SuggestBody, body)
            title = f"what suits {asks.title_of(suggest.photo, person)}"
            run = pictures.suggest(suggest, person, self.engine)
            return add("suggest", title, run, asked, gives_way=True)
        if kind == "dream":
            dream = asks.read(asks.DreamBody, body)
            look = asks.look(dream.look, person)
            title = f"{look.name} on {asks.title_of(dream.photo, person)}"
            return add("dream", title, pictures.dream(dream, person, self.engine), asked)
        if kind == "film":
            zoom = asks.read(asks.ZoomBody, body)
            what: Kind = "preview" if zoom.preview else "film"
            title = f"{what} of {asks.title_of(zoom.photo, person)}"
            return add(what, title, films.zoom(zoom, person, self.engine), asked)
        if kind == "batch":
            batch = asks.read(asks.BatchBody, body)
            title = f"{len(batch.photos)} photos"
            return add("batch", title, batches.batch(batch, person, self.engine), asked)
        if kind == "units":
            some = asks.read(asks.UnitsBody, body)
            run = units.units(some, self.engine)
            return add("units", "what channels look for", run, asked, gives_way=True)
        one = asks.read(asks.UnitBody, body)
        return add("unit", one.target[:80], units.unit(one, person, self.engine), asked)

    async def frame(self, request: Request) -> Response:
        """Answer with a picture as it grows."""
        job = self._job(request)
        return _missing() if job is None or not job.frame[1] else _jpeg(job.frame[1])

    async def picture(self, request: Request) -> Response:
        """Answer with a small picture that a job made."""
        job = self._job(request)
        data = None if job is None else job.pictures.get(request.path_params["number"])
        return _missing() if data is None else _jpeg(data)

    async def unit(self, request: Request) -> Response:
        """Answer with the small picture of a unit."""
        target = request.path_params["target"]
        try:
            known = units.wanted(target)
        except DreamerError:
            return _missing()
        return _file(units.path(self.engine, known), {"cache-control": "private, max-age=3600"})

    async def stop(self, request: Request) -> Response:
        """End a job with what there is of it."""
        job = self._job(request)
        if job is None:
            return _missing()
        self.queue.stop(job)
        return JSONResponse({"job": self.queue.shown(job)}, status_code=202)

    async def drop(self, request: Request) -> Response:
        """Take a job that is over off the list."""
        job = self._job(request)
        if job is None:
            return _missing()
        self.queue.drop(job)
        return Response(status_code=204)

    async def thumb(self, request: Request) -> Response:
        """Answer with a small picture of something that was made."""
        person = self._person(request)
        made = person.made.get(request.path_params["id"])
        if made is None:
            return _missing()
        kept = person.previews / f"{made.id}.jpg"
        if not kept.is_file() and made.kind in ("dream", "unit"):
            await run_in_threadpool(_keep_thumb, person, made.id)
        return _file(kept)

    async def made(self, request: Request) -> Response:
        """Answer with something that was made, or a file of a batch's page."""
        person = self._person(request)
        made = person.made.get(request.path_params["id"])
        if made is None:
            return _missing()
        whole = person.file(made)
        if made.kind != "batch":
            if request.path_params["path"] != made.file:
                return _missing()
            name = made.file if "download" in request.query_params else None
            return _file(whole, name=name)
        parts = request.path_params["path"].split("/")
        wanted = whole.joinpath(*parts)
        hidden = any(part in ("", "..") or part.startswith(".") for part in parts)
        try:
            inside = not hidden and wanted.resolve().is_relative_to(whole.resolve())
            inside = inside and wanted.is_file()
        except (OSError, ValueError):  # no file is called so
            inside = False
        if not inside or "\\" in request.path_params["path"]:
            return _missing()
        if wanted.suffix == ".html":
            # The page is a file of its own, with a policy of its own that names its one script.
            return _file(wanted, {"content-security-policy": "frame-ancestors 'none'"})
        return _file(wanted)

    def _person(self, request: Request) -> Person:
        person = self.people[request.scope["person"]]
        for left in person.take_left():
            self.queue.add_left(person.key, left["kind"], left["title"], left["asked"])
        return person

    def _job(self, request: Request) -> Job | None:
        return self.queue.find(request.scope["person"], request.path_params["id"])

    def _pass_on(self, key: str, message: str) -> None:
        for tab in self._tabs.get(key, ()):
            if tab.full():  # nobody reads: it is closed, and gets the whole state when it is back
                _ended(tab)
            else:
                tab.put_nowait(message)

    def _warm(self) -> None:
        """Load the network before it is needed, so that the first dream begins at once."""
        with contextlib.suppress(DreamerError):  # which is said when it is needed
            self.engine.warm()


def build(studio: Studio, keys: Keys) -> App:
    """Return the whole application, behind its guard."""
    app = Starlette(
        routes=studio.routes(),
        lifespan=studio.running,
        exception_handlers={
            DreamerError: _said,
            ClientDisconnect: _gone,
            404: _not_found,
            405: _not_so,
            Exception: _bug,
        },
    )
    return Guard(app, keys)


@contextlib.contextmanager
def _given(folder: Path) -> Iterator[BinaryIO]:
    """Open a new hidden file in a folder, that is made if it is missing."""
    os.makedirs(folder, exist_ok=True)
    with files.temporary(str(folder / "given")) as stream:
        yield stream


def _ended(tab: asyncio.Queue[str]) -> None:
    """Let a tab's connection end, whatever it has not read."""
    while not tab.empty():
        tab.get_nowait()
    tab.put_nowait("")


async def _said(_: Request, error: Exception) -> Response:
    assert isinstance(error, DreamerError)
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return refusal(status, error.message, error.advice)


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


async def _not_found(_: Request, __: Exception) -> Response:
    return _missing()


async def _not_so(_: Request, __: Exception) -> Response:
    return refusal(405, "That cannot be asked so.", "Load the page again.")


async def _bug(_: Request, __: Exception) -> Response:
    return refusal(
        500,
        "Something went wrong inside the studio.",
        "Please report it with what the terminal says.",
    )


async def _next(blocks: AsyncIterator[bytes], name: str) -> bytes | None:
    """Return the next block of a file; None at its end.

    Raises:
        InputError: nothing comes any more.
    """
    try:
        return await asyncio.wait_for(anext(blocks), SLOW)
    except StopAsyncIteration:
        return None
    except TimeoutError as error:
        raise InputError(
            f"'{files.shown(name[:80])}' did not come to its end.", "Give it again."
        ) from error


async def _json(request: Request) -> object:
    """Read a body of JSON, of no more than its size."""
    data = b""
    async for block in request.stream():
        data += block
        if len(data) > MOST_BODY:
            raise UsageError("That is too much to ask for at once.", "Ask for less.")
    try:
        return json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise UsageError("That is no JSON.", "Load the page again.") from error


def _start(person: Person) -> dict[str, Any]:
    """Return what there is to choose from."""
    row = rows.row(rows.DEFAULT)
    entries = []
    for name in presets.names():
        with contextlib.suppress(UsageError):  # a broken one is none to choose
            preset = presets.load(name)
            entries.append(uploads.described(name, preset.settings, own=False))
    for found in person.own_presets():
        with contextlib.suppress(UsageError):
            preset = presets.load(found.path)
            entries.append(uploads.described(found.name, preset.settings, own=True))
    levels = {row.layer(name).name: level for level in rows.LEVELS for name in row.level(level)}
    names = imagenet.names()
    return {
        "version": dreamer.__version__,
        "network": row.name,
        "presets": entries,
        "levels": [*rows.LEVELS],
        "layers": [
            {
                "name": layer.name,
                "level": levels.get(layer.name, ""),
                "channels": layer.channels,
                "depth": layer.depth,
            }
            for layer in row.layers
            if layer.stride
        ],
        "classes": [name.replace("_", " ") for name in names],
        "class_targets": [_class_target(index) for index in range(len(names))],
        "choices": {
            "quality": [*setting("ascent.quality").choices],
            "color": [each for each in colour_text.CHOICES if ":" not in each],
            "canvas": [*setting("ascent.canvas").choices],
            "keep": [each for each in mask_text.KEEPS if each != "faces" or _sees_faces()],
            "guide": ["guide", "style", "like"],
        },
        "ranges": {name: _range(path) for name, path in _DIALS.items()}
        | {"share": {"least": asks.LEAST_SHARE, "most": 1.0, "usual": 0.5, "help": _SHARE}},
        "sizes": [*asks.SIZES],
        "size": asks.SIZE,
        "limits": {
            "upload": uploads.MOST_BYTES,
            "batch": asks.MOST_PHOTOS,
            "seconds": asks.LONGEST_FILM,
            "waiting": MOST_WAITING,
            "units": asks.MOST_UNITS,
            "batch_zoom": asks.LONGEST_BATCH_FILM,
            "seeds": asks.MOST_SEEDS,
        },
        "accept": ACCEPT,
        "made_up": {name: [*size] for name, size in MADE_UP.items()},
    }


def _sees_faces() -> bool:
    """Whether the package that finds faces is installed."""
    return importlib.util.find_spec("cv2") is not None


def _class_target(index: int) -> str:
    from dreamer import targets

    return targets.Term(1.0, "class", imagenet.name(index), index).label


def _range(path: str) -> dict[str, Any]:
    found = setting(path)
    return {
        "least": found.minimum,
        "most": found.maximum,
        "usual": found.default,
        "help": found.description,
    }


def _keep_thumb(person: Person, name: str) -> None:
    from PIL import Image

    made = person.made[name]
    with contextlib.suppress(OSError), Image.open(person.file(made)) as picture:
        person.keep_preview(name, pictures.encoded(picture))


def _assets() -> set[str]:
    """Name the files that the page consists of."""
    return {each.name for each in resources.files("dreamer.studio").joinpath("assets").iterdir()}


def _asset(name: str) -> bytes:
    return resources.files("dreamer.studio").joinpath("assets", name).read_bytes()


def _file(
    path: Path, headers: Mapping[str, str] | None = None, *, name: str | None = None
) -> Response:
    if not path.is_file():
        return _missing()
    kind = _TYPES.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=kind, filename=name, headers=headers)


def _jpeg(data: bytes) -> Response:
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=60"})


def _missing() -> Response:
    return refusal(404, "There is nothing here.", "Load the page again.")


def _too_large(name: str, most: int) -> InputError:
    return InputError(
        f"'{files.shown(name[:80])}' is too large.",
        f"At most {most / 1e6:,.0f} MB are taken: make it smaller first.",
    )
