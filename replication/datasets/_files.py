"""Files of data sets: where they lie, whether they are the original ones, and how new ones are written."""

import contextlib
import gzip
import hashlib
import os
import shutil
import uuid
import zlib
from pathlib import Path
from typing import NamedTuple


class Download(NamedTuple):
    """A file that a data set's authors, or its library, publish.

    Attributes:
        url: where it lies.
        path: below the data root.
        digest: "md5:..." or "sha256:..." of the whole file, as its publishers state it.
        size_bytes: of the download.
        holds: for an archive, the files or folders below the data root that unpacking it leaves; the archive then goes.
    """

    url: str
    path: str
    digest: str
    size_bytes: int
    holds: tuple[str, ...] = ()

    def present(self):
        """Whether the file, or all that the archive holds, lies below the data root."""
        return all((data_root() / path).exists() for path in self.holds or (self.path,))


def data_root():
    """Return the folder of all data sets: HUNDREDFOLD_DATA, or `data` in the working directory."""
    return Path(os.environ.get("HUNDREDFOLD_DATA") or "data")


def found(name, relative, how=None):
    """Return the path of a file or folder below the data root.

    Args:
        name: of the data set, for messages.
        how: what to do where it is missing; None offers the download.
    Raises:
        ValueError: it is missing.
    """
    path = data_root() / relative
    if not path.exists():
        how = how or f"fetch it by `hundredfold data {name}`"
        raise ValueError(
            f"dataset={name}: {path} is missing; set HUNDREDFOLD_DATA to the folder that holds {relative}, or {how}"
        )
    return path


def file_digest(path, algorithm="sha256"):
    """Return the hexadecimal digest of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read(name, relative, digest=None):
    """Return the bytes of a file below the data root, checked against "algorithm:hexadecimal" where that is known.

    Raises:
        ValueError: it is missing, cannot be read, or is not the original one.
    """
    path = found(name, relative)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"dataset={name}: {path} cannot be read ({error.strerror}); check its permissions") from None
    if digest is not None:
        algorithm, _, expected = digest.partition(":")
        if hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() != expected:
            raise ValueError(_changed(name, path, f"{algorithm.upper()} differs"))
    return data


def read_gzip(name, relative, digest=None):
    """Return the unpacked bytes of a .gz file below the data root; raises as `read` does, and for a damaged file."""
    data = read(name, relative, digest)
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(_changed(name, data_root() / relative, str(error))) from None


def _changed(name, path, reason):
    return (
        f"dataset={name}: {path} is not the original file ({reason}); delete it and fetch it again by "
        f"`hundredfold data {name}`"
    )


@contextlib.contextmanager
def atomic(path):
    """Give a new path beside `path` to write to, which takes its place when the block ends well, or is removed.

    Raises:
        ValueError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(
            f"{path}: cannot be written ({error.strerror or error}); make room or choose another folder by "
            f"HUNDREDFOLD_DATA"
        ) from None
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
