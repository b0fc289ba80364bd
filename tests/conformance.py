"""Checks that every registered method must pass; `test_conformance` runs them, and shows that broken methods fail."""

from __future__ import annotations

import copy
import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from methods.base import Method
from methods.execution.session import Session

STEPS, BATCH = 48, 32
DRAWS = torch.Generator().manual_seed(7)
INPUTS = torch.randn(256, 16, generator=DRAWS)
TARGETS = (INPUTS @ torch.randn(16, 4, generator=DRAWS)).argmax(1)


def small_options(cls: type[Method]) -> dict:
    """Options that let a method work within a few dozen steps; densities that a 64-unit network can hold."""
    names = {field.name for field in dataclasses.fields(cls)}
    options = {"density": 0.25, "duration": 0.5, "interval": 6, "observe_every": 2}
    options = {name: value for name, value in options.items() if name in names}
    if "update" in names:
        options["update"] = dataclasses.replace(cls().update, interval=6)
    return options


def network(width: float = 1.0) -> nn.Module:
    torch.manual_seed(0)
    hidden = int(64 * width)
    return nn.Sequential(
        nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 4)
    )


class Training:
    """A method at work on a small real problem; `units` stands in for the run that some methods start from."""

    def __init__(self, method: Method, seed: int = 0):
        self.method = method
        self.model = network(method.width)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 3e-3, weight_decay=0.1)
        units = {name: torch.arange(64) % 4 == 0 for name in ("2", "4")} if method.reference else None
        steps = max(1, round(STEPS * method.duration))
        self.session = Session(self.model, method, self.optimizer, total_steps=steps, seed=seed, reference=units)

    def run(self, stop: int | None = None, each=lambda training: None) -> Training:
        while self.session.step_index < min(stop or STEPS, self.session.total_steps):
            rows = torch.arange(BATCH) * 5 + self.session.step_index * BATCH
            rows = rows % len(INPUTS)
            F.cross_entropy(self.model(INPUTS[rows]), TARGETS[rows]).backward()
            self.session.step()
            self.optimizer.zero_grad()
            each(self)
        return self

    def masks(self) -> dict[str, torch.Tensor]:
        store = self.session.store
        return dict(self.session.active) | (dict(store.alive) if store else {})


def check_frozen_and_described(method: Method) -> None:
    assert dataclasses.is_dataclass(method) and type(method).__dataclass_params__.frozen
    assert method.source, "a method names its source"
    assert type(method).__doc__ and "(" not in type(method).__doc__.split("\n")[0][:12], "a one-line description"
    assert method.family in ("dense", "dense_control", "static", "dynamic", "neurons", "control")


def check_density_is_an_error_outside_its_range(method: Method) -> None:
    names = {f.name for f in dataclasses.fields(method)}
    for name in names & {"density", "duration"}:
        for value in (0.0, -0.1, 1.5, 90.0):
            try:
                dataclasses.replace(method, **{name: value})
            except ValueError as error:
                assert f"{name}={value:g}" in str(error) and "expected a fraction" in str(error)
            else:
                raise AssertionError(f"{name}={value} was accepted")


def check_final_density_is_exact(method: Method) -> None:
    training = Training(method).run()
    session = training.session
    if method.selects == "weights":
        total = sum(session.prunable.values())
        active = sum(int(mask.sum()) for mask in session.active.values())
        slack = len(session.prunable) if getattr(method, "scope", "") == "layer" else 0  # rounded in each layer
        assert abs(active - round(method.density * total)) <= slack
    if method.selects == "units":
        counts = session.unit_counts().values()
        assert sum(c["alive"] for c in counts) == round(method.density * sum(c["size"] for c in counts))


def check_number_of_weights_is_constant_for_dynamic_methods(method: Method) -> None:
    if method.selects != "weights" or method.family != "dynamic":
        return
    counts = set()
    Training(method).run(each=lambda t: counts.add(tuple(int(m.sum()) for m in t.session.active.values())))
    assert len(counts) == 1


def check_inactive_weights_and_moments_are_zero(method: Method) -> None:
    def check(training: Training) -> None:
        for name, mask in training.session.trained.items():
            weight = training.session.layers[name].weight
            assert not weight.detach()[~mask].any(), f"step {training.session.step_index}: {name} has a weight"
            for key, value in training.optimizer.state.get(weight, {}).items():
                if torch.is_tensor(value) and value.shape == weight.shape:
                    assert not value[~mask].any(), f"step {training.session.step_index}: {name} has {key}"

    Training(method).run(each=check)


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
    for stop in range(1, whole.session.total_steps, 5):
        part = Training(method).run(stop)
        saved = copy.deepcopy((part.session.state_dict(), part.model.state_dict(), part.optimizer.state_dict()))
        resumed = Training(method, seed=99)  # everything that a seed decides must come from the state
        resumed.session.load_state_dict(saved[0])
        resumed.model.load_state_dict(saved[1])
        resumed.optimizer.load_state_dict(saved[2])
        resumed.run()
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert a.shape == b.shape and torch.equal(a, b), f"resumed at step {stop}"


def check_physicality(method: Method) -> None:
    """Executed over ideal FLOPs: 1 where a method claims to be physical, above 1 where it is simulated."""
    training = Training(method).run()
    x, y = INPUTS[:BATCH], TARGETS[:BATCH]
    cost = training.session.count_step(lambda: F.cross_entropy(training.model(x), y).backward())
    if method.simulated and method.selects == "weights":
        assert cost.executed > 2 * cost.ideal
    elif not method.simulated:
        assert cost.executed == cost.ideal


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
