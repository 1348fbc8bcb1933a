"""The studio as a browser meets it: a real server, files given, jobs asked for, things fetched."""

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from serving import OURS, Served, Visitor, picture, serving, small, told, until

from dreamer import presets
from dreamer.studio import app, asks, jobs, uploads

FAST = {"quality": "draft", "octaves": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("app")) as found:
        yield found


@pytest.fixture
def visitor(served: Served) -> Iterator[Visitor]:
    visitor = served.visitor()
    yield visitor
    for job in visitor.state()["jobs"]:
        visitor.post(f"/api/jobs/{job['id']}/stop")
    until(lambda: all(job["ended"] for job in ended(visitor)))


def ended(visitor: Visitor) -> list[dict[str, bool]]:
    over = ("done", "stopped", "failed")
    return [{"ended": job["status"] in over} for job in visitor.state()["jobs"]]


@pytest.fixture(scope="module")
def cat(chelsea: Path) -> bytes:
    return small(chelsea)


def test_the_page_and_its_parts_come_from_here(visitor: Visitor) -> None:
    page = visitor.get("/")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    text = page.data.decode()
    for name in re.findall(r'(?:src|href)="([^"#]+)"', text):
        assert name.startswith("/assets/")
        part = visitor.get(name)
        assert part.status == 200
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        assert part.headers["content-type"].startswith(kinds[name.rpartition(".")[2]])


def test_the_page_holds_no_script_and_no_style_of_its_own(visitor: Visitor) -> None:
    text = visitor.get("/").data.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<style|\sstyle=|\son\w+=", text)
    assert "//" not in re.sub(r"http://www\.w3\.org/\S+", "", text)


def test_it_says_what_there_is_to_choose_from(visitor: Visitor) -> None:
    start = visitor.get("/api/start").json
    assert [each["name"] for each in start["presets"]] == sorted(presets.names())
    assert "dream" in presets.names()
    assert {"quality", "color", "canvas", "keep", "guide"} == {*start["choices"]}
    assert len(start["classes"]) == len(start["class_targets"]) == 1000
    assert start["limits"]["upload"] == uploads.MOST_BYTES
    for target in (start["class_targets"][0], start["class_targets"][999]):
        assert asks.plain_target(target) == target
    for each in start["presets"]:
        assert {"target", "strength", "octaves", "quality"} <= {*each["settings"]}


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/assets/../app.py",
        "/assets/..%2fapp.py",
        "/assets/%2e%2e%2fguard.py",
        "/assets/nothing.js",
        "/assets/%00",
        "/api/files/..%2f..%2f.secret/preview",
        "/api/files/%2fetc%2fpasswd/preview",
        "/api/files/%00/preview",
        "/api/units/..%2f..%2f.secret",
        "/api/units/parts",
        "/api/units/block8:0%00",
        "/api/units/" + "a" * 3000,
        "/api/jobs/j999/frame",
        "/api/jobs/%00/pictures/0",
        "/made/m999/x.png",
        "/made/m999/thumb",
        "/made/../.secret",
        "/made/..%2f.secret/thumb",
    ],
)
def test_what_is_not_there_is_not_found(visitor: Visitor, path: str) -> None:
    answer = visitor.get(path)
    assert answer.status == 404
    assert answer.message


def test_a_photo_is_given_and_seen(visitor: Visitor, cat: bytes) -> None:
    answer = visitor.give(cat, "../../<b>my cat</b>.png")
    assert answer.status == 201
    photo = answer.json["file"]
    assert (photo["width"], photo["height"], photo["as"]) == (96, 64, "photo")
    preview = visitor.get(photo["url"])
    assert preview.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(preview.data)) as image:
        assert image.size == (96, 64)
    assert [each["id"] for each in visitor.state()["photos"]] == [photo["id"]]


def test_names_of_all_tongues_have_addresses(visitor: Visitor) -> None:
    for number, name in enumerate(("été à Paris.png", "写真.png", "50% #1?.png", "x" * 300)):
        photo = visitor.give(picture((8, 8 + number)), name).json["file"]
        assert visitor.get(photo["url"]).status == 200
        assert visitor.get(f"/api/files/{told(photo['id'])}/preview").status == 200


def test_what_is_refused_leaves_no_file(served: Served, visitor: Visitor, cat: bytes) -> None:
    before = served.files()
    for data, name in ((b"hello", "a.jpg"), (b"", "a.png"), (cat[: len(cat) // 2], "a.png")):
        answer = visitor.give(data, name)
        assert answer.status == 422
        assert name in answer.message
    assert visitor.give(cat, kind="secret").status == 400
    assert visitor.give(b"schema = 1", "a.toml", "preset").status == 400
    assert served.files() == before
    assert visitor.state()["photos"] == []


def raw(visitor: Visitor, head: str) -> socket.socket:
    """A connection on which a file begins to be given."""
    cookies = "; ".join(f"{name}={each}" for name, each in visitor.cookies.items())
    connection = socket.create_connection(("127.0.0.1", visitor.port), timeout=20)
    said = f"POST /api/files?name=a.png HTTP/1.1\r\nHost: {visitor.host}\r\nX-Dreamer: studio\r\n"
    connection.sendall(f"{said}Cookie: {cookies}\r\n{head}\r\n\r\n".encode())
    return connection


def test_a_file_that_is_too_large_is_refused_before_it_comes(
    served: Served, visitor: Visitor
) -> None:
    before = served.files()
    with raw(visitor, f"Content-Length: {uploads.MOST_BYTES + 1}") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 422")
    assert served.files() == before


@pytest.mark.parametrize("said", ["Content-Length: 400000", "Transfer-Encoding: chunked"])
def test_a_file_is_refused_where_it_becomes_too_large(
    served: Served, visitor: Visitor, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = served.files()
    monkeypatch.setattr(uploads, "MOST_BYTES", 300_000)
    block = bytes(100_000)
    sent = b"%x\r\n%s\r\n" % (len(block), block) if "chunked" in said else block
    with raw(visitor, said) as connection:
        for _ in range(4):
            connection.sendall(sent)
        assert connection.recv(100).startswith(b"HTTP/1.1 422")
    until(lambda: served.files() == before)


def test_a_file_that_is_broken_off_leaves_nothing(served: Served, visitor: Visitor) -> None:
    before = served.files()
    with raw(visitor, "Content-Length: 1000000") as connection:
        connection.sendall(picture())
        until(lambda: any(name.endswith(".part") for name in served.files()))
    until(lambda: served.files() == before)
    assert visitor.state()["photos"] == []


def test_a_preset_is_given_chosen_and_another_person_has_it_not(
    served: Served, visitor: Visitor
) -> None:
    text = b'schema = 1\nextends = "eyes"\ndescription = "<img src=x onerror=alert(1)>"\n'
    answer = visitor.give(text, "mine.toml", "preset")
    assert answer.status == 201
    assert answer.json["preset"]["own"] is True
    mine = [each for each in visitor.get("/api/start").json["presets"] if each["own"]]
    assert [each["name"] for each in mine] == ["mine"]
    assert visitor.state()["presets"] == ["mine"]
    asked = {"photo": "sky", "size": 64, "look": FAST | {"preset": "mine"}}
    made = visitor.thing(visitor.made(visitor.post("/api/dream", asked)))
    assert made["name"] == "sky-mine.png"
    other = served.visitor()
    assert other.state()["presets"] == []
    assert other.post("/api/dream", asked).status == 400


def test_what_is_no_json_is_refused(visitor: Visitor) -> None:
    bodies = (
        b"{",
        b"\xff",
        b"[" * 200_000,
        b'{"a":' * 40_000,
        b'{"photo": "sky", "seed": ' + b"9" * 5000 + b"}",
        b'{"photo": "sky", "look": {"strength": NaN}}',
        b'{"photo": "sky", "look": {"strength": -Infinity}}',
        b'{"photo": "sky", "seed": 1e999}',
        b'{"photo": "\\ud800"}',
        b'{"\\ud800": "sky"}',
        b'{"photo": "sky", "look": {"target": "\\udfff"}}',
        b"null",
        b"[1" + b",1" * 200_000 + b"]",
    )
    for path in ("/api/dream", "/api/zoom", "/api/batch", "/api/strip", "/api/units", "/api/unit"):
        for body in bodies:
            answer = visitor.post(path, body)
            assert answer.status == 400, (path, body[:60])
            assert answer.message
    assert visitor.state()["jobs"] == []


def test_a_dream_grows_ends_and_is_taken_away(visitor: Visitor, cat: bytes) -> None:
    photo = visitor.photo(cat, "cat.png")
    body = {"photo": photo, "size": 96, "seed": 2, "look": FAST | {"preset": "eyes"}}
    job = visitor.made(visitor.post("/api/dream", body))
    assert (job["share"], job["error"], job["asked"]) == (1.0, None, body)
    frame = visitor.get(job["frame"])
    assert frame.headers["content-type"] == "image/jpeg"
    made = visitor.thing(job)
    assert (made["kind"], made["photo"], made["partial"]) == ("dream", photo, False)
    assert (made["width"], made["height"]) == (96, 64)
    found = visitor.get(made["url"])
    assert found.headers["content-type"] == "image/png"
    assert "content-disposition" not in found.headers
    (place,) = made["files"]
    assert Path(place).read_bytes() == found.data
    download = visitor.get(f"{made['url']}?download=1")
    assert download.data == found.data
    assert "cat-eyes.png" in download.headers["content-disposition"]
    assert visitor.get(made["thumb"]).headers["content-type"] == "image/jpeg"
    part = visitor.get(made["url"], Range="bytes=0-7")
    assert (part.status, part.data) == (206, found.data[:8])


def test_the_same_dream_is_not_made_twice(visitor: Visitor) -> None:
    body = {"photo": "sky", "size": 64, "look": FAST}
    first, second = (visitor.made(visitor.post("/api/dream", body)) for _ in range(2))
    assert first["made"] == second["made"]
    assert "it was here already, with this very recipe" in second["notes"]


def test_two_people_share_the_line_and_nothing_else(
    served: Served, visitor: Visitor, cat: bytes
) -> None:
    other = served.visitor()
    photo = visitor.photo(cat, "cat.png")
    with other.listening() as events:
        next(events)
        body = {"photo": photo, "size": 96, "look": FAST | {"preset": "fur"}}
        job = visitor.made(visitor.post("/api/dream", body))
        made = visitor.thing(job)
        paths = [
            made["url"],
            made["thumb"],
            job["frame"],
            f"/api/files/{told(photo)}/preview",
            f"/api/jobs/{job['id']}/pictures/0",
        ]
        for path in paths[:4]:
            assert visitor.get(path).status == 200
        for path in paths:
            assert other.get(path).status == 404
        for verb in ("stop", "drop"):
            assert other.post(f"/api/jobs/{job['id']}/{verb}").status == 404
        for asked in (
            {"photo": photo},
            {"photo": "sky", "look": {"from": photo}},
            {"photo": "sky", "look": {"mask": {"photo": photo}}},
            {"photo": "sky", "look": {"guide": {"photo": photo}}},
        ):
            assert other.post("/api/dream", asked).status == 400
        assert other.post("/api/batch", {"photos": [photo]}).status == 400
        # The first that the other one is told is their own.
        own = other.post("/api/dream", {"photo": "sky", "size": 64, "look": FAST})
        told_of = next(data for name, data in events if name == "job")
        assert told_of["id"] == own.json["job"]["id"]
        other.made(own)
    assert [each["kind"] for each in other.state()["made"]] == ["dream"]
    assert other.state()["photos"] == []


def slow(seed: int = 0) -> dict[str, object]:
    return {"photo": "sky", "size": 1600, "seed": seed, "look": {"quality": "fine"}}


def test_a_second_person_waits_in_line_and_sees_how_long(served: Served, visitor: Visitor) -> None:
    other = served.visitor()
    first = visitor.post("/api/dream", slow()).json["job"]["id"]
    answer = other.post("/api/dream", {"photo": "sky", "size": 64, "look": FAST})
    assert answer.json["job"]["status"] == "waiting"
    assert answer.json["job"]["ahead"] == 1
    assert [job["ahead"] for job in other.state()["jobs"]] == [1]
    assert visitor.post(f"/api/jobs/{first}/stop").status == 202
    assert other.made(answer)["status"] == "done"


def test_a_dream_that_is_stopped_is_kept_as_far_as_it_is(visitor: Visitor) -> None:
    answer = visitor.post("/api/dream", slow(1))
    name = answer.json["job"]["id"]
    until(lambda: visitor.state()["jobs"][-1]["share"] > 0)
    assert visitor.post(f"/api/jobs/{name}/stop").status == 202
    made = visitor.thing(visitor.made(answer, "stopped"))
    assert made["partial"] is True
    assert visitor.get(made["url"]).status == 200


def test_a_waiting_job_is_stopped_and_dropped(visitor: Visitor) -> None:
    first, second = (visitor.post("/api/dream", slow(seed)).json["job"] for seed in (2, 3))
    assert visitor.post(f"/api/jobs/{second['id']}/drop").status == 400
    assert visitor.post(f"/api/jobs/{second['id']}/stop").json["job"]["status"] == "stopped"
    assert visitor.post(f"/api/jobs/{second['id']}/drop").status == 204
    assert [job["id"] for job in visitor.state()["jobs"]] == [first["id"]]


def test_closing_the_page_loses_no_job(visitor: Visitor) -> None:
    with visitor.listening() as events:
        next(events)
        body = {"photo": "noise", "size": 64, "look": FAST}
        name = visitor.post("/api/dream", body).json["job"]["id"]
    until(lambda: visitor.state()["jobs"][-1]["status"] == "done")
    (job,) = visitor.state()["jobs"]
    assert job["id"] == name
    assert visitor.thing(job)["name"].startswith("noise-")


def test_a_line_that_is_full_is_said(visitor: Visitor) -> None:
    for seed in range(jobs.MOST_WAITING):
        assert visitor.post("/api/dream", slow(10 + seed)).status == 202
    answer = visitor.post("/api/dream", slow(99))
    assert answer.status == 400
    assert "in line already" in answer.message


def test_pages_that_are_left_make_room_for_others(served: Served, visitor: Visitor) -> None:
    for _ in range(2 * app.MOST_TABS):
        with visitor.listening() as events:
            assert next(events)[0] == "state"
    visitor.state()


def test_a_dream_that_would_keep_all_waiting_is_refused(visitor: Visitor) -> None:
    text = b'schema = 1\nextends = "eyes"\ndescription = "long"\n[ascent]\nsteps = 10000\n'
    assert visitor.give(text, "long.toml", "preset").status == 201
    body = {"photo": "sky", "size": 2048, "look": {"preset": "long"}}
    job = visitor.made(visitor.post("/api/dream", body), "failed")
    assert "too long here" in job["error"]["message"]


def test_small_pictures_fill_while_one_looks(visitor: Visitor) -> None:
    targets = ["block8:3", "class:zebra"]
    job = visitor.made(visitor.post("/api/units", {"targets": [*targets, "block8:3"]}))
    units = job["result"]["units"]
    assert {each["target"] for each in units} == {*targets}
    for each in units:
        found = visitor.get(each["url"])
        assert found.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(found.data)) as image:
            assert image.size == (96, 96)
    for wrong in ("parts", "0.5*block8:3", "block8", "block8:99999", "like:a.png@parts"):
        assert visitor.post("/api/units", {"targets": [wrong]}).status == 400


def test_a_strip_fills_and_a_dream_overtakes_it(visitor: Visitor, cat: bytes) -> None:
    photo = visitor.photo(cat, "cat.png")
    strip = visitor.post("/api/strip", {"photo": photo})
    until(lambda: (visitor.state()["jobs"][0]["result"] or {}).get("drafts"))
    visitor.made(visitor.post("/api/dream", {"photo": photo, "size": 64, "look": FAST}))
    (job,) = (job for job in visitor.state()["jobs"] if job["kind"] == "strip")
    assert job["status"] == "running"
    for draft in job["result"]["drafts"]:
        assert draft["preset"] in presets.names()
        assert visitor.get(draft["url"]).headers["content-type"] == "image/jpeg"
    visitor.post(f"/api/jobs/{job['id']}/stop")
    visitor.made(strip, "stopped")


def test_a_batchs_page_is_seen_and_nothing_beside_it(visitor: Visitor, cat: bytes) -> None:
    photo = visitor.photo(cat, "cat.png")
    body = {"photos": [photo], "presets": ["eyes"], "size": 64, "look": FAST}
    job = visitor.made(visitor.post("/api/batch", body))
    assert [item["status"] for item in job["result"]["items"]] == ["done"]
    made = visitor.thing(job)
    page = visitor.get(job["result"]["page"])
    assert page.headers["content-type"].startswith("text/html")
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    base = f"/made/{made['id']}/"
    assert visitor.get(f"{base}cat-eyes.png").headers["content-type"] == "image/png"
    folder = Path(made["files"][0])
    (folder / "link.png").symlink_to(folder.parent.parent / ".secret")
    (folder / "out").symlink_to(folder.parent)
    for path in (
        "link.png",
        "out/.studio.json",
        "out/photos/cat.png",
        "../photos/cat.png",
        "..%2fphotos%2fcat.png",
        "%2e%2e/photos/cat.png",
        "..\\photos\\cat.png",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        ".hidden",
        "index.html/x",
        "",
        ".",
    ):
        assert visitor.get(base + quote(path, safe="/%")).status == 404, path


def test_what_the_studio_says_of_a_bug_holds_no_secrets(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_start", lambda _: 1 / 0)
    answer = visitor.get("/api/start")
    assert answer.status == 500
    assert b"Traceback" not in answer.data
    assert b"division" not in answer.data


def studio(folder: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dreamer", "studio", "--port", "0", *flags],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent in another way there")
def test_the_command_serves_until_ctrl_c_and_keeps_what_was_made(tmp_path: Path) -> None:
    with studio(tmp_path) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        port = int(re.fullmatch(r"http://localhost:(\d+)/", url)[1])  # type: ignore[index]
        visitor = Visitor(port)
        answer = visitor.post("/api/dream", slow())
        with visitor.listening() as events:
            next(data for name, data in events if name == "job" and data["share"] > 0)
            process.send_signal(signal.SIGINT)
            began = time.monotonic()
            _, said = process.communicate(timeout=30)
        assert process.returncode == 0, said
        assert time.monotonic() - began < 25
        assert "Traceback" not in said
        assert answer.status == 202
        assert [*tmp_path.glob("outputs/studio/*/sky-dream.png")]


def test_beyond_this_machine_a_token_is_asked_for(tmp_path: Path) -> None:
    with studio(tmp_path, "--host", "0.0.0.0", "--json") as process:
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
            url = (said.get("result") or said)["url"]
            found = re.fullmatch(r"http://\S+:(\d+)/\?token=(\S{20,})", url)
            assert found is not None
            visitor = Visitor(int(found[1]), known=False)
            assert visitor.get("/").status == 401
            assert visitor.ask("POST", "/api/dream", b"{}", OURS).status == 401
            assert visitor.get(f"/?token={found[2]}").status == 303
            assert visitor.get("/api/start").status == 200
        finally:
            process.terminate()
            process.communicate(timeout=30)
