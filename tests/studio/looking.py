"""What tests do on the studio's page: give files, wait for what comes, read what was made."""

import base64
import contextlib
import io
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import expect

DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
PATIENCE = 60_000
"""Milliseconds: the machine may be busy."""


@contextlib.contextmanager
def visiting(browser, url, *, viewport=DESKTOP, scheme="light", **options):
    """Open the page as somebody new; fails on any message of the browser's console."""
    context = browser.new_context(
        viewport=viewport, color_scheme=scheme, accept_downloads=True, **options
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    watched(page)
    page.goto(url)
    page.get_by_role("tab", selected=True).wait_for()
    try:
        yield page
        said = page.complaints
    finally:
        context.close()
    assert said == []


def watched(page):
    """Collect what the browser complains of, and dialogs that a script in a name would open."""
    page.complaints = []

    def complain(message):
        # An answer of 4xx is said on the page.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            page.complaints.append(message.text)

    page.on("console", complain)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("dialog", lambda dialog: page.complaints.append(f"a dialog: {dialog.message}"))


def photo(side=(240, 160), seed=0) -> bytes:
    """A small picture with something in it, as PNG."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 12, 3), dtype=np.uint8))
    stream = io.BytesIO()
    coarse.resize(side, Image.Resampling.BICUBIC).save(stream, "PNG")
    return stream.getvalue()


def given(name: str, data: bytes, kind: str = "image/png") -> dict:
    """A file as Playwright hands it over."""
    return {"name": name, "mimeType": kind, "buffer": data}


def drop(page, name: str, data: bytes, kind: str = "image/png") -> None:
    """Drop a file on the page, as a mouse does."""
    transfer = page.evaluate_handle(
        """([name, kind, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: kind }));
            return transfer;
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event("body", event, {"dataTransfer": transfer})


def choose(page, *files: dict, button: str = "Choose a photo") -> None:
    """Choose files with a button."""
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name=button, exact=True).locator("visible=true").first.click()
    chosen.value.set_files([*files])


def paste(page, name: str, data: bytes, kind: str = "image/png") -> None:
    """Paste a picture into the page, as Ctrl+V does with one on the clipboard."""
    page.evaluate(
        """([name, kind, data]) => {
            const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, { type: kind }));
            document.body.dispatchEvent(new ClipboardEvent("paste", {
                clipboardData: transfer, bubbles: true, cancelable: true,
            }));
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )


def press_until(page, wanted: str, key: str = "Tab", most: int = 80) -> None:
    """Press a key until what has the focus is called so."""
    for _ in range(most):
        page.keyboard.press(key)
        name = page.evaluate(
            """() => {
                const node = document.activeElement;
                const labels = [...(node.labels ?? [])].map((label) => label.textContent).join(" ");
                return (node.getAttribute("aria-label") || labels || node.textContent).trim();
            }"""
        )
        if name == wanted:
            return
    raise AssertionError(f"'{wanted}' was not reached with {key}")


def strip_filled(page) -> None:
    """Wait until there is a draft of every preset."""
    thumbs = page.locator(".strip [role=radio]")
    thumbs.first.wait_for()
    expect(page.locator(".strip .arrives")).to_have_count(thumbs.count(), timeout=PATIENCE)


def smaller(page, size: int = 256) -> None:
    """Ask for dreams of a small size, as the sizes that are offered take long here."""
    page.evaluate(
        """(size) => {
            const select = [...document.querySelectorAll('.dials select')]
                .find((each) => [...each.options].some((option) => option.value === '1024'));
            select.append(new Option(String(size), String(size)));
            select.value = String(size);
            select.dispatchEvent(new Event('change', { bubbles: true }));
        }""",
        size,
    )


def growing(page) -> None:
    """Wait until a dream is seen as it grows."""
    page.get_by_alt_text("The dream as it grows").wait_for()


def dreamed(page) -> None:
    """Wait until a dream is shown beside its photo."""
    page.get_by_role("slider", name="Before and after").wait_for()


def made(folder: Path) -> list[Path]:
    """Return the pictures and films that were made for anybody, oldest first."""
    found = (folder / "outputs" / "studio").glob("*/*.*")
    return sorted((p for p in found if p.name[0] != "."), key=lambda path: path.stat().st_mtime)
