"""WikiText: verified articles of Wikipedia, as published at the word level, rare words replaced by <unk>."""

import functools
import hashlib
from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets import _bpe
from hundredfold.replication.datasets._files import data_root, file_digest, found
from hundredfold.replication.datasets._text import Text, mapped

# Part -> names its file has, the authors' first; equal contents.
NAMES = {part: (f"wiki.{part}.tokens", f"{part}.txt") for part in ("train", "valid", "test")}
# SHA-256 of the validation and the test part, which WikiText-2 and WikiText-103 share.
DIGESTS = {
    "valid": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    "test": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
}
LICENSE = "CC BY-SA 3.0 / GFDL"
SOURCE = "https://wikitext.smerity.com"


@dataclass(frozen=True)
class WikiText(Text):
    """The published parts as bytes, memory-mapped, or as tokens of a vocabulary that is made from the training part.

    A loss is in nats per byte, or per token of the vocabulary: neither is the word-level figure of the literature.
    """

    vocabulary: int | None = None  # byte-pair tokens, learned from the training part; null reads bytes

    folder: ClassVar[str]  # below the data root

    def __post_init__(self):
        super().__post_init__()
        if self.vocabulary is not None:
            _bpe.check(self.vocabulary)

    @classmethod
    def present(cls):
        return has_parts(cls, NAMES)

    @property
    def num_tokens(self):
        return self.vocabulary or 256

    def read_training(self):
        return self.windows(self._tokens("train")), self.windows(self._tokens("valid"), self.eval_windows)

    def read_test(self):
        return self.windows(self._tokens("test"), self.eval_windows)

    def fingerprint(self):
        """The first 12 hex digits of SHA-256 of the SHA-256 digests of the three files."""
        return _fingerprint(tuple(part_path(self, part) for part in NAMES), data_root())

    def _tokens(self, part):
        path = part_path(self, part)
        if self.vocabulary is None:
            return mapped(path, _bpe.BYTES)
        return _bpe.tokens(path, part_path(self, "train"), self.vocabulary, keep=part == "train")


def has_parts(dataset, parts):
    """Whether each of some parts lies in the data root, under either name."""
    return all(any((data_root() / dataset.folder / name).exists() for name in NAMES[part]) for part in parts)


def part_path(dataset, part):
    """Return the path of a part's file: "train", "valid" or "test".

    Raises:
        ValueError: it is missing, or the validation or test part is not the original one.
    """
    names = [f"{dataset.folder}/{name}" for name in NAMES[part]]
    relative = next((name for name in names if (data_root() / name).exists()), names[0])
    path = found(dataset.name(), relative)
    if part in DIGESTS and file_digest(path) != DIGESTS[part]:
        raise ValueError(
            f"dataset={dataset.name()}: {path} is not the original file (SHA256 differs); delete it and fetch it again "
            f"by `hundredfold data {dataset.name()}`"
        )
    return path


@functools.lru_cache(maxsize=4)
def _fingerprint(paths, root):
    return hashlib.sha256("".join(file_digest(path) for path in paths).encode()).hexdigest()[:12]
