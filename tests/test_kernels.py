"""Kernels for a GPU where there is none: exact in Triton's interpreter, and compiled for the hardware they are for."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import flop_registry

from hundredfold.methods.execution.cost import executed_flops
from hundredfold.methods.execution.kernels import block_products

triton = pytest.importorskip("triton")
HOPPER = 90
POINTERS = {"x": "*bf16", "dy": "*bf16", "values": "*bf16", "begins": "*i32", "order": "*i32", "piece_of": "*i64",
            "row_of": "*i64", "column_of": "*i64"}  # fmt: skip


@pytest.mark.slow
def test_blocks_are_multiplied_as_dense_products_are():
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "tests.block_kernels"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "18 cases agree" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 128])
@pytest.mark.parametrize("kernel", ["_rows_kernel", "_weights_kernel"])
def test_kernels_compile_to_the_matrix_units_of_a_gpu(kernel, side, tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(block_products, kernel)
    fixed = {"TILE": block_products.TOKENS, "SIDE": side, "WIDE": False, "TRANSPOSED": True}
    fixed = {name: value for name, value in fixed.items() if name in function.arg_names}
    pointers = POINTERS | {"out": "*bf16" if kernel == "_rows_kernel" else "*fp32"}
    signature = {name: pointers.get(name, "constexpr" if name in fixed else "i32") for name in function.arg_names}
    places = {(function.arg_names.index(name),): value for name, value in fixed.items()}
    source = triton.compiler.ASTSource(fn=function, signature=signature, constexprs=places)
    target = triton.backends.compiler.GPUTarget("cuda", HOPPER, 32)
    compiled = triton.compile(source, target=target)
    assert "wgmma" in compiled.asm["ptx"] and compiled.metadata.shared < 227 * 2**10  # bytes of one multiprocessor


def test_tensors_of_the_cpu_and_small_blocks_go_another_way():
    assert not block_products.usable(torch.ones(2, 64), 64)
    assert not block_products.usable(torch.ones(2, 8, device="meta"), 8)


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_a_recurrent_layer_of_cudnn_costs_what_the_same_costs_here(cell):
    torch.manual_seed(0)
    layer = cell(12, 20, 2, batch_first=True)
    x = torch.randn(3, 7, 12)
    gates = {nn.GRU: 3, nn.LSTM: 4}[cell]
    weights = list(layer.parameters())
    forward = flop_registry[torch.ops.aten._cudnn_rnn](x.transpose(0, 1), weights, 4, out_val=None)
    assert forward == 2 * 3 * 7 * gates * 20 * (12 + 20 + 20 + 20)
    backward = flop_registry[torch.ops.aten._cudnn_rnn_backward](x.transpose(0, 1), weights, 4, out_val=None)
    assert backward == 2 * forward  # the gradients of inputs and of weights
    assert executed_flops(lambda: layer(x)) == forward
    both = executed_flops(lambda: layer(x.requires_grad_())[0].sum().backward())
    unused = {nn.GRU: 2 * 2 * 3 * gates * 20 * 20, nn.LSTM: 0}[cell]  # two first states, whose gradients nothing needs
    assert both == forward + backward - unused


def test_a_grouped_product_costs_what_its_rows_cost():
    rows, weights = torch.randn(10, 16, requires_grad=True), torch.randn(4, 16, 24, requires_grad=True)
    ends = torch.tensor([3, 3, 7, 10], dtype=torch.int32)

    def step():
        nn.functional.grouped_mm(rows, weights, offs=ends).square().sum().backward()

    assert executed_flops(step) == 3 * 2 * 10 * 16 * 24
