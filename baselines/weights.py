"""The weights of models: where they live, whether they are here, whether they are right."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellresponse.baselines.models.registry import all_models, get_model
from cellresponse.builders.progress import Report, silent
from cellresponse.schema.errors import ModelError

if TYPE_CHECKING:
    from cellresponse.baselines.models.interface import Card, Model, WeightFile

__all__ = [
    "OpenModel",
    "check_weights",
    "fetch_weights",
    "list_lines",
    "list_models",
    "open_model",
    "weights_hash",
]

RANDOM = "@random"
SEED = 0  # of the weights of NAME@random
CONFIG = "config.json"


@dataclass(frozen=True)
class OpenModel:
    """A model that is ready to run.

    Attributes
    ----------
    name
        As asked for, such as `geneformer` or `geneformer@random`.
    model
        Loaded, on the CPU.
    weights_hash
        See `weights_hash`.
    """

    name: str
    model: Model
    weights_hash: str


def open_model(name: str, weights: Path, *, as_published: bool = False) -> OpenModel:
    """Load a model.

    Parameters
    ----------
    name
        Of a registered model. `NAME@random`: a tiny one of the same architecture with
        random weights, a control that has learnt nothing.
    weights
        Folder or file, see `Model.load`; for `NAME@random` the folder of its vocabulary.
    as_published
        Behave as scDrugMap's public code does.

    Raises
    ------
    ModelError
        An unknown name, or weights that are missing, unsafe or wrong.
    """
    base = name.removesuffix(RANDOM)
    kind = get_model(base)
    if not weights.exists():
        raise ModelError("does not exist", file=weights, hint=f"`models fetch {base}`, or a path")
    if name.endswith(RANDOM):
        model = kind.create(weights, size="tiny", as_published=as_published, seed=SEED)
        marks = [f"{name} tiny {SEED}", *_vocabulary_hashes(weights, kind.card)]
        if CONFIG in kind.card.hashed:  # it gives a tiny text model its architecture
            marks += _hashes(weights, [CONFIG], kind.card)
        return OpenModel(name, model, _joint_hash(marks))
    return OpenModel(
        name, kind.load(weights, as_published=as_published), weights_hash(weights, kind.card)
    )


def weights_hash(weights: Path, card: Card) -> str:
    """Give the sha256 over the sha256 of all files that a model is loaded from.

    The weight file or its shards, the configuration, the vocabulary and what `card.hashed`
    names; their names and their order do not count.
    """
    from cellresponse.baselines.models.parts.checkpoint import weight_path

    path = weight_path(weights, card)
    hashes = [_sha256(part) for part in _shards(path)]
    return _joint_hash([*hashes, *_hashes(path, [CONFIG], card), *_vocabulary_hashes(path, card)])


def _vocabulary_hashes(weights: Path, card: Card) -> Iterator[str]:
    vocabulary = [file.name for file in card.files if file.role == "vocabulary"]
    names = dict.fromkeys([*vocabulary, *card.hashed])
    return _hashes(weights, [name for name in names if name != CONFIG], card)


def _hashes(weights: Path, names: Iterable[str], card: Card) -> Iterator[str]:
    """Hash the files of these names that lie beside the weights."""
    from cellresponse.baselines.models.parts.checkpoint import find_beside

    for name in names:
        if (path := find_beside(weights, name, card)) is not None:
            yield _sha256(path)


def _joint_hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shards(path: Path) -> list[Path]:
    """Give the files that hold the weights: those that an index names, or the one."""
    from cellresponse.baselines.models.parts.checkpoint import read_index

    if not path.name.endswith(".index.json"):
        return [path]
    names = sorted(set(read_index(path).values()))
    if missing := [name for name in names if not path.with_name(name).is_file()]:
        raise ModelError("lacks shards of its index", file=path, value=", ".join(missing[:3]))
    return [path.with_name(name) for name in names]


def check_weights(path: Path, name: str | None = None) -> str:
    """Load weights strictly and say in one line what they are.

    Parameters
    ----------
    path
        Folder or file.
    name
        Of the model. None: told by the keys.

    Raises
    ------
    ModelError
        Missing, cut off, unsafe, or keys or shapes that do not fit: in one line.
    """
    from cellresponse.baselines.models.parts.checkpoint import weight_path

    faults = []
    for candidate in [name] if name else _candidates(path):
        kind = get_model(candidate)
        try:
            model = kind.load(path, as_published=False)
        except ModelError as error:
            faults.append(error)
            continue
        elements = sum(parameter.numel() for parameter in model.network.parameters())
        return (
            f"{candidate}: fits; {len(model.network.state_dict())} keys, {elements:,} weights, "
            f"dimension {model.dimension}; {_origin(weight_path(path, kind.card), kind.card)}; "
            f"weights hash {weights_hash(path, kind.card)}"
        )
    raise faults[0]


def _origin(path: Path, card: Card) -> str:
    known = {file.sha256 for file in card.files if file.role == "weights"} - {None}
    digest = _sha256(path)
    if digest in known:
        return f"sha256 {digest}, as its authors published it"
    return f"sha256 {digest}, {'not a published one' if known else 'no published one is known'}"


def _candidates(path: Path) -> list[str]:
    """Give the models whose marks are among the keys of a checkpoint."""
    from cellresponse.baselines.models.parts.checkpoint import key_names

    if not path.exists():
        raise ModelError("does not exist", file=path)
    models = all_models()
    file = path if path.is_file() else _weights_in(path, [kind.card for kind in models.values()])
    keys = key_names(file)
    found = [
        name
        for name, kind in models.items()
        if kind.card.mark
        and all(any(_has_mark(key, mark) for key in keys) for mark in kind.card.mark)
    ]
    if not found:
        raise ModelError(
            f"has the keys of no known model, such as {', '.join(sorted(keys)[:2])}",
            file=file,
            hint="Name the model with --model to see what is missing",
        )
    return found


def _has_mark(key: str, mark: str) -> bool:
    return key == mark[1:] if mark.startswith("^") else f".{key}".endswith(f".{mark}")


def _weights_in(folder: Path, cards: list[Card]) -> Path:
    from cellresponse.baselines.models.parts.checkpoint import weight_path

    for card in cards:
        try:
            return weight_path(folder, card)
        except ModelError:
            continue
    raise ModelError(
        "holds no weight file under a published name",
        file=folder,
        value=", ".join(sorted(path.name for path in folder.iterdir())) or None,
        hint="Give the path of the weight file itself, or the model with --model to see its names",
    )


def fetch_weights(name: str, to: Path, cache: Path, report: Report = silent) -> Path:
    """Get the files of a model from where its authors host them.

    Parameters
    ----------
    name
        Of the model.
    to
        Folder to put them in.
    cache
        Folder of downloads; a broken one goes on from where it stopped.
    report
        Receives a line a file.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ModelError
        A file has no plain download: it must be got by hand.
    SourceFileError
        A file cannot be had, or is not the published one.
    """
    card = get_model(name).card
    if by_hand := [file.name for file in card.files if file.url is None]:
        raise ModelError(
            f"{name} has no plain download of {', '.join(by_hand)}",
            hint=f"Get them from {card.sources[-1]} by hand ({card.weights_licence}), and give "
            "the path with --weights",
        )
    to.mkdir(parents=True, exist_ok=True)
    files = _one_weight_file(card)
    for number, file in enumerate(files, start=1):
        place = to / file.name
        source = _from_package(file) or _download(file, cache)
        if "#" in str(file.url):
            _unpack(source, str(file.url).partition("#")[2], place)
        else:
            _place(source, place)
        report(f"{place}", done=number, total=len(files))
    return to


def _one_weight_file(card: Card) -> list[WeightFile]:
    """Of several forms of the same weights, the first is enough."""
    weights = [file for file in card.files if file.role == "weights"]
    return weights[:1] + [file for file in card.files if file.role != "weights"]


def _download(file: WeightFile, cache: Path) -> Path:
    from cellresponse.builders.sources.fetch import fetch_url

    url, _, member = str(file.url).partition("#")
    # What is known of a member says nothing of its archive.
    known = (None, None) if member else (file.sha256, file.bytes)
    return fetch_url(url, name=file.name, sha256=known[0], bytes=known[1], cache=cache)


def _unpack(archive: Path, member: str, place: Path) -> None:
    """Take one file out of a downloaded archive."""
    from cellresponse.builders.sources.archives import unpack

    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        unpack(archive, [member], Path(folder), name=archive.name)[member].replace(place)


def _from_package(file: WeightFile) -> Path | None:
    if not str(file.url).startswith("package:"):
        return None
    package, _, inner = str(file.url).removeprefix("package:").partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ModelError(
            f"{file.name} lies in the package {package.replace('_', '-')}, which is not installed",
            hint=f"pip install {package.replace('_', '-')}",
        )
    return Path(found.origin).parent / inner


def _place(source: Path, place: Path) -> None:
    """Link a file into its place, or copy it where the disks differ."""
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        shutil.copyfile(source, part)
    part.replace(place)


def list_models(folder: Path) -> list[dict[str, Any]]:
    """Give a record a model: size, input, licence, where its files live, whether they are here.

    Parameters
    ----------
    folder
        Where `models fetch` puts weights, a folder a model.
    """
    return [_record(name, kind.card, folder / name) for name, kind in all_models().items()]


def _record(name: str, card: Card, folder: Path) -> dict[str, Any]:
    from cellresponse.baselines.models.parts.checkpoint import find_beside, weight_path

    missing = [
        file.name
        for file in card.files
        if file.role == "vocabulary" and find_beside(folder, file.name, card) is None
    ]
    try:
        weight_path(folder, card)
    except ModelError:
        missing.insert(0, "weights")
    return {
        "model": name,
        "title": card.title,
        "parameters": card.parameters,
        "dimension": card.dimension,
        "input": card.tokens,
        "organisms": list(card.organisms),
        "code_licence": card.code_licence,
        "weights_licence": card.weights_licence,
        "sources": list(card.sources),
        "files": [
            {"name": file.name, "url": file.url, "sha256": file.sha256} for file in card.files
        ],
        "fetchable": all(file.url for file in card.files),
        "folder": str(folder),
        "missing": missing,
    }


def list_lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """Show the records of `list_models`, three lines a model."""
    for record in records:
        size = f"{record['parameters'] / 1e6:,.1f} M" if record["parameters"] else "any size"
        width = record["dimension"] or "any"
        hosts = {_host(str(file["url"])) for file in record["files"] if file["url"]}
        where = ", ".join(sorted(hosts)) if record["fetchable"] else "by hand"
        here = "here" if not record["missing"] else f"lacks {', '.join(record['missing'])}"
        yield f"{record['model']}: {record['title']}; {size} weights, embedding {width}"
        yield f"  reads {record['input']} ({', '.join(record['organisms'])})"
        yield (
            f"  code {record['code_licence']}; weights {record['weights_licence']}; "
            f"from {where}; {here}"
        )


def _host(url: str) -> str:
    if url.startswith("package:"):
        return f"package {url.removeprefix('package:').partition('/')[0].replace('_', '-')}"
    return url.split("/")[2]
