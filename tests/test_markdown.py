"""The short report, which describes runs in MLflow: whatever somebody has called something is text there, and no markup."""

from __future__ import annotations

import dataclasses

import samples
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support import PROPERTY

from digitsweep.report.format import cell
from digitsweep.report.page import report

ODD = "<img src=x onerror=alert(1)> | [a](b) `c` *d* ~~e~~ &lt; \\| #f !g"
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def words(text: str) -> list[str]:
    """What a reader of some Markdown sees, a paragraph or cell each; refuses markup but tables and bold."""
    found = []
    for token in READER.parse(text):
        assert token.type in {"inline", *(f"{name}_{end}" for name in KNOWN for end in ("open", "close"))}, token
        for inline in token.children or ():
            assert inline.type in {"text", "text_special", "code_inline", "strong_open", "strong_close"}, inline
        if token.children is not None:
            found.append("".join(each.content for each in token.children))
    return found


KNOWN = ("heading", "paragraph", "blockquote", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td")


@PROPERTY
@given(st.text(st.characters(exclude_categories=("C", "Z"))).map(lambda text: f"A{text} {text}Z"))
def test_text_stays_text(text: str) -> None:
    """Any text, in a sentence as in a table, is read as it was written."""
    assert words(cell(text)) == [text]
    assert words(f"| a | b |\n| --- | --- |\n| {cell(text)} | c |") == ["a", "b", text, "c"]


def test_a_run_is_described_in_its_own_words() -> None:
    """The question, the verdict, and each network and model stand in the short report as they are called."""
    whole = samples.comparison()
    entries = tuple(dataclasses.replace(each, network=ODD, trial=f"ann-000 {ODD}") for each in whole.entries)
    odd = dataclasses.replace(whole, question=ODD, verdict=ODD, family_verdict=ODD, entries=entries)
    found = words(report(odd, samples.images())["report.md"].decode())
    assert found[:3] == [ODD, ODD, ODD]
    assert found.count(ODD) == 3 + len(entries) + sum(each.role == "baseline" for each in entries)
