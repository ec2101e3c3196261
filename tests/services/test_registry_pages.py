"""The pages over HTTP: each with its twin, escaped, filtered by its address, small; errors as pages with a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from crossover_services.registry.page_cache import BoundedCache
from fastapi.testclient import TestClient

from crossover.registry import Registry
from crossover.registry.access_tokens import create_token
from tests.crossover.report import report_samples
from tests.services import registry_samples as samples
from tests.services.registry_samples import CELL, HOSTILE, Clock

DEMO = "/studies/default/demo"
LIVE = "/studies/default/live"
EVIL = f"/studies/team-a/{quote(HOSTILE, safe='')}"
RUN = f"/runs/{quote(samples.digest('default demo ar 0'), safe='')}"
COMPARE = f"/compare?a=default/demo&b={quote('team-a/' + HOSTILE, safe='')}"
PAGES = ["/", DEMO, LIVE, EVIL, RUN, f"{RUN}?task=domain-cloze", "/compare", COMPARE]
PAGES += ["/datasets", "/deployments", "/docs"]
BUDGET = 60_000


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, clock: Clock) -> Iterator[Registry]:
    path = tmp_path_factory.mktemp("pages") / "registry.sqlite"
    with Registry.open(f"sqlite:///{path}", clock=clock) as opened:
        samples.finished(opened, clock)
        samples.finished(opened.within("team-a"), clock, HOSTILE)
        samples.being_run(opened, clock)
        yield opened


@pytest.fixture(scope="module")
def client(registry: Registry) -> TestClient:
    return TestClient(create_app(registry, AccessRules(open=True)))


def get(client: TestClient, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200, response.text
    return response.text


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("address", PAGES)
def test_every_page_is_whole(client: TestClient, address: str) -> None:
    response = client.get(address)
    assert response.status_code == 200
    page = Reader(response.text)
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False)), page.headings
    assert len(page.ids) == len(set(page.ids))
    assert response.text.count("<main") == 1
    for tag in ("table", "tr", "td", "section", "figure"):
        assert f"&lt;{tag}" not in response.text
    assert ("a", {"class": "skip", "href": "#content"}) in page.tags
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), "the policy would stop it"
        if tag == "script":
            assert str(attributes["src"]).startswith("/static/")
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
    assert "script-src 'self'" in response.headers["content-security-policy"]
    assert "unsafe" not in response.headers["content-security-policy"]


@pytest.mark.parametrize("address", PAGES)
def test_every_page_has_a_twin(client: TestClient, address: str) -> None:
    by_header = client.get(address, headers={"Accept": "application/json"})
    by_query = client.get(f"{address}{'&' if '?' in address else '?'}format=json")
    assert by_header.headers["content-type"].startswith("application/json")
    assert by_header.json() == by_query.json()
    assert client.get(address, headers={"Accept": "text/html,application/json;q=0.9"}).text.startswith("<!DOCTYPE")


@pytest.mark.parametrize("address", PAGES)
def test_names_are_escaped(client: TestClient, address: str) -> None:
    page = get(client, address)
    assert "<script>alert" not in page
    scripts = [attributes for tag, attributes in Reader(page).tags if tag == "script"]
    assert len(scripts) == 1


def test_the_hostile_study_is_reached_from_the_list(client: TestClient) -> None:
    links = [a.get("href") for tag, a in Reader(get(client, "/")).tags if tag == "a"]
    assert EVIL in links
    assert "What suits <script>alert" in Reader(get(client, EVIL)).text


def test_the_list_says_the_verdict_in_words(client: TestClient) -> None:
    text = Reader(get(client, "/")).text
    assert "DLM if you train past epoch 57.3 (51.0 – 64.2)" in text
    assert "95 % interval 51.0 – 64.2" in text
    assert "2 of 10 runs, 1 lost" in text
    assert "No verdict yet" in text


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("q=worth", ["live"]),
        ("status=done", [HOSTILE, "demo"]),
        ("status=running&q=demo", []),
        ("sort=name", [HOSTILE, "demo", "live"]),
        ("status=unheard-of", ["live", HOSTILE, "demo"]),
        ("page=2", []),
    ],
)
def test_filters_are_in_the_address(client: TestClient, query: str, names: list[str]) -> None:
    assert [s["name"] for s in client.get(f"/?{query}&format=json").json()["studies"]] == names
    assert client.get(f"/?{query}").status_code == 200


def test_the_study_says_what_to_choose(client: TestClient) -> None:
    text = Reader(get(client, DEMO)).text
    assert "DLM if you train past epoch 57.3 (51.0 – 64.2)" in text
    assert "Choose AR if you may stop early; DLM if you train past epoch 57.3" in text
    assert "seeds 0, 1, 2" in text, "what the other revision differs in"
    assert "Insufficient evidence" in text, "the verdict before"
    for step in ("Corpus", "Data set", "10 runs", "Checkpoints", "Verdict", "Deployment"):
        assert step in text


def test_axes_are_addresses(client: TestClient) -> None:
    page = Reader(get(client, f"{DEMO}?metric=cloze_accuracy&axis=flops&comparison=best-so-far"))
    chosen = [a["href"] for tag, a in page.tags if tag == "a" and a.get("data-swap") and a.get("aria-current")]
    assert len(chosen) == 3
    assert all("metric=cloze_accuracy&axis=flops&comparison=best-so-far#curves" in str(href) for href in chosen)
    figure = client.get(f"{DEMO}?metric=cloze_accuracy&axis=flops&format=json").json()["figure"]
    assert (figure["metric"], figure["axis"], figure["comparison"]) == ("cloze_accuracy", "flops", "matched")
    assert client.get(f"{DEMO}?metric=<nothing>").status_code == 200


def test_figures_are_pictures(client: TestClient) -> None:
    page = Reader(get(client, DEMO))
    (small,) = [str(a["src"]) for tag, a in page.tags if tag == "img"]
    picture = client.get(small)
    assert picture.headers["content-type"] == "image/svg+xml"
    assert picture.text.startswith("<svg") and "prefers-color-scheme: dark" in picture.text
    assert client.get("/figures/sha256:nothing").status_code == 404


def test_an_earlier_revision_by_address(client: TestClient) -> None:
    first = samples.digest("first demo").removeprefix("sha256:")[:12]
    text = Reader(get(client, f"{DEMO}?revision={first}")).text
    assert "there is a newer one" in text
    assert "Insufficient evidence" in text
    assert client.get(f"{DEMO}?revision={first}&format=json").json()["runs_total"] == 6


def test_a_study_being_run(client: TestClient) -> None:
    page = get(client, LIVE)
    text = " ".join(Reader(page).text.split())
    assert "2 of 10 runs" in text
    assert "Lost: AR seed 1" in text and "node-7" in text
    assert "of training left" in text
    assert "running, 59 %" in text and "attempt 2" in text
    assert 'data-poll="10"' in page
    live = client.get(f"{LIVE}?format=json").json()["live"]
    assert (live["pairs_done"], live["pairs_needed"]) == (1, 5)
    assert [(r["arm"], r["seed"]) for r in live["runs"][:3]] == [("ar", 0), ("dlm", 0), ("ar", 1)]
    usual = 32.0
    left = usual * (1 - 199 / 640) + usual * (1 - 379 / 640) + 6 * usual
    assert live["seconds_left"] == pytest.approx(left, rel=0.01)
    assert "Training loss so far" in text and "Validation loss so far" in text


def test_a_run_shows_any_metric_and_its_attempts(client: TestClient) -> None:
    half = quote(samples.digest("default half"), safe="")
    page = get(client, f"/runs/{half}?metric=training_loss&axis=flops")
    assert "attempt 2</text>" in page
    assert "interrupted" in Reader(page).text
    shown = client.get(f"/runs/{half}?metric=validation_bpb&format=json").json()
    assert shown["metric"] == "validation_bpb"
    assert shown["curves"][0]["steps"] == [10, 40, 160, 320]


def test_scores_of_items(client: TestClient) -> None:
    text = Reader(get(client, f"{RUN}?task=domain-cloze")).text
    assert "domain-cloze at step 640: 2 of 2 items" in " ".join(text.split())
    assert "<table" not in text
    assert "not finite" in text


def test_deployments_now_and_before(client: TestClient) -> None:
    text = Reader(get(client, "/deployments")).text
    assert text.index("Served now") < text.index("AR is better early: demo") < text.index("Before")
    assert "endpoint kubeflow/winner, revision 3, 100 % of the traffic" in " ".join(text.split())
    assert client.get("/deployments?q=kubeflow/winner&format=json").json()["total"] > 0
    assert client.get("/deployments?q=nothing&format=json").json()["total"] == 0


def test_two_studies_side_by_side(client: TestClient) -> None:
    shown = client.get(f"{COMPARE}&format=json").json()
    assert [s["verdict"] for s in shown["studies"]] == [
        "Choose AR if you may stop early; DLM if you train past epoch 57.3 (51.0 – 64.2)"
    ] * 2
    assert all(row["agree"] for row in shown["verdicts"]) and len(shown["verdicts"]) == 12
    first = samples.digest("first demo").removeprefix("sha256:")[:12]
    rows = client.get(f"/compare?a=default/demo&b=default/demo@{first}&format=json").json()["verdicts"]
    assert [row["agree"] for row in rows] == [False] + [True] * 11
    assert "A DLM" in get(client, COMPARE)


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/studies/default/none", 404, "registry.unknown-study"),
        ("/studies/none/demo", 404, "registry.unknown-study"),
        (f"{DEMO}?revision=zzz", 404, "registry.unknown-revision"),
        ("/runs/none", 404, "registry.unknown-run"),
        ("/compare?a=default/none&b=default/demo", 404, "registry.unknown-study"),
        ("/compare?a=demo&b=default/demo", 404, "registry.unknown-study"),
        ("/?page=0", 422, "page.bad-parameter"),
        ("/?sort=unheard-of", 422, "page.bad-parameter"),
        (f"/?q={'x' * 501}", 422, "page.bad-parameter"),
    ],
)
def test_what_is_not_there_is_a_page_with_a_remedy(client: TestClient, address: str, status: int, code: str) -> None:
    response = client.get(address, headers={"Accept": "text/html"})
    assert response.status_code == status
    assert "What to do:" in response.text and code in response.text
    twin = client.get(address, headers={"Accept": "application/json"})
    assert twin.status_code == status
    assert twin.json()["code"] == code and twin.json()["remedy"]


def test_people_who_miss_get_a_page(client: TestClient) -> None:
    response = client.get("/nothing", headers={"Accept": "text/html"})
    assert response.status_code == 404 and "All studies" in response.text


def test_pages_are_limited_to_the_callers_namespaces(registry: Registry) -> None:
    closed = TestClient(create_app(registry, AccessRules()))
    refused = closed.get("/", headers={"Accept": "text/html"})
    assert refused.status_code == 401 and "What to do:" in refused.text
    assert refused.headers["www-authenticate"] == "Bearer"
    _, token = create_token(registry, "t", scopes=["read"], namespaces=["team-a"], actor="test")
    closed.headers["Authorization"] = f"Bearer {token}"
    assert [s["namespace"] for s in closed.get("/?format=json").json()["studies"]] == ["team-a"]
    figure = next(str(a["src"]) for tag, a in Reader(closed.get(EVIL).text).tags if tag == "img")
    assert closed.get(figure).status_code == 200
    for address in (DEMO, RUN, COMPARE):
        assert closed.get(address).status_code == 404
    for address in ("/", DEMO, RUN, "/datasets", figure):
        assert closed.get(address, params={"namespace": "default"}).status_code == 403


def test_programs_that_miss_the_api_get_no_page(client: TestClient) -> None:
    for address in ("/api/v1/no/such/thing", "/nothing"):
        assert client.get(address).headers["content-type"] == "application/problem+json"


def test_an_unchanged_page_is_not_sent_again(client: TestClient) -> None:
    first = client.get(DEMO)
    again = client.get(DEMO, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_are_kept_by_their_digest(client: TestClient) -> None:
    page = Reader(get(client, "/"))
    (css,) = [str(a["href"]) for tag, a in page.tags if tag == "link" and a["rel"] == "stylesheet"]
    assert "immutable" in client.get(css).headers["cache-control"]
    assert "--arm1" in client.get(css).text
    assert client.get("/static/x/secret.txt").status_code == 404
    assert client.get("/static/x/..%2F..%2Fapp.py").status_code == 404


def test_five_thousand_points_and_eight_seeds_are_within_the_budget(tmp_path: Path) -> None:
    clock = Clock()
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=clock) as registry:
        study = samples.digest("long")
        registry.register_study(name="long", digest=study, config=samples.config("long", seeds=8))
        for seed in range(8):
            for arm in ("ar", "dlm"):
                samples.train(registry, study, "long", arm, seed, range(1, 6))
        registry.record_analysis(study, CELL, long_analysis())
        client = TestClient(create_app(registry, AccessRules(open=True)))
        page = client.get("/studies/default/long").content
        evidence = client.get("/studies/default/long?show=evidence").content
        figure = client.get("/studies/default/long?format=json").json()["figure"]
    assert len(page) < BUDGET and len(evidence) < BUDGET
    assert evidence.count(b"<tr") == page.count(b"<tr") + 13, "what each of twelve verdicts rests on"
    assert len(figure["seeds"]) == 16 and all(len(curve["x"]) <= 60 for curve in figure["seeds"])


def long_analysis() -> dict[str, object]:
    """The analysis of eight seeds of 5,000 points, as JSON."""
    made = report_samples.analysis(seeds=8).model_dump(mode="json")
    for figure in made["figures"]:
        bands = [*figure["arms"].values(), figure["difference"]]
        for curve in [*figure["seeds"], *bands]:
            x = np.geomspace(curve["x"][0], curve["x"][-1], 5000)
            for name in ("mean", "low", "high", "value", "stderr"):
                if name in curve:
                    curve[name] = list(np.interp(x, curve["x"], curve[name]))
            curve["x"] = list(x)
    return dict(made)


def test_a_study_of_two_cells(tmp_path: Path) -> None:
    """Each cell has its headline on top, and a page of its own."""
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=Clock()) as registry:
        study = samples.digest("grid")
        fields = samples.config("grid") | {"grid": {"unique_tokens": [10000, 40000], "models": ["nano", "mini"]}}
        registry.register_study(name="grid", digest=study, config=fields)
        for cell, outcome in ((CELL, "crossover"), ("u40000-nano", "open")):
            registry.record_analysis(study, cell, samples.analysis(outcome=outcome).model_dump(mode="json"))
        client = TestClient(create_app(registry, AccessRules(open=True)))
        listed = Reader(get(client, "/")).text
        page = Reader(get(client, "/studies/default/grid"))
        other = client.get("/studies/default/grid?cell=u40000-nano&format=json").json()
        untouched = Reader(get(client, "/studies/default/grid?cell=u10000-mini")).text
    assert "4 cells" in listed and "DLM if you train past" in listed and "not known yet if you train" in listed
    links = [str(a["href"]) for tag, a in page.tags if tag == "a" and "cell=" in str(a.get("href"))]
    assert [link for link in links if "metric" not in link][:2] == [
        "/studies/default/grid?cell=u10000-nano",
        "/studies/default/grid?cell=u10000-mini",
    ]
    assert other["headline"]["verdict"] == "Choose AR if you may stop early; not known yet if you train to the end"
    assert [c["verdict"] for c in other["cells"]].count("no analysis yet") == 2
    assert "No verdict yet" in untouched


def test_the_evidence_is_shown_when_asked_for(client: TestClient) -> None:
    assert "Evidence: window means" not in get(client, DEMO)
    shown = Reader(get(client, f"{DEMO}?show=evidence")).text
    assert "Evidence: window means" in shown
    assert "DLM likelihoods are upper bounds (NELBO)." in shown


def test_an_analysis_of_another_version_is_told(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite", clock=Clock()) as registry:
        study = samples.digest("odd")
        registry.register_study(name="odd", digest=study, config=samples.config("odd"))
        found = samples.analysis().model_dump(mode="json") | {"invented_since": 1}
        registry.record_analysis(study, CELL, found)
        page = get(TestClient(create_app(registry, AccessRules(open=True))), "/studies/default/odd")
    assert "another version of Crossover" in page and "upper bound falls below" in page


def test_an_empty_registry_says_how_to_begin(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path}/registry.sqlite") as registry:
        client = TestClient(create_app(registry, AccessRules(open=True)))
        assert "crossover run demo" in get(client, "/")
        assert [client.get(address).status_code for address in ("/datasets", "/deployments", "/compare")] == [200] * 3


def test_a_cache_forgets_what_was_used_longest_ago() -> None:
    cache: BoundedCache[int] = BoundedCache(2)
    made: list[str] = []

    def make(key: str) -> int:
        made.append(key)
        return len(made)

    def value(key: str) -> int:
        return cache.get(key, lambda: make(key))

    assert [value(key) for key in "abacabc"] == [1, 2, 1, 3, 1, 4, 5]
    assert len(cache) == 2
