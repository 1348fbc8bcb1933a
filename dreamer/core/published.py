"""The transforms of published recipes for feature visualization, with their numbers, and ours."""

from __future__ import annotations

from dataclasses import replace

from dreamer.core.views import Border, Crop, Jitter, Noise, Pad, Rotate, Scale, Transform, Zoom

WINDOW = 224
"""Side of MACO's views, px."""


def dreamer() -> tuple[Transform, ...]:
    """Return ours: lucid's, but reflected at the borders and over a larger range of scales.

    There is neither grey to be seen, which makes dull frames, nor an edge; and what is found at
    several scales holds when the picture is looked at from nearer.
    """
    return (Pad(12), Jitter(16), Scale(0.9, 1.3), Rotate(10.0), Jitter(8))


def lucid() -> tuple[Transform, ...]:
    """Return lucid's standard transforms (2018)."""
    scales = tuple(0.9 + 0.02 * k for k in range(11))
    # Every whole degree from -10 to 10, and 0 five times more.
    return (
        Pad(12, "grey"),
        Jitter(8),
        Scale(choices=scales),
        Rotate(10.0, still=5 / 26, whole=True),
        Jitter(4),
    )


def distill() -> tuple[Transform, ...]:
    """Return those of the article (Olah et al., "Feature Visualization", Distill 2017)."""
    return (
        Pad(16, "grey"),
        Jitter(16),
        Scale(choices=(1.0, 0.975, 1.025, 0.95, 1.05)),
        Rotate(5.0, whole=True),
        Jitter(8),
        Crop(16),
    )


def maco() -> tuple[Transform, ...]:
    """Return MACO's (Fel et al. 2023): squares that shrink over the run, and noise."""
    return (Zoom(0.5, 0.05, 0.05, 0.15, WINDOW), Noise(0.08, 0.04))


def with_border(chain: tuple[Transform, ...], border: Border | None) -> tuple[Transform, ...]:
    """Return transforms that show something else beyond the picture; None leaves them."""
    if border is None:
        return chain
    changed = tuple(replace(t, border=border) if isinstance(t, Pad) else t for t in chain)
    return changed if any(isinstance(t, Pad) for t in chain) else (Pad(0, border), *chain)


TRANSFORMS = {
    "dreamer": dreamer,
    "lucid": lucid,
    "distill": distill,
    "maco": maco,
    "none": tuple[Transform, ...],
}
"""By name; each returns the transforms in the order in which they act."""
