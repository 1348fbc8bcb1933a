"""What our pages have in common: they are single static files that ask for nothing.

Only their own scripts and styles may run: a content security policy names each by its hash. What
may come from anybody's file names is escaped by the template.
"""

from __future__ import annotations

import base64
import hashlib
import os
import urllib.parse
from importlib import resources

import jinja2
from markupsafe import Markup


def template(package: str) -> jinja2.Template:
    """Return the template `page.html` of a package of ours.

    Its filter `source_hash` gives what a content security policy calls an inline script or style.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["source_hash"] = _source_hash
    return environment.get_template("page.html")


def source(package: str, name: str) -> Markup:
    """Return a file of ours that stands in a page as it is."""
    return Markup(resources.files(package).joinpath(name).read_text("utf-8"))


def url(path: str) -> str:
    """Return a path below the page's folder as a relative URL, exact to the byte of its names."""
    return "/".join(
        urllib.parse.quote_from_bytes(path_bytes(part), safe="") for part in path.split("/") if part
    )


def path_bytes(path: str) -> bytes:
    """Return the bytes that the file system knows `path` by."""
    try:
        return os.fsencode(path)
    except UnicodeEncodeError:  # no file is called so, and no page fails because of it
        return path.encode(errors="surrogatepass")


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
