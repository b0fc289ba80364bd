"""Two of every four neighbouring weights on the sparse tensor cores of a GPU, by PyTorch's own compressed type.

Only the forward product runs compressed: the transposed weight has no such pattern, and the weight gradient is of every
weight, so that one of three products is halved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.products import Product, Selection


class SemiStructured(Masked):
    """Runs weight masks of the pattern 2:4 compressed in the forward product; all else densely."""

    simulated = False

    def __init__(self, device: torch.device):
        if device.type != "cuda":
            raise ValueError(
                f"storage 'semi_structured' needs a CUDA device, and the model is on {device.type}; use "
                "trainer.device=cuda, or trainer.storage=masked, which simulates it"
            )

    def run(self, product: Product, left: Tensor, right: Tensor, selection: Selection) -> Tensor:
        """The selected entries of one product.

        Raises:
            ValueError: float32, which the hardware's sparse products do not take.
        """
        if product is not Product.FORWARD or selection.right is None or selection.left is not None:
            return super().run(product, left, right, selection)
        if right.dtype not in (torch.bfloat16, torch.float16):
            raise ValueError("storage 'semi_structured' multiplies bfloat16; use trainer.precision=bfloat16")
        tokens = len(left)
        filled = torch.nn.functional.pad(left, (0, 0, 0, -tokens % 8))
        weight = torch.sparse.to_sparse_semi_structured(right * selection.right)
        return (weight @ filled.T).T[:tokens].contiguous()
