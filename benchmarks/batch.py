"""Folders: throughput against loops, the driver's memory, the journal, and a cluster."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import skimage.data
import torch
from PIL import Image

from benchmarks.rows import Row
from dreamer.core import ascent
from dreamer.networks import network
from dreamer.recipe import Origin
from dreamer.render import devices, steering
from dreamer.render.batch.journal import Journal, Record
from dreamer.render.batch.run import Begun, Ended, Moved, OnEvent
from dreamer.render.batch.session import Session, Wanted
from dreamer.render.look import Request, look

SIZE = 384
NAMES = (
    "astronaut.png",
    "brick.png",
    "chelsea.png",
    "coffee.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
MANY = 2000
PLAIN = ("--steps", "1", "--octaves", "1", "--size", "32", "--quiet", "-p", "dream")

# The best that one process can do: everything loaded once, all processors on one picture.
LOOP = """
import sys
from pathlib import Path
from dreamer.__main__ import _wait_without_spinning
_wait_without_spinning()
from dreamer.render import job as jobs
network = None
for path in sorted(Path(sys.argv[1]).iterdir()):
    output = Path(sys.argv[2]) / (path.name + ".png")
    request = jobs.Request(photo=str(path), size=int(sys.argv[3]), threads=int(sys.argv[4]),
                           network=network, output=output)
    job = jobs.prepare(request)
    network = network or job.load_network()
    from dreamer.render import still
    job.save(still.dream(job.recipe, job.photo, network))
"""
DRIVER = """
import resource, sys
from dreamer.cli import run
code = run(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(used * (1 if sys.platform == "darwin" else 1024), file=sys.stderr)
sys.exit(code)
"""


def measure(repeats: int, quick: bool) -> list[Row]:
    """Measure all; with `quick` without the cluster, and with fewer items for the memory."""
    del repeats  # each number is of dozens of pictures already
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = _throughput(folder)
        rows += _many(folder, MANY // 10 if quick else MANY)
        rows.append(_journal(folder))
        rows += _together()
        if not quick:
            rows += _cluster(folder)
    return rows


def photos(folder: Path) -> Path:
    """Write 24 mixed photos: large and small, lying and standing, PNG and JPEG."""
    place = folder / "photos"
    place.mkdir()
    for index, name in enumerate(NAMES):
        with Image.open(Path(skimage.data.__file__).parent / name) as opened:
            photo = opened.convert("RGB")
        photo.save(place / f"{index:02}.png")
        larger = photo.resize((photo.width * 2, photo.height * 2), Image.Resampling.BICUBIC)
        larger.transpose(Image.Transpose.ROTATE_90).save(place / f"{index:02}-turned.jpg")
    return place


def _throughput(folder: Path) -> list[Row]:
    place = photos(folder)
    count = len(list(place.iterdir()))
    options = ["--size", str(SIZE), "-q"]

    def shell_loop() -> None:
        for path in sorted(place.iterdir()):
            out = folder / "loop" / f"{path.name}.png"
            _run("-m", "dreamer", "dream", str(path), "-o", str(out), *options)

    def loop(threads: int) -> None:
        out = folder / f"process-{threads}"
        out.mkdir()
        _run("-c", LOOP, str(place), str(out), str(SIZE), str(threads))

    def batch(out: str) -> None:
        # The photos differ in their suffixes only.
        names = ["--name", "{name}-{preset}", *options]
        _run("-m", "dreamer", "batch", str(place), "-o", str(folder / out), *names)

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
    ours = [_seconds(lambda: batch("first"))]
    loops = [_seconds(partial(loop, threads)) for threads in dict.fromkeys((1, processors))]
    shell = _seconds(shell_loop)
    ours.append(_seconds(lambda: batch("second")))
    mine = statistics.mean(ours)
    return [
        Row(
            f"{count} photos at {SIZE} px: shell loop of `dreamer dream` / batch",
            shell / mine,
            at_least=2.5,
            detail=f"{shell:.1f} s / {mine:.1f} s, {processors} processors",
        ),
        Row(
            f"{count} photos at {SIZE} px: best loop in one process / batch",
            min(loops) / mine,
            at_least=1.2,
            detail=f"{min(loops):.1f} s / {mine:.1f} s",
        ),
    ]


def _many(folder: Path, count: int) -> list[Row]:
    """The driver's memory with few and many items, and the time to see that all is done."""
    place = folder / "many"
    place.mkdir()
    for index in range(count):
        Image.effect_noise((48, 48), 60).convert("RGB").save(place / f"{index:05}.png")
    few = folder / "few.txt"
    few.write_text("\n".join(str(place / f"{index:05}.png") for index in range(10)))
    small = driver_memory("batch", "--files-from", str(few), "-o", str(folder / "few-out"), *PLAIN)
    arguments = (str(place), "-o", str(folder / "many-out"), *PLAIN)
    large = driver_memory("batch", *arguments)
    seconds = min(_seconds(lambda: _run("-m", "dreamer", "batch", *arguments)) for _ in range(2))
    return [
        Row(
            f"driver's memory, {count} items - 10 items",
            (large - small) / 1e6,
            "MB",
            at_most=50,
            detail=f"{large / 1e6:.0f} MB - {small / 1e6:.0f} MB",
        ),
        Row(f"a finished folder of {count} is recognised, whole command", seconds, "s", at_most=5),
    ]


def _journal(folder: Path) -> Row:
    record = Record("a/b-dream.png", "photos/a/b.jpg", "a/b.jpg", "dream", 0, "done")
    record = dataclasses.replace(
        record,
        input_sha256="0" * 64,
        output_sha256="0" * 64,
        recipe="0" * 64,
        facts={"target": "block9", "network": "efficientnet_lite0", "size": "384 x 256 px"},
    )
    with Journal(folder / "journal") as journal:
        began = time.perf_counter()
        for index in range(MANY):
            journal.append(dataclasses.replace(record, output=f"a/{index}.png"))
        each = (time.perf_counter() - began) / MANY * 1e3
    return Row("the journal, an item", each, "ms", at_most=1)


def _together() -> list[Row]:
    """Whether pictures of one size would better go through the network together."""
    how = look(Request(), threads=1).placed()
    recipe = how.recipe(Origin(start="noise"), (SIZE, SIZE * 2 // 3))
    loaded = network.load(recipe.network)
    features = loaded.features(steering.objective(recipe, loaded.row).layers)
    generator = ascent.generator(0, 0)
    pair = torch.rand(2, 3, *reversed(recipe.size), generator=generator)

    def gradient(pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.clone().requires_grad_()
        answers = features(pixels)
        sum((answer**2).mean(dim=(1, 2, 3)).sum() for answer in answers.values()).backward()
        assert pixels.grad is not None
        return pixels.grad

    with devices.threads(1):
        single = torch.cat([gradient(pair[:1]), gradient(pair[1:])])
        joint = gradient(pair)
        ratios = []
        for _ in range(5):
            apart = _seconds(lambda: (gradient(pair[:1]), gradient(pair[1:])))
            ratios.append(apart / _seconds(lambda: gradient(pair)))
    return [
        Row(
            "two pictures of one size one by one / together, one thread",
            statistics.median(ratios),
            detail="not used: "
            + ("the same bytes" if torch.equal(single, joint) else "other bytes as well"),
        )
    ]


def _cluster(folder: Path) -> list[Row]:
    """Two nodes of Ray on this machine: the same bytes, and one of them killed in the middle."""
    from ray.cluster_utils import Cluster

    place = folder / "photos"
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        local = _session(place, folder / "local" / "out", None)
        whole = _session(place, folder / "two" / "out", cluster.address)
        ended = threading.Event()

        def kill(event: Begun | Ended | Moved) -> None:
            if isinstance(event, Ended) and not ended.is_set():
                ended.set()
                threading.Thread(target=cluster.remove_node, args=(second, False)).start()

        killed = _session(place, folder / "killed" / "out", cluster.address, kill)
    finally:
        cluster.shutdown()
    lost = sum(status != "done" for status in killed[0])
    return [
        Row("two-node cluster gives the local bytes", float(whole == local), "", at_least=1),
        Row("items lost when a node is killed in the middle", lost, "", at_most=0),
        Row("and the bytes are the same then", float(killed == local), "", at_least=1),
    ]


def _session(
    place: Path, out: Path, cluster: str | None, on_event: OnEvent | None = None
) -> tuple[list[str], dict[str, str]]:
    """Run a batch; returns the items' statuses and the hash of every file but the journal."""
    wanted = Wanted(
        folder=out,
        inputs=[str(place)],
        request=Request(size=128),
        name="{name}-{preset}",
        cluster=cluster,
    )
    with Session(wanted) as session:
        results = session.run(session.judge(session.plan(session.find())), on_event=on_event)
    digests = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in out.rglob("*")
        if path.is_file() and path.suffix != ".jsonl"
    }
    return [result.status for result in results], digests


def driver_memory(*arguments: str) -> int:
    """Return the peak memory of the command line's own process, bytes."""
    # A process starts with the peak of the one that started it, so a small one stands between.
    between = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", between, sys.executable, "-c", DRIVER, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return int(done.stderr.split()[-1])


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
