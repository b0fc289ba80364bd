"""Forty megabytes of a dictionary: text with little of a thread from one entry to the next."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets._corpus import Corpus


@dataclass(frozen=True)
class Dictionary(Corpus):
    """The Collaborative International Dictionary of English: 39,749,891 bytes of training text, 100,000 each held out.

    The 126,246 entries of the Debian package `dict-gcide` 0.48.5 as ASCII, duplicates dropped, in a shuffled order, so
    that what is held out is like the rest. It is not downloaded; what is read is checked against its SHA-256.
    Source: GCIDE, from Webster's Revised Unabridged Dictionary of 1913.
    """

    license: ClassVar[str] = "GPL-2 or later"
    source: ClassVar[str] = "https://packages.debian.org/dict-gcide"
    splits: ClassVar[str] = "39,749,891 / 100,000 / 100,000 bytes"
    file: ClassVar[str] = "texts/dictionary.txt"
    digest: ClassVar[str] = "sha256:eda3bb39a18b7f2c0d43ed77674c5f7d24e68a0053ce1058023fcb729ade6916"
    how: ClassVar[str] = "make it from the entries of the Debian package dict-gcide 0.48.5"
