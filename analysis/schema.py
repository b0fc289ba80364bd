"""What a record is, field by field: the one schema of those who write records and of those who read them.

A unit is part of a name (`_j`, `_s`), a fraction lies in [0, 1], and what is not known is null, never 0. Records are
never edited: a changed definition is a new SCHEMA_VERSION, and older records are measured again.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Version = Literal[2]
Status = Literal["finished", "diverged", "failed"]
Family = Literal["dense", "dense_control", "neurons", "selective", "control", "dynamic", "static"]
Evidence = Literal["measured", "modeled", "estimated", "none"]
Metric = Literal["accuracy", "loss"]
Phase = Literal["train", "select", "warmup", "replayed", "eval", "test", "checkpoint", "account", "setup"]

(SCHEMA_VERSION,) = get_args(Version)
FINISHED, DIVERGED, FAILED = STATUSES = get_args(Status)
FAMILIES: tuple[str, ...] = get_args(Family)  # in the order of tables
DENSE = "dense"  # the method that all others are measured against
TRAINING: tuple[Phase, ...] = ("train", "select", "warmup")  # phases whose sum a run is judged by

Text = Annotated[str, StringConstraints(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]  # joules, seconds, FLOPs, bytes
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Hex8 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{8}$")]
Hex12 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{12}$")]
Hex64 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Block(BaseModel):
    """Fields that are all there, of exactly these types, and no others."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Score(Block):
    """Quality on one split; the loss is in nats per prediction."""

    accuracy: Fraction
    loss: Amount
    num_examples: Positive


class StateCache(Block):
    """A recurrent network's cache of its last states; sharpness and share are the best on the validation text."""

    sharpness: Amount
    share: Fraction
    loss_without: Amount


class ReadOn(Block):
    """Loss of a text read from beginning to end, nats per token, and what a prediction knew of what lies before it."""

    loss: Amount
    num_examples: Positive
    cpu_s: Amount  # of reading it; what a prediction costs
    context: Literal["carried", "whole", "sliding"]
    cache: StateCache | None = None


class CurvePoint(Block):
    """One evaluation on the way; joules, seconds and FLOPs are those of training up to it."""

    step: Positive
    fraction: Fraction
    train_loss: float
    validation_accuracy: Fraction
    validation_loss: Amount
    training_j: Amount | None
    training_cpu_s: Amount
    executed_flops: Amount


class Quality(Block):
    """What a run reached; splits are null where it diverged."""

    metric: Metric
    validation: Score | None
    test: Score | None
    read_on: dict[Literal["validation", "test"], ReadOn] | None = None  # texts only
    correct: Text | None  # a bit per test example, base64; accuracy tasks only
    curve: list[CurvePoint]


class Energy(Block):
    """Joules by exclusive phases.

    training_j is what a run is judged by: the steps that made its final weights. Steps that an interruption made it
    take again are the phase `replayed`, so that all phases together are everything that was drawn.
    """

    source: Text
    evidence: Evidence
    reason: Text  # why this source
    domains: list[Text]
    phases_j: dict[Phase, Amount] | None
    training_j: Amount | None
    unmetered_fraction: Fraction
    by_seconds: list[Phase] = []  # too short for the counter: from their seconds and the watts of what surrounds them

    @model_validator(mode="after")
    def _agrees(self) -> Energy:
        for name in ("training_j", "phases_j"):
            if (getattr(self, name) is None) != (self.evidence == "none"):
                word = "null" if self.evidence == "none" else "there"
                raise ValueError(f"{name} must be {word} with the evidence {self.evidence!r}")
        _check_sum("training_j", self.training_j, self.phases_j)
        return self


class Time(Block):
    """Wall and CPU seconds by the phases of Energy."""

    phases_s: dict[Phase, Amount]
    phases_cpu_s: dict[Phase, Amount]
    training_s: Amount
    training_cpu_s: Amount

    @model_validator(mode="after")
    def _agrees(self) -> Time:
        _check_sum("training_s", self.training_s, self.phases_s)
        _check_sum("training_cpu_s", self.training_cpu_s, self.phases_cpu_s)
        return self


def _check_sum(name: str, training: float | None, phases: dict[Phase, float] | None) -> None:
    """Refuse a figure of training that is not the sum of its phases."""
    if training is None or phases is None:
        return
    total = sum(phases.get(phase, 0.0) for phase in TRAINING)
    if not math.isclose(training, total, rel_tol=1e-6, abs_tol=1e-9):
        raise ValueError(f"{name} is {training:g}, but its phases add up to {total:g}")


class Flops(Block):
    """One FLOP is a multiply or an add; executed is what kernels computed, ideal what was selected."""

    executed: Amount
    ideal: Amount
    selection: Amount  # in both of them


class Bytes(Block):
    """Traffic of stored parameters by a model of it, not a measurement; and the most memory that was held."""

    modeled: Amount
    peak: Amount | None = None  # of the device, or on a CPU of the process


class Density(Block):
    """Fraction of weights: asked for, left of those that can be pruned, left of all, and by layer."""

    target: Fraction | None
    prunable: Fraction
    total: Amount
    layers: dict[str, Fraction]


class Updates(Block):
    """Decisions after the first: that the schedule has room for, null without one; and that changed what exists."""

    scheduled: Count | None
    made: Count


class DensityPoint(Block):
    """Densities of the layers at one evaluation."""

    step: Positive
    layers: dict[str, Fraction]


class Parameters(Block):
    """Of the full model, and of those that are left."""

    total: Positive
    active: Count


class Units(Block):
    """Units of one group: of the full model, alive at the end, and ever alive."""

    size: Positive
    alive: Count
    ever: Count


class Decision(Block):
    """Why a layer is stored as it is; seconds of each candidate."""

    step: Count
    layer: str
    tokens: Count
    density: Fraction
    seconds: dict[str, Amount]
    chosen: Text


class Storages(Block):
    """How weights are stored: by layer at the end, and how that was decided."""

    layers: dict[str, Text]
    decisions: list[Decision]


class Environment(Block):
    """What a run ran on; joules are divided only where device_key is equal."""

    commit: Text | None
    dirty: bool | None
    versions: dict[str, str | None]
    device: Text
    device_key: Hex12
    driver: Text | None
    power_limit_w: Amount | None
    clock_mhz: Amount | None
    temperature_c: float | None
    cpu: Text
    cores: Positive | None
    threads: Positive
    precision: Text
    platform: Text
    python: Text
    started: Text  # ISO 8601, UTC
    load_average: Amount | None
    data_fingerprint: Text | None
    throttled: Text | None = None  # why a GPU's clocks were held back when the run began, NVML's bits
    cudnn: Text | None = None
    tf32: bool | None = None  # whether float32 products may be rounded to it
    idle_w: Amount | None = None  # of what the source counts, measured once between two starts of the machine
    others_cores: Amount | None = None  # that everything else kept busy during the last attempt, on average
    others_on_gpu: Count | None = None  # other processes on the GPU when the run ended
    boot: Hex8 | None = None  # a hash of the machine's last start
    code: dict[Text, Hex8] | None = None  # a hash of every component, comments left out


class Record(Block):
    """One run of a configuration on a machine."""

    schema_version: Version
    run_id: Hex12
    machine: Hex8
    replicate: Count
    suite: Text | None
    task: Text
    dataset: Text
    model: Text
    method: Text
    label: Text
    family: Family
    twin_of: Text | None
    simulated: bool
    options: dict[str, Any]
    seed: Count
    config: dict[str, Any]
    attempts: Positive
    environment: Environment
    status: Status
    reason: Text | None  # why a run has not finished

    # What only a run that came to its end can tell: null if it failed, and never else.
    quality: Quality | None
    energy: Energy | None
    time: Time | None
    flops: Flops | None
    bytes: Bytes | None
    density: Density | None
    density_curve: list[DensityPoint] | None
    parameters: Parameters | None
    units: dict[str, Units] | None
    storages: Storages | None
    updates: Updates | None
    steps: Positive | None
    segments: Positive | None
    weights_sha256: Hex64 | None

    @model_validator(mode="after")
    def _agrees(self) -> Record:
        self._check_null({name: getattr(self, name) for name in MEASURED}, self.status == FAILED)
        self._check_null({"reason": self.reason}, self.status == FINISHED)
        if self.quality is not None:
            splits = {"quality.validation": self.quality.validation, "quality.test": self.quality.test}
            self._check_null(splits, self.status != FINISHED)
        if self.energy and self.time and self.energy.training_j == 0 and self.time.training_s > 0:
            raise ValueError(f"energy.training_j is 0 J over {self.time.training_s:g} s, which cannot be")
        return self

    def _check_null(self, fields: dict[str, Any], null: bool) -> None:
        """Refuse fields that must be null and are not, or the other way round."""
        for name, value in fields.items():
            if (value is None) != null:
                raise ValueError(f"the field {name} must {'' if null else 'not '}be null in a run that {self.status}")


MEASURED = ("quality", "energy", "time", "flops", "bytes", "density", "density_curve", "parameters", "units",
            "storages", "updates", "steps", "segments", "weights_sha256")  # fmt: skip
