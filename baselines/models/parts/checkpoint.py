"""Read weights safely and load them strictly."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cellresponse.baselines.models.interface import Card
from cellresponse.schema.errors import ModelError

__all__ = [
    "beside",
    "chosen",
    "configured",
    "find_beside",
    "key_names",
    "load_strictly",
    "read_config",
    "read_index",
    "read_state",
    "require_tokens",
    "shapes_of",
    "weight_path",
]

OWN = "model.safetensors"  # what this project writes: keys of the published layout
DDP = "module."


def weight_path(weights: Path, card: Card) -> Path:
    """Find the weight file of a model.

    Parameters
    ----------
    weights
        The file, or a folder that holds it under one of its published names or as
        `model.safetensors`.
    card
        Names the published files.

    Raises
    ------
    ModelError
        It is not there: with the names that would do, and where to get it.
    """
    if weights.is_file():
        return weights
    published = [
        name for file in card.files if file.role == "weights" for name in (file.name, file.also)
    ]
    names = [OWN, *(name for name in published if name not in (OWN, None))]
    for name in names:
        if (weights / name).is_file():
            return weights / name
    raise ModelError(
        f"holds no weights of {card.name}" if weights.is_dir() else "does not exist",
        file=weights,
        allowed=names,
        hint=_where(card, "weights"),
    )


def beside(weights: Path, name: str, card: Card) -> Path:
    """Find another file of a model: in the folder of its weights.

    Parameters
    ----------
    weights
        The weight file, or the folder.
    name
        Name of the file, as its authors give it; another name that the card knows does too.
    card
        Whose file it is.

    Raises
    ------
    ModelError
        It is not there.
    """
    if (found := find_beside(weights, name, card)) is not None:
        return found
    folder = weights if weights.is_dir() else weights.parent
    raise ModelError(f"lacks {name}, which {card.name} needs", file=folder, hint=_where(card, name))


def find_beside(weights: Path, name: str, card: Card) -> Path | None:
    """As `beside`, but None where the file is not there."""
    folder = weights if weights.is_dir() else weights.parent
    names = [name, *(file.also for file in card.files if file.name == name)]
    found = (folder / known for known in names if known is not None)
    return next((path for path in found if path.is_file()), None)


def read_config(weights: Path, published: Mapping[str, Any]) -> dict[str, Any]:
    """Read the configuration beside the weights, `config.json`.

    Parameters
    ----------
    weights
        The weight file.
    published
        Values where there is no such file, or it lacks a key; its other keys are not
        looked at.

    Raises
    ------
    ModelError
        The file is no JSON object, or a value is of another type than the published one.
    """
    path = weights.with_name("config.json")
    if not path.is_file():
        return dict(published)
    return chosen(path, published)


def chosen(path: Path, published: Mapping[str, Any]) -> dict[str, Any]:
    """As `read_config`, from a file of any name that is there."""
    try:
        found = json.loads(path.read_bytes())
        config = {key: found.get(key, value) for key, value in published.items()}
    except (ValueError, AttributeError) as error:
        raise ModelError(f"is no configuration: {error}", file=path) from None
    for key, value in published.items():
        # A bool is an int to Python, but no number of layers.
        kinds = (int, float) if type(value) is float else (type(value),)
        if value is not None and type(config[key]) not in kinds:
            raise ModelError(
                "is no value of a configuration",
                file=path,
                column=key,
                value=json.dumps(config[key]),
                allowed=f"a {type(value).__name__} such as {value}",
                hint="Take the file from the model's authors again",
            )
    return config


@contextmanager
def configured(weights: Path, name: str = "config.json") -> Iterator[None]:
    """Make a network inside: a shape that cannot be is the fault of the file beside the weights.

    Raises
    ------
    ModelError
        The network cannot be made.
    """
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - a wrong shape raises nearly anything
        raise ModelError(
            "describes a network that cannot be made",
            file=weights.with_name(name),
            value=f"{type(error).__name__}: {error}",
            allowed="the configuration that the weights were made with",
            hint="Take the file from the model's authors again",
        ) from None


def require_tokens(tokens: Iterable[int], size: int, file: Path) -> None:
    """Refuse a vocabulary that numbers what the network has no vector for.

    Parameters
    ----------
    tokens
        Numbers of a vocabulary.
    size
        Vectors of the network.
    file
        The vocabulary.

    Raises
    ------
    ModelError
        A number is negative or too large.
    """
    wrong = next((token for token in tokens if not 0 <= token < size), None)
    if wrong is not None:
        raise ModelError(
            "does not fit the model: it holds the token",
            file=file,
            value=wrong,
            allowed=f"0 to {size - 1}",
            hint="Take the vocabulary that belongs to the weights",
        )


def _where(card: Card, wanted: str) -> str:
    urls = [file.url for file in card.files if file.url and wanted in (file.role, file.name)]
    source = f"its authors host it at {urls[0]}" if urls else f"see {card.sources[-1]}"
    return f"`models list` says where each file lives; {source}"


def read_state(path: Path, *nested: str) -> dict[str, torch.Tensor]:
    """Read a state dict; nothing that is stored beside the tensors is executed.

    Parameters
    ----------
    path
        `*.safetensors`, or what torch.save wrote.
    nested
        Keys that lead to the state dict in what torch.save wrote, such as
        `"model_state_dict"`; left out where the file has a state dict at its top.

    Returns
    -------
    dict
        Tensors by key, on the CPU; a prefix `module.` of all keys is removed.

    Raises
    ------
    ModelError
        The file is missing, cut off, no checkpoint, or needs code to be read.
    """
    found = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    for key in nested:
        if isinstance(found, Mapping) and key in found:
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise ModelError("holds no state dict", file=path, allowed=" > ".join(nested) or None)
    state = {str(key): value for key, value in found.items()}
    if other := [key for key, value in state.items() if not isinstance(value, torch.Tensor)]:
        raise ModelError("holds more than tensors", file=path, value=", ".join(sorted(other)[:5]))
    if all(key.startswith(DDP) for key in state):
        state = {key.removeprefix(DDP): value for key, value in state.items()}
    return state


def key_names(path: Path) -> set[str]:
    """Give the keys of all tensors of a file; those of nested dictionaries with dots.

    Raises
    ------
    ModelError
        As in `read_state`.
    """
    if path.name.endswith(".index.json"):
        return set(read_index(path))
    return set(_flat(_safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)))


def read_index(path: Path) -> dict[str, str]:
    """Read which file holds each key, from `model.safetensors.index.json`.

    Raises
    ------
    ModelError
        It is no such index.
    """
    try:
        places = dict(json.loads(path.read_bytes())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"is no index of weights: {error!r}", file=path) from None
    if other := [name for name in places.values() if name != Path(str(name)).name]:
        raise ModelError(
            "is no index of weights", file=path, value=other[0], allowed="names of files beside it"
        )
    return places


def _flat(found: Any, before: str = "") -> Iterator[str]:
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _flat(value, f"{before}{key}.")
    elif isinstance(found, torch.Tensor):
        yield before.removesuffix(".")


def _safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror or error}", file=path) from None
    except SafetensorError as error:
        raise ModelError(f"is cut off or no safetensors file: {error}", file=path) from None


def _torch_file(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ModelError(f"cannot be read: {error.strerror}", file=path) from None
    except pickle.UnpicklingError as error:
        raise _unpickling(path, str(error)) from None
    except Exception as error:  # noqa: BLE001 - a damaged file raises nearly anything
        kind = type(error).__name__
        raise ModelError(f"is cut off or no checkpoint ({kind})", file=path) from None


def _unpickling(path: Path, message: str) -> ModelError:
    named = re.search(r"GLOBAL (\S+)|Unsupported (?:global|class) (\S+)", message)
    if not named:
        return ModelError("is cut off or no checkpoint", file=path)
    return ModelError(
        "would execute code when read, and was not read",
        file=path,
        value=(named[1] or named[2]).strip("`'\""),
        allowed="tensors only",
        hint="Do not use this file unless you trust it; ask for safetensors, or convert it apart",
    )


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Give shape and dtype of every key of a network."""
    return {key: (tuple(value.shape), value.dtype) for key, value in network.state_dict().items()}


def load_strictly(
    network: torch.nn.Module, state: Mapping[str, torch.Tensor], file: Path | str
) -> None:
    """Copy a state dict, in the keys of the network, into it.

    Raises
    ------
    ModelError
        A key is missing, is one too many, or has another shape: in one line.
    """
    if faults := list(_faults(shapes_of(network), state)):
        raise ModelError(f"does not fit the model: {'; '.join(faults)}", file=file)
    network.load_state_dict(dict(state), strict=True)


def _faults(
    wanted: Mapping[str, tuple[tuple[int, ...], torch.dtype]], state: Mapping[str, torch.Tensor]
) -> Iterator[str]:
    listed = {
        "missing": sorted(wanted.keys() - state.keys()),
        "too many": sorted(state.keys() - wanted.keys()),
        "of another shape": [
            f"{key} {list(state[key].shape)} for {list(shape)}"
            for key, (shape, _) in wanted.items()
            if key in state and tuple(state[key].shape) != shape
        ],
    }
    for what, keys in listed.items():
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            yield f"{len(keys)} {what} ({', '.join(keys[:3])}{more})"
