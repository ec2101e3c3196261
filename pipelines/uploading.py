"""`crossover upload`: the pipeline in Kubeflow Pipelines, as a version that its content names."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import kfp_server_api
from crossover_pipelines.cluster_profile import ClusterProfile, profile_of
from crossover_pipelines.command_options import Options, host_of, options_of
from crossover_pipelines.compiling import compile_study
from crossover_pipelines.crossover_study.pipeline import DESCRIPTION, NAME
from crossover_pipelines.kfp_api import KfpApi, exists_already

from crossover.failures import exit_code_of

PAGE = 100


class Uploaded(NamedTuple):
    """A version of the pipeline in Kubeflow Pipelines."""

    pipeline_id: str
    version_id: str
    version: str
    is_new: bool


def version_name(text: str) -> str:
    """The name of a version: the SHA-256 of its YAML, shortened."""
    return f"{NAME}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def upload(api: KfpApi, profile: ClusterProfile, namespace: str | None = None) -> Uploaded:
    """Compile and upload the pipeline; what is there already stays as it is.

    Args:
        api: a connection.
        profile: of the cluster.
        namespace: where the deployment has many users; None where it has none.

    Raises:
        PipelinesError: the server refuses, or does not answer.
    """
    text = compile_study(profile)
    name = version_name(text)
    pipeline = _pipeline_id(api, namespace)
    found = _version_id(api, pipeline, name)
    if found:
        return Uploaded(pipeline, found, name, is_new=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crossover_study.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            version = api.ask(
                "uploading the pipeline",
                api.uploads.upload_pipeline_version,
                str(path),
                name=name,
                pipelineid=pipeline,
                description=DESCRIPTION,
            )
        except kfp_server_api.ApiException as error:
            found = _version_id(api, pipeline, name) if exists_already(error) else ""
            if not found:
                raise api.refusal("uploading the pipeline", error) from error
            return Uploaded(pipeline, found, name, is_new=False)
    return Uploaded(pipeline, str(version.pipeline_version_id), name, is_new=True)


def _pipeline_id(api: KfpApi, namespace: str | None) -> str:
    """The pipeline's ID; it is created if it is not there."""
    body = kfp_server_api.V2beta1Pipeline(display_name=NAME, name=NAME, description=DESCRIPTION, namespace=namespace)
    for create in (True, False):
        try:
            by_name = api.pipelines.pipeline_service_get_pipeline_by_name
            return str(api.ask("finding the pipeline", by_name, NAME, namespace=namespace).pipeline_id)
        except kfp_server_api.ApiException as error:
            if error.status != 404 or not create:
                raise api.refusal("finding the pipeline", error) from error
        try:
            created = api.ask("creating the pipeline", api.pipelines.pipeline_service_create_pipeline, body)
            return str(created.pipeline_id)
        except kfp_server_api.ApiException as error:
            if not exists_already(error):
                raise api.refusal("creating the pipeline", error) from error
    raise AssertionError


def _version_id(api: KfpApi, pipeline: str, name: str) -> str:
    """ID of the version of a name; empty where there is none."""
    page = None
    while True:
        list_versions = api.pipelines.pipeline_service_list_pipeline_versions
        answer = api.ask("listing versions", list_versions, pipeline, page_size=PAGE, page_token=page)
        for version in answer.pipeline_versions or ():
            if name in (version.display_name, version.name):
                return str(version.pipeline_version_id)
        page = answer.next_page_token
        if not page:
            return ""


def main(options: Options) -> int:
    """Upload, and print the version."""
    done = upload(KfpApi(host_of(options), options.path("token_file")), profile_of(options), options.text("namespace"))
    print(f"{done.version} ({'uploaded' if done.is_new else 'was there already'})")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(lambda: main(options_of(sys.argv))))
