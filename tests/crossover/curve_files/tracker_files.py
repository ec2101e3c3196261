"""The curves of `curve_tables.rows`, as each tracker stores or exports them: step i of a run has i · 100 tokens."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]  # protobuf has no types
from pyarrow import parquet

from tests.crossover.curve_files.curve_tables import rows

PER_STEP = 100
STARTED = 1_700_000_000.0
Points = list[tuple[int, float]]


def runs() -> Iterator[tuple[str, Points]]:
    """Name, and step and value of each point."""
    points: dict[str, Points] = {}
    for row in rows():
        tokens, value = row["tokens"], row["value"]
        assert isinstance(tokens, int) and isinstance(value, float)
        points.setdefault(f"{row['arm']}-seed{row['seed']}", []).append((tokens // PER_STEP, float(value)))
    yield from points.items()


def mlruns(folder: Path) -> Path:
    for number, (name, points) in enumerate(runs()):
        mlflow_run(folder / "7" / f"{number:032x}", name, points)
    (folder / "7" / "meta.yaml").write_text("experiment_id: '7'\nname: curves\n")
    return folder


def mlflow_run(run: Path, name: str, points: Points, *, stage: str = "active") -> None:
    (run / "metrics" / "eval").mkdir(parents=True)
    (run / "tags").mkdir()
    (run / "meta.yaml").write_text(f"run_name: {name}\nlifecycle_stage: {stage}\nstatus: 3\n")
    (run / "tags" / "mlflow.runName").write_text(name)
    lines = [f"{int((STARTED + i) * 1000)} {value!r} {step}\n" for i, (step, value) in enumerate(points)]
    (run / "metrics" / "eval" / "loss").write_text("".join(lines))
    counts = [f"{int((STARTED + i) * 1000)} {step * PER_STEP} {step}\n" for i, (step, _) in enumerate(points)]
    (run / "metrics" / "tokens_seen").write_text("".join(counts))


def mlflow_csv(folder: Path) -> Path:
    """As the page of metrics saves it; run_id holds what the test calls the run."""
    return _csv(
        folder / "metrics.csv",
        ["run_id", "key", "value", "step", "timestamp"],
        ([n, "eval/loss", v, s, int((STARTED + i) * 1000)] for n, p in runs() for i, (s, v) in enumerate(p)),
    )


def wandb_panel(folder: Path) -> Path:
    by_name = dict(runs())
    header = ["Step", *(f"{name} - eval/loss{bound}" for name in by_name for bound in ("", "__MIN", "__MAX"))]
    steps = sorted({step for points in by_name.values() for step, _ in points})
    lines = ([step, *(dict(p).get(step, "") for p in by_name.values() for _ in range(3))] for step in steps)
    return _csv(folder / "wandb_export.csv", header, lines)


def wandb_histories(folder: Path, form: str) -> list[Path]:
    """One file a run, with rows in which the metric was not logged."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, points in runs():
        held: list[dict[str, Any]] = [{"_step": 0, "_runtime": 0.0, "lr": 0.1, "eval/loss": None}]
        held += [{"_step": s, "_runtime": float(i), "lr": 0.1, "eval/loss": v} for i, (s, v) in enumerate(points)]
        paths.append(folder / f"{name}.{form}")
        if form == "jsonl":
            paths[-1].write_text("".join(json.dumps(row) + "\n" for row in held))
        else:
            parquet.write_table(pa.Table.from_pylist(held), paths[-1])
    return paths


def _csv(path: Path, header: list[str], lines: Any) -> Path:  # noqa: ANN401  # values of any kind
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *lines])
    return path


def tensorboard(folder: Path, form: str) -> Path:
    for name, points in runs():
        (folder / name).mkdir(parents=True)
        write_events(folder / name / "events.out.tfevents.1700000000.host.1.0", points, form)
    return folder


def write_events(path: Path, points: Points, form: str = "simple") -> Path:
    """By Google's own protobuf and CRC-32C, which the reader does not use."""
    contents = [_event(step=0, file_version="brain.Event:2")]
    contents += [_scalar(step, value, STARTED + i, form) for i, (step, value) in enumerate(points)]
    path.write_bytes(b"".join(map(record, contents)))
    return path


def record(content: bytes) -> bytes:
    length = struct.pack("<Q", len(content))
    return length + _masked(length) + content + _masked(content)


def _masked(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _scalar(step: int, value: float, time: float, form: str) -> bytes:
    fields: dict[str, Any] = {"tag": "eval/loss"}
    if form == "simple":
        fields["simple_value"] = value
    elif form == "tensor":
        fields["tensor"] = {"dtype": 1, "float_val": [value]}
    else:
        fields["tensor"] = {"dtype": 2, "tensor_content": struct.pack("<d", value)}
    text = {"tag": "note", "tensor": {"dtype": 7, "tensor_content": b"words"}}
    return _event(wall_time=time, step=step, summary={"value": [text, fields]})


def _messages() -> Callable[..., bytes]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    layout: dict[str, list[tuple[str, int, int, str, bool]]] = {
        "Tensor": [
            ("dtype", 1, field.TYPE_INT32, "", False),
            ("tensor_content", 4, field.TYPE_BYTES, "", False),
            ("float_val", 5, field.TYPE_FLOAT, "", True),
        ],
        "Value": [
            ("tag", 1, field.TYPE_STRING, "", False),
            ("simple_value", 2, field.TYPE_FLOAT, "", False),
            ("tensor", 8, field.TYPE_MESSAGE, ".t.Tensor", False),
        ],
        "Summary": [("value", 1, field.TYPE_MESSAGE, ".t.Value", True)],
        "Event": [
            ("wall_time", 1, field.TYPE_DOUBLE, "", False),
            ("step", 2, field.TYPE_INT64, "", False),
            ("file_version", 3, field.TYPE_STRING, "", False),
            ("summary", 5, field.TYPE_MESSAGE, ".t.Summary", False),
        ],
    }
    for name, fields in layout.items():
        message = file.message_type.add(name=name)
        for label, number, kind, target, many in fields:
            message.field.add(
                name=label,
                number=number,
                type=kind,
                type_name=target or None,
                label=field.LABEL_REPEATED if many else field.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))

    def event(**fields: Any) -> bytes:  # noqa: ANN401  # values of any kind
        return bytes(kind(**fields).SerializeToString())

    return event


_event = _messages()
