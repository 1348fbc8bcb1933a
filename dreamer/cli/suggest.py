"""`dreamer dream PHOTO --suggest`: what to dream of in a photo."""

from __future__ import annotations

import functools
import shlex
import time
from typing import TYPE_CHECKING, Any

from dreamer.cli.console import console, in_stages
from dreamer.errors import UsageError

if TYPE_CHECKING:
    from dreamer.render.look import Request
    from dreamer.render.suggest import Plan, Suggestions


def run(request: Request, *, dry_run: bool, count: int = 9) -> int:
    """Print the channels and classes that suit a photo, and write a sheet of small dreams of them.

    The path of the sheet is the last thing on stdout.

    Args:
        request: the photo, how to dream, and the sheet to write.
        dry_run: whether to show the plan only.
        count: how many to suggest.

    Returns:
        The exit code.

    Raises:
        DreamerError: whatever is wrong; nothing is written then.
    """
    if not request.to_file:
        raise UsageError("A sheet of suggestions is not written to stdout.", "Name a file with -o.")

    from dreamer.render import suggest

    plan = suggest.prepare(request, count=count)
    for note in plan.notes:
        console.say(f"Note: {note}.")
    console.detail(plan.describe())
    if dry_run:
        console.finish(_report(plan, dry_run=True), plan.describe())
        return 0
    began = time.perf_counter()
    made = in_stages(functools.partial(suggest.run, plan))
    for note in [each for each in made.notes if each not in plan.notes]:
        console.say(f"Note: {note}.")
    path = str(suggest.save(plan, made))
    report = _report(plan, made, seconds=time.perf_counter() - began) | {"output": path}
    console.finish(report, path if console.quiet else f"{table(made)}\n\n{path}")
    if not console.as_json:
        first = shlex.quote(made.suggestions[0].target)
        console.say(f"Dream of one of them with -t, such as `-t {first}`.")
    return 0


def table(made: Suggestions) -> str:
    """Return the suggestions as lines of targets with their reasons."""
    width = max(len(each.target) for each in made.suggestions)
    return "\n".join(f"{each.target:{width}}  {each.why}" for each in made.suggestions)


def _report(
    plan: Plan, made: Suggestions | None = None, *, seconds: float = 0.0, dry_run: bool = False
) -> dict[str, Any]:
    """Return the result of the envelope; its keys are always the same."""
    found = {
        "photo": plan.photo.name,
        "network": plan.job.recipe.network,
        "suggestions": [],
        "notes": list(plan.notes),
    }
    return {
        "output": None if plan.output is None else str(plan.output),
        **(found if made is None else made.to_dict()),
        "seconds": round(seconds, 3),
        "dry_run": dry_run,
    }
