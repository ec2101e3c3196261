"""The playground: its routes, and the page in a browser, before a predictor of fixed answers and before real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from crossover_services.predictor.playground.playground_routes import policy, read_examples
from fastapi import FastAPI

from crossover.errors import WorkspaceError
from tests.services import chromium, playground_server
from tests.services.conftest import write_checkpoint
from tests.services.predictor_process import predictor

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text("utf-8")
DONE = "!document.querySelector('#generate').disabled"
HOLED = "Once there was a [[6]] on the mat."


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return playground_server.predictor(playground_server.CARD)


@pytest.fixture(scope="module")
def base(app: FastAPI) -> Iterator[str]:
    with playground_server.served(app) as url:
        yield url


@pytest.fixture(scope="module")
def other(base: str) -> Iterator[str]:
    """An autoregressive one, which lets pages of the first one call it."""
    with playground_server.served(playground_server.predictor(playground_server.AR_CARD), origins=(base,)) as url:
        yield url


def opened(tab: chromium.Tab, address: str, **options: Any) -> None:  # noqa: ANN401 - those of Tab.open
    tab.open(address, **options)
    tab.until("document.body.dataset.ready")


def put(tab: chromium.Tab, **fields: str) -> None:
    """Type into fields by their id."""
    for name, value in fields.items():
        tab.run(
            f"{{ const f = document.getElementById({name!r}); f.value = {value!r};"
            " f.dispatchEvent(new Event('input', {bubbles: true}));"
            " f.dispatchEvent(new Event('change', {bubbles: true})); } null"
        )


def generate(tab: chromium.Tab) -> None:
    tab.run("document.querySelector('#generate').click()")
    tab.until(DONE)


def text_of(tab: chromium.Tab, selector: str) -> str:
    return str(tab.run(f"document.querySelector({selector!r}).textContent"))


def press(tab: chromium.Tab, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        tab.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)


def test_the_page_is_for_browsers_and_kserve_s_answer_for_clients(base: str) -> None:
    for accept in ("*/*", "application/json"):
        answer = httpx.get(base, headers={"Accept": accept})
        assert (answer.json(), answer.headers["vary"]) == ({"status": "alive"}, "Accept")
    page = httpx.get(base, headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text.replace('placeholder="http://127.0.0.1:8081"', ""), "nothing from elsewhere"


def test_files_are_kept_for_good_under_their_digest(base: str) -> None:
    page = httpx.get(base, headers={"Accept": "text/html"}).text
    style = page.split('stylesheet" href="')[1].split('"')[0]
    answer = httpx.get(f"{base}/{style}")
    assert answer.headers["content-type"].startswith("text/css") and "immutable" in answer.headers["cache-control"]
    assert httpx.get(f"{base}/{style.replace('page.css', 'page.html')}").status_code == 404
    assert httpx.get(f"{base}/{style.replace('page.css', '../page.css')}").status_code == 404


@pytest.mark.parametrize(
    ("other", "allowed"),
    [
        ("", "connect-src 'self';"),
        ("http://localhost:8081/serving/", "connect-src 'self' http://localhost:8081;"),
        ("https://example.org", "connect-src 'self' https://example.org;"),
        ("http://a b", "connect-src 'self';"),
        ("http://a;script-src *", "connect-src 'self';"),
        ("http://*", "connect-src 'self';"),
        ("http://a\r\nX: y", "connect-src 'self';"),
        ("http://a:99999999", "connect-src 'self';"),
        ("javascript:alert(1)", "connect-src 'self';"),
        ("http://[", "connect-src 'self';"),
    ],
)
def test_the_policy_names_the_other_server_and_nothing_else(other: str, allowed: str) -> None:
    made = policy(other)
    assert allowed in made
    assert made.count(";") == policy("").count(";")
    assert "\n" not in made and "\r" not in made


def test_other_pages_may_call_only_what_allows_them(base: str, other: str) -> None:
    for url, allowed in ((base, None), (other, base)):
        answer = httpx.get(f"{url}/v1/models", headers={"Origin": base})
        assert answer.headers.get("access-control-allow-origin") == allowed
    answer = httpx.get(f"{other}/v1/models", headers={"Origin": "http://elsewhere.example"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("content", [None, "{}", "[", '[{"prompt": 1, "continuation": "x"}]', '[{"prompt": "x"}]'])
def test_a_file_without_examples_is_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "examples.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(WorkspaceError, match="--examples") as error:
        read_examples(path)
    assert error.value.code == "serve.bad-examples"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_no_complaints_and_no_barriers(tab: chromium.Tab, base: str, other: str, scheme: str, width: int) -> None:
    """axe-core checks WCAG's A and AA rules, on the empty page and on one with answers and an error."""
    opened(tab, f"{base}/?other={other}", scheme=scheme, width=width)
    tab.run(f"{AXE}; null")
    tab.run("for (const each of document.querySelectorAll('details')) each.open = true; null")
    rules = "axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))"
    assert tab.run(rules) == []
    put(tab, prompt=HOLED)
    generate(tab)
    tab.run(
        "document.querySelectorAll('.fresh').forEach((each) => each.getAnimations().forEach((a) => a.finish())); null"
    )
    assert tab.run(rules) == []
    assert tab.complaints() == []


def test_nothing_is_wider_than_the_screen(tab: chromium.Tab, base: str, other: str) -> None:
    for width in (360, 700, 1000, 1920):
        opened(tab, f"{base}/?other={other}", width=width)
        put(tab, prompt="x" * 300 + " [[100]]")
        generate(tab)
        assert tab.run("document.documentElement.scrollWidth") <= width


def test_holes_are_slots_that_fill_and_can_be_seen_again(tab: chromium.Tab, base: str, app: FastAPI) -> None:
    opened(tab, base)
    put(tab, prompt=HOLED)
    assert tab.run("document.querySelectorAll('.canvas .mask').length") == 6, "before anything is asked"
    generate(tab)
    path, body = app.state.bodies[-1]
    assert (path, body["parts"], body["canvas"]) == (
        "/v1/infill",
        ["Once there was a ", {"hole": 6}, " on the mat."],
        True,
    )
    assert "temperature" not in body and "seed" not in body, "a field that is empty has the server's default"
    assert text_of(tab, ".canvas").replace("\u200b", "") == "Once there was a ä cat on the mat."
    cells = "[...document.querySelectorAll('.canvas .cell')]"
    assert tab.run(f"{cells}.map((c) => c.dataset.level)") == ["1", "2", "3", "4", "5", "5"]
    assert tab.run(f"{cells}[0].title") == "“ä”, 10 %, pass 3"
    figures = [text_of(tab, f".counts .{name}") for name in ("passes", "tokens", "seed")]
    assert figures == ["4", "6", "7"]
    put_range = (
        "{ const r = document.querySelector('[type=range]'); r.value = %d; r.dispatchEvent(new Event('input')); } null"
    )
    seen = []
    for count in range(5):
        tab.run(put_range % count)
        seen.append(tab.run(f"{cells}.filter((c) => !c.matches('.mask')).length"))
    assert seen == [0, 2, 3, 5, 6]
    assert text_of(tab, ".replay output") == "pass 4 of 4"
    tab.run(put_range % 0)
    tab.run("document.querySelector('.play').click()")
    tab.until("document.querySelector('.replay output').textContent === 'pass 4 of 4'")
    tab.until("document.querySelector('.play').textContent === 'Replay'")
    assert "6 tokens in 4 forward passes" in text_of(tab, "#said")
    assert tab.complaints() == []


def test_a_token_that_is_masked_again(tab: chromium.Tab, base: str) -> None:
    opened(tab, base)
    put(tab, prompt=HOLED, remask="0.2")
    generate(tab)
    assert text_of(tab, ".replay output") == "pass 5 of 5"
    assert tab.run("document.querySelector('.canvas .cell').title") == "“ä”, 10 %, pass 5"
    tab.run(
        "{ const r = document.querySelector('[type=range]'); r.value = 5; r.dispatchEvent(new Event('input')); } null"
    )
    assert text_of(tab, ".replay output") == "pass 4 of 5"
    assert tab.run("document.querySelectorAll('.canvas .mask').length") == 1


def test_the_keyboard_walks_over_tokens(tab: chromium.Tab, base: str) -> None:
    opened(tab, base)
    put(tab, prompt=HOLED)
    generate(tab)
    assert tab.run("document.querySelectorAll('.canvas [tabindex=\"0\"]').length") == 1
    tab.run("document.querySelector('.canvas [tabindex=\"0\"]').focus()")
    press(tab, "End")
    assert text_of(tab, ".detail") == "Token 6: “t”, 99.9 %, pass 1"
    press(tab, "ArrowLeft")
    assert text_of(tab, ".detail") == "Token 5: “a”, 97 %, pass 1"


def test_an_autoregressive_model_writes_beside_it(tab: chromium.Tab, base: str, other: str) -> None:
    opened(tab, f"{base}/?other={other}")
    put(tab, prompt=HOLED)
    generate(tab)
    assert tab.run("document.querySelectorAll('article').length") == 2
    second = "article[data-family=autoregressive]"
    assert "cannot see what follows a hole" in text_of(tab, f"{second} .note")
    assert text_of(tab, f"{second} .canvas") == "Once there was a  cat on the mat."
    assert (
        tab.run(f"[...document.querySelectorAll('{second} .canvas .cell')].map((c) => c.dataset.level)")
        == ["5", "1"] * 2
    )
    assert "writes no sensible text" in text_of(tab, f"{second} .small")
    assert tab.run("document.querySelector('article .small').hidden"), "14 million parameters are not small"
    assert tab.complaints() == []


def test_a_prompt_without_holes_is_continued(tab: chromium.Tab, base: str, app: FastAPI) -> None:
    opened(tab, base)
    put(tab, prompt="Once ", max_tokens="6", temperature="0.5", steps="3", order="entropy")
    generate(tab)
    path, body = app.state.bodies[-1]
    sent = {name: body[name] for name in ("prompt", "max_tokens", "temperature", "steps", "order", "canvas")}
    assert path == "/v1/completions"
    assert sent == {
        "prompt": "Once ",
        "max_tokens": 6,
        "temperature": 0.5,
        "steps": 3,
        "order": "entropy",
        "canvas": True,
    }
    assert text_of(tab, ".canvas").replace("\u200b", "") == "Once ä cat"


def test_a_hole_of_a_range_of_lengths(tab: chromium.Tab, base: str, app: FastAPI) -> None:
    opened(tab, base)
    put(tab, prompt="a [[2-6]] b")
    assert tab.run("document.querySelector('.slots').dataset.range") == "2–6"
    generate(tab)
    body = app.state.bodies[-1][1]
    assert (body["parts"], body["stream"]) == (["a ", {"hole": [2, 6]}, " b"], False)
    assert text_of(tab, ".counts .tokens") == "6", "not those of all lengths that were tried"
    assert text_of(tab, ".canvas") == "a ä cat b"
    assert tab.run("document.querySelector('.canvas .cell').title") == "“ä cat”, 90 %"


def test_an_error_is_shown_whole_and_its_field_marked(tab: chromium.Tab, base: str) -> None:
    opened(tab, base, width=400)
    put(tab, prompt=HOLED, temperature="11")
    generate(tab)
    shown = text_of(tab, "#faults")
    assert "HTTP 400, request.invalid" in shown
    assert "temperature: must be 0 to 10; correct temperature [request.invalid]" in shown
    assert tab.run("document.querySelector('[aria-invalid]').id") == "temperature"
    assert tab.run("document.querySelector('#settings').open"), "the field can be seen"
    put(tab, temperature="")
    generate(tab)
    assert text_of(tab, "#faults") == ""
    put(tab, seed="14")
    generate(tab)
    assert "the model failed" in text_of(tab, "#faults"), "an error within a stream"


def test_stop_ends_the_request(tab: chromium.Tab, base: str) -> None:
    opened(tab, base)
    put(tab, prompt=HOLED, seed="13")
    tab.run("document.querySelector('#generate').click()")
    tab.until("document.querySelectorAll('.canvas .cell:not(.mask)').length === 1")
    assert not tab.run(DONE), "still running"
    tab.run("document.querySelector('#stop').click()")
    tab.until(DONE)
    assert text_of(tab, "#said") == "Masked diffusion: stopped."
    assert text_of(tab, "#faults") == ""


def test_examples_are_held_out_text(tab: chromium.Tab, base: str) -> None:
    opened(tab, base)
    assert tab.run("document.querySelector('#prompt').value") == "He had never seen the sea [[11]] day."
    tab.run("document.querySelector('[value=continue]').click()")
    assert tab.run("document.querySelector('#prompt').value") == "He had never seen the "
    generate(tab)
    assert text_of(tab, ".truth") == "The held-out text has: sea before that day."


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "nowhere"])
def test_another_server_that_does_not_answer(tab: chromium.Tab, base: str, address: str) -> None:
    opened(tab, f"{base}/?other={address}")
    remedy = f"start it with --allow-origin {base}" if ":" in address else "is no address of a server"
    assert remedy in text_of(tab, "#faults")
    put(tab, prompt=HOLED)
    generate(tab)
    assert "6 tokens" in text_of(tab, "#said"), "this server answers none the less"


def test_a_hole_is_inserted_at_the_cursor(tab: chromium.Tab, base: str) -> None:
    opened(tab, base)
    put(tab, prompt="a b", hole="3")
    tab.run("{ const p = document.querySelector('#prompt'); p.setSelectionRange(2, 2); } null")
    tab.run("document.querySelector('#insert').click()")
    assert tab.run("document.querySelector('#prompt').value") == "a [[3]]b"
    assert tab.run("document.activeElement.id") == "prompt"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Predictors of a random checkpoint of each family; the second lets pages of the first call it."""
    folder = tmp_path_factory.mktemp("real")
    for name in ("dlm", "ar"):
        (folder / f"{name}-log").mkdir()
    examples = folder / "examples.json"
    examples.write_text('[{"prompt": "She saw ", "continuation": "a red boat sank."}]')
    dlm = write_checkpoint(folder / "dlm", causal=False)
    with predictor(dlm, folder / "dlm-log", "--examples", str(examples)) as first:
        ar = write_checkpoint(folder / "ar", causal=True)
        with predictor(ar, folder / "ar-log", "--allow-origin", first.url) as second:
            yield first.url, second.url


def test_both_families_answer_from_real_servers(tab: chromium.Tab, real: tuple[str, str]) -> None:
    dlm, ar = real
    assert httpx.get(dlm).json() == {"status": "alive"}
    opened(tab, f"{dlm}/?other={ar}")
    assert tab.run("document.querySelector('#prompt').value") == "She saw a [[8]] sank."
    put(tab, seed="0")
    generate(tab)
    first, second = (f"article[data-family='{family}']" for family in ("masked diffusion", "autoregressive"))
    for column in (first, second):
        assert text_of(tab, f"{column} .counts .tokens") == "8"
        assert text_of(tab, f"{column} .replay output") == "pass 8 of 8"
        assert text_of(tab, f"{column} .truth").endswith("red boat")
        shown = f'[...document.querySelectorAll("{column} .canvas .cell")]'
        assert tab.run(f"{shown}.length") == 8 and tab.run(f"{shown}.every((cell) => cell.dataset.level)")
    assert text_of(tab, f"{first} .canvas").endswith(".") and tab.run("document.querySelectorAll('.mask').length") == 1
    assert "c/a/seed-0" in text_of(tab, f"{first} .card") and "sha256:" in text_of(tab, f"{first} .card")
    put(tab, prompt="She saw [[2-3]] and [[2]].", confidence_threshold="0.5", block_length="2", cache="dual")
    generate(tab)
    assert text_of(tab, f"{first} .counts .tokens") in ("4", "5")
    put(tab, prompt="She saw ", max_tokens="8", temperature="0", steps="2", confidence_threshold="")
    generate(tab)
    assert text_of(tab, f"{first} .counts .tokens") == "8"
    assert text_of(tab, "#faults") == ""
    assert tab.complaints() == []


def test_a_real_server_s_errors_are_shown(tab: chromium.Tab, real: tuple[str, str]) -> None:
    opened(tab, real[0])
    put(tab, prompt="x" * 100)
    generate(tab)
    assert "context_length_exceeded" in text_of(tab, "#faults") and "32 tokens" in text_of(tab, "#faults")
    put(tab, prompt="x", top_p="0")
    generate(tab)
    assert tab.run("document.querySelector('[aria-invalid]').id") == "top_p"
