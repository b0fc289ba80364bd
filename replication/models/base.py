"""What every model offers: a plain torch module for a data set, at full width or natively narrower."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import nn


def scaled(count, width):
    """Return a number of heads (or of any unit) at a fraction of the full width, at least 1."""
    return max(1, math.floor(width * count + 0.5))


def scaled_neurons(count, width):
    """Return a number of neurons at a fraction of the full width: a multiple of 8, at least 8, where `count` >= 8."""
    return scaled(count, width) if count < 8 or width == 1 else 8 * scaled(count / 8, width)


@dataclass(frozen=True)
class Model:
    """A network's architecture; its fields are hyperparameters."""

    kinds: ClassVar[tuple[str, ...]]  # kinds of data it reads: "image", "text"

    def build(self, spec, width=1.0):
        """Make the network with fresh weights, drawn from torch's global generator (seed it first).

        Args:
            spec: the `DataSpec` of the data it reads.
            width: scales the units inside (hidden neurons, attention heads), never the residual stream nor a head's
                size. A width under 1 gives a small dense network with the initialisation of its own size.
        Returns:
            A module: inputs [B, ...] -> logits [B, C] for images, tokens long [B, L] -> logits [B, L, C] for text.
        Raises:
            ValueError: data of another kind or shape than the model reads, or a width that is not positive.
        """
        name = type(self).__name__.lower()
        if spec.kind not in self.kinds:
            raise ValueError(f"model={name}: reads {' or '.join(self.kinds)} data, but the data set gives {spec.kind}")
        if not (math.isfinite(width) and width > 0):
            raise ValueError(f"width={width}: expected a fraction over 0; 1 is the full model")
        return self.construct(spec, width)

    def construct(self, spec, width) -> nn.Module:
        """Make the network; only `build` calls it, with checked arguments."""
        raise NotImplementedError

    def check_positive(self, *names):
        """Raise a ValueError that names the first of these fields whose value is under 1."""
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
