"""The views as Parquet files, read back by pyarrow, of both databases."""

from __future__ import annotations

import math
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import create_engine, text

from crossover.cli import main
from crossover.errors import RegistryError, UserError
from crossover.registry import MetricDef, Registry
from crossover.registry.export_views import GROUP_ROWS, arrow_schema, export_views
from crossover.registry.read_queries import VIEWS
from crossover.registry.registry_url import parse_url
from tests.crossover.registry.backups import ANALYSIS, ODD, fill, many_points
from tests.crossover.registry.conftest import RUN_ID, points

OTHER = "sha256:other"
TEXT, WHOLE, FLOAT, TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")
OF_POSTGRES = {20: WHOLE, 23: WHOLE, 701: FLOAT, 1043: TEXT, 25: TEXT, 1184: TIME}
"""PostgreSQL's types of results by their OID: bigint, integer, double precision, varchar, text, timestamptz."""


@pytest.fixture
def filled(registry: Registry) -> Registry:
    fill(registry)
    registry.register_study(name="other", digest=OTHER, config={})
    registry.register_run(OTHER, RUN_ID, "sha256:other run", config={}, epoch_tokens=100)
    registry.record_points("sha256:other run", MetricDef("loss", "nats", "lower", "exact"), points(1, 2))
    registry.record_analysis(OTHER, RUN_ID.cell, ANALYSIS | {"verdicts": []})
    return registry


def test_files_hold_what_the_views_hold(filled: Registry, url: str, tmp_path: Path) -> None:
    written = export_views(url, tmp_path / "new" / "out")
    assert {path.stem for path in written} == set(VIEWS)
    for path, rows in written.items():
        table = parquet.read_table(path)
        result = filled.query(f"SELECT * FROM {path.stem}")
        assert tuple(table.column_names) == result.columns
        assert table.num_rows == rows == len(result.rows) > 0
        expected = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        assert by_text([plain(row) for row in table.to_pylist()]) == by_text([plain(row) for row in expected])
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == sorted(f"{v}.parquet" for v in VIEWS)


def by_text(rows: list[dict[str, object]]) -> list[str]:
    return sorted(map(repr, rows))


def plain(row: dict[str, object]) -> dict[str, object]:
    return {
        name: utc(value) if name.endswith("_at") and name != "crossing_at" and value is not None else value
        for name, value in row.items()
    }


def utc(value: object) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(moment, datetime)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def test_types_do_not_depend_on_the_values(filled: Registry, url: str, tmp_path: Path) -> None:
    """Columns in which all is NULL have their types too, and NaN is a null with its state."""
    export_views(url, tmp_path, study="demo")
    curves = parquet.read_table(tmp_path / "v_curves.parquet")
    kinds = {name: curves.schema.field(name).type for name in ("study", "seed", "step", "tokens", "flops", "value")}
    assert kinds == {"study": TEXT, "seed": WHOLE, "step": WHOLE, "tokens": WHOLE, "flops": FLOAT, "value": FLOAT}
    assert curves.schema.field("epochs").type == FLOAT
    assert curves["epochs"].null_count == curves.num_rows
    values = {row["step"]: (row["value"], row["state"]) for row in curves.to_pylist()}
    for step, expected in enumerate(ODD[:3]):
        assert values[step] == (expected, "")
    export_views(url, tmp_path, study="other")
    verdicts = parquet.read_table(tmp_path / "v_verdicts.parquet")
    assert verdicts.num_rows == 0
    assert verdicts.schema.field("analysed_at").type == TIME
    assert verdicts.schema.field("pairs").type == WHOLE


def test_states_of_values_that_are_no_numbers(registry: Registry, url: str, tmp_path: Path) -> None:
    odd = [p for i, value in enumerate(ODD) for p in points(i, value=value)]
    registry.record_points(f"sha256:{RUN_ID.key}", MetricDef("m", "1", "none", "none"), odd)
    export_views(url, tmp_path)
    rows = sorted(parquet.read_table(tmp_path / "v_curves.parquet").to_pylist(), key=lambda row: row["step"])
    assert [row["state"] for row in rows if row["value"] is None] == ["nan", "+inf", "-inf"]
    assert all(math.isfinite(row["value"]) for row in rows if row["state"] == "")


def test_times_are_in_utc(filled: Registry, url: str, tmp_path: Path) -> None:
    before = datetime.now(UTC)
    export_views(url, tmp_path)
    (row,) = parquet.read_table(tmp_path / "v_deployments.parquet").to_pylist()
    assert row["deployed_at"].utcoffset().total_seconds() == 0
    assert 0 <= (before - row["deployed_at"]).total_seconds() < 600


@pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("registry")
def test_every_column_has_postgresqls_type(url: str) -> None:
    """A new column of a view that is a number or a time needs its name in WHOLE, FLOATING or TIMES."""
    engine = create_engine(parse_url(url))
    with engine.connect() as connection:
        for view in VIEWS:
            cursor = connection.execute(text(f"SELECT * FROM {view}")).cursor
            assert cursor is not None
            described: list[tuple[str, Any]] = [(name, oid) for name, oid, *_ in cursor.description]
            assert [OF_POSTGRES[oid] for _, oid in described] == arrow_schema([name for name, _ in described]).types
    engine.dispose()


def test_one_study(filled: Registry, url: str, tmp_path: Path) -> None:
    export_views(url, tmp_path, study="other")
    assert set(parquet.read_table(tmp_path / "v_curves.parquet")["study"].to_pylist()) == {"other"}
    assert parquet.read_table(tmp_path / "v_runs.parquet").num_rows == 1
    with pytest.raises(RegistryError) as caught:
        export_views(url, tmp_path, study="othr")
    assert caught.value.code == "registry.no-such-study"
    assert "did you mean other?" in caught.value.remedy
    assert parquet.read_table(tmp_path / "v_runs.parquet").num_rows == 1, "the files that stood there still do"


def test_a_folder_that_cannot_be_written(registry: Registry, url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        export_views(url, tmp_path / "file")
    assert caught.value.code == "workspace.unwritable"


def test_large_views_are_streamed_in_row_groups(tmp_path: Path) -> None:
    peaks = []
    for groups in (2, 6):  # while a group is read the one before it is still there
        url = f"sqlite:///{tmp_path}/{groups}.sqlite"
        many_points(url, groups * GROUP_ROWS)
        tracemalloc.start()
        export_views(url, tmp_path / f"{groups}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    file = parquet.ParquetFile(tmp_path / "6" / "v_curves.parquet")
    assert file.metadata.num_rows == 6 * GROUP_ROWS + 1
    assert file.metadata.num_row_groups == 7
    assert peaks[1] < 1.3 * peaks[0]


def test_the_verb(filled: Registry, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registry", "export", "--parquet", str(tmp_path / "out"), "--registry", url]) == 0
    assert f"{tmp_path}/out/v_deployments.parquet: 1 rows" in capsys.readouterr().out
    assert main(["registry", "export", "--parquet", str(tmp_path), "--study", "nobody", "--registry", url]) == 2
    assert "[registry.no-such-study]" in capsys.readouterr().err
