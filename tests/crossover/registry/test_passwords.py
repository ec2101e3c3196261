"""No password is printed: not by errors, nor the registry's own URL, nor the settings, nor `crossover doctor`."""

from __future__ import annotations

import json
import re

import pytest

from crossover.cli import main
from crossover.errors import RegistryError
from crossover.registry import Registry, upgrade
from crossover.settings import Settings, get_settings
from crossover.url_masking import mask_password

PRINTED = {
    "postgresql://user:pa55wd@/x?host=/nowhere": "postgresql://user:***@/x?host=/nowhere",
    "postgresql://user@/x?host=/nowhere&password=pa55wd": "postgresql://user@/x?host=/nowhere&password=***",
    "postgresql://user:pa55/wd#?pa55wd@/x?sslmode=disable&host=/nowhere": (
        "postgresql://user:***@/x?sslmode=disable&host=/nowhere"
    ),
    "postgresql://user@/x?host=/nowhere&sslpassword=pa55wd&connect_timeout=1": (
        "postgresql://user@/x?host=/nowhere&sslpassword=***&connect_timeout=1"
    ),
    "postgresql://user@/x?host=/nowhere&pasword=pa55wd": "postgresql://user@/x?host=/nowhere&pasword=***",
    "postgresql://user:wrong@pa55wd@host/x": "postgresql://user:***@host/x",
    "postgresql://user:pa55wd@host:port/x": "postgresql://user:***@host:port/x",
    "postgresql+nodriver://user:pa55wd@host/x?password=pa55wd": ("postgresql+nodriver://user:***@host/x?password=***"),
    "mysql://user:pa55wd@host/x": "mysql://user:***@host/x",
}
"""URLs, and what is printed of them."""


@pytest.mark.parametrize("url", PRINTED)
@pytest.mark.parametrize("open_registry", [Registry.open, Registry.open_read_only, upgrade])
def test_errors_hide_it(url: str, open_registry: object) -> None:
    with pytest.raises(RegistryError) as caught:
        open_registry(url)  # type: ignore[operator]  # opened as the parameter says
    assert "pa55" not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize(("url", "printed"), PRINTED.items())
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_doctor_and_settings_hide_it(
    url: str, printed: str, flags: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROSSOVER_REGISTRY_URL", url)
    monkeypatch.setenv("CROSSOVER_S3_SECRET_KEY", "pa55wd")
    get_settings.cache_clear()
    assert main(["doctor", *flags]) == 1
    output = capsys.readouterr()
    assert "pa55" not in output.out + output.err
    if flags:
        settings = json.loads(output.out)["settings"]
        assert (settings["registry_url"], settings["s3_secret_key"]) == (printed, "set")
    else:
        assert re.search(rf"^  CROSSOVER_REGISTRY_URL +{re.escape(printed)} ", output.out, re.MULTILINE)
        assert re.search(r"^  CROSSOVER_S3_SECRET_KEY +set ", output.out, re.MULTILINE)
    assert "pa55" not in f"{get_settings()!r} {get_settings()}"
    assert get_settings().registry == url


def test_an_open_registry_hides_it(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    if url.startswith("sqlite"):
        with Registry.open(url) as registry:
            assert registry.url == url
        return
    secret = url.replace("@", ":pa55wd@") + "&password=pa55wd"
    with Registry.open(secret) as registry:
        assert "pa55wd" not in registry.url
        with pytest.raises(RegistryError) as caught:
            registry.query("SELECT nothing")
    assert "pa55wd" not in str(caught.value)
    assert main(["registry", "query", "SELECT * FROM nowhere", "--registry", secret]) == 2
    assert "pa55wd" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("postgresql://user@host:5432/x", "postgresql://user@host:5432/x"),
        ("postgresql://user@host/x?options=-c%20a@b", "postgresql://user@host/x?options=-c%20a@b"),
        ("postgresql://user:a@b:c@host/x", "postgresql://user:***@host/x"),
        ("sqlite:///studies/registry.sqlite", "sqlite:///studies/registry.sqlite"),
        ("sqlite:////tmp/a:b@c.sqlite", "sqlite:////tmp/a:b@c.sqlite"),
        ("x://h/?user=me&PASSWORD=a&port=1", "x://h/?user=me&PASSWORD=***&port=1"),
    ],
)
def test_masking_keeps_the_rest(text: str, printed: str) -> None:
    assert mask_password(text) == printed


def test_settings_are_listed_by_name() -> None:
    assert "home=" in repr(Settings())
