"""Compiled runs: one graph for each structure that lasts, nothing compiled that is observed, the same weights."""

import functools

import pytest
import torch

from hundredfold.replication import module as loop
from hundredfold.replication.composition import compose
from hundredfold.replication.run import run

SHORT = ["dataset=digits", "model=mlp", "model.widths=[32,32]", "recipe.steps=40", "recipe.batch_size=16",
         "trainer.segments=2"]  # fmt: skip
DSC = ["method=dsc", "method.density=0.25", "method.interval=6", "method.observe_every=2"]
ONE_GRAPH = {
    "dense": ["method=dense"],
    "rigl": ["method=rigl", "method.update.interval=7"],
    "deepr": ["method=deepr"],
    "top_kast": ["method=top_kast", "method.update.interval=7"],
    "snfs": ["method=snfs", "method.update.interval=7"],
    "nm": ["method=nm"],
    "placebo": ["method=placebo", "method.interval=6", "method.observe_every=3"],
    "random_twin": ["method=random_twin", "method.of.name=rigl", "method.of.update.interval=7"],
}


@pytest.fixture
def graphs(monkeypatch):
    """Graphs that were asked for, traced as ever and run without a C++ compiler; each a list of the steps' batches."""
    made, plain = [], torch.compile

    def compiled(model, mode=None):
        graph, calls = plain(model, backend="aot_eager"), []
        made.append(calls)

        @functools.wraps(model.forward)
        def call(*args):
            calls.append(len(args[0]))
            return graph(*args)

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    return made


def both(overrides, folder):
    """The record of a run as it is, and of the same run compiled."""
    return [
        run(compose([*SHORT, *overrides, f"trainer.compile={flag}", f"results={folder}/{flag}"])).record
        for flag in ("false", "true")
    ]


def assert_alike(eager, compiled):
    assert compiled["status"] == eager["status"] == "finished"
    assert compiled["flops"] == eager["flops"]
    found, expected = (record["quality"]["test"]["loss"] for record in (compiled, eager))
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ONE_GRAPH)
def test_where_tensors_keep_their_shapes_one_graph_serves_the_whole_run(method, graphs, tmp_path):
    assert_alike(*both(ONE_GRAPH[method], tmp_path))
    observed = 7 if method == "placebo" else 0
    assert [len(calls) for calls in graphs] == [40 - observed]


def test_every_structure_that_lasts_gets_a_graph_of_its_own(graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "LASTING", 6)
    slow, plain = [], loop.TrainingModule._choose_graph
    monkeypatch.setattr(loop.TrainingModule, "_choose_graph", lambda *args: slow.append(plain(*args)) or slow[-1])
    assert_alike(*both(DSC, tmp_path))
    # decided after the steps 6, 12 and 18, and every second step up to 20 is observed
    assert [len(calls) for calls in graphs] == [3, 3, 3, 20]
    assert sum(slow) == 4 * loop.WARMING, "steps that belong to the phase warmup"


def test_a_structure_that_does_not_last_is_not_compiled(graphs, tmp_path):
    _, compiled = both(DSC, tmp_path)
    assert [len(calls) for calls in graphs] == [20], "the last one is"
    assert compiled["time"]["phases_cpu_s"]["warmup"] > 0
