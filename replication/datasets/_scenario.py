"""Which examples are held out or kept, and which labels are wrong: the same with every version of every library.

Nothing here draws from a random generator whose stream a library may change: an order is that of SHA-256 digests.
"""

import hashlib

import numpy as np
import torch


def shares(counts, total):
    """Split `total` in proportion to `counts`, by largest remainder, ties to the lower class; sums to `total`."""
    exact = counts * total / counts.sum()
    parts = np.floor(exact).astype(int)
    parts[np.argsort(parts - exact, kind="stable")[: total - parts.sum()]] += 1
    return parts


def digests(items):
    """SHA-256 of each of some bytes: as good as a random order."""
    return np.array([hashlib.sha256(item).digest() for item in items], dtype="S32")


def draws(seed, purpose, count):
    """Return whole numbers that look random, uint64 [count], of one purpose under one seed."""
    data = hashlib.shake_256(f"{seed}/{purpose}".encode()).digest(8 * count)
    return np.frombuffer(data, "<u8")


def first_of_classes(classes, keys, counts):
    """Take the first examples of each class in the order of their keys, ties by row.

    Args:
        classes: int [N].
        keys: sortable [N].
        counts: int [C]: examples taken of each class.
    Returns:
        Rows, int [sum of counts], ascending.
    """
    order = np.lexsort((keys, classes))
    starts = np.searchsorted(classes[order], np.arange(len(counts)))
    taken = [order[start : start + count] for start, count in zip(starts, counts, strict=True)]
    return np.sort(np.concatenate(taken))


def held_out(classes, keys, count):
    """Divide examples into those kept and `count` held out, stratified by class; rows of both, ascending."""
    out = first_of_classes(classes, keys, shares(np.bincount(classes), count))
    return np.setdiff1d(np.arange(len(classes)), out, assume_unique=True), out


def kept(targets, fraction, imbalance, seed):
    """Return the training rows that a fraction and an imbalance leave, long [n] ascending; None where all stay.

    Class c of C keeps n[c] * imbalance ** (-c / (C - 1)) of its n[c] examples (Cui et al. 2019, arXiv:1901.05555, long
    tail), and then the fraction. Texts are one class.
    """
    if fraction == 1 and imbalance == 1:
        return None
    classes = targets.numpy() if targets.ndim == 1 else np.zeros(len(targets), int)
    counts = np.bincount(classes)
    counts = np.floor(counts * imbalance ** (-np.arange(len(counts)) / max(1, len(counts) - 1)) + 0.5).astype(int)
    counts = shares(counts, round(fraction * counts.sum()))
    if not counts.all():
        raise ValueError(f"fraction={fraction} imbalance={imbalance}: leaves a class without examples; keep more")
    return torch.from_numpy(first_of_classes(classes, draws(seed, "kept", len(classes)), counts))


def noisy(classes, num_classes, fraction, seed):
    """Replace round(fraction * N) labels by one of the other classes, all equally likely (symmetric noise).

    Args:
        classes: long [N].
    """
    chosen = np.argsort(draws(seed, "noisy", len(classes)), kind="stable")[: round(fraction * len(classes))]
    shift = 1 + draws(seed, "wrong", len(chosen)) % np.uint64(num_classes - 1)
    labels = classes.numpy().copy()
    labels[chosen] = (labels[chosen] + shift.astype(np.int64)) % num_classes
    return torch.from_numpy(labels)
