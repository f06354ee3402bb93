"""A Prefect work pool of the user's: shards are submitted to it as runs of one deployment.

The server is the one that is configured, never a private one, which would end with this process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from flows.server import check_proxies
from flows.settings import ServerFailed, read_settings
from scene.errors import BadInput
from scene.proxies import through_proxy

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ENTRYPOINT = "flows.batch_shard.batch_shard"  # a module: every machine has its own installation
TAG = "photoscene"
TIMEOUT_S = 20
PAGE = 200  # runs in one answer of the server
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
UNFIT = {
    "prefect-agent": "agents are no more",
    "prefect:managed": "its machines see no folder of yours",
}
# A client gives up after about a minute, and would leave a run that has ended without its state.
JOB_VARIABLES = {"env": {"PREFECT_CLIENT_MAX_RETRIES": "8"}}


class RunState(NamedTuple):
    """type: as of Prefect, "RUNNING" or "CRASHED" say; message: why."""

    type: str
    message: str

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of the run."""
        return self.type in ENDED


class Pool:
    """A work pool and our deployment in it. Methods raise ServerFailed where the server is away."""

    ends_with_command = False

    def __init__(self, name: str, url: str) -> None:
        self.name, self._url = name, url
        with self._client() as client:
            self.kind, self.is_paused = _checked_pool(client, name)
            self._deployment = _deployment(client, name)

    def submit(self, shard: Path, name: str, key: str) -> str:
        """Submit a shard's file as a run; returns the run's id. The same key submits once."""
        with self._client() as client:
            run = client.create_flow_run_from_deployment(
                self._deployment, parameters={"shard": str(shard), "name": name},
                name=name, tags=[TAG], idempotency_key=key,
            )  # fmt: skip
        return str(run.id)

    def states(self, runs: Sequence[str]) -> dict[str, RunState]:
        """The states of runs by id; one that was deleted counts as cancelled."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        found = dict.fromkeys(runs, RunState("CANCELLED", "its run was deleted"))
        with self._client() as client:
            for start in range(0, len(runs), PAGE):
                ids = [UUID(run) for run in runs[start : start + PAGE]]
                chosen = FlowRunFilter(id=FlowRunFilterId(any_=ids))
                for run in client.read_flow_runs(flow_run_filter=chosen, limit=PAGE):
                    if run.state:
                        kind = run.state.type.value
                        found[str(run.id)] = RunState(
                            kind, run.state.message or run.state.name or ""
                        )
        return found

    def open_runs(self, folder: Path) -> dict[Path, str]:
        """The runs that have not ended of shards' files in a folder, by file."""
        from prefect.client.schemas.filters import (
            DeploymentFilter,
            DeploymentFilterId,
            FlowRunFilter,
            FlowRunFilterState,
            FlowRunFilterStateType,
        )
        from prefect.client.schemas.objects import StateType

        types = [kind for kind in StateType if kind.value not in ENDED]
        is_open = FlowRunFilterState(type=FlowRunFilterStateType(any_=types))
        ours = DeploymentFilter(id=DeploymentFilterId(any_=[self._deployment]))
        found, offset = {}, 0
        with self._client() as client:
            while True:
                runs = client.read_flow_runs(
                    deployment_filter=ours, flow_run_filter=FlowRunFilter(state=is_open),
                    limit=PAGE, offset=offset,
                )  # fmt: skip
                for run in runs:
                    path = Path(str(run.parameters.get("shard", "")))
                    if path.parent == folder:
                        found[path] = str(run.id)
                if len(runs) < PAGE:
                    return found
                offset += PAGE

    def cancel(self, run: str) -> None:
        """Cancel a run: one that has begun is stopped by its worker."""
        from prefect.states import Cancelled, Cancelling

        with self._client() as client:
            state = client.read_flow_run(UUID(run)).state
            begun = state is not None and (state.is_pending() or state.is_running())
            client.set_flow_run_state(UUID(run), Cancelling() if begun else Cancelled())

    def give_up(self, run: str, why: str) -> None:
        """Let a run count as crashed: its machine is gone, and cannot say so."""
        from prefect.states import Crashed

        with self._client() as client:
            client.set_flow_run_state(UUID(run), Crashed(message=why), force=True)

    def has_worker(self) -> bool:
        """Whether a worker is there to take runs; push pools need none."""
        if self.kind.endswith(":push"):
            return True
        with self._client() as client:
            workers = client.read_workers_for_work_pool(self.name)
        return any(worker.status.value == "ONLINE" for worker in workers)

    @contextlib.contextmanager
    def _client(self) -> Iterator[SyncPrefectClient]:
        """A client that does not try again by itself: who watches has other things to do."""
        from prefect.client.orchestration import get_client
        from prefect.settings import temporary_settings

        settings: Mapping[Any, Any] = {"api.url": self._url, "client.max_retries": 0}
        with temporary_settings(settings), _explained(self._url):
            with get_client({"timeout": TIMEOUT_S}, sync_client=True) as client:
                yield client


def work_pool(name: str) -> Pool:
    """The user's work pool of that name, with our deployment in it."""
    url, _ = read_settings()
    if not url:
        raise BadInput(
            f"--pool {name} needs a Prefect server that all machines reach: start one with "
            "`prefect server start`, and set PREFECT_API_URL here and on every worker"
        )
    check_proxies(url)
    return Pool(name, url)


def _checked_pool(client: SyncPrefectClient, name: str) -> tuple[str, bool]:
    """A pool's type and whether it is paused; BadInput where it cannot make scenes."""
    from prefect.exceptions import ObjectNotFound

    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        raise BadInput(
            f"--pool {name}: the Prefect server at {client.api_url} has no such work pool: create "
            f"it with `prefect work-pool create {name} --type process`, or check PREFECT_API_URL"
        ) from None
    if found.type in UNFIT:
        raise BadInput(
            f"--pool {name} is of type {found.type}: {UNFIT[found.type]}; "
            "create one of type process, docker or kubernetes"
        )
    return found.type, bool(found.is_paused)


def _deployment(client: SyncPrefectClient, pool: str) -> UUID:
    """The id of our deployment in a pool, created if need be; one that is right stays as it is."""
    from prefect.exceptions import ObjectNotFound
    from prefect.utilities.callables import parameter_schema

    from flows.batch_shard import batch_shard

    try:
        found = client.read_deployment_by_name(f"{batch_shard.name}/{pool}")
        if (found.entrypoint, found.work_pool_name) == (ENTRYPOINT, pool):
            return found.id
    except ObjectNotFound:
        pass
    schema = parameter_schema(batch_shard).model_dump_for_openapi()
    return client.create_deployment(
        client.create_flow(batch_shard), pool, work_pool_name=pool, entrypoint=ENTRYPOINT,
        parameter_openapi_schema=schema, job_variables=JOB_VARIABLES, tags=[TAG],
    )  # fmt: skip


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what Prefect's client raises inside into ServerFailed."""
    from httpx import HTTPError, InvalidURL

    try:
        yield
    except (HTTPError, InvalidURL) as error:
        raise ServerFailed(
            f"the Prefect server at {url} does not answer as one ({type(error).__name__}: {error})"
            f"{through_proxy(url)}: start it, or check PREFECT_API_URL"
        ) from None
