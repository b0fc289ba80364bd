"""Peers of the layer benchmark that run on a GPU alone: what is asked of them, with a stand-in for the library."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from hundredfold.replication.benchmark.layers import experts_of, ideal, megablocks_step, moe_step

SIZE, TOKENS = 512, 16


def factors():
    return torch.randn(TOKENS, SIZE, requires_grad=True), torch.randn(TOKENS, SIZE)


@pytest.mark.parametrize(("density", "experts"), [(0.5, 2), (0.2, 4), (0.1, 8), (0.05, 16), (0.01, 128)])
def test_experts_are_the_power_of_two_nearest_to_a_density(density, experts):
    assert experts_of(density) == experts == ideal("moe", SIZE, density) == ideal("megablocks", SIZE, density)


def test_experts_have_as_many_weights_as_the_layer():
    x, dy = factors()
    dx, *weights = moe_step(SIZE, 4, x, dy)()
    assert dx.shape == x.shape and sum(w.numel() for w in weights) == SIZE * SIZE + 4 * SIZE, "and a router"
    assert moe_step(SIZE, 3, x, dy) is None, "256 neurons are not divided by 3"


class StandIn(nn.Module):
    """Takes what dMoE takes and keeps what it was told; its losses pile up as those of the library do."""

    losses: list = []  # one for the process, as there

    def __init__(self, told):
        super().__init__()
        self.told = told
        self.weight = nn.Parameter(torch.eye(told.hidden_size))

    def forward(self, x):
        assert x.shape == (TOKENS, 1, SIZE), "[sequence, batch, hidden]"
        self.losses.append(x.sum())
        return x @ self.weight


@pytest.fixture
def library(monkeypatch):
    made = {name: ModuleType(name) for name in ("arguments", "dmoe", "moe")}
    made["arguments"].Arguments = SimpleNamespace
    told = []
    made["dmoe"].dMoE = lambda args: told.append(args) or StandIn(args)
    made["moe"].clear_load_balancing_loss = StandIn.losses.clear
    for name in ("megablocks", "megablocks.layers"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, f"megablocks.layers.{name}", module)
    return told


def test_megablocks_runs_forward_and_backward_and_keeps_no_losses(library):
    x, dy = factors()
    step = megablocks_step(SIZE, 2, x, dy)
    dx, dw = step()
    assert torch.equal(dx, dy) and dw.shape == (SIZE, SIZE) and not StandIn.losses
    told = vars(library[0])
    assert (told["hidden_size"], told["ffn_hidden_size"], told["moe_num_experts"]) == (SIZE, 128, 2)
    assert told["bf16"] and not told["fp16"]
    assert megablocks_step(SIZE, 4, x, dy) is None, "64 neurons are no block"


def test_megablocks_is_left_out_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "megablocks", None)
    assert megablocks_step(SIZE, 2, *factors()) is None
