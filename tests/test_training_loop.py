"""The suite's loop against plain PyTorch: a run of `dense` is bitwise what its recipe says, step by step."""

import hashlib
import itertools
import math
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hundredfold.methods.dense.dense import Dense
from hundredfold.methods.static.lottery import Lottery
from hundredfold.replication.config import Energy, Experiment, Logger, Recipe, Trainer
from hundredfold.replication.datasets.digits import Digits
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import Source
from hundredfold.replication.models.mlp import Mlp
from hundredfold.replication.models.small_cnn import SmallCnn
from hundredfold.replication.module import TrainingModule
from hundredfold.replication.run import fit

IMAGES = 1200  # of the training split: with batches of 250 an epoch ends within a batch
ADAMW = Recipe("adamw", 250, 11, 3e-3, 0.1, (0.9, 0.95), warmup=0.3, clip=0.28)
SGD = Recipe("sgd", 250, 11, 0.1, 0.05, (0.9, 0.999), warmup=0.3, clip=0.2)
TRAINER = Trainer("cpu", threads=1, precision="float32", segments=3, checkpoint_every_s=0.0, channels_last=False)
DROPOUT, NORMS = Mlp(widths=(32, 24), dropout=0.2), SmallCnn(channels=(8, 16))


@dataclass(frozen=True)
class Noisy(Digits):
    """Digits with augmentation, and with inputs that are scaled as they are read."""

    def augment(self, inputs, seen, generator):
        return inputs + torch.rand(inputs.shape, generator=generator)

    def prepare(self, inputs, targets):
        return 0.5 * inputs, targets


def experiment(recipe, model=DROPOUT, dataset=None, method=None, budget=1.0):
    dataset, method = dataset or Digits(), method or Dense()
    where = {"energy": Energy("none", 10.0), "logger": Logger(), "replicate": 0, "results": "results"}
    return Experiment(dataset, model, method, recipe, TRAINER, seed=3, budget=budget, **where)


CASES = {
    "adamw, linear": experiment(ADAMW),
    "adamw, cosine, smoothed": experiment(replace(ADAMW, schedule="cosine", smoothing=0.1, clip=0.2), NORMS),
    "sgd, linear": experiment(SGD, NORMS),
    "sgd, step": experiment(replace(SGD, schedule="step", milestones=(0.5, 0.8), gamma=0.2, steps=12, clip=0.26)),
    "not clipped, half of the steps": experiment(replace(SGD, clip=None, steps=22), budget=0.5),
    "augmented": experiment(replace(ADAMW, clip=0.2), NORMS, Noisy()),
}


# ---- the oracle ------------------------------------------------------------------------------------------------------


def stream(seed, purpose, position=0):
    """Seed of a purpose's own random stream: the first 7 bytes of SHA-256 of seed/purpose/position."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}/{position}".encode()).digest()[:7], "big")


def drawn(*of):
    return torch.Generator().manual_seed(stream(*of))


def rate(recipe, step, steps):
    """Learning rate of a step: a straight rise to the top, then the schedule, which ends one step after the last."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        return recipe.learning_rate * ((step + 1) / warm)
    if recipe.schedule == "linear":
        return recipe.learning_rate * ((steps - step) / (steps - warm + 1))
    if recipe.schedule == "cosine":
        return recipe.learning_rate * (0.5 + 0.5 * math.cos(math.pi * ((step + 1 - warm) / (steps - warm + 1))))
    return recipe.learning_rate * recipe.gamma ** len([m for m in recipe.milestones if m * steps <= step])


def plain_optimizer(recipe, model):
    """Matrices and kernels decay, biases and norms do not. Fused, because other kernels round differently."""
    norms = [p for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.BatchNorm2d)) for p in m.parameters()]
    vectors = [p for n, p in model.named_parameters() if n.endswith("bias") or any(p is q for q in norms)]
    matrices = [p for p in model.parameters() if all(p is not q for q in vectors)]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=recipe.betas, fused=True)
    return torch.optim.SGD(groups, momentum=recipe.betas[0], nesterov=True, fused=True)


@cache
def plain(case):
    """The oracle: the final state, the points of the curve, and the norm of every step's gradient."""
    told = CASES[case]
    recipe, data, seed, size = told.recipe, told.dataset, told.seed, told.recipe.batch_size
    (images, classes), (unseen, answers) = data.training()
    steps, points, norms = round(recipe.steps * told.budget), [], []
    torch.manual_seed(stream(seed, "init"))
    model = told.model.build(data.spec())
    optimizer = plain_optimizer(recipe, model)
    epochs = [torch.randperm(IMAGES, generator=drawn(seed, "order", n)) for n in range(steps * size // IMAGES + 1)]
    order = torch.cat(epochs)[: steps * size].view(steps, size)
    for start, stop in itertools.pairwise(round(steps * edge / 3) for edge in range(4)):
        torch.manual_seed(stream(seed, "dropout", start))
        rows, losses = order[start:stop].flatten(), []
        seen = data.augment(images[rows], None, drawn(seed, "augment", start)).split(size)
        for step, x, y in zip(range(start, stop), seen, classes[rows].split(size), strict=True):
            x, y = data.prepare(x, y)
            loss = F.cross_entropy(model(x), y, label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            loss.backward()
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), recipe.clip or math.inf)))
            for group in optimizer.param_groups:
                group["lr"] = rate(recipe, step, steps)
            optimizer.step()
            losses.append(loss.detach())
        quality = plain_quality(model, *data.prepare(unseen, answers))
        points.append((stop, stop / steps, float(torch.stack(losses).mean()), *quality))
    return model.state_dict(), points, norms


@torch.no_grad()
def plain_quality(model, inputs, targets):
    """Accuracy and mean loss of the model as it is used, without dropout and with the running statistics."""
    model.eval()
    logits = model(inputs)
    model.train()
    loss = F.cross_entropy(logits, targets, reduction="sum")
    return float((logits.argmax(1) == targets).float().mean()), float(loss) / len(targets)


# ---- the suite -------------------------------------------------------------------------------------------------------


def suite(told, folder, progress=lambda done, total: None, source=None):
    """The module that trains an experiment, before its first step."""
    meter = Meter(source or Source(), Ledger(folder / "energy.jsonl"))
    return TrainingModule(told, told.dataset.spec(), *told.dataset.training(), meter, progress=progress)


def trained(module):
    """The module after its three segments, without Lightning around them."""
    for start, stop in itertools.pairwise(round(module.total_steps * edge / 3) for edge in range(4)):
        module.training_step((start, stop), 0)
    return module


def points_of(module):
    names = ("step", "fraction", "train_loss", "validation_accuracy", "validation_loss")
    return [tuple(point[name] for name in names) for point in module.position.curve]


def equals_plain(module, case):
    state, points, _ = plain(case)
    mine = module.model.state_dict()
    same = mine.keys() == state.keys() and all(map(torch.equal, mine.values(), state.values()))
    return same and points_of(module) == points


@pytest.mark.parametrize("case", CASES)
def test_a_dense_run_is_bitwise_the_plain_loop_of_its_recipe(case, tmp_path):
    module = suite(CASES[case], tmp_path)
    assert fit(module, tmp_path, checkpoint_every_s=0.0) is None
    assert equals_plain(module, case)


@pytest.mark.parametrize("case", CASES)
def test_the_cases_clip_some_steps_and_span_more_than_two_epochs(case):
    recipe, norms = CASES[case].recipe, plain(case)[2]
    assert recipe.clip is None or min(norms) < recipe.clip < max(norms)
    assert len(norms) * recipe.batch_size > 2 * IMAGES and IMAGES % recipe.batch_size


@pytest.mark.parametrize("case", ["adamw, linear", "sgd, linear", "augmented"])
def test_a_run_that_stopped_after_every_segment_is_the_plain_loop_too(case, tmp_path):
    for segments in (1, 2, 3):
        module = suite(CASES[case], tmp_path)
        assert fit(module, tmp_path, checkpoint_every_s=0.0, segments=segments) is None
    assert equals_plain(module, case)


def test_batches_do_not_depend_on_how_many_are_gathered_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("hundredfold.replication.module.GATHERED_BYTES", 2 * 250 * 64 * 4)
    assert equals_plain(trained(suite(CASES["sgd, linear"], tmp_path)), "sgd, linear")


# ---- loops that are broken on purpose: the oracle can fail -----------------------------------------------------------


def set_groups(optimizer, **values):
    for group in optimizer.param_groups:
        group.update(values)


def always_evaluate(patch, mode=nn.Module.train):
    patch.setattr(nn.Module, "train", lambda self, _=True: mode(self, False))


FIRST_ORDER, TOP = torch.randperm(IMAGES, generator=drawn(3, "order", 0)), SGD.learning_rate
BROKEN = {
    "gradients are not clipped": lambda m, p: p.setattr(nn.utils, "clip_grad_norm_", lambda parameters, clip: None),
    "gradients add up": lambda m, p: p.setattr(m.optimizer, "zero_grad", lambda set_to_none: None),
    "norms and biases decay": lambda m, p: set_groups(m.optimizer, weight_decay=SGD.weight_decay),
    "nothing decays": lambda m, p: set_groups(m.optimizer, weight_decay=0.0),
    "there is no momentum": lambda m, p: set_groups(m.optimizer, momentum=0.0, nesterov=False),
    "momentum is not Nesterov's": lambda m, p: set_groups(m.optimizer, nesterov=False),
    "the rate stays at its top": lambda m, p: m.optimizer.register_step_pre_hook(lambda o, *_: set_groups(o, lr=TOP)),
    "every epoch has the same order": lambda m, p: p.setattr(torch, "randperm", lambda count, generator: FIRST_ORDER),
    "dropout has no seed": lambda m, p: p.setattr(torch, "manual_seed", lambda seed: None),
    "it trains in evaluation mode": lambda m, p: always_evaluate(p),
    "it evaluates in training mode": lambda m, p: p.setattr(nn.Module, "eval", lambda self: self.train()),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_loop_that_leaves_its_recipe_is_not_the_plain_one(broken, tmp_path, monkeypatch):
    plain("sgd, step")  # before anything is broken
    module = suite(CASES["sgd, step"], tmp_path)
    with monkeypatch.context() as patch:
        BROKEN[broken](module, patch)
        trained(module)
    assert not equals_plain(module, "sgd, step")


# ---- what one dense run cannot show ----------------------------------------------------------------------------------


def test_every_round_of_a_lottery_has_the_rates_of_a_whole_training(tmp_path):
    module, seen = suite(experiment(ADAMW, method=Lottery(density=0.5, rounds=2, rewind_step=4)), tmp_path), []
    groups = module.optimizer.param_groups
    module.optimizer.register_step_pre_hook(lambda *_: seen.append([group["lr"] for group in groups]))
    trained(module)
    rates = [rate(ADAMW, step, 11) for step in range(11)]
    assert seen == [[r, r] for r in rates + 2 * rates[4:]]


def test_every_example_comes_with_its_row_of_the_training_split(tmp_path, monkeypatch):
    module, seen = suite(CASES["augmented"], tmp_path), []
    backward, (images, classes) = module.session.backward, module.train_split
    monkeypatch.setattr(module.session, "backward", lambda *batch: seen.append(batch) or backward(*batch))
    trained(module)
    for inputs, targets, rows in seen:
        noise = inputs / 0.5 - images[rows]
        assert torch.equal(targets, classes[rows]) and noise.min() > -1e-5 and noise.max() < 1 + 1e-5
