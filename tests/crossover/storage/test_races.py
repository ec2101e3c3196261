"""Writers and readers of one artifact at the same time, and publishers that are killed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from crossover.errors import StorageError
from crossover.storage import s3_publication, s3_transfer
from tests.crossover.storage.conftest import Place, read_files, write_files
from tests.crossover.storage.s3_proxy import Fault, proxy_before

NAMES = ("one", "two", "three")

PUBLISH_AND_STOP = """
import sys, time
from crossover.storage import artifact_manifest, s3_publication
def stop(*arguments, **named):
    print("stopped", flush=True)
    time.sleep(600)
{hook} = stop
folder = store.path("a")
for name in ("one", "two", "three"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("killed")
store.publish("a")
"""

FETCH = 'print("ready", flush=True)\ninput()\nprint(store.fetch("a"))'


def contents(value: bytes) -> dict[str, bytes]:
    return dict.fromkeys(NAMES, value)


def publish(place: Place, value: bytes, machine: str = "one") -> str:
    store = place.open(machine)
    write_files(store.path("a"), contents(value))
    return store.publish("a")


def kill_publisher(place: Place, hook: str) -> None:
    """Start a publisher on a machine of its own and kill it at the first call of a function."""
    child = place.start(PUBLISH_AND_STOP.format(hook=hook), "killed")
    assert child.stdout is not None
    assert child.stdout.readline() == "stopped\n", child.communicate()
    child.kill()
    child.communicate()


def test_a_killed_publisher_leaves_nothing_visible(place: Place) -> None:
    hook = "s3_publication._write_manifest" if place.endpoint else "artifact_manifest.replace_file"
    kill_publisher(place, hook)
    assert "a/one" in place.keys()
    store = place.open("other")
    assert store.names("") == store.names("a") == []
    assert store.digest("a") is None
    with pytest.raises(StorageError) as caught:
        store.fetch("a")
    assert caught.value.code == "storage.missing"
    digest = publish(place, b"another attempt")
    assert place.open("third").names("") == ["a"]
    assert read_files(place.open("third").fetch("a", digest)) == contents(b"another attempt")


def test_a_killed_publisher_s_work_is_taken_up(bucket: Place) -> None:
    """A second attempt with the same files does not upload them again."""
    kill_publisher(bucket, "s3_publication._write_manifest")
    with proxy_before(bucket.endpoint) as proxy:
        publish(Place(bucket.uri, bucket.scratch, proxy.endpoint), b"killed")
        assert proxy.requests["PUT", "manifest.json"] == 1
        assert [proxy.requests["PUT", name] for name in NAMES] == [0, 0, 0]
    assert [key for key in bucket.keys() if key.startswith("a/.")] == []
    assert read_files(bucket.open("other").fetch("a")) == contents(b"killed")


def test_a_publisher_killed_before_the_manifest_leaves_the_old_artifact(bucket: Place) -> None:
    digest = publish(bucket, b"old")
    kill_publisher(bucket, "s3_publication._write_manifest")
    assert read_files(bucket.open("other").fetch("a", digest)) == contents(b"old")
    newest = publish(bucket, b"newest")
    assert read_files(bucket.open("other").fetch("a", newest)) == contents(b"newest")
    assert [key for key in bucket.keys() if key.startswith("a/.")] == []


def test_a_publisher_killed_while_it_moves_leaves_the_new_artifact(
    bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bucket, b"old")
    kill_publisher(bucket, "s3_publication._move")
    bucket.overwrite("a/two", b"half of what it moved")
    assert read_files(bucket.open("other").fetch("a")) == contents(b"killed")
    later = publish(bucket, b"later")
    assert read_files(bucket.open("other").fetch("a", later)) == contents(b"later")
    monkeypatch.setattr(s3_publication, "MOVING_SECONDS", -1)
    last = publish(bucket, b"last")
    assert read_files(bucket.open("other").fetch("a", last)) == contents(b"last")
    assert [key for key in bucket.keys() if key.startswith("a/")] == [
        "a/manifest.json",
        *(f"a/{n}" for n in sorted(NAMES)),
    ]


def while_uploading(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object], *, after: bool) -> None:
    """Do something once, just before or after the first publisher uploads its payload."""
    upload_files = s3_publication._upload_files

    def hooked(*arguments: object) -> bool:
        monkeypatch.setattr(s3_publication, "_upload_files", upload_files)
        if not after:
            action()
        written = upload_files(*arguments)  # type: ignore[arg-type]  # passed on as they came
        if after:
            action()
        return written

    monkeypatch.setattr(s3_publication, "_upload_files", hooked)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("replacing", [False, True])
def test_of_two_writers_one_wins_whole(
    bucket: Place, monkeypatch: pytest.MonkeyPatch, replacing: bool, after: bool
) -> None:
    if replacing:
        publish(bucket, b"old")
    while_uploading(monkeypatch, lambda: publish(bucket, b"fast", "two"), after=after)
    with pytest.raises(StorageError) as caught:
        publish(bucket, b"slow", "one")
    assert caught.value.code == "storage.conflict"
    assert read_files(bucket.open("three").fetch("a")) == contents(b"fast")


def test_of_two_first_writers_of_a_large_file_one_wins_whole(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload in parts is refused at its end, if another writer's object is there by then."""
    monkeypatch.setattr(s3_transfer, "PART_BYTES", 5 << 20)
    large = {value: value * ((5 << 20) // 4 + 1) for value in (b"fast", b"slow")}
    while_uploading(monkeypatch, lambda: publish(bucket, large[b"fast"], "two"), after=False)
    with pytest.raises(StorageError, match="conflict"):
        publish(bucket, large[b"slow"], "one")
    assert read_files(bucket.open("three").fetch("a")) == contents(large[b"fast"])


def test_a_late_copy_of_an_earlier_winner_does_no_harm(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer is replaced while it moves its payload, and one of its copies lands after all is done."""
    publish(bucket, b"old")
    move = s3_publication._move

    def slow_move(*arguments: object) -> bool:
        monkeypatch.setattr(s3_publication, "_move", move)
        publish(bucket, b"fast", "two")
        bucket.overwrite("a/one", b"slow")
        return move(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(s3_publication, "_move", slow_move)
    publish(bucket, b"slow", "one")
    assert read_files(bucket.open("three").fetch("a")) == contents(b"fast")


def test_two_writers_of_the_same_content_both_succeed(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    while_uploading(monkeypatch, lambda: publish(bucket, b"same", "two"), after=False)
    digest = publish(bucket, b"same", "one")
    assert read_files(bucket.open("three").fetch("a", digest)) == contents(b"same")


def publish_often(place: Place, machine: str) -> int:
    """Publish six versions of one artifact; returns how often it was the faster writer."""
    published = 0
    for number in range(6):
        try:
            publish(place, f"{machine}-{number}".encode() * 1000, machine)
            published += 1
        except StorageError as error:
            assert error.code == "storage.conflict", error
    return published


def test_readers_of_a_busy_artifact_never_see_a_mixture(bucket: Place) -> None:
    publish(bucket, b"first")
    store = bucket.open("reader")
    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(publish_often, bucket, f"writer-{number}") for number in range(2)]
        while not all(writer.done() for writer in writers):
            try:
                files = read_files(store.fetch("a"))
            except StorageError as error:
                assert "again and again" in error.problem
            else:
                assert len(set(files.values())) == 1, files
        assert sum(writer.result() for writer in writers) >= 6
    assert len(set(read_files(bucket.open("last").fetch("a")).values())) == 1


def test_a_reader_gets_the_new_one_when_it_is_replaced_under_its_hands(
    bucket: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bucket, b"old")
    store = bucket.open("two")
    listing = store._bucket.listing  # type: ignore[attr-defined]  # only this store has one
    replaced: list[object] = []

    def replacing(prefix: str) -> object:
        if not replaced:
            replaced.append(publish(bucket, b"new"))
        return listing(prefix)

    monkeypatch.setattr(store._bucket, "listing", replacing)  # type: ignore[attr-defined]  # only this store has one
    assert read_files(store.fetch("a")) == contents(b"new")


def test_two_processes_download_an_artifact_once(bucket: Place) -> None:
    """The first download is held back until a second one would have begun, if nothing kept it from that."""
    publish(bucket, b"x" * 1000)
    with proxy_before(bucket.endpoint) as proxy:
        take, begun = proxy.take, threading.Barrier(2)

        def holding(method: str, key: str) -> Fault | None:
            fault = take(method, key)
            if (method, key) == ("GET", "one"):
                with suppress(threading.BrokenBarrierError):
                    begun.wait(1)
            return fault

        proxy.take = holding  # type: ignore[method-assign]  # replaced for the test
        place = Place(bucket.uri, bucket.scratch, proxy.endpoint)
        readers = [place.start(FETCH, "shared") for _ in range(2)]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for reader in readers:
            assert reader.stdin is not None
            reader.stdin.write("\n")
            reader.stdin.flush()
        results = [reader.communicate() for reader in readers]
        assert [reader.returncode for reader in readers] == [0, 0], results
        assert {out.strip() for out, _ in results} == {str(place.open("shared").path("a"))}
        assert [proxy.requests["GET", name] for name in NAMES] == [1, 1, 1]
    assert read_files(Path(results[0][0].strip())) == contents(b"x" * 1000)
