"""The registry's API: writes once for a key, refuses what contradicts, and gives back what was recorded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa
import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from crossover_services.registry.problem_details import MEDIA_TYPE
from fastapi.testclient import TestClient

from crossover.files import digest_of
from crossover.registry import Registry
from crossover.registry.wire_format import MOST_BYTES, MOST_POINTS
from crossover.study.identity import RunId
from tests.crossover.registry.conftest import empty_url, url
from tests.crossover.report import report_samples as samples

__all__ = ["empty_url", "url"]  # fixtures

STUDY, RUN = "sha256:s", "sha256:r"
METRIC = {"name": "loss", "unit": "nats", "direction": "lower", "estimator": "exact", "draws": 0}
PROCESS = {"host": "node", "pid": 7, "holder": "boot/pid/7/1"}
ATTEMPTS = f"/runs/{RUN}/attempts"


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    with Registry.open(url) as opened:
        opened.register_study(name="demo", digest=STUDY, config={})
        opened.register_run(STUDY, RunId("c", "ar", 0), RUN, config={}, epoch_tokens=10)
        yield opened


class Answer(Protocol):
    """What the test client answers, of whichever httpx it is made."""

    @property
    def status_code(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    def json(self) -> Any: ...  # noqa: ANN401  # whatever JSON says


class Api:
    """Requests below /api/v1."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def post(self, path: str, body: object, key: str = "", **headers: str) -> Answer:
        keys = {"Idempotency-Key": key} if key else {}
        return self.client.post(f"/api/v1{path}", json=body, headers=keys | headers)

    def get(self, path: str, **query: object) -> Answer:
        return self.client.get(f"/api/v1{path}", params={name: str(value) for name, value in query.items()})


@pytest.fixture
def api(registry: Registry) -> Api:
    return Api(TestClient(create_app(registry, AccessRules(open=True)), raise_server_exceptions=False))


@pytest.fixture
def attempt(api: Api) -> str:
    """The address of an attempt."""
    answer = api.post(ATTEMPTS, {"started_step": 0, "process": PROCESS})
    assert answer.status_code == 201
    return f"{ATTEMPTS}/{answer.json()['n']}"


def series(*steps: int, value: object = 1.5, again: bool = False) -> dict[str, Any]:
    points = [{"step": s, "tokens": s, "flops": s, "seconds": s, "value": value} for s in steps]
    return {"series": [{"metric": METRIC, "points": points, "again": again}]}


def recorded(registry: Registry) -> list[tuple[object, ...]]:
    return list(registry.query("SELECT step, value, state FROM v_curves ORDER BY step").rows)


def refused(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The problem of an answer."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert problem["status"] == status
    assert problem["remedy"]
    return problem


def test_views_are_filtered_by_the_tier_of_quality(api: Api, registry: Registry) -> None:
    for tier in ("low", "high"):
        run = RunId(f"u10-{tier}-nano", "ar", 0)
        registry.register_run(STUDY, run, f"sha256:{tier}", config={"quality": tier}, epoch_tokens=10)
    for tier, cells in (("low", ["u10-low-nano"]), ("high", ["u10-high-nano"]), ("medium", [])):
        answer = api.get("/runs", quality_tier=tier)
        assert (answer.status_code, [row["cell"] for row in answer.json()["rows"]]) == (200, cells)
    assert len(api.get("/runs").json()["rows"]) == 3


def test_a_batch_is_recorded_once_for_its_key(api: Api, attempt: str, registry: Registry) -> None:
    first = api.post(f"{attempt}/points", series(1, 2), key="k")
    assert (first.status_code, first.json()) == (200, {"points": 2})
    assert api.post(f"{attempt}/points", series(1, 2), key="k").json() == {"points": 2}
    assert recorded(registry) == [(1, 1.5, ""), (2, 1.5, "")]
    refused(api.post(f"{attempt}/points", series(1, 2, value=9), key="k"), 409, "registry.other-request")
    refused(api.post(ATTEMPTS, {"started_step": 0, "process": PROCESS}, key="k"), 409, "registry.other-request")
    assert recorded(registry) == [(1, 1.5, ""), (2, 1.5, "")]


def test_a_refused_request_leaves_its_key_free(api: Api, attempt: str, registry: Registry) -> None:
    refused(api.post("/runs/sha256:none/attempts/1/points", series(1), key="k"), 404, "registry.unknown-run")
    assert api.post(f"{attempt}/points", series(1), key="k").status_code == 200
    assert len(recorded(registry)) == 1


def test_values_that_are_no_numbers_are_typed_states(api: Api, attempt: str, registry: Registry) -> None:
    for step, value in ((1, "nan"), (2, "+inf"), (3, "-inf"), (4, 0.25)):
        assert api.post(f"{attempt}/points", series(step, value=value)).status_code == 200
    assert recorded(registry) == [(1, None, "nan"), (2, None, "+inf"), (3, None, "-inf"), (4, 0.25, "")]
    values = api.get(f"/studies/{STUDY}/cells/c/curves").json()["value"]
    assert values == ["nan", "+inf", "-inf", 0.25]
    rows = api.get("/curves", metric="loss", limit=2).json()["rows"]
    assert [(row["value"], row["state"]) for row in rows] == [(None, "nan"), (None, "+inf")]
    for wrong in ("infinity", True, None, [1], {"a": 1}):
        refused(api.post(f"{attempt}/points", series(9, value=wrong)), 422, "request.invalid")


def test_steps_go_forward_unless_they_are_trained_again(api: Api, attempt: str, registry: Registry) -> None:
    assert api.post(f"{attempt}/points", series(1, 2, 3)).status_code == 200
    problem = refused(api.post(f"{attempt}/points", series(3, 4)), 409, "registry.step-backwards")
    assert problem["field"] == "loss at step 3"
    refused(api.post(f"{attempt}/points", series(5, 4)), 409, "registry.step-backwards")
    assert len(recorded(registry)) == 3
    assert api.post(f"{attempt}/points", series(2, 3, value=7, again=True)).status_code == 200
    assert recorded(registry) == [(1, 1.5, ""), (2, 7.0, ""), (3, 7.0, "")]
    assert api.post(f"{attempt}/points", series(4)).status_code == 200


def test_one_process_holds_a_run(api: Api, attempt: str) -> None:
    other = {"started_step": 0, "process": PROCESS | {"holder": "another/pid/8/1", "pid": 8}}
    problem = refused(api.post(ATTEMPTS, other), 409, "registry.run-held")
    assert (problem["holder"], problem["host"], problem["pid"]) == (PROCESS["holder"], "node", 7)
    taken = api.post(ATTEMPTS, other | {"gone": PROCESS["holder"]})
    assert taken.json() == {"n": 2}
    refused(api.post(f"{attempt}/points", series(1)), 409, "registry.attempt-ended")
    refused(api.post(f"{attempt}/heartbeat", {}), 409, "registry.attempt-ended")
    assert api.post(f"{ATTEMPTS}/2/heartbeat", {}).status_code == 200
    assert api.post(f"{ATTEMPTS}/2/end", {"reason": "done"}).status_code == 200
    assert api.get("/runs").json()["rows"][0]["status"] == "done"
    refused(api.post(f"{ATTEMPTS}/9/points", series(1)), 404, "registry.unknown-attempt")


def test_pages_have_every_row_once(api: Api, attempt: str) -> None:
    api.post(f"{attempt}/points", series(*range(1, 101)))
    whole = api.get("/curves").json()
    assert whole["cursor"] is None
    for size in (1, 7, 100):
        rows, cursor = [], None
        while True:
            page = api.get("/curves", limit=size, **({"cursor": cursor} if cursor else {})).json()
            assert len(page["rows"]) <= size
            rows += page["rows"]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert rows == whole["rows"]
    text = api.get("/curves", format="csv").text.splitlines()
    assert text[0].split(",") == list(whole["rows"][0])
    assert len(text) == 101
    assert api.get("/curves", seed=1).json()["rows"] == []
    for cursor in ("x", "e30", "W10", "WyJhIl0", "é"):
        refused(api.get("/curves", cursor=cursor), 400, "registry.bad-cursor")


@pytest.mark.parametrize("view", ["curves", "runs", "verdicts", "deployments", "attempts", "datasets"])
def test_every_view_is_read(api: Api, registry: Registry, attempt: str, view: str) -> None:
    api.post(f"{attempt}/points", series(1))
    api.post(f"/studies/{STUDY}/datasets", {"digest": "sha256:d", "manifest": {"source": "stdlib:", "documents": 3}})
    verdict = dict.fromkeys(("metric", "axis", "comparison", "baseline", "candidate", "outcome", "reason"), "x")
    analysis = {"method": "m", "verdicts": [verdict | {"pairs": 5, "p_adjusted": 0.5, "crossing": None}]}
    digest = api.post(f"/studies/{STUDY}/analyses", {"cell": "c", "analysis": analysis}).json()["digest"]
    promotion = {"run_digest": RUN, "step": 1, "uri": "u", "digest": "sha256:c", "analysis_digest": digest}
    assert api.post(f"/studies/{STUDY}/deployments", promotion | {"reason": "because"}).status_code == 201
    rows = api.get(f"/{view}", study="demo", study_digest=STUDY).json()["rows"]
    assert len(rows) == 1
    assert list(rows[0]) == list(registry.query(f"SELECT * FROM v_{view}").columns)
    (batch,) = pa.ipc.open_stream(api.client.get(f"/api/v1/{view}?format=arrow").content)
    assert batch.schema.names == list(rows[0])
    assert batch.num_rows == 1
    empty = pa.ipc.open_stream(api.client.get(f"/api/v1/{view}?format=arrow&study=other").content).read_all()
    assert (empty.schema.names, empty.num_rows) == (list(rows[0]), 0)
    for other in ("other", "' OR 1=1 --", "demo'; DROP TABLE study; --"):
        assert api.get(f"/{view}", study=other).json()["rows"] == []


def test_an_analysis_has_the_digest_that_it_has_in_a_database(api: Api) -> None:
    analysis = samples.analysis().model_dump(mode="json")
    answer = api.post(f"/studies/{STUDY}/analyses", {"cell": "c", "analysis": analysis})
    assert answer.json() == {"digest": digest_of(analysis)}
    assert api.get(f"/analyses/{digest_of(analysis)}").json() == analysis
    refused(api.get("/analyses/sha256:none"), 404, "registry.unknown-analysis")
    for wrong in ({}, {"method": "m"}, analysis | {"verdicts": [{}]}, analysis | {"verdicts": "x"}):
        body = {"cell": "c", "analysis": wrong}
        refused(api.post(f"/studies/{STUDY}/analyses", body), 422, "request.invalid")


def test_what_is_malformed_is_refused_by_field(api: Api, attempt: str, registry: Registry) -> None:
    points = f"{attempt}/points"
    many = series(*range(1, MOST_POINTS + 2))
    wrong_metric = {"series": [{**series(1)["series"][0], "metric": METRIC | {"direction": "up"}}]}
    for body, place in (
        ({}, "body.series"),
        ({"series": []}, "body.series"),
        (many, "body.series.0.points"),
        (wrong_metric, "body.series.0.metric.direction"),
        (series(-1), "body.series.0.points.0.step"),
        (series(2**63), "body.series.0.points.0.step"),
        ([1], "body"),
    ):
        assert refused(api.post(points, body), 422, "request.invalid")["field"] == place
    for text in (b"{", b"\xff", b""):
        answer = api.client.post(f"/api/v1{points}", content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"] == MEDIA_TYPE
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/csv"):
        answer = api.client.post(f"/api/v1{points}", content=b"{}", headers={"Content-Type": kind})
        refused(answer, 415, "request.wrong-type")
    large = json.dumps(series(1) | {"pad": "x" * MOST_BYTES}).encode()
    json_type = {"Content-Type": "application/json"}
    refused(api.client.post(f"/api/v1{points}", content=large, headers=json_type), 413, "request.too-large")
    pieces = iter([large[:1000], large[1000:]])  # chunked, without a length
    refused(api.client.post(f"/api/v1{points}", content=pieces, headers=json_type), 413, "request.too-large")
    refused(api.get("/curves", nonsense=1), 400, "request.bad-query")
    refused(api.get("/curves", newest=1), 400, "request.bad-query")
    refused(api.client.get("/api/v1/curves?seed=1&seed=2"), 400, "request.bad-query")
    refused(api.get("/curves", seed="x"), 422, "request.invalid")
    refused(api.get("/nothing"), 422, "request.invalid")
    refused(api.client.get("/api/v1/studies/../../etc/passwd"), 404, "request.refused")
    refused(api.client.put("/api/v1/studies", json={}), 405, "request.refused")
    for digest in ("a%2Fb", "..", "x" * 300, "%00"):
        assert api.post(f"/runs/{digest}/heartbeat", {}).status_code in (404, 405, 422)
    refused(api.post("/studies", {"name": "x" * 251, "digest": "d", "config": {}}), 422, "request.invalid")
    assert recorded(registry) == []
    assert registry.query("SELECT COUNT(*) FROM study").rows == ((1,),)


def test_names_are_kept_as_they_are(api: Api, registry: Registry) -> None:
    for i, name in enumerate(("<script>alert(1)</script>", "'; DROP TABLE study; --", "naïve 🦊 study", "../../etc")):
        assert api.post("/studies", {"name": name, "digest": f"d{i}", "config": {}}).status_code == 201
        answer = api.get("/runs", study=name)
        assert answer.json()["rows"] == []
        assert registry.query(f"SELECT name FROM study WHERE digest = 'd{i}'").rows == ((name,),)


def test_sql_reads_and_never_writes(api: Api) -> None:
    answer = api.post("/sql", {"sql": "SELECT study, status FROM v_runs"})
    assert answer.json() == {"columns": ["study", "status"], "rows": [["demo", "planned"]], "truncated": False}
    for sql in (
        "DELETE FROM run",
        "SELECT 1; DELETE FROM run",
        "INSERT INTO study DEFAULT VALUES",
        "DROP VIEW v_runs",
        "PRAGMA query_only = OFF",
        "ATTACH DATABASE '/tmp/x' AS x",
        "SELECT load_extension('x')",
        "COPY run TO PROGRAM 'true'",
        "",
    ):
        assert api.post("/sql", {"sql": sql}).status_code in (400, 422), sql
    assert api.post("/sql", {"sql": "SELECT 1 AS a UNION SELECT 2", "limit": 1}).json()["truncated"]


def test_operations(api: Api, registry: Registry, attempt: str) -> None:
    assert api.client.get("/healthz").status_code == 200
    assert api.client.get("/readyz").json() == {"status": "ok"}
    api.post(f"{attempt}/points", series(1))
    text = api.client.get("/metrics").text
    assert 'crossover_registry_requests_total{handler="append_points",status="200"}' in text
    assert "crossover_registry_points_total" in text
    document = api.client.get("/openapi.json").json()
    assert all("200" in op["responses"] or "201" in op["responses"] or "204" in op["responses"]
               for path in document["paths"].values() for op in path.values())  # fmt: skip
    with registry._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0005'")
    answer = api.client.get("/readyz")
    assert answer.status_code == 503
    assert "this version needs" in answer.json()["problem"]


def test_a_rate_may_be_limited(registry: Registry) -> None:
    client = TestClient(
        create_app(registry, AccessRules(open=True), requests_per_second=5), raise_server_exceptions=False
    )
    answers = [client.get("/healthz") for _ in range(30)]
    refused_ones = [answer for answer in answers if answer.status_code == 429]
    assert len(refused_ones) >= 10
    assert math.isfinite(float(refused_ones[0].headers["retry-after"]))


def test_another_host_name_is_refused(registry: Registry) -> None:
    client = TestClient(create_app(registry, AccessRules(open=True), hosts=("localhost",)))
    assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/healthz", headers={"Host": "localhost:8090"}).status_code == 200


def test_what_serving_costs_is_recorded_and_read(api: Api) -> None:
    body = {"step": 3, "checkpoint_digest": "sha256:c", "decoding": {"steps": 8}, "device": "cpu", "concurrency": 4}
    body |= {"requests": 100, "tokens_per_second": 12.5, "quality_metric": "infill_exact_match", "quality": 0.5}
    for _ in range(2):
        assert api.post(f"/runs/{RUN}/serving", body, key="once").status_code == 201
    (row,) = api.get("/serving", run_digest=RUN).json()["rows"]
    assert (row["tokens_per_second"], json.loads(row["decoding"]), row["first_token_p50"]) == (12.5, {"steps": 8}, None)
    for wrong in ({"concurrency": 0}, {"quality": "nan"}, {"tokens_per_second": -1}, {"device": ""}, {"speed": 1}):
        assert api.post(f"/runs/{RUN}/serving", body | wrong).status_code == 422
    assert api.post("/runs/sha256:other/serving", body).status_code == 404


def test_a_serving_crossover_is_recorded_and_read(api: Api) -> None:
    names = ("baseline", "candidate")
    sides: dict[str, Any] = {name: {"arm": name, "checkpoint_digest": "sha256:c", "setting": {}} for name in names}
    crossing = {"outcome": "baseline overtakes", "at": 5.5, "low": 4, "high": 8, "more": [1]}
    body = {"device": "cpu", "agreement": 0.9, "crossing": crossing, **sides}
    place = f"/studies/{STUDY}/serving-crossovers"
    for _ in range(2):
        assert api.post(place, {"comparison": body}, key="once").status_code == 201
    (row,) = api.get("/serving_crossovers", newest=1, outcome="baseline overtakes").json()["rows"]
    assert (row["crossing_at"], row["crossing_low"], row["crossing_high"], row["agreement"]) == (5.5, 4, 8, 0.9)
    assert (row["baseline"], row["candidate"], row["study"]) == ("baseline", "candidate", "demo")
    refused: tuple[dict[str, Any], ...] = ({"agreement": 2}, {"device": ""}, {"crossing": {}}, {"baseline": {}})
    for wrong in refused:
        assert api.post(place, {"comparison": body | wrong}).status_code == 422
    assert api.post("/studies/sha256:other/serving-crossovers", {"comparison": body}).status_code == 404


def test_a_study_is_deleted_and_brought_back(api: Api) -> None:
    assert api.post("/deletions", {"name": "demo"}).json() == {"revisions": 1}
    assert api.get("/runs").json()["rows"] == []
    assert api.post("/deletions", {"name": "demo"}).status_code == 404
    assert api.post("/restorations", {"name": "demo"}).json() == {"revisions": 1}
    assert len(api.get("/runs").json()["rows"]) == 1
    assert api.post("/restorations", {"name": "demo"}).json()["code"] == "registry.no-such-study"
    api.post(ATTEMPTS, {"started_step": 0, "process": PROCESS})
    assert api.post("/deletions", {"name": "demo"}).status_code == 409
