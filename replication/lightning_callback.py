"""A method as a Lightning callback, for any LightningModule with automatic optimization and one optimizer."""

from __future__ import annotations

import lightning as L

from hundredfold.methods.base import Method
from hundredfold.methods.execution.session import Session, check_reducer


class SessionCallback(L.Callback):
    """Trains the module under a method; `session` tells densities and FLOPs during and after the fit.

    Args:
        method: what decides.
        seed: of the method's own random stream.
        total_steps: default what the trainer estimates.
    """

    def __init__(self, method: Method, *, seed: int = 0, total_steps: int | None = None):
        self.method, self.seed, self.total_steps = method, seed, total_steps
        self.session: Session | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if len(trainer.optimizers) != 1:
            raise ValueError(f"SessionCallback works with one optimizer, and this module has {len(trainer.optimizers)}")
        check_reducer(self.method.name(), self.method.parts())
        steps = self.total_steps or int(trainer.estimated_stepping_batches)
        self.session = Session(
            pl_module, self.method, trainer.optimizers[0], total_steps=steps, seed=self.seed
        )

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        self.session.before_step()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.session.after_step()
