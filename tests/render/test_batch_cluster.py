"""A batch on a real Ray cluster of two nodes on this machine, each with its own processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dreamer import cli
from dreamer.render.batch import cluster as cluster_module
from dreamer.render.batch import journal

# In a process of its own: what Ray leaves open there is no warning here.
CLUSTER = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from ray.cluster_utils import Cluster
head = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "kill\\n":
        cluster.remove_node(second, allow_graceful=False)
        print("killed", flush=True)
cluster.shutdown()
"""
OPTIONS = ["--size", "96", "--steps", "2", "--octaves", "2", "--seeds", "3"]


@pytest.fixture(scope="module")
def two_nodes():
    """A running cluster: its process, and its address."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address
        yield process, address
        process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photos):
    """Photos, and the results of a run without a cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "in").mkdir()
    for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg"):
        with Image.open(photos / name) as photo:
            photo.convert("RGB").resize((144, 96)).save(folder / "in" / name)
    (folder / "in" / "broken.jpg").write_bytes(b"no picture")
    assert run(folder, "local/out").returncode == 1
    return folder


def command(out: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "dreamer", "batch", "in", "-o", out, *OPTIONS, *more]


def run(folder: Path, out: str, *more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(out, *more), cwd=folder, capture_output=True, text=True, timeout=300
    )


def tree(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix != journal.SUFFIX
    }


def test_a_cluster_makes_the_same_bytes(folder, two_nodes):
    done = run(folder, "two/out", "--cluster", two_nodes[1], "--json")
    assert done.returncode == 1, done.stderr
    items = json.loads(done.stdout)["result"]["items"]
    failed = [item["input"] for item in items if item["status"] == "failed"]
    assert failed == ["in/broken.jpg"] * 3
    assert tree(folder / "two" / "out") == tree(folder / "local" / "out")


def test_a_run_is_continued_with_a_cluster_and_without(folder, two_nodes):
    whole = folder / "local" / "out"
    begun = folder / "continued" / "out"
    assert run(folder, "continued/out", "--shard", "1/2").returncode in (0, 1)
    made = sum(path.suffix == ".png" for path in begun.iterdir())
    assert 0 < made < 12
    done = run(folder, "continued/out", "--cluster", two_nodes[1], "--json")
    items = json.loads(done.stdout)["result"]["items"]
    assert sum(item["status"] == "skipped" for item in items) == made
    assert tree(begun) == tree(whole)
    assert run(folder, "continued/out").stderr.count("12 there already") == 1


def test_weights_travel_to_the_nodes(folder, two_nodes, tmp_path):
    import torch

    from dreamer.networks import checkpoints, rows, weights

    row = rows.row(rows.DEFAULT)
    state = checkpoints.read(weights.locate(row.published()))
    first = next(name for name, value in state.items() if value.ndim == 4)
    state[first] = state[first] * 1.01
    torch.save(state, tmp_path / "mine.pth")
    mine = ["--weights", str(tmp_path / "mine.pth"), "--seeds", "1"]
    assert run(folder, "mine/out", *mine).returncode == 1
    done = run(folder, "mine-two/out", *mine, "--cluster", two_nodes[1])
    assert done.returncode == 1, done.stderr
    made = {
        name: data for name, data in tree(folder / "mine-two" / "out").items() if "dream" in name
    }
    assert len(made) == 4
    assert made.items() <= tree(folder / "mine" / "out").items()
    other = tree(folder / "local" / "out")
    assert made["coffee-dream.png"] != other["coffee-dream-0.png"]


def test_a_node_that_is_killed_costs_no_picture(folder, two_nodes):
    process, address = two_nodes
    out = folder / "killed" / "out"
    with subprocess.Popen(
        command("killed/out", "--cluster", address, "--json", "--steps", "10"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        for line in running.stderr:  # a line an item
            if "done:" in line:
                break
        process.stdin.write("kill\n")
        process.stdin.flush()
        assert process.stdout.readline() == "killed\n"
        said, _ = running.communicate(timeout=300)
    items = json.loads(said)["result"]["items"]
    assert [item["status"] for item in items].count("done") == 12
    assert run(folder, "uncut/out", "--steps", "10").returncode == 1
    assert tree(out) == tree(folder / "uncut" / "out")


def test_without_a_cluster_it_says_how_to_start_one(folder, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(folder)
    address = "127.0.0.1:1"
    assert cli.run(["batch", "in", "-o", str(tmp_path / "out"), "--cluster", address]) == 6
    said = capfd.readouterr().err
    assert f"There is no Ray cluster at '{address}'" in said
    assert "ray start --head" in said


def test_without_ray_it_says_what_to_install(folder, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(folder)
    assert cli.run(["batch", "in", "-o", str(tmp_path / "out"), "--cluster", "auto"]) == 6
    assert 'pip install "dreamer[cluster]"' in capfd.readouterr().err


def test_a_node_with_another_version_is_named():
    task = cluster_module.Task(1, None, "sky", "sky", None, ".png", True)
    answer = cluster_module.make(task, "0.0.1 (engine 1)", {})
    assert answer.code == 6
    assert "0.0.1 (engine 1)" in answer.message
