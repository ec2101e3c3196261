"""`crossover registry query` on both databases: CSV, what is printed of a cut result, and errors of unknown names."""

from __future__ import annotations

import csv
import io

import pytest

from crossover.cli import main
from crossover.registry import Registry

ODD_TEXTS = "SELECT NULL AS nil, 'say \"hi\"' AS quotes, 'a,b' AS comma, 'two\nlines' AS newline, 0.1 AS number"
TWO_ROWS = "SELECT 1 AS one UNION SELECT 2 ORDER BY 1"
VIEWS = "v_curves, v_runs, v_verdicts, v_deployments, v_attempts, v_datasets, v_evaluations, v_serving, v_superseded, "
VIEWS += "v_serving_crossovers"
TABLES = f"{VIEWS}, analysis, attempt, checkpoint, dataset, deployment, event, item_scores"
FORMATS = {"table": "  one\n-----\n    1\n", "json": '[\n {\n  "one": 1\n }\n]\n', "csv": "one\n1\n"}


@pytest.fixture
def query(registry: Registry, url: str, capsys: pytest.CaptureFixture[str]) -> Query:
    """Runs the verb on the registry."""
    return Query(url, capsys)


class Query:
    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url, self._capsys = url, capsys

    def __call__(self, sql: str, *flags: str, code: int = 0) -> tuple[str, str]:
        """What the verb prints to standard output and to standard error."""
        assert main(["registry", "query", sql, *flags, "--registry", self._url]) == code
        captured = self._capsys.readouterr()
        return captured.out, captured.err


def test_csv_keeps_quotes_commas_and_newlines_and_null_is_empty(query: Query) -> None:
    output, error = query(ODD_TEXTS, "--format", "csv")
    assert output == 'nil,quotes,comma,newline,number\n,"say ""hi""","a,b","two\nlines",0.1\n'
    assert list(csv.reader(io.StringIO(output)))[1] == ["", 'say "hi"', "a,b", "two\nlines", "0.1"]
    assert error == ""


@pytest.mark.parametrize("name", FORMATS)
def test_rows_beyond_the_limit_are_reported_beside_the_output(query: Query, name: str) -> None:
    output, error = query(TWO_ROWS, "--format", name, "--limit", "1")
    assert output == FORMATS[name]
    assert error == "crossover: rows beyond the first 1 are left out: raise --limit\n"
    assert query(TWO_ROWS, "--format", name, "--limit", "2")[1] == ""


def test_json_has_a_short_flag(query: Query) -> None:
    assert query(TWO_ROWS, "--json", "--limit", "1")[0] == FORMATS["json"]


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_below_one_is_refused(query: Query, limit: str) -> None:
    output, error = query(TWO_ROWS, "--limit", limit, code=2)
    assert output == ""
    assert f"--limit: {limit} rows show nothing; give 1 or more [registry.bad-limit]" in error


@pytest.mark.parametrize("name", ["stats", '"stats"', "v.stats"])
def test_an_unknown_column_lists_those_of_the_tables_used(query: Query, name: str) -> None:
    _, error = query(f"SELECT {name} FROM v_runs v JOIN attempt ON 1 = 1", code=2)
    assert "did you mean status? " in error
    assert " v_runs has study, study_digest, cell, arm, seed, status, attempts, last_step," in error
    assert " attempt has run_id, n, started_step, host, pid, started_at, ended_at, end_reason" in error
    assert "point has" not in error


def test_an_unknown_column_that_is_like_no_other_lists_them_too(query: Query) -> None:
    _, error = query('SELECT "Größe in m" FROM attempt', code=2)
    assert "Größe in m" in error
    assert "did you mean" not in error
    assert "attempt has run_id, n, started_step" in error


@pytest.mark.parametrize("name", ["v_verdict", '"v_verdict"'])
def test_an_unknown_table_lists_tables_and_views(query: Query, name: str) -> None:
    _, error = query(f"SELECT * FROM {name}", code=2)
    assert f"did you mean v_verdicts? there are {TABLES}" in error
    assert "alembic_version" not in error


def test_an_unknown_name_in_double_quotes_is_no_text(query: Query) -> None:
    """SQLite by itself would take it as one, and the result would be empty."""
    _, error = query('SELECT arm FROM v_runs WHERE arm = "ar"', code=2)
    assert "[registry.bad-query]" in error
    assert "did you mean arm? v_runs has study," in error


def test_double_quotes_in_texts_and_comments_stay(query: Query) -> None:
    sql = """SELECT '"arm" it''s' AS "a ""b"" `c`", "arm" /* "x" ' */ FROM v_runs -- don't "y"
    WHERE 'no "name"' <> "cell" """
    assert query(sql, "--format", "csv")[0] == '"a ""b"" `c`",arm\n"""arm"" it\'s",dlm\n'
