"""One linear layer, forward and backward, with selected weights: every back end here and the peers that are installed.

The ideal is the dense time times the density. On a GPU everything is bfloat16, blocks have 64 or 128 weights a side,
and the peers are PyTorch's BSR (forward only), stk and megablocks (both Gale et al. 2022, arXiv:2211.15841). Megablocks
gives every token one of several experts; it and `moe` run as a feed-forward block of as many weights as the layer, with
the power of 2 of experts that is nearest to 1 / density, routing included. On a CPU the peers are SparseProp (Nikdan et
al. 2023, arXiv:2302.04852), PyTorch's CSR (two sparse products and one sampled product), SciPy (two sparse products;
the weight gradient is gathered by NumPy, since it has no sampled product), and BSR again. A peer that is not installed
is left out, and the table shows a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch
from rich.table import Table
from torch import Tensor, nn

from hundredfold.methods.dynamic.block_dst import expand
from hundredfold.methods.execution.kernels.semi_structured import SemiStructured
from hundredfold.methods.execution.storage.block_sparse import BlockSparseLinear
from hundredfold.methods.execution.storage.csr import CsrLinear
from hundredfold.methods.products import Product, Selection
from hundredfold.methods.selective.moe import Experts
from hundredfold.replication.benchmark.measure import console, file_of, interleaved, joules_of, save
from hundredfold.replication.energy.sources import choose

DENSITIES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
CASES = {  # device -> inputs = outputs, tokens
    "cpu": ((2048, 128), (2048, 32), (2048, 512), (512, 128)),
    "cuda": ((2048, 16384), (4096, 8192)),
}
BLOCK = {"cpu": 32, "cuda": 64}  # side of the blocks of block_sparse
STK_BLOCK = 128  # the only one that it takes
REPEATS = 11
THREADS = 2
NAMES = {  # device -> columns: back ends here, then peers
    "cpu": ("compact", "csr", "block_sparse", "sparseprop", "torch csr", "scipy", "torch bsr (forward only)"),
    "cuda": ("compact", "block_sparse", "semi_structured", "moe", "stk", "megablocks", "torch bsr (forward only)"),
}

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


def stk_step(weight: Tensor, x: Tensor, dy: Tensor) -> Step | None:
    """The published GPU kernels for blocks of 128; None where they are not installed."""
    try:
        import stk
    except ImportError:
        return None
    sparse = stk.ops.to_sparse(weight, STK_BLOCK)
    x = x.detach()
    return lambda: (stk.ops.dds(x, sparse.t()), stk.ops.dds(dy, sparse), stk.ops.sdd(dy.T, x, sparse))


def moe_step(size: int, experts: int, x: Tensor, dy: Tensor) -> Step | None:
    """The suite's own experts, one for every token; None where their neurons are no whole number."""
    if (size // 2) % experts:
        return None
    kind: dict[str, Any] = {"bias": False, "device": x.device, "dtype": x.dtype}
    producer, reader = nn.Linear(size, size // 2, **kind), nn.Linear(size // 2, size, **kind)
    layer = Experts([producer], nn.GELU(), reader, experts, top=1, balance=0.0).to(x.dtype)
    return module_step(layer, x, dy)


def megablocks_step(size: int, experts: int, x: Tensor, dy: Tensor) -> Step | None:
    """The published experts without dropped tokens; None where they are not installed or too narrow for a block."""
    try:
        from megablocks.layers.arguments import Arguments
        from megablocks.layers.dmoe import dMoE
        from megablocks.layers.moe import clear_load_balancing_loss
    except ImportError:
        return None
    neurons = size // 2 // experts
    if neurons % STK_BLOCK:
        return None
    sizes = {"hidden_size": size, "ffn_hidden_size": neurons, "moe_num_experts": experts, "moe_top_k": 1}
    layer = dMoE(Arguments(**sizes, bias=False, return_bias=False, fp16=False, bf16=True)).to(x.device, x.dtype)
    wanted = [x, *layer.parameters()]

    def step():
        gradients = torch.autograd.grad(layer(x[:, None]), wanted, dy[:, None])
        clear_load_balancing_loss()  # kept of every pass until somebody adds it to the loss
        return gradients

    return step


def experts_of(density: float) -> int:
    """The power of 2 of experts of which one is nearest to a density."""
    return 2 ** round(math.log2(1 / density))


def semi_structured_step(weight: Tensor, x: Tensor, dy: Tensor) -> Step:
    """Two of four weights: compressed anew for the forward product, as training has to; dense products of gradients."""
    mask = torch.zeros_like(weight, dtype=torch.bool).view(-1, 4)
    mask[:, :2] = True
    selection, kernel = Selection(right=mask.view_as(weight)), SemiStructured(weight.device)
    x = x.detach()
    return lambda: (kernel.run(Product.FORWARD, x, weight, selection), dy @ weight, dy.T @ x)


def blocks_of(size: int, side: int, density: float) -> Tensor:
    """Weights that exist, bool [size, size]: so many random blocks."""
    blocks = torch.zeros((size // side) ** 2, dtype=torch.bool)
    blocks[torch.randperm(len(blocks))[: max(1, round(density * len(blocks)))]] = True
    return expand(blocks.view(size // side, -1), (size, size), side)


def side_of(size: int, density: float) -> int:
    """Of a dense layer of as many weights: a multiple of 8."""
    return max(8, round(size * math.sqrt(density) / 8) * 8)


def places_of(mask: Tensor) -> Tensor:
    return mask.flatten().nonzero().flatten()


def on_a_gpu(size: int, tokens: int, density: float) -> dict[str, Step | None]:
    """Every way to run one layer at one density on a GPU, by name."""
    torch.manual_seed(0)
    kind: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16}
    x, dy = torch.randn(tokens, size, **kind).requires_grad_(), torch.randn(tokens, size, **kind)
    side = side_of(size, density)
    small_x, small_dy = torch.randn(tokens, side, **kind).requires_grad_(), torch.randn(tokens, side, **kind)
    dense = nn.Linear(size, size, bias=False, **kind)
    mask = blocks_of(size, BLOCK["cuda"], density).cuda()
    weight, places = (dense.weight * mask).detach(), places_of(mask)
    bsr = weight.to_sparse_bsr((BLOCK["cuda"],) * 2)
    coarse = blocks_of(size, STK_BLOCK, density).cuda()
    return {
        "dense": module_step(dense, x, dy),
        "compact": module_step(nn.Linear(side, side, bias=False, **kind), small_x, small_dy),
        "block_sparse": module_step(BlockSparseLinear("layer", weight, None, places, places), x, dy),
        "semi_structured": semi_structured_step(dense.weight.detach(), x, dy) if density == 0.5 else None,
        "moe": moe_step(size, experts_of(density), x, dy),
        "stk": stk_step((dense.weight * coarse).detach(), x, dy),
        "megablocks": megablocks_step(size, experts_of(density), x, dy),
        "torch bsr (forward only)": lambda: bsr @ x.detach().T,
    }


def candidates(size: int, tokens: int, density: float, device: str = "cpu") -> dict[str, Step]:
    """Every way to run one layer at one density on a device, by name; those that are there."""
    found = on_a_gpu(size, tokens, density) if device == "cuda" else on_a_cpu(size, tokens, density)
    return {name: step for name, step in found.items() if step is not None}


def on_a_cpu(size: int, tokens: int, density: float) -> dict[str, Step | None]:
    """Every way to run one layer at one density on a CPU, by name."""
    torch.manual_seed(0)
    x, dy = torch.randn(tokens, size, requires_grad=True), torch.randn(tokens, size)
    dense = nn.Linear(size, size, bias=False)
    mask = torch.rand(size, size) < density
    weight = (dense.weight * mask).detach()
    places = places_of(mask)
    side = side_of(size, density)
    small_x, small_dy = torch.randn(tokens, side, requires_grad=True), torch.randn(tokens, side)
    blocked = blocks_of(size, BLOCK["cpu"], density)
    block_places = places_of(blocked)
    steps: dict[str, Step | None] = {
        "dense": module_step(dense, x, dy),
        "compact": module_step(nn.Linear(side, side, bias=False), small_x, small_dy),
        "csr": module_step(CsrLinear("layer", weight, None, places, places), x, dy),
        "block_sparse": module_step(BlockSparseLinear("layer", weight, None, block_places, block_places), x, dy),
        "sparseprop": sparseprop_step(weight, x, dy),
        "torch csr": torch_csr_step(weight, x, dy),
        "scipy": scipy_step(weight, x, dy),
    }
    bsr = (dense.weight * blocked).detach().to_sparse_bsr((BLOCK["cpu"],) * 2)
    steps["torch bsr (forward only)"] = lambda: bsr @ x.detach().T
    return steps


def ideal(name: str, size: int, density: float) -> float:
    """Speed-up that the skipped multiplications allow."""
    if name == "compact":
        return (size / side_of(size, density)) ** 2
    if name in ("moe", "megablocks"):
        return float(experts_of(density))
    return 1.0 if name == "dense" else 1 / density


def main(scale: float, folder: Path, device: str = "cpu") -> None:
    """Time every case, print one table each, save all."""
    torch.set_num_threads(THREADS)
    repeats, cases, names = max(3, round(REPEATS * scale)), CASES[device], NAMES[device]
    source = choose("auto", device)
    console.print(f"layers on {device}: {len(cases)} cases x {len(DENSITIES)} densities, about {repeats * 25:.0f} s")
    rows = []
    for size, tokens in cases:
        table = Table("density", "ideal", "dense ms", title=f"{size} x {size}, {tokens} tokens: dense over")
        for name in names:
            table.add_column(name)
        for density in DENSITIES:
            found = candidates(size, tokens, density, device)
            timings = interleaved(found, repeats)
            spent = {name: joules_of(step, source, scale) for name, step in found.items()}
            dense = timings["dense"]
            rows += [
                {"size": size, "tokens": tokens, "density": density, "name": name, "ideal": ideal(name, size, density)}
                | {"speedup": dense.wall_s / t.wall_s, "cpu_speedup": dense.cpu_s / t.cpu_s}
                | {"joules": spent[name], "evidence": source.evidence}
                | t._asdict()
                for name, t in timings.items()
            ]
            speeds = [f"{dense.wall_s / timings[n].wall_s:.1f}" if n in timings else "-" for n in names]
            table.add_row(f"{density:g}", f"{1 / density:.0f}", f"{1e3 * dense.wall_s:.1f}", *speeds)
        console.print(table)
    save(file_of(folder, "layers", device), {"repeats": repeats, "rows": rows}, threads=THREADS, device=device)
