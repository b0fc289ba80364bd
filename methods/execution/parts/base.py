"""What a part is: the enforcer of one kind of selection, called by the session at the same moments of every step."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from torch import Tensor

from hundredfold.methods.execution.context import Context
from hundredfold.methods.topology import Topology


class Decider(Protocol):
    """What a part knows of the method that it belongs to."""

    @classmethod
    def name(cls) -> str: ...

    def due(self, step: int, total: int) -> bool: ...


class Part:
    """Enforces one kind of selection; every hook may be left out.

    A training step calls `before_forward`, then the passes, `after_backward`, `before_step`, then the optimizer,
    `unwatch`, then `apply` for every decision that is due, `settle`, and `watch` before the next step.
    """

    selects: ClassVar[str] = ""  # the field's word for what it decides about; empty for what decides nothing
    reads_batch: bool = False  # the loop must train by `Session.backward`
    cost_varies: bool = False  # what is selected depends on the data, so that its cost is counted repeatedly
    reshapes: ClassVar[bool] = False  # a decision gives the model other tensors, which a compiled step does not have
    on_host: ClassVar[bool] = False  # its state stays on the CPU
    shares: ClassVar[bool] = False  # works where every rank sees a share of the batch alone
    single: ClassVar[bool] = True  # a stack may have one of this kind

    def __init__(self, method: Decider):
        self.method = method
        self.context: Context | None = None

    def simulated(self, storage: str) -> bool:
        """Whether what is not selected is computed all the same, on zeros."""
        return False

    def compiles(self, storage: str) -> bool:
        """Whether torch.compile passes over what it does to the model."""
        return True

    @property
    def due(self) -> bool:
        """Whether the method decides after this step."""
        return self.method.due(self.context.step, self.context.total_steps)

    # ---- before the run ---------------------------------------------------------------------------------------------
    def attach(self, context: Context) -> None:
        """Change the model once, before the first decision.

        Raises:
            ValueError: the model has no such part as the method selects.
        """
        self.context = context

    def begin(self) -> None:
        """After the first decision."""

    # ---- a training step --------------------------------------------------------------------------------------------
    def before_forward(self) -> None:
        """Choose what of the batch is computed."""

    def after_backward(self) -> None:
        """Read and change gradients, once per step."""

    def before_step(self) -> None:
        """Right before the optimizer."""

    def unwatch(self) -> None:
        """After a step, and before what is no step of the run."""

    def names(self) -> set[tuple[str, str]]:
        """(field of a decision, name) that this part can make true."""
        return set()

    def pool(self) -> None:
        """Before a decision, where several ranks train: bring what was observed to its mean over all of them."""

    def apply(self, topology: Topology) -> bool:
        """Make this part's share of a decision true; whether the cost of a step has changed."""
        return False

    def settle(self) -> bool:
        """After a step's decisions; whether the cost of a step has changed."""
        return False

    def watch(self) -> None:
        """Before the next step."""

    def acts(self, step: int) -> bool:
        """Whether a step is another than its neighbours, decisions left out."""
        return False

    # ---- accounts ---------------------------------------------------------------------------------------------------
    def structure(self) -> tuple:
        """What the cost of a step depends on until the next decision."""
        return ()

    def key(self) -> tuple:
        """What the cost of this very step depends on, beside that."""
        return ()

    def begin_count(self) -> None:
        """A step is about to be counted."""

    def recount(self) -> None:
        """Compute again what `before_forward` did, for the step that is counted."""

    def end_count(self) -> float | Tensor:
        """FLOPs of the counted step that an ideal kernel would not run."""
        return 0.0

    def view(self) -> dict[str, Any]:
        """Fields of `NetView` that this part answers."""
        return {}

    def density_of(self, layer: str) -> float | None:
        """Fraction of a layer's weights that exist; None where another part knows."""
        return None

    def num_missing(self) -> int:
        """Parameters that are stored and do not compute."""
        return 0

    # ---- after the run ----------------------------------------------------------------------------------------------
    def finalize(self) -> None:
        """Leave the network as it is deployed: what the part has put there for training goes."""

    # ---- resume -----------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside the state of model and optimizer, in tensors and numbers."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore it, before the model's and the optimizer's state are loaded."""
