"""Bring the colours of one picture to those of another, or to a palette.

Both are made as a smooth table from colours to colours, which is looked up for every pixel. A
pixel's new colour depends on its own only, so nothing rings or glows at edges, and the table
cannot tell grain from colour, so it is not shown the grain: see `_look_up`.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

# Björn Ottosson, "A perceptual color space for image processing", 2020: linear sRGB to cone
# responses, and their cube roots to lightness, green-red and blue-yellow.
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)

_SAMPLES = 180  # of a picture, along each side at most
_NODES = 33  # of a table, along red, green and blue: as is usual for film
_TURNS = 12  # bases along which colours are sorted
_QUANTILES = 1024
_ROUNDS = 2
_WIDTHS = (0.5, 0.2, 0.08)  # standard deviations, in sRGB, of the neighbourhoods of a colour
_STEEPEST = 2.5  # what a match may stretch the colours as a whole by
_LEAST_CONTRAST = 0.4  # of the picture's own that is left by a reference without any
_MOST_CONTRAST = 1.75  # times the picture's own: more burns it to black and white
_GRAIN = 0.02  # standard deviation, in sRGB, of what is taken for grain
_GRAIN_REACH = 4  # pixels
_STRIP = 1 << 19  # pixels looked up at a time


def to_oklab(picture: Tensor) -> Tensor:
    """Turn sRGB into OKLab (Björn Ottosson, "A perceptual color space for image processing", 2020).

    Args:
        picture: `(N, 3, H, W)` in 0..1.

    Returns:
        `(N, 3, H, W)`: lightness in 0..1, and two axes of colour, green to red and blue to yellow,
        which are 0 for grey and within 0.33 of it for all that sRGB has.
    """
    linear = torch.where(
        picture <= 0.04045, picture / 12.92, ((picture.clamp_min(0) + 0.055) / 1.055) ** 2.4
    )
    return _mix(_matrix(_LAB), _mix(_matrix(_CONES), linear).clamp_min(0) ** (1 / 3))


def from_oklab(lab: Tensor) -> Tensor:
    """Turn OKLab into sRGB, the inverse of `to_oklab`.

    Args:
        lab: `(N, 3, H, W)`, see `to_oklab`. What sRGB lacks is clamped.

    Returns:
        `(N, 3, H, W)` in 0..1.
    """
    return _companded(_linear(lab)).clamp(0, 1)


def match(picture: Tensor, reference: Tensor, where: Tensor | None = None) -> Tensor:
    """Give a picture the colours of another, as many of each.

    Sliced optimal transport (Pitié, Kokaram and Dahyot, "N-dimensional probability density function
    transfer and its application to colour transfer", ICCV 2005) of samples of the colours in
    OKLab, after the linear transport of their mean and covariance (Pitié and Kokaram, "The linear
    Monge-Kantorovitch linear colour mapping", CVMP 2007). What the transport does to similar
    colours is averaged, so that it neither tears a smooth sky into bands nor lifts its grain. The
    same picture and reference always give the same colours.

    Args:
        picture: `(1, 3, H, W)` in 0..1.
        reference: `(1, 3, h, w)` in 0..1. One without light and shade leaves some of the picture's,
            and the picture's contrast grows to 1.75 times its own at most.
        where: `(1, 1, H, W)` in 0..1: how much a pixel counts as one of the picture's colours.
            All pixels are changed, also those that do not count.

    Returns:
        `(1, 3, H, W)` in 0..1; the picture as it is if none of its pixels counts.
    """
    if where is None:
        colours = _samples(picture)
        weights = torch.ones(len(colours))
    else:
        # On the grid for a whole picture, a small place would have no sample.
        counts = (where.flatten() > 0).cpu().nonzero()[:, 0]
        if len(counts) == 0:
            return picture
        chosen = torch.randperm(len(counts), generator=torch.Generator().manual_seed(0))
        counts = counts[chosen[: _SAMPLES**2]]
        colours = picture.detach().to("cpu", torch.float32)[0].flatten(1)[:, counts].T
        weights = where.detach().to("cpu", torch.float32).flatten()[counts]
    weights = weights / weights.sum()
    before, target = _lab(colours), _lab(_samples(reference))
    spread, light = _spread(before, weights), target[:, 0].mean()
    wanted = target[:, 0].std(correction=0)
    gain = (_MOST_CONTRAST * spread / wanted.clamp_min(1e-6)).clamp_max(1)
    target[:, 0] = torch.lerp(light, target[:, 0], gain)
    nodes = _nodes()
    matrix, mean, goal = _linear_transport(before, weights, target)
    after = (before - mean) @ matrix + goal
    moved = (_lab(nodes) - mean) @ matrix + goal
    place = _Place(colours)
    for _ in range(_ROUNDS):
        change = place.smooth(_sliced_transport(after, weights, target) - after, weights)
        # Half of it for light: to follow a reference of black and one bright colour to the end
        # would tear shades apart, and flatten what lies between.
        change[:, 0] *= 0.5
        moved = moved + change
        after = after + place.read(change)
    # A match is of colours; a flat reference is no wish for a flat picture.
    missing = (_LEAST_CONTRAST - _spread(after, weights) / spread.clamp_min(1e-6)).clamp_min(0)
    moved[:, 0] += missing * (_lab(nodes)[:, 0] - mean[0])
    return _look_up(picture, _within_srgb(moved))


def extract(reference: Tensor, count: int = 6) -> Tensor:
    """Find the colours a picture is made of.

    Weighted k-means in OKLab from the farthest colours. A colour does not count in proportion to
    its area: small and vivid accents count for more.

    Args:
        reference: `(1, 3, h, w)` in 0..1.
        count: the most colours wanted, at least 1.

    Returns:
        `(K, 3)` in OKLab, from dark to light; fewer than `count` if the picture has fewer.
    """
    lab = _lab(_samples(reference))
    # Like colours are counted together: what remains small is then small in the picture.
    _, cell = torch.unique((lab / 0.04).round(), dim=0, return_inverse=True)
    area = torch.zeros(int(cell.max()) + 1).index_add_(0, cell, torch.ones(len(lab)))
    colours = torch.zeros(len(area), 3).index_add_(0, cell, lab) / area[:, None]
    weights = area.sqrt() * (0.05 + colours[:, 1:].norm(dim=1))
    # Antialiased edges and grain are no colours of the picture.
    weights = weights * (area / (area + 1e-3 * len(lab)))
    chosen = colours[weights.argmax()][None]
    while len(chosen) < count:
        far = _square_distance(colours, chosen).amin(1)
        far = torch.where(far > 0.03**2, far, 0)
        if far.max() == 0:
            break
        chosen = torch.cat([chosen, colours[(weights * far).argmax()][None]])
    for _ in range(20):
        nearest = _square_distance(colours, chosen).argmin(1)
        total = torch.zeros(len(chosen)).index_add_(0, nearest, weights)
        sums = torch.zeros_like(chosen).index_add_(0, nearest, colours * weights[:, None])
        chosen = torch.where(total[:, None] > 0, sums / total.clamp_min(1e-12)[:, None], chosen)
    return chosen[chosen[:, 0].argsort(stable=True)].to(reference)


def paint(picture: Tensor, palette: Tensor) -> Tensor:
    """Paint a picture with the colours of a palette, mixed where the picture's are between them.

    Args:
        picture: `(1, 3, H, W)` in 0..1.
        palette: `(K, 3)` in OKLab, see `extract`.

    Returns:
        `(1, 3, H, W)` in 0..1.
    """
    palette = palette.detach().to("cpu", torch.float32)
    seen = _lab(_samples(picture))
    lab = _lab(_nodes())
    light = _relit(lab[:, 0], seen[:, 0], palette[:, 0])
    # The picture's colours are first laid over the palette's, else a picture of few colours would
    # meet one of the palette only.
    centre, goal = seen[:, 1:].mean(0), palette[:, 1:].mean(0)
    have = (seen[:, 1:] - centre).square().sum(1).mean().sqrt()
    want = (palette[:, 1:] - goal).square().sum(1).mean().sqrt()
    gain = (want / have.clamp_min(1e-3)).clamp(0.5, 2.0)
    hue = torch.lerp(lab[:, 1:], goal + gain * (lab[:, 1:] - centre), 0.5)
    distance = _square_distance(hue, palette[:, 1:])
    distance = distance + 0.3 * (light[:, None] - palette[:, 0]).square()
    share = (-distance / (2 * 0.05**2)).softmax(1)
    moved = torch.cat([light[:, None], share @ palette[:, 1:]], 1)
    return _look_up(picture, _within_srgb(moved))


def _relit(light: Tensor, seen: Tensor, wanted: Tensor) -> Tensor:
    """Move lightness, `(M,)`, half of the way to the range of a palette's."""
    low, high = seen.quantile(torch.tensor([0.02, 0.98]))
    middle, reach = (low + high) / 2, (high - low).clamp_min(1e-3) / 2
    gain = ((wanted.max() - wanted.min()) / 2 / reach).clamp(0.7, 1.4)
    around = torch.lerp(middle, (wanted.max() + wanted.min()) / 2, 0.5)
    relit: Tensor = (around + gain * (light - middle)).clamp(0, 1)
    return relit


def _linear_transport(
    before: Tensor, weights: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the symmetric matrix, and the means, that carry one Gaussian cloud to another."""
    mean, goal = weights @ before, target.mean(0)
    centred, wanted = before - mean, target - goal
    floor = 1e-6 * torch.eye(3, dtype=torch.float64)
    here = ((centred * weights[:, None]).T @ centred).double() + floor
    there = (wanted.T @ wanted / len(wanted)).double() + floor
    root = _power(here, 0.5)
    inverse = _power(here, -0.5)
    matrix = inverse @ _power(root @ there @ root, 0.5) @ inverse
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    matrix = vectors @ torch.diag(values.clamp(0, _STEEPEST)) @ vectors.T
    return matrix.float(), mean, goal


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values: Tensor
    vectors: Tensor
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-12) ** exponent) @ vectors.T


def _sliced_transport(points: Tensor, weights: Tensor, target: Tensor) -> Tensor:
    """Carry weighted points, `(M, 3)`, to the distribution of others."""
    steps = torch.linspace(0, 1, _QUANTILES)
    for basis in _bases():
        along = points @ basis
        wanted = (target @ basis).quantile(steps, dim=0)
        order = along.argsort(dim=0, stable=True)
        share = weights[order]
        rank = (share.cumsum(0) - share / 2).clamp(0, 1) * (_QUANTILES - 1)
        below = rank.long().clamp_max(_QUANTILES - 2)
        to = torch.lerp(wanted.gather(0, below), wanted.gather(0, below + 1), rank - below)
        points = points + (torch.empty_like(to).scatter_(0, order, to) - along) @ basis.T
    return points


@cache
def _bases() -> Tensor:
    """Return orthonormal bases, `(_TURNS, 3, 3)`."""
    seeds = torch.randn(_TURNS, 3, 3, generator=torch.Generator().manual_seed(0))
    bases: Tensor = torch.linalg.qr(seeds)[0]
    return bases


class _Place:
    """Where some colours are among the nodes of a table."""

    def __init__(self, colours: Tensor) -> None:
        at = colours.clamp(0, 1) * (_NODES - 1)
        low = at.long().clamp_max(_NODES - 2)
        part = at - low
        corner = torch.cartesian_prod(*[torch.arange(2)] * 3)
        red, green, blue = (low[:, None] + corner).unbind(2)
        self._node = (blue * _NODES + green) * _NODES + red
        self._share = torch.where(corner == 1, part[:, None], 1 - part[:, None]).prod(2)

    def read(self, table: Tensor) -> Tensor:
        """Read a table of the nodes, `(_NODES**3, C)`, at the colours: `(M, C)`."""
        return (table[self._node] * self._share[:, :, None]).sum(1)

    def smooth(self, values: Tensor, weights: Tensor) -> Tensor:
        """Average weighted values of the colours, `(M, 3)`, about each node: `(_NODES**3, 3)`.

        Where there are too few near a node, those from farther off stand in.
        """
        full = torch.cat([values, torch.ones(len(values), 1)], 1) * weights[:, None]
        spread = (full[:, None] * self._share[:, :, None]).flatten(0, 1)
        grid = torch.zeros(_NODES**3, 4).index_add_(0, self._node.flatten(), spread)
        grid = grid.T.view(1, 4, _NODES, _NODES, _NODES)
        average = (weights @ values).view(1, 3, 1, 1, 1)
        for width in _WIDTHS:
            sums = _blur(grid, width * (_NODES - 1))
            average = (sums[:, :3] + 1e-4 * average) / (sums[:, 3:] + 1e-4)
        return average.view(3, -1).T


def _blur(grid: Tensor, width: float) -> Tensor:
    """Sum the Gaussian neighbourhoods, 1 in their midst, of each node in `(1, C, D, D, D)`."""
    apart = torch.arange(_NODES)[:, None] - torch.arange(_NODES)
    kernel = torch.exp(-0.5 * (apart / width) ** 2)
    return torch.einsum("ncijk,ai,bj,dk->ncabd", grid, kernel, kernel, kernel)


def _look_up(picture: Tensor, table: Tensor) -> Tensor:
    """Send the colours of `(1, 3, H, W)` through a table of new ones, sRGB at `_nodes()`.

    What is looked up is the change, and that of the picture without its grain, which thus stays as
    strong as it was.
    """
    change = (table - _nodes()).T.view(1, 3, _NODES, _NODES, _NODES)
    whole = picture.detach().to("cpu", torch.float32)
    height, width = whole.shape[2:]
    rows = max(1, _STRIP // width)
    result = torch.empty_like(whole)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        first, last = max(0, top - 2 * _GRAIN_REACH), min(height, bottom + 2 * _GRAIN_REACH)
        calm = _without_grain(whole[:, :, first:last])[:, :, top - first : bottom - first]
        at = (2 * calm - 1).clamp(-1, 1).permute(0, 2, 3, 1)[:, None]
        moved = F.grid_sample(change, at, padding_mode="border", align_corners=True)[:, :, 0]
        result[:, :, top:bottom] = (whole[:, :, top:bottom] + moved).clamp(0, 1)
    return result.to(picture)


def _without_grain(picture: Tensor) -> Tensor:
    """Smooth what is nearly flat and leave edges (He, Sun and Tang, "Guided image filtering")."""
    mean = _around(picture)
    spread = (_around(picture * picture) - mean * mean).clamp_min(0)
    # One decision for the three channels: an edge in one is an edge.
    spread = spread.amax(1, keepdim=True)
    keep = spread / (spread + _GRAIN**2)
    return _around(keep) * picture + _around((1 - keep) * mean)


def _around(values: Tensor) -> Tensor:
    """Average `(1, C, H, W)` over squares about each pixel."""
    for side in ((2 * _GRAIN_REACH + 1, 1), (1, 2 * _GRAIN_REACH + 1)):
        padding = (side[0] // 2, side[1] // 2)
        values = F.avg_pool2d(values, side, stride=1, padding=padding, count_include_pad=False)
    return values


def _within_srgb(lab: Tensor) -> Tensor:
    """Turn colours in OKLab, `(M, 3)`, into sRGB, paler where sRGB has none as vivid."""
    lab = torch.cat([lab[:, :1].clamp(0, 1), lab[:, 1:]], 1)
    low, high = torch.zeros(len(lab), 1), torch.ones(len(lab), 1)
    for step in range(12):
        # The first try is the colour as it is.
        middle = high if step == 0 else (low + high) / 2
        linear = _linear(_picture(lab * torch.cat([torch.ones_like(middle), middle, middle], 1)))
        inside = ((linear > -1e-4) & (linear < 1 + 1e-4)).all(1).view(-1, 1)
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return _colours(from_oklab(_picture(lab * torch.cat([torch.ones_like(low), low, low], 1))))


def _samples(picture: Tensor) -> Tensor:
    """Take pixels of `(1, C, H, W)` on a grid, as they are: `(M, C)`."""
    height, width = picture.shape[2:]
    taken = picture[:, :, :: -(-height // _SAMPLES), :: -(-width // _SAMPLES)]
    return _colours(taken.detach().to("cpu", torch.float32))


@cache
def _nodes() -> Tensor:
    """Return the colours, in sRGB, that a table has: `(_NODES**3, 3)`, red changing fastest."""
    return torch.cartesian_prod(*[torch.linspace(0, 1, _NODES)] * 3).flip(1)


def _lab(colours: Tensor) -> Tensor:
    return _colours(to_oklab(_picture(colours)))


def _picture(colours: Tensor) -> Tensor:
    return colours.T[None, :, None]


def _colours(picture: Tensor) -> Tensor:
    return picture.flatten(2)[0].T.contiguous()


def _spread(lab: Tensor, weights: Tensor) -> Tensor:
    """Return the standard deviation of weighted lightness."""
    light = lab[:, 0]
    return (weights @ (light - weights @ light).square()).sqrt()


def _square_distance(points: Tensor, others: Tensor) -> Tensor:
    """Return the squared distances of `(M, C)` from `(K, C)`: `(M, K)`."""
    return (points[:, None] - others).square().sum(2)


def _linear(lab: Tensor) -> Tensor:
    return _mix(_inverse(_CONES), _mix(_inverse(_LAB), lab) ** 3)


def _companded(linear: Tensor) -> Tensor:
    return torch.where(
        linear <= 0.0031308,
        linear * 12.92,
        1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055,
    )


def _mix(matrix: Tensor, picture: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", matrix.to(picture), picture)


@cache
def _matrix(rows: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@cache
def _inverse(rows: tuple[tuple[float, ...], ...]) -> Tensor:
    inverse: Tensor = torch.linalg.inv(_matrix(rows))
    return inverse
