"""A study of several cells as a whole: map, frontiers, advice, health; where it comes from, why verdicts changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from fastapi.testclient import TestClient

from crossover.registry import Registry
from crossover.report.study_record import OVERVIEW, study_records
from tests.services import overview_samples, registry_samples
from tests.services.overview_samples import BUDGETS, FRONTIER, MODEL
from tests.services.registry_samples import CELL, Clock, digest
from tests.services.test_registry_pages import BUDGET, Reader, get

SIZES = "/studies/default/sizes"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    path = tmp_path_factory.mktemp("overview") / "registry.sqlite"
    clock = Clock()
    with Registry.open(f"sqlite:///{path}", clock=clock) as opened:
        overview_samples.record(opened)
        registry_samples.finished(opened, clock)
        yield opened


@pytest.fixture(scope="module")
def client(registry: Registry) -> TestClient:
    return TestClient(create_app(registry, AccessRules(open=True)))


def links(page: str, holding: str) -> list[str]:
    found = [str(a.get("href")) for tag, a in Reader(page).tags if tag == "a"]
    return [href for href in found if holding in href]


def test_every_cell_has_its_verdict_and_its_advice(client: TestClient) -> None:
    page = get(client, SIZES)
    data = client.get(f"{SIZES}?format=json").json()
    names = [f"u{tokens}-n{MODEL}" for tokens in BUDGETS]
    assert [c["cell"] for c in data["cells"]] == [*names, FRONTIER]
    answered, last = data["cells"][:3], data["cells"][3]
    assert all("DLM if you train past epoch" in c["verdict"] for c in answered)
    assert last["verdict"] == "Insufficient evidence: crossing near the end: run longer"
    for name in names:
        assert links(page, f"cell={name}")
    text = Reader(page).text
    assert "10.0 k unique tokens, 1.00 M parameters" in text
    assert "Frontier over model sizes, 10.0 k unique tokens" in text


def test_the_advice_is_that_of_the_cell(client: TestClient) -> None:
    advice = overview_samples.report().overview.advice
    for number in (0, 3):
        page = get(client, f"{SIZES}?cell=u{BUDGETS[number]}-n{MODEL}")
        text = Reader(page).text
        assert advice[number].because in text
        assert advice[number].cheapest.replace("`", "") in text  # edits are set as code
        assert advice[3 - number].because not in text


def test_the_map_and_the_slope_are_those_of_the_report(client: TestClient) -> None:
    page = get(client, SIZES)
    slope = overview_samples.report().overview.movements[0].slopes[0]
    text = Reader(page).text
    assert "How the crossing moves" in text and f"{slope.estimate:+.2f}" in text
    pictures = [a for tag, a in Reader(page).tags if tag == "img" and "crossover map" in str(a.get("alt"))]
    wide, small = (str(a["src"]) for a in pictures[:2])
    assert "size=small" in small and "size=small" not in wide
    drawn = client.get(wide)
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert "Where the curves cross" in drawn.text and drawn.text.count("<path") > len(BUDGETS)
    assert len(client.get(small).text) != len(drawn.text)


def test_a_frontier_has_a_page_and_a_picture(client: TestClient) -> None:
    page = get(client, SIZES)
    address = links(page, f"cell={FRONTIER}")[0]
    own = get(client, address)
    assert "DLM if you train past epoch 57.3" in Reader(own).text
    assert "<svg" in own
    (picture,) = [a for tag, a in Reader(page).tags if tag == "img" and a.get("class") == "picture"]
    assert client.get(str(picture["src"])).status_code == 200


def test_how_the_runs_went(client: TestClient) -> None:
    page = Reader(get(client, SIZES)).text
    assert "How the runs went" in page and "51.2 k" in page and "31.4 %" in page
    health = client.get(f"{SIZES}?format=json").json()["health"]
    assert [h["health"]["loss_spikes"] for h in health] == [2] * len(BUDGETS)
    assert "Guessing" in page


def test_the_twin_has_the_overview_as_it_was_recorded(client: TestClient) -> None:
    data = client.get(f"{SIZES}?format=json").json()
    expected = overview_samples.report().overview.model_copy(update={"frontiers": ()})
    assert data["overview"] == expected.model_dump(mode="json")
    assert [f["name"] for f in data["frontiers"]] == [FRONTIER]
    assert data["frontiers"][0]["verdict"].startswith("Choose AR if you may stop early")


def test_it_is_within_the_budget(client: TestClient) -> None:
    assert len(client.get(SIZES).content) < BUDGET
    assert len(client.get(f"{SIZES}?cell={FRONTIER}&show=evidence").content) < BUDGET


def test_cells_of_a_tier_say_so(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=Clock()) as registry:
        overview_samples.record(registry, quality="low")
        text = Reader(get(TestClient(create_app(registry, AccessRules(open=True))), SIZES)).text
    assert "10.0 k unique tokens, 1.00 M parameters, quality low" in text


def test_an_overview_of_another_version_is_told(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=Clock()) as registry:
        study = overview_samples.record(registry)
        stored = dict(study_records(overview_samples.report())[OVERVIEW]) | {"invented_since": 1}
        registry.record_analysis(study, OVERVIEW, stored)
        client = TestClient(create_app(registry, AccessRules(open=True)))
        page = Reader(get(client, SIZES)).text
        data = client.get(f"{SIZES}?format=json").json()
        other = get(client, "/compare?a=default/sizes&b=default/sizes")
    assert "What was recorded of the whole study is of another version" in page
    assert data["overview"] is None and OVERVIEW not in [c["cell"] for c in data["cells"]]
    assert OVERVIEW not in other


def test_the_overview_goes_over_the_service(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=Clock()) as registry:
        study = overview_samples.record(registry)
        client = TestClient(create_app(registry, AccessRules(open=True)))
        stored = study_records(overview_samples.report())[OVERVIEW]
        again = {**stored, "overview": {**stored["overview"], "notes": ["sent"]}}
        answer = client.post(f"/api/v1/studies/{study}/analyses", json={"cell": OVERVIEW, "analysis": again})
        assert answer.status_code == 201, answer.text
        assert client.get(f"{SIZES}?format=json").json()["overview"]["notes"] == ["sent"]


def test_where_it_comes_from(client: TestClient) -> None:
    data: dict[str, Any] = client.get("/studies/default/demo?format=json").json()
    assert (data["lineage"][0]["what"], data["lineage"][0]["digest"]) == ("Data set", digest("dataset"))
    assert [step["what"] for step in data["lineage"]] == ["Data set", "10 runs", "Checkpoints", "Verdict", "Deployment"]
    assert data["lineage"][3]["digest"] == data["analysis"]
    assert data["lineage"][4]["detail"] == "AR, seed 0, step 640, served now"
    assert [(row["text"], row["name"]) for row in data["reused"]] == [
        ("6 of 10 runs were trained for earlier revisions of", "demo")
    ]


def test_runs_of_other_studies_are_told(tmp_path: Path) -> None:
    """The second study takes over what the first trained; the first says who uses its runs."""
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=Clock()) as registry:
        for name in ("first", "second"):
            study = digest(name)
            registry.register_study(name=name, digest=study, config=registry_samples.config(name))
            registry_samples.train(registry, study, "shared", "ar", 0, range(1, 5))
        registry_samples.train(registry, study, "own", "dlm", 0, range(1, 5))
        client = TestClient(create_app(registry, AccessRules(open=True)))
        reused = {
            name: client.get(f"/studies/default/{name}?format=json").json()["reused"] for name in ("first", "second")
        }
        page = Reader(get(client, "/studies/default/second")).text
    assert [(r["text"], r["name"]) for r in reused["first"]] == [("1 of 1 runs are used by", "second")]
    assert [(r["text"], r["name"]) for r in reused["second"]] == [("1 of 2 runs were taken over from", "first")]
    assert "1 of 2 runs were taken over from first" in page


def test_why_a_verdict_changed(tmp_path: Path) -> None:
    """More seeds, another plan, other runs, or the points alone."""
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=(clock := Clock())) as registry:
        base = registry_samples.config("why") | {"analysis": {"delta": 1}}
        steps = [
            (base, "open", 3),
            (base | {"seeds": [0, 1, 2, 3, 4, 5]}, "crossover", 6),
            (base | {"seeds": [0, 1, 2, 3, 4, 5], "analysis": {"delta": 2}}, "open", 6),
            (base | {"seeds": [0, 1, 2, 3, 4, 5], "analysis": {"delta": 2}, "name": "why!"}, "crossover", 6),
        ]
        for number, (config, outcome, pairs) in enumerate([*steps, (steps[-1][0], "open", 6)]):
            study = digest(f"why {min(number, 3)}")
            registry.register_study(name="why", digest=study, config=config)
            found = registry_samples.analysis(outcome=outcome)
            verdicts = tuple(v.model_copy(update={"pairs": pairs}) for v in found.verdicts)
            clock.pass_seconds(60)
            registry.record_analysis(
                study, CELL, found.model_copy(update={"verdicts": verdicts}).model_dump(mode="json")
            )
        client = TestClient(create_app(registry, AccessRules(open=True)))
        changes = client.get("/studies/default/why?format=json").json()["changes"]
        page = get(client, "/studies/default/why")
    assert [c["why"] for c in changes if c["why"]] == [
        "other points: runs were trained or evaluated again",
        "other runs: name why! instead of why",
        "other plan: delta 2 instead of 1",
        "more seeds: 6 seed pairs instead of 3",
    ]
    newest = changes[0]
    assert (
        newest["before"].startswith("The DLM's upper bound falls below AR's loss")
        and newest["after"] == "Insufficient evidence"
    )
    assert "1 verdict changed" in Reader(page).text and f"Why: {newest['why']}." in Reader(page).text
    for address in (newest["address"], newest["before_address"]):
        assert address.replace("&", "&amp;") in page
        assert client.get(address).status_code == 200
