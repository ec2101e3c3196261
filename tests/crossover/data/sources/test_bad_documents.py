"""Every kind of bad document is refused by its place, or skipped alone, counted and shown; memory stays bounded."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from crossover.cli import main
from crossover.data.sources import SourceReport
from crossover.errors import DataError
from crossover.study.load_study import parse_study
from tests.crossover.data.sources.conftest import Read

GOOD = '{"text": "before"}', '{"text": "after"}'
BAD_LINES = {
    "not UTF-8": (b'{"text": "caf\xe9"}', "data.undecodable"),
    "half a character": (rb'{"text": "half \ud83d"}', "data.undecodable"),
    "malformed": (b'{"text": "torn', "data.bad-json-line"),
    "too deep": (b'{"text": "x", "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "data.bad-json-line"),
    "no text": (b'{"text": null}', "data.no-text"),
    "too long": (json.dumps({"text": "long " * 100_000}).encode(), "data.document-too-long"),
}


@pytest.mark.parametrize("fault", BAD_LINES)
def test_a_bad_line_is_refused_by_its_place_or_skipped_alone(fault: str, tmp_path: Path, read: Read) -> None:
    """The cases of openai/tiktoken#82 and jingyaogong/minimind#551."""
    line, code = BAD_LINES[fault]
    (tmp_path / "x.jsonl").write_bytes(b"\n".join((GOOD[0].encode(), line, GOOD[1].encode())))
    source, limit = f"jsonl:{tmp_path}/x.jsonl", 300_000
    with pytest.raises(DataError, match=r"x\.jsonl:2 ") as caught:
        read(source, longest_document=limit)
    assert caught.value.code == code
    texts, counts = read(source, longest_document=limit, bad_documents="skip")
    assert texts == ["before", "after"]
    report = SourceReport.of(counts)
    assert report.skipped == {fault: 1}
    (shown,) = report.lines()
    assert shown.startswith(f"bad documents skipped ({fault}): 1, at {tmp_path}/x.jsonl:2 ")


@pytest.mark.parametrize("line", ['{"other": "x"}', '{"text": 3}', '{"text": {"a": "b"}}'])
def test_a_line_without_the_text_names_the_field(line: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl").write_text(line)
    with pytest.raises(DataError, match=r"x\.jsonl:1 has .*'text'") as caught:
        read(f"jsonl:{tmp_path}/x.jsonl")
    assert caught.value.field == "data.text_field"


def test_only_the_first_places_are_kept_and_all_are_counted(tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl").write_text("{}\n" * 40)
    texts, counts = read(f"jsonl:{tmp_path}/x.jsonl", bad_documents="skip")
    report = SourceReport.of(counts)
    assert (texts, report.skipped, len(report.places["no text"])) == ([], {"no text": 40}, 5)
    assert next(report.lines()).endswith(" …")


@pytest.mark.parametrize(("scheme", "fields"), [("jsonl", {}), ("text", {"separator": "\n"})])
def test_an_endless_line_neither_fills_memory_nor_drops_its_neighbours(
    scheme: str, fields: dict[str, str], tmp_path: Path, read: Read
) -> None:
    file = tmp_path / "x.jsonl"
    with file.open("wb") as stream:
        stream.write(GOOD[0].encode() + b"\n")
        stream.seek(200 << 20, 1)  # a hole: zeros that take no disk
        stream.write(b"\n" + GOOD[1].encode() + b"\n")
    tracemalloc.start()
    texts, counts = read(f"{scheme}:{file}", longest_document=1 << 20, bad_documents="skip", **fields)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert texts == (["before", "after"] if scheme == "jsonl" else list(GOOD))
    assert counts.skipped.counts == {"too long": 1}
    assert peak < 16 << 20


def test_a_document_after_one_that_is_too_long_is_whole(tmp_path: Path, read: Read) -> None:
    pieces = ["a" * 3_000_000, "b" * 900, "c" * 2_000_000, "d"]
    (tmp_path / "x.txt").write_text("<|end|>".join(pieces))
    texts, counts = read(f"text:{tmp_path}/x.txt", separator="<|end|>", longest_document=1024, bad_documents="skip")
    assert texts == [pieces[1], pieces[3]]
    assert counts.skipped.counts == {"too long": 2}


def test_a_text_file_that_is_too_long_names_the_settings(tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.txt").write_text("x" * 2000)
    assert read(f"text:{tmp_path}/x.txt", longest_document=2000)[0] == ["x" * 2000]
    with pytest.raises(DataError, match=r"cut it with data\.separator, raise data\.longest_document"):
        read(f"text:{tmp_path}/x.txt", longest_document=1999)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_separator_of_lines_cuts_whatever_ends_a_line(end: str, tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.txt").write_bytes(f"one{end}more{end}{end}two{end}{end}".encode())
    assert read(f"text:{tmp_path}/x.txt", separator="\n\n")[0] == ["one\nmore", "two"]


@pytest.mark.parametrize("separator", ["", "\n\n"])
def test_bom_and_crlf_are_no_text(separator: str, tmp_path: Path, read: Read) -> None:
    """The case of minimaxir/gpt-2-simple#263."""
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\ntwo\r\n")
    (tmp_path / "x.jsonl").write_bytes(b"\xef\xbb\xbf" + GOOD[0].encode() + b"\r\n" + GOOD[1].encode() + b"\r\n")
    expected = ["one", "two"] if separator else ["one\n\ntwo"]
    assert read(f"text:{tmp_path}/x.txt", separator=separator)[0] == expected
    assert read(f"jsonl:{tmp_path}/x.jsonl")[0] == ["before", "after"]


def test_a_separator_of_lines_is_found_where_a_read_ends_within_crlf(tmp_path: Path, read: Read) -> None:
    first = "x" * ((1 << 20) - 1)  # the chunk ends between \r and \n
    (tmp_path / "x.txt").write_bytes(first.encode() + b"\r\n\r\nlast")
    assert read(f"text:{tmp_path}/x.txt", separator="\n\n")[0] == [first, "last"]


def test_nested_fields(tmp_path: Path, read: Read) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": {"b": "nested"}}\n{"a.b": "of that name"}')
    assert read(f"jsonl:{tmp_path}/x.jsonl", text_field="a.b")[0] == ["nested", "of that name"]


def test_studies_with_the_field_of_old_are_read_as_before() -> None:
    assert parse_study("data: {undecodable: skip}").data.bad_documents == "skip"
    with pytest.raises(Exception, match="bad_documents: undecodable is what it was called before"):
        parse_study("data: {undecodable: skip, bad_documents: refuse}")


def test_preparing_prints_what_was_skipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The case of jingyaogong/minimind#551: 51 good lines were lost, and nothing was printed."""
    texts = [f"Record {n}: number {n * 7919} of the year {1900 + n}, with some more words." for n in range(60)]
    good = [json.dumps({"text": text}) for text in texts]
    file = tmp_path / "x.jsonl"
    file.write_bytes("\n".join(good[:9]).encode() + b'\n{"text": "caf\xe9"}\n' + "\n".join(good[9:]).encode())
    data = {"source": f"jsonl:{file}", "sequence_length": 16, "validation_fraction": 0.3, "validation_tokens": 64}
    for policy, code in (("refuse", 2), ("skip", 0)):
        study = {
            "data": {**data, "bad_documents": policy},
            "grid": {"unique_tokens": [256], "models": ["pico"]},
            "evaluation": {"tasks": []},
        }
        (tmp_path / "study.yaml").write_text(json.dumps(study))
        assert main(["prepare", str(tmp_path / "study.yaml"), "--out", str(tmp_path / policy)]) == code
        printed = capsys.readouterr()
        assert f"{file}:10 is not UTF-8 (byte 13 of the line)" in printed.out + printed.err
    assert "60 documents (dropped: 0 duplicates, 1 not UTF-8)" in printed.out
    assert f"bad documents skipped (not UTF-8): 1, at {file}:10" in printed.out
