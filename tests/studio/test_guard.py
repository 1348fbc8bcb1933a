"""Who may ask, and from where: the studio behind its guard, with raw requests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import OURS, Served, Visitor, serving

from dreamer.studio.guard import POLICY, Keys


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("guard")) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("token"), guarded=True) as found:
        yield found


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST"])
def test_a_page_on_this_machine_is_answered(served: Served, host: str) -> None:
    assert served.visitor(known=False).get("/", Host=f"{host}:{served.port}").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "localhost@evil.example", "", "[", "[::1"]
)
def test_other_names_of_this_machine_are_refused(served: Served, host: str) -> None:
    visitor = served.visitor()
    for answer in (visitor.get("/api/start", Host=host), visitor.post("/api/strip", Host=host)):
        assert answer.status == 421
        assert answer.message
    page = visitor.get("/", Host=host)
    assert page.status == 421
    assert b"is no name of this studio" in page.data


@pytest.mark.parametrize("name", ["index.html", "studio.js"])
def test_every_answer_says_what_a_page_may_do(served: Served, name: str) -> None:
    visitor = served.visitor()
    for path in ("/", f"/assets/{name}", "/api/start", "/nothing"):
        headers = visitor.get(path).headers
        assert headers.get_all("content-security-policy") == [POLICY]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers


def test_the_policy_runs_nothing_that_is_written_into_the_page() -> None:
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY
    assert "*" not in POLICY
    assert "http" not in POLICY


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(served: Served) -> None:
    (cookie,) = served.visitor(known=False).get("/").headers.get_all("set-cookie")
    parts = [part.strip() for part in cookie.split(";")]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {*parts}


HOSTILE = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://["},
    {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", HOSTILE, ids=str)
def test_another_page_changes_nothing(served: Served, headers: dict[str, str]) -> None:
    visitor = served.visitor()
    before = served.files()
    for path in ("/api/files?name=a.png", "/api/dream", "/api/jobs/j1/stop"):
        answer = visitor.post(path, b"{}", **headers)
        assert answer.status == 403
        assert answer.message
    assert served.files() == before
    assert visitor.state()["jobs"] == []


@pytest.mark.parametrize("header", [{}, {"X-Dreamer": "other"}], ids=str)
def test_a_form_of_another_page_has_no_header(served: Served, header: dict[str, str]) -> None:
    visitor = served.visitor()
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
    for kind in kinds:
        answer = visitor.ask("POST", "/api/dream", b"{}", {"Content-Type": kind} | header)
        assert answer.status == 403


def test_no_other_page_is_told_that_it_may_ask(served: Served) -> None:
    asked = {
        "Origin": "http://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-dreamer",
    }
    answer = served.visitor().ask("OPTIONS", "/api/dream", headers=asked)
    assert answer.status == 403
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_reads_nothing(served: Served, site: str) -> None:
    visitor = served.visitor()
    for path in ("/api/start", "/api/events", "/assets/studio.js", "/made/m1/a.png"):
        for mode in ("cors", "no-cors"):
            answer = visitor.get(path, **{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode})
            assert answer.status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_a_link_to_the_page_is_followed(served: Served, site: str) -> None:
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert served.visitor(known=False).get("/", **headers).status == 200


def test_our_own_page_may_ask(served: Served) -> None:
    visitor = served.visitor()
    headers = {"Origin": f"http://localhost:{served.port}", "Sec-Fetch-Site": "same-origin"}
    assert visitor.post("/api/dream", {"photo": "none"}, **headers).status == 400


def test_a_stranger_gets_the_page_and_nothing_else(served: Served) -> None:
    for path in ("/api/start", "/api/events", "/made/m1/a.png", "/assets/studio.js"):
        assert served.visitor(known=False).get(path).status == 401
    for path in ("/api/dream", "/api/files?name=a.png"):
        assert served.visitor(known=False).post(path).status == 401


def test_a_page_that_is_only_looked_at_leaves_nothing(served: Served) -> None:
    before = served.files()
    visitor = served.visitor()
    assert visitor.get("/api/start").status == 200
    assert visitor.state()["photos"] == []
    assert served.files() == before


def forged(cookie: str) -> list[str]:
    name, _, signature = cookie.partition(".")
    other = "0" * 32
    return [
        name,
        f"{name}.",
        f"{name}.{'0' * 64}",
        f"{other}.{signature}",
        f"../../{signature}",
        f"{name}.{signature}.{signature}",
        f"{name.upper()}.{signature}" if name.upper() != name else f"{other}.{signature}",
        "é.é",
        "",
    ]


def test_a_cookie_that_was_not_signed_here_is_nobody(served: Served) -> None:
    visitor = served.visitor()
    ((name, right),) = visitor.cookies.items()
    assert visitor.get("/api/start").status == 200
    for wrong in forged(right):
        visitor.cookies = {name: wrong.encode().decode("latin-1")}
        assert visitor.get("/api/start").status == 401, wrong


def test_cookies_of_other_programs_on_this_machine_do_no_harm(served: Served) -> None:
    visitor = served.visitor()
    ours = visitor.cookies
    for others in ({"a": '{"b": 1}'}, {"a[0]": "x"}, {"a": '"'}, {"": ""}, {"a,b": "c=d="}):
        for cookies in (others | ours, ours | others):
            visitor.cookies = cookies
            assert visitor.get("/api/start").status == 200, others


def test_studios_on_two_ports_keep_their_cookies_apart(served: Served, guarded: Served) -> None:
    here, there = served.visitor(), guarded.visitor(known=False)
    assert there.get(f"/?token={guarded.token}").status == 303
    assert not {*here.cookies} & {*there.cookies}


def test_a_person_is_the_same_after_a_restart(tmp_path: Path) -> None:
    first, second = Keys(tmp_path), Keys(tmp_path)
    person = "0123456789abcdef" * 2
    assert second.person(f"{person}.{first.sign(f'person {person}')}") == person
    other = Keys(tmp_path / "other")
    assert other.person(f"{person}.{first.sign(person)}") is None
    # Whatever the port is: it is the folder that is the same.
    assert first.cookies == second.cookies
    assert not {*first.cookies} & {*other.cookies}


def test_a_secret_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / ".secret").write_bytes(b"short")
    Keys(tmp_path)
    assert len((tmp_path / ".secret").read_bytes()) == 32
    assert (tmp_path / ".secret").stat().st_mode & 0o077 == 0


def test_a_signature_of_one_thing_is_none_of_another(tmp_path: Path) -> None:
    keys = Keys(tmp_path, guarded=True)
    assert keys.token is not None
    assert not keys.may(keys.sign(f"person {keys.token}"))
    assert keys.person(f"{keys.token}.{keys.sign(f'token {keys.token}')}") is None


def test_the_token_is_the_same_as_long_as_the_secret_is(tmp_path: Path) -> None:
    token = Keys(tmp_path, guarded=True).token
    assert token == Keys(tmp_path, guarded=True).token
    assert token is not None
    assert len(token) == 32
    (tmp_path / ".secret").unlink()
    assert Keys(tmp_path, guarded=True).token != token
    assert Keys(tmp_path).token is None


def enter(guarded: Served) -> Visitor:
    visitor = guarded.visitor(known=False, host="192.0.2.7")
    answer = visitor.get(f"/?token={guarded.token}")
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    return visitor


def test_the_token_is_shown_once_and_leaves_the_address(guarded: Served) -> None:
    visitor = enter(guarded)
    assert guarded.token not in str(visitor.cookies)
    assert visitor.get("/").status == 200
    assert visitor.get("/api/start").status == 200
    assert visitor.post("/api/dream", {"photo": "none"}).status == 400


@pytest.mark.parametrize("given", ["", "?token=", "?token=wrong", "?token=%00", "?token=%ff%fe"])
def test_without_the_token_there_is_nothing(guarded: Served, given: str) -> None:
    visitor = guarded.visitor(known=False)
    refused = visitor.get(f"/{given}")
    assert refused.status == 401
    assert refused.headers["content-type"].startswith("text/html")
    assert b"asks for its token" in refused.data
    assert visitor.cookies == {}
    for path in ("/api/start", "/api/events", "/assets/studio.js"):
        assert visitor.get(path + given).status == 401
    assert visitor.post(f"/api/files{given}").status == 401


def test_the_token_opens_nothing_but_the_page(guarded: Served) -> None:
    visitor = guarded.visitor(known=False)
    assert visitor.get(f"/api/start?token={guarded.token}").status == 401
    assert visitor.post(f"/?token={guarded.token}").status in (401, 405)
    assert visitor.cookies == {}


def test_a_person_without_the_token_is_still_not_let_in(guarded: Served) -> None:
    visitor = enter(guarded)
    visitor.cookies = {k: v for k, v in visitor.cookies.items() if "token" not in k}
    assert visitor.get("/").status == 401
    assert visitor.get("/api/start").status == 401


def test_another_page_is_refused_with_the_token_too(guarded: Served) -> None:
    visitor = enter(guarded)
    for headers in HOSTILE:
        assert visitor.post("/api/dream", {"photo": "sky"}, **headers).status == 403


def test_what_is_no_request_of_a_page_is_refused_calmly(served: Served) -> None:
    visitor = served.visitor()
    for method in ("PUT", "DELETE", "PATCH"):
        assert visitor.ask(method, "/api/dream", b"{}", OURS).status == 405
