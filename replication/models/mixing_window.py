"""Context mixing that also counts the last 2,000 tokens; its other options suit that."""

from dataclasses import dataclass
from typing import Any, ClassVar

from hundredfold.methods.tools.mixing.options import WindowOptions
from hundredfold.replication.models.mixing import Mixing


@dataclass(frozen=True)
class MixingWindow(WindowOptions, Mixing):
    """Context mixing with counts of the last tokens beside those of the training text.

    Source: as mixing; a cache of recent words, Kuhn and De Mori 1990. Options: this project, on validation texts.
    """

    small: ClassVar[dict[str, Any]] = Mixing.small | {"window": 20, "window_contexts": None}
