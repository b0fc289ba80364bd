"""A method as a callback of Hugging Face's Trainer.

    trainer = Trainer(model, args, train_dataset=data, callbacks=[SessionTrainerCallback(Rigl(density=0.1))])
"""

from __future__ import annotations

from transformers import TrainerCallback

from hundredfold.methods.base import Method
from hundredfold.methods.execution.session import Session, check_reducer


class SessionTrainerCallback(TrainerCallback):
    """Trains the model under a method; `session` tells densities during and after the training.

    Methods that decide about the batch are refused at the first step: the Trainer runs the passes itself. So is a
    training that goes on from a checkpoint, whose masks the Trainer does not restore.

    Args:
        method: what decides.
        seed: of the method's own random stream.
    """

    def __init__(self, method: Method, *, seed: int = 0):
        self.method, self.seed = method, seed
        self.session: Session | None = None

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        if state.global_step:
            raise ValueError(
                f"SessionTrainerCallback starts with the training, and this one goes on at step {state.global_step}; "
                "train without resume_from_checkpoint"
            )
        check_reducer(self.method.name(), self.method.parts())
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        self.session = Session(model, self.method, inner, total_steps=state.max_steps, seed=self.seed)

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        self.session.before_step()

    def on_optimizer_step(self, args, state, control, **kwargs) -> None:
        self.session.after_step()
