"""What a preset can set: every setting declared once, with its default, range and meaning.

The preset files, the checks of the flags and the keywords of the Python interface all read these
models, so a setting is added, renamed or bounded here and nowhere else. Every number has a closed
range (`ge` and `le`), every setting a one-line description; one that has a flag names it in
`json_schema_extra`.

Importing this module imports pydantic; `dreamer.presets` does so only when a preset is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from dreamer import colour_text, errors, mask_text, targets
from dreamer.networks import rows
from dreamer.preset_files import FILE_KEYS, shorten
from dreamer.target_files import Unread

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails


def _canonical_target(text: str) -> str:
    try:
        return str(targets.parse(text))
    except errors.UsageError as error:
        raise ValueError(f"{error.message} {error.advice}") from error


def _one_line(text: str) -> str:
    if not text.strip() or len(text.splitlines()) > 1:
        raise ValueError(f"{shorten(text)} is not valid. It should be one line of text.")
    return text


def _canonical(parse: Callable[[str], object]) -> Callable[[str], str]:
    """Return a validator that writes what can be parsed in its own spelling; "" stays."""

    def canonical(text: str) -> str:
        try:
            return str(parse(text)) if text else ""
        except errors.UsageError as error:
            raise ValueError(f"{error.message} {error.advice}") from error

    return canonical


def _kept(text: str) -> str:
    return ",".join(mask_text.parse_keep(text))


TargetText = Annotated[str, AfterValidator(_canonical_target)]
MaskText = Annotated[str, AfterValidator(_canonical(mask_text.parse))]
RegionText = Annotated[MaskText, Field(min_length=1)]
KeepText = Annotated[str, AfterValidator(_canonical(_kept))]
ColourText = Annotated[str, AfterValidator(_canonical(colour_text.parse))]
OneLine = Annotated[str, AfterValidator(_one_line)]


def _drop(values: dict[str, Any], **usual: object) -> None:
    """Take values out that are the usual ones."""
    for name, value in usual.items():
        if values.get(name) == value:
            values.pop(name)


class Section(BaseModel):
    """A table of settings: strict types, no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


# How many times as many steps the finest octave takes: see `dreamer.core.octaves.steps`.
QUALITIES = {"draft": 0.25, "normal": 1.0, "fine": 3.0}


class Octaves(Section):
    """The coarse-to-fine pyramid."""

    count: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Number of scales; 0 takes as many as reach down to `coarsest`.",
        json_schema_extra={"flag": "--octaves"},
    )
    scale: float = Field(
        default=1.6,
        ge=1.05,
        le=4.0,
        description="How many times larger each scale is than the one before.",
        json_schema_extra={"flag": "--octave-scale"},
    )
    coarsest: int = Field(
        default=150,
        ge=16,
        le=4096,
        description="Shorter side of the coarsest scale, in pixels.",
    )


class Ascent(Section):
    """The gradient ascent on each octave."""

    canvas: Literal["pixel", "fourier", "maco"] = Field(
        default="pixel",
        description="pixel: every pixel; fourier: waves; maco: only where the photo's waves are.",
        json_schema_extra={"flag": "--canvas"},
    )
    steps: int = Field(
        default=7,
        ge=0,
        le=10000,
        description="Steps on the full-size octave.",
        json_schema_extra={"flag": "--steps"},
    )
    coarse_steps: float = Field(
        default=1.2,
        ge=0.1,
        le=20.0,
        description="How many times more steps the coarsest octave takes.",
    )
    step_size: float = Field(
        default=0.027,
        ge=0.0,
        le=1.0,
        description="How far one step moves the picture; 0 leaves it as it is.",
        json_schema_extra={"flag": "--step-size"},
    )
    strength: float = Field(
        default=1.0,
        ge=0.0,
        le=10.0,
        description="Multiplies the change and the step size: 0 is the photo, 1 the preset.",
        json_schema_extra={"flag": "--strength"},
    )
    change: float = Field(
        default=0.0,
        ge=0.0,
        le=0.5,
        description="Size of the whole change (RMS, 1 is black to white); 0: as steps bring it.",
    )
    decay: float = Field(
        default=0.4,
        ge=0.0,
        le=1.0,
        description="Share of the step size that is gone by the last step of an octave.",
    )
    momentum: float = Field(
        default=0.5,
        ge=0.0,
        le=0.95,
        description="How much of the last direction each step keeps.",
    )
    quality: Literal["draft", "normal", "fine"] = Field(
        default="normal",
        description="draft: a sketch in a third of the work; fine: more steps where detail is.",
        json_schema_extra={"flag": "--quality"},
    )

    @property
    def share(self) -> float:
        """How many times as many steps the finest octave takes as `steps` says."""
        return QUALITIES[self.quality]

    @model_serializer(mode="wrap")
    def _as_before(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Leave what there always was out of recipes: they keep their hashes."""
        values: dict[str, Any] = handler(self)
        if info.mode == "json":
            _drop(values, canvas="pixel", change=0.0, quality="normal")
        return values


class View(Section):
    """The random views that the network is shown."""

    jitter: int = Field(
        default=16,
        ge=0,
        le=256,
        description="Range of the random shift of each step, in pixels.",
        json_schema_extra={"flag": "--jitter"},
    )
    rotate: float = Field(
        default=7.0,
        ge=0.0,
        le=180.0,
        description="Largest random rotation of each step, in degrees.",
    )
    zoom: float = Field(
        default=0.1,
        ge=0.0,
        le=0.9,
        description="Largest random change of scale of each step, as a share.",
    )


class Gradient(Section):
    """What is made of the gradient before it moves the picture."""

    tilt: float = Field(
        default=1.5,
        ge=0.5,
        le=4.0,
        description="How many times stronger each coarser band is than the next finer one.",
    )
    grain: float = Field(
        default=0.8,
        ge=0.0,
        le=1.0,
        description="Share that is left of the finest band.",
    )
    decorrelate: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="How much colours move together, as in photographs.",
    )


class Colour(Section):
    """What may happen to the photo's colours."""

    mode: ColourText = Field(
        default="free",
        description="free: colours dream too; keep: near the photo's; luma: only light changes; "
        "match:FILE, palette:FILE: those of another picture, as it has them or its main ones.",
        json_schema_extra={"flag": "--color", "choices": list(colour_text.CHOICES)},
    )
    when: Literal["after", "before"] = Field(
        default="after",
        description="When the colours become another picture's: after the dream, or before it.",
        json_schema_extra={"flag": "--color-when"},
    )
    hold: float = Field(
        default=0.03,
        ge=0.0,
        le=1.0,
        description="Share of the drift in broad light and colour that each step takes back.",
    )


class Mask(Section):
    """Where the dream may change the photo; elsewhere it stays as it is, to the byte."""

    where: MaskText = Field(
        default="",
        description="A mask: a picture file (white dreams), alpha, auto or ellipse:X,Y,RX,RY; "
        "empty: everywhere.",
        json_schema_extra={"flag": "--mask"},
    )
    feather: float = Field(
        default=0.015,
        ge=0.0,
        le=0.5,
        description="How soft the edge of masks is, inwards, as a share of the longer side.",
        json_schema_extra={"flag": "--mask-feather"},
    )
    invert: bool = Field(
        default=False,
        description="Whether the dream goes where the mask is not.",
        json_schema_extra={"flag": "--mask-invert"},
    )
    keep: KeepText = Field(
        default="",
        description="What is left more or less as it is: faces, edges, dark, light, with commas.",
        json_schema_extra={"flag": "--keep"},
    )


class Likeness(Section):
    """What of the photo is held while the target rises."""

    amount: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="How strongly the photo is held in an early layer, so that it stays itself.",
        json_schema_extra={"flag": "--likeness"},
    )
    layer: str = Field(
        default="edges",
        pattern=r"^[\w.-]{1,80}$",
        description="The layer, or the detail level, in which it is held.",
    )


class Mix(Section):
    """How the dream and the photo are put together."""

    blend: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of the original mixed back into the result.",
        json_schema_extra={"flag": "--blend"},
    )


class Settings(Section):
    """Everything a preset file can hold beside `schema` and `extends`."""

    description: OneLine = Field(max_length=120, description="What the preset is for, in one line.")
    strong: bool = Field(
        default=False, description="Whether the target's activation is meant to at least double."
    )
    target: TargetText = Field(
        description="What is maximised, on every network `targets` does not name.",
        json_schema_extra={"flag": "--target"},
    )
    targets: dict[str, TargetText] = Field(
        default_factory=dict,
        description="Targets for single networks by name: their own layers and channels.",
    )
    octaves: Octaves = Field(default_factory=Octaves, description="The coarse-to-fine pyramid.")
    ascent: Ascent = Field(default_factory=Ascent, description="The gradient ascent.")
    view: View = Field(default_factory=View, description="The random views.")
    gradient: Gradient = Field(default_factory=Gradient, description="The gradient's shape.")
    colour: Colour = Field(default_factory=Colour, description="The photo's colours.")
    mix: Mix = Field(default_factory=Mix, description="The photo in the result.")
    mask: Mask = Field(default_factory=Mask, description="Where it may change.")
    regions: dict[RegionText, TargetText] = Field(
        default_factory=dict,
        description="Targets for parts of the picture, by their masks; the rest stays as it is.",
        json_schema_extra={"flag": "--region"},
    )
    likeness: Likeness = Field(default_factory=Likeness, description="What of it is held.")

    @field_validator("regions", mode="before")
    @classmethod
    def _differ(cls, regions: object) -> object:
        """Refuse two regions of one mask, of which one would be lost."""
        seen: dict[str, str] = {}
        for text in regions if isinstance(regions, Mapping) else ():
            try:
                mask = str(mask_text.parse(text))
            except (errors.UsageError, TypeError):
                continue  # which is said of the key itself
            if mask in seen:
                raise ValueError(
                    f"'{text}' is the mask of '{seen[mask]}' once more. Add their targets."
                )
            seen[mask] = text
        return regions

    @model_serializer(mode="wrap")
    def _as_before(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Leave what there always was out of recipes: they keep their hashes."""
        values: dict[str, Any] = handler(self)
        if info.mode == "json":
            usual = {"mask": Mask().model_dump(), "likeness": Likeness().model_dump()}
            _drop(values, regions={}, **usual)
            _drop(values["colour"], when="after")
        return values

    def targets_on(self, network: str) -> dict[str, str]:
        """Return the targets for the network of this name by their regions; "" is everywhere."""
        return dict(self.regions) or {"": self.target_on(network)}

    @property
    def colours(self) -> colour_text.Colour:
        """What may happen to the photo's colours."""
        return colour_text.parse(self.colour.mode)

    @property
    def masks(self) -> tuple[mask_text.Mask, ...]:
        """The masks that it names: that of all, then those of the regions."""
        return tuple(mask_text.parse(text) for text in (self.mask.where, *self.regions) if text)

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the pictures that masks and colours are from, each once."""
        paths = [*(mask.path for mask in self.masks), self.colours.path]
        return tuple(dict.fromkeys(path for path in paths if path))

    def target_on(self, network: str) -> str:
        """Return the target for the network of this name."""
        return self.targets.get(network, self.target)


@dataclass(frozen=True)
class Setting:
    """One setting as the command line and the docs show it.

    Attributes:
        path: its place in a preset file, such as "octaves.count".
        flag: the flag that sets it, such as "--octaves", or None.
        kind: int, float, str, bool or dict.
        default: None if it must be given.
        minimum: smallest value of a number.
        maximum: largest value of a number.
        choices: the valid values, if they are a fixed list.
        description: one line.
    """

    path: str
    flag: str | None
    kind: type
    default: Any
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class Complaint:
    """Something wrong with a value.

    Attributes:
        path: where the value stands, such as ("octaves", "count").
        text: what is wrong with it and what would be right, in one line.
        missing: whether the value is not given at all.
    """

    path: tuple[str, ...]
    text: str
    missing: bool = False


def all_settings() -> tuple[Setting, ...]:
    """Return every setting, in the order of the models."""
    return tuple(_walk(Settings, ""))


def setting(path: str) -> Setting:
    """Return the setting at a dotted path.

    Raises:
        KeyError: there is none; a mistake of the code's, not of the user's.
    """
    return {found.path: found for found in all_settings()}[path]


def check(values: Mapping[str, Any]) -> Settings | list[Complaint]:
    """Validate nested values; return the settings, or everything that is wrong with them."""
    complaints: list[Complaint] = []
    settings = None
    try:
        settings = Settings.model_validate(dict(values))
    except ValidationError as error:
        complaints = [_complaint(details) for details in error.errors(include_url=False)]
    complaints += _foreign_targets(values)
    return settings if settings is not None and not complaints else complaints


def _walk(model: type[BaseModel], prefix: str) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from _walk(kind, f"{prefix}{name}.")
        else:
            yield _setting(f"{prefix}{name}", field)


def _setting(path: str, field: FieldInfo) -> Setting:
    extra = field.json_schema_extra
    flag = extra.get("flag") if isinstance(extra, dict) else None
    literal = get_origin(field.annotation) is Literal
    kind = str if literal else get_origin(field.annotation) or field.annotation
    return Setting(
        path=path,
        flag=flag if isinstance(flag, str) else None,
        kind=kind if isinstance(kind, type) else str,
        default=None if field.is_required() else field.get_default(call_default_factory=True),
        minimum=_limit(field, "ge"),
        maximum=_limit(field, "le"),
        choices=get_args(field.annotation) if literal else _offered(extra),
        description=field.description or "",
    )


def _offered(extra: object) -> tuple[str, ...]:
    """Return the choices of a text that has some of its own."""
    offered = extra.get("choices", ()) if isinstance(extra, dict) else ()
    return tuple(offered)


def _limit(field: FieldInfo, name: str) -> float | None:
    """Return the constraint of this name, "ge" or "le", if the field has it."""
    return next((getattr(item, name) for item in field.metadata if hasattr(item, name)), None)


def _foreign_targets(values: Mapping[str, Any]) -> Iterator[Complaint]:
    """Check each network's own target against its row: names of networks, layers and channels."""
    table = values.get("targets")
    for network, text in table.items() if isinstance(table, Mapping) else ():
        path = ("targets", network)
        try:
            row = rows.row(network)
        except errors.UsageError as error:
            yield Complaint(path, f"{error.message} {error.advice}")
            continue
        try:
            target = targets.parse(text) if isinstance(text, str) else None
        except errors.UsageError:
            continue  # the model has said so
        try:
            if target is not None:
                targets.resolve(target, row, Unread())
        except errors.UsageError as error:
            yield Complaint(path, f"{error.message} {error.advice}")


def _complaint(details: ErrorDetails) -> Complaint:
    """Say in the project's words what pydantic found."""
    path = tuple(str(part) for part in details["loc"] if part != "[key]")
    value = details["input"]
    shown = shorten(value)
    match details["type"]:
        case "extra_forbidden":
            text = f"there is no such setting. {_instead(path)}"
        case "missing":
            text = f"is missing: {setting('.'.join(path)).description}"
        case "literal_error":
            text = f"{shown} is not valid. {_choices('.'.join(path), value)}"
        case "greater_than_equal" | "less_than_equal":
            limits = setting(".".join(path))
            text = f"{shown} is not valid. It can be {limits.minimum:g} to {limits.maximum:g}."
        case "value_error":
            text = details["msg"].removeprefix("Value error, ")
        case "model_type" | "dict_type":
            text = f"{shown} should be a table: write [{'.'.join(path)}] above its settings."
        case _:
            wish = details["msg"].partition(" should ")[2]
            text = f"{shown} is not valid. It should {wish}."
    return Complaint(path, text, missing=details["type"] == "missing")


def _instead(path: tuple[str, ...]) -> str:
    """Say where an unknown key belongs, or which valid ones look like it."""
    *tables, key = path
    everything = [found.path for found in all_settings()]
    homes = [found for found in everything if found.split(".")[-1] == key]
    if homes:
        section = homes[0].rpartition(".")[0]
        return f"It belongs {f'in [{section}]' if section else 'above the first [table]'}."
    prefix = "".join(f"{part}." for part in tables)
    here = sorted({p[len(prefix) :].split(".")[0] for p in everything if p.startswith(prefix)})
    here += [] if tables else FILE_KEYS
    near = errors.nearest(key, here, 1)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(here)}."


def _choices(path: str, value: object) -> str:
    choices = setting(path).choices
    near = errors.nearest(value, choices, 1) if isinstance(value, str) else []
    offer = f"Did you mean {near[0]}? " if near else ""
    return f"{offer}It can be {', '.join(choices)}."
