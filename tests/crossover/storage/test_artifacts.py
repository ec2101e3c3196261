"""Files and folders in both stores: published whole, fetched verified, listed, replaced, deleted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crossover.errors import StorageError
from crossover.files import digest_of, digest_of_content, digest_of_file, write_json
from crossover.storage import open_store
from tests.crossover.storage.conftest import Place, read_files, write_files

FILES = {"weights.bin": b"w" * 100_000, "deep/er/config.json": b"{}", "empty": b""}


def publish(place: Place, name: str, files: dict[str, bytes]) -> str:
    store = place.open()
    write_files(store.path(name), files)
    return store.publish(name)


def test_a_folder_goes_there_and_comes_back_on_another_machine(place: Place) -> None:
    digest = publish(place, "runs/a", {**FILES, ".hidden": b"x", ".cache/part": b"x"})
    other = place.open("two")
    assert other.digest("runs/a") == digest
    folder = other.fetch("runs/a", digest)
    assert folder == other.path("runs/a")
    assert read_files(folder) == FILES
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest == {"kind": "folder", "files": {name: digest_of_content(data) for name, data in FILES.items()}}
    assert digest == digest_of(manifest)


def test_a_file_goes_there_and_comes_back_on_another_machine(place: Place) -> None:
    store = place.open()
    write_files(store.path("reports"), {"report.html": b"<p>"})
    digest = store.publish("reports/report.html")
    path = place.open("two").fetch("reports/report.html", digest)
    assert path.read_bytes() == b"<p>"
    assert digest == digest_of_file(path) == place.open("two").digest("reports/report.html")


def test_an_object_store_holds_files_under_their_plain_names(bucket: Place) -> None:
    publish(bucket, "runs/a", FILES)
    publish(bucket, "runs/a", {**FILES, "weights.bin": b"new"})
    store = bucket.open()
    write_files(store.path("x"), {"single": b"1"})
    store.publish("x/single")
    visible = [key for key in bucket.keys() if key != ".conditional-writes"]
    assert visible == [
        "runs/a/deep/er/config.json",
        "runs/a/empty",
        "runs/a/manifest.json",
        "runs/a/weights.bin",
        "x/single",
    ]


def test_a_writers_own_manifest_is_kept(place: Place) -> None:
    store = place.open()
    write_files(store.path("checkpoint"), {"weights": b"w"})
    manifest = {"kind": "checkpoint", "step": 3, "files": {"weights": digest_of_content(b"w")}}
    write_json(store.path("checkpoint") / "manifest.json", manifest)
    assert store.publish("checkpoint") == digest_of(manifest)
    folder = place.open("two").fetch("checkpoint", digest_of(manifest))
    assert json.loads((folder / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "does not name weights"),
        ({"weights": digest_of_content(b"other")}, "does not have the recorded digest"),
        ({"weights": digest_of_content(b"w"), "gone": digest_of_content(b"")}, "gone is missing"),
        ({"weights": digest_of_content(b"w"), "../outside": digest_of_content(b"")}, "cannot be a file of it"),
        ({"weights": 3}, "cannot be a file of it"),
    ],
)
def test_a_manifest_that_does_not_match_its_folder_is_not_published(
    place: Place, files: dict[str, str], problem: str
) -> None:
    store = place.open()
    write_files(store.path("checkpoint"), {"weights": b"w"})
    write_json(store.path("checkpoint") / "manifest.json", {"kind": "checkpoint", "files": files})
    with pytest.raises(StorageError, match=problem):
        store.publish("checkpoint")


@pytest.mark.parametrize("name", ["a", "a/file"])
def test_what_is_not_published_is_missing(place: Place, name: str) -> None:
    store = place.open()
    write_files(store.path("a"), {"file": b"in progress"})
    assert store.digest(name) is None
    assert store.names("") == []
    with pytest.raises(StorageError) as caught:
        store.fetch(name)
    assert caught.value.code == "storage.missing"


def test_publishing_nothing_is_an_error(place: Place) -> None:
    with pytest.raises(StorageError, match="run the stage that writes it first"):
        place.open().publish("none")


def test_another_digest_is_refused(place: Place) -> None:
    publish(place, "a", FILES)
    with pytest.raises(StorageError, match="not sha256:1234") as caught:
        place.open().fetch("a", "sha256:1234")
    assert caught.value.code == "storage.altered"


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("change", ["altered", "missing"])
def test_a_damaged_artifact_is_refused(place: Place, change: str, single: bool) -> None:
    name, key = ("a/weights.bin", "a/weights.bin") if single else ("a", "a/weights.bin")
    store = place.open()
    write_files(store.path("a"), FILES)
    digest = store.publish(name)
    if change == "altered":
        place.overwrite(key, b"w" * 99_999 + b"v")
    else:
        place.remove(key)
    with pytest.raises(StorageError) as caught:
        place.open("two").fetch(name, digest)
    assert caught.value.code == ("storage.missing" if single and change == "missing" else "storage.altered")
    if not single:
        assert "weights.bin" in caught.value.problem


def test_a_damaged_local_copy_is_mended_from_the_object_store(bucket: Place) -> None:
    digest = publish(bucket, "a", FILES)
    store = bucket.open("two")
    folder = store.fetch("a")
    (folder / "weights.bin").write_bytes(b"torn")
    (folder / "stray").write_bytes(b"left by something else")
    (folder / "empty").unlink()
    assert read_files(store.fetch("a", digest)) == FILES


def test_a_replaced_artifact_is_the_new_one_everywhere(place: Place) -> None:
    first = publish(place, "a", {"kept": b"same", "changed": b"old", "removed": b"x"})
    place.open("two").fetch("a", first)
    store = place.open()
    (store.path("a") / "removed").unlink()
    second = publish(place, "a", {"changed": b"new", "added": b"y"})
    assert second != first
    for machine in ("one", "two", "three"):
        folder = place.open(machine).fetch("a", second)
        assert read_files(folder) == {"kept": b"same", "changed": b"new", "added": b"y"}
    assert "a/removed" not in place.keys()
    assert not [key for key in place.keys() if key.startswith("a/.")]
    with pytest.raises(StorageError):
        place.open("two").fetch("a", first)


def test_publishing_the_same_again_changes_nothing(place: Place) -> None:
    digest = publish(place, "a", FILES)
    before = place.keys()
    assert publish(place, "a", FILES) == digest
    assert place.keys() == before


def test_damage_is_mended_by_publishing_again(place: Place) -> None:
    digest = publish(place, "a", FILES)
    place.remove("a/weights.bin")
    assert publish(place, "a", FILES) == digest
    assert read_files(place.open("two").fetch("a", digest)) == FILES


def test_a_replaced_file_is_the_new_one_everywhere(place: Place) -> None:
    publish_file = place.open()
    for content in (b"one", b"two"):
        write_files(publish_file.path("x"), {"file": content})
        digest = publish_file.publish("x/file")
        for machine in ("one", "two"):
            assert place.open(machine).fetch("x/file", digest).read_bytes() == content


def test_a_prefix_is_a_whole_path(place: Place) -> None:
    for name in ("runs/seed-1", "runs/seed-10", "runs/seed-1x/deep", "other"):
        publish(place, name, FILES)
    store = place.open()
    write_files(store.path("runs/notes"), {"a.txt": b"a", "b.txt": b"b"})
    store.publish("runs/notes/a.txt")
    store.write_document("runs/state.json", {}, replaces=None)
    store = place.open("two")
    assert store.names("runs/seed-1") == store.names("runs/seed-1/") == ["runs/seed-1"]
    assert store.names("runs/seed") == []
    assert store.names("runs/notes") == store.names("runs/notes/a.txt") == ["runs/notes/a.txt"]
    assert store.names("runs/seed-1/deep") == []
    below = ["runs/notes/a.txt", "runs/seed-1", "runs/seed-10", "runs/seed-1x/deep", "runs/state.json"]
    assert store.names("runs") == below
    assert store.names("") == ["other", *below]


def test_what_is_deleted_is_gone_everywhere(place: Place) -> None:
    publish(place, "runs/seed-1", FILES)
    publish(place, "runs/seed-10", FILES)
    store = place.open("two")
    store.fetch("runs/seed-1")
    store.delete("runs/seed-1")
    store.delete("runs/seed-1")
    assert not store.path("runs/seed-1").exists()
    assert place.open().names("") == ["runs/seed-10"]
    assert not [key for key in place.keys() if key.startswith("runs/seed-1/")]
    with pytest.raises(StorageError):
        place.open().fetch("runs/seed-1")
    publish(place, "runs/seed-1", {"again": b""})
    write_files(store.path("runs"), {"file": b"1"})
    store.publish("runs/file")
    store.delete("runs/file")
    assert store.names("") == ["runs/seed-1", "runs/seed-10"]
    store.delete("runs")
    assert store.names("") == []


@pytest.mark.parametrize(
    "name",
    ["", "/", "a/../../b", "..", "/etc/passwd", "a//b", ".hidden", "a/.b", "a/manifest.json", "a\\b", "a\nb", "a/"],
)
def test_names_that_cannot_be(place: Place, name: str) -> None:
    store = place.open()
    calls: list[Callable[[str], object]]
    calls = [store.path, store.publish, store.fetch, store.digest, store.delete, store.uri_of, store.read_document]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call(name)
        assert caught.value.code == "storage.bad-name"
    with pytest.raises(StorageError):
        store.write_document(name, {}, replaces=None)


def test_uris_and_names(place: Place) -> None:
    store = open_store(place.uri + "/", place.settings())
    assert store.uri == place.uri
    assert store.uri_of("a/b") == f"{place.uri}/a/b"
    assert store.name_of(f"{place.uri}/a/b") == "a/b"
    for uri in (f"{place.uri}x/a", "s3://elsewhere/a", place.uri, f"{place.uri}/../a"):
        with pytest.raises(StorageError):
            store.name_of(uri)


def test_names_with_unusual_characters(place: Place) -> None:
    files = {"ü é+%&=#?.txt": b"1", "a b/c": b"2"}
    digest = publish(place, "odd name/ö+1", files)
    assert place.open().names("") == ["odd name/ö+1"]
    assert read_files(place.open("two").fetch("odd name/ö+1", digest)) == files


@pytest.mark.parametrize(
    "uri", ["", "gs://bucket/x", "s3://", "s3:///x", "s3://B_/x", "s3://bucket/a//b", "s3://bucket/../b"]
)
def test_uris_that_are_no_stores(endpoint: str, tmp_path: Path, uri: str) -> None:
    with pytest.raises(StorageError) as caught:
        open_store(uri, Place(uri, tmp_path, endpoint).settings())
    assert caught.value.code in ("storage.bad-uri", "storage.bad-name")
