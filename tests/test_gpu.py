"""The same promises on a CUDA device; skipped where there is none."""

import dataclasses

import pytest
import torch

import methods
from methods.base import Method
from methods.execution.session import Session
from replication.registry import discover
from tests.conformance import BATCH, INPUTS, TARGETS, network, small_options

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
METHODS = {name: cls(**small_options(cls)) for name, cls in discover(methods, Method).items()}


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_on_the_gpu(name, precision):
    method = METHODS[name]
    model = network(method.width).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, fused=True)
    units = {group: torch.arange(64) % 4 == 0 for group in ("2", "4")} if method.reference else None
    session = Session(model, method, optimizer, total_steps=48, reference=units)
    x, y = INPUTS[:BATCH].cuda(), TARGETS[:BATCH].cuda()
    losses = []
    for _ in range(48):
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        session.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_compact_equals_masked_on_the_gpu():
    outputs = []
    for units in ("compact", "masked"):
        method = dataclasses.replace(METHODS["dsc"], units=units)
        model = network().cuda()
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        session = Session(model, method, optimizer, total_steps=48)
        for _ in range(48):
            torch.nn.functional.cross_entropy(model(INPUTS[:BATCH].cuda()), TARGETS[:BATCH].cuda()).backward()
            session.step()
            optimizer.zero_grad()
        outputs.append(model(INPUTS.cuda()))
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-4)


def test_the_energy_counter_of_the_gpu_runs_forward():
    from replication.energy.sources import choose

    source = choose("zeus-gpu", "cuda")
    a = torch.randn(4096, 4096, device="cuda")
    before = source.joules()
    for _ in range(200):
        a @ a
    source.synchronize()
    assert source.joules() >= before and source.evidence == "measured"
