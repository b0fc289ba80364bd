"""The tokenizer keeps every text, learns the same vocabulary from the same texts and reads GPT-2's files."""

import json

import numpy as np
import pytest

from hundredfold.replication import tokenizer

TEXTS = ["the cat sat on the mat, the dog sat on the log", "a cat and a dog and a cat"] * 3
ODD = "naïve\tcafé \u4f60\u597d \U0001f600\r\n\x00 <|endoftext|>"


@pytest.fixture(scope="module")
def learned():
    return tokenizer.train(TEXTS, vocabulary=280)


@pytest.mark.parametrize("text", ["", "the cat", ODD])
def test_a_text_comes_back_from_its_tokens(learned, text):
    assert learned.decode(learned.encode_to_array(text)) == text


def test_learned_pairs_make_familiar_texts_shorter_than_their_bytes(learned):
    tokens = learned.encode_to_array("the cat")
    assert len(tokens) < len("the cat") and tokens.dtype == np.uint16
    assert 256 < tokens.max() < learned.vocabulary <= 280


def test_equal_texts_give_equal_vocabularies_and_files(learned, tmp_path):
    learned.save(tmp_path / "one.json")
    tokenizer.train(iter(TEXTS), vocabulary=280).save(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_saved_tokenizer_gives_the_same_tokens(learned, tmp_path):
    learned.save(tmp_path / "tokenizer.json")
    for path in (tmp_path / "tokenizer.json", tmp_path):
        again = tokenizer.load(path)
        assert np.array_equal(again.encode_to_array(ODD), learned.encode_to_array(ODD))


def test_gpt2_s_two_files_are_read(learned, tmp_path):
    learned.save(tmp_path / "all.json")
    model = json.loads((tmp_path / "all.json").read_text())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    again = tokenizer.load(tmp_path)
    assert np.array_equal(again.encode_to_array(ODD), learned.encode_to_array(ODD))


def test_large_vocabularies_take_wider_numbers():
    class Encoder:
        def get_vocab_size(self):
            return (1 << 16) + 1

    assert tokenizer.Tokenizer(Encoder()).dtype == np.uint32


def test_mistakes_are_answered(tmp_path):
    with pytest.raises(ValueError, match="vocabulary=255: expected at least 256 tokens"):
        tokenizer.train(TEXTS, vocabulary=255)
    with pytest.raises(ValueError, match="no such file; give a tokenizer's JSON file"):
        tokenizer.load(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read"):
        tokenizer.load(tmp_path / "broken.json")
