"""Makes units leave and return: really smaller tensors (`compact`), or zeros in full ones (`masked`, for tests).

Both follow one rule in the coordinates of the full model. A unit that leaves hands its outgoing weights over where a
fold says so, and its incoming weights rest in the reservoir. A unit that comes takes its incoming weights from there
and outgoing weights of zero, so that growth never changes the function; its moments start at zero and its second
moments at the layer's mean. Nothing touches the reservoir between updates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hundredfold.methods.execution.host import fetched
from hundredfold.methods.execution.prunable import is_conv1d
from hundredfold.methods.execution.units.groups import Axis, UnitGroup
from hundredfold.methods.topology import Fold

SECOND_MOMENTS = ("exp_avg_sq", "max_exp_avg_sq", "sum", "square_avg")


class UnitStore:
    """Which units of a model exist, and the storage of their parameters.

    Args:
        model: its parameters are replaced by smaller ones; the optimizer's references follow.
        groups: what `find_units` found.
        compact: False keeps full tensors with zeros in them.
    """

    def __init__(self, model: nn.Module, groups: Mapping[str, UnitGroup], *, compact: bool):
        self.model, self.groups, self.compact = model, dict(groups), compact
        axes = [axis for group in self.groups.values() for axis in group.axes]
        self.alive = {name: torch.ones(group.size, dtype=torch.bool) for name, group in self.groups.items()}
        self.ever = {name: alive.clone() for name, alive in self.alive.items()}
        self.new = {name: torch.zeros_like(alive) for name, alive in self.alive.items()}
        self.reservoir = {(a.module, a.attribute): self._tensor(a).detach().clone() for a in axes}
        self.live = {k: [torch.arange(n, device=v.device) for n in v.shape] for k, v in self.reservoir.items()}
        self.layer_shapes = {
            name: tuple(module.weight.shape)
            for name, module in model.named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d)) or is_conv1d(module)
        }

    @torch.no_grad()
    def begin(self, *, rescale: bool) -> None:
        """Call the present units the first that ever existed.

        Args:
            rescale: multiply the outgoing weights of every group by sqrt(size / alive), living and resting ones, so
                that what the readers receive has the variance that the initialisation of the full model intends.
        """
        self.ever = {name: alive.clone() for name, alive in self.alive.items()}
        self.new = {name: torch.zeros_like(alive) for name, alive in self.alive.items()}

        for name, group in self.groups.items() if rescale else ():
            factor = math.sqrt(group.size / int(self.alive[name].sum()))
            self.model.get_submodule(group.reads).weight.mul_(factor)
            self.reservoir[group.reads, "weight"].mul_(factor)

    def density_of(self, layer: str) -> float:
        """Fraction of a layer's weights whose units exist."""
        key = (layer, "weight")
        full = self.layer_shapes[layer]
        rows, columns = [len(i) for i in self.live[key]][:2] if key in self.live else full[:2]
        return rows * columns / (full[0] * full[1])

    def _reading(self, group: UnitGroup) -> Axis:
        """The axis by which the group's reader reads it."""
        return next(axis for axis in group.axes if not axis.produces)

    def _weight_axes(self, name: str) -> list[Axis]:
        """Axes of a group in weights, scales of norms left out."""
        return [a for a in self.groups[name].axes if a.attribute == "weight" and self._tensor(a).ndim > 1]

    def num_zeroed(self) -> int:
        """Entries of full tensors that no living unit owns; none in compact storage."""
        if self.compact:
            return 0
        stored = {key: full for key, full in self.reservoir.items() if not key[1].startswith("running")}
        live = [math.prod(len(entries) for entries in self.live[key]) for key in stored]
        return sum(full.numel() for full in stored.values()) - sum(live)

    def outgoing_grads(self) -> dict[str, Tensor]:
        """Group -> norm of the gradient of each unit's outgoing weights, [n] on the CPU; 0 where it does not exist."""
        found = {name: torch.zeros(group.size) for name, group in self.groups.items()}
        grads = {name: self.model.get_submodule(group.reads).weight.grad for name, group in self.groups.items()}
        squares = {}
        for name, grad in grads.items():
            if grad is not None:
                columns = grad.square().transpose(0, self._reading(self.groups[name]).dim).flatten(1).sum(1)
                squares[name] = columns.view(-1, self.groups[name].width).sum(1).sqrt()
        for name, norms in zip(squares, fetched(list(squares.values())), strict=True):
            alive = self.alive[name]
            found[name][alive] = norms if self.compact else norms[alive]
        return found

    @torch.no_grad()
    def norms(self) -> dict[str, Tensor]:
        """Group -> Euclidean norm of the weights of each unit, [n] on the CPU; 0 for units that do not exist."""
        axes = [(name, axis) for name in self.groups for axis in self._weight_axes(name)]
        sums = [self._tensor(axis).square().transpose(0, axis.dim).flatten(1).sum(1) for _, axis in axes]
        squares = {name: torch.zeros(group.size) for name, group in self.groups.items()}
        for (name, axis), entries in zip(axes, fetched(sums), strict=True):
            full = entries.new_zeros(int(axis.index.max()) + 1)
            live = _entries(axis, self.alive[name])
            full[live] = entries if self.compact else entries[live]
            squares[name] += full[axis.index].sum(1)
        return {name: square.sqrt() for name, square in squares.items()}

    @torch.no_grad()
    def set_alive(self, name: str, alive: Tensor, fold: Fold | None, optimizer: torch.optim.Optimizer | None) -> None:
        """Let exactly the units `alive` [n] of one group exist.

        Raises:
            ValueError: a mask of another size, or no unit left.
        """
        group, alive = self.groups[name], alive.cpu()
        if alive.shape != (group.size,):
            raise ValueError(f"units of {name}: got a mask of shape {tuple(alive.shape)}, expected ({group.size},)")
        if not alive.any():
            raise ValueError(f"units of {name}: none would be left; keep at least one unit in every group")
        if fold is not None:
            self._hand_over(group, self.alive[name] & ~alive, fold)
        for axis in group.axes:
            self._resize(axis, self.alive[name], alive, optimizer)
        self.new[name] = alive & ~self.alive[name]
        self.ever[name] = self.ever[name] | alive
        self.alive[name] = alive.clone()
        if self.compact:
            self._tell_modules(group, int(alive.sum()))

    def state_dict(self) -> dict:
        reservoir = {"|".join(key): value for key, value in self.reservoir.items()}
        units = {"alive": dict(self.alive), "ever": dict(self.ever), "new": dict(self.new)}
        return units | {"reservoir": reservoir}

    def load_state_dict(self, state: dict, optimizer: torch.optim.Optimizer) -> None:
        """Restore which units exist, and the shapes; the live values are the model's own state."""
        for name, alive in state["alive"].items():
            self.set_alive(name, alive, None, optimizer)
        self.ever, self.new = dict(state["ever"]), dict(state["new"])
        for key, value in state["reservoir"].items():
            self.reservoir[tuple(key.split("|"))].copy_(value)

    # ---- storage ---------------------------------------------------------------------------------------------------
    def _tensor(self, axis: Axis) -> Tensor:
        """A parameter, or a buffer such as a running mean."""
        return getattr(self.model.get_submodule(axis.module), axis.attribute)

    def _places(self, axis_live: Tensor, entries: Tensor) -> Tensor:
        """Where entries (full coordinates, sorted) lie in the stored tensor."""
        return torch.searchsorted(axis_live, entries) if self.compact else entries

    def _grid(self, axis: Axis, entries: Tensor) -> tuple[Tensor, ...]:
        """Index of the full tensor: `entries` in the axis' own dimension, the live ones in the others."""
        live = self.live[axis.module, axis.attribute]
        return torch.meshgrid(
            *[entries if dim == axis.dim else live[dim] for dim in range(len(live))], indexing="ij"
        )

    def _stored(self, tensor: Tensor, axis: Axis, entries: Tensor) -> Tensor:
        """Values of live `entries`, without the other dimension's dead ones."""
        if not self.compact:
            return tensor[self._grid(axis, entries)]
        return tensor.index_select(axis.dim, self._places(self.live[axis.module, axis.attribute][axis.dim], entries))

    def _rebuilt(self, tensor: Tensor, axis: Axis, kept: Tensor, after: Tensor, born: Tensor, values) -> Tensor:
        """The tensor with only the entries `after`: `kept` from before, `born` with the given values."""
        if self.compact:
            shape = list(tensor.shape)
            shape[axis.dim] = len(after)
            new = tensor.new_empty(shape)
        else:
            new = torch.zeros_like(tensor)
        before = self.live[axis.module, axis.attribute][axis.dim]
        old = tensor.index_select(axis.dim, self._places(before, kept))
        new.index_copy_(axis.dim, self._places(after, kept), old)
        if len(born) and self.compact:
            new.index_copy_(axis.dim, self._places(after, born), torch.as_tensor(values).to(new).expand_as(
                new.index_select(axis.dim, self._places(after, born))))
        elif len(born):
            new[self._grid(axis, born)] = torch.as_tensor(values).to(new)
        if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
            return new.contiguous(memory_format=torch.channels_last)
        return new

    def _resize(self, axis: Axis, old_alive: Tensor, alive: Tensor, optimizer: torch.optim.Optimizer | None) -> None:
        key = (axis.module, axis.attribute)
        before, after = _entries(axis, old_alive), _entries(axis, alive)
        stay, come = torch.isin(before, after), ~torch.isin(after, before)
        if stay.all() and not come.any():
            return
        old, changed = self._tensor(axis), (before[stay], after, after[come], before[~stay])
        kept, after, born, gone = (entries.to(old.device, non_blocking=True) for entries in changed)
        if axis.produces:
            self.reservoir[key][self._grid(axis, gone)] = self._stored(old.detach(), axis, gone)
            values = self.reservoir[key][self._grid(axis, born)]
        else:
            values = 0.0
        new = self._rebuilt(old.detach(), axis, kept, after, born, values)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, old.requires_grad)
            if old.grad is not None:
                new.grad = self._rebuilt(old.grad, axis, kept, after, born, 0.0)
            if optimizer is not None:
                self._carry(optimizer, old, new, axis, (kept, after, born))
        self.live[key][axis.dim] = after
        if not self.compact and isinstance(new, nn.Parameter):
            self._keep_dead_at_zero(new, axis)
        setattr(self.model.get_submodule(axis.module), axis.attribute, new)

    def _keep_dead_at_zero(self, parameter: nn.Parameter, axis: Axis) -> None:
        """An activation that is not 0 at 0 would give the reader's dead columns gradients."""
        lives = torch.zeros_like(parameter, dtype=torch.bool)
        lives[self._grid(axis, self.live[axis.module, axis.attribute][axis.dim])] = True
        if parameter.requires_grad:
            parameter.register_hook(lambda grad: grad * lives)

    def _carry(self, optimizer, old: nn.Parameter, new: nn.Parameter, axis: Axis, change) -> None:
        """Hand the optimizer's reference and state of a parameter over to its successor."""
        for group in optimizer.param_groups:
            group["params"] = [new if p is old else p for p in group["params"]]
        state = optimizer.state.pop(old, None)
        if state is None:
            return
        kept, after, born = change
        for name, value in state.items():
            if torch.is_tensor(value) and value.shape == old.shape:
                live = self._stored(value, axis, self.live[axis.module, axis.attribute][axis.dim])
                start = live.mean() if name in SECOND_MOMENTS else 0.0
                state[name] = self._rebuilt(value, axis, kept, after, born, start)
        optimizer.state[new] = state

    # ---- function-preserving leaves --------------------------------------------------------------------------------
    def _hand_over(self, group: UnitGroup, leaving: Tensor, fold: Fold) -> None:
        """Add a leaving unit's outgoing weights to its twin's, or its constant output to the reader's bias."""
        reader = self.model.get_submodule(group.reads)
        dim = self._reading(group).dim
        live, columns = self.live[group.reads, "weight"][dim], reader.weight.transpose(0, dim)
        for unit in (leaving & ((fold.twin >= 0) | (fold.constant != 0))).nonzero().flatten().tolist():
            column = columns[self._places(live, live.new_tensor([unit]))].flatten()
            twin = int(fold.twin[unit])
            if twin >= 0:
                place = int(self._places(live, live.new_tensor([twin])))
                columns[place] += fold.scale[unit] * column
            else:
                reader.bias += fold.constant[unit] * column

    def _tell_modules(self, group: UnitGroup, count: int) -> None:
        """Keep the sizes that modules remember in step with their parameters."""
        for name, attributes in group.resized.items():
            for attribute, per_unit in attributes.items():
                setattr(self.model.get_submodule(name), attribute, per_unit * count)
        for axis in group.axes:
            module = self.model.get_submodule(axis.module)
            if isinstance(module, nn.Linear):
                module.out_features, module.in_features = module.weight.shape
            elif isinstance(module, nn.Conv2d):
                module.out_channels, module.in_channels = module.weight.shape[0], module.weight.shape[1] * module.groups
            elif isinstance(module, nn.BatchNorm2d):
                module.num_features = count
            elif is_conv1d(module):
                module.nx, module.nf = module.weight.shape


def _entries(axis: Axis, alive: Tensor) -> Tensor:
    """Entries of the full axis that belong to living units, ascending, on the CPU, where nothing waits for a device."""
    return axis.index[alive].flatten().sort().values
