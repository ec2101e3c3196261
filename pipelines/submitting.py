"""`crossover submit`: a study as a run in Kubeflow Pipelines, followed to its end."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass

import kfp_server_api
from crossover_pipelines.cluster_profile import ClusterProfile, profile_of
from crossover_pipelines.command_options import Options, host_of, options_of
from crossover_pipelines.kfp_api import KfpApi, exists_already
from crossover_pipelines.run_following import Follower, warn_detached
from crossover_pipelines.uploading import PAGE, Uploaded, upload

from crossover.errors import PipelinesError
from crossover.failures import exit_code_of
from crossover.stages.pipeline_stage import check_gpu_steps, check_parameters, refuse_password
from crossover.stages.run_selection import selected_runs
from crossover.stages.shard_stage import check_shards
from crossover.stages.study_text import encoded_study
from crossover.study.study_config import StudyConfig

ALIVE = ("PENDING", "RUNNING", "PAUSED", "CANCELING", "RUNTIME_STATE_UNSPECIFIED", None)


@dataclass(frozen=True)
class Submission:
    """A study and the parameters of its run."""

    study: StudyConfig
    parameters: dict[str, str | int]
    experiment: str
    namespace: str | None
    service_account: str

    @property
    def name(self) -> str:
        """Of the run: the study's, and a digest of all parameters, by which a second `submit` finds the first."""
        digest = hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()
        return f"{self.study.name} {digest[:10]}"


def submission_of(options: Options, profile: ClusterProfile) -> Submission:
    """Check everything that can be checked on this machine.

    Raises:
        StudyError: the study or a parameter is wrong.
        PipelinesError: the workspace is a folder, which pods do not share.
    """
    text = options.values["study"]
    promotion, seeds, runs = options.values["promote"], options.values["seeds_per_task"], options.text("runs") or ""
    study = check_parameters(text, promotion, seeds, runs)
    check_shards(options.values["data_shards"])
    check_gpu_steps(study, ",".join(profile.gpu_steps), in_pods=True)
    workspace = options.text("out") or f"{profile.workspace.rsplit('/', 1)[0]}/{study.name}"
    if not workspace.startswith("s3://"):
        raise PipelinesError(
            "pipelines.local-workspace",
            field="--out",
            problem=f"{workspace!r} is a folder, and every pod has a disk of its own",
            remedy="give s3://bucket/prefix",
        )
    registry = options.text("registry") or profile.registry
    refuse_password(registry)
    parameters: dict[str, str | int] = {
        **{"study": encoded_study(study), "workspace": workspace, "registry": registry},
        **{"endpoint": options.text("endpoint") or profile.endpoint, "promotion": promotion},
        **{"seeds_per_task": seeds, "runs": runs, "data_shards": options.values["data_shards"]},
    }
    return Submission(
        study=study,
        parameters=parameters,
        experiment=options.text("experiment") or "crossover",
        namespace=options.text("namespace"),
        service_account=profile.service_account,
    )


def submit(api: KfpApi, work: Submission, version: Uploaded) -> tuple[str, bool]:
    """Start the run, unless one of the same parameters is alive.

    Returns:
        ID of the run, and whether it is new.

    Raises:
        PipelinesError: the server refuses, or does not answer.
    """
    experiment = _experiment_id(api, work)
    if found := _alive_run(api, experiment, work):
        return found, False
    body = kfp_server_api.V2beta1Run(
        display_name=work.name,
        description=work.study.question,
        experiment_id=experiment,
        pipeline_version_reference=kfp_server_api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=kfp_server_api.V2beta1RuntimeConfig(parameters=work.parameters),
        service_account=work.service_account or None,
    )
    try:
        run = api.ask("starting the run", api.runs.run_service_create_run, body, experiment_id=experiment)
    except kfp_server_api.ApiException as error:
        raise api.refusal("starting the run", error) from error
    return str(run.run_id), True


def _experiment_id(api: KfpApi, work: Submission) -> str:
    body = kfp_server_api.V2beta1Experiment(display_name=work.experiment, namespace=work.namespace)
    try:
        if found := _experiment(api, work):
            return found
        create = api.experiments.experiment_service_create_experiment
        try:
            return str(api.ask("creating the experiment", create, body).experiment_id)
        except kfp_server_api.ApiException as error:
            if not exists_already(error) or not (found := _experiment(api, work)):
                raise
            return found
    except kfp_server_api.ApiException as error:
        raise api.refusal("finding the experiment", error) from error


def _experiment(api: KfpApi, work: Submission) -> str:
    """ID of the experiment; empty where there is none."""
    equals = {"key": "display_name", "operation": "EQUALS", "stringValue": work.experiment}
    answer = api.ask(
        "finding the experiment",
        api.experiments.experiment_service_list_experiments,
        filter=json.dumps({"predicates": [equals]}),
        namespace=work.namespace,
    )
    return next((str(found.experiment_id) for found in answer.experiments or ()), "")


def _alive_run(api: KfpApi, experiment: str, work: Submission) -> str:
    """ID of a run with the same name that has not ended; empty where there is none."""
    equals = {"key": "name", "operation": "EQUALS", "stringValue": work.name}
    try:
        answer = api.ask(
            "listing runs",
            api.runs.run_service_list_runs,
            experiment_id=experiment,
            filter=json.dumps({"predicates": [equals]}),
            sort_by="created_at desc",
            page_size=PAGE,
        )
    except kfp_server_api.ApiException as error:
        raise api.refusal("listing runs", error) from error
    runs = (run for run in answer.runs or () if run.display_name == work.name and run.state in ALIVE)
    return next((str(run.run_id) for run in runs), "")


def main(options: Options) -> int:
    """Upload the pipeline if it is not there, start the run, and follow it."""
    profile = profile_of(options)
    work = submission_of(options, profile)
    api = KfpApi(host_of(options), options.path("token_file"))
    version = upload(api, profile, work.namespace)
    run_id, is_new = submit(api, work, version)
    print(f"run {work.name!r} {'started' if is_new else 'is running already'}: {api.host}/#/runs/details/{run_id}")
    print(f"workspace {work.parameters['workspace']}, pipeline {version.version}", flush=True)
    if not options.values["follow"]:
        return 0
    runs = len(selected_runs(work.study, str(work.parameters["runs"])))
    groups = -(-runs // int(work.parameters["seeds_per_task"]))
    try:
        Follower(api, run_id, groups).follow()
    except KeyboardInterrupt:
        warn_detached(api, run_id)
        return 130
    print(f"done; `crossover report {work.parameters['workspace']}` writes the report")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(options_of(sys.argv))))
