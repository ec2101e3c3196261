"""The data card: what a prepared corpus is made of, what each step left out, and its histograms.

One record, rendered as Markdown, as a page of its own, and inside the report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from crossover.data.cleaning.cleaning_counts import CleaningCounts, Histogram
from crossover.data.dataset import DatasetManifest
from crossover.data.quality_tiers import TIERS
from crossover.study.study_config import StudyConfig

MOST_BARS = 20
"""Of a chart of names; the rest is one bar."""
_BAR = "█"
_BAR_WIDTH = 24
_UNITS = ("", " Ki", " Mi", " Gi", " Ti")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CardTable(_Record):
    """A table of text; the first cell of each row is its heading."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class CardBar(_Record):
    """One bar of a chart."""

    label: str
    value: int
    note: str = ""


class CardChart(_Record):
    """A histogram with its numbers."""

    title: str
    unit: str = Field(description="What a value counts.")
    bars: tuple[CardBar, ...]

    @property
    def most(self) -> int:
        """The largest value, at least 1."""
        return max((1, *(bar.value for bar in self.bars)))

    @property
    def noted(self) -> bool:
        """Whether a bar has a note."""
        return any(bar.note for bar in self.bars)


class DataCard(_Record):
    """What a dataset is made of."""

    title: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[CardTable, ...]
    charts: tuple[CardChart, ...]


def data_card(study: StudyConfig, manifest: DatasetManifest) -> DataCard:
    """The card of a study's dataset; tables and charts of steps that the study does not ask for are left out."""
    cleaning = manifest.cleaning
    charts = (
        _fates(study, manifest),
        _lengths("Length in bytes", cleaning.bytes_kept, cleaning.bytes_read),
        _lengths("Length in tokens", manifest.document_tokens),
        CardChart(title="Languages", unit="documents", bars=_largest_first(cleaning.languages)),
        _tiers(study, cleaning),
    )
    return DataCard(
        title=f"Data of {study.name}",
        facts=tuple(_facts(manifest)),
        tables=tuple(
            table
            for table in (_steps(cleaning), _repeats(study, cleaning), _compared(manifest), *_overlaps(manifest))
            if table.rows
        ),
        charts=tuple(chart for chart in charts if chart.bars),
    )


def card_markdown(card: DataCard) -> str:
    """The card in Markdown; bars are drawn in block characters."""
    lines = [f"# {_cell(card.title)}", "", *_rows(("", ""), card.facts)]
    for table in card.tables:
        lines += ["", f"## {table.caption}", "", *_rows(table.head, table.rows)]
    for chart in card.charts:
        rows = [
            (bar.label, f"{bar.value:,}", _BAR * round(_BAR_WIDTH * bar.value / chart.most), bar.note)
            for bar in chart.bars
        ]
        lines += ["", f"## {chart.title}", "", *_rows(("", chart.unit, "", ""), rows)]
    return "\n".join(lines) + "\n"


def card_html(card: DataCard) -> str:
    """The card as one page: no requests, no script, light and dark."""
    from markupsafe import Markup

    from crossover.report import page_design

    values: dict[str, Any] = {"card": card, "css": Markup(page_design.css())}  # noqa: S704 - our own file
    return page_design.environment().get_template("data_card.html").render(values)


def cleaning_lines(cleaning: CleaningCounts) -> Iterator[str]:
    """What each step did, a line each, for a terminal; none for steps that changed nothing.

    Args:
        cleaning: the counts in a dataset's manifest.
    """
    for step in cleaning.steps:
        if step.dropped:
            left_out = step.documents_in - step.documents_out
            yield f"{step.name}: {left_out:,} of {step.documents_in:,} documents left out ({_counted(step.dropped)})"
        if step.replaced:
            yield f"{step.name}: {_counted(step.replaced)} replaced or removed"
    repeats = cleaning.repeats
    if repeats.units:
        yield f"repeats: {repeats.units_dropped:,} of {repeats.units:,} dropped, {repeats.bytes_dropped:,} bytes"
    for name in TIERS:
        if counts := cleaning.tiers.get(name):
            yield f"tier {name}: {counts.documents:,} training documents, {counts.bytes:,} bytes"


def _facts(manifest: DatasetManifest) -> Iterator[tuple[str, str]]:
    yield "Source", manifest.source
    yield "Files read", f"{manifest.files_read:,}"
    yield (
        "Documents",
        f"{manifest.documents:,}: {manifest.train_documents:,} to train on, {manifest.validation_documents:,} held out",
    )
    yield (
        "Left out",
        f"{manifest.duplicates_dropped:,} exact duplicates, {manifest.undecodable_dropped:,} not UTF-8, "
        f"{manifest.empty_dropped:,} empty; {manifest.tail_tokens_dropped:,} tokens that fill no example",
    )
    yield from (("Sources", line) for line in manifest.sources.lines())
    yield from (("Overlap with held-out text", line) for line in manifest.overlap)
    yield from (("Warning", warning) for warning in manifest.warnings)
    yield (
        "Training tokens",
        f"{manifest.available_tokens:,}, in examples of {manifest.sequence_length}; {manifest.joined_tokens:,} in "
        "examples of joined documents, none padded",
    )
    yield "Held-out tokens", f"{manifest.validation_examples * manifest.sequence_length:,}"
    yield (
        "Tokenizer",
        f"{manifest.tokenizer}{_commit(manifest.tokens.revision)}, {manifest.tokens.vocab_size:,} rows, "
        f"{manifest.bytes_per_token:.2f} bytes a token, {manifest.tokens.fertility:.2f} tokens a word",
    )
    yield "Unique tokens of the cells", manifest.budget_words
    yield "Digest", manifest.digest


def _commit(revision: str) -> str:
    return f" at commit {revision} of the Hub" if revision else ""


def _steps(cleaning: CleaningCounts) -> CardTable:
    rows = tuple(
        (
            step.name,
            f"{step.documents_in:,}",
            f"{step.documents_out:,}",
            f"{step.bytes_in:,}",
            f"{step.bytes_out:,}",
            _counted(step.dropped),
            _counted(step.replaced),
        )
        for step in cleaning.steps
    )
    head = ("Step", "Documents in", "out", "Bytes in", "out", "Documents left out", "Replaced or removed")
    return CardTable(caption="Cleaning, step by step", head=head, rows=rows)


def _overlaps(manifest: DatasetManifest) -> Iterator[CardTable]:
    """The first documents that stand on both sides of the split, or in a task, by name."""
    yield CardTable(
        caption="Near-duplicates on both sides", head=("Held out", "Trained on"), rows=manifest.near.examples
    )
    for counts in manifest.contamination:
        caption, head = f"Contaminated by {counts.target}", ("Training document", "What it holds")
        yield CardTable(caption=caption, head=head, rows=counts.examples)


def _repeats(study: StudyConfig, cleaning: CleaningCounts) -> CardTable:
    unit, repeats = study.data.deduplication.exact, cleaning.repeats
    counts = (repeats.units, repeats.units_dropped, repeats.bytes_dropped, repeats.documents_emptied)
    rows = () if unit == "document" else ((f"{unit}s", *(f"{count:,}" for count in counts)),)
    head = ("Unit", "Compared", "Dropped", "Bytes dropped", "Documents left empty")
    return CardTable(caption="Paragraphs and lines that stood before", head=head, rows=rows)


def _fates(study: StudyConfig, manifest: DatasetManifest) -> CardChart:
    """What became of every document that was read."""
    cleaning, tier = manifest.cleaning, study.data.quality.tier
    left_out = {
        "exact duplicate": manifest.duplicates_dropped,
        **manifest.sources.skipped,
        "empty": manifest.empty_dropped,
        "nothing left but repeats": cleaning.repeats.documents_emptied,
        "near-duplicate": manifest.near.dropped,
        **{f"contaminated by {counts.target}": counts.dropped for counts in manifest.contamination},
        **{f"{step.name}: {reason}": count for step in cleaning.steps for reason, count in step.dropped.items()},
    }
    if tier != "all":
        left_out |= {f"tier {name}": counts.documents for name, counts in cleaning.tiers.items() if name != tier}
    bars = (CardBar(label="kept", value=manifest.documents), *_largest_first(left_out))
    return CardChart(title="What became of what was read", unit="documents", bars=bars)


def _largest_first(counts: Mapping[str, int]) -> tuple[CardBar, ...]:
    ordered = sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: (-pair[1], pair[0]))
    bars = [CardBar(label=name, value=count) for name, count in ordered[:MOST_BARS]]
    if rest := ordered[MOST_BARS:]:
        bars.append(CardBar(label=f"{len(rest)} others", value=sum(count for _, count in rest)))
    return tuple(bars)


def _lengths(title: str, kept: Histogram, read: Histogram | None = None) -> CardChart:
    """A histogram over powers of two, from the first bin that is filled to the last."""
    before = read or Histogram()
    width = max(len(kept.bins), len(before.bins))
    pairs = [(_at(kept, bits), _at(before, bits)) for bits in range(width)]
    filled = [bits for bits, pair in enumerate(pairs) if any(pair)]
    bars = []
    for bits in range(filled[0], filled[-1] + 1) if filled else ():
        value, old = pairs[bits]
        note = f"{old:,} read" if read and old != value else ""
        bars.append(CardBar(label=_bin(bits), value=value, note=note))
    return CardChart(title=title, unit="documents", bars=tuple(bars))


def _at(histogram: Histogram, bits: int) -> int:
    return histogram.bins[bits] if bits < len(histogram.bins) else 0


def _bin(bits: int) -> str:
    """The values of so many bits: `512 to 1 Ki`."""
    return "0" if bits == 0 else f"{_power(bits - 1)} to {_power(bits)}"


def _power(exponent: int) -> str:
    unit, rest = divmod(exponent, 10)
    return f"{1 << rest}{_UNITS[unit]}"


def _compared(manifest: DatasetManifest) -> CardTable:
    """The tiers that a study compares, with what cells are made of."""
    rows = tuple(
        (
            tier.quality,
            f"{tier.documents:,}",
            f"{tier.available_tokens:,}",
            ", ".join(f"{budget.tokens:,}" for budget in manifest.budgets if budget.quality == tier.quality),
        )
        for tier in manifest.tiers
    )
    head = ("Tier", "Training documents", "Training tokens", "Unique tokens of the cells")
    return CardTable(caption="Tiers that are compared", head=head, rows=rows)


def _tiers(study: StudyConfig, cleaning: CleaningCounts) -> CardChart:
    column = study.data.quality.column
    unit = f"of {column}" if column else "bits a byte"
    bars = (
        CardBar(
            label=name,
            value=counts.documents,
            note=f"{counts.bytes:,} bytes; {counts.lowest:.2f} to {counts.highest:.2f} {unit}",
        )
        for name, counts in ((name, cleaning.tiers[name]) for name in TIERS if name in cleaning.tiers)
    )
    return CardChart(title="Tiers of the training documents", unit="documents", bars=tuple(bars))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{bar.value:,} {bar.label}" for bar in _largest_first(counts)) or "–"


def _rows(head: tuple[str, ...], rows: Any) -> Iterator[str]:  # noqa: ANN401 - tuples of text of any length
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    """Untrusted text in a cell of a Markdown table: no pipe, no line end, no tag."""
    for plain, safe in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;"), ("\n", " ")):
        text = text.replace(plain, safe)
    return text
