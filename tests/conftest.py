import importlib.util
import shutil
import signal
from pathlib import Path

import pytest

# A shell lets what it runs in the background, and all that this starts, ignore Ctrl-C: tests that
# press it would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of real photos that scikit-image carries (read without importing it)."""
    found = importlib.util.find_spec("skimage")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "data"


@pytest.fixture(scope="session")
def astronaut(photos: Path) -> Path:
    """512x512, a face and a flag."""
    return photos / "astronaut.png"


@pytest.fixture(scope="session")
def chelsea(photos: Path) -> Path:
    """451x300, a cat."""
    return photos / "chelsea.png"


@pytest.fixture(scope="session")
def coffee(photos: Path) -> Path:
    """600x400, a cup on a table."""
    return photos / "coffee.png"


@pytest.fixture(scope="session")
def rocket(photos: Path) -> Path:
    """640x427, a JPEG: a launch at night, large plain areas."""
    return photos / "rocket.jpg"


@pytest.fixture(scope="module")
def browser():
    """Start Chromium; what asks for it is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
