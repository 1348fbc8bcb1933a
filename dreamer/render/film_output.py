"""A film's file: how it is to be written, and what to say if another one is there."""

from __future__ import annotations

from pathlib import Path

from dreamer.errors import OutputError
from dreamer.film.base import Encoding, FilmRecipe
from dreamer.film.differences import differences, encoded_otherwise
from dreamer.media import files, films, footage
from dreamer.render.job import SAID, TAKEN


def encoding(target: str, codec: str | None, crf: int | None, audio: Path | None) -> Encoding:
    """Return how a film is to be written, with what its format does unless told otherwise.

    Args:
        target: the film, as `films` takes it.
        codec: what was asked for, like the others.
        crf: the quality.
        audio: the file whose sound goes into it.

    Raises:
        InputError: the file has no sound, or cannot be read.
    """
    codecs = films.by_suffix(target).codecs
    name = codecs[0].name if codec is None else codec.lower()
    usual = next((each.crf for each in codecs if each.name == name and each.crfs), None)
    if audio is not None:
        footage.sound_codec(audio)
    return Encoding(
        codec=name,
        crf=usual if crf is None else crf,
        audio="" if audio is None else files.sha256(audio),
    )


def taken(output: Path, found: FilmRecipe, wanted: FilmRecipe) -> OutputError:
    """Build the error for a film that exists: it says how it differs from the one wanted."""
    changed = differences(found, wanted)
    kind, advice = "recipe", TAKEN
    if not changed:
        changed, kind = encoded_otherwise(found.encoding, wanted.encoding), "encoding"
        advice = "Choose another name with -o, or make it anew with --overwrite."
    more = " and more" if len(changed) > SAID else ""
    said = f"'{files.shown(output)}' exists, with another {kind}: {', '.join(changed[:SAID])}{more}"
    return OutputError(f"{said}.", advice)
