"""Questions to a language model, against a server on this machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loopback_model import KEY, Endpoint, by_number, numbers_of

from cellresponse.baselines.models.interface import Counts, Genes
from cellresponse.baselines.models.prompt import (
    Answer,
    PromptOptions,
    ask,
    estimate,
    gene_lists,
)
from cellresponse.schema.errors import ModelError


def cells(number: int) -> tuple[list[str], list[str]]:
    return [f"cell{n}" for n in range(number)], [f"GENE{n}, ACTB" for n in range(number)]


def test_gene_lists_name_the_most_expressed() -> None:
    counts = Counts(
        np.array([2, 9, 7, 7, 1]),
        np.array([0, 1, 2, 3, 1], np.int32),
        np.array([0, 4, 5]),
        np.zeros(2, np.uint64),
    )
    genes = Genes(np.array(["1", "2", "3", "4"]), np.array(["A", "", "C", "D"]))
    assert gene_lists(counts, genes, 2) == ["C, D", ""]


def test_ten_cells_a_request_and_none_is_dropped(endpoint: Endpoint, tmp_path: Path) -> None:
    ids, lists = cells(23)
    lists[4] = ""
    answers = ask(ids, lists, tmp_path / "a.jsonl", PromptOptions(base_url=endpoint.url))
    assert [answer.cell_id for answer in answers] == ids
    assert answers[4] == Answer("cell4", None, "the cell has no gene with a symbol")
    asked = [answer.sensitive for answer in answers if answer.cell_id != "cell4"]
    assert asked == [True, False] * 11
    assert sorted(len(numbers_of(body)) for body in endpoint.bodies) == [2, 10, 10]
    assert endpoint.keys == {KEY}
    body = endpoint.bodies[0]
    assert body["model"] == "gpt-4o-mini-2024-07-18"
    assert body["temperature"] == 0
    assert body["response_format"]["json_schema"]["strict"] is True
    fields = body["response_format"]["json_schema"]["schema"]["properties"]["cells"]["items"]
    assert fields["required"] == ["cell", "response"]


def test_chain_of_thought_keeps_the_reasoning(endpoint: Endpoint, tmp_path: Path) -> None:
    def reasoned(body: dict[str, Any], numbers: list[int]) -> str:
        entry = {"reasoning": "because", "response": "sensitive"}
        return json.dumps({"cells": [{"cell": n, **entry} for n in numbers]})

    endpoint.reply = reasoned
    options = PromptOptions(base_url=endpoint.url, variant="chain_of_thought")
    (answer,) = ask(["a"], ["ACTB"], tmp_path / "a.jsonl", options)
    assert answer == Answer("a", True, "", "because")
    body = endpoint.bodies[0]
    assert "reason step by step" in body["messages"][0]["content"]
    fields = body["response_format"]["json_schema"]["schema"]["properties"]["cells"]["items"]
    assert fields["required"] == ["cell", "reasoning", "response"]


def test_cells_that_a_reply_leaves_out_are_asked_again(endpoint: Endpoint, tmp_path: Path) -> None:
    """Only those; a cell that is answered twice, or with another word, counts as left out."""

    def forgetful(body: dict[str, Any], numbers: list[int]) -> str:
        if len(endpoint.bodies) > 1:
            return by_number(body, numbers)
        entries = [
            {"cell": 1, "response": "sensitive"},
            {"cell": 2, "response": "sensitive"},
            {"cell": 2, "response": "resistant"},
            {"cell": 3, "response": "perhaps"},
            {"cell": 77, "response": "sensitive"},
        ]
        return json.dumps({"cells": entries})

    endpoint.reply = forgetful
    ids, lists = cells(4)
    answers = ask(ids, lists, tmp_path / "a.jsonl", PromptOptions(base_url=endpoint.url))
    assert [answer.sensitive for answer in answers] == [True, False, True, False]
    assert [numbers_of(body) for body in endpoint.bodies] == [[1, 2, 3, 4], [2, 3, 4]]


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I cannot say.",
        "[]",
        '{"cells": 3}',
        '{"cells": [1]}',
        '{"cells": [{"cell": [1], "response": "sensitive"}]}',
        '{"cells": [{"cell": true, "response": "sensitive"}]}',
    ],
)
def test_a_cell_without_an_answer_says_why(endpoint: Endpoint, tmp_path: Path, reply: str) -> None:
    endpoint.reply = lambda body, numbers: reply
    options = PromptOptions(base_url=endpoint.url, attempts=2)
    kept = tmp_path / "a.jsonl"
    (answer,) = ask(["a"], ["ACTB"], kept, options)
    assert answer.sensitive is None
    assert answer.note == f"no answer in 2 replies, the last: {reply!r}"
    assert len(endpoint.bodies) == 2
    # A run that goes on does not ask until something is said; more requests are another run.
    endpoint.reply = by_number
    assert ask(["a"], ["ACTB"], kept, options) == [answer]
    assert ask(["a"], ["ACTB"], kept, replace(options, attempts=3))[0].sensitive is True


def test_a_busy_endpoint_is_tried_again(endpoint: Endpoint, tmp_path: Path) -> None:
    def busy(body: dict[str, Any], numbers: list[int]) -> str | int:
        return [429, 503, 500][len(endpoint.bodies) - 1] if len(endpoint.bodies) < 4 else "{}"

    endpoint.reply = busy
    options = PromptOptions(base_url=endpoint.url, attempts=1)
    assert ask(["a"], ["ACTB"], tmp_path / "a.jsonl", options)[0].sensitive is None
    assert len(endpoint.bodies) == 4


@pytest.mark.parametrize("status", [400, 401, 404, 503])
def test_a_refusal_stops_with_what_was_answered_kept_and_the_key_unsaid(
    endpoint: Endpoint, tmp_path: Path, status: int
) -> None:
    def refusing(body: dict[str, Any], numbers: list[int]) -> str | int:
        return status if len(endpoint.bodies) > 1 else by_number(body, numbers)

    endpoint.reply = refusing
    options = PromptOptions(base_url=endpoint.url, parallel=1, retries=1)
    ids, lists = cells(30)
    kept = tmp_path / "a.jsonl"
    with pytest.raises(ModelError, match=f"answers with status {status} ") as caught:
        ask(ids, lists, kept, options)
    assert KEY not in str(caught.value)
    assert len(kept.read_text().splitlines()) == 10
    assert KEY not in kept.read_text()
    endpoint.reply = by_number
    endpoint.bodies.clear()
    assert all(answer.sensitive is not None for answer in ask(ids, lists, kept, options))
    assert len(endpoint.bodies) == 2


def test_a_run_that_was_cut_goes_on(endpoint: Endpoint, tmp_path: Path) -> None:
    kept = tmp_path / "a.jsonl"
    options = PromptOptions(base_url=endpoint.url)
    ids, lists = cells(20)
    whole = ask(ids, lists, kept, options)
    kept.write_bytes(kept.read_bytes()[:-30])
    endpoint.bodies.clear()
    assert ask(ids, lists, kept, options) == [*whole[:-1], Answer("cell19", True)]
    assert [numbers_of(body) for body in endpoint.bodies] == [[1]]
    endpoint.bodies.clear()
    ask(ids, lists, kept, options)
    assert endpoint.bodies == []
    # Other genes of a cell, or another question, are asked anew.
    ask(ids, ["CD3E", *lists[1:]], kept, options)
    ask(ids, lists, kept, PromptOptions(base_url=endpoint.url, variant="top100"))
    assert [len(numbers_of(body)) for body in endpoint.bodies[:1]] == [1]
    assert sum(len(numbers_of(body)) for body in endpoint.bodies) == 21
    kept.write_text("{}\n")
    with pytest.raises(ModelError, match=r"a.jsonl, row 1: is no line of answers"):
        ask(ids, lists, kept, options)


def test_the_cost_is_estimated_before_anything_is_sent(endpoint: Endpoint, tmp_path: Path) -> None:
    ids, lists = cells(1000)
    options = PromptOptions(base_url=endpoint.url)
    expected = estimate(lists, options)
    assert expected.requests == 100
    sent = sum(len(text) for text in lists) + 100 * 400
    assert sent / 4 < expected.tokens_in < sent
    assert expected.dollars == pytest.approx(
        expected.tokens_in * 0.15e-6 + expected.tokens_out * 0.60e-6
    )
    thinking = estimate(lists, PromptOptions(variant="chain_of_thought"))
    assert thinking.tokens_out > 5 * expected.tokens_out
    with pytest.raises(
        ModelError, match=r"100 requests would cost about 0.01 dollars.*at most 0.00"
    ):
        ask(ids, lists, tmp_path / "a.jsonl", options, most_dollars=0.001)
    other = PromptOptions(base_url=endpoint.url, model="other")
    assert estimate(lists, other).dollars is None
    with pytest.raises(ModelError, match="price of the model is not known 'other'"):
        ask(ids, lists, tmp_path / "a.jsonl", other, most_dollars=1)
    assert endpoint.bodies == []


def test_without_a_key_or_an_endpoint(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="a cell is asked about twice"):
        ask(["a", "a"], ["ACTB", "ACTB"], tmp_path / "a.jsonl")
    options = PromptOptions(base_url="http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelError, match="the endpoint cannot be reached"):
        ask(["a"], ["ACTB"], tmp_path / "a.jsonl", options)
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ModelError, match=r"there is no key. Set OPENAI_API_KEY"):
        ask(["a"], ["ACTB"], tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("url", "server"),
    [
        (None, None),
        ("https://api.openai.com/v1/", None),
        ("https://user:secret@api.openai.com/v1", None),
        ("http://User:secret@Host.org:8000/v1?key=secret#secret", "http://host.org:8000/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://host.org/secret/v1", "https://host.org/path-d2bbf7545ab50bfe"),
    ],
)
def test_a_server_is_named_without_credentials(url: str | None, server: str | None) -> None:
    assert PromptOptions(base_url=url).server == server


@pytest.mark.parametrize(
    "url", ["secret", "ftp://secret@x", "http://x:secret/v1", "http://[secret"]
)
def test_a_url_of_no_server_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no url of a server. Allowed: http://HOST") as caught:
        ask(["a"], ["ACTB"], tmp_path / "a.jsonl", PromptOptions(base_url=url))
    assert "secret" not in str(caught.value)


def test_credentials_of_a_url_are_used_and_not_shown(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.reply = lambda body, numbers: 401
    options = PromptOptions(base_url=endpoint.url.replace("//", "//user:secret@"), retries=0)
    with pytest.raises(ModelError, match=f"status 401.*{endpoint.url}") as caught:
        ask(["a"], ["ACTB"], tmp_path / "a.jsonl", options)
    assert "secret" not in str(caught.value)


def test_answers_of_another_server_are_not_taken(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the environment names it."""
    kept = tmp_path / "a.jsonl"
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
    ask(["a"], ["ACTB"], kept)
    ask(["a"], ["ACTB"], kept, PromptOptions(base_url=endpoint.url))
    assert len(endpoint.bodies) == 1
    monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url.replace("127.0.0.1", "localhost"))
    ask(["a"], ["ACTB"], kept)
    assert len(endpoint.bodies) == 2
