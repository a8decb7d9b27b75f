"""Ask a language model: GPT-4o-mini, or any endpoint that speaks OpenAI's chat protocol.

Input     Ten cells a request, each as its 10 or 100 most expressed genes. Nothing else is
          told: no study, drug or tissue.
Output    For each cell `sensitive` or `resistant`, as JSON by a schema; with `chain_of_thought`
          after a reasoning about each cell.

As published (scDrugMap): the study's accession was named, the reply was free text read by a
pattern, replies of another form and the last cells of a set that did not fill a request were
dropped. Here every cell ends with an answer, or with the reason why it has none; what was
answered is kept, so that a run that was cut goes on; the cost is estimated first.

There is no vocabulary, no embedding and no LoRA. The key is read from OPENAI_API_KEY.
Licence: the endpoint's terms; counts of patients' cells may not be yours to send.
Sources: doi 10.1038/s41467-025-67481-2; platform.openai.com/docs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.parts.ranks import ranked
from cellresponse.schema.errors import ModelError

__all__ = ["Answer", "Estimate", "PromptOptions", "ask", "estimate", "gene_lists"]

OPENAI = "https://api.openai.com/v1"
GPT_4O_MINI = "gpt-4o-mini-2024-07-18"
PRICES = {GPT_4O_MINI: (0.15, 0.60)}  # list price in US dollars a million tokens, in and out
CHARACTERS = 2.5  # a token of gene symbols, about: fewer than in prose, so that we err upwards
REPLY, THOUGHT = 12, 80  # tokens of a cell's answer, and of a reasoning about it, about

TASK = (
    "You are an expert in single-cell transcriptomics and cancer pharmacology. Each numbered "
    "line lists the most expressed genes of one cancer cell, the most expressed first. Judge "
    "for each cell whether it is sensitive or resistant to anti-cancer drug treatment. "
    "Answer for every cell, with its number."
)
THINK = " For each cell, first reason step by step in a sentence or two, then give the answer."


@dataclass(frozen=True)
class PromptOptions:
    """How to ask.

    Attributes
    ----------
    model
        Name at the endpoint.
    base_url
        Of the endpoint. None: OPENAI_BASE_URL, or OpenAI's.
    variant
        `top10` or `top100` genes a cell, or `chain_of_thought`: ten, with a reasoning.
    cells
        A request.
    attempts
        Requests for a cell before it is given up.
    retries
        Of one request, where the endpoint is busy or the connection breaks.
    parallel
        Requests at a time.
    price
        US dollars a million tokens, in and out. None: the list price where known.
    """

    model: str = GPT_4O_MINI
    base_url: str | None = None
    variant: Literal["top10", "top100", "chain_of_thought"] = "top10"
    cells: int = 10
    attempts: int = 3
    retries: int = 5
    parallel: int = 4
    price: tuple[float, float] | None = None

    @property
    def genes(self) -> int:
        """Genes of a cell that are named."""
        return 100 if self.variant == "top100" else 10

    @property
    def thinks(self) -> bool:
        """Whether a reasoning is asked for."""
        return self.variant == "chain_of_thought"

    @property
    def server(self) -> str | None:
        """Name of the endpoint, without what may be a credential; None: OpenAI's own.

        Its url without user, password, query and fragment. A path other than `/v1` may hold
        a token, and is named by a digest.

        Raises
        ------
        ModelError
            The url is not one of a server.
        """
        return _server(_address(self))


@dataclass(frozen=True)
class Answer:
    """What a model said of a cell.

    Attributes
    ----------
    cell_id
        Of the cell.
    sensitive
        None: there is no answer; `note` says why.
    note
        Why there is no answer; empty where there is one.
    reasoning
        Empty unless it was asked for.
    """

    cell_id: str
    sensitive: bool | None
    note: str = ""
    reasoning: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a run will take, about; cells that must be asked again come on top.

    Attributes
    ----------
    requests, tokens_in, tokens_out
        In all.
    dollars
        None: the price is not known.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    dollars: float | None


def _address(options: PromptOptions) -> str:
    return options.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI


def _server(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        # The value may hold a password, and is not shown.
        raise ModelError(
            "the address of the language model is no url of a server",
            column="--prompt-url, OPENAI_BASE_URL",
            allowed="http://HOST/PATH or https://HOST/PATH",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    path = parts.path.rstrip("/")
    if path not in ("", "/v1"):
        path = f"/path-{hashlib.sha256(path.encode()).hexdigest()[:16]}"
    server = urlunsplit((parts.scheme, place, path, "", ""))
    return None if server == OPENAI else server


def gene_lists(counts: Counts, genes: Genes, number: int) -> list[str]:
    """Name the most expressed genes of each cell, the most expressed first.

    Parameters
    ----------
    counts, genes
        As for `Model.tokenise`; genes without a symbol are left out.
    number
        Genes of a cell.
    """
    named = genes.symbols[counts.genes] != ""
    ends = np.append(0, np.cumsum(named))[counts.offsets].astype(np.int64)
    places = counts.genes[named]
    index, offsets = ranked(counts.values[named], ends, number)
    symbols = genes.symbols[places[index]]
    return [", ".join(symbols[start:stop]) for start, stop in pairwise(offsets)]


def estimate(lists: Sequence[str], options: PromptOptions) -> Estimate:
    """Estimate requests, tokens and cost before anything is sent."""
    prompts = [_prompt(list(enumerate(part, 1)), options) for part in _parts(lists, options.cells)]
    tokens_in = int(sum(map(len, prompts)) / CHARACTERS)
    tokens_out = len(lists) * (REPLY + (THOUGHT if options.thinks else 0))
    price = options.price or PRICES.get(options.model)
    dollars = None if price is None else (tokens_in * price[0] + tokens_out * price[1]) / 1e6
    return Estimate(len(prompts), tokens_in, tokens_out, dollars)


def ask(
    cell_ids: Sequence[str],
    lists: Sequence[str],
    kept: Path,
    options: PromptOptions | None = None,
    *,
    most_dollars: float | None = None,
) -> list[Answer]:
    """Ask about cells; every cell comes back, in order.

    Parameters
    ----------
    cell_ids, lists
        Of each cell; see `gene_lists`.
    kept
        File of answers (JSON lines). What the same model said to the same question, or that
        it said nothing in as many requests, is not asked for again, so that a run that was
        cut goes on.
    options
        None: the defaults.
    most_dollars
        Nothing is sent when the estimate is above it. None: no limit.

    Raises
    ------
    ModelError
        There is no key, the estimate is too high, or the endpoint refuses; answers up to
        there are kept.
    """
    options = options or PromptOptions()
    if len(set(cell_ids)) != len(cell_ids):
        raise ModelError("a cell is asked about twice")
    keys = {cell: _key(text, options) for cell, text in zip(cell_ids, lists, strict=True)}
    answers = _read(kept, keys)
    open_cells = [
        (cell, text)
        for cell, text in zip(cell_ids, lists, strict=True)
        if cell not in answers and text
    ]
    _require_affordable([text for _, text in open_cells], options, most_dollars)
    requests = _parts(open_cells, options.cells)
    if requests:
        client = _client(options)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with kept.open("a", encoding="utf-8") as file, ThreadPoolExecutor(options.parallel) as pool:
            try:
                for found in pool.map(lambda part: _one_request(client, part, options), requests):
                    for answer in found:
                        # Silence is kept too: to ask until something is said would choose.
                        answers[answer.cell_id] = answer
                        entry = {"key": keys[answer.cell_id], **asdict(answer)}
                        file.write(json.dumps(entry) + "\n")
                    file.flush()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    empty = "the cell has no gene with a symbol"
    return [answers.get(cell) or Answer(cell, None, empty) for cell in cell_ids]


def _parts[Item](items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _key(text: str, options: PromptOptions) -> str:
    """Name a question: the same genes, asked of the same model in the same way."""
    question = [options.model, options.server, options.variant, options.attempts, TASK, text]
    return hashlib.sha256(json.dumps(question).encode()).hexdigest()


def _read(kept: Path, keys: dict[str, str]) -> dict[str, Answer]:
    """Read the answers of an earlier run; cut a line that was not written to its end."""
    if not kept.is_file():
        return {}
    content = kept.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with kept.open("r+b") as file:
            file.truncate(len(whole))
    found = {}
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            entry = json.loads(line)
            key, answer = entry.pop("key"), Answer(**entry)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ModelError("is no line of answers", file=kept, row=number) from None
        if keys.get(answer.cell_id) == key:
            found[answer.cell_id] = answer
    return found


def _require_affordable(
    lists: list[str], options: PromptOptions, most_dollars: float | None
) -> None:
    if most_dollars is None:
        return
    expected = estimate(lists, options)
    if expected.dollars is None:
        raise ModelError(
            "the price of the model is not known",
            value=options.model,
            hint="Give the price a million tokens, or no limit",
        )
    if expected.dollars > most_dollars:
        raise ModelError(
            f"{expected.requests:,} requests would cost about {expected.dollars:,.2f} dollars",
            allowed=f"at most {most_dollars:,.2f}",
            hint="Nothing was sent; ask about fewer cells, or raise the limit",
        )


def _client(options: PromptOptions) -> Any:
    if not os.environ.get("OPENAI_API_KEY"):
        raise ModelError(
            "there is no key", hint="Set OPENAI_API_KEY; a local endpoint takes any word"
        )
    import openai

    return openai.OpenAI(base_url=_address(options), max_retries=options.retries, timeout=120)


def _one_request(
    client: Any, cells: Sequence[tuple[str, str]], options: PromptOptions
) -> list[Answer]:
    """Ask about some cells, and once more about those that the reply leaves out."""
    waiting = dict(enumerate(cells, start=1))
    answers: dict[int, Answer] = {}
    note = ""
    for _ in range(options.attempts):
        reply = _send(
            client, _prompt([(n, text) for n, (_, text) in waiting.items()], options), options
        )
        found = dict(_judgements(reply, waiting))
        answers.update(found)
        waiting = {number: cell for number, cell in waiting.items() if number not in found}
        if not waiting:
            break
        note = f"no answer in {options.attempts} replies, the last: {reply[:100]!r}"
    answers |= {number: Answer(cell, None, note) for number, (cell, _) in waiting.items()}
    return [answers[number] for number in sorted(answers)]


def _prompt(cells: Iterable[tuple[int, str]], options: PromptOptions) -> str:
    lines = [f"{number}. {text}" for number, text in cells]
    return "\n".join([TASK + (THINK if options.thinks else ""), "", *lines])


def _schema(options: PromptOptions) -> dict[str, Any]:
    fields: dict[str, Any] = {"cell": {"type": "integer"}}
    if options.thinks:
        fields["reasoning"] = {"type": "string"}
    fields["response"] = {"type": "string", "enum": ["sensitive", "resistant"]}
    closed: dict[str, Any] = {"type": "object", "additionalProperties": False}
    cell = {**closed, "properties": fields, "required": list(fields)}
    cells = {"type": "array", "items": cell}
    return {**closed, "properties": {"cells": cells}, "required": ["cells"]}


def _send(client: Any, prompt: str, options: PromptOptions) -> str:
    import openai

    schema = {"name": "responses", "strict": True, "schema": _schema(options)}
    try:
        reply = client.chat.completions.create(
            model=options.model,
            messages=[{"role": "user", "content": prompt}],
            temperature=0,
            response_format={"type": "json_schema", "json_schema": schema},
        )
    except openai.APIStatusError as error:
        # The body of the reply may repeat the key: only its status is told.
        raise ModelError(
            f"the endpoint answers with status {error.status_code} ({type(error).__name__})",
            value=options.server or OPENAI,
            hint="Check the key, the model's name and the quota; answers are kept, run again",
        ) from None
    except openai.APIError as error:
        raise ModelError(
            f"the endpoint cannot be reached ({type(error).__name__})",
            value=options.server or OPENAI,
            hint="Answers are kept; run again",
        ) from None
    return (reply.choices[0].message.content or "") if reply.choices else ""


def _judgements(reply: str, waiting: dict[int, tuple[str, str]]) -> Iterator[tuple[int, Answer]]:
    """Take from a reply what is a clear answer about one of the cells."""
    try:
        entries = json.loads(reply)["cells"]
        numbers = [entry["cell"] for entry in entries]
    except (ValueError, TypeError, KeyError):
        return
    for entry, number in zip(entries, numbers, strict=True):
        response = entry.get("response")
        # Two answers about a cell are none.
        clear = numbers.count(number) == 1 and response in ("sensitive", "resistant")
        if clear and type(number) is int and number in waiting:
            reasoning = str(entry.get("reasoning", ""))
            yield number, Answer(waiting[number][0], response == "sensitive", "", reasoning)
