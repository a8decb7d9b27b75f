"""Write the generated parts of the documentation; a test checks that they are current.

Run it as `make docs`.
"""

from __future__ import annotations

import re
from pathlib import Path

from cellresponse.schema.rules import LABEL_RULES, STAR_RULES

DOCS = Path(__file__).parent


def rules_table() -> str:
    """Give the label rules as a Markdown table."""
    rows = ["| rule | arm of the labelled sample | label | basis | stars | meaning |", "|---|---|---|---|---|---|"]
    for rule in LABEL_RULES:
        words = " or ".join(sorted(rule.outcomes))
        rows.append(
            f"| `{rule.id}` | {', '.join(sorted(rule.arms))} | {rule.response} where "
            f"`{rule.decides}` is {words} | {rule.basis or 'by design'} "
            f"| {'graded' if rule.starred else 'null'} | {rule.description} |"
        )
    return "\n".join(rows)


def stars_table() -> str:
    """Give the star rules as a Markdown table."""
    rows = ["| stars | rule | holds for |", "|--:|---|---|"]
    rows += [f"| {rule.stars} | `{rule.id}` | {rule.description} |" for rule in STAR_RULES]
    return "\n".join(rows)


def filled(text: str) -> str:
    """Replace what stands between the markers of each generated part."""
    for name, table in (("rules", rules_table()), ("stars", stars_table())):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        text = re.sub(
            f"{begin}.*?{end}", lambda _, t=table, b=begin, e=end: f"{b}\n{t}\n{e}", text, flags=re.S
        )
    return text


if __name__ == "__main__":
    page = DOCS / "labels.md"
    page.write_text(filled(page.read_text("utf-8")), encoding="utf-8")
