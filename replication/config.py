"""What one run is: a resolved configuration, the checked experiment that it describes, and the run's identity.

Data set, model and method are found by name and made from their dataclasses, so that an option lives in one place.
Every mistake is answered before anything is written.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from hundredfold.analysis.schema import SCHEMA_VERSION
from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Part
from hundredfold.methods.execution.parts.weights import can_store, check_storage
from hundredfold.methods.execution.session import check_ranks
from hundredfold.methods.options import CountOrZero, Fraction, Within, check_options
from hundredfold.replication.datasets.base import Dataset
from hundredfold.replication.environment import machine_id
from hundredfold.replication.models.base import Model
from hundredfold.replication.recipe import Positive, Rates, Recipe
from hundredfold.replication.registry import discover, make, name_of

CONF = Path(str(files("hundredfold.conf")))
GROUPS = {
    "dataset": ("hundredfold.replication.datasets", Dataset),
    "model": ("hundredfold.replication.models", Model),
    "method": ("hundredfold.methods", Method),
}
SCIENTIFIC = ("dataset", "model", "method", "recipe", "trainer", "energy", "seed", "budget")
NOT_SCIENTIFIC = {"trainer": ("checkpoint_every_s", "keep")}
# Options that came later: at these values a run is what it was without them.
ADDED = {"trainer": {"ranks": 1}, "model": {"cache": 0}, "recipe": {"ns_steps": 5}}


@dataclass(frozen=True)
class Trainer:
    """Where and with what arithmetic a run trains."""

    device: Literal["cpu", "cuda", "mps"]
    threads: Annotated[int, Within(1, 256, what="a whole number")]
    precision: Literal["float32", "bfloat16"]
    segments: Annotated[int, Within(1, 100_000, what="a whole number")]  # evaluations; the run can resume at each
    checkpoint_every_s: Annotated[float, Within(0)]  # least time between two checkpoints
    storage: Literal["masked", "csr", "block_sparse", "semi_structured", "auto"] = "masked"  # of weights
    channels_last: bool = True  # memory layout of convolutions
    compile: bool = False  # by torch.compile, one graph for each structure that lasts
    keep: bool = False  # the trained network, as network.safetensors beside the record
    ranks: Annotated[int, Within(1, 64, what="a whole number")] = 1  # processes that share every batch

    def __post_init__(self):
        check_options(self)


@dataclass(frozen=True)
class Energy:
    """What measures a run's joules."""

    source: Literal["auto", "zeus-gpu", "rapl", "zeus-apple", "estimate", "none"]
    watts_per_core: Positive  # of the source `estimate`: a convention that cancels in ratios

    def __post_init__(self):
        check_options(self)


@dataclass(frozen=True)
class Logger:
    """Where an ended run is shown."""

    wandb: Literal["offline", "online"] | None = None
    project: str = "hundredfold"

    def __post_init__(self):
        check_options(self)


@dataclass(frozen=True)
class Experiment:
    """One checked run: every object that a configuration describes."""

    dataset: Dataset
    model: Model
    method: Method
    recipe: Recipe  # with the changes that the method asks for
    trainer: Trainer
    energy: Energy
    logger: Logger
    seed: Annotated[int, Within(0, 10**9, what="a whole number")]
    budget: Fraction  # of the recipe's steps, with the schedule fitted into them
    replicate: CountOrZero  # repeats a run to measure it again
    results: str  # folder of the records

    def __post_init__(self):
        check_options(self)
        if not self.results:
            raise ValueError("results='': expected a folder")
        object.__setattr__(self, "recipe", replace(self.recipe, **self.method.recipe))
        parts = self.method.parts()
        check_storage(self.trainer.storage, self.method.name(), parts)
        self._check_ranks(parts)
        fine = {part.selects for part in parts if not part.compiles(self.trainer.storage)}
        if self.recipe.optimizer == "muon" and self.stores and any(part.selects == "weights" for part in parts):
            raise ValueError(
                "recipe.optimizer=muon: makes whole matrices orthogonal, and trainer.storage="
                f"{self.trainer.storage} keeps single weights; use trainer.storage=masked"
            )
        if self.trainer.compile and fine:
            what = ", ".join(sorted(fine))
            raise ValueError(
                f"trainer.compile=true: {self.method.name()} selects {what}, and its products run one by one; "
                "use trainer.compile=false"
            )
        if self.model.learns:
            self._check_learner()
        if self.dataset.present():
            spec = self.dataset.spec()
            self.model.check(spec)
            for member in self.method.members():
                if spec.kind not in member.kinds:
                    raise ValueError(
                        f"method={member.name()}: selects in {' and '.join(member.kinds)} data, but "
                        f"dataset={name_of(type(self.dataset))} gives {spec.kind}"
                    )

    def _check_ranks(self, parts: list[Part]) -> None:
        count, size = self.trainer.ranks, self.recipe.batch_size
        check_ranks(count, self.trainer.storage, self.method.name(), parts)
        if size % count:
            raise ValueError(f"trainer.ranks={count}: does not divide recipe.batch_size={size} into equal shares")
        if count > 1 and self.trainer.device == "mps":
            raise ValueError(f"trainer.ranks={count}: share no device mps; use trainer.ranks=1")

    def _check_learner(self) -> None:
        """Refuse what a model that learns by itself has no use for."""
        name = name_of(type(self.model))
        if self.method.parts() or self.method.width != 1 or self.method.recipe:
            raise ValueError(
                f"model={name}: learns by itself and leaves nothing for method={self.method.name()} to select; use "
                "method=dense"
            )
        if self.trainer.device != "cpu":
            raise ValueError(f"model={name}: runs on the CPU; use trainer.device=cpu")
        if self.trainer.ranks > 1:
            raise ValueError(f"model={name}: learns in one process; use trainer.ranks=1")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration in plain values, every option written out, so that a changed default cannot alias."""
        return plain(self)

    @property
    def task(self) -> str:
        return f"{self.config['dataset']['name']}/{self.config['model']['name']}"

    @property
    def stores(self) -> bool:
        """Whether weights that are not selected need not be computed or stored."""
        parts = self.method.parts()
        keeps = self.trainer.storage == "semi_structured" and any(part.selects == "weights" for part in parts)
        return self.trainer.storage != "masked" and (can_store(parts) or keeps)

    @property
    def simulated(self) -> bool:
        """Whether what is not selected is computed all the same."""
        return any(part.simulated(self.trainer.storage) for part in self.method.parts())

    @property
    def label(self) -> str:
        """The arm's name in tables: the method's, and the back end where it is not simulated."""
        label = self.method.label()
        if not self.stores:
            return label
        return f"{label[:-1]}, {self.trainer.storage})" if label.endswith(")") else f"{label} ({self.trainer.storage})"

    @property
    def steps(self) -> int:
        return len(self.method.positions(self._schedule_steps))

    def learning_rates(self) -> Rates:
        """Learning rate of every training step."""
        return self.recipe.rates(self._schedule_steps, self.method.positions(self._schedule_steps))

    @property
    def _schedule_steps(self) -> int:
        return max(1, round(self.recipe.steps * self.method.duration * self.budget))


@cache
def registry(kind: str) -> dict[str, type]:
    """Name -> class of every data set, model or method."""
    return discover(*GROUPS[kind])


def stacks() -> list[str]:
    """Names of the composed methods of conf/method: files, because a stack is a configuration."""
    return sorted(path.stem for path in (CONF / "method").glob("*.yaml"))


def plain(value: Any) -> Any:
    """A value as a configuration writes it; a plug-in, also one within another, with its name and every option."""
    if is_dataclass(value):
        named = {"name": name_of(type(value))} if isinstance(value, (Dataset, Model, Method)) else {}
        return named | {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.init}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def build(config: dict[str, Any]) -> Experiment:
    """Check a resolved configuration and make its objects; building from `Experiment.config` gives the same again.

    Raises:
        ValueError: any value that no run could have, in one sentence.
    """
    return make(Experiment, config, title="a run")


def run_id(config: dict[str, Any]) -> str:
    """12 hex digits of the canonical JSON of everything that decides the run's result; paths and loggers do not."""
    identity = {"schema_version": SCHEMA_VERSION}
    for group in SCIENTIFIC:
        value = config[group]
        if isinstance(value, dict):
            hidden, added = NOT_SCIENTIFIC.get(group, ()), ADDED.get(group, {}).items()
            value = {k: v for k, v in value.items() if k not in hidden and (k, v) not in added}
        identity[group] = value
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_folder(config: dict[str, Any]) -> Path:
    """Where the run of a configuration lies on this machine."""
    return Path(config["results"]) / "runs" / run_id(config) / f"{machine_id()}-{config['replicate']}"


def reference_config(experiment: Experiment) -> dict[str, Any] | None:
    """The configuration of the run that a method reads at its start: the same but for the method; None without one."""
    if experiment.method.reference is None:
        return None
    config = experiment.config
    return config | {"method": experiment.method.reference_options(config["method"])}
