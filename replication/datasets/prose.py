"""Eleven megabytes of English prose: ten times tiny Shakespeare, one author's voice after another."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets._corpus import Corpus


@dataclass(frozen=True)
class Prose(Corpus):
    """An Anarchist FAQ, version 15.3: 10,995,404 bytes of training text, 100,000 each of validation and test.

    The pages of the Debian package `anarchism` 15.3-3 as UTF-8 text in their order, white space tidied. It is not
    downloaded; what is read is checked against its SHA-256.
    Source: An Anarchist FAQ, McKay et al.
    """

    license: ClassVar[str] = "GPL-2"
    source: ClassVar[str] = "https://packages.debian.org/anarchism"
    splits: ClassVar[str] = "10,995,404 / 100,000 / 100,000 bytes"
    file: ClassVar[str] = "texts/faq.txt"
    digest: ClassVar[str] = "sha256:97bebbea1919cee0aa4c575b5f9a2b130ffb28f2c44678a42694644df7e6bfd1"
    how: ClassVar[str] = "make it from the pages of the Debian package anarchism 15.3-3"
