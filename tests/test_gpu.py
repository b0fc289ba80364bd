"""What runs on a GPU, on the pretend device and, where there is one, on a real one: whole runs, and every method."""

import dataclasses
import sys
from types import SimpleNamespace

import pytest
import torch

from hundredfold.replication.composition import compose
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.run import run
from tests.conformance import small_options
from tests.on_device import OnDevice, waits
from tests.pretend_device import pretend_device
from tests.test_matrix import METHODS, MODELS, expected_refusals, options
from tests.waits import PLAIN, UPDATE, UPDATES, counted

REAL = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
SHORT = [
    *("dataset=digits", "model=mlp", "model.widths=[32,32]", "recipe.batch_size=16", "recipe.steps=24"),
    *("trainer=gpu", "trainer.segments=3", "trainer.checkpoint_every_s=0"),
]
ARMS = {
    "dense": ["method=dense"],
    "rigl": ["method=rigl", "method.density=0.25", "method.update.interval=5"],
    "dsc": ["method=dsc", "method.density=0.25", "method.interval=4", "method.observe_every=3"],
    "infobatch": ["method=infobatch"],
    "deepr": ["method=deepr", "method.density=0.25"],  # draws on the device at every step
}


class Driver:
    """In the place of the library that asks the driver: every answer is 0, and there are three processes."""

    def __getattr__(self, name):
        return lambda *arguments: 0

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid) for pid in (11, 12, 13)]


@pytest.fixture
def pretend(monkeypatch):
    """A machine with one pretend GPU."""
    monkeypatch.setitem(sys.modules, "pynvml", Driver())
    with pretend_device() as log:
        yield log


@pytest.fixture(params=["pretend", pytest.param("real", marks=REAL)])
def gpu(request):
    """A machine with one GPU."""
    if request.param == "pretend":
        request.getfixturevalue("pretend")


class Killed(Exception):
    pass


def killed_after(step):
    def progress(done, total):
        if done > step:
            raise Killed

    return progress


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_ends_and_after_a_kill_resumes_to_the_same_weights(arm, tmp_path, gpu, request):
    whole = run(compose([*SHORT, *ARMS[arm], f"results={tmp_path}/whole"])).record
    assert whole["status"] == "finished"
    assert request.node.callspec.params["gpu"] == "real" or whole["environment"]["others_on_gpu"] == 2
    parts = [*SHORT, *ARMS[arm], f"results={tmp_path}/parts"]
    with pytest.raises(Killed):
        run(compose(parts), progress=killed_after(12))
    result = run(compose(parts))
    assert result.action == "resumed"
    assert result.record["weights_sha256"] == whole["weights_sha256"]
    assert result.record["quality"]["test"] == whole["quality"]["test"]
    assert result.record["flops"] == whole["flops"]


def test_a_run_that_diverges_on_a_gpu_is_recorded_as_such(tmp_path, gpu):
    overrides = [*SHORT, "recipe.learning_rate=1e30", "recipe.clip=null", f"results={tmp_path}"]
    assert run(compose(overrides)).record["status"] == "diverged"


@pytest.mark.parametrize("arm", ["dense", "rigl"])
def test_a_run_on_the_pretend_device_ends_with_the_weights_of_the_cpu(arm, tmp_path, pretend):
    hashes = set()
    for trainer in ("gpu", "cpu"):
        rest = [override for override in SHORT if override != "trainer=gpu"]
        overrides = [*rest, *ARMS[arm], f"trainer={trainer}", "trainer.precision=float32", f"results={tmp_path}"]
        hashes.add(run(compose(overrides)).record["weights_sha256"])
    assert len(hashes) == 1


def three_steps(method, model):
    """Loss of the last of three steps on the device; ValueError where the method refuses the model."""
    units = None
    if method.reference:
        groups = OnDevice(METHODS["dsc"](interval=3), model).session.unit_counts()
        units = {name: torch.arange(group["size"]) % 2 == 0 for name, group in groups.items()}
    training = OnDevice(method, model, units)
    return float([training.step(batch) for batch in training.batches(3)][-1])


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_method_takes_three_steps_on_the_device(model, gpu):
    refused, wrong = set(), {}
    for name, cls in METHODS.items():
        try:
            few = {"rounds": 3} if name == "synflow" else {}
            loss = three_steps(cls(**options(cls) | few), model)
            if not loss < 100:
                wrong[name] = f"loss {loss}"
        except ValueError:
            refused.add(name)
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {error}"
    assert not wrong and refused == expected_refusals(model)


class DrawsOnTheCpu(METHODS["set"]):
    """Scores the weights that could grow by a draw on the CPU."""

    def grow_score(self, layer, net):
        return torch.rand(layer.weight.shape, generator=net.generator)


def test_a_method_that_forgets_the_device_is_found(pretend):
    with pytest.raises(RuntimeError, match="same device"):
        three_steps(DrawsOnTheCpu(**options(DrawsOnTheCpu)), "mlp")


def test_compact_equals_masked_on_the_device(gpu):
    outputs = []
    for units in ("compact", "masked"):
        training = OnDevice(dataclasses.replace(METHODS["dsc"](**options(METHODS["dsc"])), units=units), "mlp")
        for batch in training.batches(9):
            training.step(batch)
        outputs.append(training.model(training.training.inputs))
    torch.testing.assert_close(*outputs, rtol=1e-2, atol=1e-2)  # the products are in bfloat16


@pytest.mark.parametrize("name", ["dense", "random_erk", "rigl", "set", "gmp", "dsc"])
def test_a_plain_step_does_not_wait_for_the_device(name, pretend):
    found = small_options(METHODS[name])
    found.pop("observe_every", None)  # a step that is observed waits
    assert not waits(METHODS[name](**found), "mlp", pretend).plain


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "vit"])
def test_no_method_waits_more_often_than_its_budget(model, pretend):
    over = {}
    for name in METHODS:
        found = counted(name, model, pretend)
        if found and (found.plain.total() > PLAIN.get(name, 0) or found.update.total() > UPDATES.get(name, UPDATE)):
            over[name] = found
    assert not over


def test_the_count_of_waits_sees_those_of_a_choice_per_batch(pretend):
    plain, _ = waits(METHODS["dsc_input"](), "mlp", pretend)
    assert plain and all(place.startswith("methods/") for _, place in plain)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_energy_counter_of_the_gpu_counts_what_the_gpu_does():
    source = choose("zeus-gpu", "cuda")
    a = torch.randn(4096, 4096, device="cuda")
    source.synchronize()
    before = source.joules()
    for _ in range(2000):  # long enough for a counter that steps every tenth of a second
        a @ a
    source.synchronize()
    assert source.joules() > before and source.evidence == "measured"
