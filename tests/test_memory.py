"""The tables against slow references written from the papers, and the learned rows against a full search."""

from collections import Counter

import numpy as np
import pytest
import torch

from hundredfold.methods.execution.parts import Modules
from hundredfold.methods.execution.session import Session
from hundredfold.methods.selective.memory import HashedGrams, Memory, ProductKeys
from hundredfold.methods.tools import ngram_tables
from hundredfold.methods.tools.ngram_tables import NgramTables
from hundredfold.methods.views import Batch
from hundredfold.replication.models.gru import GruLM
from tests.conformance import TARGETS, TOKENS, Training, network

VOCABULARY, ORDER, DISCOUNT = 3, 2, 0.75
WINDOWS = torch.randint(0, VOCABULARY, (4, 7), generator=torch.Generator().manual_seed(1))
INPUTS, NEXT = WINDOWS[:, :-1].contiguous(), WINDOWS[:, 1:].contiguous()


def kneser_ney(position, left_out=None):
    """Interpolated Kneser-Ney by the book: distribution [V] after one position, one occurrence left out or none."""
    grams = [Counter() for _ in range(ORDER + 1)]
    for n, j in torch.cartesian_prod(torch.arange(len(INPUTS)), torch.arange(INPUTS.shape[1])).tolist():
        history = [VOCABULARY] * ORDER + INPUTS[n, : j + 1].tolist()
        for k in range(ORDER + 1):
            grams[k][(*history[len(history) - k :], int(NEXT[n, j]))] += (n, j) != left_out
    counts = [Counter(gram[1:] for gram, seen in grams[k + 1].items() if seen) for k in range(ORDER)] + [grams[ORDER]]
    history = [VOCABULARY] * ORDER + INPUTS[position[0], : position[1] + 1].tolist()
    p = [1 / VOCABULARY] * VOCABULARY
    for k in range(ORDER + 1):
        found = [counts[k][(*history[len(history) - k :], token)] for token in range(VOCABULARY)]
        if total := sum(found):
            rest = DISCOUNT * sum(c > 0 for c in found) / total
            p = [max(c - DISCOUNT, 0) / total + rest * q for c, q in zip(found, p, strict=True)]
    return p


POSITIONS = [(n, j) for n in range(len(INPUTS)) for j in range(INPUTS.shape[1])]


@pytest.mark.parametrize("dense_entries", [0, 2**19], ids=["sorted", "matrix"])
def test_tables_are_interpolated_kneser_ney(dense_entries, monkeypatch):
    monkeypatch.setattr(ngram_tables, "DENSE_ENTRIES", dense_entries)
    tables = NgramTables(INPUTS, NEXT, VOCABULARY, ORDER, DISCOUNT)
    expected = torch.tensor([kneser_ney(position) for position in POSITIONS])
    torch.testing.assert_close(tables.log_probabilities(INPUTS)[0].exp(), expected)


@pytest.mark.parametrize("dense_entries", [0, 2**19], ids=["sorted", "matrix"])
def test_leaving_one_out_is_counting_without_that_occurrence(dense_entries, monkeypatch):
    monkeypatch.setattr(ngram_tables, "DENSE_ENTRIES", dense_entries)
    tables = NgramTables(INPUTS, NEXT, VOCABULARY, ORDER, DISCOUNT)
    expected = torch.tensor([kneser_ney(position, left_out=position) for position in POSITIONS])
    torch.testing.assert_close(tables.log_probabilities(INPUTS, NEXT)[0].exp(), expected)


def test_probabilities_of_unseen_windows_add_up_to_one():
    tables = NgramTables(TOKENS[:, :-1], TOKENS[:, 1:], 8, 3, 0.9)
    log_p, known = tables.log_probabilities(torch.randint(0, 8, (5, 9), generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(45))
    assert known.min() >= 0 and known.max() <= 3


def test_an_order_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="order=12: too long for a vocabulary of 256"):
        NgramTables(INPUTS, NEXT, 256, 12, 0.9)


def test_product_keys_find_what_a_search_of_all_pairs_finds():
    torch.manual_seed(0)
    layer, h = ProductKeys(width=8, keys=6, heads=2, top=3), torch.randn(2, 5, 8)
    query = layer.query(h.view(10, 8)).view(10, 2, 2, 4)
    torch.testing.assert_close(query.flatten(1).mean(0), torch.zeros(16), atol=1e-6, rtol=0)
    expected = torch.zeros(10, 8)
    for t in range(10):
        for head in range(2):
            first, second = (layer.halves[head, half] @ query[t, head, half] for half in (0, 1))
            scores = (first[:, None] + second[None, :]).flatten()
            best = scores.topk(3)
            expected[t] += best.values.softmax(0) @ layer.values.weight[best.indices]
    torch.testing.assert_close(layer(h), h + expected.view_as(h))


def test_hashed_rows_depend_on_the_whole_gram_and_on_nothing_else():
    torch.manual_seed(0)
    grams = HashedGrams(order=3, rows=997, dim=4, width=4)
    a, b = torch.tensor([[5, 1, 2, 3]]), torch.tensor([[6, 1, 2, 3]])
    same = torch.isclose(grams(a), grams(b)).all(-1)[0]
    assert same.tolist() == [False, False, False, True]  # the last position knows 3 tokens only


@pytest.mark.parametrize("kind", ["hashed", "product_keys"])
def test_the_optimizer_touches_only_rows_that_were_looked_up(kind):
    training = Training(Memory(kind=kind, order=3, rows=512, keys=24, top=2, heads=1))
    (table,) = training.session.part(Modules).sparse_optimizer.param_groups[0]["params"]
    before, touched = table.detach().clone(), torch.zeros(len(table), dtype=torch.bool)

    def look(t):
        changed = (table.detach() != before).any(1)
        assert changed.any() and not changed.all()
        touched.logical_or_(changed)

    training.run(2, each=look)
    state = training.session.part(Modules).sparse_optimizer.state[table]
    assert not state["exp_avg_sq"][~touched].any()
    assert all(p is not table for p in training.session.dense_parameters())


def test_the_tables_work_is_charged():
    training = Training(Memory(order=3))
    built = training.session.selection_flops
    training.run(1)
    assert built == 2 * 256 * 7 * 4 and training.session.selection_flops - built == 2 * 32 * 7 * 8 * 4


def test_tables_do_not_memorise_what_is_random():
    losses = {}
    for kind in ("counted", "hashed"):
        training = Training(Memory(kind=kind, order=3, rows=64)).run()
        training.model.eval()
        losses[kind] = float(training.session.context.loss(training.model, training.inputs, training.targets, "mean"))
    assert losses["counted"] < 2.2 and losses["hashed"] < 2.2  # the logarithm of 8 is 2.08: neither memorises


def test_what_is_no_language_model_is_refused():
    model = network()
    with pytest.raises(ValueError, match="memory: joins language models"):
        Session(model, Memory(), torch.optim.SGD(model.parameters()), total_steps=1, training=Batch(TOKENS, TARGETS))


@pytest.mark.parametrize("options", [{"kind": "nothing"}, {"discount": 1.5}, {"order": 1}, {"top": 65}])
def test_bad_options_are_answered_with_the_value(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name}={value}"):
        Memory(**options)


def test_mixed_tables_add_what_follows_elsewhere_in_the_text():
    training = Training(Memory(kind="mixed"))
    head = training.model.lm_head
    assert head.left_out.shape == (*training.inputs.shape, 8)
    sums = head.left_out.float().exp().sum(-1)
    torch.testing.assert_close(sums, torch.ones(training.inputs.shape), atol=2e-2, rtol=0)
    assert training.session.selection_flops == head.mixer.cost().executed > 0
    ids = torch.tensor([3, 0])
    training.session.backward(training.inputs[ids], training.targets[ids], ids)
    training.model.eval()
    with torch.no_grad():
        logits = training.model(training.inputs[:1])
    hidden = logits[0] - torch.from_numpy(head.mixer.log_probabilities(training.inputs[0].numpy(), 1)).float()
    assert hidden.abs().max() < 5  # what the network adds


def test_mixed_tables_need_the_rows_of_a_batch():
    training = Training(Memory(kind="mixed"))
    with pytest.raises(ValueError, match="leaves out the rows of the batch"):
        training.session.backward(training.inputs[:2], training.targets[:2])


def test_averaged_tables_leave_the_training_alone_and_are_half_of_the_answer():
    training = Training(Memory(kind="averaged")).run(3)
    head, tokens = training.model.lm_head, training.inputs[:1]
    assert training.session.selection_flops == head.mixer.cost().executed > 0
    with torch.no_grad():
        own, both = training.model.train()(tokens)[0].clone(), training.model.eval()(tokens)[0].exp()
    tables = torch.from_numpy(np.exp(head.mixer.log_probabilities(tokens[0].numpy(), 1)))
    torch.testing.assert_close(both.double(), (own.softmax(-1).double() + tables) / 2, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["mixed", "averaged"])
def test_mixed_tables_are_saved_with_the_network(kind):
    first, second = Training(Memory(kind=kind)), Training(Memory(kind=kind))
    first.model.lm_head.mixer.arrays()["chance"][:] = 0.25
    second.model.load_state_dict(first.model.state_dict())
    assert (second.model.lm_head.mixer.parts.network.states.chance == 0.25).all()


@pytest.mark.parametrize("kind", ["mixed", "averaged"])
def test_mixed_tables_know_the_pieces_before_where_a_network_reads_on(kind):
    model = GruLM(8, 4, 6, 1, 0)
    batch = Batch(TOKENS[:, :-1], TOKENS[:, 1:].contiguous())
    Session(model, Memory(kind=kind), torch.optim.SGD(model.parameters()), total_steps=1, training=batch)
    model.eval()
    text = TOKENS[:, :-1].flatten()[None, :40]
    with torch.no_grad():
        whole = model(text)
        for _ in range(2):  # the second reading knows nothing of the first
            with model.reading():
                pieces = torch.cat([model(text[:, :17]), model(text[:, 17:])], 1)
            torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)
        alone = model(text[:, 17:])
    assert (alone - whole[:, 17:]).abs().max() > 1e-3
