"""What every data set offers: fixed splits, with the test split out of reach while a run trains."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

# Process-wide and not a context variable: threads started inside `sealed()` must be sealed too.
_seals = 0
_lock = threading.Lock()


class Split(NamedTuple):
    """Examples and what is to be predicted.

    Attributes:
        inputs: float [N, channels, height, width] for images, long [N, L] for text.
        targets: long [N] classes, or long [N, L]: the byte after each input byte.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class DataSpec:
    """What a model has to know about a data set.

    Attributes:
        kind: "image" or "text".
        input_shape: of one example: (channels, height, width) or (length,).
        num_classes: classes, or the size of the vocabulary.
        metric: "accuracy" (a fraction, higher is better) or "loss" (nats per token, lower is better).
    """

    kind: str
    input_shape: tuple[int, ...]
    num_classes: int
    metric: str


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
    """A data set whose splits depend on nothing but its own options: never on a run's seed."""

    license: ClassVar[str]
    source: ClassVar[str]

    def spec(self):
        """Return the `DataSpec`."""
        raise NotImplementedError

    def training(self):
        """Return the training and the validation `Split`; no example of the test split is read into them."""
        raise NotImplementedError

    def test(self):
        """Return the test `Split`.

        Raises:
            PermissionError: called inside `sealed()`.
        """
        if _seals:
            raise PermissionError(f"{type(self).__name__}: the test split is sealed while a run trains")
        return self.read_test()

    def read_test(self):
        """Build the test `Split`; only `test` calls it."""
        raise NotImplementedError

    def raw(self):
        """Return the bytes the splits are made from, as they are on this machine."""
        raise NotImplementedError

    def fingerprint(self):
        """Return the first 12 hex digits of SHA-256 of the raw data: equal data, equal fingerprint."""
        return hashlib.sha256(self.raw()).hexdigest()[:12]
