"""Writes that are done once for a key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from crossover.errors import RegistryError
from crossover.registry import Registry
from tests.crossover.registry.conftest import RUN

COUNT = "SELECT COUNT(*) FROM checkpoint"


def test_a_failed_write_leaves_its_key_free_and_nothing_else(registry: Registry) -> None:
    def fails() -> dict[str, object]:
        registry.record_checkpoint(RUN, 1, 1, "u", "d")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        registry.once("k", "body", fails)
    assert registry.query(COUNT).rows == ((0,),)
    assert registry.once("k", "body", lambda: {"a": 1}) == {"a": 1}
    assert registry.once("k", "body", fails) == {"a": 1}
    with pytest.raises(RegistryError, match="was used for another request"):
        registry.once("k", "another", fails)
    assert registry.within("other").once("k", "another", lambda: {"b": 2}) == {"b": 2}


def test_keys_are_forgotten_in_time(url: str) -> None:
    now = datetime.now(UTC)
    with Registry.open(url, clock=lambda: now) as registry:
        registry.once("old", "body", lambda: {"a": 1})
        now += timedelta(days=6)
        registry.once("new", "body", lambda: {"a": 1})
        assert registry.forget_requests(timedelta(days=7)) == 0
        now += timedelta(days=2)
        assert registry.forget_requests(timedelta(days=7)) == 1
        assert registry.once("old", "another", lambda: {"a": 3}) == {"a": 3}
        assert registry.once("new", "body", lambda: {"a": 4}) == {"a": 1}


def test_threads_have_transactions_of_their_own(registry: Registry) -> None:
    """Heartbeats are sent by a thread while another one writes."""
    connections: list[object] = []

    def write() -> None:
        with registry.writing() as connection:
            connections.append(connection)

    with registry.writing() as mine, registry.writing() as again:
        assert again is mine
        thread = Thread(target=write)
        thread.start()
    thread.join()
    assert len(connections) == 1
    assert connections[0] is not mine
