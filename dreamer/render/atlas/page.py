"""The page of an atlas: one static file over the pictures, for browsing without a server.

It is looked after like the page of a batch, whose style it shares: self-contained but for the
pictures below its folder, a pure function of what the atlas says of itself, and what that says
becomes text, never markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dreamer.media import files
from dreamer.networks.rows import LEVELS
from dreamer.render import pages
from dreamer.render.atlas import store
from dreamer.render.atlas.store import Entry, LayerRecord, Layers, Record

BATCH = "dreamer.render.batch"
ABOUT: Mapping[str, str] = {
    "edges": "lines, blobs and colours",
    "textures": "what repeats: stripes, weaves, spots",
    "patterns": "curls, eyes, scales, letters",
    "parts": "fur, snouts, wheels, roofs",
    "objects": "heads, animals, things in their places",
}


def write(folder: Path, record: Record | None = None, layers: Layers | None = None) -> Path:
    """Write the page of an atlas, whole or not at all, and return it.

    Args:
        folder: the atlas's.
        record: what the atlas is; read from the folder by default.
        layers: what is in it; read from the folder by default.

    Raises:
        OutputError: it cannot be written, or there is no atlas to read.
    """
    record = record or store.read(folder)
    if record is None:
        raise store.damaged(folder / store.ATLAS)
    template = pages.template(__package__).stream(
        title=f"Atlas of {files.shown(record.recipe.network)}",
        atlas=_atlas(record),
        layers=_layers(record, layers or Layers(folder)),
        style=pages.source(BATCH, "page.css") + pages.source(__package__, "page.css"),
        script=pages.source(__package__, "page.js"),
    )
    target = folder / store.PAGE
    with files.replacing(target) as stream:
        template.dump(stream, encoding="utf-8")
    return target


def _atlas(record: Record) -> dict[str, Any]:
    """Return what the page tells of the atlas as a whole."""
    recipe = record.recipe
    return {
        "network": files.shown(recipe.network),
        "flags": files.shown(record.flags),
        "commands": record.commands,
        "left": record.left,
        "facts": f"{recipe.size[0]} px, {recipe.settings.steps} steps, seed {recipe.seed}",
        "levels": [{"name": level, "about": ABOUT[level]} for level in LEVELS],
    }


def _layers(record: Record, layers: Layers) -> Iterator[dict[str, Any]]:
    """Yield what the page gets of each layer: only channels with pictures."""
    for layer in record.layers:
        made = {
            channel: entry
            for channel, entry in sorted(layers.of(layer.folder).items())
            if entry.pictures
        }
        yield {
            "name": files.shown(layer.name),
            "level": layer.level,
            "whole": layer.channels,
            "stride": layer.stride,
            "depth": round(layer.depth, 3),
            "rectified": layer.rectified,
            "channels": [_channel(layer, channel, entry) for channel, entry in made.items()],
        }


def _channel(layer: LayerRecord, channel: int, entry: Entry) -> dict[str, Any]:
    photos = [
        {
            "url": pages.url(f"{layer.folder}/{photo.file}"),
            "name": files.shown(photo.name),
            "value": photo.value,
        }
        for photo in entry.photos
    ]
    row = {
        "number": channel,
        "pictures": [pages.url(f"{layer.folder}/{name}") for name in entry.pictures],
        "scores": entry.scores,
        "classes": [(files.shown(name), share) for name, share in entry.classes],
        "photos": photos,
        "notes": [files.shown(note) for note in entry.notes],
    }
    return {name: value for name, value in row.items() if value or name == "number"}
