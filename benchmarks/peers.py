"""The loops of other programs that visualize features, on the network that ours is compared with.

Written from what their papers, documentation and sources say that they do; `PROGRAMS` runs the
programs themselves, where they are installed. All of them run the whole network with a hook on the
layer, and none folds it. What they differ in besides is said with each.

The network takes normalised pixels and has trainable weights, as it comes from
`textbook.network`; the layer is one of its modules. A view is one picture that the network is shown
in a step.
"""

from __future__ import annotations

import math
import os
import random as random_module
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torchvision.ops import roi_align
from torchvision.transforms import Normalize, RandomAffine

from dreamer.core import colour, spectra
from dreamer.networks import rows

# (network, its layer, channel, size, steps, views, seed) -> the picture, (3, size, size) in 0..1.
Peer = Callable[[nn.Module, nn.Module, int, int, int, int, int], Tensor]

_PUBLISHED = rows.row("efficientnet_lite0").published()
_normalise = Normalize(_PUBLISHED.mean, _PUBLISHED.std)


def lucent(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    """Run lucent 0.1.8's loop, which is lucid's recipe.

    Weights stay trainable, so that each step makes their gradients too and nothing clears them.
    One view a step by default, of the size and 24 px more, or up to 1.1 times that: the padding is
    never cropped away. A canvas below 224 px is shown at 224 px.
    """
    with _seeded(seed), _watched(layer) as seen:
        # Real and imaginary parts N(0, .01), scaled by 1/f; a quarter; decorrelated; sigmoid.
        parts = (0.01 * torch.randn(1, 3, size, size // 2 + 1, 2)).requires_grad_()
        optimiser = torch.optim.Adam([parts], lr=0.05)

        def closure() -> float:
            optimiser.zero_grad()
            for _ in range(views):  # it has one: more can only be as many passes
                view = _normalise(_lucid_view(_lucid_image(parts, size)))
                if size < 224:
                    view = F.interpolate(view, size=224, mode="bilinear", align_corners=True)
                module(view)
                loss = -seen[0][:, channel].mean() / views
                loss.backward()
            return loss.item()

        for _ in range(steps):
            optimiser.step(closure)
        return _lucid_image(parts, size)[0].detach()


def horama_maco(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    """Run Horama 0.3.0's MACO, its magnitude from the analytic fit instead of its file.

    It leaves the objective, and so the network, to the caller; nothing freezes the weights. 6 crops
    a step by default, each sampled at twice the network's size and shrunken.
    """
    magnitude = spectra.natural((size, size))

    def picture(phase: Tensor) -> Tensor:
        phase = _standardised(phase)
        spectrum = torch.complex(phase.cos() * magnitude, phase.sin() * magnitude)
        return _horama_picture(spectrum)

    with _seeded(seed):
        phase = torch.randn(3, size, size // 2 + 1)
        return _horama(phase, picture, module, layer, channel, steps, views)


def horama_fourier(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    """Run Horama 0.3.0's Fourier canvas: the same loop, all coefficients free, scaled by f^-1.5."""
    scale = size * spectra.clamped((size, size)) ** -1.5

    def picture(spectrum: Tensor) -> Tensor:
        return _horama_picture(_standardised(spectrum) * scale)

    with _seeded(seed):
        shape = (3, size, size // 2 + 1)
        spectrum = torch.complex(torch.randn(shape), torch.randn(shape))
        return _horama(spectrum, picture, module, layer, channel, steps, views)


def dreamlens(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    """Run dreamlens 0.1.1's `FeatureVisualizer.maximize`: lucid's canvas, gentler steps.

    Weights stay trainable. One view a step, at .5 to 1.2 of the size, cropped or padded with black
    to the size.
    """
    scales = torch.linspace(0.5, 1.2, 32).tolist()
    with _seeded(seed), _watched(layer) as seen:
        parts = (0.01 * torch.randn(1, 3, size, size // 2 + 1, 2)).requires_grad_()
        optimiser = torch.optim.AdamW([parts], lr=9e-3, weight_decay=0)
        for _ in range(steps):
            optimiser.zero_grad()
            for _ in range(views):  # it has one: more can only be as many passes
                side = int(scales[_integer(32)] * size)
                view = F.interpolate(_lucid_image(parts, size), size=side, mode="bilinear")
                module(_normalise(_fitted(_rotated(view, _integer(31) - 15), size)))
                loss = -seen[0][:, channel].mean() / views
                loss.backward()
            nn.utils.clip_grad_norm_([parts], 1.0)
            optimiser.step()
            loss.item()  # it keeps the losses
        return _lucid_image(parts, size)[0].detach()


def dreamlens_maco(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    """Run dreamlens 0.1.1's MACO, as the paper has it; its magnitude from the analytic fit.

    It freezes the weights while it runs. 32 crops a step by default.
    """
    magnitude = spectra.natural((size, size))
    widths = torch.linspace(0.5, 0.05, steps).tolist()

    def picture(phase: Tensor) -> Tensor:
        angle = (phase - phase.mean()) / (phase.std(correction=0) + 1e-5)
        spectrum = torch.complex(angle.cos() * magnitude, angle.sin() * magnitude)
        values = torch.fft.irfft2(spectrum)
        values = (values - values.mean()) / (values.std(correction=0) + 1e-5)
        return colour.correlate(values[None])[0].sigmoid()

    with _seeded(seed), _watched(layer, clone=True) as seen, _frozen(module):
        phase = torch.randn(3, size, size // 2 + 1).requires_grad_()
        optimiser = torch.optim.NAdam([phase], lr=1.0, eps=1e-7)
        importance = torch.zeros(3, size, size)
        for width in widths:
            canvas = picture(phase)
            centre = 0.5 + 0.15 * torch.randn(views, 2)
            side = (width + 0.05 * torch.randn(views)).clamp(0.05, 1)
            crops = _noisy(_sampled(canvas, centre, side, size), 0.08)
            module(_normalise(crops))
            score = seen[0][:, channel].mean()
            gradient, touched = torch.autograd.grad(score, (phase, canvas))
            optimiser.zero_grad()
            phase.grad = -gradient
            optimiser.step()
            importance += touched.abs()
        return picture(phase).detach()


def torch_dreams(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    """Run torch-dreams 4.0.0's `Dreamer.render`.

    Weights stay trainable. One view a step by default, turned by up to 15 degrees and resized by
    .5 to 1.2 along each axis: on average the network is shown .72 of the pixels. A batch of views
    holds the picture several times over, each made anew, all of them moved alike.
    """
    turn = RandomAffine(15)

    def picture(parts: Tensor) -> Tensor:
        # The last column of frequencies is left out; the decay is f^-1.5, made anew each time.
        f = spectra.frequencies((size, size))[:, : size // 2] * math.sqrt(2)
        scale = 1 / (f**1.5).clamp_min(math.sqrt(2) / size)
        spectrum = torch.view_as_complex(parts.view(1, 3, size, size // 2, 2)) * scale
        values = torch.fft.irfft2(spectrum, s=(size, size), norm="ortho")
        return colour.correlate(values).sigmoid()

    with _seeded(seed), _watched(layer) as seen:
        parts = (0.01 * torch.randn(1, 3, size, size)).requires_grad_()
        optimiser = torch.optim.AdamW([parts], lr=9e-3, weight_decay=0)
        for _ in range(steps):
            optimiser.zero_grad()
            shown = turn(torch.cat([_normalise(picture(parts)) for _ in range(views)]))
            factors = tuple(0.5 + 0.7 * torch.rand(2).double().numpy())
            module(F.interpolate(shown, scale_factor=factors, mode="bilinear"))
            (-seen[0][:, channel].mean()).backward()
            nn.utils.clip_grad_norm_([parts], 1.0)
            optimiser.step()
        return picture(parts)[0].detach()


STAND_INS: dict[str, Peer] = {
    "lucent": lucent,
    "horama maco": horama_maco,
    "horama fourier": horama_fourier,
    "dreamlens": dreamlens,
    "dreamlens maco": dreamlens_maco,
    "torch-dreams": torch_dreams,
}
# How many views a step each is compared at: its own number, but for dreamlens' MACO (32).
VIEWS = {name: 6 if "horama" in name or "maco" in name else 1 for name in STAND_INS}


def _real_lucent(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    from lucent.optvis import objectives, param, render, transform

    _need(views == 1, "lucent shows one view a step")
    name = next(name for name, each in module.named_modules() if each is layer)
    with _seeded(seed):
        try:
            (shown,) = render.render_vis(
                module,
                objectives.channel(name.replace(".", "_"), channel),
                lambda: param.image(size),
                transforms=[*transform.standard_transforms, _normalise],
                preprocess=False,
                thresholds=(steps,),
                progress=False,
                show_image=False,
            )
        finally:
            # It leaves a hook on every module, which would slow whatever runs next.
            for each in module.modules():
                each._forward_hooks.clear()
    return torch.from_numpy(shown[0]).permute(2, 0, 1)


def _real_horama(method: str) -> Peer:
    def run(
        module: nn.Module,
        layer: nn.Module,
        channel: int,
        size: int,
        steps: int,
        views: int,
        seed: int,
    ) -> Tensor:
        import horama

        def objective(crops: Tensor) -> Tensor:
            module(_normalise(crops))
            return seen[0][:, channel].mean()

        before = Path.cwd()
        with _seeded(seed), _watched(layer) as seen, tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)  # where it looks for its spectrum before it fetches one
            try:
                np.save("spectrum_decorrelated.npy", spectra.natural((size, size)).numpy())
                picture, _ = getattr(horama, method)(
                    objective,
                    total_steps=steps,
                    image_size=size,
                    model_input_size=size,
                    values_range=(0, 1),
                    crops_per_iteration=views,
                    device="cpu",
                )
            finally:
                os.chdir(before)
        return picture.detach()

    return run


def _real_dreamlens(method: str) -> Peer:
    def run(
        module: nn.Module,
        layer: nn.Module,
        channel: int,
        size: int,
        steps: int,
        views: int,
        seed: int,
    ) -> Tensor:
        from dreamlens import FeatureTarget, FeatureVisualizer, MacoConfig, RenderConfig

        if method == "maco":
            config = MacoConfig(size, size, (3, size, size), steps, crops=views)
        else:
            _need(views == 1, "dreamlens shows one view a step")
            config = RenderConfig(size, size, steps)
        with _seeded(seed):
            visualizer = FeatureVisualizer(module, quiet=True, preprocess=_normalise)
            target = FeatureTarget.for_channel(layer, channel)
            made = visualizer.visualize(target, method=method, config=config)
        return made.as_chw()

    return run


def _real_torch_dreams(
    module: nn.Module, layer: nn.Module, channel: int, size: int, steps: int, views: int, seed: int
) -> Tensor:
    from torch_dreams import AutoImageParam, Dreamer

    with _seeded(seed):
        dreamer = Dreamer(module, quiet=True, device="cpu")
        dreamer.set_custom_normalization(_normalise)
        made = dreamer.render(
            [layer],
            AutoImageParam(size, size, "cpu", 0.01, views),
            iters=steps,
            custom_func=lambda outputs: -outputs[0][:, channel].mean(),
        )
    return made.to_chw_tensor()


@dataclass(frozen=True)
class Program:
    """One of the programs, as pip installs it.

    Attributes:
        package: its name on PyPI.
        top: the module that is imported.
        run: makes a picture with it.
        freezes: whether it freezes the weights itself.
        differs: what a step of it does besides, for the table.
    """

    package: str
    top: str
    run: Peer
    freezes: bool
    differs: str


_HORAMA = "NAdam, noisy crops sampled at twice the size and shrunken"
# By the names of the stand-ins. What they do besides is told in full there.
PROGRAMS: dict[str, Program] = {
    "lucent": Program(
        "torch-lucent",
        "lucent",
        _real_lucent,
        False,
        "Adam, pads by 12 px that stay, scaled, turned, shifted",
    ),
    "horama maco": Program("horama", "horama", _real_horama("maco"), False, _HORAMA),
    "horama fourier": Program("horama", "horama", _real_horama("fourier"), False, _HORAMA),
    "dreamlens": Program(
        "dreamlens",
        "dreamlens",
        _real_dreamlens("maximize"),
        False,
        "AdamW, scaled by .5 to 1.2, turned, padded with black or cropped to the size",
    ),
    "dreamlens maco": Program(
        "dreamlens", "dreamlens", _real_dreamlens("maco"), True, "NAdam, noisy crops"
    ),
    "torch-dreams": Program(
        "torch-dreams",
        "torch_dreams",
        _real_torch_dreams,
        False,
        "AdamW, turned, each axis scaled by .5 to 1.2",
    ),
}


def _horama(
    buffer: Tensor,
    picture: Callable[[Tensor], Tensor],
    module: nn.Module,
    layer: nn.Module,
    channel: int,
    steps: int,
    views: int,
) -> Tensor:
    """Run Horama's loop: NAdam with a rate of 1, noisy crops, and the map of importance."""
    buffer.requires_grad_()
    optimiser = torch.optim.NAdam([buffer], lr=1.0)
    importance = torch.tensor(0.0)
    with _watched(layer) as seen:
        for _ in range(steps):
            optimiser.zero_grad()
            canvas = picture(buffer)
            canvas.retain_grad()
            size = canvas.shape[1]
            # Meant to be .20 to .25 of the canvas; the code adds that width to the end.
            side = 0.25 + 0.05 * torch.rand(views, 1)
            centre = 0.5 + 0.15 * torch.randn(views, 2)
            corners = torch.cat([centre - side / 2, centre + side / 2], 1) * size
            boxes = torch.cat([torch.zeros(views, 1), corners], 1)
            crops = roi_align(canvas[None], boxes, (2 * size, 2 * size))
            crops = F.interpolate(
                crops, size=size, mode="bicubic", align_corners=True, antialias=True
            )
            module(_normalise(_noisy(crops, 0.05)))
            (-seen[0][:, channel].mean()).backward()
            assert canvas.grad is not None
            importance = importance + canvas.grad.abs()
            optimiser.step()
    return picture(buffer).detach()


def _horama_picture(spectrum: Tensor) -> Tensor:
    values = _standardised(torch.fft.irfft2(spectrum))
    return colour.correlate(values[None])[0].sigmoid()


def _standardised(values: Tensor) -> Tensor:
    values = values - values.mean()
    return values / (values.std() + 1e-4)


def _lucid_image(parts: Tensor, size: int) -> Tensor:
    spectrum = torch.view_as_complex(parts) / spectra.clamped((size, size))
    values = torch.fft.irfft2(spectrum, s=(size, size), norm="ortho") / 4
    return colour.correlate(values).sigmoid()


def _lucid_view(image: Tensor) -> Tensor:
    """Move a picture as lucent's standard transforms do; what comes in at an edge is black."""
    padded = F.pad(image, (12, 12, 12, 12), value=0.5)
    shifted = _shifted(padded, _integer(8), _integer(8))
    height = shifted.shape[2]
    side = math.ceil(height * (1 + (_integer(11) - 5) / 50))
    scaled = F.interpolate(shifted, size=side, mode="bilinear", align_corners=True)
    margin = max(0, math.ceil((height - side) / 2))
    scaled = F.pad(scaled, (margin, margin, margin, margin))
    draw = _integer(26)  # -10 to 10 degrees, and 0 five times more
    rotated = _rotated(scaled, draw - 10 if draw <= 20 else 0)
    return _shifted(rotated, _integer(4), _integer(4))


def _shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Shift by whole pixels, but by resampling, as kornia does."""
    height, width = image.shape[2:]
    shift = torch.tensor([[1, 0, -2 * right / width], [0, 1, -2 * down / height]])
    return _warped(image, shift)


def _rotated(image: Tensor, degrees: float) -> Tensor:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return _warped(image, torch.tensor([[cos, -sin, 0], [sin, cos, 0]]))


def _warped(image: Tensor, places: Tensor) -> Tensor:
    grid = F.affine_grid(places[None], list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, align_corners=False)


def _fitted(image: Tensor, size: int) -> Tensor:
    """Pad with black, or crop, to a square around the middle."""
    missing = size - image.shape[3]
    before = missing // 2 if missing > 0 else -(-missing // 2)
    return F.pad(image, (before, missing - before, before, missing - before))


def _sampled(canvas: Tensor, centre: Tensor, side: Tensor, size: int) -> Tensor:
    """Sample square crops of `(3, H, W)` at a size; what is outside is black."""
    places = torch.zeros(len(side), 2, 3)
    places[:, 0, 0] = places[:, 1, 1] = side
    places[:, :, 2] = 2 * centre - 1
    grid = F.affine_grid(places, [len(side), 3, size, size], align_corners=True)
    return F.grid_sample(canvas.expand(len(side), -1, -1, -1), grid, align_corners=True)


def _noisy(crops: Tensor, strength: float) -> Tensor:
    crops = crops + torch.randn_like(crops) * strength
    return crops + (torch.rand_like(crops) - 0.5) * strength


def _integer(below: int) -> int:
    return int(torch.randint(below, ()))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from the global generators, as all of them do, and put torch's back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random_module.seed(seed)
        yield


@contextmanager
def _watched(layer: nn.Module, *, clone: bool = False) -> Iterator[list[Tensor]]:
    """Keep a layer's last activations in a list of one."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, out: Tensor) -> None:
        kept[:] = [out.clone() if clone else out]

    hook = layer.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _need(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)
