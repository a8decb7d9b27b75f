"""Publishing: what is sent, in which order, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback_hub import Fault, LoopbackHub
from renamed import renamed

from cellresponse.releases.hub import upload
from cellresponse.releases.hub.push import push
from cellresponse.releases.hub.repo import HubRepo
from cellresponse.releases.hub.shared_index import edit_shared_index
from cellresponse.releases.hub.trouble import PassingTrouble
from cellresponse.releases.layout import files_of
from cellresponse.releases.release import Release
from cellresponse.releases.verify import Verified
from cellresponse.schema.errors import CellResponseError, EvidenceError, HubError, ReleaseError

Run = Callable[..., tuple[int, str, str]]
REPO = "org/data"


@pytest.fixture(autouse=True)
def verified_once(
    request: pytest.FixtureRequest, mini_release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of the tiny release are not verified again, but where a test is about that."""
    if "wrong_release" not in request.node.name:
        verified = Verified("mini", mini_release.content_hash, 0, 0, 2, 50, 6)
        monkeypatch.setattr("cellresponse.releases.hub.push.verify", lambda folder: verified)


def held(hub: LoopbackHub, revision: str) -> dict[str, bytes]:
    """Files of a revision, but for the Hub's own."""
    found = hub.files(REPO, revision)
    found.pop(".gitattributes")
    return found


def on_disk(release: Release) -> dict[str, bytes]:
    return {path: (release.folder / path).read_bytes() for path in files_of(release.folder)}


def test_tag_holds_the_release(hub: LoopbackHub, mini_release: Release) -> None:
    pushed = push(mini_release.folder, REPO)
    assert held(hub, "mini") == on_disk(mini_release)
    assert (pushed.files, pushed.commits) == (len(on_disk(mini_release)), 1)
    assert pushed.bytes == sum(map(len, on_disk(mini_release).values()))
    assert set(held(hub, "main")) == {"README.md", "index.yaml"}
    assert b"- mini" in held(hub, "main")["index.yaml"]
    assert set(hub.state.repo(REPO).branches) == {"main"}


def test_tag_comes_after_every_file(hub: LoopbackHub, mini_release: Release) -> None:
    push(mini_release.folder, REPO)
    wanted = r"/(commit|tag)/|^PUT|/batch$"
    order = [f"{seen.method} {seen.path}" for seen in hub.seen(wanted)]
    tag = next(i for i, line in enumerate(order) if "/tag/" in line)
    assert not [
        line for line in order[tag + 1 :] if line != f"POST /api/datasets/{REPO}/commit/main"
    ]
    assert [line for line in order[:tag] if "/commit/main" in line] == []


def test_second_push_sends_nothing(hub: LoopbackHub, mini_release: Release, run: Run) -> None:
    push(mini_release.folder, REPO)
    hub.requests.clear()
    code, stdout, _ = run("push", mini_release.folder, "--repo", REPO)
    assert (code, "published already" in stdout) == (0, True)
    assert not hub.seen("^PUT|/commit/|/tag/")


def test_unchanged_files_are_not_sent_again(
    hub: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    push(mini_release.folder, REPO)
    hub.requests.clear()
    push(renamed(mini_release.folder, tmp_path / "other", release="other"), REPO)
    assert not hub.seen("^PUT")  # every file outside git is there already
    assert held(hub, "other")["tables/labels.parquet"] == held(hub, "mini")["tables/labels.parquet"]
    assert "index.yaml" not in held(hub, "other")


def test_tag_with_another_content_is_refused(
    hub: LoopbackHub, mini_release: Release, tmp_path: Path, run: Run
) -> None:
    push(mini_release.folder, REPO)
    before = held(hub, "mini")
    other = renamed(mini_release.folder, tmp_path / "mini", title="another")
    hub.requests.clear()
    for more in ([], ["--dry-run"]):
        code, _, stderr = run("push", other, "--repo", REPO, *more)
        assert code == 1
        assert "another content" in stderr
    assert held(hub, "mini") == before
    assert not hub.seen("^PUT|/commit/|/tag/")


def test_wrong_release_is_not_pushed(
    hub: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    (other / "README.md").write_text("changed")
    with pytest.raises(ReleaseError, match=r"README\.md"):
        push(other, REPO)
    assert hub.requests == []


def test_dry_run_sends_nothing(hub: LoopbackHub, mini_release: Release, run: Run) -> None:
    code, stdout, _ = run("push", mini_release.folder, "--repo", REPO, "--dry-run")
    assert code == 0
    files = on_disk(mini_release)
    size = sum(map(len, files.values()))
    assert f"would send {len(files)} files, {size:,} bytes, in 1 commits" in stdout
    assert {seen.method for seen in hub.requests} == {"GET"}
    assert hub.state.repos == {}


def test_dry_run_without_a_connection(hub: LoopbackHub, mini_release: Release, run: Run) -> None:
    hub.faults.append(Fault("refs", cut=0))
    code, stdout, stderr = run("push", mini_release.folder, "--repo", REPO, "--dry-run", "--json")
    assert code == 0
    assert json.loads(stdout)["files"] == len(on_disk(mini_release))
    assert "counted as if org/data were empty" in stderr


def test_dry_run_counts_what_is_missing(hub: LoopbackHub, mini_release: Release) -> None:
    hub.faults.append(Fault("/tag/", status=403))
    with pytest.raises(HubError):
        push(mini_release.folder, REPO)
    rehearsed = push(mini_release.folder, REPO, dry_run=True)
    assert (rehearsed.files, rehearsed.commits) == (0, 0)
    assert rehearsed.unchanged == len(on_disk(mini_release))


def test_push_in_many_commits(
    hub: LoopbackHub, mini_release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "FILES_A_COMMIT", 25)
    hub.page = 30  # the tree comes in pages
    pushed = push(mini_release.folder, REPO)
    assert pushed.commits == -(-pushed.files // 25) == len(hub.seen("/commit/incoming-mini"))
    assert held(hub, "mini") == on_disk(mini_release)


def test_commits_are_bounded_by_their_bytes(
    hub: LoopbackHub, mini_release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [len(data) for data in on_disk(mini_release).values()]
    monkeypatch.setattr(upload, "BYTES_A_COMMIT", max(sizes))
    pushed = push(mini_release.folder, REPO)
    assert pushed.commits >= sum(sizes) / max(sizes) > 1
    assert held(hub, "mini") == on_disk(mini_release)


def test_nothing_is_missing_and_something_is_left_over(
    hub: LoopbackHub, mini_release: Release
) -> None:
    fault = Fault("/tag/", status=403)
    hub.faults.append(fault)
    with pytest.raises(HubError):
        push(mini_release.folder, REPO)
    hub.faults.clear()
    line = b'{"key": "file", "value": {"path": "x", "content": "eA==", "encoding": "base64"}}'
    hub.state.commit(REPO, "incoming-mini", [line])
    push(mini_release.folder, REPO)
    assert held(hub, "mini") == on_disk(mini_release)


def test_leftovers_of_another_push_are_removed(hub: LoopbackHub, mini_release: Release) -> None:
    hub.state.create(REPO)
    repo = hub.state.repo(REPO)
    repo.branches["incoming-mini"] = repo.branches["main"]
    content = '{"key": "file", "value": {"path": "%s", "content": "eA==", "encoding": "base64"}}'
    lines = [content % path for path in ("old.txt", "tables/labels.parquet", "README.md")]
    hub.state.commit(REPO, "incoming-mini", [line.encode() for line in lines])
    push(mini_release.folder, REPO)
    assert held(hub, "mini") == on_disk(mini_release)


def test_branch_that_changes_meanwhile(hub: LoopbackHub, mini_release: Release) -> None:
    """Someone commits to the branch between our look and our commit: 412, and we look again."""
    stranger = b'{"key": "file", "value": {"path": "x", "content": "eA==", "encoding": "base64"}}'
    hub.faults.append(
        Fault(
            "commit/incoming-mini",
            times=1,
            act=lambda: hub.state.commit(REPO, "incoming-mini", [stranger]),
        )
    )
    push(mini_release.folder, REPO)
    assert held(hub, "mini") == on_disk(mini_release)


def test_index_that_changes_meanwhile(hub: LoopbackHub, mini_release: Release) -> None:
    text = b"releases:\n- 2025-01\naliases: {}\nretractions: {}\n"
    import base64

    line = {"path": "index.yaml", "content": base64.b64encode(text).decode(), "encoding": "base64"}
    theirs = json.dumps({"key": "file", "value": line}).encode()
    hub.faults.append(
        Fault("commit/main", times=1, act=lambda: hub.state.commit(REPO, "main", [theirs]))
    )
    push(mini_release.folder, REPO)
    assert re.findall(r"- (\S+)", held(hub, "main")["index.yaml"].decode()) == ["2025-01", "mini"]


def test_release_that_changes_while_it_is_pushed(
    hub: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(mini_release.folder, tmp_path / "mini"))
    labels = other / "tables" / "labels.parquet"
    fault = Fault("preupload", times=1, act=lambda: labels.write_bytes(b"\0" * 10))
    hub.faults.append(fault)
    with pytest.raises(CellResponseError):
        push(other, REPO)
    assert hub.state.repo(REPO).tags == {}


def test_release_with_the_name_of_an_alias(
    hub: LoopbackHub, mini_release: Release, tmp_path: Path
) -> None:
    push(mini_release.folder, REPO)
    edit_shared_index(HubRepo(REPO), lambda index: index.with_alias("latest", "mini"), "alias")
    other = renamed(mini_release.folder, tmp_path / "latest", release="latest")
    with pytest.raises(EvidenceError, match="name of an alias"):
        push(other, REPO)
    assert set(hub.state.repo(REPO).tags) == {"mini"}


def test_damaged_cache_is_not_another_content(hub: LoopbackHub, mini_release: Release) -> None:
    push(mini_release.folder, REPO)
    kept = HubRepo(REPO).cached("release.json", hub.state.repo(REPO).tags["mini"])
    kept.resolve().write_bytes(b"\0" * 100)
    assert push(mini_release.folder, REPO, dry_run=True).published
    kept.resolve().write_bytes(b"\0" * 100)
    assert push(mini_release.folder, REPO).published


def test_damaged_index_is_not_sent_back(hub: LoopbackHub, mini_release: Release) -> None:
    push(mini_release.folder, REPO)
    repo = HubRepo(REPO)
    kept = repo.cached("index.yaml", hub.state.repo(REPO).branches["main"])
    kept.resolve().write_text("releases:\n- mini\n- nini\n")  # an index still, but not the Hub's
    index = edit_shared_index(repo, lambda index: index.with_alias("latest", "mini"), "alias")
    assert index.releases == ["mini"]
    assert b"nini" not in held(hub, "main")["index.yaml"]


@pytest.mark.parametrize(
    "name",
    [
        "data",
        "org/da ta",
        "a/b/c",
        "https://example.org/a",
        "org/name.git",
        "org/na--me",
        "org/..",
        "org/.name",
        "org/",
    ],
)
def test_repository_name(hub: LoopbackHub, mini_release: Release, name: str) -> None:
    with pytest.raises(HubError, match=r"is no repository name.*ORG/NAME") as caught:
        push(mini_release.folder, name)
    assert not isinstance(caught.value, PassingTrouble)
    assert hub.requests == []
