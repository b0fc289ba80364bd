"""Checks that every registered method must pass; `test_conformance` runs them, and shows that broken methods fail."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hundredfold.methods.base import FAMILIES, Method
from hundredfold.methods.dense.dense import Dense
from hundredfold.methods.execution.parts import Units
from hundredfold.methods.execution.session import Session
from hundredfold.methods.views import Batch
from hundredfold.replication.config import Recipe
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models.gpt import Gpt
from hundredfold.replication.models.vit import Vit

CNNS = ("airbench", "lenet1998", "lenet5", "small_cnn", "vgg", "resnet", "wrn", "resnet18", "resnet50", "mobilenet")

STEPS, BATCH = 48, 32
DRAWS = torch.Generator().manual_seed(7)
INPUTS = torch.randn(256, 16, generator=DRAWS)
TARGETS = (INPUTS @ torch.randn(16, 4, generator=DRAWS)).argmax(1)
TOKENS = torch.randint(0, 8, (256, 8), generator=DRAWS).cumsum(1) % 8  # each token depends on the one before
RECIPE = Recipe("adamw", BATCH, STEPS, 3e-3, 0.1, (0.9, 0.95), 0.1)


def small_options(cls: type[Method]) -> dict:
    """Options that let a method work within a few dozen steps; densities that a 64-unit network can hold."""
    names = {field.name for field in dataclasses.fields(cls)}
    options = {"density": 0.25, "duration": 0.5, "interval": 6, "observe_every": 2}
    options = {name: value for name, value in options.items() if name in names}
    if "update" in names:
        options["update"] = dataclasses.replace(cls().update, interval=6)
    return options | getattr(cls, "small", {})


def network(width: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    hidden = int(64 * width)
    return nn.Sequential(nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4))


def transformer(kind: str, width: float) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    if kind == "vit":
        spec = DataSpec("image", (1, 4, 4), 4, "accuracy")
        return Vit(patch=1, dim=16, heads=2).build(spec, width), INPUTS.view(-1, 1, 4, 4), TARGETS
    spec = DataSpec("text", (7,), 8, "loss")
    return Gpt(dim=16, heads=2, hidden=64).build(spec, width), TOKENS[:, :-1], TOKENS[:, 1:].contiguous()


def adamw(parameters, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, rate, weight_decay=0.1)


class Training:
    """A method at work on a small real problem; `units` stands in for the run that some methods start from.

    The first of a multilayer perceptron, a vision transformer and a language model that the method accepts.
    """

    def __init__(self, method: Method, seed: int = 0, storage: str = "masked", make=adamw, trace=None):
        self.method, refusals = method, []
        schedule = max(1, round(STEPS * method.duration))
        positions = method.positions(schedule)
        rates = dataclasses.replace(RECIPE, **method.recipe).rates(schedule)
        self.rates = [rates[position] for position in positions]
        units = {name: torch.arange(64) % 4 == 0 for name in ("2", "4")} if method.reference else None
        units = trace if method.twin_of and method.reference else units
        for kind in ("mlp", "vit", "gpt"):
            if kind == "mlp":
                self.model, self.inputs, self.targets = network(method.width), INPUTS, TARGETS
            else:
                self.model, self.inputs, self.targets = transformer(kind, method.width)
            self.optimizer = make(self.model.parameters(), 3e-3)
            try:
                self.session = Session(
                    self.model,
                    method,
                    self.optimizer,
                    total_steps=len(positions),
                    seed=seed,
                    storage=storage,
                    reference=units,
                    training=Batch(self.inputs, self.targets, torch.arange(len(self.inputs))),
                )
            except ValueError as error:
                refusals.append(str(error))
            else:
                return
        raise ValueError("; ".join(refusals))

    def run(self, stop: int | None = None, each=lambda training: None) -> Training:
        while self.session.step_index < min(stop or len(self.rates), self.session.total_steps):
            rows = torch.arange(BATCH) * 5 + self.session.step_index * BATCH
            rows = rows % len(self.inputs)
            for group in self.optimizer.param_groups:
                group["lr"] = self.rates[self.session.step_index]
            self.session.backward(self.inputs[rows], self.targets[rows], rows)
            self.session.step()
            self.optimizer.zero_grad()
            each(self)
        return self

    def masks(self) -> dict[str, torch.Tensor]:
        units = self.session.part(Units)
        return dict(self.session.active) | (dict(units.store.alive) if units else {})


def selected(method: Method) -> set[str]:
    """What a method decides about, by the words of its parts."""
    return {part.selects for part in method.parts()} - {""}


def where(condition):
    """Marks a check that says nothing of the methods for which `condition` is false."""

    def mark(check):
        check.applies = condition
        return check

    return mark


def applies(check, method: Method) -> bool:
    return getattr(check, "applies", lambda method: True)(method)


def names_of(method: Method) -> set[str]:
    return {field.name for field in dataclasses.fields(method)}


def check_frozen_and_described(method: Method) -> None:
    assert dataclasses.is_dataclass(method) and type(method).__dataclass_params__.frozen
    assert method.source, "a method names its source"
    assert type(method).__doc__ and "(" not in type(method).__doc__.split("\n")[0][:12], "a one-line description"
    assert method.family in FAMILIES
    header = inspect.getmodule(type(method)).__doc__ or ""
    assert "Source" in header and method.extra_cost, "the file's header has a source, the class its extra cost"


@where(lambda method: names_of(method) & {"density", "duration"})
def check_density_is_an_error_outside_its_range(method: Method) -> None:
    for name in names_of(method) & {"density", "duration"}:
        for value in (0.0, -0.1, 1.5, 90.0):
            try:
                dataclasses.replace(method, **{name: value})
            except ValueError as error:
                assert f"{name}={value:g}" in str(error) and "expected a fraction" in str(error)
            else:
                raise AssertionError(f"{name}={value} was accepted")


def promised(method: Method, training: Training, step: int) -> int | None:
    """Active weights after the update of a step: `num_active` of the method, or its density times the weights.

    None is no promise: the number is an outcome, and the method has a test of its own for it.
    """
    shapes = {name: tuple(layer.weight.shape) for name, layer in training.session.layers.items()}
    if hasattr(method, "num_active"):
        return method.num_active(shapes, step, training.session.total_steps)
    density_at = getattr(method, "density_at", lambda step, total: method.density)
    return round(density_at(step, training.session.total_steps) * sum(training.session.accounts.prunable.values()))


@where(lambda method: hasattr(method, "density") and {"weights", "units"} & selected(method))
def check_final_density_is_exact(method: Method) -> None:
    training = Training(method).run()
    session = training.session
    if "weights" in selected(method):
        active = sum(int(mask.sum()) for mask in session.active.values())
        expected = promised(method, training, session.total_steps - 1)
        assert expected is None or active == expected
    elif session.part(Units).store.groups:
        counts = session.unit_counts().values()
        assert sum(c["alive"] for c in counts) == round(method.density * sum(c["size"] for c in counts))


@where(lambda m: "weights" in selected(m) and hasattr(m, "density") and m.family in ("dynamic", "static"))
def check_number_of_weights_follows_the_schedule(method: Method) -> None:
    """`density_at(step, total)` is the schedule where a method has one; else a dynamic method's number is constant."""
    counts = {}

    def count(t: Training) -> None:
        if t.session.active:
            counts[t.session.step_index] = sum(int(m.sum()) for m in t.session.active.values())

    training = Training(method).run(each=count)
    for step, active in counts.items():
        if hasattr(method, "density_at"):
            step = max((s for s in range(step) if method.due(s, training.session.total_steps)), default=0)
        expected = promised(method, training, step)
        assert expected is None or abs(active - expected) <= 1, f"step {step}: {active} weights, {expected} promised"


def chooses_per_batch(method: Method) -> bool:
    """Such a method has to know what it chose."""
    return bool(selected(method) - {"weights", "units"}) or any(part.reads_batch for part in method.parts())


@where(lambda method: not chooses_per_batch(method))
def check_no_synchronisation_on_plain_steps(method: Method) -> None:
    """Between updates nothing is read back from the device and no mask is searched: no .item(), no nonzero()."""
    training, seen = Training(method).run(2), []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
                seen.append(str(function))
            return function(*args, **(kwargs or {}))

    session = training.session
    while session.step_index < session.total_steps:
        step, rows = session.step_index, torch.arange(BATCH)
        session.context.loss(training.model, training.inputs[rows], training.targets[rows], "mean").backward()
        plain = not (session.due or session.observes(step))
        with Watch() if plain else contextlib.nullcontext():
            session.before_step()
        training.optimizer.step()
        with Watch() if plain else contextlib.nullcontext():
            session.after_step()
        training.optimizer.zero_grad()
        assert not seen, f"step {step}: {seen}"


@where(lambda method: "weights" in selected(method))
def check_inactive_weights_and_moments_are_zero(method: Method) -> None:
    seen = []

    def check(training: Training) -> None:
        for name, mask in training.session.trained.items():
            seen.append(int((~mask).sum()))
            weight = training.session.layers[name].weight
            kept = any(getattr(part, "keeps", False) for part in training.session.parts)
            assert kept or not weight.detach()[~mask].any(), f"step {training.session.step_index}: {name} has a weight"
            for key, value in training.optimizer.state.get(weight, {}).items():
                if torch.is_tensor(value) and value.shape == weight.shape:
                    assert not value[~mask].any(), f"step {training.session.step_index}: {name} has {key}"

    Training(method).run(each=check)
    assert seen, "no layer was decided about"


def check_same_seed_same_network(method: Method) -> None:
    first, second = Training(method).run(), Training(method).run()
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def check_no_global_random_state(method: Method) -> None:
    training = Training(method)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    training.run()
    assert torch.equal(before, torch.get_rng_state()), "a method draws from the session's generator only"


def check_resume_is_bitwise(method: Method) -> None:
    whole = Training(method).run()
    total = whole.session.total_steps
    for stop in sorted({1, total // 4, total // 2 + 1, 3 * total // 4, total - 1}):
        part = Training(method).run(stop)
        saved = copy.deepcopy((part.session.state_dict(), part.model.state_dict(), part.optimizer.state_dict()))
        resumed = Training(method, seed=99)  # everything that a seed decides must come from the state
        resumed.session.load_state_dict(saved[0])
        resumed.model.load_state_dict(saved[1])
        resumed.optimizer.load_state_dict(saved[2])
        resumed.run()
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert a.shape == b.shape and torch.equal(a, b), f"resumed at step {stop}"
        for counter in ("executed_flops", "ideal_flops", "selection_flops"):
            assert getattr(resumed.session, counter) == getattr(whole.session, counter), f"{counter}, step {stop}"


def measured_physicality(method: Method) -> str:
    """How a whole run of a method skips: "physical", "partial", "masked", or "nothing" where all is selected.

    Executed and ideal FLOPs beside those of dense training of the same model and steps. Physical: what is not selected
    is neither computed nor stored; partial: a part of the step; masked: simulated on dense kernels.
    """
    training = Training(method).run()
    executed, ideal, everything = training.session.executed_flops, training.session.ideal_flops, dense_flops(training)
    assert 0 < ideal <= 1.001 * executed
    if executed >= 0.999 * everything:
        return "masked" if ideal < 0.99 * executed else "nothing"
    return "physical" if executed <= 1.02 * ideal else "partial"


def check_what_it_says_it_skips_is_skipped(method: Method) -> None:
    """A method whose parts simulate executes more than it selects; one whose parts do not, less than dense training."""
    simulated = any(part.simulated("masked") for part in method.parts())
    assert measured_physicality(method) != ("physical" if simulated else "masked")


def dense_flops(training: Training) -> float:
    """FLOPs of dense training of the same model for as many steps."""
    x, y = training.inputs[:BATCH], training.targets[:BATCH]
    model = network() if isinstance(training.model, nn.Sequential) else transformer(kind_of(training), 1.0)[0]
    plain = Session(model, Dense(), torch.optim.SGD(model.parameters()), total_steps=1)
    step = plain.count_step(lambda: plain.context.loss(model, x, y, "mean").backward())
    return len(training.rates) * step.executed


def kind_of(training: Training) -> str:
    return "gpt" if training.inputs.dtype == torch.long else "vit"


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
