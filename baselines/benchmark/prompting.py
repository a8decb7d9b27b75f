"""Language models that are asked about test cells, without training.

The answers of a run lie in `prompts/` of the results folder: one file that is continued
when the run is, and one table with what was said of every cell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cellresponse.baselines.benchmark.addendum import Addendum
from cellresponse.baselines.benchmark.cells import TaskCells, physical_ids
from cellresponse.baselines.benchmark.options import BenchmarkOptions
from cellresponse.builders.progress import Report
from cellresponse.schema.storage import storage_errors

if TYPE_CHECKING:
    from cellresponse.baselines.models.prompt import Answer, PromptOptions
    from cellresponse.releases.release import Release

__all__ = [
    "PROMPTS",
    "answered",
    "answers_hash",
    "answers_of",
    "name_of",
    "prompt_rows",
    "read_answers",
]

PROMPTS = {
    "prompt-top10": "top10",
    "prompt-top100": "top100",
    "prompt-chain-of-thought": "chain_of_thought",
}
"""Names for `--models`, and the variant of `baselines.models.prompt`."""

FOLDER = "prompts"
NO_PROBABILITY = "a prompt gives a class and no probability"
RANKED = frozenset({"auroc", "auprc"})
PROBABILITIES = RANKED | {"brier", "ece"}
OTHER = {"precision": "recall", "recall": "precision"}
VALUE = ("value", "low", "high", "undefined")
DROPPED = "left out, as published: the last fewer than ten cells"


def name_of(name: str, options: BenchmarkOptions) -> str:
    """Name a prompt in results, with the language model behind it."""
    return f"{name}:{_options(name, options).model}"


def _options(name: str, options: BenchmarkOptions) -> PromptOptions:
    from cellresponse.baselines.models.prompt import GPT_4O_MINI, PromptOptions

    dropped = "dropped-cells" in options.as_published
    return PromptOptions(
        model=options.prompt_model or GPT_4O_MINI,
        base_url=options.prompt_url,
        variant=PROMPTS[name],  # type: ignore[arg-type]
        attempts=1 if dropped else 3,
    )


def answers_of(
    release: Release,
    name: str,
    cell_ids: Iterable[str],
    options: BenchmarkOptions,
    addendum: Addendum,
    report: Report,
) -> Path:
    """Ask about cells, and write what was said.

    Parameters
    ----------
    release, options, addendum
        Of the run.
    name
        One of `PROMPTS`.
    cell_ids
        Cells that a fold of the run tests on.
    report
        Receives the estimate of the cost before anything is sent.

    Returns
    -------
    Path
        CSV with cell_id, response (empty: no answer), note, reasoning; in order of cell_id.

    Raises
    ------
    ModelError
        There is no key, the estimate is above the limit, or the endpoint refuses.
    """
    from cellresponse.baselines.models.prompt import ask, estimate

    chosen = _options(name, options)
    ids, lists = zip(*sorted(_genes(release, cell_ids, chosen)), strict=True)
    dropped = len(ids) % chosen.cells if "dropped-cells" in options.as_published else 0
    asked = len(ids) - dropped
    expected = estimate(lists[:asked], chosen)
    dollars = "unknown cost" if expected.dollars is None else f"about ${expected.dollars:,.2f}"
    report(
        f"{name_of(name, options)}: {asked:,} cells in {expected.requests:,} requests, about "
        f"{expected.tokens_in:,} tokens in and {expected.tokens_out:,} out, {dollars}"
    )
    folder = addendum.folder / FOLDER
    asking = [name, chosen.model, str(chosen.server), str(chosen.attempts)]
    # One file for all cells that are asked about in this way: no task pays for another's again.
    kept = folder / f"{name}-{_mark(asking)}.jsonl"
    answers = ask(ids[:asked], lists[:asked], kept, chosen, most_dollars=options.most_dollars)
    table = pd.DataFrame(
        [*map(_row, answers), *({"cell_id": cell, "note": DROPPED} for cell in ids[asked:])],
        columns=["cell_id", "response", "note", "reasoning"],
    )
    path = folder / f"{name}-{_mark([*asking, *ids])}.csv"
    addendum.begin()
    with storage_errors(folder):
        folder.mkdir(exist_ok=True)
        table.to_csv(path, index=False)
    without = int(table["response"].isna().sum())
    if without:
        report(f"{name}: {without:,} of {len(table):,} cells have no answer; see {path.name}")
    return path


def _mark(words: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]


def _row(answer: Answer) -> dict[str, object]:
    said = None if answer.sensitive is None else ("resistant", "sensitive")[answer.sensitive]
    return {
        "cell_id": answer.cell_id,
        "response": said,
        "note": answer.note,
        "reasoning": answer.reasoning,
    }


def read_answers(answers: Path) -> pd.Series[str]:
    """Read what was said of each cell, by its id; empty where there is no answer."""
    table = pd.read_csv(answers, keep_default_na=False, dtype=str)
    return table.set_index("cell_id")["response"]


def answers_hash(said: pd.Series[str], cell_ids: Iterable[str]) -> str:
    """Give a sha256 over what was said of some cells, in any order."""
    asked = sorted(set(cell_ids))
    lines = zip(asked, said.reindex(asked).to_numpy(str), strict=True)
    return hashlib.sha256("\n".join("\t".join(line) for line in lines).encode()).hexdigest()


def _genes(
    release: Release, cell_ids: Iterable[str], chosen: PromptOptions
) -> Iterator[tuple[str, str]]:
    """Yield each cell with the list of its most expressed genes."""
    from cellresponse.baselines.embed.cells import (
        blocks_of,
        counts_of_rows,
        genes_of,
        organism_of,
    )
    from cellresponse.baselines.models.prompt import gene_lists
    from cellresponse.releases.selection import read_rows

    for block in blocks_of(release, cell_ids):
        counts = counts_of_rows(read_rows(release, block.study, block.rows), block.cell_ids)
        genes = genes_of(release, organism_of(release, block.study))
        yield from zip(block.cell_ids, gene_lists(counts, genes, chosen.genes), strict=True)


def answered(
    answers: Path, test: TaskCells, options: BenchmarkOptions
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Turn answers about test cells into predictions.

    A cell without an answer counts as wrong; with the fault `dropped-cells` it is left
    out, as published.

    Returns
    -------
    rows : numpy.ndarray
        Test cells that are predicted.
    probability : numpy.ndarray
        Of sensitive, 0 or 1, for each of them.
    """
    found = read_answers(answers).reindex(physical_ids(test.obs)).to_numpy(str)
    probability = (found == "sensitive").astype(np.float64)
    silent = found == ""
    if "dropped-cells" in options.as_published:
        return np.flatnonzero(~silent), probability[~silent]
    probability[silent] = ~test.sensitive[silent]
    return np.arange(len(test)), probability


def prompt_rows(rows: list[dict[str, Any]], faults: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Keep the result rows that classes without probabilities allow.

    Ranks and calibration are undefined. As published, ranks are taken over the called classes
    (`hard-label-auroc`), and precision and recall stand in each other's place
    (`swapped-precision-recall`).

    Parameters
    ----------
    rows
        Of one fold and unit.
    faults
        Those that are reproduced.
    """
    chosen = set(faults)
    value_of = {row["metric"]: {name: row[name] for name in VALUE} for row in rows}
    for row in rows:
        metric = row["metric"]
        undefined = PROBABILITIES if "hard-label-auroc" not in chosen else PROBABILITIES - RANKED
        if metric in undefined:
            yield row | {"value": None, "low": None, "high": None, "undefined": NO_PROBABILITY}
        elif metric in OTHER and "swapped-precision-recall" in chosen:
            yield row | value_of[OTHER[metric]]
        else:
            yield row
