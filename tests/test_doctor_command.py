"""`crossover doctor`: every setting with its value, nothing made, and failures with their remedies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.registry import Registry, upgrade
from crossover.settings import Settings, get_settings


def registry_check(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    main(["doctor", "--json"])
    checks = json.loads(capsys.readouterr().out)["checks"]
    return next(check for check in checks if check["name"] == "registry")


def test_a_fresh_machine_is_ok_and_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "no registry yet" in capsys.readouterr().out
    assert registry_check(capsys)["ok"]
    assert not get_settings().home.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_registry_is_read_and_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Registry.open(get_settings().registry).close()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main(["doctor"]) == 0
    assert "at this version's schema" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_older_registry_is_reported_and_not_migrated(capsys: pytest.CaptureFixture[str]) -> None:
    from crossover.registry.migrate_schema import migrate
    from crossover.registry.registry_url import parse_url

    migrate(parse_url(get_settings().registry), "0002")
    for _ in range(2):
        check = registry_check(capsys)
        assert not check["ok"]
        assert check["remedy"] == "run `crossover registry upgrade`"
    assert upgrade(get_settings().registry)[0] == "0002"
    assert registry_check(capsys)["ok"]


@pytest.mark.parametrize("kind", ["file", "not a database"])
def test_a_registry_that_cannot_be_used_fails(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("plain text " * 100)
    name = "taken/r.sqlite" if kind == "file" else "taken"
    monkeypatch.setenv("CROSSOVER_REGISTRY_URL", f"sqlite:///{tmp_path}/{name}")
    get_settings.cache_clear()
    assert main(["doctor"]) == 1
    output = capsys.readouterr().out
    assert "FAIL  registry" in output
    assert ("with --registry" if kind == "file" else "name another file") in output


def test_every_setting_is_printed_with_its_value_and_secrets_are_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CROSSOVER_PRICE_PER_GPU_HOUR", "2.75")
    monkeypatch.setenv("CROSSOVER_S3_ENDPOINT", "store.example:9000")
    monkeypatch.setenv("CROSSOVER_S3_ACCESS_KEY", "an-access-key")
    get_settings.cache_clear()
    assert main(["doctor", "--json"]) == 0
    text = capsys.readouterr().out
    values = json.loads(text)["settings"]
    assert set(values) == set(Settings.model_fields)
    assert values["home"] == str(tmp_path / "home")
    assert (values["price_per_gpu_hour"], values["s3_endpoint"]) == ("2.75", "store.example:9000")
    assert (values["s3_access_key"], values["s3_secret_key"]) == ("set", "not set")
    assert values["registry_url"] == "(default)"
    assert "an-access-key" not in text
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(f"CROSSOVER_{name.upper()}" in text for name in Settings.model_fields)
    assert "store.example:9000" in text
    assert "an-access-key" not in text
