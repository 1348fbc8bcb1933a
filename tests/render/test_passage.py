"""Films from one feature visualization to the next."""

import statistics
import time
from pathlib import Path

import pytest
import torch

import dreamer
from dreamer.core import judging
from dreamer.errors import NetworkError, OutputError, UsageError
from dreamer.film import reading
from dreamer.media import films, footage
from dreamer.render import making, passage, steering
from dreamer.render.film_job import Delivery
from dreamer.render.look import Request
from dreamer.render.visual_job import VisualRequest


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Small pictures take longer with more, which wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def network():
    return dreamer.load_network("efficientnet_lite0")


@pytest.fixture
def prepare(network):
    def prepare(*targets, output="film", seconds=1.0, fps=6.0, loop=False, **more):
        delivery = Delivery(Path(output), **more.pop("delivery", {}))
        settings = {"steps": 3, **more.pop("settings", {})}
        seed = more.pop("seed", None)
        request = VisualRequest(
            targets,
            size=more.pop("size", (64, 64)),
            settings=settings,
            look=Request(network=network, threads=1, seed=seed),
            **more,
        )
        return passage.prepare(request, delivery, seconds=seconds, fps=fps, loop=loop)

    return prepare


def left():
    return sorted(str(path) for path in Path().rglob("*"))


def worth(network, station, frame):
    goal = steering.objective(station, network.row)
    pixels = torch.frombuffer(bytearray(frame), dtype=torch.uint8).view(64, 64, 3)
    shown = pixels.permute(2, 0, 1)[None] / 255
    return judging.held_out(shown, network.features(goal.layers), goal, crops=16)


def apart(one, other):
    first, second = (
        torch.frombuffer(bytearray(x), dtype=torch.uint8).float() for x in (one, other)
    )
    return float((first - second).abs().mean())


def test_each_end_shows_its_own_unit(network, prepare):
    film = prepare("block5:3", "block5:20", settings={"steps": 8})
    assert making.make(film) is True
    frames = list(footage.frames("film"))
    assert len(frames) == film.recipe.frames == 6
    first, last = film.recipe.stations
    assert worth(network, first, frames[0]) > worth(network, first, frames[-1]) + 0.1
    assert worth(network, last, frames[-1]) > worth(network, last, frames[0]) + 0.1
    assert worth(network, first, frames[0]) > worth(network, first, frames[3])


@pytest.mark.parametrize(
    ("targets", "loop", "count", "keys"),
    [
        (("block5:3", "block8:1"), False, 6, 7),
        (("block5:3", "block8:1"), True, 12, 12),
        (("block5:3", "block8:1", "class:zebra"), False, 12, 13),
        (("block5:3", "block8:1", "class:zebra"), True, 18, 18),
    ],
    ids=str,
)
def test_there_are_so_many_frames_from_each_to_the_next(prepare, targets, loop, count, keys):
    film = prepare(*targets, loop=loop)
    assert (film.recipe.frames, film.recipe.keys, film.recipe.loop) == (count, keys, loop)
    assert making.make(film) is True
    frames = list(footage.frames("film"))
    assert len(frames) == count
    assert len(set(frames)) == count
    around = apart(frames[0], frames[-1])
    steps = [apart(one, other) for one, other in zip(frames, frames[1:], strict=False)]
    assert (around < 2 * statistics.median(steps)) is loop
    assert film.recipe.places[0] == 0
    assert film.recipe.places[-1] == (1 - 1 / count if loop else 1)


@pytest.mark.parametrize("canvas", ["fourier", "maco", "pixel"])
def test_the_same_film_twice_is_the_same_to_the_byte(prepare, canvas):
    settings = {"canvas": canvas}
    for name in ("a.mp4", "b.mp4"):
        film = prepare("block5:3", "block8:1", output=name, settings=settings, size=(66, 48))
        assert making.make(film) is True
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    other = prepare(
        "block5:3", "block8:1", output="c.mp4", settings=settings, seed=1, size=(66, 48)
    )
    assert making.make(other) is True
    assert Path("a.mp4").read_bytes() != Path("c.mp4").read_bytes()
    assert left() == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize("name", ["film", "film.mp4", "film.gif", "film.webp"])
def test_a_film_carries_its_recipe_and_is_kept(prepare, name):
    film = prepare("block5:3", "block8:1 - 0.5*class:zebra", output=name)
    assert not film.kept
    making.make(film)
    found = reading.recipe_in(Path(name))
    assert found == film.recipe
    assert found.facts()["targets"] == "block5:3, block8:1 - 0.5*class:zebra"
    assert reading.from_json(film.recipe.to_json(), name).hash == film.recipe.hash
    before = {path: Path(path).read_bytes() for path in left() if Path(path).is_file()}
    again = prepare("block5:3", "block8:1 - 0.5*class:zebra", output=name)
    assert again.kept
    assert making.make(again) is True
    assert {path: Path(path).read_bytes() for path in before} == before
    for changes in ({"seed": 1}, {"loop": True}, {"settings": {"steps": 4}}, {"fps": 5.0}):
        with pytest.raises(OutputError, match="exists, with another recipe"):
            prepare("block5:3", "block8:1 - 0.5*class:zebra", output=name, **changes)
    with pytest.raises(OutputError, match="targets"):
        prepare("block5:3", "block8:2", output=name)
    replaced = prepare("block5:3", "block8:2", output=name, delivery={"overwrite": True})
    assert not replaced.kept


@pytest.mark.parametrize(
    ("targets", "more", "said"),
    [
        (("block5:3",), {}, "at least two targets"),
        ((), {}, "at least two targets"),
        ((), {"recipe": "a.png"}, "--from"),
        (("block5:3", "block8:1"), {"recipe": "a.png"}, "--from"),
        (("block5:3", "block8:1"), {"diversity": 2}, "--diversity"),
        (("block5:3", "block8:1"), {"restarts": 2}, "--restarts"),
        (("block5:3", "block8:1"), {"settings": {"alpha": True}}, "--alpha"),
        (("block5:3", "block8:1"), {"settings": {"octaves": 2}}, "--octaves"),
        (("block5:3", "block8:1"), {"fps": 0.0}, "--fps"),
        (("block5:3", "block8:1"), {"fps": 241.0}, "--fps"),
        (("block5:3", "block8:1"), {"fps": float("nan")}, "--fps"),
        (("block5:3", "block8:1"), {"seconds": 0.0}, "--seconds"),
        (("block5:3", "block8:1"), {"seconds": -1.0}, "--seconds"),
        (("block5:3", "block8:1"), {"seconds": 601.0}, "--seconds"),
        (("block5:3", "blok8:1"), {}, "block8"),
        (("block5:3", "block8:1"), {"output": "film.bmp"}, "bmp"),
    ],
    ids=str,
)
def test_what_makes_no_film_is_refused_at_once(prepare, targets, more, said):
    with pytest.raises(UsageError, match=said):
        prepare(*targets, **more)
    assert left() == []


@pytest.mark.parametrize("name", ["film", "film.mp4"])
def test_stopped_it_leaves_nothing(prepare, name):
    steps = []
    film = prepare("block5:3", "block8:1", output=name, settings={"steps": 50})
    assert making.make(film, on_progress=steps.append, stop=lambda: len(steps) == 2) is False
    assert [(each.work, each.whole) for each in steps] == [(1, 50), (2, 50)]
    assert left() == []

    def pressed(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        making.make(film, on_progress=pressed)
    assert left() == []


def test_stopped_while_it_is_written_it_leaves_nothing(prepare, monkeypatch):
    stopped = []
    real = films.Writer.add

    def add(self, frame):
        stopped.append(1)
        time.sleep(0.01)  # or it would be there before anybody asks
        return real(self, frame)

    monkeypatch.setattr(films.Writer, "add", add)
    film = prepare("block5:3", "block8:1", output="film.mp4", seconds=20.0)
    assert making.make(film, stop=lambda: bool(stopped)) is False
    assert left() == []


def test_a_network_that_answers_with_no_numbers_makes_no_film(network, prepare, monkeypatch):
    real = network.features

    def broken(layers):
        answer = real(layers)
        return lambda pixels: {name: v * torch.nan for name, v in answer(pixels).items()}

    film = prepare("block5:3", "block8:1")
    monkeypatch.setattr(network, "features", broken)
    with pytest.raises(NetworkError, match="not numbers"):
        making.make(film)
    assert left() == []
