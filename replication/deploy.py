"""`hundredfold deploy`: trained networks as they would be used, and what a prediction of each costs.

Networks are timed in turns, so that a slow minute of the machine meets all of them. A prediction is one example: an
image or a window of text. A language model that can go on from what it has read (`continued`) generates the second half
of a window too, one token after the other.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from hundredfold.analysis.browse import paths
from hundredfold.analysis.formatting import UNKNOWN
from hundredfold.replication.config import build
from hundredfold.replication.energy.sources import Source, choose
from hundredfold.replication.network import NETWORK, card, load
from hundredfold.replication.record import read_record
from hundredfold.replication.run import alone

BATCHES = (1, 256)  # examples at once
ROUND_S = 0.3  # of one network and batch in one turn
ROUNDS = 5
GENERATED = "a token"  # in the place of a batch: one token is generated
LARGEST_FILE = 2**31 - 2**20  # of ONNX; weights of more lie beside it


class Cost(NamedTuple):
    """Of one call: seconds of every round, and joules of all rounds; None where nothing measures them."""

    seconds: list[float]
    joules: float | None


def deploy(names: Sequence[str], results: Path, output: Path, *, onnx: bool, source: str, rounds: int = ROUNDS) -> None:
    """Write the networks of some runs with their cards, and print what a prediction of each costs.

    Args:
        names: each the beginning of a run's id.
        output: a folder is made in it for each network.
        onnx: write them as ONNX too, and compare what the ONNX runtime computes.
        source: of joules.
        rounds: turns of ROUND_S seconds of each network and batch.
    Raises:
        ValueError: no such run, a run that has not kept its network, a source that this machine does not have, or a
            package that is missing.
    """
    if onnx:
        _check_onnx()
    meter = choose(source)
    folders = [_folder(name, results) for name in names]
    networks = [load(folder) for folder in folders]
    kept = [read_record(folder) for folder in folders]
    examples = [_examples(record["config"], max(BATCHES)) for record in kept]
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    calls = sum(len(_calls(network, inputs)) for network, inputs in zip(networks, examples, strict=True))
    seconds = calls * rounds * ROUND_S
    console.print(f"Timing {len(names)} networks, about {seconds:.0f} s. Energy: {meter.name} ({meter.evidence}).")
    torch.set_num_threads(kept[0]["config"]["trainer"]["threads"])
    with alone(meter):
        costs = _timed(networks, examples, meter, rounds)
    table = Table("network", "parameters", "bytes", "batch", "ms a call", "ms a prediction", "J a prediction", "onnx")
    for folder, network, record, inputs, cost in zip(folders, networks, kept, examples, costs, strict=True):
        place = output / f"{record['run_id']}-{record['seed']}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / NETWORK, place / NETWORK)
        size = (place / NETWORK).stat().st_size
        (place / "README.md").write_text(card(record, network, size))
        exported = _export(network, inputs, place / "network.onnx") if onnx else ""
        parameters = sum(p.numel() for p in network.parameters())
        for batch, one in cost.items():
            first = (record["label"], f"{parameters:,}", f"{size:,}") if batch == BATCHES[0] else ("", "", "")
            last = exported if batch == BATCHES[0] else ""
            count = 1 if batch == GENERATED else int(batch)
            table.add_row(*map(Text, (*first, str(batch), *_figures(one, count, rounds), last)))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    if len({record["task"] for record in kept}) > 1:
        print("The networks are of different tasks:", ", ".join(dict.fromkeys(record["task"] for record in kept)))
    print(f"Networks and their cards: {output}")


def _folder(name: str, results: Path) -> Path:
    """Of the run whose id begins so, that has kept its network."""
    kept = [path.parent for path in paths(name, results) if (path.parent / NETWORK).exists()]
    if not kept:
        raise ValueError(f"{name}: the run has not kept its network; train it with trainer.keep=true")
    return kept[0]


def _examples(config: dict[str, Any], count: int) -> Tensor:
    """Examples of the test split as the network reads them, repeated where there are fewer."""
    dataset = build(config).dataset
    split = dataset.test()
    inputs = dataset.prepare(split.inputs[:count], split.targets[:count])[0]
    return inputs.repeat(-(-count // len(inputs)), *[1] * (inputs.ndim - 1))[:count]


def _calls(network: nn.Module, inputs: Tensor) -> dict[int | str, tuple[Callable[[], object], int]]:
    """What is timed of a network: batch, or GENERATED -> a call, and how many predictions or tokens count as one."""
    found: dict[int | str, tuple[Callable[[], object], int]] = {
        batch: (partial(network, inputs[:batch]), 1) for batch in BATCHES
    }
    if hasattr(network, "continued"):
        half = inputs.shape[1] // 2
        found[GENERATED] = (lambda: generate(network, inputs[:1, : inputs.shape[1] - half], half), half)
    return found


@torch.no_grad()
def generate(network: Any, tokens: Tensor, count: int) -> Tensor:
    """The likeliest tokens after some [1, L], one by one, long [count]; every earlier one is read once."""
    found, (logits, memory) = [], network.continued(tokens)
    for _ in range(count - 1):
        found.append(logits.argmax(-1))
        logits, memory = network.continued(found[-1][:, None], memory)
    return torch.cat([*found, logits.argmax(-1)])


@torch.no_grad()
def _timed(networks: list[nn.Module], examples: list[Tensor], meter: Source, rounds: int) -> list[dict[Any, Cost]]:
    timed = [_calls(network, inputs) for network, inputs in zip(networks, examples, strict=True)]
    costs = [{batch: Cost([], None) for batch in one} for one in timed]
    for turn in range(rounds + 1):  # the first warms up
        for what, cost in zip(timed, costs, strict=True):
            for batch, (call, parts) in what.items():
                calls, before, start = 0, meter.joules(), time.perf_counter()
                while calls == 0 or time.perf_counter() - start < ROUND_S:
                    call()
                    calls += parts
                seconds, drawn = (time.perf_counter() - start) / calls, meter.joules()
                if turn:
                    joules = None if drawn is None else (cost[batch].joules or 0.0) + (drawn - before) / calls
                    cost[batch] = Cost([*cost[batch].seconds, seconds], joules)
    return costs


def _figures(cost: Cost, batch: int, rounds: int) -> tuple[str, str, str]:
    median, least, most = statistics.median(cost.seconds), min(cost.seconds), max(cost.seconds)
    joules = UNKNOWN if cost.joules is None else f"{cost.joules / rounds / batch:.3g}"
    return f"{1e3 * median:.3g} [{1e3 * least:.3g}, {1e3 * most:.3g}]", f"{1e3 * median / batch:.3g}", joules


# ---- ONNX -----------------------------------------------------------------------------------------------------------
def _check_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(f"--onnx: {error.name} is not installed; pip install 'hundredfold[onnx]'") from None


@torch.no_grad()
def _export(network: nn.Module, inputs: Tensor, path: Path) -> str:
    """Write a network for any number of examples, and say how far the ONNX runtime's outputs are from PyTorch's."""
    import onnxruntime

    name = "inputs"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (inputs[:4],),
            path,
            input_names=[name],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            external_data=sum(p.nbytes for p in network.parameters()) > LARGEST_FILE,
            dynamo=True,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch in (1, 3, len(inputs)):
        (found,) = session.run(None, {name: inputs[:batch].numpy()})
        worst = max(worst, float((torch.from_numpy(found) - network(inputs[:batch])).abs().max()))
    return f"{path.stat().st_size:,} bytes; logits differ by {worst:.1g} at most"
