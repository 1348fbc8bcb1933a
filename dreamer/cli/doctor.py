"""`dreamer doctor`: whether everything that a dream needs works here."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from dreamer.cli.console import console
from dreamer.cli.options import Json, Verbose
from dreamer.errors import DreamerError
from dreamer.networks import rows

PACKAGES = ("dreamer", "torch", "torchvision", "pillow", "imageio", "pydantic", "typer")
EXTRAS = ("pillow-heif", "safetensors", "starlette", "uvicorn")


def doctor(as_json: Json = False, verbose: Verbose = False) -> int:
    """Check versions, devices, ffmpeg, weights and the output folder, and dream two steps."""
    console.setup("doctor", as_json=as_json, verbose=verbose)
    checks: list[dict[str, Any]] = []
    for name, check, needed in (
        ("versions", _versions, True),
        ("devices", _devices, True),
        ("ffmpeg", _ffmpeg, False),
        ("weights", _weights, True),
        ("outputs", _outputs, True),
        ("dream", _dream, True),
    ):
        checks.append(_run(name, check, needed))
        if not as_json:
            mark = {True: "ok", False: "FAILED"}[checks[-1]["ok"]]
            typer.echo(f"{name:9} {mark:7} {checks[-1]['said']}")
    failed = [check["name"] for check in checks if not check["ok"] and check["needed"]]
    status = "partial" if failed else "success"
    console.finish({"checks": checks}, "" if failed else "All is well.", status=status)
    if failed:
        console.say(f"Not working: {', '.join(failed)}. What each line says is what to mend.")
    return 1 if failed else 0


def _run(name: str, check: Callable[[], str], needed: bool) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "needed": needed, "said": check()}
    except DreamerError as error:
        said = f"{error.message} {error.advice}"
    except (OSError, RuntimeError, ImportError) as error:
        said = f"{type(error).__name__}: {error}"
    return {"name": name, "ok": False, "needed": needed, "said": said}


def _versions() -> str:
    found = [f"python {platform.python_version()}"]
    found += [f"{name} {metadata.version(name)}" for name in PACKAGES]
    for name in EXTRAS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} not installed (optional)")
    return ", ".join(found)


def _devices() -> str:
    from dreamer.render import devices

    works = []
    for name in devices.KINDS[1:]:
        try:
            works.append(str(devices.choose(name)))
        except DreamerError:
            continue
    return f"{', '.join(works)} proven; {devices.default_threads()} threads"


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return f"{imageio_ffmpeg.get_ffmpeg_version()}"


def _weights() -> str:
    from dreamer.networks import weights

    said = []
    for row in map(rows.row, rows.names()):
        if weights.locate(row.published()) is not None:
            said.append(f"{row.name} {weights.verify(row, row.published())[:8]}")
    return ", ".join(said)


def _outputs() -> str:
    from dreamer.media import files

    path = Path("outputs") / "probe.png"
    files.check(files.free_name(path))
    return f"{path.parent.resolve()} can be written"


def _dream() -> str:
    import dreamer

    with tempfile.TemporaryDirectory() as folder:
        made = dreamer.dream(size=128, octaves=1, steps=2, device="auto")
        made.save(Path(folder) / "dream.png")
    return f"two steps at 128 px in {made.seconds:.1f} s on {made.recipe.device}"
