"""Fetches published files: with progress, in place only when whole and checked, resumed after a lost connection."""

import contextlib
import errno
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from http.client import HTTPException
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from hundredfold.replication.datasets._files import data_root, file_digest

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 60


def fetch(item):
    """Bring one `Download` to the data root; an archive is unpacked and removed.

    A lost connection leaves `<file>.part`, with which the next call goes on; any other error leaves nothing.

    Raises:
        ValueError: no network, a full disk, or a file that is not the published one.
    """
    target = data_root() / item.path
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(item, part)
        algorithm, _, expected = item.digest.partition(":")
        if file_digest(part, algorithm) != expected:
            raise ValueError(f"{item.url}: {algorithm.upper()} of the download differs from {expected}; fetch it again")
        if item.holds:
            _unpack(part, target)
            part.unlink()
        else:
            os.replace(part, target)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise ValueError(f"{item.url}: cannot be fetched ({reason}); check the network and try again") from None
    except ValueError:
        part.unlink()
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        room = f"free {item.size_bytes / 1e6:.0f} MB" if error.errno == errno.ENOSPC else "check its permissions"
        raise ValueError(
            f"{target}: cannot be written ({error.strerror or error}); {room} or choose another folder by "
            f"HUNDREDFOLD_DATA"
        ) from None


def _receive(item, part):
    """Append what is still missing of a file to `part`."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "hundredfold"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(item.url, headers=headers)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send; the checksum decides
            return
        raise
    with response, Progress(*columns, transient=True) as progress:
        if have and response.status != 206:  # the server starts over
            have = 0
        length = response.headers.get("Content-Length")
        task = progress.add_task(item.path, total=have + int(length) if length else None, completed=have)
        with open(part, "ab" if have else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))
        if length and part.stat().st_size < have + int(length):
            raise ConnectionError("the connection was lost")


def _unpack(archive, target):
    """Unpack an archive beside itself; nothing appears before all of it is unpacked."""
    kind, options = ("zip", {}) if zipfile.is_zipfile(archive) else ("gztar", {"filter": "data"})
    with tempfile.TemporaryDirectory(prefix=".", dir=target.parent) as folder:
        try:
            shutil.unpack_archive(archive, folder, kind, **options)
        except (shutil.ReadError, zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
            raise ValueError(f"{target}: cannot be unpacked ({error}); fetch it again") from None
        for entry in Path(folder).iterdir():
            _move(entry, target.parent / entry.name)


def _move(entry, place):
    """Move a file or folder to its place, into a folder that is there already."""
    if not (entry.is_dir() and place.is_dir()):
        os.replace(entry, place)
        return
    for inner in entry.iterdir():
        _move(inner, place / inner.name)
