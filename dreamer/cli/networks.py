"""`dreamer networks`: what there is, fetching it, and checking it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dreamer.cli.console import console
from dreamer.cli.options import Json, Verbose, complete_network
from dreamer.errors import DreamerError, NetworkError
from dreamer.networks import rows, weights

app = typer.Typer(
    help="List, fetch and verify networks.", no_args_is_help=True, add_completion=False
)

Names = Annotated[list[str], typer.Argument(help="Networks.", autocompletion=complete_network)]
Which = Annotated[str | None, typer.Option("--weights", help="Others than the default ones.")]


@app.command("list")
def list_networks(as_json: Json = False, verbose: Verbose = False) -> None:
    """Name every network, and say which are on this machine."""
    console.setup("networks list", as_json=as_json, verbose=verbose)
    listed = []
    for row in map(rows.row, rows.names()):
        first = row.published()
        listed.append(
            {
                "name": row.name,
                "here": weights.locate(first) is not None,
                "megabytes": round(first.size / 1e6),
                "minimum": row.minimum,
                "licence": first.licence,
                "weights": [each.name for each in row.weights],
                "layers": len(row.layers),
            }
        )
    width = max(len(str(entry["name"])) for entry in listed)
    lines = [f"{'network':{width}}  here    MB  min px  licence"]
    for entry in listed:
        here = "yes" if entry["here"] else "-"
        lines.append(
            f"{entry['name']:{width}}  {here:4}  {entry['megabytes']:4}  {entry['minimum']:6}  "
            f"{entry['licence']}"
        )
    console.finish({"networks": listed}, "\n".join(lines))


@app.command("fetch")
def fetch(
    names: Names, which: Which = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Fetch the weights of networks, to dream offline later."""
    console.setup("networks fetch", as_json=as_json, verbose=verbose)
    fetched = []
    for row in [rows.row(name) for name in names]:
        published = row.published(which)
        path = weights.fetch(row, published)
        fetched.append({"name": row.name, "weights": published.name, "file": str(path)})
    console.finish({"networks": fetched}, "\n".join(str(entry["file"]) for entry in fetched))


@app.command("verify")
def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Networks; all that are here.", autocompletion=complete_network),
    ] = None,
    which: Which = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Check weights against the published hashes."""
    console.setup("networks verify", as_json=as_json, verbose=verbose)
    found: list[dict[str, Any]] = []
    bad: list[DreamerError] = []
    for row in map(rows.row, names or rows.names()):
        for published in [row.published(which)] if names else row.weights:
            if not names and weights.locate(published) is None:
                continue
            entry = {"name": row.name, "weights": published.name, "sha256": None, "error": None}
            try:
                entry["sha256"] = weights.verify(row, published)
            except NetworkError as error:
                entry["error"] = error.message
                bad.append(error)
            found.append(entry)
    lines = [
        f"{entry['name']} {entry['weights']}: {entry['error'] or 'ok, ' + str(entry['sha256'])}"
        for entry in found
    ]
    if len(bad) == len(found) == 1:
        raise bad[0]
    status = "partial" if bad else "success"
    console.finish({"networks": found}, "\n".join(lines), status=status)
    for each in bad:
        console.say(each.advice)
    return NetworkError.exit_code if bad else 0
