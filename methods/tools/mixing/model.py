"""A language model of looked-up counts and gated linear mixers: no back-propagation, and little multiplication.

Legend: V symbols, T symbols of a text, P contexts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from hundredfold.methods.tools.mixing import contexts
from hundredfold.methods.tools.mixing.alphabet import Alphabet, plain
from hundredfold.methods.tools.mixing.build import build, sizes, window_contexts
from hundredfold.methods.tools.mixing.cost import Cost, total
from hundredfold.methods.tools.mixing.network import scratch
from hundredfold.methods.tools.mixing.options import MixingOptions
from hundredfold.methods.tools.mixing.passes import Plan, Work, chunk, run, skip
from hundredfold.methods.tools.mixing.tables import named
from hundredfold.methods.tools.mixing.tree import huffman
from hundredfold.methods.tools.mixing.window import window

CHUNK = 128  # positions looked up together: their slots, a line or two each, stay in a second-level cache
NOTHING = np.zeros(0, np.int64)
FROZEN = Plan(CHUNK, np.float32(0), False, False, False)
BLOCK, RATE, LAST_RATE = 16_384, 0.02, 0.002


class Mixing:
    """Counts what followed each context of a text, and learns how to mix the counts.

    Args:
        alphabet: of the vocabulary; its size where nothing is known of the symbols.

    Attributes:
        history: int64 [T]; the text that is learned.
        position: int64 [1]; symbols learned, all passes together.
        tally: int64 [4]; decisions predicted, those with a match, and both of those learned from.
        frequencies: int64 [V]; of the symbols. The tree follows from them.
    """

    def __init__(self, alphabet: Alphabet | int, options: MixingOptions | None = None):
        self.alphabet = plain(alphabet) if isinstance(alphabet, int) else alphabet
        self.options = options or MixingOptions()
        self.picked = np.array(window_contexts(self.options), np.int64)
        self.frequencies = np.zeros(self.alphabet.num_symbols, np.int64)
        self.parts = build(self.alphabet, self.options, self.frequencies)
        self.position, self.tally = np.zeros(1, np.int64), np.zeros(4, np.int64)
        self.history = NOTHING
        self._work: Work | None = None

    def fit(self, tokens: np.ndarray, block: int = BLOCK, passes: int = 1, rate: float = RATE) -> float:
        """Learn a text; returns the mean loss of the first pass in nats, scored before it was learned.

        Args:
            tokens: whole numbers below V, [T].
            block: symbols predicted before they are counted.
            passes: each but the first leaves the block's own occurrences out.
            rate: of the mixers; falls in a straight line to zero.
        """
        self.attach(tokens)
        count, losses = len(self.history), []
        steps = passes * -(-count // block)
        for step in range(steps):
            losses.append(self.advance(block, rate * (1 - step / steps)))
        return float(np.concatenate(losses)[:count].mean())

    def attach(self, tokens: np.ndarray) -> None:
        """Take a text as the one to learn; a model that has learned a part of it goes on from there."""
        self.history, self._work = self._checked(tokens), None

    def advance(self, symbols: int, rate: float = RATE) -> np.ndarray:
        """Learn the next symbols as one block, which ends at the end of a pass; returns their losses.

        Raises:
            ValueError: there is no text.
        """
        if not len(self.history):
            raise ValueError("nothing to learn: call attach(tokens) or fit(tokens) first")
        if self.position[0] == 0:
            self.frequencies[:] = np.bincount(self.history, minlength=len(self.frequencies))
            self.plant()
        passed, first = divmod(int(self.position[0]), len(self.history))
        if self._work is None or first == 0:
            self._work = self._room(CHUNK)
            skip(self.parts, self._work, self.history, 0, first)
        stop = min(first + symbols, len(self.history))
        plan = Plan(symbols, np.float32(rate), True, passed > 0, False)
        nats = self._run(self._work, plan, self.history, first, stop)
        self.position += stop - first
        return nats

    def score(
        self, tokens: np.ndarray, adaptive: bool = False, context: np.ndarray = NOTHING, rate: float = LAST_RATE
    ) -> np.ndarray:
        """The loss of every symbol in nats, float64 [T].

        Args:
            adaptive: read on from the text learned, and learn and count every symbol after it was scored. Otherwise
                nothing of the model changes.
            context: symbols before the first, which are not scored; not used with `adaptive`.
            rate: of the mixers, with `adaptive`.
        """
        tokens = self._checked(tokens)
        before = self.history if adaptive else self._checked(context)
        text = np.concatenate([before, tokens])
        plan = Plan(1, np.float32(rate), True, False, False) if adaptive else FROZEN
        if adaptive:
            self.attach(text)
        work = self._room(plan.block)
        skip(self.parts, work, text, 0, len(before))
        return self._run(work, plan, text, len(before), len(text))

    def log_probabilities(self, tokens: np.ndarray, first: int = 0) -> np.ndarray:
        """What comes after each of the first `first`, `first` + 1, ... T symbols: nats, float64 [T + 1 - first, V]."""
        text = np.append(self._checked(tokens), 0)
        ones = np.zeros((len(text) - first, self.parts.tree.num_nodes))
        work = self._room(1)
        skip(self.parts, work, text, 0, first)
        self._run(work, FROZEN._replace(every=True), text, first, len(text), ones)
        return self._logs(ones)

    def left_out(self, block: int = BLOCK) -> Iterator[np.ndarray]:
        """What comes at each position of the learned text, as if its block had not been counted: nats, [<= block, V].

        The counts are back in their tables afterwards.
        """
        work = self._room(CHUNK, every=True)
        for first in range(0, len(self.history), block):
            stop = min(first + block, len(self.history))
            ones = np.zeros((stop - first, self.parts.tree.num_nodes))
            plan = Plan(stop - first, np.float32(0), True, True, True)
            self._run(work, plan, self.history, first, stop, ones)
            yield self._logs(ones)

    def distribution(self, context: np.ndarray) -> np.ndarray:
        """The probability of every symbol after a context, float64 [V]; of each of several, [P, V] for [P, L]."""
        context = np.asarray(context, np.int64)
        if context.ndim == 2:
            return np.stack([self.distribution(row) for row in context])
        return np.exp(self.log_probabilities(context, len(context))[0])

    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything that a model needs to go on, as arrays; copies."""
        return {name: array.copy() for name, array in self.arrays().items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a state of a model of the same alphabet and options; `attach` the same text after it.

        Raises:
            ValueError: an array of another shape.
        """
        for name, array in self.arrays().items():
            if array.shape != state[name].shape:
                raise ValueError(f"{name}: shape {state[name].shape}, expected {array.shape}; use the same options")
            array[...] = state[name]
        self.plant()

    def plant(self) -> None:
        """Make the tree that suits `frequencies`; whoever changes them calls this."""
        tree = huffman(self.frequencies)
        self.parts = self.parts._replace(tree=tree, tables=named(self.parts.tables, tree.num_groups))
        self._work = None

    @property
    def num_bytes(self) -> int:
        """Bytes of all tables, mixers and maps."""
        network = self.parts.network
        learned = network.weights, network.upper, network.offsets, network.states.chance, network.states.seen
        return sum(array.nbytes for array in (self.parts.tables.slots, self.parts.matches.head, *learned))

    def cost(self) -> Cost:
        """FLOPs of all that was learned and scored so far."""
        return total(sizes(self.options), self.parts.settings, self.tally)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything that changes while a text is learned: the arrays themselves."""
        network = self.parts.network
        return {
            "slots": self.parts.tables.slots,
            "head": self.parts.matches.head,
            "weights": network.weights,
            "upper": network.upper,
            "offsets": network.offsets,
            "chance": network.states.chance,
            "seen": network.states.seen,
            "frequencies": self.frequencies,
            "position": self.position,
            "tally": self.tally,
        }

    def _logs(self, ones):
        tree = self.parts.tree
        node, bit = tree.decision >> 1, tree.decision & 1
        logs = np.log(np.where(bit, ones[:, node], 1 - ones[:, node]))
        return np.add.reduceat(logs, tree.start[:-1], axis=1)

    def _checked(self, tokens):
        tokens = np.ascontiguousarray(tokens, np.int64)
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < self.alphabet.num_symbols:
            limit = self.alphabet.num_symbols - 1
            raise ValueError(f"tokens from {tokens.min()} to {tokens.max()}: expected 0 to {limit}")
        return tokens

    def _room(self, positions, every=False):
        size, tree = sizes(self.options), self.parts.tree
        rows = tree.num_groups if positions == 1 or every else tree.most_groups
        return Work(
            chunk(positions, size.contexts, rows),
            scratch(size.contexts + size.local, size.inputs, size.gates, size.finals),
            window(self.options.window, self.options.window_most, self.picked),
            contexts.reader(),
            contexts.reader(),
            contexts.reader(),
        )

    def _run(self, work, plan, text, first, stop, ones=None):
        nats = np.zeros(stop - first)
        every = np.zeros((1, 1)) if ones is None else ones
        run(self.parts, work, plan, self.history, text, first, stop, nats, every, self.tally)
        return nats


def compile_kernels() -> float:
    """Compile all kernels, or read them from the disk; returns the seconds that this took."""
    begin = time.perf_counter()
    model = Mixing(3, MixingOptions(window=2, match=(2,), table_bits=8, match_bits=8))
    model.fit(np.arange(12) % 3, block=4, passes=2)
    model.score(np.arange(3))
    model.distribution(np.arange(2))
    return time.perf_counter() - begin
