"""WikiText-103: a hundred million words of Wikipedia."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets import _wikitext
from hundredfold.replication.datasets._files import Download


@dataclass(frozen=True)
class WikiText103(_wikitext.WikiText):
    """Next-byte (or next-token) prediction on Wikipedia, 540 MB training, 1.1 MB validation and 1.3 MB test text.

    The same validation and test text as WikiText-2.
    Source: Merity et al. 2016, arXiv:1609.07843.
    """

    license: ClassVar[str] = _wikitext.LICENSE
    source: ClassVar[str] = _wikitext.SOURCE
    splits: ClassVar[str] = "103,227,021 / 217,646 / 245,569 words"
    folder: ClassVar[str] = "wikitext-103"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://wikitext.smerity.com/wikitext-103-v1.zip",
            "wikitext-103-v1.zip",
            "md5:9ddaacaf6af0710eda8c456decff7832",
            190_229_076,
            tuple(f"wikitext-103/{names[0]}" for names in _wikitext.NAMES.values()),
        ),
    )
