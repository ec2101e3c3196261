"""How an artifact lies in a bucket, and how it gets there without a reader ever seeing half of it.

An artifact's objects have the names of its files, `<name>/<file>`, and `<name>/manifest.json` is written last, on the
condition that it is still the one that was there before. So that a replacement disturbs no reader, its payload first
goes to a location of its own, `<name>/.<16 hex digits>/`, which the metadata of the new manifest names; once that
manifest stands, the store copies the payload to the plain names and the manifest drops the location. While a first
publication or a deletion is under way, `<name>/.incomplete` keeps its files from being taken for artifacts.

Why no two writers can mix: before its manifest stands, a writer only creates plain names that do not exist (on that
condition) or writes below a location that is its own; the condition on the manifest lets one of them win. Only the
winner overwrites plain names, while its manifest points elsewhere, and nobody relies on plain names again until it has
dropped the location: a manifest that still has a recent one is replaced by one with another location.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossover.files import digest_of_content, digest_of_file
from crossover.storage.artifact_manifest import ArtifactManifest, parse_manifest
from crossover.storage.artifact_store import ANY, MANIFEST
from crossover.storage.s3_bucket import Bucket, ObjectInfo, Replaces
from crossover.storage.s3_transfer import DIGEST, Upload, in_parallel, upload_all
from crossover.storage.storage_errors import altered_error, conflict_error

INCOMPLETE = ".incomplete"
LOCATION = "location"
"""The field of a manifest's metadata that names where its payload is; without it the payload has its plain names."""

_LOCATION = r"\.[0-9a-f]{16}"

MOVING_SECONDS = 3600
"""A payload that has been at a location of its own for longer was left there by a process that is gone."""


@dataclass(frozen=True)
class Published:
    """An artifact as it is in the bucket now.

    Args:
        digest: the artifact's.
        files: digest of each file by its path relative to the artifact; a single file has the path `""`.
        manifest: of a folder.
        location: where the payload is, below the artifact; empty for the plain names.
        info: of the manifest, or of the single file.
    """

    digest: str
    files: dict[str, str]
    manifest: ArtifactManifest | None
    location: str
    info: ObjectInfo

    def key(self, name: str, file: str) -> str:
        """The object of a file."""
        return "/".join(part for part in (name, self.location, file) if part)

    def is_version(self, other: Published) -> bool:
        """Whether nothing was published between the two."""
        return (self.info.etag, self.location) == (other.info.etag, other.location)


def read_published(bucket: Bucket, name: str) -> Published | None:
    """What is published under a name; None when nothing is.

    Raises:
        StorageError: its manifest is not one.
    """
    stored = bucket.read(f"{name}/{MANIFEST}")
    if stored is not None:
        content, info = stored
        manifest = parse_manifest(content, f"{bucket.uri}/{name}")
        location = info.metadata.get(LOCATION, "")
        if location and not re.fullmatch(_LOCATION, location):
            raise altered_error(f"{bucket.uri}/{name}", "its manifest.json names no location of a payload")
        return Published(manifest.digest, manifest.files, manifest, location, info)
    single = bucket.head(name)
    if single is None:
        return None
    digest = single.metadata.get(DIGEST) or _digest_of_object(bucket, name)
    return Published(digest, {"": digest}, None, "", single)


def publish_file(bucket: Bucket, name: str, path: Path) -> str:
    """Upload a file as one object, if nobody else replaced it meanwhile; returns its digest."""
    digest = digest_of_file(path)
    present = bucket.head(name)
    if present is not None and present.metadata.get(DIGEST) == digest and present.size == path.stat().st_size:
        return digest
    upload = Upload(path, name, digest)
    written = upload_all(bucket, [upload], present.etag if present else None, name)
    if not written[0] and not _are_stored(bucket, [upload]):
        raise conflict_error(f"{bucket.uri}/{name}")
    return digest


def publish_folder(
    bucket: Bucket, name: str, folder: Path, manifest: ArtifactManifest, twin: tuple[Bucket, str] | None = None
) -> str:
    """Upload a folder whose manifest matches it; returns its digest.

    Args:
        bucket: where to.
        name: the artifact.
        folder: the files.
        manifest: theirs.
        twin: an artifact, and the prefix that it is in, whose equal files are copied inside of the store.

    Raises:
        StorageError: another writer was faster.
        OSError: a file cannot be read.
    """
    previous = read_published(bucket, name)
    previous = previous if previous is not None and previous.manifest is not None else None
    stored = bucket.listing(f"{name}/")
    if previous is not None and previous.digest == manifest.digest and _is_stored(previous, name, folder, stored):
        return manifest.digest
    location = ""
    if previous is None:
        bucket.write(f"{name}/{INCOMPLETE}", b"", ANY, {})
    if previous is not None or twin or not _upload_files(bucket, name, "", folder, manifest, stored):
        location = f".{secrets.token_hex(8)}"
        copied = _copy_twin(bucket, f"{name}/{location}", manifest, *twin) if twin else ()
        _upload_files(bucket, name, location, folder, manifest, copied)
    etag = _write_manifest(bucket, name, manifest, location, previous.info.etag if previous else None)
    if etag is None:
        _delete_location(bucket, name, location)
        winner = read_published(bucket, name)
        if winner is None or winner.digest != manifest.digest:
            raise conflict_error(f"{bucket.uri}/{name}")
        return manifest.digest
    # Locations seen before this manifest stood are the previous one's, or of writers who failed or now cannot succeed.
    bucket.delete([f"{name}/{INCOMPLETE}", *(key for key in stored if _is_located(name, key))])
    moving = previous is not None and previous.location and previous.info.age < MOVING_SECONDS
    if location and not moving and _move(bucket, name, location, manifest, etag):
        _delete_location(bucket, name, location)
        if previous is not None:
            bucket.delete(f"{name}/{file}" for file in previous.files.keys() - manifest.files.keys())
    return manifest.digest


def _is_stored(published: Published, name: str, folder: Path, stored: Mapping[str, ObjectInfo]) -> bool:
    """Whether all of an artifact's payload is there, by name and size."""
    sizes = {published.key(name, file): (folder / file).stat().st_size for file in published.files}
    return all(key in stored and stored[key].size == size for key, size in sizes.items())


def _upload_files(
    bucket: Bucket, name: str, location: str, folder: Path, manifest: ArtifactManifest, stored: Container[str]
) -> bool:
    """Upload the payload to where nothing is yet; False if other content stands in the way of a file.

    Files that are stored with the same content, by an attempt that was killed, are not uploaded again.
    """
    uploads = [
        Upload(folder / file, "/".join(part for part in (name, location, file) if part), digest)
        for file, digest in manifest.files.items()
    ]
    if not _are_stored(bucket, [upload for upload in uploads if upload.key in stored]):
        return False
    missing = [upload for upload in uploads if upload.key not in stored]
    written = upload_all(bucket, missing, None, name)
    return _are_stored(bucket, [upload for upload, is_new in zip(missing, written, strict=True) if not is_new])


def _copy_twin(
    bucket: Bucket, target: str, manifest: ArtifactManifest, origin: Bucket, original: str
) -> tuple[str, ...]:
    """Copy the files that another artifact has too; returns the keys of those that have arrived unaltered."""
    published = read_published(origin, original)
    if published is None:
        return ()

    def copy(file: str) -> bool:
        key = f"{target}/{file}"
        copied = bucket.copy(published.key(original, file), key, origin)
        info = bucket.head(key) if copied else None
        if info is not None and info.metadata.get(DIGEST) == manifest.files[file]:
            return True
        bucket.delete([key])
        return False

    shared = [file for file, digest in manifest.files.items() if published.files.get(file) == digest]
    return tuple(f"{target}/{file}" for file, done in zip(shared, in_parallel(copy, shared), strict=True) if done)


def _are_stored(bucket: Bucket, uploads: Sequence[Upload]) -> bool:
    """Whether files are stored with the content that they have here."""
    present = in_parallel(lambda upload: bucket.head(upload.key), uploads)
    return all(
        info is not None and info.metadata.get(DIGEST) == upload.digest
        for upload, info in zip(uploads, present, strict=True)
    )


def _write_manifest(
    bucket: Bucket, name: str, manifest: ArtifactManifest, location: str, replaces: Replaces
) -> str | None:
    return bucket.write(f"{name}/{MANIFEST}", manifest.content, replaces, {LOCATION: location} if location else {})


def _move(bucket: Bucket, name: str, location: str, manifest: ArtifactManifest, etag: str) -> bool:
    """Copy the payload to the plain names, then drop the location; False if another writer came in between."""
    copied = in_parallel(lambda file: bucket.copy(f"{name}/{location}/{file}", f"{name}/{file}"), manifest.files)
    return all(copied) and _write_manifest(bucket, name, manifest, "", etag) is not None


def _is_located(name: str, key: str) -> bool:
    """Whether an object is payload at a location of its own."""
    return re.fullmatch(_LOCATION, key.removeprefix(f"{name}/").partition("/")[0]) is not None


def _delete_location(bucket: Bucket, name: str, location: str) -> None:
    if location:
        bucket.delete(bucket.listing(f"{name}/{location}/"))


def _digest_of_object(bucket: Bucket, name: str) -> str:
    """The digest of an object that another program put there; reads it."""
    stored = bucket.read(name)
    return digest_of_content(stored[0] if stored else b"")
