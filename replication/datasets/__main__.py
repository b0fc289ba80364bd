"""Fetches and prepares data sets, and lists them.

python -m replication.datasets --list
python -m replication.datasets mnist cifar10    fetch what is missing, check it, decode it where that is needed
python -m replication.datasets token_shards --from corpus/*.txt --vocabulary 8192
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from replication.datasets import _download, _shards
from replication.datasets._files import data_root
from replication.datasets.base import Dataset
from replication.registry import create, discover


def main(arguments=None):
    """Run the command; returns the exit code: 0, or 2 with one sentence on the standard error."""
    parser = argparse.ArgumentParser("python -m replication.datasets", description="Fetch, prepare and list data sets.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="data sets to fetch")
    parser.add_argument("--list", action="store_true", help="print every data set with licence, size and splits")
    parser.add_argument("--from", nargs="+", dest="files", metavar="FILE", help="text files to make token_shards of")
    parser.add_argument("--vocabulary", type=int, help="byte-pair tokens to learn for token_shards; bytes without it")
    options = parser.parse_args(arguments)
    console = Console()
    registry = discover("replication.datasets", Dataset)
    try:
        if options.list or not options.names:
            _list(console, registry)
            return 0
        if options.files and options.names != ["token_shards"]:
            raise ValueError("--from: makes token_shards only; name that data set and no other")
        if options.files:
            _prepare(options.files, options.vocabulary)
        for dataset in [create("dataset", registry, name) for name in options.names]:
            _obtain(console, dataset)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _list(console, registry):
    table = Table("name", "licence", "download", "training / validation / test", "present", title=str(data_root()))
    for name, cls in registry.items():
        size = f"{sum(item.size_bytes for item in cls.downloads) / 1e6:,.1f} MB" if cls.downloads else "none"
        table.add_row(name, cls.license, size, cls.splits, "yes" if cls.present() else "no")
    console.print(table)


def _obtain(console, dataset):
    """Fetch what is missing of a data set, and read it once: that checks it and decodes it where that is needed."""
    missing = [item for item in dataset.downloads if not dataset.present() and not item.present()]
    size = sum(item.size_bytes for item in missing) / 1e6
    console.print(f"{dataset.name()}: licence {dataset.license}; source {dataset.source}", soft_wrap=True)
    console.print(f"{dataset.name()}: {size:,.1f} MB to fetch to {data_root().resolve()}", soft_wrap=True)
    for item in missing:
        _download.fetch(item)
    counts = [len(split.targets) for split in (*dataset.training(), dataset.test())]
    console.print("{}: {:,} training, {:,} validation, {:,} test examples".format(dataset.name(), *counts))


def _prepare(files, vocabulary):
    with Progress(transient=True) as progress:
        task = progress.add_task("token_shards", total=None)
        _shards.prepare(
            [Path(file) for file in files],
            data_root() / "token_shards",
            vocabulary,
            lambda done, total: progress.update(task, completed=done, total=total),
        )


if __name__ == "__main__":
    sys.exit(main())
