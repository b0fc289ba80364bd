"""Stacks of methods, and the random twin of any method."""

import copy
import dataclasses

import pytest
import torch

from hundredfold.methods.base import Method
from hundredfold.methods.control.dsc_frozen import DscFrozen
from hundredfold.methods.control.random_twin import RandomTwin
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.execution.parts import Operands, Samples, Units
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.selective.compose import Compose
from hundredfold.methods.selective.infobatch import Infobatch
from hundredfold.methods.selective.layer_freeze import LayerFreeze
from hundredfold.methods.selective.memory import Memory
from hundredfold.methods.selective.mesimp import Mesimp
from hundredfold.methods.selective.moe import Moe
from hundredfold.methods.selective.progressive_length import ProgressiveLength
from hundredfold.methods.selective.random_ltd import RandomLtd
from hundredfold.methods.selective.selective_backprop import SelectiveBackprop
from hundredfold.methods.selective.swat import Swat
from hundredfold.methods.static.magnitude_structured import MagnitudeStructured
from hundredfold.methods.static.snip import Snip
from hundredfold.methods.topology import UpdateSchedule
from hundredfold.replication import config as configuration
from hundredfold.replication.registry import create
from tests.conformance import CHECKS, Training, applies, dense_flops, small_options


@dataclasses.dataclass(frozen=True)
class Half(Method):
    """Trains on the first half of every batch."""

    def parts(self):
        return [Samples(self, self.select)]

    def select(self, step, total, losses, generator):
        return (torch.arange(len(losses)) < len(losses) // 2).float() * 2


@dataclasses.dataclass(frozen=True)
class FirstColumns(Method):
    """Skips the last quarter of every layer's output gradient."""

    def parts(self):
        return [Operands(self, self.select, gathers=True)]

    def select(self, product, layer, left, right, forward):
        if product.name == "FORWARD":
            return forward
        keep = torch.arange(left.shape[1]) < max(1, 3 * left.shape[1] // 4)
        return forward._replace(left=keep[None])


DSC = Dsc(density=0.25, interval=6, observe_every=2)
RIGL = Rigl(density=0.25, update=UpdateSchedule(6))
STACKS = {
    "dsc and samples": Compose(methods=(DSC, Half())),
    "rigl and samples": Compose(methods=(RIGL, Half())),
    "operands and samples": Compose(methods=(FirstColumns(), Half())),
    "dsc, operands and samples": Compose(methods=(DSC, FirstColumns(), Half())),
    "twin of rigl": RandomTwin(of=RIGL),
    "twin of dsc": RandomTwin(of=DSC),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}")
        for name, stack in STACKS.items()
        for check in CHECKS
        if applies(check, stack) and "described" not in check.__name__
    ],
)
def test_stacks_conform(name, check):
    check(STACKS[name])


def small(cls):
    return cls(**small_options(cls))


# Stack -> FLOPs executed over those of dense training of the same model.
DEEP_STACKS = {
    (Moe, Infobatch, ProgressiveLength): 0.32,
    (Dsc, LayerFreeze, RandomLtd, Infobatch): 0.29,
    (Mesimp, Infobatch): 0.36,
    (Rigl, Memory, Infobatch, RandomLtd): 0.61,
    (Memory, Dsc): 0.64,
    (Memory, Infobatch): 0.85,
    (Swat, Infobatch, RandomLtd): 0.54,
}


@pytest.mark.slow
@pytest.mark.parametrize("classes", DEEP_STACKS, ids=lambda classes: "+".join(cls.__name__ for cls in classes))
def test_a_stack_of_many_methods_runs_saves_and_resumes_bitwise(classes):
    method = Compose(methods=tuple(small(cls) for cls in classes))
    whole = Training(method).run()
    for stop in (13, 36):
        part, resumed = Training(method).run(stop), Training(method, seed=99)
        resumed.session.load_state_dict(copy.deepcopy(part.session.state_dict()))
        resumed.model.load_state_dict(copy.deepcopy(part.model.state_dict()))
        resumed.optimizer.load_state_dict(copy.deepcopy(part.optimizer.state_dict()))
        resumed.run()
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert a.shape == b.shape and torch.equal(a, b), f"resumed at step {stop}"
        assert resumed.session.executed_flops == whole.session.executed_flops
    assert whole.session.executed_flops / dense_flops(whole) == pytest.approx(DEEP_STACKS[classes], abs=0.05)
    assert whole.session.ideal_flops <= whole.session.executed_flops


def test_every_part_of_a_stack_saves():
    run = {name: Training(method).run().session for name, method in STACKS.items()}
    alone = Training(DSC).run().session
    assert run["dsc and samples"].executed_flops == pytest.approx(alone.executed_flops / 2, rel=0.05)  # other units
    assert run["dsc, operands and samples"].executed_flops < run["dsc and samples"].executed_flops


def test_masked_weights_keep_an_operand_method_from_its_kernels():
    stack = Compose(methods=(RIGL, FirstColumns()))
    training = Training(stack).run(8)
    assert isinstance(training.session.layers["0"].kernel, Masked)
    assert training.session.ideal_flops < training.session.executed_flops


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ((RIGL, Snip()), "rigl and snip both decide about weights; keep one of them"),
        ((RIGL, DSC), "rigl and dsc both decide which weights exist; keep one of them"),
        ((Infobatch(), SelectiveBackprop()), "infobatch and selective_backprop both decide about samples"),
        ((DSC, DscFrozen()), "dsc and dsc_frozen both decide about units"),
        ((DscFrozen(), Infobatch()), "dsc_frozen starts from the run of another method; use it alone"),
    ],
)
def test_methods_that_decide_about_the_same_are_refused(methods, message):
    with pytest.raises(ValueError, match=message):
        Compose(methods=methods)


def test_the_twin_keeps_the_schedule_and_the_number_and_changes_the_choice():
    method, twin = Training(RIGL).run(13), Training(RandomTwin(of=RIGL)).run(13)
    pairs = [(mask, twin.session.active[name]) for name, mask in method.session.active.items()]
    assert all(mask.sum() == other.sum() for mask, other in pairs)
    assert any(not torch.equal(mask, other) for mask, other in pairs)
    assert twin.session.executed_flops == method.session.executed_flops
    assert RandomTwin(of=RIGL).twin_of == "rigl"


def test_the_twin_of_a_method_that_ranks_units_by_norm_keeps_others():
    method = MagnitudeStructured(density=0.5, multiple=1, floor=0)
    chosen = [Training(m).run().session.part(Units).store.alive for m in (method, RandomTwin(of=method))]
    counts = [sum(int(mask.sum()) for mask in alive.values()) for alive in chosen]
    assert counts == [64, 64] and any(not torch.equal(chosen[0][name], chosen[1][name]) for name in chosen[0])


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
