import math

import numpy as np
import pytest

from hundredfold.methods.tools.mixing.alphabet import characters, plain
from hundredfold.methods.tools.mixing.forms import parse
from hundredfold.methods.tools.mixing.model import Mixing, compile_kernels
from hundredfold.methods.tools.mixing.options import MixingOptions
from hundredfold.methods.tools.mixing.passes import run, skip
from hundredfold.methods.tools.mixing.tree import GROUP_NODES, huffman

TEXT = "the cat sat on the mat.\nThe dog sat on the log.\nA cat's a cat, and that's that.\n"
LETTERS = sorted(set(TEXT))
SMALL = {"table_bits": 16, "match_bits": 12}
ARMS = {
    "default": {},
    "window": {"window": 12},
    "match": {"match": (4,)},
    "all": {"window": 12, "match": (6, 3), "confident": True},
    "plain": {"counts": "plain", "layers": 1, "finals": ()},
}
BLOCK, PASSES = 50, {"all": 2}
arms = pytest.mark.parametrize("arm", ARMS)


def tokens_of(text):
    return np.array([LETTERS.index(letter) for letter in text])


def noisy(length=900, seed=0):
    """The text over and over, a tenth of it replaced."""
    rng = np.random.default_rng(seed)
    tokens = np.resize(tokens_of(TEXT), length)
    return np.where(rng.random(length) < 0.1, rng.integers(0, len(LETTERS), length), tokens)


def trained(arm, length=900):
    model = Mixing(characters(LETTERS), MixingOptions(**SMALL, **ARMS[arm]))
    model.fit(noisy(length), BLOCK, PASSES.get(arm, 1))
    return model


def same(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)


@arms
def test_a_later_symbol_never_changes_an_earlier_loss(arm):
    tokens = noisy(200, seed=1)
    changed = tokens.copy()
    changed[120] = (changed[120] + 1) % len(LETTERS)
    for adaptive in (False, True):
        first, second = (trained(arm).score(t, adaptive=adaptive) for t in (tokens, changed))
        assert np.array_equal(first[:120], second[:120])
        assert not np.array_equal(first[120:], second[120:])


@arms
def test_the_distribution_sums_to_one_and_is_what_is_scored(arm):
    model, rng = trained(arm), np.random.default_rng(2)
    for tokens in (noisy(40, seed=3), *(rng.integers(0, len(LETTERS), size) for size in (1, 5, 30))):
        logs = model.log_probabilities(tokens)
        assert np.exp(logs).sum(axis=1) == pytest.approx(np.ones(len(tokens) + 1), abs=1e-6)
        assert -logs[np.arange(len(tokens)), tokens] == pytest.approx(model.score(tokens), abs=1e-6)


def test_distributions_of_several_contexts_are_those_of_each():
    model, contexts = trained("window"), noisy(36, seed=4).reshape(3, 12)
    both = model.distribution(contexts)
    assert both.shape == (3, len(LETTERS))
    assert np.array_equal(both[1], model.distribution(contexts[1]))


@arms
def test_frozen_scoring_changes_nothing_and_repeats(arm):
    model, tokens = trained(arm), noisy(300, seed=5)
    before = model.state_dict()
    first = model.score(tokens)
    model.distribution(tokens[:20])
    after = model.state_dict()
    for name in before.keys() - {"tally"}:
        assert np.array_equal(before[name], after[name]), name
    assert np.array_equal(first, model.score(tokens))


@arms
def test_adaptive_scoring_scores_before_it_learns(arm):
    """Else the chances that it gives to each symbol that could come next would sum to more than one."""
    state, total = trained(arm).state_dict(), 0.0
    for symbol in range(len(LETTERS)):
        model = Mixing(characters(LETTERS), MixingOptions(**SMALL, **ARMS[arm]))
        model.load_state_dict(state)
        total += np.exp(-model.score(np.array([symbol]), adaptive=True)[0])
    assert total == pytest.approx(1, abs=1e-6)


def test_adaptive_scoring_learns_what_frozen_scoring_does_not():
    rng = np.random.default_rng(7)
    strange = np.resize(rng.integers(0, len(LETTERS), 31), 600)
    frozen, adaptive = (trained("default").score(strange, adaptive=mode)[300:].mean() for mode in (False, True))
    assert adaptive < 0.2 * frozen


def test_a_window_is_a_function_of_its_own_symbols_alone():
    """Contexts look back at most 6 symbols, words and columns aside; nothing before them and the window is seen."""
    options = MixingOptions(contexts=("s1", "s1-3", "s1-6"), gates=("order node", "last node"), window=20, **SMALL)
    model = Mixing(len(LETTERS), options)
    model.fit(noisy())
    tokens = noisy(200, seed=8)
    changed = tokens.copy()
    changed[:100] = changed[:100][::-1]
    first, second = model.score(tokens), model.score(changed)
    assert np.array_equal(first[100 + 26 :], second[100 + 26 :])
    assert not np.array_equal(first[100 : 100 + 26], second[100 : 100 + 26])


def test_a_window_helps_where_the_text_repeats_itself():
    rng = np.random.default_rng(9)
    strange = np.resize(rng.integers(0, len(LETTERS), 10), 400)
    plain_loss, local_loss = (trained(arm).score(strange)[100:].mean() for arm in ("default", "window"))
    assert local_loss < plain_loss - 0.5


@arms
def test_a_run_resumed_midway_is_bitwise_the_same(arm):
    tokens, options, passes = noisy(), MixingOptions(**SMALL, **ARMS[arm]), PASSES.get(arm, 1)
    whole, resumed = (Mixing(characters(LETTERS), options) for _ in range(2))
    whole.attach(tokens)
    steps = passes * len(tokens) // BLOCK
    for step in range(steps):
        if step == steps // 2:
            state = whole.state_dict()
        whole.advance(BLOCK, 0.02)
    resumed.load_state_dict(state)
    resumed.attach(tokens)
    for _ in range(steps // 2, steps):
        resumed.advance(BLOCK, 0.02)
    assert same(whole.state_dict(), resumed.state_dict())


def test_a_state_of_other_options_is_refused():
    model = Mixing(characters(LETTERS), MixingOptions(**SMALL | {"table_bits": 12}))
    with pytest.raises(ValueError, match="slots: shape .* use the same options"):
        model.load_state_dict(trained("default").state_dict())


def test_it_learns_a_text_far_below_the_entropy_of_its_letters():
    counts = np.bincount(noisy())
    share = counts[counts > 0] / counts.sum()
    entropy = -(share * np.log(share)).sum()
    assert trained("default").score(tokens_of(TEXT)).mean() < 0.25 * entropy


def test_too_small_a_table_costs_accuracy_but_does_not_break():
    small = Mixing(characters(LETTERS), MixingOptions(**SMALL | {"table_bits": 8}))
    small.fit(noisy())
    tokens = tokens_of(TEXT)
    assert trained("default").score(tokens).mean() < small.score(tokens).mean() < math.log(len(LETTERS))


def test_a_vocabulary_of_fifty_thousand_has_a_distribution():
    vocabulary, rng = 50_257, np.random.default_rng(10)
    model = Mixing(vocabulary, MixingOptions(table_bits=16, row_bits=12))
    tokens = np.minimum(rng.zipf(1.3, 3000) - 1, vocabulary - 1)
    model.fit(tokens)
    distribution = model.distribution(tokens[:10])
    assert distribution.shape == (vocabulary,)
    assert distribution.sum() == pytest.approx(1, abs=1e-6)
    assert model.score(tokens[:2000]).mean() < 0.7 * math.log(vocabulary)


def test_a_second_pass_leaves_the_counts_as_the_first_did():
    once, twice = (Mixing(characters(LETTERS), MixingOptions(**SMALL)) for _ in range(2))
    tokens = noisy(400)  # few enough that no count is halved
    once.fit(tokens, BLOCK)
    twice.fit(tokens, BLOCK, passes=2)
    assert np.array_equal(once.state_dict()["slots"], twice.state_dict()["slots"])


def test_compiling_twice_takes_no_time():
    compile_kernels()
    assert compile_kernels() < 5


def test_no_path_of_the_tree_begins_with_another():
    tree = huffman(np.array([5, 1, 1, 0, 9, 30, 2]))
    paths = [tuple(tree.decision[a:b]) for a, b in zip(tree.start[:-1], tree.start[1:], strict=True)]
    for one in paths:
        assert sum(other[: len(one)] == one for other in paths) == 1
        assert list(tree.depth[np.array(one) >> 1]) == list(range(len(one)))
    assert sum(2.0 ** -len(path) for path in paths) == 1


def test_the_tree_has_the_least_mean_depth():
    counts = np.array([7, 3, 2, 1, 1]) - 1  # one is added
    tree = huffman(counts)
    depths = np.diff(tree.start)
    assert (depths * (counts + 1)).sum() == 7 * 1 + 3 * 2 + 2 * 3 + 1 * 4 + 1 * 4


def test_a_group_of_nodes_is_a_connected_part_of_the_tree():
    tree = huffman(np.random.default_rng(0).integers(0, 1000, 300))
    sizes = np.bincount(tree.group)
    assert sizes.max() == GROUP_NODES and len(sizes) == tree.num_groups
    for a, b in zip(tree.start[:-1], tree.start[1:], strict=True):
        groups = tree.group[tree.decision[a:b] >> 1]
        places = tree.place[tree.decision[a:b] >> 1]
        entered = np.append(True, groups[1:] != groups[:-1])
        assert (places[entered] == 0).all() and (places[~entered] > 0).all()
        assert entered.sum() == len(set(groups)) <= tree.most_groups
    assert len(set(zip(tree.group, tree.place, strict=True))) == tree.num_nodes


def test_one_symbol_is_no_vocabulary():
    with pytest.raises(ValueError, match="vocabulary=1: expected 2 symbols or more"):
        huffman(np.array([3]))


def test_capitals_count_as_small_letters_within_words():
    alphabet = characters(["\n", "A", "a", "B", "'"])
    assert alphabet.fold.tolist() == [0, 2, 2, 3, 4]
    assert alphabet.word.tolist() == [False, True, True, True, True]
    assert alphabet.line.tolist() == [True, False, False, False, False]
    assert not plain(3).word.any()


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ("x3", "'x3' is no part of a context; write s1-4"),
        ("s0", "'s0' reaches from 0 to 0"),
        ("s3-2", "'s3-2' reaches from 3 to 2"),
        ("s1-65", "'s1-65' reaches from 1 to 65"),
        ("w3", "'w3' reaches from 3 to 3"),
    ],
)
def test_a_context_that_cannot_be_is_refused(context, message):
    with pytest.raises(ValueError, match=message):
        parse((context,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gates": ("last next",)}, "gates: 'next' is no feature; choose among last"),
        ({"finals": ("mood",)}, "finals: 'mood' is no feature"),
        ({"window_contexts": ("s9",)}, "window_contexts: 's9' is not among contexts"),
        ({"counts": "plain", "confident": True}, "confident=True: needs probabilities"),
        ({"contexts": ()}, "expected at least one of each"),
        ({"layers": 3}, "layers=3: expected a number of layers in"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Mixing(3, MixingOptions(**options)).fit(np.arange(9) % 3)


def test_tokens_outside_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match="tokens from 0 to 3: expected 0 to 2"):
        Mixing(3).fit(np.arange(4))


def test_learning_without_a_text_is_refused():
    with pytest.raises(ValueError, match="nothing to learn"):
        Mixing(3).advance(1)


def test_compiling_once_is_enough_for_every_model():
    """Else the time of compiling would lie within the measurement."""
    compile_kernels()
    known = len(run.signatures), len(skip.signatures)
    trained("all").score(noisy(50), adaptive=True)
    assert (len(run.signatures), len(skip.signatures)) == known


def test_what_is_left_out_is_not_looked_up_and_comes_back():
    """A block of symbols that occur nowhere else: left out, nothing of it is known."""
    letters = np.random.default_rng(0).permutation(np.tile(np.arange(8), 25))
    tokens = np.concatenate([letters % 4, 4 + letters % 4, letters % 4])
    model = Mixing(8, MixingOptions(**SMALL))
    model.fit(tokens, 200)
    before = model.state_dict()
    blocks = list(model.left_out(200))
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before.keys() - {"tally"})
    logs = np.concatenate(blocks)
    assert np.exp(logs).sum(axis=1) == pytest.approx(np.ones(600), abs=1e-6)
    own = -logs[np.arange(600), tokens]
    known = model.score(tokens)
    assert own[200:400].mean() > known[200:400].mean() + 0.5
    assert own[:200].mean() < own[200:400].mean() - 0.5
