"""Small documents in both stores: versions, and writers that do not overwrite each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from crossover.errors import StorageError
from crossover.storage import ANY, Document
from tests.crossover.storage.conftest import Place
from tests.crossover.storage.s3_proxy import proxy_before


def count_up(place: Place, machine: str) -> None:
    """Add 10 to a document that others add to as well."""
    store, done = place.open(machine), 0
    while done < 10:
        document = store.read_document("counter.json")
        assert document is not None
        try:
            store.write_document("counter.json", document.value + 1, replaces=document.version)
            done += 1
        except StorageError as error:
            assert error.code == "storage.conflict", error


def test_a_document_is_written_read_and_replaced(place: Place) -> None:
    store, other = place.open(), place.open("two")
    assert store.read_document("a/b.json") is None
    first = store.write_document("a/b.json", {"é": [1, None]}, replaces=None)
    assert other.read_document("a/b.json") == Document({"é": [1, None]}, first)
    second = other.write_document("a/b.json", 2, replaces=first)
    assert second != first
    assert store.read_document("a/b.json") == Document(2, second)
    third = store.write_document("a/b.json", 3, replaces=ANY)
    assert store.read_document("a/b.json") == Document(3, third)
    assert store.write_document("new.json", 1, replaces=ANY) == store.write_document("other.json", 1, replaces=ANY)
    store.delete("a/b.json")
    assert other.read_document("a/b.json") is None


def test_a_stale_version_is_a_conflict(place: Place) -> None:
    store = place.open()
    first = store.write_document("d.json", 1, replaces=None)
    store.write_document("d.json", 2, replaces=first)
    for replaces in (None, first, "another"):
        with pytest.raises(StorageError) as caught:
            store.write_document("d.json", 3, replaces=replaces)
        assert caught.value.code == "storage.conflict"
    with pytest.raises(StorageError, match="conflict"):
        store.write_document("absent.json", 1, replaces=first)
    document = store.read_document("d.json")
    assert document is not None
    assert document.value == 2
    assert store.read_document("absent.json") is None


def test_no_update_is_lost_between_writers(place: Place) -> None:
    place.open().write_document("counter.json", 0, replaces=None)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: count_up(place, f"machine-{number}"), range(3)))
    document = place.open().read_document("counter.json")
    assert document is not None
    assert document.value == 30


def test_text_that_is_not_json_is_damage(place: Place) -> None:
    store = place.open()
    store.write_document("d.json", 1, replaces=None)
    place.overwrite("d.json", b"{")
    with pytest.raises(StorageError) as caught:
        store.read_document("d.json")
    assert caught.value.code == "storage.altered"


def test_a_lost_answer_is_no_conflict(bucket: Place) -> None:
    """The store wrote the document, its answer was lost, and the repeated request finds the document there."""
    with proxy_before(bucket.endpoint) as proxy:
        store = Place(bucket.uri, bucket.scratch, proxy.endpoint).open()
        proxy.faults["PUT", "d.json"] = ["forget"]
        version = store.write_document("d.json", 1, replaces=None)
        assert proxy.requests["PUT", "d.json"] == 2
        proxy.faults["PUT", "d.json"] = ["slow down", "forget"]
        version = store.write_document("d.json", 2, replaces=version)
        assert bucket.open().read_document("d.json") == Document(2, version)


def test_a_store_without_conditional_writes_is_recognised(bucket: Place) -> None:
    """Then a check before the write is all there is: a writer that is late still gets a conflict."""
    with proxy_before(bucket.endpoint) as proxy:
        proxy.strips_conditions = True
        store = Place(bucket.uri, bucket.scratch, proxy.endpoint).open()
        with pytest.warns(RuntimeWarning, match="ignores conditional writes"):
            first = store.write_document("d.json", 1, replaces=None)
        second = store.write_document("d.json", 2, replaces=first)
        for replaces in (None, first):
            with pytest.raises(StorageError, match="conflict"):
                store.write_document("d.json", 3, replaces=replaces)
        assert bucket.open().read_document("d.json") == Document(2, second)
