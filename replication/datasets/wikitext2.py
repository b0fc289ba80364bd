"""WikiText-2: two million words of Wikipedia."""

from dataclasses import dataclass
from typing import ClassVar

from hundredfold.replication.datasets import _wikitext
from hundredfold.replication.datasets._files import Download


@dataclass(frozen=True)
class WikiText2(_wikitext.WikiText):
    """Next-byte (or next-token) prediction on Wikipedia, 10.8 MB training, 1.1 MB validation and 1.3 MB test text.

    Source: Merity et al. 2016, arXiv:1609.07843.
    """

    license: ClassVar[str] = _wikitext.LICENSE
    source: ClassVar[str] = _wikitext.SOURCE
    splits: ClassVar[str] = "2,088,628 / 217,646 / 245,569 words"
    folder: ClassVar[str] = "wikitext-2"
    downloads: ClassVar[tuple[Download, ...]] = (
        Download(
            "https://wikitext.smerity.com/wikitext-2-v1.zip",
            "wikitext-2-v1.zip",
            "md5:542ccefacc6c27f945fb54453812b3cd",
            4_475_746,
            tuple(f"wikitext-2/{names[0]}" for names in _wikitext.NAMES.values()),
        ),
    )
