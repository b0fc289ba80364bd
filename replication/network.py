"""The trained network of a run as a file without pickle, and back: a plain module, and a card that says what it is.

`trainer.keep=true` leaves network.safetensors beside the record: the weights as they are deployed, sparse ones as
values and positions, which units exist, and the configuration that the network is built from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hundredfold.methods.execution.parts import Modules, Units
from hundredfold.methods.execution.session import Session
from hundredfold.methods.views import Batch
from hundredfold.replication.config import Experiment, build
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models.base import Learner
from hundredfold.replication.streams import stream

NETWORK = "network.safetensors"
FORMAT = "1"
UNITS, VALUES, POSITIONS = "units|", "values|", "positions|"  # before the names of tensors that are no plain ones
SPARSE = 0.45  # of the entries: what has fewer than these takes less room as values and positions


def keep(path: Path, session: Session, experiment: Experiment, spec: DataSpec, run: str) -> None:
    """Write the network of a session that has ended; the session is over afterwards.

    Args:
        run: id of the run.
    """
    units = session.part(Units)
    alive = {UNITS + name: alive.to(torch.uint8) for name, alive in units.store.alive.items()} if units else {}
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    shared: dict[str, str] = {}
    owners: dict[tuple, str] = {}
    for name, tensor in session.finalize().state_dict().items():
        same = owners.setdefault((tensor.data_ptr(), tuple(tensor.shape)) if tensor.numel() else (name,), name)
        if same != name:
            shared[name] = same
            continue
        full = tensor.detach().cpu().contiguous()
        places = full.flatten().nonzero().flatten() if full.ndim > 1 else None
        if places is not None and len(places) < SPARSE * full.numel() and full.numel() < 2**31:
            shapes[name] = tuple(full.shape)
            tensors |= {VALUES + name: full.flatten()[places], POSITIONS + name: places.to(torch.int32)}
        else:
            tensors[name] = full.clone()
    facts = {"format": FORMAT, "run": run, "config": json.dumps(experiment.config)}
    facts |= {"spec": json.dumps(vars(spec)), "shapes": json.dumps(shapes), "shared": json.dumps(shared)}
    temporary = path.with_suffix(".tmp")
    save_file(tensors | alive, temporary, facts)
    temporary.replace(path)


def load(run: str | Path) -> nn.Module:
    """The trained network of a run, in evaluation mode on the CPU.

    A plain torch, timm or transformers module wherever the method selects weights or units (smaller where units are
    gone); modules of `hundredfold.methods` where the method has added some, or selects at inference too.

    Args:
        run: a run's folder, or the file itself.
    Raises:
        ValueError: no such file, another format, or weights that do not fit the network that it describes.
    """
    path = Path(run)
    path = path / NETWORK if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"{path}: no such file; a run keeps its network with trainer.keep=true")
    try:
        with safe_open(path, "pt") as file:
            facts, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); copy the file again") from None
    if facts.get("format") != FORMAT:
        raise ValueError(f"{path}: not a network of this version (format {facts.get('format')}, expected {FORMAT})")
    network = _built(facts, {k.removeprefix(UNITS): v.bool() for k, v in tensors.items() if k.startswith(UNITS)})
    try:
        network.load_state_dict(_whole(tensors, json.loads(facts["shapes"]), json.loads(facts["shared"])))
    except (RuntimeError, KeyError) as error:
        problem = " ".join(str(error).split())[:300]
        raise ValueError(f"{path}: its weights are not those of the network that it describes ({problem})") from None
    return network


def _built(facts: dict[str, str], alive: dict[str, Tensor]) -> nn.Module:
    """The network with the shape that it ended with, and fresh weights."""
    experiment, fields = build(json.loads(facts["config"])), json.loads(facts["spec"])
    tuples = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    model = experiment.model.build(DataSpec(**fields | tuples), width=experiment.method.width)
    if isinstance(model, Learner):
        model.prepare()
        return model.eval()
    reads = any(isinstance(part, Modules) for part in experiment.method.parts()) and experiment.dataset.present()
    session = Session(
        model,
        experiment.method,
        torch.optim.SGD(model.parameters(), 1.0),
        total_steps=experiment.steps,
        seed=stream(experiment.seed, "method"),
        training=Batch(*experiment.dataset.prepare(*experiment.dataset.training()[0])) if reads else None,
        decides=False,
    )
    units = session.part(Units)
    for name, those in alive.items():
        units.store.set_alive(name, those, None, None)
    return session.finalize()


def _whole(tensors: dict[str, Tensor], shapes: dict[str, list[int]], shared: dict[str, str]) -> dict[str, Tensor]:
    """The state of the network, with zeros where no value is stored."""
    state = {name: tensor for name, tensor in tensors.items() if "|" not in name}
    for name, shape in shapes.items():
        values, positions = tensors[VALUES + name], tensors[POSITIONS + name].long()
        state[name] = values.new_zeros(shape)
        inside = not len(positions) or 0 <= positions.min() <= positions.max() < state[name].numel()
        if not inside or values.shape != positions.shape:
            raise RuntimeError(f"the positions of {name} are not those of its values")
        state[name].view(-1)[positions] = values
    return state | {name: state[same] for name, same in shared.items()}


def card(record: dict[str, Any], network: nn.Module, size: int) -> str:
    """What a network is, how it was made and what it is worth, as Markdown.

    Args:
        record: of its run.
        size: bytes of the file.
    """
    quality, energy, where = record["quality"]["test"], record["energy"], record["environment"]
    known = energy["training_j"] is not None
    joules = f"{energy['training_j']:.4g} J ({energy['evidence']})" if known else f"not measured: {energy['reason']}"
    measure = {name: value for name, value in quality.items() if isinstance(value, (int, float))}
    parameters = sum(p.numel() for p in network.parameters())
    zeros, dense = sum(int((p == 0).sum()) for p in network.parameters()), record["parameters"]["total"]
    rows = {
        "task": record["task"],
        "arm": record["label"],
        "test": ", ".join(f"{name} {value:.4g}" for name, value in measure.items()),
        "training": joules,
        "parameters": f"{parameters:,}, of which {zeros:,} are zero; the dense network has {dense:,}",
        "density": f"{record['density']['prunable']:.4g} of the prunable weights",
        "file": f"{size:,} bytes",
        "steps": f"{record['steps']:,}",
        "run": f"{record['run_id']}, seed {record['seed']}",
        "commit": f"{where['commit']}" + (", with changes that were not committed" if where.get("dirty") else ""),
        "device": f"{where['device']} (machine {record['machine']})",
    }
    lines = [f"# {record['label']} on {record['task']}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    use = "Zeros of plain layers save room in the file and no time: only smaller layers are faster everywhere."
    code = ["```python", "from hundredfold.replication.network import load", "", f'network = load("{NETWORK}")', "```"]
    return "\n".join([*lines, "", use, "", *code, ""])
