"""Options that more than one command has, and the completion of their values.

Nothing here imports torch or pydantic: the shell waits for the completion.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from dreamer import mask_text, preset_files
from dreamer.errors import UsageError
from dreamer.mask_text import KEEPS
from dreamer.networks import rows

if TYPE_CHECKING:
    from dreamer.render.look import Request

DEVICES = "auto, cpu, cuda, cuda:1, mps"


def complete_preset(incomplete: str) -> list[str]:
    """Name the presets that begin so."""
    return [name for name in preset_files.names() if name.startswith(incomplete)]


def complete_network(incomplete: str) -> list[str]:
    """Name the networks that begin so."""
    return [name for name in rows.names() if name.startswith(incomplete)]


def complete_target(ctx: typer.Context, incomplete: str) -> list[str]:
    """Name the detail levels, the layers of the chosen network and the kinds that begin so."""
    name = ctx.params.get("network") or rows.DEFAULT
    layers = [layer.name for layer in rows.row(name).layers] if name in rows.names() else []
    kinds = ("class:", "direction:", "guide:", "like:", "style:")
    return [name for name in (*rows.LEVELS, *layers, *kinds) if name.startswith(incomplete)]


def complete_level(incomplete: str) -> list[str]:
    """Name the detail levels that begin so."""
    return [level for level in rows.LEVELS if level.startswith(incomplete)]


def complete_color(incomplete: str) -> list[str]:
    """Name the ways to treat the photo's colours that begin so."""
    for kind in ("match:", "palette:"):
        if incomplete.startswith(kind):
            return [kind + name for name in _begun(incomplete.removeprefix(kind))]
    modes = ("free", "keep", "luma", "match:", "palette:")
    return [mode for mode in modes if mode.startswith(incomplete)]


def complete_mask(incomplete: str) -> list[str]:
    """Name the kinds of masks, and the files, that begin so."""
    before = "not:" if incomplete.startswith("not:") else ""
    begun = incomplete.removeprefix(before)
    kinds = [kind for kind in ("alpha", "auto", "ellipse:", "not:") if kind.startswith(begun)]
    return [before + name for name in (*kinds, *_begun(begun))]


def _begun(incomplete: str) -> list[str]:
    """Name the files and folders that begin so."""
    found = sorted(Path(incomplete).parent.glob("*")) if not incomplete.endswith("/") else []
    found = found or sorted(Path(incomplete or ".").glob("*"))
    named = [f"{path}/" if path.is_dir() else str(path) for path in found]
    return [
        name
        for name in named
        if name.startswith(incomplete) and not Path(name).name.startswith(".")
    ]


def complete_keep(incomplete: str) -> list[str]:
    """Name what can be kept that begins so, after what is named already."""
    before, comma, last = incomplete.rpartition(",")
    named = before.split(",")
    return [
        f"{before}{comma}{name}" for name in KEEPS if name.startswith(last) and name not in named
    ]


def complete_canvas(incomplete: str) -> list[str]:
    """Name the canvases that begin so."""
    return [name for name in ("fourier", "maco", "pixel") if name.startswith(incomplete)]


def complete_quality(incomplete: str) -> list[str]:
    """Name the qualities that begin so."""
    return [name for name in ("draft", "normal", "fine") if name.startswith(incomplete)]


def complete_precision(incomplete: str) -> list[str]:
    """Name the precisions that begin so."""
    return [name for name in ("auto", "float32", "mixed") if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Name the devices that begin so."""
    return [name for name in DEVICES.split(", ") if name.startswith(incomplete)]


Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON envelope on stdout.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", metavar="", help="Print the result and errors only.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", metavar="", help="Say more; show tracebacks.")
]
NetworkName = Annotated[
    str,
    typer.Option("--network", help="The network to dream with.", autocompletion=complete_network),
]
Offline = Annotated[bool, typer.Option("--offline", metavar="", help="Never fetch weights.")]
Size = Annotated[
    int | None, typer.Option("--size", min=1, max=65_535, help="Longer side of the result, px.")
]
Depth = Annotated[
    int,
    typer.Option("--depth", metavar="8|16", help="Bits a colour; 16 only in PNG and TIFF."),
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        help="How to dream: `dreamer presets list`; dream by default.",
        autocompletion=complete_preset,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", metavar="", help="Replace results that exist.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", metavar="", help="Show the plan; do nothing.")]


@dataclass(frozen=True)
class PlaceOptions:
    """The options that say with which network, and where to compute."""

    network: Annotated[
        str | None,
        typer.Option(
            help=f"The network to look into; {rows.DEFAULT} by default.",
            autocompletion=complete_network,
        ),
    ] = None
    weights: Annotated[
        str | None, typer.Option(help="A checkpoint, or the name of published weights.")
    ] = None
    seed: Annotated[int | None, typer.Option(min=0, help="Another picture of the same.")] = None
    device: Annotated[str, typer.Option(help=f"{DEVICES}.", autocompletion=complete_device)] = (
        "auto"
    )
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Processors for one picture; one of many takes only one."
        ),
    ] = None


@dataclass(frozen=True)
class LookOptions:
    """The options that say how to dream, whatever the photo and however many."""

    network: Annotated[
        str | None,
        typer.Option(
            help=f"The network to dream with; {rows.DEFAULT} by default.",
            autocompletion=complete_network,
        ),
    ] = None
    weights: Annotated[
        str | None, typer.Option(help="A checkpoint, or the name of published weights.")
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="What to maximise, e.g. 'block8:37' or '0.7*parts + 0.3*class:zebra'.",
            autocompletion=complete_target,
        ),
    ] = None
    detail: Annotated[
        str | None,
        typer.Option(help=f"A level: {', '.join(rows.LEVELS)}.", autocompletion=complete_level),
    ] = None
    strength: Annotated[
        float | None,
        typer.Option(help="How much it changes: 0 is the photo, 1 the preset; 0 to 10."),
    ] = None
    octaves: Annotated[
        int | None, typer.Option(help="Number of scales, 0 to 16; 0: as needed.")
    ] = None
    octave_scale: Annotated[float | None, typer.Option(help="Ratio of two scales, 1.05 to 4.")] = (
        None
    )
    canvas: Annotated[
        str | None,
        typer.Option(
            help="pixel, fourier (waves) or maco (the photo's own waves, moved).",
            autocompletion=complete_canvas,
        ),
    ] = None
    quality: Annotated[
        str | None,
        typer.Option(
            metavar="draft|normal|fine",
            help="draft: a sketch in a third of the work; fine: cleaner detail for 2 to 3 times as "
            "much. A number of steps goes over it.",
            autocompletion=complete_quality,
        ),
    ] = None
    steps: Annotated[int | None, typer.Option(help="Steps at full size, 0 to 10000.")] = None
    step_size: Annotated[float | None, typer.Option(help="How far a step goes, 0 to 1.")] = None
    jitter: Annotated[int | None, typer.Option(help="Random shift of a step, 0 to 256 px.")] = None
    color: Annotated[
        str | None,
        typer.Option(
            metavar="free|keep|luma|match:FILE|palette:FILE",
            help="Colours dream, stay near, stay; or become another picture's, or its main ones.",
            autocompletion=complete_color,
        ),
    ] = None
    color_when: Annotated[
        str | None, typer.Option(metavar="after|before", help="When match or palette is done.")
    ] = None
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|alpha|auto|ellipse:X,Y,RX,RY",
            help="Dream only there: white in a file, where the photo is opaque, where the network "
            "sees the target, or in an ellipse (shares of width and height).",
            autocompletion=complete_mask,
        ),
    ] = None
    mask_feather: Annotated[
        float | None,
        typer.Option(help="Soft edge of masks, inwards: a share of the longer side, 0 to 0.5."),
    ] = None
    mask_invert: Annotated[
        bool, typer.Option("--mask-invert", metavar="", help="Dream where the mask is not.")
    ] = False
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="faces,edges,dark,light",
            help="Leave those of the photo more or less as they are.",
            autocompletion=complete_keep,
        ),
    ] = None
    regions: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            metavar="MASK=TARGET",
            help="A target for a part, e.g. auto=class:zebra; again for more; 'rest' is what is "
            "left.",
        ),
    ] = None
    likeness: Annotated[
        float | None,
        typer.Option(help="Hold the photo in an early layer, so that it stays itself; 0 to 1."),
    ] = None
    blend: Annotated[float | None, typer.Option(help="Share of the photo mixed back, 0 to 1.")] = (
        None
    )
    seed: Annotated[int | None, typer.Option(min=0, help="Another dream of the photo.")] = None
    device: Annotated[str, typer.Option(help=f"{DEVICES}.", autocompletion=complete_device)] = (
        "auto"
    )
    precision: Annotated[
        str,
        typer.Option(
            metavar="auto|float32|mixed",
            help="Of the network: 32 bits, or 16 where they suffice; auto is mixed on cuda.",
            autocompletion=complete_precision,
        ),
    ] = "auto"
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            metavar="PX",
            help="Show the network so much at once, in tiles; 0: all; as suits it by default.",
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Processors for one picture; a single one takes all, one of a batch takes one.",
        ),
    ] = None
    recipe: Annotated[
        str | None, typer.Option("--from", help="Use the recipe in this picture.")
    ] = None
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", metavar="", help="Leave the recipe out of the file.")
    ] = False
    offline: Offline = False

    def request(
        self, *presets: str, size: int | None = None, overwrite: bool = False
    ) -> tuple[Request, tuple[str, ...]]:
        """Return what was asked for, without a photo, and the presets to use (none: a recipe's).

        Raises:
            UsageError: an unknown level, or a level and a target.
        """
        target = self.target
        if self.detail is not None:
            if target is not None:
                raise UsageError("--detail and --target both say what to maximise.", "Give one.")
            rows.row(self.network or rows.DEFAULT).level(self.detail)
            # The level's own preset brings the settings that suit it, unless another was asked for.
            if not presets and self.recipe is None:
                presets = (self.detail,)
            built_in = preset_files.find(self.detail).source == "built-in"
            if presets != (self.detail,) or not built_in:
                target = self.detail
        from dreamer.render.look import Request

        request = Request(
            recipe=self.recipe,
            preset=presets[0] if presets else None,
            network=self.network,
            weights=self.weights,
            overrides={
                "target": target,
                "ascent.strength": self.strength,
                "octaves.count": self.octaves,
                "octaves.scale": self.octave_scale,
                "ascent.canvas": self.canvas,
                "ascent.quality": self.quality,
                "ascent.steps": self.steps,
                "ascent.step_size": self.step_size,
                "view.jitter": self.jitter,
                "colour.mode": self.color,
                "colour.when": self.color_when,
                "mask.where": self.mask,
                "mask.feather": self.mask_feather,
                "mask.invert": self.mask_invert or None,
                "mask.keep": self.keep,
                "regions": _regions(self.regions or ()),
                "likeness.amount": self.likeness,
                "mix.blend": self.blend,
            },
            size=size,
            seed=self.seed,
            device=self.device,
            precision=self.precision,
            tile=self.tile,
            threads=self.threads,
            offline=self.offline,
            overwrite=overwrite,
            metadata=not self.no_metadata,
        )
        return request, presets


def _regions(texts: Sequence[str]) -> dict[str, str] | None:
    """Return the targets of regions by their masks; None without any.

    Raises:
        UsageError: one is not `MASK=TARGET`, or two have one mask.
    """
    found: dict[str, str] = {}
    for text in texts:
        mask, target = mask_text.parse_region(text)
        if str(mask) in found:
            raise UsageError(f"--region names '{mask}' twice.", f"Add the targets: '{mask}=A + B'.")
        found[str(mask)] = target
    return found or None


def flattened(command: Callable[..., int]) -> Callable[..., int]:
    """Let a command take groups of options: dataclasses whose fields are declared like parameters.

    Each field becomes an option of the command, where the group stands among its parameters; the
    command is called with the groups filled in.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group: Any = parameter.annotation
        if not is_dataclass(group):
            parameters.append(parameter)
            continue
        groups[parameter.name] = group
        types = get_type_hints(group, include_extras=True)
        parameters += [
            parameter.replace(name=each.name, default=each.default, annotation=types[each.name])
            for each in fields(group)
        ]

    @functools.wraps(command)
    def called(**given: Any) -> int:
        filled = {
            name: group(**{each.name: given.pop(each.name) for each in fields(group)})
            for name, group in groups.items()
        }
        return command(**given, **filled)

    signature = inspect.signature(command).replace(parameters=parameters)
    called.__signature__ = signature  # type: ignore[attr-defined]
    return called


@dataclass(frozen=True)
class BatchOptions:
    """The options of commands that make many pictures."""

    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            "-p",
            help="How to dream; give it again for several of each photo.",
            autocompletion=complete_preset,
        ),
    ] = None
    seeds: Annotated[
        int, typer.Option(min=1, max=10_000, help="Pictures of each photo and preset.")
    ] = 1
    name: Annotated[
        str | None,
        typer.Option(
            help="Names of the results, e.g. '{preset}/{stem}-{seed:06d}.jpg'; "
            "there are stem, name, parent, preset, seed, network."
        ),
    ] = None
    workers: Annotated[
        str, typer.Option(help="Pictures made at once; auto: as many as there are processors.")
    ] = "auto"
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="auto|ADDRESS", help="Make them on a Ray cluster; auto: the one that runs here."
        ),
    ] = None
    gpus: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="The share of a cluster's GPU that a picture takes."),
    ] = None
    retries: Annotated[
        int, typer.Option(min=0, max=100, help="How often what failed is tried again.")
    ] = 2

    def count(self) -> int | None:
        """Return how many workers were asked for; None for as many as are useful.

        Raises:
            UsageError: neither a number nor "auto".
        """
        if self.workers == "auto":
            return None
        if not self.workers.isascii() or not self.workers.isdigit() or int(self.workers) < 1:
            raise UsageError(
                f"'{self.workers}' is not valid for --workers.", "Give a number from 1, or auto."
            )
        return int(self.workers)
