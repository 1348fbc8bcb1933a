import pickle
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dreamer.errors import NetworkError
from dreamer.networks import checkpoints, network, rows, weights, zoo

NAME = "squeezenet1_1"
ROW = rows.row(NAME)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return zoo.randomised(ROW, ROW.weights[0], seed=4).state_dict()


@pytest.fixture(scope="module")
def expected() -> Tensor:
    return respond(network.load(NAME, random_seed=4))


def respond(loaded: network.Network) -> Tensor:
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps: Tensor = loaded.features(["features.9"])(pixels)["features.9"]
        return maps


def check_refused(path: Path, said: str, name: str = NAME) -> NetworkError:
    with pytest.raises(NetworkError, match=said) as caught:
        network.load(name, weights=path)
    assert path.name in caught.value.message
    assert "\n" not in caught.value.message + caught.value.advice
    return caught.value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: OrderedDict((f"module.{name}", state[name]) for name in state),
        lambda state: {"state_dict": {f"module.{name}": state[name] for name in state}},
    ],
    ids=["plain", "state_dict", "model", "module.", "both"],
)
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_state_dict_loads_however_training_scripts_wrap_it(
    wrap: Callable[[dict[str, Tensor]], object],
    suffix: str,
    state: dict[str, Tensor],
    expected: Tensor,
    tmp_path: Path,
) -> None:
    path = tmp_path / f"mine{suffix}"
    torch.save(wrap(state), path)
    loaded = network.load(NAME, weights=path)
    assert torch.equal(respond(loaded), expected)
    assert loaded.weights_sha256 == weights.sha256(path)


def test_safetensors_load(state: dict[str, Tensor], expected: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(state, path)
    assert torch.equal(respond(network.load(NAME, weights=str(path))), expected)


def test_torch_s_older_file_format_loads(
    state: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    path = tmp_path / "old.pth"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    assert torch.equal(respond(network.load(NAME, weights=path)), expected)


def test_half_precision_becomes_float32(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "half.pth"
    torch.save({name: tensor.half() for name, tensor in state.items()}, path)
    assert {tensor.dtype for tensor in checkpoints.read(path).values()} == {torch.float32}


def test_safetensors_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.safetensors"
    path.touch()
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    error = check_refused(path, "safetensors, which is not installed")
    assert error.advice == 'Run `pip install "dreamer[safetensors]"`.'


@pytest.mark.parametrize(
    ("missing", "said"),
    [("features.3.squeeze.bias", "missing: features.3.squeeze.bias"), (None, "missing: ")],
)
def test_a_checkpoint_that_lacks_parameters_names_the_first(
    missing: str | None, said: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "lacking.pth"
    kept = {name: state[name] for name in state if missing and name != missing}
    torch.save(kept or {"other": torch.zeros(1)}, path)
    check_refused(path, said)


def test_a_checkpoint_with_unknown_parameters_names_the_first(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "more.pth"
    torch.save({**state, "neck.weight": torch.zeros(1)}, path)
    check_refused(path, r"unknown: neck\.weight")


def test_a_checkpoint_of_another_network_names_the_first_difference(
    state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "other.pth"
    torch.save(state, path)
    error = check_refused(
        path, r"no checkpoint of squeezenet1_0: .*\(64, 3, 3, 3\)", "squeezenet1_0"
    )
    assert "--network" in error.advice
    check_refused(path, "no checkpoint of efficientnet_lite0: missing", "efficientnet_lite0")


def test_an_embedded_network_s_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    row = rows.row("efficientnet_lite0")
    path = weights.fetch(row, row.weights[0])
    own = dict(checkpoints.read(path))
    own["_conv_stem.weight"] = torch.zeros(8, 3, 3, 3)
    other = tmp_path / "other.pth"
    torch.save(own, other)
    check_refused(other, "differing", "efficientnet_lite0")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_numbers_are_refused(
    value: float, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "diverged.pth"
    broken = {name: tensor.clone() for name, tensor in state.items()}
    broken["features.0.weight"][3, 1, 0, 2] = value
    torch.save(broken, path)
    check_refused(path, r"features\.0\.weight.*not numbers")


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for number, save in enumerate((torch.save, lambda it, to: to.write_bytes(pickle.dumps(it)))):
        path = tmp_path / f"evil{number}.pth"
        save({"features.0.weight": Evil(mark)}, path)
        check_refused(path, "not a state dict")
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused_with_the_way_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "module.pth"
    torch.save(nn.Conv2d(3, 4, 1), path)
    assert "state_dict()" in check_refused(path, "not a state dict").advice


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"not a checkpoint", bytes(1000), b"PK\x03\x04" + bytes(100), b"\x80\x02}q"]
)
def test_a_file_of_another_kind_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(content)
    check_refused(path, "not a")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_truncated_checkpoint_is_refused(
    suffix: str, state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"cut{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-1000])
    check_refused(path, "not a")


def test_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    for number, value in enumerate(([1, 2], {"a": 1}, {}, {1: torch.zeros(1)}, torch.zeros(2))):
        path = tmp_path / f"other{number}.pth"
        torch.save(value, path)
        check_refused(path, "not a state dict")


def test_a_missing_file_or_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    check_refused(tmp_path / "none.pth", "No such file")
    check_refused(tmp_path, "not a file")
    other = tmp_path / "weights.onnx"
    other.write_bytes(b"onnx")
    check_refused(other, r"'\.onnx'")


def test_auxiliary_heads_and_missing_counters_of_older_files_do_not_matter(
    tmp_path: Path,
) -> None:
    row = rows.row("googlenet")
    state = zoo.randomised(row, row.weights[0], seed=1).state_dict()
    older = {name: state[name] for name in state if not name.endswith("num_batches_tracked")}
    older["aux1.conv.conv.weight"] = torch.zeros(128, 512, 1, 1)
    path = tmp_path / "googlenet.pth"
    torch.save(older, path)
    assert torch.equal(
        network.load("googlenet", weights=path).features(["inception4c"])(torch.ones(1, 3, 64, 64))[
            "inception4c"
        ],
        network.load("googlenet", random_seed=1).features(["inception4c"])(
            torch.ones(1, 3, 64, 64)
        )["inception4c"],
    )


def test_densenet_s_published_names_are_understood() -> None:
    row = rows.row("densenet121")
    state = zoo.randomised(row, row.weights[0], seed=1).state_dict()
    published = {}
    for name, tensor in state.items():
        for kind in ("norm1", "norm2", "conv1", "conv2"):
            if "denselayer" in name:
                name = name.replace(f".{kind}.", f".{kind[:-1]}.{kind[-1]}.")
        published[name] = tensor
    assert set(published) != set(state)
    built = zoo.skeleton(row, row.weights[0])
    checkpoints.fill(built, published, row, Path("densenet121.pth"))
    assert all(torch.equal(tensor, state[name]) for name, tensor in built.state_dict().items())


@pytest.mark.parametrize("name", ["mnasnet0_5", "swin_t", "regnet_y_400mf"])
def test_networks_whose_modules_have_versions_load_with_and_without_them(
    name: str, tmp_path: Path
) -> None:
    row = rows.row(name)
    state = zoo.randomised(row, row.weights[0], seed=1).state_dict()
    assert state._metadata  # type: ignore[attr-defined]
    for number, given in enumerate((state, dict(state))):
        path = tmp_path / f"{number}.pth"
        torch.save(given, path)
        built = zoo.skeleton(row, row.weights[0])
        checkpoints.fill(built, checkpoints.read(path), row, path)
        assert all(torch.equal(tensor, state[key]) for key, tensor in built.state_dict().items())
        assert not any(tensor.is_meta for tensor in built.state_dict().values())


def test_a_vision_transformer_takes_the_picture_size_of_its_checkpoint(tmp_path: Path) -> None:
    row = rows.row("vit_b_32")
    built = zoo._build(row, row.weights[0])
    state = built.state_dict()
    positions = state["encoder.pos_embedding"]
    state["encoder.pos_embedding"] = torch.cat([positions[:, :1], positions[:, 1:37]], 1)
    path = tmp_path / "trained-at-192.pth"
    torch.save(state, path)
    loaded = network.load("vit_b_32", weights=path)
    maps = loaded.features(["encoder.ln"])(torch.rand(1, 3, 192, 200))["encoder.ln"]
    assert maps.shape == (1, 768, 6, 7)


def test_reading_a_checkpoint_prints_nothing(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    torch.save(state, path)
    code = (
        "import sys\n"
        "from dreamer.networks import network\n"
        "network.load(sys.argv[1], weights=sys.argv[2])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, NAME, str(path)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
