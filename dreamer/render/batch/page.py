"""The page of a batch: one static file that shows what became of every photo.

The page is self-contained but for the pictures below its folder, and a pure function of the
entries. What an entry says may come from anybody's file names: it reaches the page as escaped
JSON and becomes text there, never markup, and only the page's own script and style may run.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dreamer.media import files
from dreamer.render import pages

NAME = "index.html"
# What browsers can show; another result is shown by its previews only.
BROWSER_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".avif")
# Pieces of the template that are encoded and written at once: few calls, and little memory.
_BUFFERED = 64
_PLAIN = re.compile(rb"[A-Za-z0-9_.,/@%+=: -]")


@dataclass(frozen=True)
class Entry:
    """One item as the page shows it. Any text may hold any characters, lone surrogates too.

    Attributes:
        name: the photo's path as the user knows it, below its input folder.
        preset: its preset.
        status: what became of it so far.
        output: the result, a path below the page's folder with "/" between parts, or "".
        size: width and height of the result, px.
        facts: how it was made, label to value, in the order they are shown.
        error: of a failed item: the reason and the advice.
        notes: what else there is to say, such as a fallback.
        source: the photo, as it is found from the page's folder; "" if that is not known.
        thumbnail: a JPEG of about 320 px for the grid, a path as `output`, or "".
        before: a JPEG preview of the photo, or "": then there is nothing to compare with.
        after: a JPEG preview of the result, or "": then the result itself is shown, if browsers
            can.
        film: the film that belongs to the result, a path as `output`, or "".
    """

    name: str
    preset: str
    status: Literal["done", "failed", "waiting"]
    output: str = ""
    size: tuple[int, int] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    notes: tuple[str, ...] = ()
    source: str = ""
    thumbnail: str = ""
    before: str = ""
    after: str = ""
    film: str = ""


def write(folder: Path, entries: Sequence[Entry], *, title: str) -> Path:
    """Write `folder`/index.html, whole or not at all, and return it.

    The same arguments make the same bytes. The page is streamed: it is never whole in memory.

    Args:
        folder: what the entries' paths are below; made if it is missing.
        entries: in the order they are shown.
        title: the heading of the page.

    Raises:
        OutputError: the page cannot be written.
    """
    target = folder / NAME
    page = pages.template(__package__).stream(
        title=files.shown(title),
        entries=_rows(entries),
        style=pages.source(__package__, "page.css"),
        script=pages.source(__package__, "page.js"),
    )
    page.enable_buffering(_BUFFERED)
    with files.replacing(target) as stream:
        page.dump(stream, encoding="utf-8")
    return target


def _rows(entries: Sequence[Entry]) -> Iterator[dict[str, Any]]:
    """Yield what the page's script gets of each entry; what is empty is left out."""
    used: dict[str, int] = {}
    for entry in entries:
        # Names the item in links: the same as long as the item is, whatever happens around it.
        known_by = "\0".join((entry.name, entry.preset, entry.output))
        key = hashlib.sha256(known_by.encode(errors="surrogatepass")).hexdigest()[:12]
        count = used[key] = used.get(key, 0) + 1
        after = entry.after or (
            entry.output if entry.output.lower().endswith(BROWSER_SUFFIXES) else ""
        )
        row = {
            "id": key if count == 1 else f"{key}-{count}",
            "name": files.shown(entry.name),
            "preset": files.shown(entry.preset),
            "status": entry.status,
            "output": files.shown(entry.output),
            "link": pages.url(entry.output),
            "size": entry.size,
            # Pairs, since an object of JavaScript moves labels that look like numbers to its front.
            "facts": [
                (files.shown(label), files.shown(value)) for label, value in entry.facts.items()
            ],
            "error": _lines(entry.error),
            "notes": [_lines(note) for note in entry.notes],
            "thumbnail": pages.url(entry.thumbnail),
            "before": pages.url(entry.before),
            "after": pages.url(after),
            "film": pages.url(entry.film),
            "command": _command(entry),
        }
        yield {label: value for label, value in row.items() if value}


def _lines(text: str) -> str:
    """Return text as it is shown where several lines have room."""
    return "\n".join(map(files.shown, text.split("\n")))


def _command(entry: Entry) -> str:
    """Return the command that makes the result again, for a shell in the page's folder."""
    if not entry.output or not entry.source:
        return ""
    return f"dreamer dream {_quoted(entry.source)} --from {_quoted(entry.output)} -o again.png"


def _quoted(path: str) -> str:
    """Quote a path for a shell: it stays one argument, and one line, of these very bytes."""
    if path.startswith("-"):
        path = f"./{path}"  # or it would be taken for a flag
    if files.shown(path) == path:
        return shlex.quote(path)
    # What cannot be shown cannot be copied either: such bytes are spelled out, as bash and zsh
    # read them.
    escaped = (
        character.decode() if _PLAIN.match(character) else f"\\{character[0]:03o}"
        for character in (bytes([byte]) for byte in pages.path_bytes(path))
    )
    return f"$'{''.join(escaped)}'"
