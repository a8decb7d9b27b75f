"""The rules that turn evidence into labels and stars: pure functions, one id each.

A label is computed from facts, never typed. A rule looks at one sample (for
controls: at one treated sample and its control) and either gives a verdict,
names the facts that it would need, or does not apply. Missing facts give no
label. What a star tier demands follows scDrugAtlas (doi 10.1093/database/baag010);
what that paper leaves open has a rule of its own, which takes the lower tier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

__all__ = [
    "COMPARED_ARMS",
    "LABEL_RULES",
    "MALIGNANT_ONLY",
    "OUTCOMES_OF_ARMS",
    "STAR_RULES",
    "LabelRule",
    "Missing",
    "SampleFacts",
    "Verdict",
    "apply_rules",
    "star_tier",
]

ONE_MONTH_DAYS = 30.0  # papers state months; one month typed as 30 days is one month
SIX_MONTHS_DAYS = 183.0  # half a year has 181 to 184 days; `>180` does not yet exceed it

CONTROL_ARMS = frozenset({"untreated", "vehicle", "parental"})
PATIENT_ARMS = frozenset({"pre_treatment", "on_treatment", "post_treatment"})
AFTER_DRUG_ARMS = frozenset(
    {"treated", "resistant_line", "surviving_lineage", "relapse", "on_treatment", "post_treatment"}
)
IN_VIVO = frozenset({"patient_tumour", "pbmc", "bone_marrow", "pdx", "mouse"})
MALIGNANT_ONLY = frozenset({"patient_tumour", "pbmc", "bone_marrow"})
"""Source types in which only cells that the source calls malignant are labelled."""

SURVIVED = frozenset({"survived", "proliferating"})
FAILED = frozenset({"died", "arrested", "arrested_or_died"})
OF_PATIENTS = frozenset({"responder", "non_responder", "relapsed"})
OUTCOMES_OF_ARMS = {
    "treated": SURVIVED | FAILED,
    "resistant_line": SURVIVED | FAILED,
    "surviving_lineage": SURVIVED,
    "lost_lineage": FAILED,
    **dict.fromkeys(PATIENT_ARMS | {"primary"}, OF_PATIENTS),
    "relapse": OF_PATIENTS - {"responder"},
}
"""What can have become of the cells of an arm, or of its patient; controls have no outcome."""
EVERY_RULE = "every_rule"
"""What a `Missing` names where no rule can look at the sample."""


@dataclass(frozen=True)
class SampleFacts:
    """The facts of one sample that rules read; None means the fact is not known.

    Words are those of the vocabularies; exposure is in days.
    """

    sample_id: str
    arm: str | None
    source_type: str | None
    treatment: str | None = None
    exposure_days_min: float | None = None
    exposure_days_max: float | None = None
    time_point: int | None = None
    lesion: str | None = None
    outcome: str | None = None
    control_samples: tuple[str, ...] = ()
    control_outcome: str | None = None
    proliferation: str | None = None
    intrinsic_resistance: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A label for every cell of a sample, and the facts it rests on."""

    sample_id: str
    treatment: str
    response: str
    stars: int | None
    basis: str
    rule_id: str
    facts: tuple[str, ...]
    facts_of: str
    """Sample whose facts were read: for a control, the treated one."""


@dataclass(frozen=True)
class Missing:
    """A rule that would apply if these facts were known."""

    sample_id: str
    rule_id: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class StarRule:
    """A condition on a resistant sample and the stars it gives."""

    id: str
    stars: int
    holds: Callable[[SampleFacts], bool]
    facts: tuple[str, ...]
    description: str


def _months(facts: SampleFacts) -> str:
    """Tier of the exposure; of a range, its short end counts."""
    days = facts.exposure_days_min
    if days is None:
        return "unknown"
    if days < ONE_MONTH_DAYS:
        return "under_one_month"
    return "one_to_six_months" if days <= SIX_MONTHS_DAYS else "over_six_months"


def _growing(facts: SampleFacts) -> bool:
    said = facts.outcome if facts.proliferation is None else facts.proliferation
    return said == "proliferating"


STAR_RULES: tuple[StarRule, ...] = (
    StarRule(
        "stars3_lesion_after_drug",
        3,
        lambda f: f.lesion in ("recurrent", "metastatic") and f.source_type in IN_VIVO,
        ("lesion", "source_type"),
        "recurrent or metastatic lesion of a patient, PDX or mouse after the drug",
    ),
    StarRule(
        "stars3_intrinsic_resistance",
        3,
        lambda f: f.intrinsic_resistance == "established",
        ("intrinsic_resistance",),
        "well-established intrinsic resistance, by a cited fact beyond an IC50",
    ),
    StarRule(
        "stars3_growth_after_six_months",
        3,
        lambda f: _months(f) == "over_six_months" and _growing(f),
        ("exposure_days", "proliferation"),
        "proliferating again after more than six months of exposure",
    ),
    StarRule(
        "stars2_six_months_without_growth",
        2,
        lambda f: _months(f) == "over_six_months",
        ("exposure_days", "proliferation"),
        "more than six months of exposure without proof of growth; the paper leaves it open",
    ),
    StarRule(
        "stars2_months_with_growth",
        2,
        lambda f: _months(f) == "one_to_six_months" and _growing(f),
        ("exposure_days", "proliferation"),
        "proliferating after one to six months; the paper leaves it open",
    ),
    StarRule(
        "stars2_months",
        2,
        lambda f: _months(f) == "one_to_six_months",
        ("exposure_days", "proliferation"),
        "one to six months of exposure, limited or no proliferation, or growth not known",
    ),
    StarRule(
        "stars1_under_one_month",
        1,
        lambda f: _months(f) == "under_one_month",
        ("exposure_days",),
        "less than one month of exposure",
    ),
    StarRule(
        "stars1_exposure_unknown",
        1,
        lambda _: True,
        (),
        "length of exposure not known; the paper leaves it open",
    ),
)
"""In order: the first that holds decides. The last always holds."""


def star_tier(facts: SampleFacts) -> StarRule:
    """Give the star rule of a resistant sample taken under or after the drug.

    Examples
    --------
    >>> eleven_days = SampleFacts("D11", "treated", "cell_line", exposure_days_min=11.0)
    >>> star_tier(eleven_days).id
    'stars1_under_one_month'
    """
    return next(rule for rule in STAR_RULES if rule.holds(facts))


@dataclass(frozen=True)
class LabelRule:
    """A rule on one sample, or on a treated sample and its controls.

    Parameters
    ----------
    id
        Name of the rule; part of every label it makes.
    arms
        Arms of the labelled sample that it looks at.
    needs
        Facts that must be known; for controls these are the treated sample's.
    outcomes
        Values of `decides` that give the label.
    decides
        The fact that decides.
    response, basis
        What it gives. None as basis: the design of the treated sample.
    starred
        Whether a star rule grades the label.
    otherwise
        The fact that decides where the first is not known. None: no other.
    treated_arms
        Arms of the treated sample whose controls are labelled. Empty: the rule
        labels the sample that it looks at.
    """

    id: str
    arms: frozenset[str]
    needs: tuple[str, ...]
    decides: str
    outcomes: frozenset[str]
    response: str
    basis: str | None
    starred: bool
    description: str
    treated_arms: frozenset[str] = frozenset()
    otherwise: str | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """Facts that the label rests on, apart from those of its stars."""
        return ("arm", *self.needs, *(("control_samples",) if self.treated_arms else ()))

    def of(self, facts: SampleFacts) -> LabelRule:
        """Give the rule with the fact that decides this sample."""
        if self.otherwise is None or getattr(facts, self.decides) is not None:
            return self
        if getattr(facts, self.otherwise) not in self.outcomes:
            return self
        needs = tuple(self.otherwise if fact == self.decides else fact for fact in self.needs)
        return replace(self, decides=self.otherwise, needs=needs)


LABEL_RULES: tuple[LabelRule, ...] = (
    LabelRule(
        "treated_survivors",
        frozenset({"treated"}),
        ("treatment", "outcome"),
        "outcome",
        SURVIVED,
        "resistant",
        None,
        True,
        "cells alive after the drug",
    ),
    LabelRule(
        "control_of_treated",
        CONTROL_ARMS,
        ("treatment", "control_outcome"),
        "control_outcome",
        FAILED,
        "sensitive",
        None,
        False,
        "controls of a treated sample, which the drug kills or arrests; where `control_outcome` is "
        "not known, the `outcome` of the treated sample tells",
        treated_arms=frozenset({"treated"}),
        otherwise="outcome",  # what became of the treated ones: the drug does that to controls
    ),
    LabelRule(
        "resistant_line",
        frozenset({"resistant_line"}),
        ("treatment", "outcome"),
        "outcome",
        SURVIVED,
        "resistant",
        "resistant_line_vs_parental",
        True,
        "a line selected for survival or growth under the drug",
    ),
    LabelRule(
        "parental_of_resistant_line",
        CONTROL_ARMS,
        ("treatment", "control_outcome"),
        "control_outcome",
        FAILED,
        "sensitive",
        "resistant_line_vs_parental",
        False,
        "controls of a resistant line, which the drug kills or arrests",
        treated_arms=frozenset({"resistant_line"}),
    ),
    LabelRule(
        "clinical_responder",
        PATIENT_ARMS,
        ("treatment", "outcome"),
        "outcome",
        frozenset({"responder"}),
        "sensitive",
        "clinical_response",
        False,
        "cells of a patient who responded",
    ),
    LabelRule(
        "clinical_non_responder_before_treatment",
        frozenset({"pre_treatment"}),
        ("treatment", "outcome"),
        "outcome",
        frozenset({"non_responder"}),
        "resistant",
        "clinical_response",
        False,
        "pre-treatment cells of a patient who did not respond; no stars",
    ),
    LabelRule(
        "clinical_non_responder_after_treatment",
        frozenset({"on_treatment", "post_treatment"}),
        ("treatment", "outcome"),
        "outcome",
        frozenset({"non_responder"}),
        "resistant",
        "clinical_response",
        True,
        "cells of a patient who did not respond, taken under or after the drug",
    ),
    LabelRule(
        "relapse_after_treatment",
        frozenset({"relapse"}),
        ("treatment", "lesion"),
        "lesion",
        frozenset({"recurrent", "metastatic"}),
        "resistant",
        "relapse_vs_primary",
        True,
        "the lesion that came back or spread after the drug",
    ),
    LabelRule(
        "primary_of_responder",
        frozenset({"primary"}),
        ("treatment", "outcome"),
        "outcome",
        frozenset({"responder"}),
        "sensitive",
        "relapse_vs_primary",
        False,
        "the primary lesion of a patient who first responded",
    ),
    LabelRule(
        "surviving_lineage",
        frozenset({"surviving_lineage"}),
        ("treatment", "outcome"),
        "outcome",
        SURVIVED,
        "resistant",
        "lineage_tracing",
        True,
        "cells of lineages that lived through the drug; no stars where they may have been "
        "sampled before it (exposure 0 or not known)",
    ),
    LabelRule(
        "lost_lineage",
        frozenset({"lost_lineage"}),
        ("treatment", "outcome"),
        "outcome",
        FAILED,
        "sensitive",
        "lineage_tracing",
        False,
        "cells of lineages that the drug removed or arrested",
    ),
)


COMPARED_ARMS = frozenset().union(*(rule.treated_arms for rule in LABEL_RULES))
"""Arms whose controls a rule labels."""


def apply_rules(
    samples: Mapping[str, SampleFacts],
) -> tuple[list[Verdict], list[Missing]]:
    """Apply every label rule to every sample of a study.

    Parameters
    ----------
    samples
        Facts by sample id. Controls that a sample names must be among them.

    Returns
    -------
    verdicts, missing
        Labels of whole samples, one a (sample, treatment, basis, rule); and the
        rules that lack a fact.
    """
    verdicts: list[Verdict] = []
    missing: list[Missing] = []
    for facts in samples.values():
        if absent := _unplaced(facts):
            missing.append(Missing(facts.sample_id, EVERY_RULE, absent))
            continue
        for rule in LABEL_RULES:
            rule = rule.of(facts)
            for target in _targets(rule, facts, samples):
                absent = tuple(name for name in rule.needs if getattr(facts, name) is None)
                if absent:
                    missing.append(Missing(target.sample_id, rule.id, absent))
                elif getattr(facts, rule.decides) in rule.outcomes:
                    verdicts.append(_verdict(rule, facts, target))
    return list(dict.fromkeys(verdicts)), list(dict.fromkeys(missing))


def _unplaced(facts: SampleFacts) -> tuple[str, ...]:
    """Facts without which no rule holds: which arm it is, and whether all its cells are meant."""
    return tuple(name for name in ("arm", "source_type") if getattr(facts, name) is None)


def _targets(
    rule: LabelRule, facts: SampleFacts, samples: Mapping[str, SampleFacts]
) -> Iterable[SampleFacts]:
    if not rule.treated_arms:
        return [facts] if facts.arm in rule.arms else []
    if facts.arm not in rule.treated_arms:
        return []
    controls = (samples[name] for name in facts.control_samples)
    return [control for control in controls if control.arm in rule.arms and not _unplaced(control)]


def _verdict(rule: LabelRule, facts: SampleFacts, target: SampleFacts) -> Verdict:
    read = dict.fromkeys(rule.reads)
    rule_id, stars = rule.id, None
    if rule.basis is None and facts.time_point is not None:
        read["time_point"] = None  # it makes the basis
    if rule.starred and _before_drug(facts):
        read["exposure_days"] = None  # it leaves no stars
    elif rule.starred:
        tier = star_tier(facts)
        stars, rule_id = tier.stars, f"{rule.id}+{tier.id}"
        read |= dict.fromkeys(tier.facts)
    return Verdict(
        sample_id=target.sample_id,
        treatment=str(facts.treatment),
        response=rule.response,
        stars=stars,
        basis=rule.basis or _design(facts),
        rule_id=rule_id,
        facts=tuple(read),
        facts_of=facts.sample_id,
    )


def _before_drug(facts: SampleFacts) -> bool:
    """Whether the cells may have met no drug yet, so that there is no exposure to grade.

    Of the starred arms only lineages are sampled before the drug as well as after it.
    """
    unexposed = facts.exposure_days_min is None or facts.exposure_days_max == 0
    return facts.arm == "surviving_lineage" and unexposed


def _design(facts: SampleFacts) -> str:
    return "treated_vs_untreated_control" if facts.time_point is None else "time_course"
