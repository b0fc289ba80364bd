"""Small images first: every batch is resized, and the size grows to the full one.

Source: Tan and Le 2021, arXiv:2104.00298, section 4.2 (progressive learning), without its growing augmentation;
position embeddings of timm's vision transformers are resampled by timm. Extra cost: resizing.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hundredfold.methods.base import Method
from hundredfold.methods.execution.parts import Inputs, Modules, Part
from hundredfold.methods.options import Count, Fraction
from hundredfold.methods.tools.schedules import progress
from hundredfold.methods.views import Site


@dataclass(frozen=True)
class ProgressiveResolution(Method):
    """Trains on small images first."""

    source = "arXiv:2104.00298"
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    extra_cost = "resizing images"
    small: ClassVar[dict[str, Any]] = {"multiple": 1}

    start: Fraction = 0.5  # fraction of the side at the first step
    end: Fraction = 0.7  # fraction of the run after which images are whole
    multiple: Count = 4  # sides are multiples of this many pixels: the patch of a vision transformer

    def parts(self) -> list[Part]:
        return [Modules(self, self.adapt), Inputs(self, self.transform)]

    def adapt(self, model: nn.Module, site: Site) -> None:
        if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
            raise ValueError("progressive_resolution: the model reads images of one size; choose one with convolutions")
        patches = getattr(model, "patch_embed", None)
        if patches is not None:  # what timm's `dynamic_img_size=True` sets when it builds the model
            model.dynamic_img_size, patches.strict_img_size, patches.flatten = True, False, False
            patches.output_fmt = type(patches.output_fmt)("NHWC")
        if site.training is not None:
            self._try_smallest(model, site.training.inputs.shape[1:], site.total_steps)

    def _try_smallest(self, model: nn.Module, shape: torch.Size, total: int) -> None:
        sides = [self.side_at(0, total, side) for side in shape[1:]]
        parameter, training = next(model.parameters()), model.training
        try:
            with torch.no_grad():
                model.eval()(torch.zeros(1, shape[0], *sides, device=parameter.device, dtype=parameter.dtype))
        except (RuntimeError, AssertionError):
            raise ValueError(
                f"progressive_resolution: the model does not read images of {sides[0]} x {sides[1]} pixels; use a "
                f"larger start={self.start:g}, the model's patch as multiple={self.multiple}, or another model"
            ) from None
        finally:
            model.train(training)

    def side_at(self, step: int, total: int, full: int) -> int:
        """Pixels of a side at a step."""
        share = self.start + (1 - self.start) * progress(step, 0, self.end * total)
        return min(full, max(1, round(share * full / self.multiple)) * self.multiple)

    def transform(self, step: int, total: int, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        size = tuple(self.side_at(step, total, side) for side in inputs.shape[2:])
        if size == tuple(inputs.shape[2:]):
            return inputs, targets
        return F.interpolate(inputs, size, mode="bilinear", antialias=True), targets
