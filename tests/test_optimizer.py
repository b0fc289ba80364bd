"""Muon against torch's own for matrices, what it does to kernels and to missing weights, and what it is for."""

import dataclasses

import pytest
import torch
from torch import nn

from hundredfold.replication.config import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.optimizer import Muon, hidden, make_optimizer, orthogonal
from hundredfold.replication.recipe import Recipe
from hundredfold.replication.registry import create

RECIPE = Recipe("muon", 8, 100, 0.02, 0.1, (0.9, 0.95), 0.1)


def stepped(optimizer, weight, steps=5):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return weight.detach()


def muon(weight, stacked=1, ns_steps=5):
    group = {"params": [weight], "weight_decay": 0.1, "orthogonal": stacked, "ns_steps": ns_steps}
    return Muon([group], 0.02, (0.9, 0.95))


@pytest.mark.parametrize("ns_steps", [3, 5])
@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16)])
def test_a_matrix_goes_where_torchs_muon_takes_it(shape, ns_steps):
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"momentum": 0.9, "nesterov": True, "adjust_lr_fn": "match_rms_adamw", "ns_steps": ns_steps}
    reference = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, **options)
    moved = stepped(muon(ours, ns_steps=ns_steps), ours) - start
    expected = stepped(reference, theirs) - start  # its iterations are in bfloat16
    assert (moved - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("shape", [(8, 8), (8, 30), (30, 8)])
def test_singular_values_come_near_one(shape):
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0)), 5))
    assert 0.5 < float(values.min()) and float(values.max()) < 1.3


def test_a_kernel_is_the_matrix_of_its_outputs():
    start = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    kernel, matrix = nn.Parameter(start.clone()), nn.Parameter(start.flatten(1).clone())
    generator = torch.Generator().manual_seed(1)
    for weight, optimizer in ((kernel, muon(kernel)), (matrix, muon(matrix))):
        weight.grad = torch.randn(6, 36, generator=generator.manual_seed(1)).view(weight.shape)
        optimizer.step()
    assert torch.allclose(kernel.flatten(1), matrix, atol=1e-6)


@pytest.mark.parametrize(("cell", "gates"), [(nn.GRU, 3), (nn.LSTM, 4)])
def test_each_gate_of_a_recurrent_layer_is_a_matrix_of_its_own(cell, gates):
    layer = cell(6, 8)
    head = nn.Linear(8, 4)
    stacks = dict(hidden(nn.ModuleList([layer, head])))
    assert stacks == {layer.weight_ih_l0: gates, layer.weight_hh_l0: gates}
    start = torch.randn(gates * 8, 6, generator=torch.Generator().manual_seed(0))
    together, apart = nn.Parameter(start.clone()), [nn.Parameter(part.clone()) for part in start.split(8)]
    grad = torch.randn(start.shape, generator=torch.Generator().manual_seed(1))
    together.grad = grad.clone()
    muon(together, gates).step()
    for weight, part in zip(apart, grad.split(8), strict=True):
        weight.grad = part.clone()
        muon(weight).step()
    torch.testing.assert_close(together.detach(), torch.cat([weight.detach() for weight in apart]))


def test_a_weight_without_gradients_stays_zero():
    weight = nn.Parameter(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).triu())
    optimizer = muon(weight)
    for _ in range(3):
        weight.grad = torch.ones(8, 8).triu() * weight.detach()
        optimizer.step()
    assert torch.equal(weight.detach().tril(-1), torch.zeros(8, 8)) and bool((weight.detach().triu() != 0).any())


IMAGE, TEXT = DataSpec("image", (3, 32, 32), 10, "accuracy"), DataSpec("text", (16,), 32, "loss")


@pytest.mark.parametrize(
    "name, spec", [("airbench", IMAGE), ("vit", IMAGE), ("gpt", TEXT), ("llama", TEXT), ("lstm", TEXT)]
)
def test_neither_embeddings_nor_the_head_are_made_orthogonal(name, spec):
    model = create("model", registry("model"), name, **registry("model")[name].small).build(spec)
    inside = dict(hidden(model))
    named = [n for n, p in model.named_parameters() if p in inside]
    assert named and all(p.ndim > 1 for p in inside)
    assert not [n for n in named if "head" in n or "wte" in n or "wpe" in n or "embed_tokens" in n or "whitening" in n]
    optimizer = make_optimizer(model, RECIPE)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, held)) == sorted(map(id, model.parameters()))


def test_the_other_optimizers_are_torchs():
    model = nn.Linear(3, 2)
    assert type(make_optimizer(model, dataclasses.replace(RECIPE, optimizer="adamw"))) is torch.optim.AdamW
    assert type(make_optimizer(model, dataclasses.replace(RECIPE, optimizer="sgd"))) is torch.optim.SGD
