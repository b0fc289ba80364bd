"""Fetches and prepares data sets, and lists them: `hundredfold data`."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from hundredfold.replication.datasets import _download, _shards
from hundredfold.replication.datasets._files import data_root
from hundredfold.replication.datasets.base import Dataset
from hundredfold.replication.registry import create, discover


def obtain(names, texts=(), vocabulary=None):
    """Fetch what is missing of data sets, check it, decode it where that is needed; list all of them without a name.

    Args:
        texts: files to make token_shards of, with so many byte-pair tokens of vocabulary; None for bytes.
    Raises:
        ValueError: an unknown name, or a file that is not what it should be.
    """
    console = Console()
    registry = discover("hundredfold.replication.datasets", Dataset)
    if texts and list(names) != ["token_shards"]:
        raise ValueError("--from: makes token_shards only; name that data set and no other")
    if not names:
        return _list(console, registry)
    datasets = [create("dataset", registry, name) for name in names]
    if texts:
        _prepare(texts, vocabulary)
    for dataset in datasets:
        _obtain(console, dataset)


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
