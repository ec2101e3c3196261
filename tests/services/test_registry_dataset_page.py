"""The page of a prepared corpus: the data card, who has it, and what it says where there is no card."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from fastapi.testclient import TestClient

from crossover.registry import Registry
from tests.services.registry_samples import HOSTILE, config, digest, manifest

DATASET = digest("dataset")
PAGE = f"/datasets/{DATASET.removeprefix('sha256:')[:20]}"
OLD = {"source": "stdlib:", "documents": 3, "steps": {"length": [1, 2]}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("dataset") / "registry.sqlite"
    with Registry.open(f"sqlite:///{path}") as registry:
        for name in ("first", "second"):
            registry.register_study(name=name, digest=digest(name), config=config(name))
            registry.register_dataset(digest(name), DATASET, manifest(name).model_dump(mode="json"))
        registry.register_study(name="old", digest=digest("old"), config=config("old"))
        registry.register_dataset(digest("old"), digest("old dataset"), OLD)
        team = registry.within("team-a")
        team.register_study(name=HOSTILE, digest=digest("evil"), config=config("evil"))
        team.register_dataset(digest("evil"), digest("evil dataset"), manifest(HOSTILE).model_dump(mode="json"))
        yield TestClient(create_app(registry, AccessRules(open=True)))


@pytest.mark.parametrize("name", [DATASET, DATASET.removeprefix("sha256:"), DATASET[7:15]])
def test_a_corpus_is_shown_by_its_data_card(client: TestClient, name: str) -> None:
    page = client.get(f"/datasets/{quote(name, safe='')}").text
    for text in (
        "Data of second",
        "5 near-duplicates in 4 clusters; 1 of 26 held-out documents have one in the training documents",
        "70 of 4,000 13-grams of held-out documents (26, 1 shorter, 9 common n-grams left out)",
        "3 of 26 held-out documents stand for the most part in the training documents",
        "8,646,400, in examples of 64; 10,240 in examples of joined documents, none padded",
        "259 rows, 1.00 bytes a token",
        "length: too short",
        "2,900,000 bytes; 1.50 to 2.00 bits a byte",
        "Contaminated by held-out documents",
    ):
        assert text in page
    for study in ("first", "second"):
        assert f'<a href="/studies/default/{study}?revision={digest(study)[7:19]}">{study}</a>' in page
    assert "style=" not in page  # the policy would refuse it


def test_the_twin_has_the_manifest_and_the_card(client: TestClient) -> None:
    twin = client.get(PAGE, params={"format": "json"}).json()
    assert twin["digest"] == DATASET
    assert [user["study"] for user in twin["studies"]] == ["second", "first"]
    assert twin["manifest"]["near"]["near_duplicates"] == 5
    assert twin["card"]["title"] == "Data of second"


def test_the_list_has_the_counts_and_leads_to_the_page(client: TestClient) -> None:
    page = client.get("/datasets?q=first").text
    assert f'<a href="{PAGE}">' in page
    assert 'data-head="Near-duplicates">5<' in page and 'data-head="Contaminated">6<' in page
    assert 'data-head="Near-duplicates">–<' in client.get("/datasets?q=old").text


def test_a_manifest_of_another_version_is_shown_as_it_is(client: TestClient) -> None:
    page = client.get(f"/datasets/{quote(digest('old dataset'))}").text
    assert "of another version" in page and "steps.length" in page
    twin = client.get(f"/datasets/{quote(digest('old dataset'))}?format=json").json()
    assert (twin["card"], twin["manifest"]) == (None, OLD)


def test_names_are_text(client: TestClient) -> None:
    page = client.get(f"/datasets/{quote(digest('evil dataset'))}").text
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


@pytest.mark.parametrize("name", ["nothing", "sha256:", "%", "sha256:%25%25%25%25%25%25%25%25", "________"])
def test_what_is_not_there_is_a_page_that_says_so(client: TestClient, name: str) -> None:
    answer = client.get(f"/datasets/{name}")
    assert answer.status_code == 404
    assert "is not in the registry" in answer.text and "open it from the list of data sets" in answer.text


def test_a_corpus_of_another_namespace_is_not_there(client: TestClient) -> None:
    address = f"/datasets/{quote(digest('evil dataset'))}"
    assert client.get(address, params={"namespace": "default"}).status_code == 404
    assert client.get(address, params={"namespace": "team-a"}).status_code == 200
