"""Making an untrained model from its options and a text's frequencies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hundredfold.methods.tools.mixing import forms, gates, maps, match, network, tables
from hundredfold.methods.tools.mixing.alphabet import Alphabet
from hundredfold.methods.tools.mixing.lanes import aligned
from hundredfold.methods.tools.mixing.options import MixingOptions
from hundredfold.methods.tools.mixing.passes import Parts
from hundredfold.methods.tools.mixing.tree import Tree, huffman

MATCH_IS_RIGHT = 0.75  # before anything is learned


class Sizes(NamedTuple):
    """How many there are of each part.

    Attributes:
        contexts, local: contexts counted over the training text, and within the window.
        inputs: of the first layer, padding not included.
        gates, finals: rows of weights and final maps that a decision uses.
    """

    contexts: int
    local: int
    inputs: int
    gates: int
    finals: int


def sizes(options: MixingOptions) -> Sizes:
    """The sizes that the options ask for."""
    local = len(window_contexts(options)) if options.window else 0
    tables = len(options.contexts) + local
    inputs = tables * (2 if options.confident else 1) + bool(options.match) + 1
    return Sizes(len(options.contexts), local, inputs, len(options.gates), len(options.finals))


def window_contexts(options: MixingOptions) -> list[int]:
    """The contexts that are counted in the window, by their place."""
    names = options.contexts if options.window_contexts is None else options.window_contexts
    return [options.contexts.index(name) for name in names]


def build(alphabet: Alphabet, options: MixingOptions, frequencies: np.ndarray) -> Parts:
    """An untrained model.

    Args:
        frequencies: whole numbers [V]; the tree suits them.
    """
    tree = huffman(frequencies)
    read = forms.parse(options.contexts)
    runs = match.matches(options.match, options.match_bits)
    counted = tables.tables(options.table_bits, tree.num_groups)
    settings = network.Settings(
        start=np.float32(options.start),
        share=np.float32(options.final_share),
        limit=np.float32(options.limit),
        upper_rate=np.float32(options.upper_rate),
        final_rate=np.float32(options.final_rate),
        plain=options.counts == "plain",
        confident=options.confident,
        layered=options.layers == 2,
        forget=options.forget,
    )
    return Parts(tree, alphabet, read, counted, runs, _network(options, tree, read), settings)


def _network(options: MixingOptions, tree: Tree, read: forms.Contexts) -> network.Network:
    """Mixers and maps of zeros: all weights are offsets from their start."""
    size = sizes(options)
    values = dict(zip(forms.FEATURES, forms.feature_sizes(tree.num_symbols), strict=True))
    values |= {"node": tree.num_nodes, "depth": gates.DEEPEST + 1, "match": match.BUCKETS}
    values["order"] = int(read.order.max(initial=0)) + 1
    most = 1 << options.row_bits
    first = gates.parse(options.gates, values, most)
    second = gates.parse(("",), values, most)
    final = gates.parse(options.finals, values, most)
    states = maps.states(size.contexts + size.local + 1)
    states.chance[(size.contexts + size.local) * network.PAIRS :] = MATCH_IS_RIGHT
    return network.Network(
        gates.join(first, second, final),
        aligned((int(first.rows.sum()) * network.padded(size.inputs),), np.float32),
        np.zeros((1, size.gates), np.float32),
        aligned((int(final.rows.sum()), maps.KNOTS), np.float32),
        states,
    )
