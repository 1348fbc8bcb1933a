"""What jobs share: the network, and the photos that were read last."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from dreamer.errors import InputError
from dreamer.media import files
from dreamer.networks import rows
from dreamer.render.look import Request, look, read_recipe
from dreamer.studio.asks import Asked
from dreamer.studio.people import MADE_UP

if TYPE_CHECKING:
    from dreamer.media.images import Photo
    from dreamer.networks.network import Network

KEPT_PIXELS = 40_000_000
"""Of the photos that are kept as they were read: half a gigabyte."""


class Engine:
    """The network, loaded once, and photos. Used by the worker thread, but for `warm`.

    Args:
        folder: of small pictures of units, which are everybody's.
    """

    def __init__(self, folder: Path) -> None:
        self.units = folder
        self._network: Network | None = None
        self._loading = threading.Lock()
        self._photos: OrderedDict[tuple[str, int, int], Photo] = OrderedDict()

    @property
    def network(self) -> Network:
        """The embedded network."""
        with self._loading:
            if self._network is None:
                self._network = look(Request(offline=True)).placed().load_network()
            return self._network

    def warm(self) -> None:
        """Load what the first dream needs, so that it begins at once; from any thread."""
        from dreamer.render import job, still, strip  # noqa: F401

        assert self.network

    def network_of(self, asked: Asked) -> Network | None:
        """Return the network that a look is for; None if it is another one than the embedded."""
        old = None if asked.recipe is None else read_recipe(asked.recipe)
        if old is not None and old.network != rows.DEFAULT:
            return None
        if old is not None and old.weights != self.network.weights_sha256[: len(old.weights)]:
            return None  # made with other weights of it, which are looked for
        return self.network

    def photo(self, source: str) -> Photo | str:
        """Return a photo that was read, by its path; what needs none as it is."""
        if source in MADE_UP:
            return source
        from dreamer.media import images

        try:
            stat = os.stat(source)
        except OSError as error:
            name = files.shown(os.path.basename(source))
            raise InputError(f"'{name}' is not there any more.", "Give it again.") from error
        key = (source, stat.st_mtime_ns, stat.st_size)
        found = self._photos.pop(key, None) or images.load(source)
        self._photos[key] = found
        while sum(each.pixels[0].numel() for each in self._photos.values()) > KEPT_PIXELS:
            self._photos.popitem(last=False)
        return found
