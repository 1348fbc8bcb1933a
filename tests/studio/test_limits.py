"""Limits of the studio: what would keep others waiting, fill the memory, or be told as a bug."""

import io
import json
import shlex
import socket
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image
from serving import OURS, picture, serving, until

from dreamer.errors import DreamerError
from dreamer.media import metadata
from dreamer.recipe import from_json
from dreamer.studio.jobs import Queue

FAST = {"quality": "draft", "octaves": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("limits")) as found:
        yield found


@pytest.fixture
def visitor(served):
    visitor = served.visitor()
    yield visitor
    for job in visitor.state()["jobs"]:
        visitor.post(f"/api/jobs/{job['id']}/stop")
    over = ("done", "stopped", "failed")
    until(lambda: all(job["status"] in over for job in visitor.state()["jobs"]))


def test_an_ending_that_is_too_long_does_not_hang():
    # A recipe's preset may have 255 characters: the one worker thread must return from it.
    code = (
        "from dreamer.media import files;"
        "print(len(files.fitting_name('cat', '-' + 'x' * 255 + '.png')))"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, timeout=20, capture_output=True, text=True, check=True).stdout
    assert int(said) == 255


def test_a_recipe_that_is_nested_deeply_is_damaged():
    with pytest.raises(DreamerError):
        from_json("[" * 100_000, "a.png")


@pytest.mark.parametrize("path", ["%00", "index.html%00", "a" * 300])
def test_a_strange_path_in_a_batch_is_not_found(visitor, path):
    photo = visitor.photo(picture())
    job = visitor.made(visitor.post("/api/batch", {"photos": [photo], "size": 64, "look": FAST}))
    assert visitor.get(f"/made/{job['made'][0]}/{path}").status == 404


def test_slow_uploads_of_others_keep_nobody_waiting(served, visitor):
    other = served.visitor()
    cookies = "; ".join(f"{a}={b}" for a, b in other.cookies.items())
    slow = []
    for _ in range(2):
        c = socket.create_connection(("127.0.0.1", served.port))
        slow.append(c)
        lines = (
            "POST /api/files?name=s.png HTTP/1.1",
            f"Host: localhost:{served.port}",
            "X-Dreamer: studio",
            f"Cookie: {cookies}",
            "Content-Length: 1000",
        )
        c.sendall("\r\n".join([*lines, "", "abc"]).encode())
    time.sleep(0.3)
    done = threading.Event()
    t = threading.Thread(target=lambda: (visitor.give(picture()), done.set()), daemon=True)
    t.start()
    answered = done.wait(5)
    for c in slow:
        c.close()
    t.join()
    assert answered


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/dream"), ("PUT", "/api/start")])
def test_every_error_says_what_is_wrong(visitor, method, path):
    answer = visitor.ask(method, path, None, OURS)
    assert answer.status == 405
    assert answer.message


def test_a_bug_is_told_as_all_errors_are(visitor, monkeypatch):
    monkeypatch.setattr("dreamer.studio.app._start", lambda _: 1 / 0)
    answer = visitor.get("/api/start")
    assert answer.status == 500
    assert answer.message


def recipe_of(visitor):
    photo = visitor.photo(picture(colour="navy"), "p.png")
    made = visitor.thing(
        visitor.made(
            visitor.post(
                "/api/dream", {"photo": photo, "size": 64, "look": FAST | {"preset": "eyes"}}
            )
        )
    )
    return json.loads(metadata.read(visitor.get(made["url"]).data)), photo


def hostile(recipe):
    s = io.BytesIO()
    Image.new("RGB", (64, 43), "red").save(
        s, "PNG", **metadata.save_options("PNG", json.dumps(recipe))
    )
    return s.getvalue()


def test_weights_that_are_not_here_are_no_bug(visitor):
    recipe, photo = recipe_of(visitor)
    back = visitor.photo(hostile(recipe | {"weights": "0" * 64}), "back.png")
    assert visitor.post("/api/dream", {"photo": photo, "look": {"from": back}}).status == 422


def test_a_preset_of_a_recipe_names_no_strange_file(visitor):
    recipe, photo = recipe_of(visitor)
    back = visitor.photo(hostile(recipe | {"preset": '<b>#?%: "*|'}), "back.png")
    made = visitor.thing(
        visitor.made(
            visitor.post(
                "/api/dream", {"photo": photo, "size": 64, "seed": 5, "look": {"from": back}}
            )
        )
    )
    assert not {*'<>#?%:"*| '} & {*made["name"]}


def test_a_film_has_an_end(visitor):
    hours = {"photo": "sky", "size": "64x64", "journey": [{"what": "eyes", "seconds": 600}] * 24}
    assert visitor.post("/api/zoom", hours).status == 400


def test_a_film_of_too_much_work_is_refused(visitor):
    # The second one has 1800 pictures to dream.
    for body in ({"size": "16000x16000", "fps": 120}, {"size": "1080p", "speed": 8}):
        answer = visitor.post("/api/zoom", {"photo": "sky", "seconds": 600} | body)
        if answer.status != 400:
            assert answer.status == 202
            assert "too long" in visitor.made(answer, "failed")["error"]["message"]


def long_preset(visitor):
    text = b'schema = 1\nextends = "eyes"\ndescription = "long"\n[ascent]\nsteps = 10000\n'
    assert visitor.give(text, "long.toml", "preset").status == 201


def test_a_batch_of_too_much_work_is_refused(visitor):
    long_preset(visitor)
    photo = visitor.photo(picture(colour="olive"), "p.png")
    body = {"photos": [photo], "presets": ["long"], "size": 2048, "seeds": 16}
    answer = visitor.post("/api/batch", body)
    assert answer.status == 202
    assert "too long" in visitor.made(answer, "failed")["error"]["message"]


def test_a_strip_leaves_out_what_is_too_much_work(visitor):
    # gives_way jobs do not give way to each other: everybody's strips wait for this one.
    long_preset(visitor)
    answer = visitor.post("/api/strip", {"photo": "sky"})
    end = time.monotonic() + 60
    while time.monotonic() < end:
        (job,) = [j for j in visitor.state()["jobs"] if j["id"] == answer.json["job"]["id"]]
        if job["status"] == "done":
            return
        time.sleep(0.5)
    pytest.fail(f"after 60 s: {job['doing']}")


def test_a_journey_goes_through_ones_own_preset(visitor):
    text = b'schema = 1\nextends = "fur"\ndescription = "mine"\n'
    visitor.give(text, "mine.toml", "preset")
    body = {
        "photo": "sky",
        "fps": 4,
        "size": "64x48",
        "format": "gif",
        "look": FAST,
        "journey": [{"what": "mine", "seconds": 0.5}, {"what": "eyes", "seconds": 0.5}],
    }
    visitor.made(visitor.post("/api/zoom", body))


@pytest.mark.parametrize(
    "more",
    [
        {"center": [1 / 3, 0.5]},
        {"fps": 29.97002997},
        {"seconds": 0.51234567},
        {"speed": 1.23456789},
        {"rotate": 12.3456789},
    ],
    ids=str,
)
def test_a_films_command_says_numbers_exactly(visitor, more):
    body = {
        "photo": "sky",
        "seconds": 0.25,
        "fps": 4,
        "size": "64x48",
        "format": "gif",
        "look": FAST,
    }
    made = visitor.thing(visitor.made(visitor.post("/api/zoom", body | more)))
    words = shlex.split(made["command"])
    ((name, value),) = more.items()
    said = words[words.index(f"--{name}") + 1].split(",")[0]
    assert float(said) == (value[0] if isinstance(value, list) else value)


def test_a_strip_behind_a_strip_waits_for_one():
    queue = Queue(lambda *_: None)
    queue.start()
    go = threading.Event()
    first = queue.add("a", "strip", "x", lambda _: go.wait(10), {}, gives_way=True)
    until(lambda: first.status == "running")
    second = queue.add("b", "strip", "x", lambda _: None, {}, gives_way=True)
    ahead = queue.shown(second)["ahead"]
    go.set()
    queue.close()
    assert ahead == 1


def test_what_a_zoom_cannot_bring_back_is_said(visitor):
    mask = visitor.photo(picture((64, 48), "white"), "m.png", "mask")
    body = {
        "photo": "sky",
        "seconds": 0.25,
        "fps": 4,
        "size": "64x48",
        "format": "gif",
        "look": FAST | {"mask": {"photo": mask, "feather": 0.1}},
    }
    made = visitor.thing(visitor.made(visitor.post("/api/zoom", body)))
    restored = visitor.give(visitor.get(made["url"]).data, "f.gif").json["restored"]
    assert "mask" in restored["asked"]["look"] or restored["missing"] or "mask" in restored["said"]


def test_a_page_that_does_not_listen_costs_no_memory(served, visitor):
    key = None
    with visitor.listening() as events:
        next(events)
        key = next(k for k, tabs in served.studio._tabs.items() if tabs)
        tab = next(iter(served.studio._tabs[key]))
        for _ in range(20000):
            served.studio.tell(key, "job", {"x": "y" * 1000})
        time.sleep(2)
        assert tab.qsize() < 2000
