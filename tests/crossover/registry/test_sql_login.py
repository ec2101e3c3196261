"""SELECTs of users: a login of their own on PostgreSQL, and what is said where a statement is none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from crossover.errors import RegistryError
from crossover.registry import Registry, upgrade
from crossover.settings import get_settings
from tests.crossover.registry.backups import fill
from tests.crossover.registry.conftest import RUN_ID, STUDY, register

DOCS = (Path(__file__).parents[3] / "docs" / "registry_service.md").read_text("utf-8")
SECRETS = (
    "SELECT * FROM event",
    "SELECT set_config('role', 'none', true), query_to_xml('SELECT * FROM access' || '_token', true, true, '')",
    "SELECT result FROM analysis",
    "SELECT pg_read_file('/etc/passwd')",
)


@pytest.fixture
def with_login(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A filled registry, and the login that the documentation makes."""
    schema = "own_login"
    engine = create_engine(postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    url = f"{postgres}&options=-csearch_path%3D{schema}"
    upgrade(url)
    role, usage, select = re.findall(r"^(?:CREATE ROLE|GRANT USAGE|SELECT format).*", DOCS, re.MULTILINE)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS crossover_sql")
        connection.exec_driver_sql(role)
        connection.exec_driver_sql(usage.replace("public", schema).rstrip(";"))
        connection.exec_driver_sql(f"SET search_path TO {schema}")
        listed = select.replace(r"\gexec", "").replace("WHERE", f"WHERE schemaname = '{schema}' AND")
        for (grant,) in connection.exec_driver_sql(listed.replace("%", "%%")).all():
            connection.exec_driver_sql(grant)
    monkeypatch.setenv("CROSSOVER_REGISTRY_SQL_URL", re.sub(r"//[^@]*@", "//crossover_sql@", url))
    get_settings.cache_clear()
    with Registry.open(url) as registry:
        registry.register_study(name="demo", digest=STUDY, config={})
        register(registry, RUN_ID)
        fill(registry)
        yield registry
    get_settings.cache_clear()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")
        connection.exec_driver_sql("DROP ROLE crossover_sql")
    engine.dispose()


def test_a_login_of_its_own_reads_the_views_alone(with_login: Registry) -> None:
    for view in (
        "v_curves",
        "v_runs",
        "v_verdicts",
        "v_evaluations",
        "v_serving",
        "v_superseded",
        "v_serving_crossovers",
        "v_attempts",
    ):
        assert with_login.query(f"SELECT * FROM {view}").rows
    for sql in SECRETS:
        with pytest.raises(RegistryError, match="permission denied"):
            with_login.query(sql)
    with pytest.raises(RegistryError, match="access to access_token is prohibited"):
        with_login.query("SELECT * FROM Access_Token")
    assert len(with_login.curves(STUDY, RUN_ID.cell)["value"]) > 0  # our own reads are the server's


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("SHOW TABLES", "SHOW is not a SELECT"),
        ("describe v_runs", "DESCRIBE is not a SELECT"),
        (".tables", ".TABLES is not a SELECT"),
        (r"\d", r"\D is not a SELECT"),
        ("PRAGMA table_info(run)", "PRAGMA is not a SELECT"),
        ("DELETE FROM run", "DELETE would write, and a query only reads"),
        ("  drop table run", "DROP would write, and a query only reads"),
        ("INSERT INTO run (id) VALUES (1)", "INSERT would write, and a query only reads"),
    ],
)
def test_what_is_no_select_is_explained(registry: Registry, sql: str, problem: str) -> None:
    with pytest.raises(RegistryError) as caught:
        registry.query(sql)
    assert caught.value.problem == problem
    assert "give one SELECT over v_curves, v_runs, " in caught.value.remedy
