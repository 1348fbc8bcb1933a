"""Where to compute, with devices that only have names and a transfer that only notes itself."""

import gc

import pytest
import torch

from dreamer.errors import DeviceError
from dreamer.render import devices

FAULT = (
    "CUDA error: an illegal memory access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(FAULT),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("HIP error: unspecified launch failure"),
        torch.AcceleratorError("CUDA error: unknown error", 999),
    ],
    ids=lambda error: str(error).splitlines()[0],
)
def test_an_error_of_a_device_is_told_as_one(error):
    assert devices.has_failed(error)
    with (
        pytest.raises(DeviceError, match=r"^The device failed: .*[^.]\.") as raised,
        devices.memory_guard("8x8 pixels"),
    ):
        raise error
    assert "\n" not in raised.value.message
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate"),
    ],
    ids=lambda error: str(error) or "MemoryError",
)
def test_too_little_memory_is_no_fault_of_the_device(error):
    assert not devices.has_failed(error)
    with (
        pytest.raises(DeviceError, match="There is not enough memory for 8x8 pixels"),
        devices.memory_guard("8x8 pixels"),
    ):
        raise error


def test_other_errors_are_what_they_are():
    assert not devices.has_failed(None)
    assert not devices.has_failed(ValueError("CUDA error"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"), devices.memory_guard("8x8 pixels"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_to_and_from_a_processor_nothing_is_copied():
    pixels = torch.rand(3, 4, 5)
    assert devices.sent(pixels, torch.device("cpu")) is pixels
    assert devices.fetching(pixels)() is pixels


class OnDevice:
    """A tensor as far as transfers know one; `log` is what is done with it, in turn."""

    def __init__(self, log, device="cpu", pinned=False):
        self.log, self.device, self.pinned = log, torch.device(device), pinned
        self.shape, self.dtype = (3, 4, 5), torch.float32

    def pin_memory(self):
        self.log.append("pin")
        return OnDevice(self.log, self.device, True)

    def to(self, device, *, non_blocking=False):
        self.log.append(("to", str(device), "from pinned" if self.pinned else "", non_blocking))
        return OnDevice(self.log, device)

    def cpu(self):
        self.log.append("cpu")
        return OnDevice(self.log)

    def copy_(self, other, *, non_blocking=False):
        self.log.append(("copy", str(other.device), non_blocking))


class Event:
    def __init__(self, log):
        self.log = log

    def record(self, stream):
        self.log.append(("record", stream))

    def synchronize(self):
        self.log.append("wait")


def test_to_cuda_a_photo_goes_from_pinned_memory_without_waiting():
    log = []
    devices.sent(OnDevice(log), torch.device("cuda:1"))
    assert log == ["pin", ("to", "cuda:1", "from pinned", True)]
    log.clear()
    devices.sent(OnDevice(log, "cuda:0"), torch.device("cuda:1"))  # it is on a device already
    devices.sent(OnDevice(log), torch.device("mps"))
    assert log == [("to", "cuda:1", "", False), ("to", "mps", "", False)]


def test_from_cuda_a_picture_comes_to_pinned_memory_and_only_its_user_waits(monkeypatch):
    log = []

    def empty(shape, *, dtype, pin_memory):
        assert (shape, dtype, pin_memory) == ((3, 4, 5), torch.float32, True)
        return OnDevice(log)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", lambda: Event(log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"of {device}")
    fetched = devices.fetching(OnDevice(log, "cuda:1"))
    assert log == [("copy", "cuda:1", True), ("record", "of cuda:1")]
    assert fetched().device == torch.device("cpu")
    assert log[2:] == ["wait"]


def test_a_worker_takes_no_memory_of_devices_that_are_not_its_own(monkeypatch):
    used = []
    monkeypatch.setattr(devices, "choose", lambda name: torch.device(name))
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    for name in ("cpu", "mps", "cuda:1"):
        devices.settle(name)
    assert used == [torch.device("cuda:1")]


def test_a_device_that_does_not_work_cannot_be_settled_on():
    with pytest.raises(DeviceError, match="'cuda:7' cannot be used"):
        devices.settle("cuda:7")


def test_relief_gives_back_what_nobody_holds(monkeypatch):
    done = []
    monkeypatch.setattr(gc, "collect", lambda: done.append("collected"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("emptied"))
    devices.relieve()
    assert done == ["collected", "emptied"]
