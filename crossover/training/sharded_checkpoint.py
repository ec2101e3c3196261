"""Resume points of sharded training: each process writes its own part, by torch.distributed.checkpoint.

The parts are safetensors files, `shard-<rank>-model-*.safetensors`, with the names `weights.<parameter>` and, for
optimizer and average, those of `training_state.safetensors`. They are read by any number of processes, each of which
reads the rows that it needs.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from crossover.errors import WorkspaceError
from crossover.files import digest_of_file, workspace_error
from crossover.training.checkpoint import publish_folder
from crossover.training.checkpoint_info import CheckpointInfo
from crossover.training.distributed import COLLECTIVE_TIMEOUT, World
from crossover.training.train_engine import Snapshot

_WEIGHTS = "weights."
_PARTS = "shard-{:05d}-*.safetensors"


def has_parts(folder: Path) -> bool:
    """Whether a resume point is of parts."""
    return any(folder.glob(_PARTS.format(1)))


def in_one_folder(folder: Path, world: World) -> bool:
    """Whether every process sees the same folder, as on one machine or a shared file system; a collective.

    Raises:
        WorkspaceError: it cannot be written.
    """
    name = world.share(f".seen-{os.getpid()}")
    marker = folder / name
    try:
        if world.leads:
            folder.mkdir(parents=True, exist_ok=True)
            marker.touch()
        world.barrier()
        seen = marker.exists()
        unseen = world.most(0 if seen else 1)
        if world.leads:
            marker.unlink()
    except OSError as error:
        raise workspace_error(folder, error) from error
    return not unseen


class ShardedWriter:
    """Writes parts from every process's background thread, in a process group of their own.

    Args:
        world: the processes that train together; every one makes a writer.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._group: Any = dist.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)

    def save(self, folder: Path, info: CheckpointInfo, snapshot: Snapshot) -> None:
        """Write a resume point, complete or absent; every process calls it, and it ends in all at once.

        Args:
            folder: its final place, the same for all processes.
            info: what it is of.
            snapshot: this process's own rows.

        Raises:
            WorkspaceError: unwritable or full; what stood there before still does.
        """
        weights, state = snapshot
        tensors = {_WEIGHTS + name: tensor for name, tensor in weights.items()} | state
        temporary = folder.parent / f".{folder.name}.parts"
        try:
            temporary.mkdir(parents=True, exist_ok=True)
            writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
            save(tensors, storage_writer=writer, process_group=self._group)
            own = {path.name: digest_of_file(path) for path in temporary.glob(_PARTS.format(self._world.rank + 1))}
            digests: list[dict[str, str]] = [{}] * self._world.size
            dist.all_gather_object(digests, own, group=self._group)
            if self._world.leads:
                publish_folder(temporary, folder, info, {k: v for part in digests for k, v in part.items()})
        except CheckpointException as error:
            raise _cause(error, folder) from error
        except OSError as error:
            raise workspace_error(folder, error) from error
        finally:
            if self._world.leads:
                shutil.rmtree(temporary, ignore_errors=True)
        dist.barrier(group=self._group)


def _cause(error: CheckpointException, folder: Path) -> Exception:
    """What failed first in any process."""
    rank, (cause, _) = next(iter(sorted(error.failures.items(), key=lambda failure: failure[0])))
    if isinstance(cause, OSError):
        return workspace_error(folder, cause)
    return cause if isinstance(cause, WorkspaceError) else RuntimeError(f"rank {rank}: {cause}")


def read_parts(folder: Path, parameters: Mapping[str, Tensor]) -> Snapshot:
    """The rows of a resume point that belong to the given parameters; no collective.

    Args:
        folder: a resume point of parts, by however many processes.
        parameters: the model's, sharded or not; the tensors are like these, on the CPU.
    """
    reader = HuggingFaceStorageReader(str(folder))
    tensors: dict[str, Tensor] = {}
    for key, stored in reader.read_metadata().state_dict_metadata.items():
        parameter = parameters[key.partition(".")[2]]
        scalar = not stored.size  # type: ignore[union-attr]  # of safetensors, all are tensors
        tensors[key] = parameter.new_zeros((), device="cpu") if scalar else parameter.detach().to("cpu", copy=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # each process reads alone
        load(tensors, storage_reader=reader, no_dist=True)
    weights = {key.removeprefix(_WEIGHTS): tensor for key, tensor in tensors.items() if key.startswith(_WEIGHTS)}
    return weights, {key: tensor for key, tensor in tensors.items() if not key.startswith(_WEIGHTS)}
