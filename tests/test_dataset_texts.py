"""Texts read as bytes or learned tokens; token files made block by block, stopped and resumed."""

import hashlib
import json
import os

import pytest
import torch

from hundredfold.replication import tokenizer
from hundredfold.replication.datasets import _shards, _wikitext
from hundredfold.replication.datasets.shakespeare import Shakespeare
from hundredfold.replication.datasets.shakespeare_folds import ShakespeareFolds
from hundredfold.replication.datasets.token_shards import TokenShards
from hundredfold.replication.datasets.wikitext2 import WikiText2
from hundredfold.replication.datasets.wikitext103 import WikiText103
from hundredfold.replication.datasets.wikitext_transfer import WikiTextTransfer

TEXT = "".join(f"line {n} says naïve things about {n % 7} cats and {n % 5} dogs\n" for n in range(2000))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with a text in the place of WikiText-2, its digests patched."""
    monkeypatch.setenv("HUNDREDFOLD_DATA", str(tmp_path))
    (tmp_path / "wikitext-2").mkdir()
    for part, text in (("train", TEXT), ("valid", TEXT[:9000]), ("test", TEXT[5000:9000])):
        path = tmp_path / "wikitext-2" / (f"wiki.{part}.tokens" if part == "train" else f"{part}.txt")
        path.write_text(text, encoding="utf-8")
        if part != "train":
            monkeypatch.setitem(_wikitext.DIGESTS, part, hashlib.sha256(path.read_bytes()).hexdigest())
    return tmp_path


def read(split):
    """The tokens of a split in their order."""
    return [*split.inputs.flatten().tolist(), split.targets[-1, -1].item()]


def test_parts_of_wikitext_are_bytes_of_its_files_under_either_name(root):
    data = WikiText2(context=32)
    train, validation = data.training()
    for split, text in ((train, TEXT), (validation, TEXT[:9000]), (data.test(), TEXT[5000:9000])):
        tokens = bytes(read(split))
        assert text.encode().startswith(tokens) and len(text.encode()) - len(tokens) < 33
    assert train.inputs.dtype == torch.uint8 and data.prepare(*train)[1].dtype == torch.long


def test_training_of_wikitext_does_not_need_the_test_file(root):
    (root / "wikitext-2" / "test.txt").unlink()
    WikiText2().training()
    with pytest.raises(ValueError, match="wiki.test.tokens is missing"):
        WikiText2().test()


def test_a_missing_training_part_is_one_sentence_and_no_transfer_text(root):
    (root / "wikitext-2" / "wiki.train.tokens").unlink()
    with pytest.raises(ValueError, match="dataset=wikitext2: .*wiki.train.tokens is missing; .*data wikitext2`"):
        WikiText2().training()
    with pytest.raises(ValueError, match="wikitext-103/wiki.train.tokens is missing"):
        WikiText103().training()
    assert not WikiText2.present() and WikiTextTransfer.present()


def test_the_transfer_text_is_the_validation_text_in_two_and_the_test_text(root):
    data = WikiTextTransfer(context=16)
    text = TEXT[:9000].encode()
    train, validation = data.training()
    cut = int(len(text) * 0.9)
    for split, part in ((train, text[:cut]), (validation, text[cut:]), (data.test(), TEXT[5000:9000].encode())):
        assert part.startswith(bytes(read(split))) and len(part) - len(read(split)) < 17


def test_a_changed_validation_text_is_one_sentence(root):
    (root / "wikitext-2" / "valid.txt").write_text("= Other =")
    for data in (WikiText2(), WikiTextTransfer()):
        with pytest.raises(ValueError, match="valid.txt is not the original file .SHA256 differs.; delete it"):
            data.training()


def test_a_learned_vocabulary_spells_the_same_text_in_fewer_tokens(root):
    data = WikiText2(context=16, vocabulary=400)
    train, validation = data.training()
    assert data.spec().num_classes == 400 and len(read(train)) < 0.5 * len(TEXT)
    learned = tokenizer.load(root / "wikitext-2" / "wiki.train.tokens.bpe-400.json")
    for split, text in ((train, TEXT), (validation, TEXT[:9000]), (data.test(), TEXT[5000:9000])):
        assert text.startswith(learned.decode(read(split)))


def test_a_vocabulary_is_learned_from_the_training_part_and_once(root, monkeypatch):
    first = WikiText2(context=16, vocabulary=300).training()[0]
    kept = {path.name: path.read_bytes() for path in (root / "wikitext-2").glob("*bpe*")}
    assert sorted(kept) == ["wiki.train.tokens.bpe-300.bin", "wiki.train.tokens.bpe-300.json"]
    for name in kept:
        (root / "wikitext-2" / name).unlink()
    WikiText2(context=16, vocabulary=300).training()
    assert kept == {path.name: path.read_bytes() for path in (root / "wikitext-2").glob("*bpe*")}
    monkeypatch.setattr(tokenizer, "train", None)
    again = WikiText2(context=16, vocabulary=300).training()[0]
    assert torch.equal(first.inputs, again.inputs)


@pytest.mark.parametrize("options", [{"vocabulary": 256}, {"vocabulary": 70_000}, {"context": 0}, {"context": 10**5}])
def test_an_option_out_of_range_is_named_with_what_is_allowed(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}: expected "):
        WikiText2(**options)


def test_a_text_shorter_than_a_window_is_one_sentence(root):
    with pytest.raises(ValueError, match="context=20000: a part of dataset=wikitext2 has only 9[0-9]{3} tokens"):
        WikiText2(context=20_000).training()


def test_a_missing_or_changed_shakespeare_is_one_sentence(root):
    with pytest.raises(ValueError, match="input.txt is missing; set HUNDREDFOLD_DATA .*`hundredfold data shakespeare`"):
        Shakespeare().training()
    (root / "tinyshakespeare").mkdir()
    (root / "tinyshakespeare" / "input.txt").write_text("To be")
    with pytest.raises(ValueError, match="input.txt is not the original file .SHA256 differs.; delete it"):
        Shakespeare().training()


# ---- token shards ---------------------------------------------------------------------------------------------------
@pytest.fixture
def sources(root, monkeypatch):
    monkeypatch.setattr(_shards, "BLOCK_BYTES", 10_000)
    files = [root / "a.txt", root / "b.txt"]
    files[0].write_text(TEXT, encoding="utf-8")
    files[1].write_text("ünï" * 9000, encoding="utf-8")  # without a line's end
    return files


def parts(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_token_of_the_text_is_in_one_part(root, sources):
    _shards.prepare(sources, root / "token_shards")
    facts = json.loads((root / "token_shards" / "tokens.json").read_text())
    total = sum(path.stat().st_size for path in sources)
    sizes = [facts["parts"][part]["bytes"] // 2 for part in ("train", "validation", "test")]
    assert sum(sizes) == total and sizes[0] == pytest.approx(0.98 * total, rel=0.01)
    assert sorted(parts(root / "token_shards")) == ["test.bin", "tokens.json", "train.bin", "validation.bin"]
    data = TokenShards(context=8)
    train, validation = data.training()
    text = bytes(read(train))
    assert text[:9000] == TEXT.encode()[:9000] and data.spec().num_classes == 256
    assert len(validation.inputs) > 10 and len(TokenShards(context=8, eval_windows=5).test().inputs) == 5
    assert bytes(read(data.test())).decode()  # no character is cut in two


@pytest.mark.parametrize("vocabulary", [None, 300])
@pytest.mark.parametrize("stop", [1, 5, 14])
def test_a_stopped_preparation_goes_on_to_the_same_files(root, sources, vocabulary, stop, monkeypatch):
    _shards.prepare(sources, root / "whole", vocabulary)
    blocks, real = [], _shards._append

    def killed(path, start, tokens):
        if len(blocks) == 3 * stop + 1:  # after the first of the three parts of a block
            raise KeyboardInterrupt
        blocks.append(path)
        return real(path, start, tokens)

    monkeypatch.setattr(_shards, "_append", killed)
    with pytest.raises(KeyboardInterrupt):
        _shards.prepare(sources, root / "token_shards", vocabulary)
    assert not (root / "token_shards" / "tokens.json").exists()
    monkeypatch.setattr(_shards, "_append", real)
    seen = []
    _shards.prepare(sources, root / "token_shards", vocabulary, lambda done, total: seen.append(done))
    assert len(seen) < len(TEXT) / 10_000 + 6 - stop and parts(root / "token_shards") == parts(root / "whole")


def test_a_full_disk_is_one_sentence_and_can_be_gone_on_from(root, sources, monkeypatch):
    real, opened = open, []

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

    def opening(path, *args, **kwargs):
        file = real(path, *args, **kwargs)
        if str(path).endswith("train.bin.part"):
            opened.append(path)
            return Full(file) if len(opened) == 3 else file
        return file

    monkeypatch.setattr(_shards, "open", opening, raising=False)
    with pytest.raises(ValueError, match="train.bin.part: cannot be written .No space left on device.; make room"):
        _shards.prepare(sources, root / "token_shards")
    journal = json.loads((root / "token_shards" / "journal.json").read_text())
    assert os.path.getsize(root / "token_shards" / "train.bin.part") == journal["bytes"]["train"]
    _shards.prepare(sources, root / "token_shards")
    _shards.prepare(sources, root / "whole")
    assert parts(root / "token_shards") == parts(root / "whole")


def test_mistakes_in_preparing_are_one_sentence(root, sources):
    with pytest.raises(ValueError, match="dataset=token_shards: .*tokens.json is missing; .*`hundredfold data"):
        TokenShards().spec()
    with pytest.raises(ValueError, match="--from .*none.txt: there is no such file"):
        _shards.prepare([root / "none.txt"], root / "token_shards")
    _shards.prepare(sources, root / "token_shards")
    with pytest.raises(ValueError, match="is prepared already"):
        _shards.prepare(sources, root / "token_shards")
    train = root / "token_shards" / "train.bin"
    train.write_bytes(train.read_bytes()[:-2])
    with pytest.raises(ValueError, match="train.bin has .* bytes, expected .*; prepare the tokens again"):
        TokenShards().training()
    (root / "token_shards" / "tokens.json").write_text("{")
    with pytest.raises(ValueError, match="tokens.json is damaged; prepare the tokens again"):
        TokenShards().training()


def test_folds_of_shakespeare_hold_out_other_tenths_and_the_last_is_the_usual_split():
    folds = [ShakespeareFolds(context=100, fold=fold) for fold in range(5)]
    if not folds[0].present():
        pytest.skip("needs tiny Shakespeare")
    usual, last = Shakespeare(context=100), folds[4]
    for mine, theirs in zip((*last.training(), last.test()), (*usual.training(), usual.test()), strict=True):
        assert torch.equal(mine.inputs, theirs.inputs) and torch.equal(mine.targets, theirs.targets)
    whole = usual.training()[0].inputs.numel()
    tests = [fold.test().inputs for fold in folds]
    for fold, test in zip(folds, tests, strict=True):
        train, validation = fold.training()
        assert abs(train.inputs.numel() - whole) < 300 and abs(validation.inputs.numel() - test.numel()) < 300
        text = "".join(map(chr, train.inputs.flatten().tolist()))
        assert "".join(map(chr, test[5].tolist())) not in text
    assert len({tuple(test[0].tolist()) for test in tests}) == 5
