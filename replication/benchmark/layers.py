"""One linear layer, forward and backward, with selected weights: every back end here and the peers that are installed.

The ideal is the dense time times the density. Peers: SparseProp (Nikdan et al. 2023, arXiv:2302.04852), PyTorch's CSR
(two sparse products and one sampled product), SciPy (two sparse products; the weight gradient is gathered by NumPy,
since it has no sampled product). PyTorch's BSR multiplies forward only and is listed so. A peer that is not installed
is left out, and the table shows a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from rich.table import Table
from torch import Tensor, nn

from hundredfold.methods.dynamic.block_dst import expand
from hundredfold.methods.execution.storage.block_sparse import BlockSparseLinear
from hundredfold.methods.execution.storage.csr import CsrLinear
from hundredfold.replication.benchmark.measure import console, interleaved, save

DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
CASES = ((2048, 128), (2048, 32), (2048, 512), (512, 128))  # inputs = outputs, tokens
BLOCK = 32  # side of the blocks of block_sparse
REPEATS = 11
THREADS = 2
PEERS = ("sparseprop", "torch csr", "scipy", "torch bsr (forward only)")

Step = Callable[[], object]


def module_step(layer: nn.Module, x: Tensor, dy: Tensor) -> Step:
    """Forward and backward pass of a layer: output, input gradient, weight gradient."""
    wanted = [x, *layer.parameters()]
    return lambda: torch.autograd.grad(layer(x), wanted, dy)


def torch_csr_step(weight: Tensor, x: Tensor, dy: Tensor) -> Step:
    """The three calls that PyTorch's CSR tensors offer; the transposed structure is made beforehand."""
    sparse, transposed = weight.to_sparse_csr(), weight.T.contiguous().to_sparse_csr()
    columns = sparse.col_indices()
    pattern = torch.sparse_csr_tensor(sparse.crow_indices(), columns, torch.zeros(len(columns)), size=weight.shape)
    x = x.detach()

    def step():
        return sparse @ x.T, transposed @ dy.T, torch.sparse.sampled_addmm(pattern, dy.T, x, beta=0.0)

    return step


def scipy_step(weight: Tensor, x: Tensor, dy: Tensor) -> Step:
    """SciPy's two sparse products, and a gathered weight gradient in pieces that fit the cache."""
    sparse = scipy.sparse.csr_matrix(weight.numpy())
    transposed = sparse.T.tocsr()
    rows = np.repeat(np.arange(weight.shape[0]), np.diff(sparse.indptr))
    xt, dyt = np.ascontiguousarray(x.detach().numpy().T), np.ascontiguousarray(dy.numpy().T)

    def step():
        grad = np.empty(sparse.nnz, np.float32)
        for k in range(0, sparse.nnz, 4096):
            part = slice(k, k + 4096)
            np.einsum("nt,nt->n", dyt[rows[part]], xt[sparse.indices[part]], out=grad[part])
        return sparse @ xt, transposed @ dyt, grad

    return step


def sparseprop_step(weight: Tensor, x: Tensor, dy: Tensor) -> Step | None:
    """The published CPU kernels for unstructured weights; None where they are not installed."""
    try:
        from sparseprop.modules import SparseLinear
    except ImportError:
        return None
    return module_step(SparseLinear(weight), x, dy)


def candidates(size: int, tokens: int, density: float) -> dict[str, Step]:
    """Every way to run one layer at one density, by name."""
    torch.manual_seed(0)
    x, dy = torch.randn(tokens, size, requires_grad=True), torch.randn(tokens, size)
    dense = nn.Linear(size, size, bias=False)
    mask = torch.rand(size, size) < density
    weight = (dense.weight * mask).detach()
    places = mask.flatten().nonzero().flatten()
    side = max(8, round(size * math.sqrt(density) / 8) * 8)
    small_x, small_dy = torch.randn(tokens, side, requires_grad=True), torch.randn(tokens, side)
    blocks = torch.zeros(size // BLOCK * (size // BLOCK), dtype=torch.bool)
    blocks[torch.randperm(len(blocks))[: max(1, round(density * len(blocks)))]] = True
    blocked = expand(blocks.view(size // BLOCK, -1), (size, size), BLOCK)
    block_places = blocked.flatten().nonzero().flatten()
    steps = {
        "dense": module_step(dense, x, dy),
        "compact": module_step(nn.Linear(side, side, bias=False), small_x, small_dy),
        "csr": module_step(CsrLinear("layer", weight, None, places, places), x, dy),
        "block_sparse": module_step(BlockSparseLinear("layer", weight, None, block_places, block_places), x, dy),
        "sparseprop": sparseprop_step(weight, x, dy),
        "torch csr": torch_csr_step(weight, x, dy),
        "scipy": scipy_step(weight, x, dy),
    }
    bsr = (dense.weight * blocked).detach().to_sparse_bsr((BLOCK, BLOCK))
    steps["torch bsr (forward only)"] = lambda: bsr @ x.detach().T
    return {name: step for name, step in steps.items() if step is not None}


def ideal(name: str, size: int, density: float) -> float:
    """Speed-up that the skipped multiplications allow."""
    if name == "compact":
        return (size / max(8, round(size * math.sqrt(density) / 8) * 8)) ** 2
    return 1.0 if name == "dense" else 1 / density


def main(scale: float, folder: Path) -> None:
    """Time every case, print one table each, save all."""
    torch.set_num_threads(THREADS)
    repeats = max(3, round(REPEATS * scale))
    console.print(f"layers: {len(CASES)} cases x {len(DENSITIES)} densities, about {repeats * 25:.0f} s")
    rows = []
    for size, tokens in CASES:
        table = Table("density", "ideal", "dense ms", title=f"{size} x {size}, {tokens} tokens: dense over")
        for name in table_names():
            table.add_column(name)
        for density in DENSITIES:
            timings = interleaved(candidates(size, tokens, density), repeats)
            dense = timings["dense"]
            rows += [
                {"size": size, "tokens": tokens, "density": density, "name": name, "ideal": ideal(name, size, density)}
                | {"speedup": dense.wall_s / t.wall_s, "cpu_speedup": dense.cpu_s / t.cpu_s}
                | t._asdict()
                for name, t in timings.items()
            ]
            speeds = [f"{dense.wall_s / timings[n].wall_s:.1f}" if n in timings else "-" for n in table_names()]
            table.add_row(f"{density:g}", f"{1 / density:.0f}", f"{1e3 * dense.wall_s:.1f}", *speeds)
        console.print(table)
    save(folder / "layers.json", {"repeats": repeats, "rows": rows}, threads=THREADS)


def table_names() -> tuple[str, ...]:
    return ("compact", "csr", "block_sparse", *PEERS)
