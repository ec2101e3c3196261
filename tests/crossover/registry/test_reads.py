"""What pages read, on both databases: the right records, of the namespaces given, in a fixed number of statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from crossover.errors import RegistryError
from crossover.registry import MetricDef, Registry
from crossover.registry.reads.data_and_deployments import datasets, deployments
from crossover.registry.reads.run_detail import item_scores, run_detail
from crossover.registry.reads.study_list import list_studies
from crossover.registry.reads.study_results import (
    analysis_result,
    newest_analyses,
    require_analysis,
    study_runs,
)
from crossover.registry.reads.study_revisions import study_revisions, verdict_changes
from crossover.registry.reads.thin_curves import thin_curves
from tests.services import registry_samples as samples
from tests.services.registry_samples import CELL, HOSTILE, Clock

ALL = None
OTHER = ["team-b"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def team(url: str, clock: Clock) -> Iterator[Registry]:
    """A registry with three studies in two namespaces."""
    with Registry.open(url, clock=clock) as opened:
        samples.finished(opened, clock, long=12)
        samples.finished(opened.within("team-a"), clock, HOSTILE, long=12)
        samples.being_run(opened, clock)
        yield opened


@contextmanager
def statements(registry: Registry) -> Iterator[list[str]]:
    """The SELECTs that are executed meanwhile."""
    seen: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        if statement.lstrip().upper().startswith(("SELECT", "WITH")):
            seen.append(statement)

    event.listen(registry._engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(registry._engine, "before_cursor_execute", note)


def test_a_study_is_listed_once_with_its_current_revision(team: Registry) -> None:
    found = list_studies(team, ALL)
    assert [(s.namespace, s.name, s.status) for s in found.studies] == [
        ("default", "live", "running"),
        ("team-a", HOSTILE, "done"),
        ("default", "demo", "done"),
    ]
    demo = found.studies[-1]
    assert (demo.runs, demo.done, demo.lost) == (10, 10, 0)
    assert demo.digest == samples.digest("second demo")
    (headline,) = demo.headlines
    assert (headline.cell, headline.verdict["outcome"], headline.earlier_revision) == (CELL, "crossover", False)
    live = found.studies[0]
    assert (live.runs, live.done, live.running, live.lost, live.headlines) == (4, 2, 1, 1, ())


def test_a_new_revision_shows_the_verdict_of_the_one_before(team: Registry, clock: Clock) -> None:
    clock.pass_seconds(60)
    team.register_study(name="demo", digest="sha256:third", config=samples.config("demo", seeds=8))
    (demo,) = list_studies(team, ALL, search="demo").studies
    assert demo.digest == "sha256:third"
    assert [h.earlier_revision for h in demo.headlines] == [True]


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("", ["live", HOSTILE, "demo"]),
        ("PYTHON dlm", ["demo"]),
        ("worth", ["live"]),
        ("<script>", [HOSTILE]),
        ("100%", []),
        ("_", []),
        (samples.digest("second demo")[:20], ["demo"]),
    ],
)
def test_search_takes_words_literally(team: Registry, search: str, names: list[str]) -> None:
    assert [s.name for s in list_studies(team, ALL, search=search).studies] == names


def test_filters_orders_and_pages(team: Registry) -> None:
    assert [s.name for s in list_studies(team, ALL, status="running").studies] == ["live"]
    assert list_studies(team, ALL, status="lost").studies == ()
    assert [s.name for s in list_studies(team, ALL, sort="name").studies] == [HOSTILE, "demo", "live"]
    assert [s.name for s in list_studies(team, ALL, sort="oldest", limit=1, offset=1).studies] == [HOSTILE]
    assert list_studies(team, ALL, limit=1).total == 3


def test_a_silent_study_has_lost_runs(team: Registry, clock: Clock) -> None:
    clock.pass_seconds(121)
    (live,) = list_studies(team, ALL, status="lost").studies
    assert (live.running, live.lost) == (0, 2)


def test_other_namespaces_are_not_read(team: Registry) -> None:
    run = study_runs(team, ALL, study_revisions(team, ALL, "default", "demo").chosen.id)[0]
    (head,) = newest_analyses(team, ALL, study_revisions(team, ALL, "default", "demo").chosen.id)
    study = study_revisions(team, ALL, "default", "demo").chosen.id
    assert list_studies(team, OTHER).total == 0
    assert [s.namespace for s in list_studies(team, ["team-a"]).studies] == ["team-a"]
    assert study_runs(team, OTHER, study) == ()
    assert newest_analyses(team, OTHER, study) == ()
    assert verdict_changes(team, OTHER, "default", "demo") == ()
    assert thin_curves(team, OTHER, [run.id], ["training_loss"]) == ()
    assert item_scores(team, OTHER, run.id, "domain-cloze") == (0, {})
    assert datasets(team, OTHER) == ((), 0)
    assert deployments(team, OTHER) == ((), 0)
    for read in (
        lambda: study_revisions(team, OTHER, "default", "demo"),
        lambda: run_detail(team, OTHER, run.digest),
        lambda: run_detail(team, OTHER, str(run.id)),
        lambda: require_analysis(team, [], head.digest),
        lambda: analysis_result(team, [], head.digest),
    ):
        with pytest.raises(RegistryError, match="is not in the registry"):
            read()


def test_revisions_share_runs(team: Registry) -> None:
    found = study_revisions(team, ALL, "default", "demo")
    assert [r.digest for r in found.all] == [samples.digest("second demo"), samples.digest("first demo")]
    assert found.all[1].runs < found.chosen.runs
    bare = samples.digest("first demo").removeprefix("sha256:")
    assert study_revisions(team, ALL, "default", "demo", bare[:12]).chosen is not found.chosen
    with pytest.raises(RegistryError, match=r"registry\.unknown-revision"):
        study_revisions(team, ALL, "default", "demo", "zzz")


def test_a_changed_verdict_is_in_the_history_and_an_equal_one_is_not(team: Registry) -> None:
    changes = verdict_changes(team, ALL, "default", "demo")
    changed = [c for c in changes if c.before is not None]
    (only,) = changed
    assert only.before is not None and only.before.after["outcome"] == "insufficient evidence"
    assert only.after["outcome"] == "crossover"
    assert only.study_digest == samples.digest("second demo")
    assert len(changes) == 13, "twelve verdicts of the first analysis, and the change"


def test_progress_of_runs(team: Registry) -> None:
    study = study_revisions(team, ALL, "default", "live").chosen.id
    runs = {(r.arm, r.seed): r for r in study_runs(team, ALL, study)}
    assert {key: (r.status, r.step, r.attempts, r.lost_attempts) for key, r in runs.items()} == {
        ("ar", 0): ("done", 640, 1, 0),
        ("ar", 1): ("lost", 199, 1, 1),
        ("dlm", 0): ("done", 640, 1, 0),
        ("dlm", 1): ("running", 379, 2, 0),
    }
    assert runs["dlm", 1].seconds == pytest.approx(379 * 0.05)
    assert runs["dlm", 0].checkpoint


def test_superseded_points_do_not_count(team: Registry, clock: Clock) -> None:
    study = study_revisions(team, ALL, "default", "live").chosen.id
    run = next(r for r in study_runs(team, ALL, study) if (r.arm, r.seed) == ("dlm", 1))
    samples.begin(team, run.digest, step=90)
    (after,) = (r for r in study_runs(team, ALL, study) if r.id == run.id)
    assert after.step == 88
    (curve,) = thin_curves(team, ALL, [run.id], ["training_loss"], most=500)
    assert curve.steps[-1] == 88


def test_curves_are_thinned_by_means(team: Registry) -> None:
    study = study_revisions(team, ALL, "default", "live").chosen.id
    run = next(r for r in study_runs(team, ALL, study) if r.status == "done" and r.arm == "ar")
    (whole,) = thin_curves(team, ALL, [run.id], ["training_loss"], most=1000)
    (thin,) = thin_curves(team, ALL, [run.id], ["training_loss"], most=20)
    assert (len(whole.steps), whole.points, len(thin.steps), thin.points) == (214, 214, 20, 214)
    assert thin.steps[-1] == whole.steps[-1]
    assert thin.values[-1] == pytest.approx(sum(whole.values[-10:]) / 10)


def test_points_that_are_no_numbers_are_left_out(team: Registry) -> None:
    study = study_revisions(team, ALL, "default", "demo").chosen.id
    run = study_runs(team, ALL, study)[0]
    odd = MetricDef("odd", "1", "none", "none")
    values = samples.points(range(1, 4), "ar", 0)
    team.record_points(
        run.digest, odd, [type(p)(**{**vars(p), "value": float("nan")}) if p.step == 2 else p for p in values]
    )
    (curve,) = thin_curves(team, ALL, [run.id], ["odd"])
    assert curve.steps == (1, 3)


def test_a_run_by_digest_prefix_and_id(team: Registry) -> None:
    study = study_revisions(team, ALL, "default", "demo").chosen
    run = study_runs(team, ALL, study.id)[0]
    for name in (run.digest, run.digest.removeprefix("sha256:")[:12], str(run.id)):
        assert run_detail(team, ALL, name).run.id == run.id
    detail = run_detail(team, ALL, run.digest)
    assert [c.step for c in detail.checkpoints] == [320, 640]
    assert {s.name for s in detail.series} == {"training_loss", "validation_bpb"}
    assert [u.name for u in detail.studies] == ["demo", "demo"]
    for name in ("sha256:%", "12345678", "x", "9" * 40):
        with pytest.raises(RegistryError, match=r"registry\.unknown-run"):
            run_detail(team, ALL, name)


def test_deployments_say_which_is_current(team: Registry) -> None:
    found, total = deployments(team, ALL, study=("default", "demo"))
    assert (total, [d.current for d in found]) == (2, [True, False])
    assert deployments(team, ALL, search="first")[1] == 2


def test_datasets_of_a_revision(team: Registry) -> None:
    study = study_revisions(team, ALL, "default", "demo").chosen
    found, total = datasets(team, ALL, study=study.id)
    assert (total, found[0].study_digest, found[0].manifest["documents"]) == (1, study.digest, 534)


def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(team: Registry, clock: Clock) -> None:
    study = study_revisions(team, ALL, "default", "demo").chosen.id
    with statements(team) as few:
        list_studies(team, ALL)
        study_runs(team, ALL, study)
    for i in range(20):
        team.register_study(name=f"s{i}", digest=f"sha256:{i}", config=samples.config("demo"))
    for seed in range(20, 26):
        samples.train(team, samples.digest("second demo"), "demo", "ar", seed, range(1, 5))
    with statements(team) as many:
        assert list_studies(team, ALL).total == 23
        assert len(study_runs(team, ALL, study)) == 16
    assert len(few) == len(many) == 7
