"""The compiled model against one written from its equations in plain Python, which also counts its operations."""

import math
from dataclasses import asdict

import numpy as np
import pytest

from hundredfold.methods.tools.mixing.alphabet import Alphabet
from hundredfold.methods.tools.mixing.maps import KNOTS, LEVELS, REACH, STEPS
from hundredfold.methods.tools.mixing.model import Mixing
from hundredfold.methods.tools.mixing.options import MixingOptions, WindowOptions

ALPHABET = Alphabet(  # five symbols: two letters of which one is the other's capital, another letter, a space, a line
    np.array([0, 0, 2, 3, 4]), np.array([True, True, True, False, False]), np.array([False] * 4 + [True])
)
BLOCK, RATE = 7, 0.05
SMALL = {"table_bits": 16, "match_bits": 20}
PASSES = {"all parts": 2, "a second pass": 2}
ARMS = {
    "all parts": {"match": (5, 3), "window": 20, "confident": True},
    "plain counts": {"counts": "plain"},
    "one layer, one gate, no maps": {"layers": 1, "gates": ("",), "finals": ()},
    "counts that forget": {"forget": 2},
    "a window over some contexts": {"window": 9, "window_most": 3, "window_contexts": ("s1", "w0 s1")},
    "sparse contexts and columns": {"contexts": ("s2-3", "c/2 s1", "w0-1"), "gates": ("last2 line", "word depth")},
    "as chosen for windows": asdict(WindowOptions(window=30, **SMALL)),
    "a second pass": {},
}


def text(length=260, seed=0):
    """Symbols with some order in them: a short phrase, now and then disturbed."""
    rng = np.random.default_rng(seed)
    phrase = rng.integers(0, 5, 23)
    tokens = np.resize(phrase, length)
    return np.where(rng.random(length) < 0.2, rng.integers(0, 5, length), tokens)


class Number:
    """A float that counts the operations made with it."""

    operations = 0

    def __init__(self, value):
        self.value = float(value)

    def _make(self, other, function):
        Number.operations += 1
        return Number(function(self.value, float(other)))

    def __float__(self):
        return self.value

    def __add__(self, other):
        return self._make(other, lambda a, b: a + b)

    def __sub__(self, other):
        return self._make(other, lambda a, b: a - b)

    def __rsub__(self, other):
        return self._make(other, lambda a, b: b - a)

    def __mul__(self, other):
        return self._make(other, lambda a, b: a * b)

    def __truediv__(self, other):
        return self._make(other, lambda a, b: a / b)

    __radd__, __rmul__ = __add__, __mul__


def clip(number, low, high):
    return Number(min(max(float(number), low), high))


def squash(x):
    """1 / (1 + e^-x) as exp2 by parts: a polynomial of seven terms and a power of two."""
    y = x * 1.4426950408889634
    whole = math.floor(float(y + 0.5))
    rest = y - whole
    power = Number(0)
    for n in range(6, -1, -1):
        power = power * rest + math.log(2) ** n / math.factorial(n)
    power = power * 2.0**whole
    return power / (1 + power)


def stretch(p):
    cell = int(float(p * STEPS + 0.5)) / STEPS
    return Number(math.log(cell / (1 - cell)))


def level(count):
    return max(index for index, least in enumerate(LEVELS) if least <= count)


class Reference:
    """Dictionaries instead of tables: no hashes, no rows, no limits."""

    def __init__(self, model, padding, passes):
        self.passes = passes
        self.options, self.tree, self.padding = model.options, model.parts.tree, padding
        self.counts, self.runs = {}, {}
        self.states, self.weights, self.upper, self.maps = {}, {}, {}, {}

    def fit(self, tokens):
        """The losses of all passes."""
        losses, block = [], BLOCK
        self.text = list(map(int, tokens))
        for number in range(self.passes):
            for first in range(0, len(tokens), block):
                stop = min(first + block, len(tokens))
                if number:
                    self.count(first, stop, -1)
                hidden = range(first, first + block if number else first)
                losses += [self.position_loss(t, self.match(t, hidden), True) for t in range(first, stop)]
                self.count(first, stop, 1)
                for t in range(first, stop):
                    for length in self.options.match:
                        if t >= length:
                            self.runs[tuple(self.text[t - length : t])] = t
        return losses

    def keys(self, t):
        """The contexts of a position, one after the other."""
        words, word, column = [], [], 0
        for symbol in self.text[:t]:
            if ALPHABET.word[symbol]:
                word.append(int(ALPHABET.fold[symbol]))
            elif word:
                words.append(tuple(word))
                word = []
            column = 0 if ALPHABET.line[symbol] else column + 1
        last_words = [tuple(word), *reversed(words), (), ()]
        back = self.text[:t][::-1] + [None] * 8
        keys = []
        for context in self.options.contexts:
            key = [context]
            for part in context.split():
                if part[0] == "c":
                    key.append(min(column, 63) // int(part[2:] or 1))
                    continue
                low, _, high = part[1:].partition("-")
                span = range(int(low), int(high or low) + 1)
                key += [back[n - 1] if part[0] == "s" else last_words[n] for n in span]
            keys.append(tuple(key))
        features = {"last": back[0], "last2": back[1], "word": min(len(word), 15), "line": min(column, 63)}
        return keys, features

    def count(self, first, stop, step):
        for t in range(first, stop):
            for key in self.keys(t)[0]:
                for code in self.path(self.text[t]):
                    pair = self.counts.setdefault((key, code >> 1), [0, 0])
                    pair[code & 1] += step
                    surplus = pair[1 - (code & 1)] - self.options.forget
                    if self.options.forget and surplus > 0 and step > 0:
                        pair[1 - (code & 1)] -= (surplus + 1) // 2

    def path(self, symbol):
        return self.tree.decision[self.tree.start[symbol] : self.tree.start[symbol + 1]].tolist()

    def match(self, t, hidden):
        """The symbol expected and the length of the match."""
        for least in sorted(self.options.match, reverse=True):
            q = self.runs.get(tuple(self.text[t - least : t])) if t >= least else None
            if q is not None and q not in hidden:
                length = 0
                while length < min(31, q, t) and self.text[q - 1 - length] == self.text[t - 1 - length]:
                    length += 1
                return self.text[q], length
        return None, 0

    def local(self, t, keys):
        """Counts of the window for each of its contexts and nodes."""
        options, found = self.options, []
        if not options.window:
            return found
        for name in options.contexts if options.window_contexts is None else options.window_contexts:
            place, pairs, seen = options.contexts.index(name), {}, 0
            for q in range(t - 1, max(t - options.window, 0) - 1, -1):
                if seen < options.window_most and self.keys(q)[0][place] == keys[place]:
                    seen += 1
                    for code in self.path(self.text[q]):
                        pairs.setdefault(code >> 1, [0, 0])[code & 1] += 1
            found.append(pairs)
        return found

    def position_loss(self, t, match, learning):
        keys, features = self.keys(t)
        local, loss = self.local(t, keys), 0.0
        for depth, code in enumerate(self.path(self.text[t])):
            loss += self.decision(code >> 1, code & 1, depth, keys, features, local, match, RATE)
        return loss

    def state(self, key, first):
        return self.states.setdefault(key, [Number(min(max(first, 1 / 4096), 1 - 1 / 4096)), 0])

    def inputs(self, node, keys, local, expected, length):
        """The inputs, the states that they came from, and the order."""
        x, used, order = [], [], 0
        pairs = [self.counts.get((key, node), (0, 0)) for key in keys] + [found.get(node, (0, 0)) for found in local]
        for place, (zeros, ones) in enumerate(pairs):
            if place < len(keys) and zeros + ones and "s1" == keys[place][0][:2] and " " not in keys[place][0]:
                order = max(order, int(keys[place][0][3:] or 1))
            if self.options.counts == "plain":
                x.append(Number(math.log(ones + 0.4)) - Number(math.log(zeros + 0.4)))
                continue
            least = LEVELS[level(zeros)], LEVELS[level(ones)]
            state = self.state((place, *least), (least[1] + 0.4) / (sum(least) + 0.8))
            used.append(state)
            x.append(stretch(state[0]))
            if self.options.confident:
                x.append((state[0] - 0.5) * 4)
        if self.options.match:
            x.append(Number(0))
            if expected is not None:
                value = stretch(self.state(("match", length), 0.75)[0])
                x[-1] = value if expected else Number(-value.value)
        return x, used, order

    def decision(self, node, bit, depth, keys, features, local, match, rate):
        options = self.options
        path = [] if match[0] is None else self.path(match[0])
        expected = path[depth] & 1 if depth < len(path) and path[depth] >> 1 == node else None
        x, used, order = self.inputs(node, keys, local, expected, match[1])
        x.append(Number(0.3))
        x += [Number(0) for _ in range(-len(x) % self.padding)]
        known = features | {"node": node, "depth": min(depth, 15), "order": order}
        known["match"] = (match[1], expected) if expected is not None else None
        rows = [(gate, *(known[name] for name in gate.split())) for gate in options.gates]
        weights = [self.weights.setdefault((k, row), [Number(0) for _ in x]) for k, row in enumerate(rows)]
        base = sum(x[1:], x[0]) * options.start
        dots, mean = [], Number(0)
        for row in weights:
            products = [w * value for w, value in zip(row, x, strict=True)]
            dots.append(clip(sum(products[1:], products[0]) + base, -12, 12))
            mean = mean + dots[-1]
        chances = [squash(dot) for dot in dots]
        mean = mean / len(dots)
        upper = self.upper.setdefault(0, [Number(0) for _ in dots])
        if options.layers == 2:
            for v, dot in zip(upper, dots, strict=True):
                mean = mean + v * dot
            mean = clip(mean, -12, 12)
        p = squash(mean)
        curves = [
            self.maps.setdefault((final, *(known[name] for name in final.split())), [Number(0)] * KNOTS)
            for final in options.finals
        ]
        chance = float(self.corrected(p, mean, curves))
        chance = min(max(chance, 1e-5), 1 - 1e-5)
        self.learn(x, used, weights, dots, chances, upper, p, mean, curves, bit, rate)
        if expected is not None:
            self.teach(self.state(("match", match[1]), 0.75), float(expected == bit))
        return -math.log(chance if bit else 1 - chance)

    def knot(self, dot):
        edge = REACH - 0.01
        x = (clip(dot, -edge, edge) + REACH) * ((KNOTS - 1) / (2 * REACH))
        low = int(float(x))
        return low, x - low

    def squashed(self, knot):
        return Number(1 / (1 + math.exp(REACH - knot * 2 * REACH / (KNOTS - 1))))

    def corrected(self, p, dot, curves):
        if not curves:
            return p
        low, part = self.knot(dot)
        mean = Number(0)
        for curve in curves:
            left, right = curve[low] + self.squashed(low), curve[low + 1] + self.squashed(low + 1)
            mean = mean + (left + (right - left) * part)
        return p + self.options.final_share * (mean / len(curves) - p)

    def teach(self, state, target):
        p = state[0] + (target - state[0]) / (Number(state[1]) + 1.5)
        state[0] = clip(p, 1 / 4096, 1 - 1 / 4096)
        state[1] = min(state[1] + 1, self.options.limit)

    def learn(self, x, used, weights, dots, chances, upper, p, mean, curves, bit, rate):
        options = self.options
        if options.layers == 2:
            step = (bit - p) * options.upper_rate
            upper[:] = [v + step * dot for v, dot in zip(upper, dots, strict=True)]
        for row, chance in zip(weights, chances, strict=True):
            step = (bit - chance) * rate
            row[:] = [w + step * value for w, value in zip(row, x, strict=True)]
        for state in used:
            self.teach(state, bit)
        low, part = self.knot(mean)
        for curve in curves:
            left, right = curve[low], curve[low + 1]
            curve[low] = left + (bit - self.squashed(low) - left) * options.final_rate * (1 - part)
            curve[low + 1] = right + (bit - self.squashed(low + 1) - right) * options.final_rate * part


def fitted(arm, tokens):
    """The model of an arm, and its losses in all passes."""
    model = Mixing(ALPHABET, MixingOptions(**SMALL | ARMS[arm]))
    model.attach(tokens)
    steps = PASSES.get(arm, 1) * -(-len(tokens) // BLOCK)
    return model, np.concatenate([model.advance(BLOCK, RATE) for _ in range(steps)])


@pytest.mark.parametrize("arm", ARMS)
def test_compiled_losses_are_those_of_the_equations(arm):
    tokens = text()
    model, losses = fitted(arm, tokens)
    expected = np.array(Reference(model, 8, PASSES.get(arm, 1)).fit(tokens))
    # A probability at the edge of a cell of the stretch table may fall to either side in single precision.
    assert np.median(np.abs(losses - expected)) < 1e-5
    assert np.abs(losses - expected).max() < 0.02


@pytest.mark.parametrize("arm", ARMS)
def test_counted_flops_are_those_of_the_equations(arm):
    tokens = text(60)
    model, _ = fitted(arm, tokens)
    for padding, counted in ((8, model.cost().executed), (1, model.cost().ideal)):
        reference = Reference(model, padding, PASSES.get(arm, 1))
        Number.operations = 0
        reference.fit(tokens)
        assert Number.operations == counted
