"""Find faces in photos, with the detectors that OpenCV 4 brings along."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dreamer.core.resampling import resample
from dreamer.core.tone import LUMA
from dreamer.errors import UsageError

SIGHT = 1000
"""The longer side, px, that larger photos are looked at with."""
SMALLEST = 1 / 25
"""The smallest face that is looked for, as a share of the longer side."""
AGREEING = 8
"""Windows that must agree on a face. Fewer are often a texture: coins, cells and fur get up to 8,
a clear frontal face 40, one from the side 14."""
_SMALLEST_SIDE = 24
_FRONTAL, _PROFILE = "haarcascade_frontalface_default.xml", "haarcascade_profileface.xml"

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in px, ends excluded."""


def library() -> Any:
    """Return OpenCV with its detectors, which is an extra.

    Raises:
        UsageError: it is not installed, does not work, or is one without them (5 and later).
    """
    try:
        import cv2
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        said = "is not installed" if missing else f"does not work here ({error})"
        raise _needed(said) from error
    if not hasattr(cv2, "CascadeClassifier") or not hasattr(cv2, "data"):
        raise _needed(f"is there as {cv2.__version__}, without its face detectors")
    return cv2


def find(pixels: Tensor) -> list[Box]:
    """Find faces that look at the camera or to a side, upright, largest first.

    Viola and Jones, "Rapid Object Detection using a Boosted Cascade of Simple Features" (2001).

    Args:
        pixels: `(3, H, W)`, sRGB in 0..1.

    Raises:
        UsageError: see `library`.
    """
    cv2 = library()
    height, width = pixels.shape[1:]
    scale = min(1.0, SIGHT / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    grey = (pixels.cpu() * torch.tensor(LUMA)[:, None, None]).sum(0)[None, None]
    shown = resample(grey, size)[0, 0].clamp(0, 1).mul(255).round().byte().numpy()
    shown = cv2.equalizeHist(shown)
    smallest = max(_SMALLEST_SIDE, round(SMALLEST * max(size)))

    def detect(file: str, picture: Any) -> list[list[int]]:
        cascade = cv2.CascadeClassifier(cv2.data.haarcascades + file)
        if cascade.empty():
            raise _needed("lacks the files of its face detectors")
        found = cascade.detectMultiScale(
            picture, scaleFactor=1.1, minNeighbors=AGREEING, minSize=(smallest, smallest)
        )
        return [[int(value) for value in each] for each in found]

    boxes = detect(_FRONTAL, shown) + detect(_PROFILE, shown)
    # The detector of profiles knows one side only.
    mirrored = detect(_PROFILE, cv2.flip(shown, 1))
    boxes += [[size[1] - x - w, y, w, h] for x, y, w, h in mirrored]
    down, across = height / size[0], width / size[1]
    once: list[Box] = []
    for x, y, w, h in sorted(boxes, key=lambda box: (-box[2], box)):
        middle_y, middle_x = (y + h / 2) * down, (x + w / 2) * across
        # One face may be found from several sides.
        if not any(t <= middle_y < b and m <= middle_x < r for t, m, b, r in once):
            corners = (y * down, x * across, (y + h) * down, (x + w) * across)
            top, left, bottom, right = (round(value) for value in corners)
            once.append((max(0, top), max(0, left), min(height, bottom), min(width, right)))
    return once


def _needed(said: str) -> UsageError:
    return UsageError(
        f"To keep faces OpenCV 4 is needed, which {said}.",
        'Install it: pip install "dreamer[faces]"',
    )
