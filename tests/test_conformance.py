import dataclasses
import json

import pytest
import torch

from hundredfold.methods.base import Method
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.dynamic.set import Set
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.topology import Topology
from hundredfold.replication.catalogue import PHYSICALITY
from hundredfold.replication.registry import discover
from tests.conformance import CHECKS, applies, measured_physicality, small_options

METHODS = {name: cls(**small_options(cls)) for name, cls in discover("hundredfold.methods", Method).items()}
QUICK = {"dense", "dense_small", "random_erk", "rigl", "dsc", "swat", "random_twin"}  # one of every family
METHODS["dsc (masked)"] = dataclasses.replace(METHODS["dsc"], units="masked")


CASES = [(name, check) for name, method in METHODS.items() for check in CHECKS if applies(check, method)]


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, id=f"{name}-{check.__name__}", marks=[] if name in QUICK else pytest.mark.slow)
        for name, check in CASES
    ],
)
def test_method_conforms(name, check):
    check(METHODS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(discover("hundredfold.methods", Method)))
def test_the_table_of_methods_says_what_was_measured(name, request):
    """With --write-physicality the measurement is written, for the table in the README."""
    measured, known = measured_physicality(METHODS[name]), json.loads(PHYSICALITY.read_text())
    if request.config.getoption("--write-physicality"):
        PHYSICALITY.write_text(json.dumps(dict(sorted((known | {name: measured}).items())), indent=1) + "\n")
    else:
        assert known[name] == measured, "run this test with --write-physicality, then make readme"


@dataclasses.dataclass(frozen=True)
class GlobalRandomness(Set):
    """Draws from torch's global generator."""

    def grow_score(self, layer, net):
        return torch.rand(layer.weight.shape)


@dataclasses.dataclass(frozen=True)
class LosesWeights(Rigl):
    """Grows one weight too few at every update."""

    def update_topology(self, step, net):
        active = dict(super().update_topology(step, net).active)
        name = next(iter(active))
        flat = active[name].clone()
        flat[tuple(flat.nonzero()[0])] = False
        return Topology(active | {name: flat})


_COUNTER = iter(range(10**9))


@dataclasses.dataclass(frozen=True)
class Forgetful(Dsc):
    """Keeps state outside the session, which a resumed run has not."""

    def value(self, unit):
        return torch.rand(unit.size, generator=torch.Generator().manual_seed(next(_COUNTER)))


@dataclasses.dataclass(frozen=True)
class AnyDensity(Set):
    """Accepts every density."""

    def __post_init__(self):
        pass


@dataclasses.dataclass(frozen=True)
class Boast(Set):
    """Claims to be physical and multiplies by zero."""

    def parts(self):
        (weights,) = super().parts()
        weights.simulated = lambda storage: False
        return [weights]


BROKEN = [GlobalRandomness, LosesWeights, Forgetful, AnyDensity, Boast]


@pytest.mark.slow
@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_conformance_suite_catches_a_broken_method(cls):
    method, failed = cls(**small_options(cls)), []
    for check in CHECKS:
        if not applies(check, method):
            continue
        try:
            check(method)
        except (AssertionError, IndexError):
            failed.append(check.__name__)
    assert failed
