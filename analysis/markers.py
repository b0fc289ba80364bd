"""Puts generated text into a page between two markers, as in `<!-- methods: begin -->` ... `<!-- methods: end -->`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def insert(page: str, name: str, text: str) -> str:
    """A page with this text between the markers of a name.

    Raises:
        ValueError: a marker is missing.
    """
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ValueError(f"the page lacks the markers {first} and {last}; put them where the text belongs")
    return f"{before}{first}\n{text}\n{last}{after}"


def rewrite(path: Path, name: str, text: str) -> None:
    """Put this text between the markers of a file.

    Raises:
        ValueError: a marker is missing.
        OSError: the file cannot be read or written.
    """
    path.write_text(insert(path.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def fill(arguments: list[str], name: str, defaults: tuple[str, str], text: Callable[[Path], str]) -> int:
    """Put `text` of a source between the markers of a page; both may be given as arguments.

    Returns:
        exit code 2 if the source or the markers are missing.
    """
    source, target = (Path(a) for a in (*arguments, *defaults[len(arguments) :]))
    try:
        rewrite(target, name, text(source))
    except (OSError, ValueError, KeyError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    return 0
