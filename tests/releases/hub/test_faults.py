"""The fault table: what the Hub, the line or the disk does wrong, and what becomes of it.

Every row ends in one clear error or in a recovery that the user need not see, and no
token, and no address with a signature, is in any output.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from loopback_hub import TOKEN, Fault, LoopbackHub

from cellresponse.releases.datapackage import write_descriptor, write_root
from cellresponse.releases.hub import push as pushing
from cellresponse.releases.hub import repo as asking
from cellresponse.releases.layout import files_of
from cellresponse.releases.verify import Verified

Run = Callable[..., tuple[int, str, str]]
REPO = "org/data"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of a release, small and few; its content is not verified here."""
    folder = tmp_path / "tiny"
    for path, content in (
        ("README.md", b"---\nlicense: other\n---\n"),
        ("matrices/S1.zarr/zarr.json", b"{}"),
        ("matrices/S1.zarr/X/data/c/0", bytes(range(256)) * 40),
        ("tables/labels.parquet", b"PAR1\0rows"),
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    monkeypatch.setattr("cellresponse.releases.datapackage.pq.read_metadata", _no_rows)
    digest = write_descriptor(folder, name="tiny", title="tiny", licences=[])
    root = {"release": "tiny", "schema_version": 1, "content": {"hash": "0" * 64}}
    write_root(folder, root, digest)
    verified = Verified("tiny", "0" * 64, 6, 0, 1, 0, 0)
    monkeypatch.setattr(pushing, "verify", lambda folder: verified)
    return folder


def _no_rows(path: Path) -> object:
    class Footer:
        num_rows = num_row_groups = num_columns = 0

        class schema:  # noqa: N801 - as in pyarrow
            names: tuple[str, ...] = ()

    return Footer


@pytest.fixture(autouse=True)
def client_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the client writes to its log; at the end nothing secret may be in it."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    written = io.StringIO()
    for handler in logging.getLogger("huggingface_hub").handlers:
        monkeypatch.setattr(handler, "stream", written)
    yield written
    set_client_factory(default_client_factory)
    require_no_secret(written.getvalue())


def require_no_secret(*texts: str) -> None:
    for text in texts:
        assert TOKEN not in text
        assert TOKEN[3:] not in text  # what the double signs addresses with
        assert "Traceback" not in text


# What goes wrong, and what the user is told.
FOR_EVER = [
    (Fault("", status=401), "does not accept the login"),
    (Fault("", status=403), "forbids"),
    (Fault("", status=429, headers={"Retry-After": "0"}), "asks for fewer requests"),
    (Fault("", status=500), "has trouble (status 500)"),
    (Fault("", status=503), "has trouble (status 503)"),
    (Fault("", cut=0), "no connection"),
]
STEPS_OF_A_PUSH = [
    "GET .*/refs",
    "POST .*/repos/create",
    "POST .*/branch/",
    "GET .*/tree/",
    "POST .*/preupload/",
    "POST .*/objects/batch",
    "PUT /store/",
    "POST /verify/",
    "POST .*/commit/incoming",
    "POST .*/tag/",
    "DELETE .*/branch/",
    "POST .*/commit/main",
]


@pytest.mark.parametrize("fault", [FOR_EVER[2][0], FOR_EVER[5][0]], ids=["429", "cut"])
@pytest.mark.parametrize("step", STEPS_OF_A_PUSH)
def test_push_recovers(hub: LoopbackHub, tiny: Path, run: Run, step: str, fault: Fault) -> None:
    """Trouble that passes is not seen, whichever request it hits."""
    hub.faults.append(replace(fault, where=step, times=2))
    code, stdout, stderr = run("push", tiny, "--repo", REPO)
    assert code == 0, stderr
    require_whole(hub, tiny)
    require_no_secret(stdout, stderr)


@pytest.mark.parametrize("step", STEPS_OF_A_PUSH)
def test_answer_that_is_lost(hub: LoopbackHub, tiny: Path, run: Run, step: str) -> None:
    """The Hub did what was asked, but the connection broke before it could say so."""
    hub.faults.append(Fault(step, lost=True, times=1))
    code, stdout, stderr = run("push", tiny, "--repo", REPO)
    assert code == 0, stderr
    require_whole(hub, tiny)
    require_no_secret(stdout, stderr)


@pytest.mark.parametrize(("fault", "said"), FOR_EVER)
@pytest.mark.parametrize("step", ["GET .*/refs", "POST .*/commit/incoming"])
def test_push_fails_clearly(
    hub: LoopbackHub, tiny: Path, run: Run, step: str, fault: Fault, said: str
) -> None:
    hub.faults.append(replace(fault, where=step))
    code, stdout, stderr = run("push", tiny, "--repo", REPO)
    require_error(code, stderr, said)
    require_no_secret(stdout, stderr)
    assert all(repo.tags == {} for repo in hub.state.repos.values())
    hub.faults.clear()  # and what was begun is finished by the next
    code, _, stderr = run("push", tiny, "--repo", REPO)
    assert code == 0, stderr
    require_whole(hub, tiny)


def require_whole(hub: LoopbackHub, folder: Path) -> None:
    held = hub.files(REPO, "tiny")
    held.pop(".gitattributes")
    assert held == {path: (folder / path).read_bytes() for path in files_of(folder)}
    assert b"- tiny" in hub.files(REPO, "main")["index.yaml"]
    assert set(hub.state.repo(REPO).branches) == {"main"}


def require_error(code: int, stderr: str, said: str) -> None:
    """Exit code 1 and one error, the last line."""
    assert code == 1
    assert said in stderr.splitlines()[-1]
    assert len(re.findall(r"^error: ", stderr, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("PUT /store", status=403), "forbids"),
        (Fault("PUT /store", cut=0), "no connection"),
        (Fault("POST .*/commit/incoming", status=404), "has no such file"),
        (Fault("POST .*/commit/incoming", status=400), "refuses (status 400)"),
        (Fault("POST .*/commit/incoming", status=413), "refuses (status 413)"),
        (Fault("POST .*/commit/incoming", status=412), "changed at the same time"),
        (Fault("POST .*/tag/", status=409), "changed at the same time"),
        (Fault("POST .*/preupload", change=lambda body: b"<html>"), "the transfer went wrong"),
        (Fault("GET .*/refs", change=lambda body: b"{}"), "the transfer went wrong"),
    ],
)
def test_refusals_of_a_push(
    hub: LoopbackHub, tiny: Path, run: Run, fault: Fault, said: str
) -> None:
    hub.state.create(REPO)
    hub.faults.append(fault)
    code, stdout, stderr = run("push", tiny, "--repo", REPO)
    require_error(code, stderr, said)
    require_no_secret(stdout, stderr)
    assert hub.state.repo(REPO).tags == {}


@pytest.mark.parametrize("step", ["GET .*/refs", "POST .*/commit/incoming", "PUT /store/"])
def test_hub_that_does_not_answer(
    hub: LoopbackHub, tiny: Path, run: Run, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(asking, "SECONDS_OF_SILENCE", 0.2)
    hub.faults.append(Fault(step, hang=0.4, times=1))
    code, _, stderr = run("push", tiny, "--repo", REPO)
    assert code == 0, stderr
    require_whole(hub, tiny)
    if "refs" in step:
        assert "does not answer in time" in stderr


@pytest.fixture
def published(hub: LoopbackHub, tiny: Path) -> LoopbackHub:
    hub.state.publish(REPO, tiny, "tiny")
    return hub


DOWNLOAD = "(GET|HEAD) (.*/resolve/[0-9a-f]{40}/(tables|matrices)|/cdn/)"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(DOWNLOAD, status=429, headers={"Retry-After": "0"}, times=2),
        Fault(DOWNLOAD, status=500, times=2),
        Fault(DOWNLOAD, status=503, times=2),
        Fault(DOWNLOAD, cut=0, times=2),
        Fault("GET /cdn/", cut=5, times=3),
        Fault("GET .*/refs", status=502, times=2),
        Fault("GET .*release.json", cut=3, times=1),
        Fault("GET /cdn/", change=lambda body: b"x" * len(body), times=1),
    ],
    ids=str,
)
def test_pull_recovers(
    published: LoopbackHub, tiny: Path, tmp_path: Path, run: Run, fault: Fault
) -> None:
    published.faults.append(fault)
    code, stdout, stderr = run("pull", "tiny", "--repo", REPO, "--to", tmp_path / "got")
    assert code == 0, stderr
    assert {path: (tmp_path / "got" / path).read_bytes() for path in files_of(tiny)} == {
        path: (tiny / path).read_bytes() for path in files_of(tmp_path / "got")
    }
    require_no_secret(stdout, stderr)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(DOWNLOAD, status=401), "does not accept the login"),
        (Fault(DOWNLOAD, status=403), "forbids"),
        (Fault(DOWNLOAD, status=404), "has no such"),
        (Fault(DOWNLOAD, status=416), "shorter than the release says"),
        (Fault(DOWNLOAD, status=429, headers={"Retry-After": "0"}), "asks for fewer requests"),
        (Fault(DOWNLOAD, status=500), "has trouble (status 500)"),
        (Fault(DOWNLOAD, cut=0), "no connection"),
        (Fault("GET /cdn/", change=lambda body: b"x" * len(body)), "is not the one"),
        (Fault("GET /cdn/", change=lambda body: body + b"x"), "the transfer went wrong"),
        (Fault("GET .*release.json", change=lambda body: b"{" + body[1:].upper()), "digest"),
        (Fault("GET .*datapackage.json", change=lambda body: body[:-1] + b" "), "is not the one"),
    ],
    ids=str,
)
def test_pull_fails_clearly(
    published: LoopbackHub, tiny: Path, tmp_path: Path, run: Run, fault: Fault, said: str
) -> None:
    published.faults.append(fault)
    code, stdout, stderr = run("pull", "tiny", "--repo", REPO, "--to", tmp_path / "got")
    require_error(code, stderr, said)
    require_no_secret(stdout, stderr)
    assert not (tmp_path / "got" / "release.json").exists()
    published.faults.clear()
    assert run("pull", "tiny", "--repo", REPO, "--to", tmp_path / "got")[0] == 0


def test_full_disk(
    published: LoopbackHub, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills while a file comes in, as the system says it."""
    import errno

    from huggingface_hub import file_download

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(file_download, "http_get", full)
    code, stdout, stderr = run("pull", "tiny", "--repo", REPO, "--to", tmp_path / "got")
    require_error(code, stderr, "the disk is full")
    require_no_secret(stdout, stderr)


def test_folder_that_cannot_be_written(published: LoopbackHub, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("x")
    code, _, stderr = run("pull", "tiny", "--repo", REPO, "--to", tmp_path / "file" / "got")
    require_error(code, stderr, "a part of the path is a file")


def test_no_token(hub: LoopbackHub, tiny: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    code, _, stderr = run("push", tiny, "--repo", REPO)
    require_error(code, stderr, "hf auth login")


def test_token_is_taken_out_of_what_the_hub_says(hub: LoopbackHub, tiny: Path, run: Run) -> None:
    hub.state.create(REPO)
    said = f"token {TOKEN} may not; see https://x.org/a?Signature={TOKEN[3:]}"
    hub.faults.append(Fault("POST .*/commit", status=400, headers={"X-Error-Message": said}))
    code, stdout, stderr = run("push", tiny, "--repo", REPO)
    require_error(code, stderr, "may not; see https://x.org/a")
    require_no_secret(stdout, stderr)
