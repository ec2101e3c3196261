"""A checkpoint gets onto an endpoint, alone or as a canary first; what fails is taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from crossover_cluster.canary_support import drop_autoscaler, require_canary, worse
from crossover_cluster.endpoint import Channel, measure, open_channel, served_digest, try_requests, url_of
from crossover_cluster.inference_service import CANARY, Served, canary_of, kept_study, manifest, replicas_of, served_by
from crossover_cluster.kubernetes_api import Cluster, Json
from crossover_cluster.promotion_records import EndpointRecord, Measured, PromotionOptions
from crossover_cluster.rollout import Seen, failure, model_progress, progress, stuck
from crossover_cluster.server_side_apply import apply_service, read_service

from crossover.errors import ClusterError

POLL_SECONDS = 2.0
_ASKED = 3
"""Times that each pod is asked, on average, which checkpoint it serves."""


@dataclass
class EndpointRollout:
    """One endpoint, and how it is changed.

    Args:
        cluster: the connection.
        name: of the InferenceService.
        options: how.
        reach: opens a channel to a predictor by its URL; replaced in tests.
        now: a clock in seconds.
    """

    cluster: Cluster
    name: str
    options: PromotionOptions
    reach: Callable[[Cluster, str], Channel] = open_channel
    now: Callable[[], float] = time.monotonic
    _measured: list[Measured] = field(default_factory=list, init=False)

    def serve(self, served: Served) -> EndpointRecord:
        """Serve a checkpoint, and return once the endpoint says that it does; a second call changes nothing.

        Raises:
            ClusterError: refused by the cluster, or not served within the deadline, or worse as a canary; what was
                served before is served on.
        """
        live = read_service(self.cluster, self.name)
        before, served = (served_by(live) if live else None), kept_study(served, live)
        replicas = replicas_of(live, self.options.replicas)
        canary = canary_of(live) if live else None
        if self.options.canary is not None and not (before and before.digest == served.digest):
            canary = (served, self.options.canary)
            self._try_canary(live, before, replicas, canary)
        try:
            done = self._replace(live, served, replicas, canary)
        except ClusterError as error:
            self._take_back(error, before, served, replicas)
            raise
        return self._record(done, served, changed=live is None or _revision(live) != _revision(done))

    def planned(self, served: Served, live: Json | None = None) -> Json:
        """The manifest that `serve` applies."""
        served, replicas = kept_study(served, live), replicas_of(live, self.options.replicas)
        before = served_by(live) if live else None
        if self.options.canary is not None and before and before.digest != served.digest:
            canary = (served, self.options.canary)
            return manifest(self.name, self.cluster.namespace, before, replicas=replicas, canary=canary)
        return manifest(self.name, self.cluster.namespace, served, replicas=replicas)

    def _replace(self, live: Json | None, served: Served, replicas: int, canary: tuple[Served, int] | None) -> Json:
        """Change the stable predictor; only then drop a canary, whose Service may have clients until then."""
        done = self._apply(served, replicas, canary)
        self._wait(f"{self.name}-predictor", served, live, done)
        self._ask(done, f"{self.name}-predictor", served, replicas)
        if canary:
            done = self._drop_canary(served, replicas)
        return done

    def _try_canary(self, live: Json | None, before: Served | None, replicas: int, canary: tuple[Served, int]) -> None:
        require_canary(self.cluster)
        if live is None or before is None:
            raise ClusterError(
                "promotion.no-stable",
                field="--canary",
                problem=f"the endpoint {self.name} serves nothing yet that a canary could be compared with"
                if live is None
                else f"the endpoint {self.name} was not made by a promotion",
                remedy="promote without --canary first",
            )
        predictor = f"{self.name}-{CANARY}-predictor"
        try:
            done = self._apply(before, replicas, canary)
            self._wait(predictor, canary[0], live, done)
            sends = [self._ask(done, f"{self.name}-predictor", before, replicas)]
            sends.append(self._ask(done, predictor, canary[0], 1))
            self._measured = measure(sends, self.name)
            if problem := worse(*self._measured):
                raise ClusterError(
                    "promotion.canary-worse",
                    field=f"canary of {self.name}",
                    problem=problem,
                    remedy="the endpoint serves what it did before; look at the log of the canary's pod, give it more "
                    "CPU, or promote without --canary",
                )
        except ClusterError:
            self._drop_canary(before, replicas)
            raise

    def _apply(self, served: Served, replicas: int, canary: tuple[Served, int] | None = None) -> Json:
        desired = manifest(self.name, self.cluster.namespace, served, replicas=replicas, canary=canary)
        return apply_service(self.cluster, desired, force=self.options.force_conflicts, now=self.now)

    def _drop_canary(self, served: Served, replicas: int) -> Json:
        done = self._apply(served, replicas)
        drop_autoscaler(self.cluster, f"{self.name}-{CANARY}-predictor")
        return done

    def _take_back(self, error: ClusterError, before: Served | None, served: Served, replicas: int) -> None:
        """Let the endpoint go on with what it served, in its specification too; a conflict has changed nothing."""
        if before and before.digest != served.digest and error.code == "promotion.load-failed":
            self._apply(before, replicas)
            error.add_remedy(f"its specification is again that of {before.run}, step {before.step}")

    def _wait(self, predictor: str, served: Served, live: Json | None, done: Json) -> None:
        """Until every pod of a predictor loads from the checkpoint's URI and is available.

        Raises:
            ClusterError: there is no use in waiting, or the deadline has passed.
        """
        began, stable = self.now(), predictor == f"{self.name}-predictor"
        changed = live is None or _revision(live) != _revision(done)
        before = Seen(live, None, ()).failure_info if live and changed else None
        while True:
            seen = self._look(predictor)
            waited = self.now() - began
            if not progress(seen, served.uri) and not (stable and model_progress(seen, before)):
                return
            if found := failure(seen, served.uri, before=before, waited=waited):
                raise found
            if waited > self.options.deadline_seconds:
                raise ClusterError(
                    "promotion.load-timeout",
                    field=f"endpoint {self.name}",
                    problem=f"does not serve the checkpoint after {waited:.0f} s ({stuck(seen, served.uri)})",
                    remedy="look at its pods with kubectl describe; a retry of this promotion goes on waiting",
                )
            self.cluster.pause(POLL_SECONDS)

    def _look(self, predictor: str) -> Seen:
        namespace = self.cluster.namespace
        service = read_service(self.cluster, self.name)
        deployment = self.cluster.get(
            f"/apis/apps/v1/namespaces/{namespace}/deployments/{predictor}", doing=f"get deployments.apps {predictor}"
        )
        pods = self.cluster.get(
            f"/api/v1/namespaces/{namespace}/pods",
            doing="list pods",
            query={"labelSelector": f"serving.kserve.io/inferenceservice={self.name}"},
        )
        if service is None:
            raise ClusterError(
                "promotion.deleted",
                field=f"endpoint {self.name}",
                problem="somebody has deleted the InferenceService during the promotion",
                remedy="promote again",
            )
        return Seen(service, deployment, (pods or {}).get("items") or ())

    def _ask(self, service: Json, predictor: str, served: Served, replicas: int) -> Channel:
        """Ask the endpoint itself which checkpoint it serves, then try it.

        Raises:
            ClusterError: it does not answer, or serves another one.
        """
        service = read_service(self.cluster, self.name) or service
        url = url_of(service, self.cluster.namespace, predictor)
        send, until, said = self.reach(self.cluster, url), self.now() + 60.0, ""
        agreed = 0
        while agreed < _ASKED * replicas:
            try:
                said = served_digest(send)
                agreed = agreed + 1 if said == served.digest else 0
            except (OSError, LookupError, TypeError) as error:
                said, agreed = str(error), 0
            if agreed == 0:
                if self.now() > until:
                    raise _other_checkpoint(url, served, said)
                self.cluster.pause(POLL_SECONDS)
        try_requests(send, self.name)
        return send

    def _record(self, done: Json, served: Served, *, changed: bool) -> EndpointRecord:
        live = read_service(self.cluster, self.name) or done
        stable, canary = self._measured or (None, None)
        return EndpointRecord(
            namespace=self.cluster.namespace,
            name=self.name,
            url=url_of(live, self.cluster.namespace, f"{self.name}-predictor"),
            uid=live["metadata"]["uid"],
            revision=_revision(live),
            uri=served.uri,
            digest=served.digest,
            traffic=100,
            changed=changed,
            stable=stable,
            canary=canary,
        )


def _revision(service: Json) -> int:
    return int(service["metadata"].get("generation", 0))


def _other_checkpoint(url: str, served: Served, said: str) -> ClusterError:
    if said and not said.startswith("sha256:"):
        return ClusterError(
            "promotion.no-answer",
            field=url,
            problem=f"does not answer: {said}",
            remedy="let the network policy admit this pod to the predictor; from outside this needs the right "
            "to services/proxy",
        )
    return ClusterError(
        "promotion.other-checkpoint",
        field=url,
        problem=f"serves {said or 'a checkpoint that it does not name'}, and {served.digest} was promoted",
        remedy="see whether somebody else changes the endpoint, and whether the predictor's image is of this version",
    )
