"""Stacks of methods, and the random twin of any method."""

import dataclasses

import pytest
import torch

from methods.base import Method, UpdateSchedule
from methods.compose import Compose
from methods.dsc import Dsc
from methods.magnitude_structured import MagnitudeStructured
from methods.random_twin import RandomTwin, shuffled
from methods.rigl import Rigl
from methods.snip import Snip
from replication import config as configuration
from replication.registry import create
from tests.conformance import CHECKS, Training


@dataclasses.dataclass(frozen=True)
class Half(Method):
    """Trains on the first half of every batch."""

    selects = frozenset({"samples"})

    def select_samples(self, step, total, losses, generator):
        return (torch.arange(len(losses)) < len(losses) // 2).float() * 2


@dataclasses.dataclass(frozen=True)
class FirstColumns(Method):
    """Skips the last quarter of every layer's output gradient."""

    selects = frozenset({"operands"})
    backend = "compact"
    physicality = "partial"

    def select_operands(self, product, layer, left, right, forward):
        if product.name == "FORWARD":
            return forward
        keep = torch.arange(left.shape[1]) < max(1, 3 * left.shape[1] // 4)
        return forward._replace(left=keep[None])


DSC = Dsc(density=0.25, interval=6, observe_every=2)
RIGL = Rigl(density=0.25, update=UpdateSchedule(6))
STACKS = {
    "dsc and samples": Compose(topology=DSC, samples=Half()),
    "rigl and samples": Compose(topology=RIGL, samples=Half()),
    "operands and samples": Compose(operands=FirstColumns(), samples=Half()),
    "dsc, operands and samples": Compose(topology=DSC, operands=FirstColumns(), samples=Half()),
    "twin of rigl": RandomTwin(of=RIGL),
    "twin of dsc": RandomTwin(of=DSC),
}


@pytest.mark.parametrize("check", [c for c in CHECKS if "described" not in c.__name__], ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", STACKS)
def test_stacks_conform(name, check):
    check(STACKS[name])


def test_every_part_of_a_stack_saves():
    run = {name: Training(method).run().session for name, method in STACKS.items()}
    alone = Training(DSC).run().session
    assert run["dsc and samples"].executed_flops == pytest.approx(alone.executed_flops / 2, rel=0.05)  # other units
    assert run["dsc, operands and samples"].executed_flops < run["dsc and samples"].executed_flops


def test_masked_weights_keep_an_operand_method_from_its_kernels():
    stack = Compose(topology=RIGL, operands=FirstColumns())
    assert stack.physicality == "masked" and stack.operand_backend == "masked"
    assert Training(stack).run(8).session.executed_flops > 0


def test_a_method_in_the_wrong_slot_is_refused():
    with pytest.raises(ValueError, match="samples=rigl: selects weights; choose a method of inputs, samples, tokens"):
        Compose(samples=RIGL)


def test_the_twin_keeps_the_schedule_and_the_number_and_changes_the_choice():
    method, twin = Training(RIGL).run(13), Training(RandomTwin(of=RIGL)).run(13)
    pairs = [(mask, twin.session.active[name]) for name, mask in method.session.active.items()]
    assert all(mask.sum() == other.sum() for mask, other in pairs)
    assert any(not torch.equal(mask, other) for mask, other in pairs)
    assert twin.session.executed_flops == method.session.executed_flops
    assert RandomTwin(of=RIGL).twin_of == "rigl"


def test_the_twin_of_a_method_that_ranks_units_by_norm_keeps_others():
    method = MagnitudeStructured(density=0.5, multiple=1, floor=0)
    chosen = [Training(m).run().session.store.alive for m in (method, RandomTwin(of=method))]
    counts = [sum(int(mask.sum()) for mask in alive.values()) for alive in chosen]
    assert counts == [64, 64] and any(not torch.equal(chosen[0][name], chosen[1][name]) for name in chosen[0])


def test_what_a_twin_ranks_by_is_unrelated_to_the_values():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20_000, generator=generator)
    random = shuffled(values, generator)
    assert torch.equal(values.sign(), random.sign())
    assert abs(float(torch.corrcoef(torch.stack([values.abs(), random.abs()]))[0, 1])) < 0.02


def test_the_twin_of_snip_asks_for_the_same_gradient():
    twin = Training(RandomTwin(of=Snip(density=0.25))).run(2)
    same = Training(Snip(density=0.25)).run(2)
    assert twin.session.ideal_flops == pytest.approx(same.session.ideal_flops, rel=0.1)
    assert any(not torch.equal(twin.session.active[n], same.session.active[n]) for n in same.session.active)


def test_a_method_within_a_method_comes_from_plain_options():
    methods = configuration.registry("method")
    stack = create("method", methods, "random_twin", of={"name": "gmp", "density": 0.2})
    assert stack.of.name() == "gmp" and stack.of.density == 0.2
    with pytest.raises(ValueError, match="method.of=rigel: unknown, did you mean rigl"):
        create("method", methods, "random_twin", of={"name": "rigel"})
    plain = configuration.plain(stack)
    assert plain["of"]["name"] == "gmp" and plain["of"]["update"]["interval"] == 100
