"""Feature visualizations: recipes in, pictures out, as many at once as compute well together."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dreamer.core import judging, published, visualization
from dreamer.core.objectives import Objective
from dreamer.core.parametrisation import (
    FourierParametrisation,
    MacoParametrisation,
    Parametrisation,
    PixelParametrisation,
)
from dreamer.core.resampling import lowpass, resample
from dreamer.core.views import Views
from dreamer.errors import NetworkError
from dreamer.media import images
from dreamer.networks.network import Network
from dreamer.render import devices, steering
from dreamer.visual_recipe import VisualRecipe, VisualSettings

Stop = Callable[[], bool]

# Alpha: what matters less than this share of all pixels is transparent, more than that one opaque.
_TRANSPARENT, _OPAQUE = 0.2, 0.6


@dataclass(frozen=True)
class Progress:
    """How far pictures are.

    Attributes:
        work: pixels x steps x views done, of all pictures.
        whole: of how many.
        pictures: shows those of the batch at hand as they are, `(N, 3, H, W)` in 0..1.
    """

    work: int
    whole: int
    pictures: Callable[[], Tensor]


OnStep = Callable[[Progress], None]


@dataclass(frozen=True, repr=False)
class Visualization:
    """A finished picture, or one that was stopped early.

    Attributes:
        pixels: `(3, H, W)` float32 in 0..1, sRGB, as 8 bits hold them.
        alpha: `(H, W)` in 0..1, or None.
        recipe: makes it again; `recipe.partial` if it was stopped.
        seconds: that its batch took, a picture.
        notes: what the user should know about it.
    """

    pixels: Tensor
    alpha: Tensor | None
    recipe: VisualRecipe
    seconds: float
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        width, height = self.recipe.size
        return f"Visualization({self.recipe.label}, {width}x{height}, score {self.score:.4g})"

    @property
    def score(self) -> float:
        """What the target is worth in these pixels: its mean over 64 held-out crops."""
        return math.nan if self.recipe.score is None else self.recipe.score

    @property
    def image(self) -> Image.Image:
        """The picture as Pillow's: RGB, or RGBA with transparency."""
        return images.to_image(self.pixels, self.alpha)

    def save(
        self, target: str | os.PathLike[str], *, overwrite: bool = False, metadata: bool = True
    ) -> Path:
        """Write the picture in the format of the suffix, whole or not at all.

        Args:
            target: PNG, JPEG, WebP, AVIF or TIFF.
            overwrite: whether a file that exists is replaced.
            metadata: whether the recipe is embedded.

        Raises:
            UsageError: an unknown suffix.
            OutputError: it exists, or cannot be written.
        """
        text = self.recipe.to_json() if metadata else None
        images.save(self.pixels, target, alpha=self.alpha, recipe=text, overwrite=overwrite)
        return Path(target)


def make(
    recipes: Sequence[VisualRecipe],
    network: Network,
    *,
    on_step: OnStep | None = None,
    stop: Stop | None = None,
    workers: int = 1,
) -> list[Visualization]:
    """Make pictures of several targets.

    They are made in batches of as many as compute well together. A picture of a group (see
    `VisualRecipe.group`) is what it is beside the others, so those are made as well. With recipes
    of one thread and as many workers as there are processors, nothing waits for anything else: the
    way to make many.

    Args:
        recipes: alike but for their targets, variants and seeds.
        network: loaded, of the recipes' name, on the device to use.
        on_step: called after every step of a batch.
        stop: asked after every step; the pictures are then finished as they stand.
        workers: batches made at once, each with the threads of its recipes.

    Returns:
        A picture a recipe, in their order.

    Raises:
        NetworkError: the network answers with values that are not numbers.
        DeviceError: the memory does not suffice.
    """
    whole, places = _whole_groups(recipes)
    batches = _batches(whole)
    done = _Done(sum(recipe.work for recipe in whole), on_step)
    failed = threading.Event()

    def stopping() -> bool:
        return failed.is_set() or (stop is not None and stop())

    run = functools.partial(_make, network=network, done=done, stop=stopping)
    threads = recipes[0].threads
    if min(workers, len(batches)) == 1:
        with devices.threads(threads):
            found = [run(batch) for batch in batches]
    else:
        # How many threads torch computes with is each thread's own.
        with ThreadPoolExecutor(
            workers, initializer=torch.set_num_threads, initargs=(threads,)
        ) as pool:
            try:
                found = list(pool.map(run, batches))
            except BaseException:
                failed.set()  # or the pool would finish all that was begun
                raise
    made = [picture for batch in found for picture in batch]
    return [made[place] for place in places]


class _Done:
    """Adds up what batches that are made at once have done."""

    def __init__(self, whole: int, on_step: OnStep | None) -> None:
        self._whole = whole
        self._work = 0
        self._on_step = on_step
        self._lock = threading.Lock()

    def add(self, work: int, pictures: Callable[[], Tensor]) -> None:
        """Count work, and tell of it."""
        with self._lock:
            self._work += work
            if self._on_step is not None:
                self._on_step(Progress(self._work, self._whole, pictures))


def _whole_groups(recipes: Sequence[VisualRecipe]) -> tuple[list[VisualRecipe], list[int]]:
    """Complete the groups that pictures are of: return all to make, and where each asked for is."""
    if recipes[0].group == 1:
        return list(recipes), list(range(len(recipes)))
    whole: list[VisualRecipe] = []
    places: list[int] = []
    starts: dict[str, int] = {}
    for recipe in recipes:
        group = recipe.model_copy(update={"variant": 0}).hash
        if group not in starts:
            starts[group] = len(whole)
            whole += [recipe.model_copy(update={"variant": k}) for k in range(recipe.group)]
        places.append(starts[group] + recipe.variant)
    return whole, places


def _batches(recipes: Sequence[VisualRecipe]) -> list[list[VisualRecipe]]:
    """Divide recipes into those that are made together: whole groups, as many as fit caches."""
    first = recipes[0]
    pixels = math.prod(first.size) * first.settings.views * first.restarts
    groups = max(1, round(visualization.TOGETHER / (pixels * first.group)))
    count = groups * first.group
    return [list(recipes[k : k + count]) for k in range(0, len(recipes), count)]


def _make(
    recipes: Sequence[VisualRecipe], *, network: Network, done: _Done, stop: Stop
) -> list[Visualization]:
    first = recipes[0]
    width, height = first.size
    goals = [steering.objective(each, network.row) for each in recipes]
    began = time.perf_counter()
    with (
        devices.memory_guard(f"{len(recipes)} pictures of {width}x{height} pixels"),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        features = network.features(_layers(recipes, goals, network))
        best: list[Visualization] = []
        for restart in range(first.restarts):
            found = _run(recipes, goals, features, restart, done, stop, network)
            best = [max(pair, key=_rank) for pair in zip(best or found, found, strict=True)]
            partial = found[0].recipe.partial
            if partial:
                break
    seconds = (time.perf_counter() - began) / len(recipes)
    # The best of fewer starts than were asked for is not what the recipe says.
    return [
        replace(each, seconds=seconds, recipe=each.recipe.model_copy(update={"partial": partial}))
        for each in best
    ]


def _layers(
    recipes: Sequence[VisualRecipe], goals: Sequence[Objective], network: Network
) -> list[str]:
    """Name the layers that are looked at: for several of one class, one with textures as well."""
    wanted = list(dict.fromkeys(name for goal in goals for name in goal.layers))
    maps = [layer.name for layer in network.row.layers if layer.stride]
    if recipes[0].group > 1 and maps and not set(wanted) & set(maps):
        wanted.append(maps[-1])
    return wanted


def _rank(made: Visualization) -> tuple[bool, float]:
    return not made.recipe.partial, made.score


def _run(
    recipes: Sequence[VisualRecipe],
    goals: Sequence[Objective],
    features: Callable[[Tensor], dict[str, Tensor]],
    restart: int,
    done: _Done,
    stop: Stop,
    network: Network,
) -> list[Visualization]:
    """Make a batch once, from one of its starts."""
    first = recipes[0]
    photos = references(recipes, network.device)
    seeds = [start_seed(each.seed, each.variant, restart) for each in recipes]
    step: visualization.Step | None = None
    partial = False
    moved = torch.zeros(len(recipes), dtype=torch.bool)
    each_step = [w * h * first.settings.views for w, h in first.sizes]
    works = [work for work, count in zip(each_step, first.steps, strict=True) for _ in range(count)]
    goals = list(goals)
    for step in visualization.visualize(
        features, goals, plan(first, network.device), seeds, photos=photos
    ):
        if not bool(step.scores.isfinite().all()):
            raise NetworkError(
                f"{first.network} answers with values that are not numbers.",
                "Check its weights with `dreamer networks verify`.",
            )
        moved |= step.moved
        done.add(works[step.step - 1] * len(recipes), step.pictures)
        if step.step < step.of and stop():
            partial = True
            break
    assert step is not None
    made = (step.pictures().cpu() * 255).round() / 255
    found = []
    for k, (recipe, goal) in enumerate(zip(recipes, goals, strict=True)):
        score = judging.held_out(
            made[k : k + 1].to(network.device), features, _judge(goal, made.shape, photos, features)
        )
        notes = () if moved[k] else (f"nothing moves '{recipe.target}': its gradient is zero",)
        alpha = opacity(step.influence[k]) if recipe.settings.alpha else None
        told = recipe.model_copy(update={"partial": partial, "score": float(f"{score:.6g}")})
        found.append(Visualization(made[k], alpha, told, 0.0, notes))
    return found


def _judge(
    goal: Objective,
    shape: Sequence[int],
    photos: dict[str, Tensor],
    features: Callable[[Tensor], dict[str, Tensor]],
) -> Callable[..., Tensor]:
    """Return how a picture is judged: a caricature beside the whole photo that it is of."""
    if not goal.likes:
        return goal
    size = (int(shape[2]), int(shape[3]))
    with torch.no_grad():
        whole = {name: features(resample(photos[name], size)) for name in goal.likes}
    return functools.partial(goal, references=whole)


def plan(recipe: VisualRecipe, device: torch.device) -> visualization.Plan:
    """Return the numbers of the loop."""
    settings = recipe.settings
    return visualization.Plan(
        sizes=tuple((height, width) for width, height in recipe.sizes),
        steps=recipe.steps,
        start=functools.partial(_start, recipe, device),
        optimiser=settings.optimiser,
        rate=settings.rate,
        decay=settings.decay,
        views=views(settings),
        redirect=settings.redirect,
        diversity=settings.diversity,
        group=recipe.group,
    )


def views(settings: VisualSettings) -> Views:
    """Return what the network is shown."""
    chain = published.TRANSFORMS[settings.transforms]()
    return Views(published.with_border(chain, settings.border), settings.views)


def _start(
    recipe: VisualRecipe,
    device: torch.device,
    size: tuple[int, int],
    generators: Sequence[torch.Generator],
) -> Parametrisation:
    settings = recipe.settings
    colours = settings.decorrelate
    canvas: Parametrisation
    if settings.canvas == "fourier":
        canvas = FourierParametrisation.start(size, generators, decorrelate=colours)
    elif settings.canvas == "pixel":
        canvas = PixelParametrisation.start(size, generators, decorrelate=colours)
    else:
        canvas = MacoParametrisation.start(
            size, generators, settings.spectrum, neutral=settings.neutral, decorrelate=colours
        )
    return canvas.to(device)


def start_seed(seed: int, variant: int, restart: int) -> int:
    """Return the seed of one start: the seed itself for the first picture's first."""
    if variant == restart == 0:
        return seed
    digest = hashlib.sha256(f"{seed}/{variant}/{restart}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def opacity(influence: Tensor) -> Tensor:
    """Return how much of a picture is to be seen, `(H, W)` in 0..1, by what has mattered.

    MACO's transparency (Fel et al. 2023), softened: the sum over the steps of the gradient's
    magnitude, shown above a share of all pixels.
    """
    smooth = lowpass(influence[None, None], cells=24)[0, 0]
    low, high = torch.quantile(
        smooth.flatten()[:: max(1, smooth.numel() // 1_000_000)],
        torch.tensor([_TRANSPARENT, _OPAQUE]).to(smooth),
    )
    share = ((smooth - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    eased: Tensor = share * share * (3 - 2 * share)
    return eased


def references(recipes: Sequence[VisualRecipe], device: torch.device) -> dict[str, Tensor]:
    """Return the photos that targets' caricatures are of, at the pictures' size, by their names."""
    photos: dict[str, Tensor] = {}
    for recipe in recipes:
        if any(term.like is not None for term in recipe.terms):
            photos |= steering.references(recipe, recipe.size)
    return {name: photo.to(device) for name, photo in photos.items()}


def labels(made: Sequence[Visualization]) -> Iterator[tuple[str, Image.Image]]:
    """Yield what a contact sheet shows of pictures."""
    for each in made:
        yield f"{each.recipe.label}  {each.score:.3g}", each.image
