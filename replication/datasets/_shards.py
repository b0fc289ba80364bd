"""Turns text files into files of tokens, a block of text at a time, so that an interrupted preparation goes on."""

import itertools
import json
import os
from pathlib import Path

import numpy as np

from hundredfold.replication.datasets import _bpe
from hundredfold.replication.datasets._files import atomic, file_digest

COMMAND = "hundredfold data token_shards --from FILE..."
PARTS = {"train": 0.98, "validation": 0.99, "test": 1.0}  # where each part of a block ends
BLOCK_BYTES = 32 << 20


def prepare(files, folder, vocabulary=None, progress=lambda done, total: None):
    """Make `train.bin`, `validation.bin`, `test.bin` and `tokens.json` in a folder.

    Every block of 32 MB of text gives its first 98 % to training, the next 1 % to validation and the last 1 % to test.
    What is done lies in `*.part` and is named in `journal.json`; the same call goes on from there.

    Args:
        files: text files, in the order of their tokens.
        vocabulary: byte-pair tokens learned from the first file; None for bytes.
        progress: called with (bytes done, bytes in all).
    Raises:
        ValueError: a file is missing, the disk is full, or the folder holds the preparation of other text.
    """
    files = [Path(file) for file in files]
    for file in files:
        if not file.is_file():
            raise ValueError(f"--from {file}: there is no such file; name text files")
    if vocabulary is not None:
        _bpe.check(vocabulary)
    plan = {"files": [[file.name, file.stat().st_size] for file in files], "vocabulary": vocabulary or 256}
    if (folder / "tokens.json").exists():
        raise ValueError(f"{folder}: is prepared already; delete it to prepare it anew")
    journal = _journal(folder, plan)
    tokenizer = _bpe.learned(files[0], vocabulary, folder / "tokenizer.json") if vocabulary else None
    total = sum(size for _, size in plan["files"])
    while journal["file"] < len(files):
        _block(files[journal["file"]], folder, journal, tokenizer)
        before = sum(size for _, size in plan["files"][: journal["file"]])
        progress(before + journal["offset"], total)
    _finish(folder, plan)


def _journal(folder, plan):
    """What an earlier call has done: file and offset reached, and the bytes of each part up to there."""
    path = folder / "journal.json"
    if not path.exists():
        return {"plan": plan, "file": 0, "offset": 0, "bytes": dict.fromkeys(PARTS, 0)}
    journal = json.loads(path.read_text())
    if journal["plan"] != plan:
        raise ValueError(f"{folder}: holds the unfinished preparation of other text; delete it first")
    return journal


def _block(file, folder, journal, tokenizer):
    """Append the tokens of the next block of a file to the parts, and then say so in the journal."""
    with open(file, "rb") as source:
        source.seek(journal["offset"])
        block = source.read(BLOCK_BYTES + 4)
    block = block[: _character(block, BLOCK_BYTES)]
    cuts = [0, *(_character(block, int(len(block) * end)) for end in PARTS.values())]
    for part, (start, stop) in zip(PARTS, itertools.pairwise(cuts), strict=True):
        text = block[start:stop]
        tokens = _bpe.encode(tokenizer, text.decode(errors="replace")) if tokenizer else np.frombuffer(text, np.uint8)
        journal["bytes"][part] += _append(folder / f"{part}.bin.part", journal["bytes"][part], tokens.astype("<u2"))
    journal["offset"] += len(block)
    if not block or journal["offset"] >= file.stat().st_size:
        journal["file"], journal["offset"] = journal["file"] + 1, 0
    with atomic(folder / "journal.json") as temporary:
        temporary.write_text(json.dumps(journal))


def _character(text, at):
    """Return the first position from `at` on where a UTF-8 character begins, or the end."""
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return min(at, len(text))


def _append(path, start, tokens):
    """Write tokens at byte `start`, over whatever an interrupted call left there; returns their bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "r+b" if path.exists() else "wb") as file:
            file.truncate(start)
            file.seek(start)
            file.write(tokens.tobytes())
    except OSError as error:
        if path.exists():
            os.truncate(path, start)
        raise ValueError(f"{path}: cannot be written ({error.strerror}); make room and call again to go on") from None
    return tokens.nbytes


def _finish(folder, plan):
    """Give the parts their names, and then write what they are: the file whose presence says that all is done."""
    facts = plan | {"parts": {}}
    for part in PARTS:
        path = folder / f"{part}.bin"
        if (folder / f"{part}.bin.part").exists():
            os.replace(folder / f"{part}.bin.part", path)
        facts["parts"][part] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    with atomic(folder / "tokens.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1))
    (folder / "journal.json").unlink()
