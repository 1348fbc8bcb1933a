"""What a preset can set: every setting declared once, with its default, range and meaning.

The preset files, the checks of the flags and the keywords of the Python interface all read these
models, so a setting is added, renamed or bounded here and nowhere else. Every number has a closed
range (`ge` and `le`), every setting a one-line description; one that has a flag names it in
`json_schema_extra`.

Importing this module imports pydantic; `dreamer.presets` does so only when a preset is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    model_serializer,
)

from dreamer import errors, targets
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


TargetText = Annotated[str, AfterValidator(_canonical_target)]
OneLine = Annotated[str, AfterValidator(_one_line)]


class Section(BaseModel):
    """A table of settings: strict types, no unknown keys, no changes after it is made."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


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
        default=8,
        ge=0,
        le=10000,
        description="Steps on the full-size octave.",
        json_schema_extra={"flag": "--steps"},
    )
    coarse_steps: float = Field(
        default=2.0,
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
        description="Multiplies the step size: 0 is the photo, 1 the preset as it is.",
        json_schema_extra={"flag": "--strength"},
    )
    decay: float = Field(
        default=0.0,
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

    @model_serializer(mode="wrap")
    def _as_before(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Leave the canvas that there always was out of recipes: they keep their hashes."""
        values: dict[str, Any] = handler(self)
        if info.mode == "json" and self.canvas == "pixel":
            values.pop("canvas", None)
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

    mode: Literal["free", "keep", "luma"] = Field(
        default="free",
        description="free: colours dream too; keep: near the photo's; luma: only light changes.",
        json_schema_extra={"flag": "--color"},
    )
    hold: float = Field(
        default=0.03,
        ge=0.0,
        le=1.0,
        description="Share of the drift in broad light and colour that each step takes back.",
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
        choices=get_args(field.annotation) if literal else (),
        description=field.description or "",
    )


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
    path = tuple(str(part) for part in details["loc"])
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
