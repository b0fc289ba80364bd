"""The pretend device does what a CUDA device does; the tests marked gpu ask a real one the same questions."""

import copy
import io
from collections import Counter
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hundredfold.replication.record import weights_sha256
from tests.pretend_device import Pretend, pretend_device

GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@contextmanager
def real_device():
    yield Counter()


DEVICES = [pytest.param(pretend_device, id="pretend"), pytest.param(real_device, id="real", marks=GPU)]


def on_the_cpu():
    return torch.arange(6.0).view(2, 3)


MIXED = {
    "sum": lambda a, b: a + b,
    "product": lambda a, b: a @ b.T,
    "linear layer": lambda a, b: F.linear(a, b),
    "concatenation": lambda a, b: torch.cat([a, b]),
    "choice": lambda a, b: torch.where(a > 0, a, b),
    "number in a stack": lambda a, b: torch.stack([a.sum(), b.sum()]),
    "values that are set": lambda a, b: a.__setitem__(torch.tensor([0, 1], device="cuda"), b),
    "written to the CPU": lambda a, b: b.add_(a),
    "CPU tensor indexed by the device": lambda a, b: b[(a > 0).nonzero()[:, 0]],
    "optimizer": lambda a, b: torch._foreach_add_([a], [b]),
    "generator for a new tensor": lambda a, b: torch.rand(2, device="cuda", generator=torch.Generator()),
    "generator for a tensor": lambda a, b: a.bernoulli_(0.5, generator=torch.Generator()),
}
ALLOWED = {
    "number": lambda a, b: a * b.sum(),
    "number that is filled in": lambda a, b: a.masked_fill(a > 2, b.sum()),
    "index": lambda a, b: a[b[0].long() % 2],
    "copy to the device": lambda a, b: a.clone().copy_(b),
    "copy to the CPU": lambda a, b: b.clone().copy_(a),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("operation", MIXED)
def test_operators_that_mix_devices_are_refused(operation, device):
    with device(), pytest.raises(RuntimeError, match=r"same device|device type for generator|indices should be"):
        MIXED[operation](on_the_cpu().to("cuda"), on_the_cpu())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("operation", ALLOWED)
def test_numbers_indices_and_copies_may_come_from_the_other_device(operation, device):
    expected = ALLOWED[operation](on_the_cpu(), on_the_cpu())
    with device():
        assert torch.equal(ALLOWED[operation](on_the_cpu().to("cuda"), on_the_cpu()).cpu(), expected)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("convert", [lambda a: a.numpy(), lambda a: a.detach().__array__()], ids=["numpy", "array"])
def test_numpy_gets_no_tensor_of_the_device(convert, device):
    with device(), pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        convert(on_the_cpu().to("cuda"))


READ, SIZE, UP, DOWN = "a value is read", "a size depends on values", "a copy to the device", "a copy to the CPU"
WAITING = {
    "item": (lambda a: a.sum().item(), READ),
    "float": (lambda a: float(a.sum()), READ),
    "if": (lambda a: bool((a > 0).any()), READ),
    "equal": (lambda a: torch.equal(a, a + 1), READ),
    "nonzero": (lambda a: a.nonzero(), SIZE),
    "index by a mask": (lambda a: a[a > 2], SIZE),
    "masked_select": (lambda a: a.masked_select(a > 2), SIZE),
    "unique": (lambda a: a.unique(), SIZE),
    "bincount": (lambda a: a.flatten().long().bincount(), SIZE),
    "repeat_interleave": (lambda a: a[0].repeat_interleave(a[0].long()), SIZE),
    "cpu": (lambda a: a.cpu(), DOWN),
    "tolist": (lambda a: a.tolist(), DOWN),
    "to": (lambda a: torch.ones(3).to(a), UP),
    "tensor": (lambda a: torch.tensor([1.0], device="cuda"), UP),
    "new_tensor": (lambda a: a.new_tensor([1.0]), UP),
    "index on the CPU": (lambda a: a[torch.tensor([0, 1])], UP),
}
NOT_WAITING = {
    "product": lambda a: a @ a.T,
    "top": lambda a: a.flatten().topk(2),
    "sort": lambda a: a.sort().values,
    "threshold": lambda a: a.flatten().kthvalue(2).values,
    "draw": lambda a: torch.rand(3, device="cuda"),
    "fill where a mask is true": lambda a: a.__setitem__(a > 2, 0.0),
    "repeat so often": lambda a: a[0].repeat_interleave(torch.ones_like(a[0]).long(), output_size=3),
    "loss": lambda a: F.cross_entropy(a, torch.zeros(2, dtype=torch.long, device="cuda"), label_smoothing=0.1),
    "copy that does not block": lambda a: a.copy_(torch.ones(2, 3), non_blocking=True),
}


@pytest.mark.parametrize("call", WAITING)
def test_what_waits_for_the_device_is_counted_by_its_kind(call):
    function, kind = WAITING[call]
    with pretend_device() as log:
        a = on_the_cpu().to("cuda")
        log.waits.clear()
        function(a)
        assert log.waits == {(kind, "elsewhere"): 1}


@pytest.mark.parametrize("call", NOT_WAITING)
def test_what_the_device_can_do_by_itself_is_no_wait(call):
    with pretend_device() as log:
        a = on_the_cpu().to("cuda")
        log.waits.clear()
        NOT_WAITING[call](a)
        assert not log.waits


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("call", [*WAITING, *NOT_WAITING])
def test_pytorch_says_the_same_of_waits_on_a_real_device(call):
    function = WAITING[call][0] if call in WAITING else NOT_WAITING[call]
    a = on_the_cpu().to("cuda")
    function(a)  # what CUDA sets up at the first call may wait as well
    torch.cuda.set_sync_debug_mode("error")
    try:
        if call in WAITING:
            with pytest.raises(RuntimeError, match="synchronizing"):
                function(a)
        else:
            function(a)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_wait_is_told_by_the_line_of_the_project_that_made_it():
    with pretend_device() as log:
        weights_sha256(nn.Linear(3, 2).to("cuda"))
        places = {place.split(":")[0] for kind, place in log.waits if kind == DOWN}
        assert places == {"replication/record.py"}
        assert log.count("replication/") == 2 and log.count("methods/") == 0 and log.count() >= 2


def test_a_step_on_the_device_is_that_on_the_cpu_bitwise():
    def step(device):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        model.to(device)
        optimizer = torch.optim.AdamW(model.parameters(), 0.1, fused=True)
        x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0)).to(device)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(x), (torch.arange(5) % 3).to(device), label_smoothing=0.1).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        return weights_sha256(model)

    with pretend_device():
        assert step("cuda") == step("cpu")


def test_gradients_cross_between_the_devices():
    with pretend_device():
        a = on_the_cpu().requires_grad_()
        (a.to("cuda").square().cpu() * 2).sum().backward()
        assert type(a.grad) is torch.Tensor and torch.equal(a.grad, 4 * a.detach())


def test_a_module_that_moves_keeps_its_parameters():
    with pretend_device():
        module = nn.Linear(3, 2)
        parameters = list(module.parameters())
        for device, kind in (("cuda", Pretend), ("cpu", nn.Parameter), ("cuda", Pretend)):
            module.to(device)
            for before, after in zip(parameters, module.parameters(), strict=True):
                assert after is before and type(after) is kind and after.device.type == device


def test_a_tensor_of_the_device_is_saved_and_loaded_on_the_cpu():
    with pretend_device():
        stream, a = io.BytesIO(), on_the_cpu().to("cuda")
        torch.save({"a": a}, stream)
        stream.seek(0)
        loaded = torch.load(stream, weights_only=True)["a"]
        assert type(loaded) is torch.Tensor and torch.equal(loaded, on_the_cpu())
        assert type(copy.deepcopy(a)) is Pretend


def test_products_under_autocast_are_in_bfloat16_and_losses_in_float32():
    with pretend_device():
        layer = nn.Linear(3, 2).to("cuda")
        with torch.autocast("cuda", torch.bfloat16):
            y = layer(on_the_cpu().to("cuda"))
            loss = F.cross_entropy(y, torch.tensor([0, 1], device="cuda"))
        assert y.dtype == torch.bfloat16 and loss.dtype == torch.float32
        loss.backward()
        assert layer.weight.grad.dtype == torch.float32 and layer(on_the_cpu().to("cuda")).dtype == torch.float32


def test_the_process_has_no_device_afterwards():
    available, swaps = torch.cuda.is_available(), torch.__future__.get_swap_module_params_on_conversion()
    with pretend_device():
        a = on_the_cpu().to("cuda")
        assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    assert torch.cuda.is_available() == available
    assert torch.__future__.get_swap_module_params_on_conversion() == swaps
    assert torch.empty(2, device="meta").is_meta
    with pytest.raises(RuntimeError, match="has left the pretend device"):
        a + 1
