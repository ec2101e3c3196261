"""What is chosen for all pages stays in every link, form, figure and twin: namespace, theme, axis."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app
from fastapi.testclient import TestClient

from crossover.registry import Registry
from tests.services import overview_samples, registry_samples
from tests.services.overview_samples import FRONTIER
from tests.services.registry_samples import HOSTILE, Clock, digest
from tests.services.test_registry_pages import Reader, get

STATE = {"namespace": "team-a", "theme": "dark", "axis": "flops"}
QUERY = "namespace=team-a&theme=dark&axis=flops"
EVIL = f"/studies/team-a/{quote(HOSTILE, safe='')}"
SIZES = "/studies/team-a/sizes"
RUN = f"/runs/{quote(digest('team-a ' + HOSTILE + ' ar 0'), safe='')}?task=domain-cloze&"
COMPARE = f"/compare?a=team-a/sizes&b={quote('team-a/' + HOSTILE, safe='')}&"
PAGES = ["/?", "/?q=no-such-study&", f"{EVIL}?", f"{SIZES}?", f"{SIZES}?cell={FRONTIER}&show=evidence&", RUN, COMPARE]
PAGES += ["/datasets?", "/deployments?", "/datasets?q=nothing&", "/docs?", "/nothing/here?", "/runs/unknown?"]
OF_ITS_OWN = ("#", "/static/", "data:", "/openapi.json")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    path = tmp_path_factory.mktemp("state") / "registry.sqlite"
    clock = Clock()
    with Registry.open(f"sqlite:///{path}", clock=clock) as opened:
        registry_samples.finished(opened, clock)
        registry_samples.finished(opened.within("team-a"), clock, HOSTILE)
        overview_samples.record(opened.within("team-a"))
        yield TestClient(create_app(opened, AccessRules(open=True)))


def state(address: str) -> dict[str, str]:
    query = parse_qs(urlsplit(address).query)
    return {name: query[name][0] for name in STATE if name in query}


@pytest.mark.parametrize("address", PAGES)
def test_every_link_keeps_it(client: TestClient, address: str) -> None:
    page = Reader(client.get(address + QUERY, headers={"Accept": "text/html"}).text)
    assert ("html", {"lang": "en", "data-theme": "dark"}) in page.tags
    for tag, attributes in page.tags:
        target = attributes.get("href") or attributes.get("src")
        if target is None or target.startswith(OF_ITS_OWN):
            continue
        kept = state(target)
        other = [name for name in STATE if kept.get(name) != STATE[name]]
        # a link may choose one of them, a map is of an axis of its own
        assert other == ["axis"] if tag == "img" and other else len(other) <= 1, f"{target} of {tag} loses {other}"
        if other == ["namespace"]:
            assert "namespace" not in kept, "only the link that shows all namespaces leaves it out"
    forms = [attributes for tag, attributes in page.tags if tag == "form"]
    hidden = {str(a["name"]): a["value"] for tag, a in page.tags if tag == "input" and a.get("type") == "hidden"}
    chosen = {str(a["name"]) for tag, a in page.tags if tag == "select"}
    assert not forms or hidden == {name: value for name, value in STATE.items() if name not in chosen}


@pytest.mark.parametrize("address", PAGES[:11])
def test_the_twin_keeps_it(client: TestClient, address: str) -> None:
    twin = client.get(address + QUERY + "&format=json")
    assert twin.headers["content-type"].startswith("application/json")
    page = Reader(get(client, address + QUERY))
    (link,) = [str(a["href"]) for tag, a in page.tags if tag == "link" and a.get("rel") == "alternate"]
    assert client.get(link).json() == twin.json()


def test_links_without_state_have_none(client: TestClient) -> None:
    page = Reader(get(client, "/"))
    links = [str(a["href"]) for tag, a in page.tags if tag == "a"]
    assert all(state(link) == {} for link in links if "theme=" not in link)
    assert ("html", {"lang": "en"}) in page.tags


@pytest.mark.parametrize("query", ["theme=<script>", "theme=pink", "axis=steps", "axis=%22%3E"])
def test_nothing_else_is_carried(client: TestClient, query: str) -> None:
    page = get(client, f"/?{query}")
    links = [str(a["href"]) for tag, a in Reader(page).tags if tag == "a" and "format=" not in str(a["href"])]
    name, _, value = query.partition("=")
    assert all(state(link).get(name) in (None, "light", "dark") for link in links if "/?" not in link)
    assert "<script>" not in page and "pink" not in "".join(link for link in links if link.startswith("/studies"))
    assert value


def test_another_cell_keeps_metric_and_comparison(client: TestClient) -> None:
    page = Reader(get(client, f"{SIZES}?metric=loss&axis=flops&comparison=best-so-far"))
    cells = [str(a["href"]) for tag, a in page.tags if tag == "a" and "cell=u20000" in str(a.get("href"))]
    query = parse_qs(urlsplit(cells[0]).query)
    assert {name: query[name] for name in ("metric", "axis", "comparison")} == {
        "metric": ["loss"],
        "axis": ["flops"],
        "comparison": ["best-so-far"],
    }


def test_what_serves_now_is_on_the_first_page(client: TestClient) -> None:
    page = get(client, "/?namespace=team-a")
    text = Reader(page).text
    assert text.count("Served now") == 1 and "AR" in text and f"AR is better early: {HOSTILE}" in text
    served = client.get("/?namespace=team-a&format=json").json()["served"]
    assert [(d["study"], d["current"], d["step"]) for d in served] == [(HOSTILE, True, 640)]
    assert Reader(get(client, "/")).text.count("Served now") == 2
