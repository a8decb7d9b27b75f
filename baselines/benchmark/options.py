"""What a benchmark run is asked to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cellresponse.baselines.benchmark.head_options import HeadOptions
from cellresponse.schema.errors import ReleaseError

__all__ = ["BenchmarkOptions", "make_options"]


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of `benchmark`.

    Attributes
    ----------
    track
        One of `schema.results.TRACKS`.
    by
        Kind of category: tissue, drug_class, regimen, cancer, source, assay, basis or
        declared.
    category, drug
        One category, one treatment. None: all.
    models
        Comparators and models; `NAME@random` is a tiny model with random weights.
    strategy
        `frozen`: a head on embeddings. `lora`: adapters and a head. Comparators have none.
    splits
        Those to run. Empty: every split that the release has for a task.
    stars
        Resistant cells with fewer stars are left out. None: none is.
    harmony
        Correct components and embeddings of the task's cells by batch. The correction sees
        test cells, without their labels.
    as_published
        Faults of the published code to reproduce.
    weights
        Folder with one folder a model.
    rank
        Of LoRA.
    shots
        Labelled cells of each response that the target gives to training. None: none.
    head
        How heads are trained.
    prompt_model, prompt_url
        Language model behind the prompts, and an endpoint that speaks OpenAI's protocol.
        None: those of `baselines.models.prompt`.
    most_dollars
        Nothing is asked when the estimate is above it. None: no limit.
    device
        Of torch.
    seed
        Of everything drawn.
    workers
        Processes.
    """

    track: str
    by: str
    category: str | None = None
    drug: str | None = None
    models: tuple[str, ...] = ()
    strategy: str = "frozen"
    splits: tuple[str, ...] = ()
    stars: int | None = None
    harmony: bool = False
    as_published: frozenset[str] = frozenset()
    weights: Path | None = None
    rank: int = 8
    shots: int | None = None
    head: HeadOptions = HeadOptions()  # noqa: RUF009 - frozen, so safe to share
    prompt_model: str | None = None
    prompt_url: str | None = None
    most_dollars: float | None = None
    device: str = "cpu"
    seed: int = 0
    workers: int = 1

    def recorded(self, strategy: str) -> str:
        """Give what a result depends on, beside its own columns, as JSON."""
        found: dict[str, Any] = {
            "stars": self.stars,
            "harmony": self.harmony,
            "as_published": sorted(self.as_published),
            "shots": self.shots,
        }
        if strategy in ("frozen", "lora"):
            found["head"] = asdict(self.head)
        if strategy == "lora":
            found["rank"] = self.rank
        if strategy == "prompt" and (server := self._server()) is not None:
            found["server"] = server
        return json.dumps(found, sort_keys=True, separators=(",", ":"))

    def _server(self) -> str | None:
        from cellresponse.baselines.models.prompt import PromptOptions

        return PromptOptions(base_url=self.prompt_url).server


def make_options(
    *, class_weight: bool = False, patience: int | None = None, **given: Any
) -> BenchmarkOptions:
    """Make options as the command line has them.

    Raises
    ------
    ReleaseError
        Options that do not go together.
    """
    options = BenchmarkOptions(
        head=HeadOptions(
            outputs=2 if "two-logits" in given["as_published"] else 1,
            class_weight=class_weight,
            patience=patience,
        ),
        **given,
    )
    if options.strategy == "lora" and (patience is not None or options.harmony):
        raise ReleaseError(
            "adapters are trained for a fixed number of epochs, on tokens of counts",
            column="--strategy lora",
            value="--harmony" if options.harmony else f"--patience {patience}",
            hint="Leave it out, or take --strategy frozen",
        )
    if (options.track == "few-shot") != (options.shots is not None):
        raise ReleaseError(
            "the few-shot track, and no other, takes a number of labelled cells",
            column="--shots",
            value=options.shots,
            hint="Give --track few-shot --shots K, or neither",
        )
    return options
