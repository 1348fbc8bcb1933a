"""What is given to the page: checked by what it is, not by what it is called, and put in its place.

Pictures go through the same reader as those of the command line. Nothing of a file is run: a
preset is read as TOML and checked setting by setting.
"""

from __future__ import annotations

import re
import tempfile
import threading
from pathlib import Path
from typing import Any, BinaryIO

from dreamer import preset_files, presets, visual_recipe
from dreamer.errors import DreamerError, InputError, UsageError
from dreamer.film.base import FilmRecipe
from dreamer.film.zoom import ZoomRecipe
from dreamer.media import files
from dreamer.networks import rows
from dreamer.recipe import Recipe
from dreamer.settings import Settings
from dreamer.studio import asks
from dreamer.studio.people import As, Person, Photo, check_picture, safe_name

MOST_BYTES = 200_000_000
"""A file's largest size."""
MOST_PIXELS = 120_000_000
"""A picture's largest size: one of it takes 12 bytes a pixel to read."""
PREVIEW = 1600
"""The longer side of what the page shows of a photo, px."""
MOST_PRESET, MOST_LINES = 16_384, 400
"""A preset's largest size: bytes and lines. To find the line at fault takes the square of it."""
MOST_PRESETS = 40
"""Of one person: each is in every strip."""
_FILMS = (".mp4", ".webm", ".gif", ".webp", ".mov", ".mkv")
_PRESET_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,60}", re.ASCII)

# Two of one name at once would take the same free one.
_placing = threading.Lock()


def take(
    person: Person, stream: BinaryIO, path: Path, name: str, kind: As, sha256: str
) -> dict[str, Any]:
    """Put a file that was given in its place; returns what the page gets.

    Args:
        person: whose it is.
        stream: open, of the file at `path`.
        path: where it is so far.
        name: what the browser says it is called.
        kind: what it is for.
        sha256: of its bytes.

    Raises:
        InputError: it is no picture, and no film that dreamer made.
        UsageError: there is no room for it.
    """
    from dreamer.media import images

    person.room()
    if kind == "photo" and Path(name).suffix.lower() in _FILMS:
        film = _film(path)
        if film is not None:
            return {"file": None, "restored": _of_film(film, person, name)}
    width, height = check_picture(path, name, MOST_PIXELS)
    try:
        photo = images.load(path, name=name, max_pixels=MOST_PIXELS)
    except DreamerError as error:
        message = error.message.replace(files.shown(path), files.shown(name))
        raise type(error)(message, error.advice) from error
    preview = _preview(photo)
    with _placing:
        free, same = person.free(kind, safe_name(name, ".png"), sha256)
        if same is not None:
            return {"file": same.to_dict()}
        # All that may fail comes before the file is in its place.
        restored, notes = _restored(path, person, free) if kind == "photo" else (None, [])
        given = Photo(free, width, height, kind, sha256, restored, [*photo.notes, *notes])
        person.keep_preview(f"photo-{free}", preview)
        with files.replacing(person.given / free, overwrite=False) as place:
            stream.seek(0)
            while block := stream.read(1 << 20):
                place.write(block)
        person.give(given)
    return {"file": given.to_dict()}


def take_preset(person: Person, data: bytes, name: str) -> dict[str, Any]:
    """Check a preset of the page's and keep it as this person's; returns what the page gets.

    Raises:
        UsageError: what is wrong with it.
    """
    stem = Path(safe_name(name, ".toml")).stem
    if not _PRESET_NAME.fullmatch(stem):
        raise UsageError(f"'{files.shown(name[:80])}' is no name for a preset.", "Rename the file.")
    if stem in preset_files.names():
        raise UsageError(f"There is a preset '{stem}' already.", "Rename the file.")
    if len(data) > MOST_PRESET or data.count(b"\n") > MOST_LINES:
        raise UsageError(f"'{stem}.toml' is too long.", "A preset is a page of text.")
    person.room()
    path = person.presets / f"{stem}.toml"
    if len(person.own_presets()) >= MOST_PRESETS and not path.exists():
        raise UsageError(
            f"There are {MOST_PRESETS} presets of yours already.",
            f"Take some out of {files.shown(person.presets)}.",
        )
    with tempfile.TemporaryDirectory() as folder:
        preset = _checked(Path(folder) / path.name, data)
    with files.replacing(path) as stream:
        stream.write(data)
    return {"file": None, "preset": described(stem, preset.settings, own=True)}


def _checked(hidden: Path, data: bytes) -> presets.Preset:
    """Return a preset of the page's, read from a file of its own.

    Raises:
        UsageError: what is wrong with it.
    """
    hidden.write_bytes(data)
    try:
        found = preset_files.Found(hidden.stem, hidden, "file")
        extends = preset_files.read(found).values.get("extends")
        if extends is not None and extends not in preset_files.names():
            raise UsageError(
                "A preset for the studio extends one of the built-in ones, by its name.",
                preset_files.LISTING + ".",
            )
        preset = presets.load(hidden)
        asks.check_own(preset.settings)
    except UsageError as error:
        message = error.message.replace(preset_files.shown(hidden), hidden.name)
        raise UsageError(message, error.advice) from error
    return preset


def described(name: str, settings: Settings, *, own: bool) -> dict[str, Any]:
    """Return what the page gets of a preset."""
    return {
        "name": name,
        "description": settings.description,
        "own": own,
        "settings": asks.shown(settings, rows.DEFAULT),
    }


def _preview(photo: Any) -> bytes:
    """Return what the page shows of a photo: on white where it is transparent."""
    from dreamer.studio.jobs import jpeg

    pixels = photo.pixels
    if photo.alpha is not None:
        pixels = pixels * photo.alpha + (1 - photo.alpha)
    return jpeg(pixels, PREVIEW, 88)


def _restored(path: Path, person: Person, name: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the settings of a picture that dreamer made, and notes about those it cannot read."""
    from dreamer.media import metadata
    from dreamer.recipe import from_json

    try:
        text = metadata.read(str(path))
        if text is None:
            return None, []
        if visual_recipe.is_visual(text):
            visual = visual_recipe.from_json(text, name)[0]
            body = {
                "target": visual.target,
                "canvas": visual.settings.canvas,
                "size": min(asks.LARGEST_UNIT, max(asks.SMALLEST_UNIT, *visual.size)),
                "seed": visual.seed,
            }
            return _told("visual", body, {}, f"Settings of {name}: {visual.target}", []), []
        return _of_picture(from_json(text, name), person, name), []
    except DreamerError as error:
        return None, [f"its settings cannot be used: {error.message}"]
    except RecursionError:
        return None, ["its settings cannot be used: they are nested too deeply"]


def _of_picture(recipe: Recipe, person: Person, name: str) -> dict[str, Any]:
    """Return the body that makes a picture again."""
    on, missing = _origin(recipe, person)
    given = {photo.sha256: photo.id for photo in person.photos.values()}
    missing += [like.name for like in recipe.pictures if given.get(like.sha256) != like.name]
    body = {
        "photo": on,
        "look": {"from": name},
        "size": min(asks.LARGEST, max(32, *recipe.size)),
        "seed": recipe.seed,
    }
    said = f"Settings of {name}: {recipe.preset}, seed {recipe.seed}"
    return _told("dream", body, asks.shown(recipe.settings, recipe.network), said, missing)


def _origin(recipe: Recipe, person: Person) -> tuple[str | None, list[str]]:
    """Return the id of what a recipe dreams on, and its name if that is not here."""
    origin = recipe.origin
    if origin.start != "photo":
        return origin.start, []
    for photo in list(person.photos.values()):
        if photo.sha256 == origin.sha256:
            return photo.id, []
    return None, [origin.name]


def _film(path: Path) -> FilmRecipe | None:
    """Return the recipe of a film that dreamer made; None if it is something else."""
    from dreamer.film.reading import recipe_in

    try:
        return recipe_in(path)
    except RecursionError:  # nested too deeply: none of ours
        return None


def _of_film(film: FilmRecipe, person: Person, name: str) -> dict[str, Any]:
    """Return the body that makes a zoom again, as far as the page knows its settings.

    Raises:
        InputError: it is another kind of film.
    """
    if not isinstance(film, ZoomRecipe):
        raise InputError(
            f"'{files.shown(name)}' is no zoom.", "The page restores pictures and zooms."
        )
    first, key = film.stretches[0].recipe, film.camera[0]
    shown = asks.shown(first.settings, first.network)
    known = preset_files.names()
    preset = first.preset if first.preset in known else None
    usual = asks.shown(presets.load(preset or "dream").settings, rows.DEFAULT)
    look: dict[str, Any] = {
        name: value for name, value in shown.items() if value != usual[name] and _plain(value)
    }
    on, missing = _origin(first, person)
    body: dict[str, Any] = {
        "photo": on,
        "look": {"preset": preset} | look,
        "seed": first.seed,
        "seconds": min(asks.LONGEST_FILM, round(film.seconds, 3)),
        "fps": film.fps,
        "size": "{}x{}".format(*film.size),
        "speed": key.speed,
        "rotate": key.rotate,
        "center": [(place + 1) / 2 for place in key.centre],
        "direction": "out" if film.outward else "in",
        "ease": film.ease,
        "loop": film.loop,
        "journey": [],
        "fade": None,
    }
    if len(film.stretches) > 1:
        ends = [stretch.until for stretch in film.stretches]
        starts = [0.0, *ends[:-1]]
        lengths = [end - start for start, end in zip(starts, ends, strict=True)]
        parts = zip(film.stretches, lengths, strict=True)
        journey = [
            {"what": _part(stretch.recipe, known), "seconds": round(length, 3)}
            for stretch, length in parts
        ]
        body["journey"] = journey
        body["fade"] = max(stretch.fade for stretch in film.stretches[1:])
        body["seconds"] = None
    given = {like.name for stretch in film.stretches for like in stretch.recipe.pictures}
    strangers = {stretch.recipe.preset for stretch in film.stretches} - {*known}
    # The page has no place for these in what it is to make again.
    missing += [*sorted(given), *(f"the preset {each}" for each in sorted(strangers))]
    return _told("zoom", body, shown, f"Settings of {name}: a zoom", missing)


def _part(recipe: Recipe, known: list[str]) -> str:
    return recipe.preset if recipe.preset in known else recipe.target


def _plain(value: object) -> bool:
    """Whether the page can say a value: it names no file."""
    return not isinstance(value, str) or (":/" not in value and "@" not in value)


def _told(
    kind: str, body: dict[str, Any], shown: dict[str, Any], said: str, missing: list[str]
) -> dict[str, Any]:
    return {"kind": kind, "asked": body, "shown": shown, "said": said, "missing": missing}
