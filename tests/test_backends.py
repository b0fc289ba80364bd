"""Every back end computes what `masked` does, on any pattern, and trains like it."""

import copy
import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hundredfold.methods.dynamic.block_dst import BlockDst
from hundredfold.methods.dynamic.nm import Nm
from hundredfold.methods.dynamic.set import exchange
from hundredfold.methods.execution.cost import executed_flops
from hundredfold.methods.execution.kernels.masked import Masked
from hundredfold.methods.execution.kernels.semi_structured import SemiStructured
from hundredfold.methods.execution.parts import Weights
from hundredfold.methods.execution.parts.weights import can_store, check_storage
from hundredfold.methods.execution.session import Session
from hundredfold.methods.execution.storage.block_sparse import BlockSparseLinear
from hundredfold.methods.execution.storage.choice import SPARSE
from hundredfold.methods.execution.storage.csr import CsrLinear, block_size
from hundredfold.methods.execution.storage.sparse import places_of
from hundredfold.methods.products import Product, Selection
from hundredfold.methods.topology import UpdateSchedule
from hundredfold.methods.views import StoredView
from hundredfold.replication.config import registry
from tests.conformance import INPUTS, TARGETS, Training, network, small_options

TOLERANCE = {torch.float32: dict(rtol=2e-4, atol=2e-5), torch.float64: dict(rtol=1e-10, atol=1e-12)}
METHODS = {name: cls for name, cls in registry("method").items() if can_store(cls().parts()) and cls.small is not None}
STORABLE = sorted(set(METHODS) - {"random_twin", "compose"})


def positions(mask):
    return mask.flatten().nonzero().flatten()


def pair(backend, mask, trained=None, bias=True, dtype=torch.float32, **options):
    """A stored layer, and the weight and bias of the masked one."""
    outputs, inputs = mask.shape
    trained = mask if trained is None else trained
    weight = torch.randn(outputs, inputs, dtype=dtype) * trained
    offset = nn.Parameter(torch.randn(outputs, dtype=dtype)) if bias else None
    layer = SPARSE[backend]("layer", weight, offset, positions(mask), positions(trained), **options)
    return layer, weight.requires_grad_(), offset


def assert_same_products(layer, weight, bias, mask, trained, x):
    close = TOLERANCE[x.dtype]
    x.requires_grad_()
    y = layer(x)
    dy = torch.randn_like(y)
    dx, dvalues = torch.autograd.grad(y, [x, layer.values], dy)
    rows, grads = x.detach().reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    oracle = Masked()
    select = Selection(right=mask)
    expected = oracle.run(Product.FORWARD, rows, weight.detach(), select).view_as(y)
    torch.testing.assert_close(y, expected if bias is None else expected + bias, **close)
    torch.testing.assert_close(dx, oracle.run(Product.INPUT_GRAD, grads, weight.detach(), select).view_as(x), **close)
    torch.testing.assert_close(
        layer.dense(dvalues), oracle.run(Product.WEIGHT_GRAD, grads, rows, Selection(out=trained)), **close
    )


@settings(max_examples=60, deadline=None)
@given(
    outputs=st.integers(1, 70),
    inputs=st.integers(1, 300),
    tokens=st.integers(1, 120),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    seed=st.integers(0, 10_000),
    superset=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_csr_equals_masked_on_any_pattern(outputs, inputs, tokens, density, seed, superset, dtype):
    torch.manual_seed(seed)
    mask = torch.rand(outputs, inputs) < density
    trained = mask | (torch.rand(outputs, inputs) < 0.2) if superset else mask
    layer, weight, bias = pair("csr", mask, trained, bias=seed % 2 == 0, dtype=dtype)
    x = torch.randn(tokens, inputs, dtype=dtype)
    assert_same_products(layer, weight, bias, mask, trained, x)


@pytest.mark.slow
@pytest.mark.parametrize("size", [64, 512])
def test_csr_equals_masked_where_threads_share_the_work(size):
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        mask = torch.rand(300, 700) < 0.1
        for tokens in (32, size, size + 5):
            layer, weight, bias = pair("csr", mask)
            assert_same_products(layer, weight, bias, mask, mask, torch.randn(tokens, 700))
    finally:
        torch.set_num_threads(threads)


def test_the_number_of_threads_does_not_change_a_bit():
    mask, results = torch.rand(256, 512, generator=torch.Generator().manual_seed(0)) < 0.2, []
    threads = torch.get_num_threads()
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        torch.manual_seed(1)
        layer, _, _ = pair("csr", mask)
        x = torch.randn(128, 512, requires_grad=True)
        y = layer(x)
        results.append([y.detach(), *torch.autograd.grad(y, [x, layer.values], y.detach())])
    torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 4), columns=st.integers(1, 5), side=st.sampled_from([4, 16, 64]), tokens=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.3, 1.0]), seed=st.integers(0, 1000),
)  # fmt: skip
def test_block_sparse_equals_masked_on_any_blocks(rows, columns, side, tokens, density, seed):
    torch.manual_seed(seed)
    blocks = torch.rand(rows, columns) < density
    mask = blocks.repeat_interleave(side, 0).repeat_interleave(side, 1)
    layer, weight, bias = pair("block_sparse", mask)
    assert_same_products(layer, weight, bias, mask, mask, torch.randn(2, tokens, columns * side))


CSR_RUN = """
import tempfile
from hundredfold.methods.execution.kernels import csr_kernels
from hundredfold.replication.composition import compose
from hundredfold.replication.run import run
seen = []
measured = csr_kernels._compiled
def watched(product, width):
    kernel = measured(product, width)
    seen.append((product, width, len(kernel.signatures)))
    return kernel
with tempfile.TemporaryDirectory() as folder:
    given = ["method=random_erk", "method.density=0.1", "trainer.storage=csr", "recipe.steps=20"]
    from hundredfold.replication import module
    begin = module.TrainingModule.train_steps
    def train_steps(self, start, stop):
        csr_kernels._compiled = watched
        return begin(self, start, stop)
    module.TrainingModule.train_steps = train_steps
    record = run(compose(["dataset=digits", *given, "trainer.segments=1", f"results={folder}"])).record
assert seen and all(count == 1 for _, _, count in seen), seen  # compiled before the first step
print("weights", record["weights_sha256"])
"""


@pytest.mark.slow
def test_fresh_and_kept_kernels_give_the_same_bits_and_no_step_compiles(tmp_path):
    """Freshly compiled code and code from the cache once summed in different orders."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    fresh, kept = (
        subprocess.run([sys.executable, "-c", CSR_RUN], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert fresh.stdout.splitlines()[-1].startswith("weights") and fresh.stdout == kept.stdout


def threads_after_a_product(sender, tokens):
    torch.set_num_threads(1)
    pair("csr", torch.rand(300, 700) < 0.1)[0](torch.randn(tokens, 700))
    sender.send(torch.get_num_threads())


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, 128])  # the larger product is shared by threads where there are some
def test_the_first_product_of_a_process_leaves_the_threads_of_pytorch_alone(tokens, fork_server):
    receiver, sender = fork_server.Pipe(duplex=False)
    process = fork_server.Process(target=threads_after_a_product, args=(sender, tokens))
    process.start()
    assert receiver.recv() == 1
    process.join()


def test_block_sparse_takes_the_largest_blocks_that_fit():
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[:32, 32:] = True
    assert pair("block_sparse", mask)[0].side == 32
    mask[32:48, :16] = True
    assert pair("block_sparse", mask)[0].side == 16


def test_patterns_and_devices_that_a_back_end_cannot_run_are_named():
    mask = torch.rand(8, 8) < 0.5
    with pytest.raises(ValueError, match="do not form blocks.*method=block_dst, or trainer.storage=csr or masked"):
        pair("block_sparse", mask)
    with pytest.raises(ValueError, match="trains weights that do not compute"):
        pair("block_sparse", torch.zeros(8, 8, dtype=torch.bool), torch.ones(8, 8, dtype=torch.bool))
    with pytest.raises(ValueError, match="needs a CUDA device.*storage=masked"):
        SemiStructured(torch.device("cpu"))
    with pytest.raises(ValueError, match="choose one of auto, block_sparse, csr, masked, semi_structured"):
        check_storage("dense", METHODS["set"]().name(), METHODS["set"]().parts())
    with pytest.raises(ValueError, match="nm keeps weights that it does not compute"):
        check_storage("csr", Nm().name(), Nm().parts())
    with pytest.raises(ValueError, match="dsc selects no weights"):
        check_storage("csr", registry("method")["dsc"]().name(), registry("method")["dsc"]().parts())
    with pytest.raises(ValueError, match="swat selects operands"):
        check_storage("csr", registry("method")["swat"]().name(), registry("method")["swat"]().parts())
    with pytest.raises(ValueError, match="'csr' runs on the CPU"):
        CsrLinear("layer", torch.empty(4, 4, device="meta"), None, *[torch.empty(2, device="meta")] * 2)


def test_an_optimizer_that_needs_whole_matrices_is_refused():
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters())
    with pytest.raises(ValueError, match="LBFGS needs whole matrices.*AdamW"):
        Session(model, METHODS["random_erk"](density=0.2), optimizer, total_steps=4, storage="csr")


def test_flops_are_counted_from_formulas_that_agree_with_brute_force():
    torch.manual_seed(0)
    mask, trained = torch.rand(30, 50) < 0.2, torch.rand(30, 50) < 0.4
    trained |= mask
    layer, _, _ = pair("csr", mask, trained)
    x = torch.randn(21, 50, requires_grad=True)
    multiplications = 0
    for row, column in mask.nonzero().tolist():
        multiplications += 2 * len(x[:, column]) * (row < 30)  # forward and input gradient
    multiplications += len(x) * len(trained.nonzero())
    assert executed_flops(lambda: layer(x).sum().backward()) == 2 * multiplications
    blocks = torch.zeros(32, 48, dtype=torch.bool)
    blocks[:16, 16:32] = blocks[16:, 32:] = True
    layer, _, _ = pair("block_sparse", blocks)
    x = torch.randn(21, 48, requires_grad=True)
    assert executed_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 21 * int(blocks.sum())


def train(method, backend):
    return Training(method, storage=backend).run()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STORABLE if name != "set"])  # draws without a matrix when stored
def test_methods_train_alike_on_stored_and_on_masked_weights(name):
    cls = METHODS[name]
    method = cls(**small_options(cls))
    masked, stored = train(method, "masked"), train(method, "csr")
    for layer in masked.session.layers:
        assert torch.equal(stored.session.active[layer], masked.session.active[layer]), layer
    torch.testing.assert_close(stored.model(INPUTS), masked.model(INPUTS), rtol=2e-3, atol=2e-4)
    if name == "dsd":  # ends dense
        return
    sizes = [sum(p.numel() for p in t.model.parameters()) for t in (stored, masked)]
    assert sizes[0] < sizes[1]
    state = [sum(v.numel() for s in t.optimizer.state.values() for v in s.values()) for t in (stored, masked)]
    assert state[0] < state[1], "the optimizer's state has the size of the weights"
    assert stored.session.executed_flops < masked.session.executed_flops
    assert stored.session.executed_flops == stored.session.ideal_flops


def test_set_exchanges_stored_weights_without_a_matrix(monkeypatch):
    method = METHODS["set"](**small_options(METHODS["set"]))
    training = Training(method, storage="csr")
    layer = training.session.layers["2"]
    monkeypatch.setattr(type(layer), "dense", lambda *args: pytest.fail("a matrix was made"))
    before = {}
    for _ in range(6):
        if training.session.due:
            before = {n: v for n, v in training.session.part(Weights).store.stored_view().items()}
        training.run(training.session.step_index + 1)
        for name, old in before.items():
            new = training.session.part(Weights).store.stored_view()[name]
            assert len(new.positions) == len(old.positions) == len(new.positions.unique())
            assert int(new.positions.max()) < new.shape[0] * new.shape[1]
        before = {}
    start = Training(method, storage="csr").session.layers["2"].positions()
    assert not torch.equal(training.session.layers["2"].positions(), start)


def test_an_exchange_keeps_the_largest_and_draws_the_rest_evenly():
    positions = torch.arange(0, 400, 2)
    values = torch.linspace(-1, 1, 200)
    counts = torch.zeros(400)
    for seed in range(300):
        weights = {"0": StoredView((20, 20), positions, values)}
        after = exchange(weights, 0.5, torch.Generator().manual_seed(seed))["0"]
        assert len(after) == len(after.unique()) == 200
        kept = set(positions[values.abs().argsort(descending=True)[:100]].tolist())
        assert kept <= set(after.tolist())
        counts[after] += 1
    drawn = counts[[place for place in range(400) if place not in kept]]
    assert 70 < drawn.min() and drawn.max() < 130, "each of 300 places is drawn in a third of 300 rounds"


def test_blocks_train_alike_on_stored_and_on_masked_weights():
    method = BlockDst(**(small_options(BlockDst) | {"block": 4}))
    masked, stored = train(method, "masked"), train(method, "block_sparse")
    for layer in masked.session.layers:
        assert torch.equal(stored.session.active[layer], masked.session.active[layer])
    torch.testing.assert_close(stored.model(INPUTS), masked.model(INPUTS), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("make", [
    lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9, nesterov=True),
    lambda p: torch.optim.AdamW(p, 3e-3, fused=True),
    lambda p: torch.optim.Adagrad(p, 1e-2),
    lambda p: torch.optim.RMSprop(p, 1e-3),
])  # fmt: skip
def test_optimizers_clipping_and_accumulation_work_on_stored_weights(make):
    cls = METHODS["rigl"]
    results = []
    for backend in ("masked", "csr"):
        model = network()
        optimizer = make(model.parameters())
        session = Session(model, cls(**small_options(cls)), optimizer, total_steps=20, storage=backend)
        for step in range(20):
            for half in (0, 1):
                rows = (torch.arange(16) * 3 + 32 * step + 16 * half) % len(INPUTS)
                (torch.nn.functional.cross_entropy(model(INPUTS[rows]), TARGETS[rows]) / 2).backward()
            torch.nn.utils.clip_grad_norm_(session.dense_parameters(), 0.5)
            session.step()
            optimizer.zero_grad()
        results.append(model(INPUTS))
    torch.testing.assert_close(results[1], results[0], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("backend", ["csr", "auto"])
def test_a_resumed_run_on_stored_weights_is_bitwise_the_same(backend):
    cls = METHODS["rigl"]
    method = cls(**small_options(cls))
    whole = Training(method, storage=backend)
    half, again = Training(method, storage=backend).run(20), Training(method, storage=backend)
    again.session.load_state_dict(copy.deepcopy(half.session.state_dict()))
    again.model.load_state_dict(copy.deepcopy(half.model.state_dict()))
    again.optimizer.load_state_dict(copy.deepcopy(half.optimizer.state_dict()))
    again.run()
    assert again.session.part(Weights).store.storages() == half.run().session.part(Weights).store.storages()
    assert all(torch.equal(a, b) for a, b in zip(again.model.parameters(), half.model.parameters(), strict=True))
    if backend == "csr":
        pairs = zip(whole.run().model.parameters(), half.model.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_auto_measures_and_records_what_it_chose():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(512, 768), nn.ReLU(), nn.Linear(768, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    session = Session(model, METHODS["random_erk"](density=0.02), optimizer, total_steps=4, storage="auto")
    for _ in range(2):
        torch.nn.functional.cross_entropy(model(torch.randn(64, 512)), torch.randint(10, (64,))).backward()
        session.step()
        optimizer.zero_grad()
    decisions = {decision.layer: decision for decision in session.part(Weights).store.decisions}
    store = session.part(Weights).store
    assert set(decisions) == {"0", "2"} and len(store.decisions) == 2, "measured once while nothing changes"
    first = decisions["0"]
    assert first.tokens == 64 and set(first.seconds) == {"masked", "csr"} and all(s > 0 for s in first.seconds.values())
    fastest = min(first.seconds, key=first.seconds.get)
    assert first.chosen == fastest or first.chosen == "masked"
    assert session.part(Weights).store.storages()["0"] == first.chosen


def test_auto_leaves_methods_alone_whose_weights_must_be_kept():
    training = Training(Nm(**Nm.small), storage="auto").run(4)
    store = training.session.part(Weights).store
    assert not store.decisions and set(store.storages().values()) == {"masked"}


def test_autocast_runs_in_float32_and_returns_its_type():
    torch.manual_seed(0)
    mask = torch.rand(24, 40) < 0.3
    layer, weight, bias = pair("csr", mask)
    x = torch.randn(8, 40)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), x @ weight.detach().T + bias, rtol=2e-2, atol=2e-2)


def test_stored_layers_pass_through_the_compiler():
    torch.manual_seed(0)
    mask = torch.rand(24, 40) < 0.3
    layer, weight, bias = pair("csr", mask)
    x = torch.randn(8, 40)
    compiled = torch.compile(lambda x: layer(x).relu(), backend="eager", fullgraph=False)
    torch.testing.assert_close(compiled(x), (x @ weight.detach().T + bias).relu(), rtol=1e-4, atol=1e-5)


def test_memory_of_parameters_and_indices_is_within_a_fifth_of_the_density():
    """Weight, gradient and AdamW's two moments of every stored weight, and the indices, over the same when dense."""
    for density in (0.2, 0.1, 0.05, 0.02):
        mask = torch.rand(1024, 1024, generator=torch.Generator().manual_seed(0)) < density
        layer, _, _ = pair("csr", mask, bias=False)
        stored = 16 * layer.values.numel() + layer.start.nbytes + layer.column.nbytes
        assert stored <= 1.2 * float(mask.float().mean()) * 16 * mask.numel()


def test_blocks_of_columns_follow_the_density():
    assert block_size(0.2, 2048) < block_size(0.05, 2048) < block_size(0.02, 2048) <= 1024
    assert block_size(0.001, 100_000) == 2048 and block_size(0.5, 3) == 2 and block_size(1.0, 1) == 1


def test_places_are_found_in_unsorted_lists():
    places, found = places_of(torch.tensor([5, 1, 9]), torch.tensor([9, 5, 7]))
    assert found.tolist() == [True, False, True] and places[found].tolist() == [1, 0]
    assert not places_of(torch.tensor([5]), torch.tensor([], dtype=torch.long))[1].any()


def test_a_layer_without_any_weight_returns_its_bias():
    layer, _, bias = pair("csr", torch.zeros(5, 7, dtype=torch.bool))
    torch.testing.assert_close(layer(torch.randn(3, 7)), bias.detach().expand(3, 5))
    assert np.prod(layer.values.shape) == 0


def test_methods_that_store_are_those_that_select_weights_and_nothing_finer():
    assert {"set", "rigl", "random_erk", "snip", "gmp"} <= set(STORABLE)
    assert not {"nm", "top_kast", "swat", "dense", "dsc", "meprop"} & set(STORABLE)
    assert dataclasses.is_dataclass(METHODS["set"]) and BlockSparseLinear.storage in SPARSE


def test_auto_resumes_bitwise_where_it_measures_the_same(monkeypatch):
    """Times differ between machines and minutes, and the record keeps what they chose; nothing else may differ."""

    def measured(candidates, tokens, inputs, like):
        return {storage: 1.0 if storage == "masked" else 0.1 for storage in candidates}

    monkeypatch.setattr("hundredfold.methods.execution.storage.weight_store.measure", measured)
    for name in ("gmp", "rigl"):
        method = METHODS[name](density=0.25, update=UpdateSchedule(6, 0.0, 0.75))
        whole = Training(method, storage="auto").run()
        assert "csr" in whole.session.part(Weights).store.storages().values()
        for stop in (3, 13, 25, 40):
            part = Training(method, storage="auto").run(stop)
            saved = copy.deepcopy((part.session.state_dict(), part.model.state_dict(), part.optimizer.state_dict()))
            resumed = Training(method, seed=99, storage="auto")
            for target, state in zip((resumed.session, resumed.model, resumed.optimizer), saved, strict=True):
                target.load_state_dict(state)
            resumed.run()
            for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
                assert torch.equal(a, b), f"{name} resumed at step {stop}"


def test_one_seed_is_one_network_however_its_weights_are_stored():
    method = METHODS["set"](density=0.25, update=UpdateSchedule(6, 0.0, 0.75))
    masked, stored = (Training(method, storage=storage) for storage in ("masked", "csr"))
    for stop in range(1, 26, 6):
        masks = [training.run(stop).session.active for training in (masked, stored)]
        assert all(torch.equal(masks[0][name], masks[1][name].view_as(masks[0][name])) for name in masks[0]), stop
