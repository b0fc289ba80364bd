"""Fetching: whole and checked or not at all; every mishap is one sentence."""

import errno
import hashlib
import io
import tarfile
import urllib.error
import zipfile

import pytest

from hundredfold.replication.datasets import _download, _files
from hundredfold.replication.datasets._files import Download
from hundredfold.replication.datasets.mnist import Mnist

DATA = bytes(range(256)) * 40
ITEM = Download("https://example.org/file", "set/file.bin", f"sha256:{hashlib.sha256(DATA).hexdigest()}", len(DATA))


class Response(io.BytesIO):
    """What a server answers; the connection is lost after `lost` bytes."""

    def __init__(self, data, status=200, lost=None):
        super().__init__(data[:lost])
        self.status, self.headers = status, {"Content-Length": str(len(data))}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("HUNDREDFOLD_DATA", str(tmp_path))
    return tmp_path


def serve(monkeypatch, *responses):
    """Answer requests with these responses in turn; returns the requests."""
    requests, answers = [], iter(responses)

    def urlopen(request, timeout):
        requests.append(request)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(_download.urllib.request, "urlopen", urlopen)
    return requests


def everything(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def test_a_file_is_fetched_and_checked(root, monkeypatch):
    serve(monkeypatch, Response(DATA))
    _download.fetch(ITEM)
    assert (root / "set" / "file.bin").read_bytes() == DATA and everything(root) == ["set/file.bin"]


def test_a_lost_connection_is_gone_on_from(root, monkeypatch):
    requests = serve(monkeypatch, Response(DATA, lost=4000), Response(DATA[4000:], status=206))
    with pytest.raises(ValueError, match="cannot be fetched .the connection was lost.; check the network"):
        _download.fetch(ITEM)
    assert everything(root) == ["set/file.bin.part"]
    _download.fetch(ITEM)
    assert requests[1].get_header("Range") == "bytes=4000-"
    assert (root / "set" / "file.bin").read_bytes() == DATA and everything(root) == ["set/file.bin"]


def test_a_server_that_starts_over_is_followed(root, monkeypatch):
    serve(monkeypatch, Response(DATA, lost=4000), Response(DATA))
    with pytest.raises(ValueError):
        _download.fetch(ITEM)
    _download.fetch(ITEM)
    assert (root / "set" / "file.bin").read_bytes() == DATA


def test_a_wrong_checksum_is_one_sentence_and_leaves_nothing(root, monkeypatch):
    serve(monkeypatch, Response(DATA[::-1]))
    with pytest.raises(ValueError, match="SHA256 of the download differs from .*; fetch it again"):
        _download.fetch(ITEM)
    assert everything(root) == []


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("Name or service not known"), TimeoutError("timed out"), ConnectionResetError(104, "reset")],
)
def test_no_network_is_one_sentence_and_leaves_nothing(root, monkeypatch, error):
    serve(monkeypatch, error)
    with pytest.raises(ValueError, match="https://example.org/file: cannot be fetched .*; check the network"):
        _download.fetch(ITEM)
    assert everything(root) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(root, monkeypatch):
    response = Response(DATA)
    chunks = iter([DATA[:100]])

    def read(size):
        for chunk in chunks:
            return chunk
        raise OSError(errno.ENOSPC, "No space left on device")

    response.read = read
    serve(monkeypatch, response)
    with pytest.raises(ValueError, match="cannot be written .No space left on device.; free 0 MB or choose"):
        _download.fetch(ITEM)
    assert everything(root) == []


def test_a_read_only_root_is_one_sentence(root, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(_files.Path, "mkdir", refuse)
    with pytest.raises(ValueError, match="cannot be written .Read-only file system.; check its permissions"):
        _download.fetch(ITEM)
    with pytest.raises(ValueError, match="cannot be written .Read-only file system.; make room or choose another"):
        with _files.atomic(root / "new" / "file"):
            pass
    assert everything(root) == []


def test_a_data_root_that_is_a_file_is_one_sentence(root, monkeypatch):
    (root / "set").write_text("in the way")
    serve(monkeypatch, Response(DATA))
    with pytest.raises(ValueError, match="set/file.bin: cannot be written .*; check its permissions or choose another"):
        _download.fetch(ITEM)


def archive(kind):
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("folder/inner.txt", "inner")
    else:
        with tarfile.open(fileobj=file, mode="w:gz") as packed:
            entry = tarfile.TarInfo("folder/inner.txt")
            entry.size = 5
            packed.addfile(entry, io.BytesIO(b"inner"))
    return file.getvalue()


def packed_item(data):
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Download("https://example.org/a", "set/a.pack", digest, 1, ("set/folder/inner.txt",))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_unpacked_beside_what_is_there(root, monkeypatch, kind):
    (root / "set" / "folder").mkdir(parents=True)
    (root / "set" / "folder" / "mine.txt").write_text("mine")
    data = archive(kind)
    serve(monkeypatch, Response(data))
    assert not packed_item(data).present()
    _download.fetch(packed_item(data))
    assert packed_item(data).present() and everything(root) == ["set/folder/inner.txt", "set/folder/mine.txt"]


def test_an_archive_that_cannot_be_unpacked_leaves_nothing_half_done(root, monkeypatch):
    data = archive("tar")[:60]
    serve(monkeypatch, Response(data))
    with pytest.raises(ValueError, match="cannot be unpacked .*; fetch it again"):
        _download.fetch(packed_item(data))
    assert everything(root) == []


def test_an_atomic_file_appears_whole_or_not_at_all(root):
    with _files.atomic(root / "new" / "file") as path:
        path.write_text("whole")
        assert not (root / "new" / "file").exists()
    with pytest.raises(RuntimeError), _files.atomic(root / "new" / "file") as path:
        path.write_text("half")
        raise RuntimeError
    assert everything(root) == ["new/file"] and (root / "new" / "file").read_text() == "whole"


def test_a_missing_file_is_one_sentence(root):
    with pytest.raises(ValueError, match="dataset=mnist: .*train-images-idx3-ubyte.gz is missing; set HUNDRED"):
        Mnist().training()
    assert everything(root) == []


def test_the_data_root_is_data_where_none_is_named(monkeypatch):
    monkeypatch.delenv("HUNDREDFOLD_DATA", raising=False)
    assert str(_files.data_root()) == "data"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["mnst"], "dataset=mnst: unknown, did you mean mnist?"),
        (["mnist", "--from", "x"], "--from: makes token_shards only"),
        (["token_shards", "--from", "none.txt"], "--from none.txt: there is no such file"),
        (["imagenet"], "or ask for access at https://www.image-net.org"),
    ],
)
def test_a_mistake_at_the_command_is_one_sentence(root, command, arguments, message):
    code, _, error = command("data", *arguments)
    assert code == 2
    assert message in error and error.count("\n") == 1


def test_the_command_says_what_it_fetches_and_from_where(root, monkeypatch, command):
    serve(monkeypatch, urllib.error.URLError("no route"))
    code, out, err = command("data", "mnist")
    assert code == 2 and "cannot be fetched (no route)" in err
    assert "11.6 MB" in out and "LeCun" not in err and Mnist.license in out and str(root) in out


def test_the_command_lists_every_data_set(root, command):
    code, said, _ = command("data")
    assert code == 0 and "fashion_mnist" in said and "MIT" in said and "30.9 MB" in said


def test_the_command_makes_token_shards(root, command):
    (root / "text.txt").write_text("some words in a line\n" * 20_000)
    code, out, _ = command("data", "token_shards", "--from", root / "text.txt")
    assert code == 0 and "token_shards: 401 training" in out
