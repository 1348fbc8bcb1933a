"""Carry the recipe inside a picture file, and find it again.

| format          | place                          | text                      |
|-----------------|--------------------------------|---------------------------|
| PNG             | iTXt chunk "dreamer"           | the recipe                |
| JPEG, WebP, AVIF| EXIF UserComment               | {"dreamer": the recipe}   |
| TIFF            | ImageDescription               | {"dreamer": the recipe}   |

Cameras and other programs write comments too, hence the wrapping where the place has no name
of its own. The text is always ASCII: two of the places hold nothing else that every reader
agrees on, and JSON can spell any character in it.
"""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from dreamer.errors import OutputError
from dreamer.media.reading import Source, guarded, opened

KEY = "dreamer"

_BEFORE, _AFTER = f'{{"{KEY}": ', "}"
_ASCII = b"ASCII\0\0\0"  # the character code that starts an EXIF UserComment
_JPEG_SEGMENT = 65_533  # bytes that one holds, "Exif" at their start included


def save_options(format_name: str, recipe: str) -> dict[str, Any]:
    """Return what to pass to Pillow's `save` so that the file carries the recipe.

    Args:
        format_name: one of Pillow's, as in `formats.Format.name`.
        recipe: JSON.

    Raises:
        OutputError: the recipe is longer than the format can hold.
    """
    text = _ascii(recipe)
    if format_name == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(KEY, text)
        return {"pnginfo": chunks}
    text = wrapped(text)
    if format_name == "TIFF":
        return {"tiffinfo": {ExifTags.Base.ImageDescription.value: text}}
    exif = Image.Exif()
    comment = _ASCII + text.encode("ascii")
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    data = exif.tobytes()
    if format_name == "JPEG" and len(data) > _JPEG_SEGMENT:
        raise OutputError(
            f"The recipe is too long for a JPEG ({len(data)} bytes).",
            "Write a .png, or leave the recipe out with --no-metadata.",
        )
    return {"exif": data}


def read(source: Source) -> str | None:
    """Return the recipe (JSON, ASCII) that a picture carries, or None.

    Raises:
        InputError: it cannot be read, is no picture, or is damaged.
    """
    with opened(source) as header, guarded(header.label):
        image = header.image
        text = image.info.get(KEY)
        if text is None and isinstance(image, PngImagePlugin.PngImageFile):
            text = image.text.get(KEY)  # after the pixels, where another program may put it
        if isinstance(text, str):
            return str(text)
        tags = getattr(image, "tag_v2", None) if image.format == "TIFF" else None
        if tags is not None:
            return unwrapped(str(tags.get(ExifTags.Base.ImageDescription, "")))
        return unwrapped(_user_comment(image))


def wrapped(recipe: str) -> str:
    """Return the recipe as it is written where comments of others may be: a JSON object."""
    return _BEFORE + _ascii(recipe) + _AFTER


def unwrapped(comment: str) -> str | None:
    """Return the recipe in a comment, or None if the comment is not one of ours."""
    comment = comment.rstrip("\0 ")
    if comment.startswith(_BEFORE) and comment.endswith(_AFTER):
        return comment[len(_BEFORE) : -len(_AFTER)]
    return None


def _user_comment(image: Image.Image) -> str:
    """Return the EXIF comment, or an empty text."""
    try:
        comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    except Exception:  # damaged EXIF data carries no recipe
        return ""
    data = comment if isinstance(comment, bytes) else str(comment).encode()
    return data.removeprefix(_ASCII).decode("utf-8", "replace")


def _ascii(json_text: str) -> str:
    """Spell the characters of a JSON text that are not ASCII as its escapes."""
    return "".join(
        character
        if character.isascii()
        else "".join(f"\\u{unit:04x}" for unit in _utf16_units(character))
        for character in json_text
    )


def _utf16_units(character: str) -> list[int]:
    data = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(data[start : start + 2], "big") for start in range(0, len(data), 2)]
