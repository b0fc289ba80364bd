"""Modules: a method changes the model itself, before the first step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from hundredfold.methods.execution.context import Context
from hundredfold.methods.execution.parts.base import Decider, Part
from hundredfold.methods.execution.prunable import prunable_layers
from hundredfold.methods.execution.units.groups import find_units
from hundredfold.methods.views import Site


class Modules(Part):
    """Lets the method change the model, and tells the optimizer which parameters came and went.

    Args:
        adapt: (model, site) changes the model in place. It draws from torch's global generator, which is seeded for
            it, and raises a ValueError where the model has no such part.
        table_rate: learning rate of tables with sparse gradients over that of the recipe.
        reads_batch: what the method adds to the model reads the batch that is trained on.
        cost_varies: what a step costs depends on its data.
        decay: e-folds by which weight decay alone shrinks what the method adds, in a run at the present rate; default
            that of the recipe, for matrices.
    """

    selects = "modules"
    single = False

    def __init__(
        self,
        method: Decider,
        adapt: Callable[[nn.Module, Site], None],
        *,
        table_rate: float = 1.0,
        reads_batch: bool = False,
        cost_varies: bool = False,
        decay: float | None = None,
    ):
        super().__init__(method)
        self.adapt, self.table_rate = adapt, table_rate
        self.reads_batch, self.cost_varies, self.decay = reads_batch, cost_varies, decay
        self.sparse_optimizer: torch.optim.Optimizer | None = None  # of tables whose gradients are sparse

    def attach(self, context: Context) -> None:
        super().attach(context)
        before = set(context.model.parameters())
        devices = sorted({p.device for p in before if p.device.type == "cuda"}, key=str)
        site = Site(
            training=context.training,
            batch=lambda: context.batch if context.on_batch else None,
            layers=lambda: prunable_layers(context.model),
            units=lambda: find_units(context.model),
            total_steps=context.total_steps,
            charge=context.charge,
        )
        with context.selecting(), torch.random.fork_rng(devices):
            torch.manual_seed(context.seed + context.parts.index(self))
            self.adapt(context.model, site)
        self._tell_optimizer(before)

    def _tell_optimizer(self, before: set[nn.Parameter]) -> None:
        after, groups = list(self.context.model.parameters()), self.context.optimizer.param_groups
        kept = set(after)
        for group in groups:
            group["params"] = [p for p in group["params"] if p in kept]
        tables = [m for m in self.context.model.modules() if isinstance(m, (nn.Embedding, nn.EmbeddingBag))]
        lazy = {table.weight for table in tables if table.sparse and table.weight not in before}
        template = {k: v for k, v in groups[0].items() if k != "params"}
        added = [p for p in after if p not in before and p not in lazy]
        for decays in (True, False):
            params = [p for p in added if self._decays(p) is decays]
            if params:
                decay = self._weight_decay(template, decays)
                self.context.optimizer.add_param_group({"params": params, **template, **decay})
        if lazy:
            self.sparse_optimizer = torch.optim.SparseAdam([p for p in after if p in lazy])

    def _decays(self, parameter: nn.Parameter) -> bool:
        return self.decay is not None or parameter.ndim > 1

    def _weight_decay(self, group: dict[str, Any], decays: bool) -> dict[str, float]:
        """What a group of added parameters has in place of the recipe's weight decay."""
        if "weight_decay" not in group or (decays and self.decay is None):
            return {}
        slower = 1 - group.get("momentum", 0.0)  # momentum repeats what a step takes away
        return {"weight_decay": slower * self.decay / (group["lr"] * self.context.total_steps) if decays else 0.0}

    def before_step(self) -> None:
        if self.sparse_optimizer is not None:
            for group in self.sparse_optimizer.param_groups:
                group["lr"] = self.context.optimizer.param_groups[0]["lr"] * self.table_rate
            self.sparse_optimizer.step()
            self.sparse_optimizer.zero_grad(set_to_none=True)

    def tables(self) -> set[nn.Parameter]:
        """Parameters that the loop's optimizer does not step."""
        groups = self.sparse_optimizer.param_groups if self.sparse_optimizer else []
        return {parameter for group in groups for parameter in group["params"]}

    def finalize(self) -> None:
        """A weight that was computed from parameters is a parameter from now on."""
        for module in list(self.context.model.modules()):
            for name in list(module.parametrizations) if parametrize.is_parametrized(module) else []:
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)

    def state_dict(self) -> dict[str, Any]:
        return {} if self.sparse_optimizer is None else {"sparse_optimizer": self.sparse_optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.sparse_optimizer is not None:
            self.sparse_optimizer.load_state_dict(state["sparse_optimizer"])
