"""`crossover promote --kubernetes` and `crossover rollback`, in a process of their own."""

from __future__ import annotations

import argparse
import json
import re
import sys

import yaml
from crossover_cluster.inference_service import Served
from crossover_cluster.promotion import planned_manifest, promote_to_kserve, roll_back
from crossover_cluster.promotion_records import EndpointRecord, PromotionOptions

from crossover.commands.command_options import registry_of, study_of, workspace_of
from crossover.commands.stage_commands import ANALYSIS, handed
from crossover.errors import ClusterError
from crossover.failures import exit_code_of
from crossover.registry import open_registry
from crossover.stages.promote_stage import planned_deployment, promote_stage
from crossover.stages.stage_manifests import AnalysisRef
from crossover.stages.study_context import open_study
from crossover.termination import terminable


def main() -> int:
    """The verb that the only argument names, with its options as JSON."""
    return exit_code_of(_run)


def _run() -> int:
    values = argparse.Namespace(**json.loads(sys.argv[1]))
    with terminable():
        return _roll_back(values) if values.verb == "rollback" else _promote(values)


def _promote(values: argparse.Namespace) -> int:
    study, options = study_of(values), _options(values)
    endpoint = values.endpoint or default_endpoint(study.name)
    with open_study(study, workspace_of(values, study), registry_of(values)) as context:
        analysis = handed(context, AnalysisRef, ANALYSIS)
        if values.dry_run:
            served = Served.of(planned_deployment(context, analysis), study.name)
            print(yaml.safe_dump(planned_manifest(served, endpoint, options), sort_keys=False), end="")
            return 0
        print(_told(promote_to_kserve(context, promote_stage(context, analysis), endpoint, options)))
    return 0


def _roll_back(values: argparse.Namespace) -> int:
    if not (values.study or values.endpoint):
        raise ClusterError(
            "promotion.no-endpoint",
            field="STUDY",
            problem="neither a study nor an endpoint is named",
            remedy="name the study, or the InferenceService with --endpoint",
        )
    study = study_of(values).name if values.study else ""
    with open_registry(registry_of(values)) as registry:
        print(_told(roll_back(registry, study, values.endpoint or default_endpoint(study), _options(values))))
    return 0


def _options(values: argparse.Namespace) -> PromotionOptions:
    return PromotionOptions(
        namespace=values.namespace or "",
        replicas=getattr(values, "replicas", None),
        canary=getattr(values, "canary", None),
        force_conflicts=values.force_conflicts,
    )


def default_endpoint(study: str) -> str:
    """A study's name as that of an InferenceService."""
    name = re.sub(r"[^a-z0-9]+", "-", study.lower()).strip("-")[:40].rstrip("-")
    return name if name[:1].isalpha() else f"study-{name}".rstrip("-")


def _told(done: EndpointRecord) -> str:
    lines = [
        f"{done.name} in {done.namespace}: revision {done.revision}{'' if done.changed else ', unchanged'}, "
        f"{done.traffic} % of the traffic",
        f"checkpoint {done.uri} ({done.digest})",
        f"endpoint {done.url}",
    ]
    for name, measured in (("stable", done.stable), ("canary", done.canary)):
        if measured:
            lines.append(
                f"{name}: {measured.errors} of {measured.requests} requests failed, "
                f"p50 {measured.p50_seconds:.3f} s, p95 {measured.p95_seconds:.3f} s"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
