"""A studio in a process of its own, for tests that look at it through a browser."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path


class Running:
    """A studio that runs.

    Attributes:
        url: of its page.
        folder: that it runs in; results are below its `outputs`.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dreamer", "studio", "--port", "0", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.log

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def end(self, number: int = signal.SIGINT, patience: float = 60) -> int:
        """End it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(patience)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._log.close()


@contextlib.contextmanager
def running(folder: Path, *arguments: str):
    """Run a studio in a folder; used as a context."""
    studio = Running(folder, *arguments)
    try:
        yield studio
    finally:
        studio.end()


def screenshot(page, name: str) -> None:
    """Keep a picture of a page for people to look at, where that is wanted."""
    wanted = os.environ.get("DREAMER_SCREENSHOTS")
    if wanted:
        Path(wanted).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(wanted) / f"{name}.png", full_page=True)
