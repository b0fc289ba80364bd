"""What one run is: a resolved configuration, the checked experiment that it describes, and the run's identity.

Data set, model and method are found by name and made from their dataclasses, so that an option lives in one place.
Every mistake is answered before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import methods
import replication.datasets
import replication.models
from methods.base import Method
from methods.execution.backends import BACKENDS, can_store, check
from replication.datasets.base import Dataset
from replication.environment import machine_id
from replication.models.base import Model
from replication.registry import create, discover

SCHEMA_VERSION = 1
CONF = Path(__file__).resolve().parent.parent / "conf"
GROUPS = {"dataset": (replication.datasets, Dataset), "model": (replication.models, Model), "method": (methods, Method)}
SCIENTIFIC = ("dataset", "model", "method", "recipe", "trainer", "energy", "seed", "budget")
NOT_SCIENTIFIC = {"trainer": ("checkpoint_every_s",)}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, the same for every method.

    Fields: optimizer (adamw or sgd with Nesterov's momentum), batch_size, steps, learning_rate at the top of the
    schedule, weight_decay (of matrices and kernels; biases and norms do not decay), betas (of AdamW; the first is SGD's
    momentum), warmup (fraction of the steps), clip (norm of the gradient, or None), schedule after the warm-up (linear
    or cosine to zero, or step: the rate times `gamma` at each of the `milestones`, fractions of the steps), smoothing
    (of labels).
    """

    optimizer: str
    batch_size: int
    steps: int
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    warmup: float
    clip: float | None = None
    schedule: str = "linear"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    smoothing: float = 0.0

    def __post_init__(self):
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f"recipe.optimizer={self.optimizer}: unknown; choose one of adamw, sgd")
        if self.schedule not in ("linear", "cosine", "step"):
            raise ValueError(f"recipe.schedule={self.schedule}: unknown; choose one of cosine, linear, step")
        if any(not 0 < milestone < 1 for milestone in self.milestones):
            raise ValueError(f"recipe.milestones={list(self.milestones)}: expected fractions of the run in (0, 1)")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"recipe.smoothing={self.smoothing}: expected a share in [0, 1), such as 0.1")
        for name in ("batch_size", "steps", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"recipe.{name}={getattr(self, name)}: expected a number above 0")

    def rates(self, steps: int) -> list[float]:
        """Learning rate of each of `steps` steps: linear warm-up, then the schedule."""
        warm = max(1, round(self.warmup * steps))
        down = steps - warm + 1
        if self.schedule == "linear":
            return [self.learning_rate * min((step + 1) / warm, (steps - step) / down) for step in range(steps)]
        return [self.learning_rate * min((step + 1) / warm, self._factor(step, steps, warm)) for step in range(steps)]

    def _factor(self, step: int, steps: int, warm: int) -> float:
        if self.schedule == "step":
            return self.gamma ** sum(step >= milestone * steps for milestone in self.milestones)
        return 0.5 + 0.5 * math.cos(math.pi * min(max(step + 1 - warm, 0) / (steps - warm + 1), 1))


@dataclass(frozen=True)
class Trainer:
    """Where and with what arithmetic a run trains."""

    device: str
    threads: int
    precision: str
    segments: int
    checkpoint_every_s: float
    backend: str = "masked"
    channels_last: bool = True
    compile: bool = False

    def __post_init__(self):
        if self.device not in ("cpu", "cuda", "mps"):
            raise ValueError(f"trainer.device={self.device}: unknown; choose one of cpu, cuda, mps")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"trainer.precision={self.precision}: unknown; choose one of bfloat16, float32")
        if self.backend not in BACKENDS:
            raise ValueError(f"trainer.backend={self.backend}: unknown; choose one of {', '.join(sorted(BACKENDS))}")
        for name in ("threads", "segments"):
            if getattr(self, name) < 1:
                raise ValueError(f"trainer.{name}={getattr(self, name)}: expected 1 or more")


@dataclass(frozen=True)
class Experiment:
    """One checked run: every object that a configuration describes."""

    dataset: Dataset
    model: Model
    method: Method
    recipe: Recipe
    trainer: Trainer
    seed: int
    budget: float
    config: dict[str, Any]  # fully resolved, plain values

    @property
    def task(self) -> str:
        return f"{self.config['dataset']['name']}/{self.config['model']['name']}"

    @property
    def stores(self) -> bool:
        """Whether weights that are not selected need not be computed or stored."""
        return self.trainer.backend != "masked" and (
            can_store(self.method) or (self.trainer.backend == "semi_structured" and "weights" in self.method.selects)
        )

    @property
    def simulated(self) -> bool:
        """Whether what is not selected is computed all the same."""
        return self.method.simulated and not self.stores

    @property
    def label(self) -> str:
        """The arm's name in tables: the method's, and the back end where it is not simulated."""
        label = self.method.label()
        if not self.stores:
            return label
        return f"{label[:-1]}, {self.trainer.backend})" if label.endswith(")") else f"{label} ({self.trainer.backend})"

    @property
    def steps(self) -> int:
        return len(self.method.positions(self._schedule_steps))

    def learning_rates(self) -> list[float]:
        """Learning rate of every training step."""
        rates = self.recipe.rates(self._schedule_steps)
        return [rates[position] for position in self.method.positions(self._schedule_steps)]

    @property
    def _schedule_steps(self) -> int:
        return max(1, round(self.recipe.steps * self.method.duration * self.budget))


@cache
def registry(kind: str) -> dict[str, type]:
    """Name -> class of every data set, model or method."""
    return discover(*GROUPS[kind])


@cache
def stacks() -> dict[str, dict[str, Any]]:
    """Name -> options of every composed method in conf/method: files, because a stack is a configuration."""
    files = sorted((CONF / "method").glob("*.yaml"))
    return {path.stem: OmegaConf.to_container(OmegaConf.load(path)) for path in files}


def plain(value: Any) -> Any:
    """A value of an option as a configuration writes it; a method within a method with its name and options."""
    if isinstance(value, Method):
        return {"name": value.name()} | {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "__dataclass_fields__"):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def build(config: dict[str, Any]) -> Experiment:
    """Check a resolved configuration and make its objects; building from `Experiment.config` gives the same again.

    Raises:
        ValueError: any value that no run could have, in one sentence.
    """
    parts = {kind: create(kind, registry(kind), config[kind]["name"], **_options(config[kind])) for kind in GROUPS}
    seed, replicate = config["seed"], config["replicate"]
    for name, value in (("seed", seed), ("replicate", replicate)):
        if type(value) is not int or value < 0:
            raise ValueError(f"{name}={value}: expected a whole number, 0 or more")
    budget = config["budget"]
    if not isinstance(budget, (int, float)) or not 0 < budget <= 1:
        raise ValueError(f"budget={budget}: expected a fraction of the recipe's steps in (0, 1]")
    config = config | {"method": plain(parts["method"])}  # nested methods with every option written out
    recipe = create("recipe", {"recipe": Recipe}, "recipe", **config["recipe"])
    recipe = replace(recipe, **parts["method"].recipe)
    trainer = create("trainer", {"trainer": Trainer}, "trainer", **config["trainer"])
    check(trainer.backend, parts["method"])
    fine = {"weights", "operands", "tokens"} & parts["method"].selects
    if trainer.compile and fine:
        raise ValueError(
            f"trainer.compile=true: {parts['method'].name()} selects {', '.join(sorted(fine))}, whose products run one "
            "by one; use trainer.compile=false"
        )
    return Experiment(**parts, recipe=recipe, trainer=trainer, seed=seed, budget=budget, config=config)


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "name"}


def run_id(config: dict[str, Any]) -> str:
    """12 hex digits of the canonical JSON of everything that decides the run's result; paths and loggers do not."""
    identity = {"schema_version": SCHEMA_VERSION}
    for group in SCIENTIFIC:
        value = config[group]
        hidden = NOT_SCIENTIFIC.get(group, ())
        identity[group] = {k: v for k, v in value.items() if k not in hidden} if isinstance(value, dict) else value
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_folder(config: dict[str, Any]) -> Path:
    """Where the run of a configuration lies on this machine."""
    return Path(config["results"]) / "runs" / run_id(config) / f"{machine_id()}-{config['replicate']}"


def reference_config(experiment: Experiment) -> dict[str, Any] | None:
    """The configuration of the run that a method starts from: the same but for the method's name; None without one."""
    if experiment.method.reference is None:
        return None
    config = experiment.config
    return config | {"method": config["method"] | {"name": experiment.method.reference}}
