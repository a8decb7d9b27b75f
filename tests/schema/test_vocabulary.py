"""The vocabularies: their tables hold together, and every spelling finds its term."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellresponse.schema.errors import EvidenceError
from cellresponse.schema.term import spelling_key
from cellresponse.schema.vocabulary import (
    Term,
    Vocabulary,
    assays,
    cancer_types,
    cell_lines,
    drugs,
    treatment,
    treatment_id,
    words,
)

TABLES = {
    "drugs.csv": drugs,
    "cancer_types.csv": cancer_types,
    "cell_lines.csv": cell_lines,
    "assays.csv": assays,
}
LISTS = [
    "access",
    "arm",
    "barcode_rule",
    "basis",
    "category",
    "collection",
    "control_outcome",
    "dose_unit",
    "doublet",
    "drug_class",
    "drug_kind",
    "intrinsic_resistance",
    "lesion",
    "malignant",
    "organism",
    "outcome",
    "proliferation",
    "reader",
    "response",
    "source_type",
    "split",
    "status",
    "track",
]
FOLDER = Path(__file__).parents[2] / "schema" / "vocabularies"
AGENTS = [term.id for term in drugs() if term.extra["kind"] != "regimen"]

each_table = pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))


def rows(file: str) -> list[dict[str, str]]:
    with (FOLDER / file).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def every_vocabulary() -> list[Vocabulary]:
    return [table() for table in TABLES.values()] + [words(name) for name in LISTS]


# --- the tables -----------------------------------------------------------------------


@pytest.mark.parametrize("file", [*TABLES, "words.csv"])
def test_files_are_tidy(file: str) -> None:
    raw = (FOLDER / file).read_bytes()
    raw.decode("utf-8")
    assert b"\r" not in raw
    assert raw.endswith(b"\n")
    for row in rows(file):
        assert None not in row, "too many fields"
        for value in row.values():
            assert value is not None, f"too few fields: {row}"
            assert value == value.strip()
        assert "" not in row["synonyms"].split(";") or not row["synonyms"]


@pytest.mark.parametrize("file", TABLES)
def test_ids_are_unique_and_sorted(file: str) -> None:
    column, *_ = rows(file)[0]
    ids = [row[column] for row in rows(file)]
    assert ids == sorted(set(ids))


def test_words_are_unique_and_sorted() -> None:
    keys = [(row["vocabulary"], row["word"]) for row in rows("words.csv")]
    assert keys == sorted(set(keys))
    assert sorted({vocabulary for vocabulary, _ in keys}) == LISTS
    assert all(row["description"] for row in rows("words.csv"))


def test_no_spelling_belongs_to_two_terms() -> None:
    assert {v.name: v.shared_spellings for v in every_vocabulary() if v.shared_spellings} == {}


def test_no_spelling_is_lost_when_punctuation_goes() -> None:
    for vocabulary in every_vocabulary():
        for term in vocabulary:
            assert all(spelling_key(text) for text in term.spellings)


def test_drugs_hold_together() -> None:
    for term in drugs():
        assert term.id == term.id.lower()
        assert "+" not in "".join(term.spellings), "would be read as a regimen"
        assert term.extra["kind"] in words("drug_kind")
        assert not term.extra["drug_class"] or term.extra["drug_class"] in words("drug_class")
        components = [part for part in term.extra["components"].split(";") if part]
        assert components == sorted(set(components))
        assert not components or term.extra["kind"] == "regimen"
        assert all(drugs()[part].extra["kind"] != "regimen" for part in components)


@pytest.mark.parametrize("column", ["chembl_id", "pubchem_cid", "drugbank_id", "cas"])
def test_a_drug_identifier_names_one_drug(column: str) -> None:
    identifiers = [term.extra[column] for term in drugs() if term.extra[column]]
    assert identifiers
    assert len(identifiers) == len(set(identifiers))


def test_drugs_say_where_they_were_read() -> None:
    assert all(term.extra["source"] for term in drugs())


def test_cas_numbers_have_their_check_digit() -> None:
    for term in drugs():
        if cas := term.extra["cas"]:
            *digits, check = list(cas.replace("-", ""))
            total = sum(place * int(digit) for place, digit in enumerate(reversed(digits), 1))
            assert total % 10 == int(check), cas


def test_cancer_types_form_a_forest() -> None:
    assert len(cancer_types()) >= 25
    for term in cancer_types():
        seen = [term.id]
        while parent := cancer_types()[seen[-1]].extra["parent"]:
            assert parent not in seen
            seen.append(parent)


def test_cell_lines_have_known_cancer_types() -> None:
    for term in cell_lines():
        cancer_type = term.extra["cancer_type"]
        assert not cancer_type or cancer_type in cancer_types()


@pytest.mark.parametrize(
    ("table", "column", "prefix"),
    [
        (cancer_types, "mondo", "MONDO:"),
        (cell_lines, "cellosaurus", "CVCL_"),
        (assays, "efo", "EFO:"),
    ],
)
def test_identifiers_have_their_prefix(
    table: Callable[[], Vocabulary], column: str, prefix: str
) -> None:
    identifiers = [term.extra[column] for term in table() if term.extra[column]]
    assert identifiers
    assert len(identifiers) == len(set(identifiers))
    assert all(identifier.startswith(prefix) for identifier in identifiers)


# --- finding a term -------------------------------------------------------------------


@each_table
def test_every_spelling_finds_its_term(table: Callable[[], Vocabulary]) -> None:
    for term in table():
        assert all(table().resolve(text) is term for text in term.spellings)


@given(st.data())
def test_case_space_and_punctuation_do_not_matter(data: st.DataObject) -> None:
    term = data.draw(st.sampled_from(list(drugs())))
    noise = data.draw(st.lists(st.sampled_from(["", " ", "-", "_", "."]), min_size=60, max_size=60))
    text = data.draw(st.sampled_from([str.upper, str.lower, str.swapcase]))(term.name)
    noisy = "".join(a + b for a, b in zip(text, noise, strict=False)) + text[len(noise) :]
    assert drugs().resolve(noisy) is term


@pytest.mark.parametrize(
    ("vocabulary", "text", "word"),
    [
        ("dose_unit", "µM", "uM"),
        ("dose_unit", "μM", "uM"),
        ("dose_unit", "mg/m²", "mg/m2"),
        ("dose_unit", "x IC50", "xIC50"),
        ("organism", "Homo sapiens", "human"),
        ("source_type", "patient tumour", "patient_tumour"),
        ("doublet", "SNG", "singlet"),
    ],
)
def test_words_have_synonyms(vocabulary: str, text: str, word: str) -> None:
    assert words(vocabulary).resolve(text).id == word


def test_compatibility_forms_are_one_spelling() -> None:
    assert spelling_key("\uff30\uff23-\uff19") == spelling_key("PC9") == "pc9"
    assert spelling_key("\u00b5M") == spelling_key("\u03bcM")
    assert spelling_key("mg/m\u00b2") == "mgm2"


def test_plx_4720_is_one_spelling() -> None:
    assert {drugs().resolve(text).id for text in ("PLX4720", "PLX-4720", "plx 4720")} == {
        "plx-4720"
    }


def test_a_short_list_is_shown_whole() -> None:
    with pytest.raises(EvidenceError) as caught:
        words("dose_unit").resolve("uMM", file="samples.csv", row=3, column="dose_unit")
    text = str(caught.value)
    assert text.startswith("samples.csv, row 3, column dose_unit: unknown dose unit 'uMM'.")
    assert caught.value.allowed is not None
    assert sorted(caught.value.allowed) == words("dose_unit").words
    assert caught.value.allowed[0] == "uM"


def test_a_long_list_names_the_nearest() -> None:
    with pytest.raises(EvidenceError) as caught:
        drugs().resolve("erlotinb")
    assert caught.value.allowed is not None
    assert caught.value.allowed[0] == "erlotinib"
    assert len(caught.value.allowed) <= 3
    assert "drugs.csv" in str(caught.value)


def test_nothing_alike_points_to_the_table() -> None:
    with pytest.raises(EvidenceError, match=r"Allowed: a word of schema/vocabularies/drugs\.csv"):
        drugs().resolve("@@@@")


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_no_word(text: str) -> None:
    with pytest.raises(EvidenceError, match="empty drug"):
        drugs().resolve(text)


def test_a_shared_synonym_names_both_terms() -> None:
    vocabulary = Vocabulary(
        "cell line",
        "cell_lines.csv",
        [Term("HT29", "HT29", ("HT",), {}), Term("HT55", "HT55", ("H-T",), {})],
    )
    assert vocabulary.shared_spellings == {"ht": ["HT29", "HT55"]}
    with pytest.raises(EvidenceError, match=r"ambiguous cell line 'ht'\. Allowed: HT29, HT55"):
        vocabulary.resolve("ht")


def test_an_id_is_never_ambiguous() -> None:
    vocabulary = Vocabulary("x", "x.csv", [Term("a", "a", ("b",), {}), Term("b", "b", (), {})])
    assert vocabulary.resolve("b").id == "b"


def test_an_id_is_in_its_vocabulary_and_a_synonym_is_not() -> None:
    assert "human" in words("organism")
    assert "Homo sapiens" not in words("organism")
    assert words("organism")["human"].name == "human"


def test_an_unknown_list_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="no vocabulary 'colour'"):
        words("colour")


@given(st.text())
def test_any_text_gives_a_term_or_an_evidence_error(text: str) -> None:
    try:
        found = treatment(text)
    except EvidenceError as error:
        assert str(error)  # noqa: PT017 - either way is right, and one of them is asserted
    else:
        assert treatment(found.id) == found


# --- treatments -----------------------------------------------------------------------


@given(st.lists(st.sampled_from(AGENTS), min_size=1, max_size=5, unique=True), st.randoms())
def test_a_treatment_has_one_id_for_every_order(parts: list[str], random: Random) -> None:
    shuffled = sorted(parts, reverse=True)
    random.shuffle(shuffled)
    found = treatment(" + ".join(shuffled))
    assert found.id == "+".join(sorted(parts))
    assert [term.id for term in found.components] == sorted(parts)
    assert treatment(found.id) == found
    assert treatment(found.name) == found


def test_a_treatment_of_one_drug_is_the_drug() -> None:
    assert treatment_id("Taxol") == "paclitaxel"
    assert treatment("Taxol").components == (drugs()["paclitaxel"],)


def test_a_named_regimen_is_its_components() -> None:
    spelled_out = "daratumumab + carfilzomib + lenalidomide + dexamethasone"
    assert treatment("DARA-KRD") == treatment(spelled_out)


def test_a_regimen_of_unknown_components_stands_for_itself() -> None:
    assert treatment_id("TAC") == "tac"


@pytest.mark.parametrize(
    "text",
    [
        *("oxaliplatin and 5-FU", "oxaliplatin plus 5-FU", "oxaliplatin WITH 5-FU"),
        *("oxaliplatin/5-FU", "oxaliplatin, 5-FU", "oxaliplatin; 5-FU", "oxaliplatin & 5-FU"),
    ],
)
def test_a_regimen_has_one_spelling(text: str) -> None:
    with pytest.raises(EvidenceError, match=r'Write "oxaliplatin \+ 5-fluorouracil"'):
        treatment(text)


@pytest.mark.parametrize("text", ["pomalidomide OR lenalidomide", "CDK4/5 inhibitor", "tofu/rice"])
def test_what_is_no_regimen_is_an_unknown_drug(text: str) -> None:
    with pytest.raises(EvidenceError, match="unknown drug"):
        treatment(text)


@pytest.mark.parametrize("text", ["erlotinib + Tarceva", "DARA-KRD + carfilzomib"])
def test_a_component_named_twice_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError, match="occurs twice"):
        treatment(text)


def test_a_missing_component_is_refused() -> None:
    with pytest.raises(EvidenceError, match=r"samples\.csv, row 7, column treatment: empty drug"):
        treatment("erlotinib + ", file="samples.csv", row=7, column="treatment")


# --- against the facts ----------------------------------------------------------------


def test_every_measured_drug_is_known(shared: Path) -> None:
    with (shared / "facts" / "gdsc2_ln_ic50_five_lines.csv").open(newline="") as stream:
        names = [row["drug"] for row in csv.DictReader(stream)]
    assert len({drugs().resolve(name).id for name in names}) == len(names) == 163


def test_identifiers_are_those_of_the_facts(shared: Path) -> None:
    columns = ("drug_class", "chembl_id", "pubchem_cid", "drugbank_id", "cas")
    # Public records disagree on these: docs/decisions/doubtful-identifiers.md.
    doubtful = {("cisplatin", "pubchem_cid"), ("carboplatin", "pubchem_cid")}
    with (shared / "facts" / "curation" / "drugs.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            extra = drugs().resolve(row["drug"]).extra
            assert {column: extra[column] for column in columns} == {
                column: "" if (row["drug"], column) in doubtful else row[column]
                for column in columns
            }


def test_every_cancer_type_of_the_evidence_is_known(shared: Path) -> None:
    # Left out: cohorts of several cancers, no cancer at all, and a semicolon in a name.
    exceptions = {
        "",
        "Breast cancer (BRCA1;p53-deficient mouse mammary tumours)",
        "CML; melanoma",
        "Cancer cell line (unnamed in abstract)",
        "Lung adenocarcinoma, CML, breast",
        "Lung, breast (HER2), melanoma, colorectal cell lines",
        "Pan-cancer",
        "none (bacterium)",
    }
    texts = set()
    for file in ("evidence.csv", "evidence2.csv"):
        with (shared / "facts" / "curation" / file).open(newline="") as stream:
            texts |= {row["cancer_type"] for row in csv.DictReader(stream)}
    for text in texts - exceptions:
        cancer_types().resolve(text)


# --- cost -----------------------------------------------------------------------------


def test_import_needs_no_table_library() -> None:
    code = (
        "import sys, cellresponse.schema.vocabulary as v; v.drugs();"
        "print(sorted({'pandas', 'pandera', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
