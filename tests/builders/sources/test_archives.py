"""Archives: what comes out, and what is refused before anything is written."""

import io
import stat
import tarfile
import zipfile

import pytest

from cellresponse.builders.sources import archives
from cellresponse.builders.sources.archives import unpack
from cellresponse.schema.errors import SourceFileError, StorageError

FILES = {"GSM1/matrix.mtx": b"m" * 5000, "GSM1/barcodes.tsv": b"b", "readme.txt": b"hello"}


def tar_bytes(entries, mode="w:"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for entry, content in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zip_bytes(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)
    return out.getvalue()


PACKERS = {
    "tar": tar_bytes,
    "gz": lambda entries: tar_bytes(entries, "w:gz"),
    "bz2": lambda entries: tar_bytes(entries, "w:bz2"),
    "xz": lambda entries: tar_bytes(entries, "w:xz"),
    "zip": zip_bytes,
}


@pytest.fixture
def run(tmp_path):
    def run(content, members, **options):
        path = tmp_path / "local"
        path.write_bytes(content)
        return unpack(path, members, tmp_path / "out", name="raw.tar", **options)

    return run


def left(tmp_path):
    return [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "local"]


@pytest.mark.parametrize("kind", PACKERS)
def test_only_named_members_are_written(run, tmp_path, kind):
    found = run(PACKERS[kind](FILES.items()), ["readme.txt", "GSM1/matrix.mtx"])
    assert found == {
        "readme.txt": tmp_path / "out" / "readme.txt",
        "GSM1/matrix.mtx": tmp_path / "out" / "GSM1" / "matrix.mtx",
    }
    assert {name: path.read_bytes() for name, path in found.items()} == {
        name: FILES[name] for name in found
    }
    assert sorted(left(tmp_path)) == sorted(found.values())


@pytest.mark.parametrize("place", [0, 1])
def test_a_zip_inside_a_tar_is_a_member(run, place):
    inner = zip_bytes([("counts.csv", b"of the zip")])
    entries = [("counts.csv", b"of the tar")]
    entries.insert(place, ("notes.xlsx", inner))
    found = run(tar_bytes(entries), ["counts.csv", "notes.xlsx"])
    assert found["counts.csv"].read_bytes() == b"of the tar"
    assert found["notes.xlsx"].read_bytes() == inner


def test_zip_without_members(run):
    with pytest.raises(SourceFileError, match=r"no such member 'x'. It has 0 others"):
        run(zip_bytes([]), ["x"])


def test_folders_and_leading_dots(run):
    folder = tarfile.TarInfo("./a")
    folder.type = tarfile.DIRTYPE
    content = tar_bytes([(folder, b""), ("./a/x.txt", b"x")])
    assert run(content, ["a/x.txt"])["a/x.txt"].read_bytes() == b"x"
    assert run(content, ["./a/x.txt"])["./a/x.txt"].read_bytes() == b"x"
    assert run(zip_bytes([("a/", b""), ("a/x.txt", b"y")]), ["a/x.txt"])["a/x.txt"].exists()


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("../x", "leaves its folder"),
        ("a/../../x", "leaves its folder"),
        ("/etc/x", "absolute"),
        ("C:x", "absolute"),
        ("a\\..\\x", "absolute or unportable"),
        ("readme.txt", "two members have the same name"),
        ("./readme.txt", "two members have the same name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_unsafe_names_refuse_the_whole_archive(run, tmp_path, kind, bad, message):
    """Also where only a good member is wanted, and the bad one comes last."""
    with pytest.raises(SourceFileError, match=message) as caught:
        run(PACKERS[kind]([*FILES.items(), (bad, b"x")]), ["readme.txt"])
    assert repr(bad) in str(caught.value)
    assert "raw.tar" in str(caught.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices(run, tmp_path, kind):
    entry = tarfile.TarInfo("link")
    entry.type, entry.linkname = kind, "readme.txt"
    with pytest.raises(SourceFileError, match="link or a device 'link'"):
        run(tar_bytes([*FILES.items(), (entry, b"")]), ["readme.txt"])
    assert left(tmp_path) == []


def test_link_in_a_zip(run):
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(SourceFileError, match="link or a device 'link'"):
        run(zip_bytes([*FILES.items(), (entry, b"/etc")]), ["readme.txt"])


def test_a_file_in_the_place_of_a_folder(run, tmp_path):
    with pytest.raises(StorageError):
        run(tar_bytes([("a", b"1"), ("a/b", b"2")]), ["a", "a/b"])
    assert left(tmp_path) == []


def test_missing_member_names_the_nearest(run, tmp_path):
    with pytest.raises(SourceFileError, match=r"'GSM1/matrix\.mtx\.gz'.*GSM1/matrix\.mtx"):
        run(tar_bytes(FILES.items()), ["readme.txt", "GSM1/matrix.mtx.gz"])
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", PACKERS)
def test_truncated_anywhere(run, tmp_path, kind):
    """No other error than ours, and nothing half written."""
    content = PACKERS[kind](FILES.items())
    step = max(len(content) // 60, 1)
    for size in range(0, 5000 if kind == "tar" else len(content) - 8, step):
        with pytest.raises(SourceFileError, match=r"raw\.tar"):
            run(content[:size], ["GSM1/matrix.mtx", "readme.txt"])
        assert left(tmp_path) == []


def test_no_archive(run, tmp_path):
    with pytest.raises(SourceFileError, match="no tar or zip archive"):
        run(b"gene,cell\n" * 200, ["x"])
    with pytest.raises(SourceFileError, match="missing"):
        unpack(tmp_path / "gone", ["x"], tmp_path, name="raw.tar")


@pytest.mark.parametrize("kind", PACKERS)
def test_bombs(run, tmp_path, kind):
    with pytest.raises(SourceFileError, match="more than 4000 bytes"):
        run(PACKERS[kind](FILES.items()), ["readme.txt"], limit=4000)
    assert left(tmp_path) == []


@pytest.mark.parametrize("kind", PACKERS)
def test_bombs_of_many_small_members(run, tmp_path, kind):
    total = sum(map(len, FILES.values()))
    with pytest.raises(SourceFileError, match=f"more than {total - 1} bytes"):
        run(PACKERS[kind](FILES.items()), ["readme.txt"], limit=total - 1)
    assert left(tmp_path) == []
    assert run(PACKERS[kind](FILES.items()), ["readme.txt"], limit=total)


def test_disk_full(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives.Path, "replace", full)
    with pytest.raises(StorageError, match="No space left on device"):
        run(tar_bytes(FILES.items()), list(FILES))
    assert left(tmp_path) == []
