"""What competes in a run: comparators, models on frozen embeddings, models with adapters."""

from __future__ import annotations

import difflib
import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.addendum import Addendum, Runtime, peak_memory
from cellresponse.baselines.benchmark.cells import TaskCells, physical_ids
from cellresponse.baselines.benchmark.comparators import COMPARATORS, NEEDS_EXPRESSION
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.baselines.benchmark.prompting import PROMPTS, answers_of, name_of
from cellresponse.builders.progress import Report
from cellresponse.schema.errors import ModelError

if TYPE_CHECKING:
    from cellresponse.baselines.weights import OpenModel
    from cellresponse.releases.release import Release

__all__ = ["Contender", "contenders"]

EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Contender:
    """One model of a run.

    Attributes
    ----------
    name
        As in results; a tiny model with random weights is `NAME@random`.
    strategy
        `comparator`, `frozen`, `lora` or `prompt`.
    weights_hash
        sha256 over the weights; None: there are none.
    weights
        Folder that the model is loaded from; None: a comparator.
    embeddings
        Parquet file of embeddings, as `embed` writes it; None: none are read.
    answers
        Table of a language model's answers, as `answers_of` writes it; None: none is asked.
    """

    name: str
    strategy: str
    weights_hash: str | None = None
    weights: Path | None = None
    embeddings: Path | None = None
    answers: Path | None = None

    @property
    def reads_counts(self) -> bool:
        """Whether expression features are needed."""
        return self.name in NEEDS_EXPRESSION

    def embedding(self, cells: pd.DataFrame) -> NDArray[np.float32]:
        """Read (cells, d) float32 embeddings of cells, in their order."""
        table = pq.read_table(self.embeddings)
        wanted = pa.array(physical_ids(cells), pa.string())
        there = pc.index_in(wanted, value_set=table["cell_id"].combine_chunks())
        found = table["embedding"].combine_chunks().take(there)
        return np.array(found.flatten()).reshape(len(cells), -1)

    def predict(
        self, train: TaskCells, test: TaskCells, options: BenchmarkOptions
    ) -> NDArray[np.float64]:
        """Fit on one side, give (cells,) probabilities of sensitive for the other."""
        if self.strategy == "comparator":
            return COMPARATORS[self.name](train, test, seed=options.seed)
        from cellresponse.baselines.benchmark.head import fit_head, predict_head

        head = fit_head(
            train.features[self.name],
            train.sensitive,
            seed=options.seed,
            options=options.head,
            device=options.device,
        )
        return predict_head(head, test.features[self.name])


def contenders(
    release: Release,
    cell_ids: Iterable[str],
    tested: Iterable[str],
    options: BenchmarkOptions,
    addendum: Addendum,
    report: Report,
) -> list[Contender]:
    """Check the models of a run, and compute the embeddings that they need.

    Parameters
    ----------
    release
        The release.
    cell_ids
        Cells of all tasks of the run.
    tested
        Those that a fold tests on; language models are asked about no others.
    options
        Names of models, and where their weights are.
    addendum
        Keeps embeddings, so that another run reads them.
    report
        Receives lines about the progress.

    Raises
    ------
    ModelError
        An unknown name, or weights that are missing or wrong.
    """
    _require_known(options.models)
    for name in options.models:
        if name not in (*COMPARATORS, *PROMPTS):
            _weights_of(name, options.weights)  # told before the first model takes its hours
    wanted = sorted(set(cell_ids))
    found: list[Contender] = []
    for name in options.models or tuple(COMPARATORS):
        if name in COMPARATORS:
            found.append(Contender(name, "comparator"))
            continue
        if name in PROMPTS:
            answers = answers_of(release, name, tested, options, addendum, report)
            found.append(Contender(name_of(name, options), "prompt", answers=answers))
            continue
        weights = _weights_of(name, options.weights)
        if options.strategy == "frozen":
            found.append(_embedded(release, name, weights, wanted, options, addendum, report))
        else:
            opened = _open(name, weights, options)
            found.append(Contender(name, "lora", opened.weights_hash, weights))
    return found


def _require_known(names: Iterable[str]) -> None:
    from cellresponse.baselines.models.registry import model_names

    models = model_names()
    known = [*COMPARATORS, *PROMPTS, *models]
    for name in names:
        if name not in known and name.partition("@")[0] not in models:
            near = difflib.get_close_matches(name, known, n=3)
            raise ModelError(
                "there is no such model or comparator",
                value=name,
                allowed=[*near, *(one for one in known if one not in near)],
            )


def _weights_of(name: str, weights: Path | None) -> Path:
    from cellresponse.baselines.models.registry import get_model

    base = name.partition("@")[0]
    get_model(base)
    if weights is None or not (weights / base).is_dir():
        raise ModelError(
            f"the weights of {base} are missing",
            file=weights,
            hint=f"Give --weights FOLDER, where FOLDER/{base} holds its files (`models fetch "
            f"{base}` or `models pretrain` puts them there)",
        )
    return weights / base


def _open(name: str, weights: Path, options: BenchmarkOptions) -> OpenModel:
    from cellresponse.baselines.embed.options import EmbedOptions, settled
    from cellresponse.baselines.weights import open_model

    settled(EmbedOptions(device=options.device), name)  # a wrong device is named at once
    return open_model(name, weights, as_published="model-inputs" in options.as_published)


def _embedded(
    release: Release,
    name: str,
    weights: Path,
    cell_ids: list[str],
    options: BenchmarkOptions,
    addendum: Addendum,
    report: Report,
) -> Contender:
    from cellresponse.baselines.embed.options import EmbedOptions
    from cellresponse.baselines.embed.run import embed_release

    opened = _open(name, weights, options)
    published = "model-inputs" in options.as_published
    cells = hashlib.sha256("\n".join(cell_ids).encode()).hexdigest()
    mark = hashlib.sha256(f"{opened.weights_hash} {published} {cells}".encode()).hexdigest()
    file = addendum.folder / EMBEDDINGS / f"{name.replace('@', '-')}-{mark[:16]}.parquet"
    if not file.exists():
        addendum.begin()
        file.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        embed_release(
            release.folder,
            name,
            weights,
            file,
            options=EmbedOptions(as_published=published, device=options.device),
            cell_ids=cell_ids,
            report=report,
        )
        addendum.write_runtime(
            Runtime(
                model=name,
                strategy="frozen",
                step="embed",
                device=options.device,
                parameters=sum(p.numel() for p in opened.model.network.parameters()),
                dimension=opened.model.dimension,
                cells=len(cell_ids),
                seconds=time.perf_counter() - start,
                peak_mib=peak_memory(options.device),
            )
        )
    return Contender(name, "frozen", opened.weights_hash, weights, file)
