"""The artifact store: files and folders published whole, in a local folder or in any S3 endpoint, behind one interface.

Nothing outside of this package knows which of the two it works with.
"""

from crossover.storage.artifact_store import ANY, ArtifactStore, Document
from crossover.storage.file_lock import file_lock
from crossover.storage.open_store import open_store

__all__ = ["ANY", "ArtifactStore", "Document", "file_lock", "open_store"]
