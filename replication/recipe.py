"""How a model is trained, the same for every method: optimizer, batch size, steps and the schedule of the rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from hundredfold.methods.options import Count, Fraction, FractionOrZero, Probability, Within, check_options

Inside = Annotated[float, Within(0, 1, low_open=True, high_open=True, what="a fraction")]
Positive = Annotated[float, Within(0, low_open=True)]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained, the same for every method."""

    optimizer: Literal["adamw", "sgd", "muon"]  # sgd with Nesterov's momentum; muon: see `optimizer.Muon`
    batch_size: Count
    steps: Annotated[int, Within(1, 10**9, what="a whole number")]
    learning_rate: Positive  # at the top of the schedule
    weight_decay: Annotated[float, Within(0)]  # of matrices and kernels; biases and norms do not decay
    betas: tuple[Probability, Probability]  # of AdamW; the first is SGD's and Muon's momentum
    warmup: FractionOrZero  # fraction of the steps
    clip: Positive | None = None  # norm of the gradient; null leaves it as it is
    schedule: Literal["linear", "cosine", "step"] = "linear"  # after the warm-up; the first two end at zero
    milestones: tuple[Inside, ...] = ()  # of schedule=step: fractions of the run at which the rate is cut
    gamma: Fraction = 0.1  # factor of the rate at each milestone
    smoothing: Probability = 0.0  # of the labels
    ns_steps: Annotated[int, Within(1, 20, what="a whole number")] = 5  # Newton-Schulz iterations of muon

    def __post_init__(self):
        check_options(self)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones={list(self.milestones)}: expected rising fractions of the run")

    def rates(self, steps: int, positions: Sequence[int] | None = None) -> Rates:
        """Learning rate of every training step.

        Args:
            steps: of the schedule.
            positions: in the schedule, one for each training step; by default each once.
        """
        return Rates(self, steps, range(steps) if positions is None else positions)


@dataclass(frozen=True)
class Rates(Sequence):
    """Learning rates as a list, but computed when they are asked for: linear warm-up, then the recipe's schedule."""

    recipe: Recipe
    steps: int
    positions: Sequence[int]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, step: int) -> float:  # type: ignore[override]  # no slices: a run asks step by step
        position, recipe = self.positions[step], self.recipe
        warm = max(1, round(recipe.warmup * self.steps))
        down = self.steps - warm + 1
        rising = (position + 1) / warm
        if recipe.schedule == "linear":
            return recipe.learning_rate * min(rising, (self.steps - position) / down)
        if recipe.schedule == "step":
            return recipe.learning_rate * min(rising, recipe.gamma ** self._passed(position))
        falling = 0.5 + 0.5 * math.cos(math.pi * min(max(position + 1 - warm, 0) / down, 1))
        return recipe.learning_rate * min(rising, falling)

    def _passed(self, position: int) -> int:
        """Milestones behind a position of the schedule."""
        return sum(position >= milestone * self.steps for milestone in self.recipe.milestones)
