"""Label and star rules: every rule, every boundary, and what holds for all facts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from studies import facts

from cellresponse.schema.rules import (
    AFTER_DRUG_ARMS,
    CONTROL_ARMS,
    EVERY_RULE,
    LABEL_RULES,
    STAR_RULES,
    LabelRule,
    Missing,
    SampleFacts,
    Verdict,
    apply_rules,
    star_tier,
)
from cellresponse.schema.vocabulary import words

GROWING = {"proliferation": "proliferating"}
ESTABLISHED = {"intrinsic_resistance": "established"}


def given_days(days: float | None, **known: Any) -> SampleFacts:
    return facts(exposure_days_min=days, exposure_days_max=days, **known)


STARS = [
    # Three: lesions after the drug, of a patient, PDX or mouse.
    *(
        (facts(lesion=lesion, source_type=source), "stars3_lesion_after_drug", 3)
        for lesion in ("recurrent", "metastatic")
        for source in ("patient_tumour", "pbmc", "bone_marrow", "pdx", "mouse")
    ),
    (facts(lesion="primary", source_type="pdx"), "stars1_exposure_unknown", 1),
    *(
        (facts(lesion="recurrent", source_type=source), "stars1_exposure_unknown", 1)
        for source in ("cell_line", "organoid", "bacterium")
    ),
    # Three: intrinsic resistance, where a fact shows it.
    (facts(**ESTABLISHED), "stars3_intrinsic_resistance", 3),
    (given_days(5, **ESTABLISHED), "stars3_intrinsic_resistance", 3),
    (facts(intrinsic_resistance="reported"), "stars1_exposure_unknown", 1),
    # Three: growth after more than six months.
    (given_days(183.001, **GROWING), "stars3_growth_after_six_months", 3),
    (given_days(184, **GROWING), "stars3_growth_after_six_months", 3),
    (given_days(184, outcome="proliferating"), "stars3_growth_after_six_months", 3),
    # Open: more than six months without growth.
    (
        given_days(184, outcome="proliferating", proliferation="limited"),
        "stars2_six_months_without_growth",
        2,
    ),
    (given_days(184), "stars2_six_months_without_growth", 2),
    (given_days(184, proliferation="none"), "stars2_six_months_without_growth", 2),
    (given_days(184, proliferation="limited"), "stars2_six_months_without_growth", 2),
    # Open: one to six months with growth.
    (given_days(30, **GROWING), "stars2_months_with_growth", 2),
    (given_days(183, **GROWING), "stars2_months_with_growth", 2),
    # Two: one to six months.
    (given_days(30, proliferation="limited"), "stars2_months", 2),
    (given_days(30, proliferation="none"), "stars2_months", 2),
    (given_days(30), "stars2_months", 2),
    (given_days(183), "stars2_months", 2),
    # One: less than one month, growing or not.
    (given_days(29.999), "stars1_under_one_month", 1),
    (given_days(11, **GROWING), "stars1_under_one_month", 1),
    # Of a range the short end counts.
    (facts(exposure_days_min=20, exposure_days_max=300, **GROWING), "stars1_under_one_month", 1),
    (facts(exposure_days_min=0, exposure_days_max=30), "stars1_under_one_month", 1),
    # Open: nobody says how long.
    (facts(), "stars1_exposure_unknown", 1),
    (facts(**GROWING), "stars1_exposure_unknown", 1),
]


@pytest.mark.parametrize(("sample", "rule", "stars"), STARS)
def test_star_rule(sample: SampleFacts, rule: str, stars: int) -> None:
    tier = star_tier(sample)
    assert (tier.id, tier.stars) == (rule, stars)


def test_every_star_rule_is_tested() -> None:
    assert {rule for _, rule, _ in STARS} == {rule.id for rule in STAR_RULES}


# Rule, arm, facts, response, basis, stars; the rule's id is followed by that of its stars.
LABELS: list[tuple[str, str, dict[str, Any], str, str, int | None]] = [
    *(
        (
            "treated_survivors+stars1_exposure_unknown",
            "treated",
            {"outcome": outcome},
            "resistant",
            "treated_vs_untreated_control",
            1,
        )
        for outcome in ("survived", "proliferating")
    ),
    (
        "treated_survivors+stars1_exposure_unknown",
        "treated",
        {"outcome": "survived", "time_point": 0},
        "resistant",
        "time_course",
        1,
    ),
    (
        "resistant_line+stars3_growth_after_six_months",
        "resistant_line",
        {"outcome": "proliferating", "exposure_days_min": 200.0, **GROWING},
        "resistant",
        "resistant_line_vs_parental",
        3,
    ),
    *(
        (
            "clinical_responder",
            arm,
            {"outcome": "responder", "exposure_days_min": 40.0, "lesion": "metastatic"},
            "sensitive",
            "clinical_response",
            None,
        )
        for arm in ("pre_treatment", "on_treatment", "post_treatment")
    ),
    (
        "clinical_non_responder_before_treatment",
        "pre_treatment",
        {"outcome": "non_responder", "lesion": "metastatic", **ESTABLISHED},
        "resistant",
        "clinical_response",
        None,
    ),
    *(
        (
            "clinical_non_responder_after_treatment+stars2_months",
            arm,
            {"outcome": "non_responder", "exposure_days_min": 40.0},
            "resistant",
            "clinical_response",
            2,
        )
        for arm in ("on_treatment", "post_treatment")
    ),
    *(
        (
            "relapse_after_treatment+stars3_lesion_after_drug",
            "relapse",
            {"lesion": lesion, "source_type": "patient_tumour"},
            "resistant",
            "relapse_vs_primary",
            3,
        )
        for lesion in ("recurrent", "metastatic")
    ),
    (
        "primary_of_responder",
        "primary",
        {"outcome": "responder", "lesion": "primary"},
        "sensitive",
        "relapse_vs_primary",
        None,
    ),
    (
        "surviving_lineage+stars1_under_one_month",
        "surviving_lineage",
        {"outcome": "survived", "exposure_days_min": 0.0, "exposure_days_max": 30.0},
        "resistant",
        "lineage_tracing",
        1,
    ),
    (
        "surviving_lineage",
        "surviving_lineage",
        {"outcome": "survived", "exposure_days_min": 0.0, "exposure_days_max": 0.0},
        "resistant",
        "lineage_tracing",
        None,
    ),
    (
        "surviving_lineage",
        "surviving_lineage",
        {"outcome": "proliferating"},
        "resistant",
        "lineage_tracing",
        None,
    ),
    *(
        ("lost_lineage", "lost_lineage", {"outcome": outcome}, "sensitive", "lineage_tracing", None)
        for outcome in ("died", "arrested", "arrested_or_died")
    ),
]


@pytest.mark.parametrize(("rule", "arm", "known", "response", "basis", "stars"), LABELS)
def test_label_of_the_sample_itself(
    rule: str, arm: str, known: dict[str, Any], response: str, basis: str, stars: int | None
) -> None:
    verdicts, missing = apply_rules({"S": facts(arm, treatment="erlotinib", **known)})
    assert [(v.rule_id, v.response, v.basis, v.stars) for v in verdicts] == [
        (rule, response, basis, stars)
    ]
    assert verdicts[0].facts[:2] == ("arm", "treatment")
    assert missing == []


def compared(
    treated_arm: str, control_arm: str, outcome: str | None = "died", **known: Any
) -> list[Verdict]:
    treated = facts(
        treated_arm,
        treatment="erlotinib",
        control_samples=("C",),
        control_outcome=outcome,
        **known,
    )
    control = facts(control_arm, sample_id="C")
    verdicts, _ = apply_rules({"S": treated, "C": control})
    return [verdict for verdict in verdicts if verdict.sample_id == "C"]


@pytest.mark.parametrize("control_arm", sorted(CONTROL_ARMS))
@pytest.mark.parametrize("outcome", ["died", "arrested", "arrested_or_died"])
@pytest.mark.parametrize(
    ("treated_arm", "known", "rule", "basis"),
    [
        ("treated", {}, "control_of_treated", "treated_vs_untreated_control"),
        ("treated", {"time_point": 2}, "control_of_treated", "time_course"),
        ("resistant_line", {}, "parental_of_resistant_line", "resistant_line_vs_parental"),
    ],
)
def test_label_of_controls_follows_the_treated_sample(
    treated_arm: str,
    control_arm: str,
    outcome: str,
    known: dict[str, Any],
    rule: str,
    basis: str,
) -> None:
    (verdict,) = compared(treated_arm, control_arm, outcome, **known)
    assert (verdict.rule_id, verdict.basis, verdict.facts_of) == (rule, basis, "S")
    assert (verdict.response, verdict.stars) == ("sensitive", None)
    assert {"control_outcome", "control_samples"} <= set(verdict.facts)


@pytest.mark.parametrize(
    ("arm", "outcome", "labelled"),
    [
        *(("treated", outcome, True) for outcome in ("died", "arrested", "arrested_or_died")),
        ("treated", "survived", False),
        ("treated", None, False),
        ("resistant_line", "died", False),
    ],
)
def test_what_became_of_treated_cells_tells_of_their_controls(
    arm: str, outcome: str | None, labelled: bool
) -> None:
    treated = facts(arm, treatment="erlotinib", outcome=outcome, control_samples=("C",))
    control = facts("untreated", sample_id="C")
    verdicts, missing = apply_rules({"S": treated, "C": control})
    assert [
        (v.rule_id, v.response, v.facts) for v in verdicts if v.sample_id == "C"
    ] == labelled * [
        ("control_of_treated", "sensitive", ("arm", "treatment", "outcome", "control_samples"))
    ]
    assert ("control_outcome",) in [each.facts for each in missing] or labelled


def test_what_became_of_controls_is_told_by_their_own_fact_first() -> None:
    """The other fact decides, and is named as evidence, only where this one is not known."""
    control = facts("untreated", sample_id="C")
    treated = facts(treatment="erlotinib", outcome="died", control_samples=("C",))
    said = {
        fate: [
            verdict.facts
            for verdict in apply_rules({"S": replace(treated, control_outcome=fate), "C": control})[
                0
            ]
        ]
        for fate in ("arrested", "proliferating")
    }
    assert said == {
        "arrested": [("arm", "treatment", "control_outcome", "control_samples")],
        "proliferating": [],
    }


@pytest.mark.parametrize("arm", ["treated", "pre_treatment", "lost_lineage"])
def test_only_control_arms_are_labelled_as_controls(arm: str) -> None:
    assert compared("treated", arm, "died") == []


def test_both_sides_of_a_comparison_have_one_basis() -> None:
    for arm in ("treated", "resistant_line"):
        for control in CONTROL_ARMS:
            treated = facts(
                arm,
                treatment="erlotinib",
                outcome="survived",
                control_samples=("C",),
                control_outcome="died",
            )
            verdicts, _ = apply_rules({"S": treated, "C": facts(control, sample_id="C")})
            assert {v.sample_id: v.response for v in verdicts} == {
                "S": "resistant",
                "C": "sensitive",
            }
            assert len({v.basis for v in verdicts}) == 1


@pytest.mark.parametrize(
    ("treated_arm", "control_arm", "outcome"),
    [
        ("treated", "untreated", "proliferating"),
        ("treated", "untreated", None),
        *(
            (arm, "untreated", "died")
            for arm in sorted(AFTER_DRUG_ARMS - {"treated", "resistant_line"})
        ),
    ],
)
def test_no_label_of_controls(treated_arm: str, control_arm: str, outcome: str | None) -> None:
    assert compared(treated_arm, control_arm, outcome) == []


@pytest.mark.parametrize(
    ("arm", "known"),
    [
        ("treated", {"outcome": "died"}),
        ("treated", {"outcome": "arrested"}),
        ("treated", {"outcome": "responder"}),
        ("resistant_line", {"outcome": "died"}),
        ("pre_treatment", {"outcome": "survived"}),
        ("post_treatment", {"outcome": "relapsed"}),
        ("relapse", {"lesion": "primary"}),
        ("primary", {"outcome": "non_responder"}),
        ("surviving_lineage", {"outcome": "died"}),
        ("lost_lineage", {"outcome": "survived"}),
        ("untreated", {"outcome": "survived"}),
        ("vehicle", {}),
        ("parental", {}),
    ],
)
def test_facts_that_decide_nothing_give_no_label(arm: str, known: dict[str, Any]) -> None:
    assert apply_rules({"S": facts(arm, treatment="erlotinib", **known)}) == ([], [])


@pytest.mark.parametrize("rule", LABEL_RULES, ids=lambda rule: rule.id)
def test_a_missing_fact_gives_no_label_and_is_named(rule: LabelRule) -> None:
    known: dict[str, Any] = {"treatment": "erlotinib", rule.decides: min(rule.outcomes)}
    for absent in rule.needs:
        partial = {fact: value for fact, value in known.items() if fact != absent}
        if rule.treated_arms:
            partial |= {"control_samples": ("C",)}
        samples = {
            "S": facts(min(rule.treated_arms or rule.arms), **partial),
            "C": facts("untreated", sample_id="C"),
        }
        verdicts, missing = apply_rules(samples)
        target = "C" if rule.treated_arms else "S"
        assert rule.id not in {verdict.rule_id.split("+")[0] for verdict in verdicts}
        assert Missing(target, rule.id, (absent,)) in missing


@pytest.mark.parametrize("absent", ["arm", "source_type"])
def test_no_rule_looks_at_a_sample_of_unknown_kind(absent: str) -> None:
    treated = facts(
        treatment="erlotinib",
        outcome="survived",
        control_samples=("C",),
        control_outcome="died",
    )
    control = facts("untreated", sample_id="C")
    verdicts, missing = apply_rules({"S": treated, "C": replace(control, **{absent: None})})
    assert [verdict.sample_id for verdict in verdicts] == ["S"]
    assert missing == [Missing("C", EVERY_RULE, (absent,))]
    verdicts, missing = apply_rules({"S": replace(treated, **{absent: None}), "C": control})
    assert verdicts == []
    assert missing == [Missing("S", EVERY_RULE, (absent,))]


def test_every_label_rule_is_tested() -> None:
    tested = {rule.split("+")[0] for rule, *_ in LABELS}
    tested |= {"control_of_treated", "parental_of_resistant_line"}
    assert tested == {rule.id for rule in LABEL_RULES}


def test_rules_use_words_of_the_vocabularies() -> None:
    for rule in LABEL_RULES:
        assert set(rule.arms | rule.treated_arms) <= set(words("arm").words)
        assert set(rule.outcomes) <= set(words(rule.decides).words)
        assert rule.response in words("response")
        assert rule.basis is None or rule.basis in words("basis")
        assert rule.decides in rule.needs
    assert len({rule.id for rule in LABEL_RULES}) == len(LABEL_RULES)
    assert len({rule.id for rule in STAR_RULES}) == len(STAR_RULES)


def test_controls_are_shared_not_copied() -> None:
    control = facts("untreated", sample_id="C")
    treated = [
        facts(
            sample_id=f"T{n}",
            treatment=drug,
            control_samples=("C", "C"),
            control_outcome="died",
        )
        for n, drug in enumerate(["erlotinib", "erlotinib", "docetaxel"])
    ]
    verdicts, _ = apply_rules({each.sample_id: each for each in [control, *treated]})
    labels = [(v.sample_id, v.treatment, v.facts_of) for v in verdicts]
    assert labels == [("C", "erlotinib", "T0"), ("C", "erlotinib", "T1"), ("C", "docetaxel", "T2")]


def word_or_none(vocabulary: str) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(words(vocabulary).words)


WORDS = ("lesion", "outcome", "control_outcome", "proliferation", "intrinsic_resistance")
FACTS: dict[str, st.SearchStrategy[Any]] = {
    "treatment": st.none() | st.just("erlotinib"),
    "time_point": st.none() | st.integers(0, 3),
    **{vocabulary: word_or_none(vocabulary) for vocabulary in WORDS},
}
DAYS = st.sampled_from([0.0, 11.0, 29.9, 30.0, 60.0, 183.0, 183.1, 400.0])
RANGES = st.tuples(DAYS, DAYS).map(sorted).map(tuple) | st.tuples(DAYS, st.none())
NOT_KNOWN = (None, None)


def with_exposure(sample: SampleFacts, days: tuple[float | None, float | None]) -> SampleFacts:
    return replace(sample, exposure_days_min=days[0], exposure_days_max=days[1])


SAMPLES = st.builds(
    with_exposure,
    st.builds(
        SampleFacts,
        sample_id=st.just("S"),
        arm=st.sampled_from(words("arm").words),
        source_type=st.sampled_from(words("source_type").words),
        **FACTS,
    ),
    st.just(NOT_KNOWN) | RANGES,
)


@st.composite
def studies(draw: st.DrawFn) -> dict[str, SampleFacts]:
    drawn = draw(st.lists(SAMPLES, min_size=1, max_size=5))
    samples = [replace(each, sample_id=f"S{n}") for n, each in enumerate(drawn)]
    controls = [each.sample_id for each in samples if each.arm in CONTROL_ARMS]
    chosen = [tuple(draw(st.sets(st.sampled_from(controls)))) if controls else () for _ in samples]
    return {
        each.sample_id: replace(each, control_samples=names)
        for each, names in zip(samples, chosen, strict=True)
    }


@given(studies(), st.randoms(use_true_random=False))
def test_verdicts_do_not_depend_on_the_order_of_samples(
    samples: dict[str, SampleFacts], random: Any
) -> None:
    shuffled = list(samples.items())
    random.shuffle(shuffled)
    for one, other in zip(apply_rules(samples), apply_rules(dict(shuffled)), strict=True):
        assert sorted(map(repr, one)) == sorted(map(repr, other))


@given(studies())
def test_what_holds_for_every_verdict(samples: dict[str, SampleFacts]) -> None:
    verdicts, _ = apply_rules(samples)
    for verdict in verdicts:
        read = samples[verdict.facts_of]
        assert read.treatment == verdict.treatment
        assert verdict.basis in words("basis")
        assert ("+stars" in verdict.rule_id) == (verdict.stars is not None)
        if verdict.response == "sensitive":
            assert verdict.stars is None
        if samples[verdict.sample_id].arm in CONTROL_ARMS | {"pre_treatment"}:
            assert verdict.stars is None
        for fact in verdict.facts:
            assert fact == "exposure_days" or hasattr(read, fact)


@given(studies())
def test_no_sample_is_both_resistant_and_sensitive(samples: dict[str, SampleFacts]) -> None:
    verdicts, _ = apply_rules(samples)
    said: dict[tuple[str, str], set[str]] = {}
    for verdict in verdicts:
        said.setdefault((verdict.sample_id, verdict.treatment), set()).add(verdict.response)
    assert all(len(responses) == 1 for responses in said.values())


def stars_of(sample: SampleFacts) -> int:
    verdicts, _ = apply_rules({"S": sample})
    return max((verdict.stars or 0 for verdict in verdicts), default=0)


@given(SAMPLES, st.sampled_from([*FACTS, "exposure"]), st.data())
def test_another_fact_never_takes_stars_away(
    sample: SampleFacts, fact: str, data: st.DataObject
) -> None:
    if fact == "exposure":
        before = with_exposure(sample, NOT_KNOWN)
        after = with_exposure(sample, data.draw(RANGES))
    else:
        before = replace(sample, **{fact: None})
        after = replace(sample, **{fact: data.draw(FACTS[fact])})
    # How they grew says more than that they divided.
    assume(fact != "proliferation" or sample.outcome != "proliferating")
    assert stars_of(after) >= stars_of(before)
