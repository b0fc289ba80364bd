"""The random streams of a run: one for each purpose, so that none shifts another."""

import hashlib


def stream(seed: int, purpose: str, position: int = 0) -> int:
    """Seed of one purpose's own random stream, so that a method that draws more does not shift the others."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{position}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
