"""Every method takes three steps on every model, or refuses it in one sentence that is listed here."""

import dataclasses

import pytest
import torch

from hundredfold.methods.execution.parts import Units
from hundredfold.methods.execution.session import Session
from hundredfold.methods.views import Batch
from hundredfold.replication.config import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.registry import create
from tests.conformance import CNNS, selected, small_options

STEPS, BATCH = 24, 4  # of the schedule, of which three steps are taken
METHODS = {n: c for n, c in registry("method").items()}
MODELS = {name: made for name, made in registry("model").items() if not made.learns}
UNITS = {n for n, c in METHODS.items() if "units" in selected(c())}
FEED_FORWARD = {"dsc_input", "moe"}
WEIGHTS = {n for n, c in METHODS.items() if {"weights", "operands"} & selected(c())} | {"placebo", "random_twin"}
BLOCKS = {"layer_drop", "random_ltd"}
TEXT_ONLY, IMAGE_ONLY = {"memory", "progressive_length"}, {"progressive_resolution"}
TRANSFORMERS = {"vit", "gpt", "llama"}
QUICK = {"gru", "lstm", "mlp", "small_cnn"}


def build(name):
    cls = MODELS[name]
    if "text" in cls.kinds:
        spec = DataSpec("text", (8,), 16, "loss")
        inputs = torch.randint(16, (2 * BATCH, 8), generator=torch.Generator().manual_seed(0))
        targets = inputs.roll(-1, 1)
    else:
        spec = DataSpec("image", (3, 16, 16), 4, "accuracy")
        inputs = torch.randn(2 * BATCH, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        targets = torch.arange(2 * BATCH) % 4
    torch.manual_seed(0)
    two_blocks = {"depth": 2} if name in TRANSFORMERS else {}
    return create("model", MODELS, name, **(cls.small | two_blocks)).build(spec), inputs, targets


def options(cls):
    found = small_options(cls)
    if "density" in found:
        found["density"] = 0.5
    if "update" in found:
        found["update"] = dataclasses.replace(found["update"], interval=3)
    if "interval" in found:
        found["interval"] = 3
    if cls is METHODS["progressive_resolution"]:
        found["multiple"] = 4
    return found


def three_steps(method, name):
    """Loss of the last of three steps; ValueError where the method refuses the model."""
    model, inputs, targets = build(name)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    reference = None
    if method.reference:
        model_groups = Session(model, METHODS["dsc"](interval=3), optimizer, total_steps=STEPS).part(Units).store.groups
        reference = {group: torch.arange(g.size) % 2 == 0 for group, g in model_groups.items()}
        model, inputs, targets = build(name)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    training = Batch(inputs, targets, torch.arange(len(inputs)))
    session = Session(
        model, method, optimizer, total_steps=STEPS, seed=1, reference=reference, training=training
    )
    for step in range(3):
        rows = (torch.arange(BATCH) + step) % len(inputs)
        loss = session.backward(inputs[rows], targets[rows], rows)
        session.step()
        optimizer.zero_grad()
    assert session.executed_flops > 0 and 0 < session.density() <= 1
    return float(loss)


def expected_refusals(name):
    """Methods that have nothing to select in a model."""
    text = "text" in MODELS[name].kinds
    refused = IMAGE_ONLY if text else TEXT_ONLY
    if name not in TRANSFORMERS:
        refused = refused | BLOCKS
    if name in ("conv1d", "lenet1998", "lenet5", "mlp", "pixel_ngrams"):  # fixed input sizes
        refused = refused | IMAGE_ONLY
    if name in {*CNNS, "conv1d"} - {"lenet1998", "lenet5"}:  # no hidden neurons of linear layers
        refused = refused | FEED_FORWARD
    if name in ("gru", "lstm"):  # no prunable layer, no group of units
        refused = refused | UNITS | WEIGHTS | FEED_FORWARD
    if name == "airbench":  # images of eight pixels are too small for it, and its activations are in no block
        refused = refused | {"progressive_resolution", "relu_l1"}
    if name == "pixel_ngrams":  # one layer, without hidden units
        refused = refused | UNITS | FEED_FORWARD | {"placebo", "relu_l1"}
    return refused


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in sorted(MODELS)])
def test_every_method_takes_three_steps(name):
    refusals, wrong = {}, {}
    for method_name, cls in METHODS.items():
        try:
            loss = three_steps(cls(**options(cls)), name)
            if not torch.isfinite(torch.tensor(loss)):
                wrong[method_name] = f"loss {loss}"
        except ValueError as error:
            refusals[method_name] = str(error)
        except Exception as error:
            wrong[method_name] = f"{type(error).__name__}: {error}"
    assert not wrong
    assert all("\n" not in sentence for sentence in refusals.values())
    assert set(refusals) == expected_refusals(name), refusals
