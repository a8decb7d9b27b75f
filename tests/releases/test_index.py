"""The index of releases: names, aliases, retractions; in a file and on the Hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_hub import LoopbackHub

from cellresponse.releases.hub.push import push
from cellresponse.releases.index import ReleaseIndex, Retraction, index_lines, read_index
from cellresponse.releases.release import Release
from cellresponse.schema.errors import EvidenceError

Run = Callable[..., tuple[int, str, str]]
BAD = Retraction(date="2025-07-01", reason="two samples were swapped")
INDEX = ReleaseIndex(releases=["2025-06", "2025-07"])

names = st.sampled_from(["2025-06", "2025-07", "2025-08"])


@given(
    releases=st.lists(names, unique=True),
    aliases=st.dictionaries(st.sampled_from(["latest", "stable"]), names),
    reason=st.text("abcdé: '#\"-", min_size=1).map(str.strip).filter(bool),
)
def test_file_says_what_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    releases: list[str],
    aliases: dict[str, str],
    reason: str,
) -> None:
    index = ReleaseIndex(
        releases=releases,
        aliases=aliases,
        retractions={"2025-06": Retraction(date="2025-07-01", reason=reason)},
    )
    path = tmp_path_factory.mktemp("index") / "index.yaml"
    index.write(path)
    assert read_index(path) == index


def test_alias() -> None:
    index = INDEX.with_alias("latest", "2025-06").with_alias("latest", "2025-07")
    assert index.aliases == {"latest": "2025-07"}
    assert index_lines(index) == ["2025-06", "2025-07  (latest)"]


@pytest.mark.parametrize(
    ("alias", "release", "said"),
    [
        ("latest", "2025-09", "2025-06, 2025-07"),
        ("2025-06", "2025-07", "cannot be an alias"),
        ("La test", "2025-07", "cannot be an alias"),
    ],
)
def test_alias_that_cannot_be(alias: str, release: str, said: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        INDEX.with_alias(alias, release)
    assert said in str(caught.value)


def test_retraction() -> None:
    index = INDEX.with_alias("latest", "2025-06").with_retraction("2025-06", BAD)
    assert "RETRACTED" in index_lines(index)[0]
    with pytest.raises(EvidenceError, match="retracted"):
        index.with_alias("stable", "2025-06")
    with pytest.raises(EvidenceError, match="no such release"):
        index.with_retraction("2025-09", BAD)
    again = Retraction(date="2025-07-02", reason="x", replaced_by="2025-06")
    with pytest.raises(EvidenceError, match="retracted itself"):
        index.with_retraction("2025-07", again)
    better = index.with_retraction("2025-06", BAD.model_copy(update={"replaced_by": "2025-07"}))
    assert better.warning("2025-06") == (
        "release 2025-06 was retracted on 2025-07-01: two samples were swapped. "
        "Use 2025-07 instead."
    )


def chain(**replaced: str | None) -> ReleaseIndex:
    """Give an index where each release is retracted and replaced by another."""
    return ReleaseIndex(
        releases=list("abc"),
        retractions={
            name: Retraction(date="2025-07-01", reason="swapped", replaced_by=instead)
            for name, instead in replaced.items()
        },
    )


@pytest.mark.parametrize(
    ("index", "instead"),
    [
        (chain(a="b"), "b"),
        (chain(a="b", b="c"), "c"),
        (chain(a="b", b="c", c=None), None),
        (chain(a="b", b="a"), None),
        (chain(a="b", b="c", c="b"), None),
        (chain(a="a"), None),
    ],
)
def test_replacement_that_was_retracted_itself(index: ReleaseIndex, instead: str | None) -> None:
    said = "release a was retracted on 2025-07-01: swapped."
    said += f" Use {instead} instead." if instead else ""
    assert index.warning("a") == said
    assert index_lines(index)[0] == f"a  RETRACTED: {said}"
    hint = f"such as {instead}." if instead else "Name a release that was not retracted."
    with pytest.raises(EvidenceError) as caught:
        index.with_alias("latest", "a")
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize("reason", ["swapped.", "swapped...", " swapped.\n"])
def test_reason_with_a_full_stop(reason: str) -> None:
    retraction = Retraction.today(reason, None)
    index = INDEX.with_retraction("2025-06", retraction)
    assert index.warning("2025-06").partition(": ")[2] == "swapped."


@pytest.mark.parametrize("reason", ["", " ", "\n\t "])
def test_retraction_without_a_reason(tmp_path: Path, run: Run, reason: str) -> None:
    INDEX.write(tmp_path / "index.yaml")
    code, stdout, stderr = run(
        *("release", "retract", "2025-06", "--reason", reason),
        *("--index", tmp_path / "index.yaml"),
    )
    assert (code, stdout) == (1, "")
    assert stderr == (
        "error: a retraction needs a reason ''. Allowed: a text that is not empty. "
        "Say why the release should not be used any more.\n"
    )
    assert read_index(tmp_path / "index.yaml") == INDEX


def test_release_named_like_an_alias() -> None:
    index = INDEX.with_alias("latest", "2025-06")
    with pytest.raises(EvidenceError, match="name of an alias"):
        index.with_release("latest")


def test_commands_on_a_file(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "index.yaml"
    ReleaseIndex().write(path)
    assert run("release", "list", "--index", path)[1].strip() == "no release is published"
    for command in (["alias", "latest", "2025-06"], ["retract", "2025-06", "--reason", "swapped"]):
        code, _, stderr = run("release", *command, "--index", path)  # it has a spec, and no more
        assert (code, "the index lists no such release '2025-06'" in stderr) == (1, True)
        assert "none is published" in stderr
        assert read_index(path) == ReleaseIndex()
    ReleaseIndex(releases=["2025-06"]).write(path)
    code, _, stderr = run("release", "alias", "latest", "2025-06", "--index", path)
    assert code == 0, stderr
    assert f"changed {path}" in stderr
    assert read_index(path).aliases == {"latest": "2025-06"}
    code, stdout, _ = run("release", "retract", "2025-06", "--reason", "swapped", "--index", path)
    assert (code, "was retracted" in stdout) == (0, True)
    code, stdout, _ = run("release", "list", "--index", path, "--json")
    assert json.loads(stdout)["retractions"]["2025-06"]["reason"] == "swapped"
    code, _, stderr = run("release", "alias", "latest", "2025-13", "--index", path)
    assert (code, "2025-06" in stderr) == (1, True)


def test_commands_on_the_hub(hub: LoopbackHub, mini_release: Release, run: Run) -> None:
    code, _, stderr = run("release", "alias", "latest", "mini", "--repo", "org/data")
    assert (code, "no such repository" in stderr) == (1, True)
    push(mini_release.folder, "org/data")
    code, _, stderr = run("release", "alias", "latest", "mini", "--repo", "org/data")
    assert code == 0, stderr
    held = hub.files("org/data", "main")
    assert b"latest: mini" in held["index.yaml"]
    code, _, stderr = run("release", "retract", "mini", "--reason", "x", "--repo", "org/data")
    assert code == 0, stderr
    code, stdout, _ = run("release", "list", "--repo", "org/data")
    assert (code, "RETRACTED" in stdout) == (0, True)
    after = hub.files("org/data", "main")
    assert {path for path in after if after[path] != held.get(path)} == {"index.yaml"}
