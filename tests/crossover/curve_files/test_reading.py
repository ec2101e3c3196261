"""Files of curves: CSV in its dialects, gzip, Parquet, wide tables, long runs, several cells."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from crossover.analysis import AnalysisPlan, MetricPlan, analyse
from crossover.curve_files import read_curves, split_cells
from crossover.curve_files.thinning import MOST_POINTS
from crossover.errors import CurvesError
from tests.crossover.curve_files.curve_tables import changed, rows, table, write

PLAN = AnalysisPlan(metrics=(MetricPlan(name="loss", direction="lower", delta=0.02, exact=True),), axes=("tokens",))


@pytest.mark.parametrize("form", ["plain", "bom", "crlf", "quoted", "gzip", "shuffled columns"])
def test_every_dialect_gives_the_same_curves(form: str, tmp_path: Path) -> None:
    text = table(rows())
    path = tmp_path / "runs.csv"
    if form == "bom":
        write(path, text, "utf-8-sig")
    elif form == "crlf":
        path.write_bytes(text.replace("\n", "\r\n").encode())
    elif form == "quoted":
        write(path, "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()))
    elif form == "gzip":
        path.write_bytes(gzip.compress(text.encode()))
    elif form == "shuffled columns":
        write(path, table([dict(reversed(row.items())) for row in rows()]))
    else:
        write(path, text)
    (found,) = split_cells(read_curves(path), PLAN)
    expected = {name: [row[name] for row in rows()] for name in rows()[0]}
    assert analyse(found.curves, PLAN) == analyse(expected, PLAN)


@pytest.mark.parametrize("kind", ["plain", "dictionary", "float32 and int32"])
def test_parquet_gives_the_same_curves(kind: str, tmp_path: Path) -> None:
    given = {name: [row[name] for row in rows()] for name in rows()[0]}
    columns = pa.table(given)
    if kind == "dictionary":
        columns = columns.set_column(0, "arm", columns["arm"].dictionary_encode())
    elif kind == "float32 and int32":
        columns = columns.set_column(1, "seed", columns["seed"].cast(pa.int32()))
    parquet.write_table(columns, tmp_path / "runs.parquet")
    (found,) = split_cells(read_curves(tmp_path / "runs.parquet"), PLAN)
    assert analyse(found.curves, PLAN) == analyse(given, PLAN)


def test_a_wide_table_is_read_with_its_metrics_and_gaps(tmp_path: Path) -> None:
    wide = [{"arm": r["arm"], "seed": r["seed"], "tokens": r["tokens"], "loss": r["value"], "lr": 0.1} for r in rows()]
    gap = {"arm": "ar", "seed": 0, "tokens": 2_000_000, "loss": "", "lr": 0.1}
    path = write(tmp_path / "wide.csv", table([*wide, gap]))
    found = read_curves(path, wide=["loss"])
    assert found.rows == len(wide)
    assert found.unused == ("lr",)
    assert any("1 of 121 rows have no number" in note for note in found.notes)
    (cell,) = split_cells(found, PLAN)
    given = {name: [row[name] for row in rows()] for name in rows()[0]}
    assert analyse(cell.curves, PLAN).verdicts == analyse(given, PLAN).verdicts


def test_long_runs_are_thinned_by_place_alone(tmp_path: Path) -> None:
    tokens = np.arange(1, 5001) * 100
    many = [
        {"arm": arm, "seed": seed, "tokens": int(t), "metric": "loss", "value": float(i % 7)}
        for arm in ("ar", "dlm")
        for seed in (0, 1)
        for i, t in enumerate(tokens)
    ]
    (cell,) = split_cells(read_curves(write(tmp_path / "long.csv", table(many))), PLAN)
    assert len(cell.curves["tokens"]) <= 4 * MOST_POINTS
    assert {100, 500_000} <= set(np.asarray(cell.curves["tokens"]).tolist())
    assert any("thinned" in note for note in cell.notes)
    other = [row | {"value": -float(str(row["value"]))} for row in many]
    (again,) = split_cells(read_curves(write(tmp_path / "other.csv", table(other))), PLAN)
    assert np.array_equal(again.curves["tokens"], cell.curves["tokens"])


def test_rows_without_a_value_do_not_crowd_out_those_with_one(tmp_path: Path) -> None:
    """A row for each step and a value at few of them: all that was measured is used."""
    measured = rows()
    blank = [row | {"tokens": t, "value": "nan"} for row in measured[::12] for t in range(10_001, 1_000_000, 999)]
    (cell,) = split_cells(read_curves(write(tmp_path / "sparse.csv", table([*blank, *measured]))), PLAN)
    given = {name: [row[name] for row in measured] for name in measured[0]}
    assert analyse(cell.curves, PLAN).verdicts == analyse(given, PLAN).verdicts
    assert f"{len(blank):,} of the rows that were thinned out have no finite value." in cell.notes


def test_an_arm_that_is_never_measured_is_not_lost(tmp_path: Path) -> None:
    """Long runs are thinned and wide tables have gaps, and the reason still names the arm."""
    tokens = range(1000, 601_000, 1000)
    long = [
        {"arm": arm, "seed": seed, "tokens": t, "metric": "loss", "value": "nan" if arm == "dlm" else 1 / t + seed}
        for arm in ("ar", "dlm")
        for seed in range(5)
        for t in tokens
    ]
    wide = [{name: row[name] for name in ("arm", "seed", "tokens")} | {"loss": row["value"]} for row in long]
    for name, given, metrics in (("long", long, None), ("wide", wide, ["loss"])):
        found = read_curves(write(tmp_path / f"{name}.csv", table(given)), wide=metrics)
        (cell,) = split_cells(found, PLAN)
        verdicts = analyse(cell.curves, PLAN).verdicts
        assert {verdict.outcome for verdict in verdicts} == {"insufficient evidence"}
        assert all("Arm dlm has no usable point of loss" in verdict.reason for verdict in verdicts)


def test_cells_are_named_or_made_from_what_they_are(tmp_path: Path) -> None:
    small = [row | {"unique_tokens": 10_000, "parameters": 5000} for row in rows()]
    large = [row | {"unique_tokens": 20_000, "parameters": 5000} for row in rows()]
    found = split_cells(read_curves(write(tmp_path / "a.csv", table([*large, *small]))), PLAN)
    assert [cell.cell for cell in found] == ["u10000-n5000", "u20000-n5000"]
    named = [row | {"cell": "mine"} for row in small]
    (cell,) = split_cells(read_curves(write(tmp_path / "b.csv", table(named))), PLAN)
    assert (cell.cell, cell.unique_tokens, cell.parameters) == ("mine", 10_000, 5000)
    mixed = [row | {"cell": "mine"} for row in [*small, *large]]
    with pytest.raises(CurvesError, match="unique_tokens: cell 'mine' has several"):
        split_cells(read_curves(write(tmp_path / "c.csv", table(mixed))), PLAN)


BAD: dict[str, Callable[[str], str]] = {
    "arm: no such column": lambda text: text.replace("arm,", "family,", 1),
    "separate the columns by commas": lambda text: text.replace(",", ";"),
    "seed: stands 2 times": lambda text: text.replace("seed,tokens", "seed,seed", 1),
    "the file has a header and no rows": lambda text: text.splitlines()[0] + "\n",
    "is empty": lambda text: "",
    "tokens: ": lambda text: text.replace(",10000,", ",many,", 1),
    "line 2": lambda text: text.replace(",loss,", ",loss,9,", 1),
    "has no name": lambda text: text.replace("\nar,", "\n ,", 1),
}


@pytest.mark.parametrize("said", BAD)
def test_what_is_no_table_of_curves_is_refused_by_name(said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.csv", BAD[said](table(rows())))
    with pytest.raises(CurvesError) as error:
        read_curves(path)
    assert said in str(error.value)


def test_files_that_are_not_what_they_say_are_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1" + b"\0" * 64)
    (tmp_path / "torn.csv.gz").write_bytes(gzip.compress(table(rows()).encode())[:-30])
    (tmp_path / "latin.csv").write_bytes(table(rows()).replace("ar,", "är,").encode("latin-1"))
    for name in ("torn.parquet", "torn.csv.gz", "latin.csv", "absent.csv", "."):
        with pytest.raises(CurvesError) as error:
            read_curves(tmp_path / name)
        assert error.value.exit_code == 2
    parquet.write_table(pa.table({"arm": [1, 2], "seed": [1, 1]}), tmp_path / "types.parquet")
    with pytest.raises(CurvesError, match="tokens: no such column"):
        read_curves(tmp_path / "types.parquet")
    whole = {name: [row[name] for row in changed(rows(), lambda row: row | {"seed": "zero"})] for name in rows()[0]}
    parquet.write_table(pa.table(whole), tmp_path / "text.parquet")
    with pytest.raises(CurvesError, match="seed: is of type string, not numbers"):
        read_curves(tmp_path / "text.parquet")
