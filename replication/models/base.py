"""What every model offers: a plain torch module for a data set, at full width or natively narrower."""

import abc
import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar

from torch import Tensor, nn

from hundredfold.methods.options import Within, check_options
from hundredfold.replication.datasets.base import Split

Deviation = Annotated[float, Within(0, 1, low_open=True, high_open=True, what="a deviation")]


def scaled(count, width):
    """Return a number of heads (or of any unit) at a fraction of the full width, at least 1."""
    return max(1, math.floor(width * count + 0.5))


def scaled_neurons(count, width):
    """Return a number of neurons at a fraction of the full width: a multiple of 8, at least 8, where `count` >= 8."""
    return scaled(count, width) if count < 8 or width == 1 else 8 * scaled(count / 8, width)


class DataDependent(nn.Module, abc.ABC):
    """A network some of whose first weights are computed from training data."""

    @abc.abstractmethod
    def fit(self, images: Tensor) -> None:
        """Compute them from standardised training images [N, C, H, W], without labels."""


class Learner(nn.Module, abc.ABC):
    """A model that learns by itself, in the order of the training split: no gradients, no optimizer.

    It keeps what it learns in parameters and buffers, so that it is saved and resumed like any other. Called, it gives
    logits as every model does.
    """

    def prepare(self) -> None:
        """Get ready without learning anything, such as by compiling; not part of the training."""

    @abc.abstractmethod
    def attach(self, training: Split) -> None:
        """Take the split that is learned; called before the first step, and again when a run goes on."""

    @abc.abstractmethod
    def learn(self, examples: int, rate: float) -> float:
        """Learn the next examples, no further than to the split's end; the mean loss before they were learned."""

    @abc.abstractmethod
    def flops(self) -> tuple[float, float]:
        """FLOPs of everything learned so far, executed and ideal."""

    @abc.abstractmethod
    def read_on(self, tokens: Tensor) -> Tensor:
        """Loss of every token but the first, nats [n - 1], each with all tokens before it [n] as its context."""


@dataclass(frozen=True)
class Model:
    """A network's architecture; its fields are hyperparameters.

    Attributes:
        kinds: kinds of data it reads: "image", "text".
        learns: it builds a `Learner`, which leaves nothing for a method to select.
        small: options that make it tiny, for tests that build every model.
        smallest_image: pixels a side below which images are refused.
    """

    kinds: ClassVar[tuple[str, ...]]
    learns: ClassVar[bool] = False
    small: ClassVar[dict[str, Any]] = {}
    smallest_image: ClassVar[int] = 1

    def __post_init__(self):
        check_options(self)

    def build(self, spec, width=1.0):
        """Make the network with fresh weights, drawn from torch's global generator (seed it first).

        Args:
            spec: the `DataSpec` of the data it reads.
            width: scales the units inside (hidden neurons, channels, attention heads), never the residual stream nor a
                head's size. A width under 1 gives a small dense network with the initialisation of its own size.
        Returns:
            A module: inputs [B, ...] -> logits [B, C] for images, tokens long [B, L] -> logits [B, L, C] for text.
        Raises:
            ValueError: data of another kind or shape than the model reads, a width that is not positive, or weights of
                a file that are not the full model's.
        """
        self.check(spec)
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width={width}: expected a fraction over 0; 1 is the full model")
        if getattr(self, "weights", None) is not None and width != 1:
            raise ValueError(f"width={width}: expected 1, because weights={self.weights} are of the full model")
        network = self.construct(spec, width)
        network.symbols = spec.symbols  # what its tokens stand for, for methods that read words
        return network

    def check(self, spec):
        """Raise a ValueError for data of another kind or size than the model reads."""
        name = type(self).__module__.rpartition(".")[2]
        if spec.kind not in self.kinds:
            raise ValueError(f"model={name}: reads {' or '.join(self.kinds)} data, but the data set gives {spec.kind}")
        if spec.kind == "image" and min(spec.input_shape[1:]) < self.smallest_image:
            sides = " x ".join(map(str, spec.input_shape[1:]))
            raise ValueError(f"model={name}: reads images of {self.smallest_image} pixels a side or more, not {sides}")

    def construct(self, spec, width) -> nn.Module:
        """Make the network; only `build` calls it, with checked arguments."""
        raise NotImplementedError

    def apply_preset(self, option, presets):
        """Set the fields that a preset fixes; call it in `__post_init__`, before the checks.

        Args:
            option: field that names the preset; None leaves everything as it is.
            presets: name -> {field: value}.
        Raises:
            ValueError: a field that the preset fixes was given another value.
        """
        name = getattr(self, option)
        if name is None:
            return
        defaults = {field.name: field.default for field in fields(self)}
        for field, value in presets[name].items():
            given = getattr(self, field)
            if given not in (defaults[field], value):
                raise ValueError(f"{field}={given}: {option}={name} sets it to {value}; leave one of the two out")
            object.__setattr__(self, field, value)
