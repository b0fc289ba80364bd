"""The validation and test texts of WikiText-2 as a small task of their own: not WikiText-2, whose training it lacks."""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets import _wikitext
from hundredfold.replication.datasets._bpe import BYTES
from hundredfold.replication.datasets._files import Download, file_digest
from hundredfold.replication.datasets._text import Text, mapped
from hundredfold.replication.datasets.wikitext2 import WikiText2


@dataclass(frozen=True)
class WikiTextTransfer(Text):
    """Next-byte prediction on 1.1 MB of Wikipedia: a text for transfer, no result of which is one of WikiText-2.

    Training is the first 90 % of WikiText-2's validation text, validation its last 10 %, test WikiText-2's test text.
    Source: Merity et al. 2016, arXiv:1609.07843.
    """

    license: ClassVar[str] = _wikitext.LICENSE
    source: ClassVar[str] = _wikitext.SOURCE
    splits: ClassVar[str] = "90 % / 10 % of 1,121,681 / 1,256,449 bytes"
    downloads: ClassVar[tuple[Download, ...]] = WikiText2.downloads
    folder: ClassVar[str] = "wikitext-2"
    unit: ClassVar[str] = "bytes"

    @classmethod
    def present(cls):
        return _wikitext.has_parts(cls, ("valid", "test"))

    def read_training(self):
        text = mapped(_wikitext.part_path(self, "valid"), BYTES)
        cut = int(len(text) * 0.9)
        return self.windows(text[:cut]), self.windows(text[cut:], self.eval_windows)

    def read_test(self):
        return self.windows(mapped(_wikitext.part_path(self, "test"), BYTES), self.eval_windows)

    def fingerprint(self):
        """The first 12 hex digits of SHA-256 of the SHA-256 digests of the two files."""
        digests = [file_digest(_wikitext.part_path(self, part)) for part in ("valid", "test")]
        return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]
