"""What every data set offers: fixed splits, with the test split out of reach while a run trains."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

from torch import Tensor

from hundredfold.methods.options import CountOrZero, Fraction, Probability, Within, check_options
from hundredfold.replication.datasets import _scenario
from hundredfold.replication.datasets._files import Download

Ratio = Annotated[float, Within(1, what="a ratio")]

# Process-wide and not a context variable: threads started inside `sealed()` must be sealed too.
_seals = 0
_lock = threading.Lock()


class Split(NamedTuple):
    """Examples and what is to be predicted, as they are stored; `Dataset.prepare` makes them what a model reads.

    Attributes:
        inputs: uint8 or float [N, channels, height, width] for images, whole numbers [N, L] for text.
        targets: long [N] classes, or whole numbers [N, L]: the token after each input token.
    """

    inputs: Tensor
    targets: Tensor


class Seen(NamedTuple):
    """Which examples a batch holds, and how often each was seen before, long [B] both, where the split lies."""

    rows: Tensor
    epochs: Tensor


@dataclass(frozen=True)
class DataSpec:
    """What a model has to know about a data set.

    Attributes:
        kind: "image" or "text".
        input_shape: of one example: (channels, height, width) or (length,).
        num_classes: classes, or the size of the vocabulary.
        metric: "accuracy" (a fraction, higher is better) or "loss" (nats per token, lower is better).
        symbols: what each token stands for, for models that read words; None where that is not known.
    """

    kind: str
    input_shape: tuple[int, ...]
    num_classes: int
    metric: str
    symbols: tuple[str, ...] | None = None


@contextlib.contextmanager
def sealed():
    """Put every test split of this process out of reach until the block ends; blocks nest."""
    global _seals
    with _lock:
        _seals += 1
    try:
        yield
    finally:
        with _lock:
            _seals -= 1


@dataclass(frozen=True)
class Dataset:
    """A data set whose splits depend on nothing but its own options: never on a run's seed.

    A training batch goes from storage to the model by two batched functions on the batch's own device, neither of which
    waits for it: `inputs = augment(inputs, seen, generator)`, then `inputs, targets = prepare(inputs, targets)`. A
    batch of validation or test goes through `prepare` alone.

    Attributes:
        license: of the data, as their authors state it.
        source: where they come from.
        splits: sizes of training, validation and test, in that order.
        downloads: the files that `hundredfold data NAME` fetches; none for data that need no download.
        resident: the splits may be moved to an accelerator; else they are memory-mapped, and only batches move.
    """

    label_noise: Probability = 0.0  # fraction of the training labels replaced by another class, all equally likely
    fraction: Fraction = 1.0  # of the training examples kept, the same in every class
    imbalance: Ratio = 1.0  # largest over smallest training class, classes shrinking exponentially in their order
    scenario_seed: CountOrZero = 0  # of these three draws; not the run's seed

    license: ClassVar[str]
    source: ClassVar[str]
    splits: ClassVar[str]
    downloads: ClassVar[tuple[Download, ...]] = ()
    resident: ClassVar[bool] = True

    def __post_init__(self):
        check_options(self)

    @classmethod
    def name(cls):
        """The name of the option `dataset`: that of the file."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def present(cls):
        """Whether the files lie in the data root; what they hold is checked when they are read."""
        return all(item.present() for item in cls.downloads)

    def spec(self) -> DataSpec:
        """Return the `DataSpec`."""
        raise NotImplementedError

    def training(self) -> tuple[Split, Split]:
        """Return the training and the validation `Split`; no example of the test split is read into them.

        Label noise, fraction and imbalance change the training split only.
        """
        train, validation = self.read_training()
        rows = _scenario.kept(train.targets, self.fraction, self.imbalance, self.scenario_seed)
        if rows is not None:
            train = Split(train.inputs[rows], train.targets[rows])
        if self.label_noise:
            num_classes = self.spec().num_classes
            train = train._replace(
                targets=_scenario.noisy(train.targets, num_classes, self.label_noise, self.scenario_seed)
            )
        return train, validation

    def test(self) -> Split:
        """Return the test `Split`.

        Raises:
            PermissionError: called inside `sealed()`.
        """
        if _seals:
            raise PermissionError(f"{type(self).__name__}: the test split is sealed while a run trains")
        return self.read_test()

    def read_training(self) -> tuple[Split, Split]:
        """Build the training and the validation `Split`, whole and clean; only `training` calls it."""
        raise NotImplementedError

    def read_test(self) -> Split:
        """Build the test `Split`; only `test` calls it."""
        raise NotImplementedError

    @property
    def augments(self):
        """Whether `augment` changes anything."""
        return type(self).augment is not Dataset.augment

    def augment(self, inputs, seen, generator):
        """Return random variants of stored training inputs.

        Args:
            inputs: [B, ...] as in the training `Split`, on any device.
            seen: `Seen`, for what changes from epoch to epoch.
            generator: a `torch.Generator` on the CPU; the only source of randomness.
        Returns:
            Inputs of the same shape and type; unchanged where the data set has no augmentation.
        """
        return inputs

    def prepare(self, inputs, targets):
        """Return stored inputs and targets of a batch as the model reads them: standardised floats, or long tokens."""
        return inputs, targets

    def raw(self):
        """Return the bytes the splits are made from, as they are on this machine."""
        raise NotImplementedError

    def fingerprint(self):
        """Return the first 12 hex digits of SHA-256 of the raw data: equal data, equal fingerprint.

        Large sets hash names and sizes of files, or recorded checksums, and say so.
        """
        return hashlib.sha256(self.raw()).hexdigest()[:12]
