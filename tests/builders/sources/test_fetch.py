"""Fetching: from mirror, cache and a server that cuts, refuses, changes and lies."""

import email.utils
import hashlib
import logging
import os
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Answer, ftp_server, http_server

from cellresponse.builders.sources.fetch import fetch, fetch_url
from cellresponse.builders.sources.transfer import LONGEST_WAIT
from cellresponse.schema.errors import SourceFileError, StorageError
from cellresponse.schema.study import SourceFile

BODY = bytes(range(256)) * 4000  # 1,024,000 bytes: several pieces
SIZE = len(BODY)
SHA256 = hashlib.sha256(BODY).hexdigest()
OTHER = BODY[::-1]


@pytest.fixture(scope="module", autouse=True)
def _no_proxy():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        yield


@pytest.fixture
def server():
    with http_server() as running:
        yield running


@pytest.fixture
def waits():
    return []


@pytest.fixture
def get(server, tmp_path, waits):
    """Fetch the file of the server into a cache of its own; nobody sleeps."""

    def get(sha256=SHA256, **keywords):
        file = SourceFile(
            name=keywords.pop("name", "counts.csv"),
            url=keywords.pop("url", f"{server.url}/series/counts.csv?token=secret"),
            sha256=sha256,
            bytes=SIZE,
            reader="dense_text",
        )
        keywords = {"cache": tmp_path / "cache", "wait": waits.append} | keywords
        return fetch(file, study_id="GSE1", **keywords)

    return get


def leftovers(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_right_file(server, get, tmp_path):
    server.answers = [Answer(BODY)]
    received = []
    path = get(progress=received.append)
    assert path == tmp_path / "cache" / "files" / SHA256[:2] / SHA256 / "counts.csv"
    assert path.read_bytes() == BODY
    assert sum(received) == len(BODY)
    assert leftovers(tmp_path / "cache") == [".lock", "counts.csv"]
    assert get() == path
    assert len(server.requests) == 1


def test_name_with_folder(server, get):
    server.answers = [Answer(BODY)]
    assert get(name="a/b.csv").name == "b.csv"


def test_not_pinned(get):
    with pytest.raises(SourceFileError, match=r"GSE1/counts.csv: is not pinned\. .* pin GSE1"):
        get(sha256=None)


def test_wrong_checksum(server, get, tmp_path, waits):
    server.answers = [Answer(OTHER)]
    with pytest.raises(SourceFileError) as caught:
        get()
    assert "GSE1/counts.csv" in str(caught.value)
    assert hashlib.sha256(OTHER).hexdigest() in str(caught.value)
    assert SHA256 in str(caught.value)
    assert leftovers(tmp_path / "cache") == [".lock"]
    assert not waits


@pytest.mark.parametrize("etag", [None, '"one"'])
def test_cut_then_resumed(server, get, waits, etag):
    server.answers = [Answer(BODY, etag=etag, cut=300_001), Answer(BODY, etag=etag)]
    assert get().read_bytes() == BODY
    assert server.ranges == [None, "bytes=300001-"]
    assert server.requests[1].headers.get("if-range") == etag
    assert server.sent == [300_001, len(BODY) - 300_001]
    assert len(waits) == 1


def test_resumed_by_the_next_run(server, get):
    server.answers = [Answer(BODY, etag='"one"', cut=500_000)]
    with pytest.raises(SourceFileError, match=r"broke after 500,000 bytes \(1 attempt"):
        get(attempts=1)
    server.answers = [Answer(BODY, etag='"one"')]
    assert get().read_bytes() == BODY
    assert server.sent == [500_000, len(BODY) - 500_000]


def test_killed_before_the_rename(server, get, tmp_path):
    folder = tmp_path / "cache" / "files" / SHA256[:2] / SHA256
    folder.mkdir(parents=True)
    (folder / ".part").write_bytes(BODY)
    assert get().read_bytes() == BODY
    assert not server.requests


@pytest.mark.parametrize("part", [OTHER, BODY + b"more", OTHER[:1000]])
def test_part_of_another_file(server, get, tmp_path, part):
    folder = tmp_path / "cache" / "files" / SHA256[:2] / SHA256
    folder.mkdir(parents=True)
    (folder / ".part").write_bytes(part)
    server.answers = [Answer(BODY)]
    assert get().read_bytes() == BODY
    assert leftovers(tmp_path / "cache") == [".lock", "counts.csv"]


def test_server_without_ranges(server, get):
    server.answers = [Answer(BODY, ranges=False, cut=300_000), Answer(BODY, ranges=False)]
    assert get().read_bytes() == BODY
    assert server.sent == [300_000, len(BODY)]


@pytest.mark.parametrize("strict", [True, False])
def test_file_changed_between_parts(server, get, strict):
    server.answers = [
        Answer(OTHER, etag='"old"', cut=300_000),
        Answer(BODY, etag='"new"', strict=strict),
    ]
    assert get().read_bytes() == BODY
    assert server.sent[-1] == len(BODY)


def test_file_changed_between_parts_unseen(server, get, caplog):
    server.answers = [Answer(OTHER, cut=300_000), Answer(BODY)]
    assert get().read_bytes() == BODY
    assert server.sent == [300_000, len(BODY) - 300_000, len(BODY)]
    assert "resumed download is wrong" in caplog.text


def test_no_length_and_cut(server, get):
    server.answers = [Answer(BODY, length=False, cut=300_000), Answer(BODY, length=False)]
    assert get().read_bytes() == BODY
    assert server.sent == [300_000, len(BODY) - 300_000]


@settings(max_examples=25, deadline=None)
@given(
    body=st.binary(min_size=1, max_size=2000),
    cuts=st.lists(st.integers(0, 2000), max_size=4),
    etag=st.sampled_from([None, '"one"']),
)
def test_every_byte_is_sent_once(body, cuts, etag):
    with http_server() as server, tempfile.TemporaryDirectory() as cache:
        server.answers = [Answer(body, etag=etag, cut=cut) for cut in cuts] + [
            Answer(body, etag=etag)
        ]
        path = fetch_url(
            f"{server.url}/f",
            name="f",
            sha256=hashlib.sha256(body).hexdigest(),
            bytes=len(body),
            cache=Path(cache),
            wait=lambda _: None,
        )
        assert path.read_bytes() == body
        assert sum(server.sent) == len(body)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refused_at_once(server, get, waits, status, caplog, capfd):
    server.answers = [Answer(status=status)]
    with pytest.raises(SourceFileError) as caught:
        get()
    message = str(caught.value)
    assert f"{server.url}/series/counts.csv: the server answers {status} " in message
    assert "--mirror" in message
    assert "secret" not in message + caplog.text + "".join(capfd.readouterr())
    assert len(server.requests) == 1
    assert not waits


def test_asked_to_wait(server, get, waits):
    server.answers = [
        Answer(status=429, headers={"Retry-After": "33"}),
        Answer(status=503, headers={"Retry-After": "100000"}),
        Answer(status=503, headers={"Retry-After": email.utils.formatdate(time.time() + 1e6)}),
        Answer(status=503, headers={"Retry-After": "soon"}),
        Answer(BODY),
    ]
    assert get().read_bytes() == BODY
    assert waits[:3] == [33, LONGEST_WAIT, LONGEST_WAIT]
    assert 4 <= waits[3] <= 8


def test_server_fails_always(server, get, waits, caplog):
    server.answers = [Answer(status=500)]
    with pytest.raises(SourceFileError, match=r"500 Internal Server Error \(4 attempts\)"):
        get(attempts=4)
    assert len(server.requests) == 4
    assert [2**n / 2 <= wait <= 2**n for n, wait in enumerate(waits)] == [True] * 3
    assert caplog.text.count("next attempt in") == 3
    assert "secret" not in caplog.text


def test_connection_refused(get, waits):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SourceFileError, match=r"no connection to the server \(5 attempts\)"):
        get(url=f"http://127.0.0.1:{port}/f")
    assert len(waits) == 4


def test_silent_server(get, waits, monkeypatch):
    monkeypatch.setattr("cellresponse.builders.sources.transfer.TIMEOUT", (0.05, 0.05))
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(SourceFileError, match="does not answer in time"),
    ):
        get(url=f"http://127.0.0.1:{silent.getsockname()[1]}/f", attempts=2)
    assert len(waits) == 1


def test_no_secure_connection(server, get, waits):
    server.answers = [Answer(BODY)]
    with pytest.raises(SourceFileError, match="TLS"):
        get(url=server.url.replace("http:", "https:") + "/f")
    assert not waits


def test_redirects_without_end(server, get):
    server.answers = [Answer(status=302, headers={"Location": "/again"})]
    with pytest.raises(SourceFileError, match="TooManyRedirects"):
        get()


@pytest.mark.parametrize("length", [True, False])
def test_oversize_body(server, get, tmp_path, length):
    server.answers = [Answer(BODY * 5, length=length)]
    received = []
    with pytest.raises(SourceFileError, match=r"it has .*bytes"):
        get(progress=received.append)
    assert sum(received) <= len(BODY)
    assert "counts.csv" not in leftovers(tmp_path / "cache")
    server.answers = [Answer(BODY)]
    assert get().read_bytes() == BODY


def test_short_body(server, get):
    server.answers = [Answer(BODY[:100])]
    with pytest.raises(SourceFileError, match="100 bytes there, expected 1,024,000"):
        get()


def test_content_encoding_is_left_alone(server, get):
    server.answers = [Answer(BODY, headers={"Content-Encoding": "gzip"})]
    assert get().read_bytes() == BODY
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.fixture
def mirror(tmp_path):
    (tmp_path / "mirror" / "GSE1").mkdir(parents=True)
    return tmp_path / "mirror"


def test_mirror_hit(get, mirror, tmp_path):
    place = mirror / "GSE1" / "counts.csv"
    place.write_bytes(BODY)
    assert get(mirror=mirror) == place
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("content", "problem"), [(OTHER, f"expected {SHA256}"), (b"short", "5 bytes, expected 1,024")]
)
def test_mirror_wrong(server, get, mirror, content, problem):
    (mirror / "GSE1" / "counts.csv").write_bytes(content)
    with pytest.raises(SourceFileError, match=problem) as caught:
        get(mirror=mirror)
    assert str(mirror / "GSE1" / "counts.csv") in str(caught.value)
    assert not server.requests


def test_mirror_is_checked_again_when_the_file_changes(get, mirror):
    place = mirror / "GSE1" / "counts.csv"
    place.write_bytes(BODY)
    get(mirror=mirror)
    place.write_bytes(OTHER)
    os.utime(place, ns=(1, 1))
    with pytest.raises(SourceFileError, match="sha256"):
        get(mirror=mirror)


def test_mirror_with_a_folder_or_a_dead_link_of_that_name(get, mirror):
    (mirror / "GSE1" / "counts.csv").mkdir()
    with pytest.raises(SourceFileError, match="is not a file"):
        get(mirror=mirror)
    (mirror / "GSE1" / "gone.csv").symlink_to(mirror / "nowhere")
    with pytest.raises(SourceFileError, match="cannot be read"):
        get(mirror=mirror, name="gone.csv")


def test_mirror_miss(server, get, mirror):
    server.answers = [Answer(BODY)]
    assert get(mirror=mirror).read_bytes() == BODY


def test_no_such_mirror(server, get, tmp_path):
    with pytest.raises(SourceFileError, match="no such mirror"):
        get(mirror=tmp_path / "typo")
    assert not server.requests


def test_cache_damaged(server, get, caplog):
    server.answers = [Answer(BODY)]
    path = get()
    path.write_bytes(OTHER)
    os.utime(path, ns=(1, 1))
    assert get().read_bytes() == BODY
    assert len(server.requests) == 2
    assert "GSE1/counts.csv: the cached copy is damaged" in caplog.text


def test_two_at_once(server, get):
    waiting = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            if "waiting for another" in record.getMessage():
                waiting.set()

    listener, logger = Listener(), logging.getLogger("cellresponse")
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    server.answers = [Answer(BODY, before=lambda: waiting.wait(10))]
    try:
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda _: get(), range(2))
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)
    assert waiting.is_set()
    assert first == second
    assert first.read_bytes() == BODY
    assert len(server.requests) == 1


def test_unpinned_address(server, tmp_path, waits):
    def get():
        return fetch_url(
            f"{server.url}/genes.gtf.gz",
            name="genes",
            sha256=None,
            bytes=None,
            cache=tmp_path,
            wait=waits.append,
        )

    server.answers = [
        Answer(OTHER, cut=10),  # without checksum and ETag a part is worth nothing
        Answer(OTHER, etag='"one"', cut=20),
        Answer(BODY, etag='"two"', cut=30),
        Answer(BODY, etag='"two"'),
    ]
    assert get().read_bytes() == BODY
    assert get().name == "genes.gtf.gz"
    assert server.ranges == [None, None, "bytes=20-", "bytes=30-"]
    assert server.sent == [10, 20, 30, len(BODY) - 30]


@pytest.mark.parametrize(
    ("before", "now", "ranges"),
    [
        ('"one"', Answer(BODY, etag='"two"', strict=False), [None, "bytes=20-", None]),
        ('W/"one"', Answer(BODY, etag='W/"one"'), [None, None]),
    ],
    ids=["changed, and the server does not tell", "weak"],
)
def test_parts_of_two_states_are_never_joined(server, tmp_path, waits, before, now, ranges):
    server.answers = [Answer(OTHER, etag=before, cut=20), now]
    options = {"sha256": None, "bytes": None, "cache": tmp_path, "wait": waits.append}
    assert fetch_url(f"{server.url}/f", name="f", **options).read_bytes() == BODY
    assert server.ranges == ranges


def test_part_longer_than_an_unpinned_file(server, tmp_path, waits):
    url = f"{server.url}/f"
    key = hashlib.sha256(url.encode()).hexdigest()
    folder = tmp_path / "files" / key[:2] / key
    folder.mkdir(parents=True)
    (folder / ".part").write_bytes(BODY)
    (folder / ".part.validator").write_text('"one"')
    server.answers = [Answer(b"new", etag='"one"')]
    path = fetch_url(url, name="f", sha256=None, bytes=None, cache=tmp_path, wait=waits.append)
    assert path.read_bytes() == b"new"


def test_cache_cannot_be_written(server, get, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="the cache cannot be written"):
        get(cache=tmp_path / "file")
    assert not server.requests


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the always full device")
@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_disk_full(server, get, tmp_path, scheme):
    folder = tmp_path / "cache" / "files" / SHA256[:2] / SHA256
    folder.mkdir(parents=True)
    (folder / ".part").symlink_to("/dev/full")
    server.answers = [Answer(BODY)]
    with ftp_server({"/f": BODY}) as ftp, pytest.raises(StorageError, match="No space left"):
        get(url=f"{ftp if scheme == 'ftp' else server.url}/f")
    assert not (folder / "counts.csv").exists()


def test_ftp(get, waits):
    received = []
    with ftp_server({"/series/counts.csv": BODY}, busy=2) as ftp:
        path = get(url=f"{ftp}/series/counts.csv", progress=received.append)
    assert path.read_bytes() == BODY
    assert sum(received) == len(BODY)
    assert len(waits) == 2


def test_ftp_refuses(get, waits):
    with ftp_server({"/big": BODY * 5, "/other": OTHER, "/short": b"x"}) as ftp:
        with pytest.raises(SourceFileError, match="550 No such file"):
            get(url=f"{ftp}/none")
        with pytest.raises(SourceFileError, match="more than 1,024,000 bytes"):
            get(url=f"{ftp}/big")
        with pytest.raises(SourceFileError, match=f"expected {SHA256}"):
            get(url=f"{ftp}/other")
        assert not waits
        with pytest.raises(SourceFileError, match=r"ends after 1 bytes \(2 attempts\)"):
            get(url=f"{ftp}/short", attempts=2)


def test_ftp_connection_refused(get, waits):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(SourceFileError, match="the connection failed"):
        get(url=f"ftp://127.0.0.1:{port}/f", attempts=3)
    assert len(waits) == 2
