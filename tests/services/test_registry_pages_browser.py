"""The pages in a real browser: under their policy, at every width, light and dark, with and without scripts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from crossover_services.registry.access_control import AccessRules
from crossover_services.registry.app import create_app

from crossover.registry import Registry
from tests.services import chromium, overview_samples, registry_samples
from tests.services.registry_samples import HOSTILE, Clock

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
DEMO, LIVE = "/studies/default/demo", "/studies/default/live"
EVIL = f"/studies/team-a/{quote(HOSTILE, safe='')}"
RUN = f"/runs/{quote(registry_samples.digest('default half'), safe='')}?metric=training_loss"
COMPARE = f"/compare?a=default/demo&b={quote('team-a/' + HOSTILE, safe='')}"
SIZES = "/studies/default/sizes"
FRONTIER = f"{SIZES}?cell={overview_samples.FRONTIER}&show=evidence"
DATASET = f"/datasets/{registry_samples.digest('dataset').removeprefix('sha256:')}"
PAGES = ["/", DEMO, LIVE, EVIL, RUN, "/datasets", DATASET, "/deployments", COMPARE, "/docs", SIZES, FRONTIER]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    clock = Clock()
    path = tmp_path_factory.mktemp("pages") / "registry.sqlite"
    with Registry.open(f"sqlite:///{path}", clock=clock) as registry:
        registry_samples.finished(registry, clock)
        registry_samples.finished(registry.within("team-a"), clock, HOSTILE)
        registry_samples.being_run(registry, clock)
        overview_samples.record(registry)
        started = threading.Event()

        class Server(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 - uvicorn's own
                await super().startup(sockets)
                started.set()

        config = uvicorn.Config(
            create_app(registry, AccessRules(open=True)), host="127.0.0.1", port=0, log_level="error", ws="none"
        )
        server = Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        assert started.wait(30)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("address", PAGES)
def test_no_complaints_and_no_barriers(tab: chromium.Tab, base: str, address: str) -> None:
    """axe-core checks WCAG's A and AA rules: contrast, names, headings, landmarks, tables."""
    for scheme, width in (("light", 1280), ("dark", 400)):
        tab.open(base + address, scheme=scheme, width=width)
        assert tab.complaints() == []
        tab.run(f"{AXE}; null")
        tab.run("for (const each of document.querySelectorAll('details')) each.open = true; null")
        found = tab.run("axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))")
        assert found == []


@pytest.mark.parametrize("address", PAGES)
def test_nothing_is_wider_than_the_screen(tab: chromium.Tab, base: str, address: str) -> None:
    for width in (360, 700, 1000, 1920):
        tab.open(base + address, width=width)
        assert tab.run("document.documentElement.scrollWidth") <= width


def test_the_policy_stops_other_scripts(tab: chromium.Tab, base: str) -> None:
    tab.open(base + EVIL)
    assert tab.run("document.title").startswith("<script>alert")
    tab.run("document.body.insertAdjacentHTML('beforeend', '<img src=/x onerror=\"document.title=1\">'); null")
    tab.run("document.body.append(Object.assign(document.createElement('script'), {textContent: 'document.title=1'}))")
    assert tab.run("document.title") != "1"
    assert any("Content Security Policy" in text for text in tab.complaints())


def test_another_axis_renews_the_figure_alone(tab: chromium.Tab, base: str) -> None:
    tab.open(base + DEMO)
    tab.run("document.querySelector('#verdict').dataset.mark = 'kept'; null")
    tab.run("[...document.querySelectorAll('.switch a')].find((a) => a.textContent === 'training FLOPs').click()")
    tab.until("document.querySelector('#curves figcaption')?.textContent.includes('training FLOPs')")
    assert tab.run("document.querySelector('#verdict').dataset.mark") == "kept"
    assert "axis=flops" in tab.run("location.search")
    assert tab.run("document.querySelectorAll('#curves .tip').length") == 1, "the figure tells its values again"
    assert tab.complaints() == []


def test_search_follows_what_is_typed(tab: chromium.Tab, base: str) -> None:
    tab.open(base + "/")
    tab.run(
        "{ const q = document.querySelector('[name=q]'); q.focus(); q.value = 'worth';"
        " q.dispatchEvent(new Event('input', {bubbles: true})); } null"
    )
    tab.until("document.querySelectorAll('.studies > li').length === 1")
    assert tab.run("location.search") == "?q=worth&sort=newest"
    assert tab.run("document.activeElement.name") == "q"


def test_a_study_being_run_renews_itself(tab: chromium.Tab, base: str) -> None:
    tab.open(base + LIVE)
    tab.run("window.first = document.querySelector('#live'); null")
    tab.until("document.querySelector('#live') !== window.first")
    assert tab.run("document.querySelectorAll('#live .runs li').length") == 10
    assert tab.complaints() == []


def test_everything_is_there_without_scripts(tab: chromium.Tab, base: str) -> None:
    tab.open(base + DEMO, scripts=False)
    size = "document.querySelector('#curves svg').getBoundingClientRect().width"
    assert tab.run(size) > 600
    assert tab.run("document.querySelectorAll('.switch a').length") == 7
    tab.open(base + "/?q=worth", scripts=False)
    assert tab.run("document.querySelectorAll('.studies > li').length") == 1
    assert tab.complaints() == []


def test_the_keyboard_reaches_the_content_first(tab: chromium.Tab, base: str) -> None:
    tab.open(base + "/")
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
    assert tab.run("document.activeElement.textContent") == "Skip to the content"
    assert tab.run("document.activeElement.getBoundingClientRect().left") >= 0


def test_the_theme_reaches_every_figure(tab: chromium.Tab, base: str) -> None:
    """Pictures, too, which a style sheet cannot change; without scripts, and whatever the system prefers."""
    dark, light = "rgb(21, 24, 28)", "rgb(255, 255, 255)"
    tab.open(f"{base}{SIZES}", width=400, scheme="light", scripts=False)
    switch = tab.run("[...document.querySelectorAll('.tools a')].find((a) => a.textContent === 'Dark').href")
    tab.open(switch, width=400, scheme="light", scripts=False)
    assert tab.run("getComputedStyle(document.body).backgroundColor") == dark
    pictures = tab.run("[...document.querySelectorAll('main img')].map((each) => each.src)")
    assert len(pictures) > 3 and all("theme=dark" in source for source in pictures)
    tab.open(pictures[0], scheme="light")
    assert tab.run("getComputedStyle(document.documentElement).backgroundColor") == dark
    tab.open(pictures[0].replace("theme=dark", "theme=light"), scheme="dark")
    assert tab.run("getComputedStyle(document.documentElement).backgroundColor") == light


def test_every_picture_is_loaded(tab: chromium.Tab, base: str) -> None:
    tab.open(f"{base}{SIZES}", width=1280)
    tab.run("for (const each of document.images) each.loading = 'eager'; null")
    tab.until("[...document.images].every((each) => each.complete)")
    widths = tab.run("[...document.images].filter((each) => each.naturalWidth === 0).map((each) => each.src)")
    assert widths == []
