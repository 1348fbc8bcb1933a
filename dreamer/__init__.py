"""Dreams and feature visualizations from a trained image network.

`dreamer.dream("photo.jpg", preset="eyes").save("out.png")`

Importing the package imports nothing heavy; torch comes with the first use of `dream`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dreamer.errors import DreamerError

if TYPE_CHECKING:
    from dreamer.api import dream, explain, visualize
    from dreamer.networks.network import Network
    from dreamer.networks.network import load as load_network
    from dreamer.render.atlas.run import atlas
    from dreamer.render.still import Dream
    from dreamer.render.visualize import Visualization

__version__ = "0.1.0"
__all__ = [
    "Dream",
    "DreamerError",
    "Network",
    "Visualization",
    "__version__",
    "atlas",
    "dream",
    "explain",
    "load_network",
    "visualize",
]

_HOMES = {
    "dream": ("dreamer.api", "dream"),
    "Dream": ("dreamer.render.still", "Dream"),
    "Network": ("dreamer.networks.network", "Network"),
    "load_network": ("dreamer.networks.network", "load"),
    "atlas": ("dreamer.render.atlas.run", "atlas"),
    "explain": ("dreamer.api", "explain"),
    "visualize": ("dreamer.api", "visualize"),
    "Visualization": ("dreamer.render.visualize", "Visualization"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dreamer' has no attribute '{name}'")
    from importlib import import_module

    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
