"""Text of any size as tokens in files: prepared once, memory-mapped, in the form of nanoGPT's OpenWebText."""

import json
from dataclasses import dataclass
from typing import ClassVar

from hundredfold.methods.options import Count
from hundredfold.replication.datasets import _bpe, _shards
from hundredfold.replication.datasets._files import data_root, found
from hundredfold.replication.datasets._text import Text, mapped


@dataclass(frozen=True)
class TokenShards(Text):
    """Next-token prediction on your own text: 98 % training, 1 % validation, 1 % test, nats per token.

    `hundredfold data token_shards --from FILE...` makes the folder, and goes on where it stopped.
    `train.bin`, `validation.bin` and `test.bin` are tokens as little-endian uint16, `tokens.json` says what they are.
    Source: the form of https://github.com/karpathy/nanoGPT, data/openwebtext.
    """

    context: Count = 1024  # tokens a window
    eval_windows: Count | None = 1024  # validation and test windows kept, evenly spaced; null keeps all
    folder: str = "token_shards"  # below the data root

    license: ClassVar[str] = "that of the text"
    source: ClassVar[str] = "https://github.com/karpathy/nanoGPT"
    splits: ClassVar[str] = "98 % / 1 % / 1 % of the text"
    resident: ClassVar[bool] = False

    @classmethod
    def present(cls):
        return (data_root() / cls.folder / "tokens.json").exists()

    @property
    def num_tokens(self):
        return self._facts()["vocabulary"]

    def read_training(self):
        return self.windows(self._tokens("train")), self.windows(self._tokens("validation"), self.eval_windows)

    def read_test(self):
        return self.windows(self._tokens("test"), self.eval_windows)

    def raw(self):
        """What `tokens.json` says, the SHA-256 of every file when it was made included."""
        return json.dumps(self._facts(), sort_keys=True).encode()

    def _facts(self):
        path = self._found("tokens.json")
        try:
            facts = json.loads(path.read_text())
            facts["vocabulary"], facts["parts"]["train"]["bytes"]
        except (json.JSONDecodeError, KeyError, TypeError):
            raise ValueError(f"dataset=token_shards: {path} is damaged; prepare the tokens again") from None
        return facts

    def _tokens(self, part):
        path, facts = self._found(f"{part}.bin"), self._facts()["parts"][part]
        if path.stat().st_size != facts["bytes"]:
            raise ValueError(
                f"dataset=token_shards: {path} has {path.stat().st_size} bytes, expected {facts['bytes']}; "
                f"prepare the tokens again"
            )
        return mapped(path, _bpe.TOKENS)

    def _found(self, name):
        how = f"make it by `{_shards.COMMAND}`"
        return found(self.name(), f"{self.folder}/{name}", how)
