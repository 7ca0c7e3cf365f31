"""A Ray cluster, started on this machine or joined, and what it can give to a task. Ray is an extra, and known to this room
only.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import cnn_constraints
from cnn_constraints.errors import InputError

REACH_SECONDS = 5.0
"""How long a machine may take to answer at all."""

ANSWER_SECONDS = 20.0
"""How long Ray may take to answer there. Left alone, it waits for minutes and then ends the whole process."""

MODE = "RAY_AUTH_MODE"
"""The variable that tells Ray to show a token."""

LAST_PORT = 65535

GONE_SECONDS = 10.0
"""How long the head of a cluster may be out of reach: one that is restarted is back by then. Ray waits for a minute, and
then ends the whole process.
"""


class Cluster:
    """The connection of this process to Ray, of which it has at most one.

    Raises InputError where Ray is not installed, cannot be reached at `address` or cannot be started here.
    """

    def __init__(self, address: str | None) -> None:
        # Ray reports to its makers unless it is told not to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if importlib.util.find_spec("ray") is None:
            raise InputError("The executor ray needs Ray: pip install -e '.[ray]', or run without --executor ray.")
        if address is not None:
            # Before Ray is imported, for then it reads its variables.
            _reach(address)
        import ray

        self.ray: Any = ray
        self._address = address
        self._is_gone = False
        if ray.is_initialized():
            raise InputError("This process has a connection to Ray already, and can have only one: end that first.")
        # Of a lost worker Ray says a paragraph on standard output, and has no switch for it; that is raised too.
        importlib.import_module("ray._private.worker").print_to_stdstream = lambda *_, **__: None  # pyright: ignore
        quiet = {"logging_level": logging.CRITICAL, "log_to_driver": False}
        with _signals_as_they_were():
            if address is None:
                self._begin(
                    "cannot be started here", address="local", num_cpus=_cores(), include_dashboard=False, **quiet
                )
            else:
                # Other machines get this very package, whatever is installed there.
                code = {"py_modules": [cnn_constraints]}
                self._begin(f"at {address} cannot be joined", address=address, runtime_env=code, **quiet)

    def _begin(self, fails: str, **settings: Any) -> None:
        try:
            with warnings.catch_warnings():
                # JAX fears for what goes on in a copy of its process; Ray's copies at once become other programs.
                warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                self.ray.init(**settings)
        except Exception as error:
            if settings["address"] == "auto" and isinstance(error, ConnectionError):
                raise InputError(
                    "This machine is part of no Ray cluster: start one with `ray start --head`, or give the address, "
                    "host:port, of another."
                ) from None
            # Whatever it is, a version or a token that does not fit or a full disk, Ray's own words say it best.
            raise InputError(f"The Ray cluster {fails}: {_first_sentence(error)}") from None

        context = self.ray.get_runtime_context()
        self._head = context.gcs_address
        here = context.get_node_id()
        self._here = next(node["RayletSocketName"] for node in self.ray.nodes() if node["NodeID"] == here)

    def close(self) -> None:
        """End the cluster that was started here; one that was joined stays as it is."""
        self.ray.shutdown()

    def kill(self, actor: Any) -> None:
        """End an actor, whatever it does."""
        if not self._is_gone:
            self.ray.kill(actor)

    def require_head(self, error: Exception | None = None) -> None:
        """Raises InputError where the head of the cluster is gone, or Ray's process on this machine, which Ray would take
        for the loss of every worker. error: with which a worker was lost.
        """
        # Nobody starts these again, and Ray is about to end this process, which it calls the owner of its workers.
        if not _answers(self._here) or "owner has died" in str(error):
            raise self._gone("Ray has ended on this machine")
        until = time.monotonic() + GONE_SECONDS
        while True:
            try:
                return _knock(self._head)
            except OSError as error:
                if time.monotonic() > until:
                    raise self._gone(error.strerror or str(error)) from None
                time.sleep(1)

    def _gone(self, reason: str) -> InputError:
        self._is_gone = True
        where = f"at {self._address}" if self._address else "that was started here"
        return InputError(
            f"The Ray cluster {where} is gone ({reason}): start it, and the same command goes on from what is finished."
        )

    def machines(self) -> list[dict[str, float]]:
        """The resources of each machine that is alive, whether in use or not."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]


def _reach(address: str) -> None:
    """Raises InputError where nothing, or something else than Ray, answers at this address."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "//" in address or not host or not port.isdecimal() or not 0 < int(port) <= LAST_PORT:
        raise InputError(
            f"The address of a Ray cluster is {address!r}: it must be host:port, as `ray start` prints it, with a port "
            f"from 1 to {LAST_PORT}, or auto for the cluster of which this machine is a part."
        )
    remedy = "start it with `ray start --head`, or give the address that this has printed."
    try:
        _knock(address)
    except OSError as error:
        raise InputError(f"There is no Ray cluster at {address} ({error}): {remedy}") from None
    try:
        _ask(address)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["without a reason"]
        if "AuthenticationError" not in error.stderr:
            raise InputError(f"The Ray cluster at {address} cannot be joined: {lines[-1]}") from None
        _show_token(address)
    except subprocess.TimeoutExpired:
        raise InputError(f"What answers at {address} is no Ray cluster: {remedy}") from None


def _knock(address: str) -> None:
    """Raises OSError where nothing answers at host:port."""
    host, _, port = address.rpartition(":")
    # The brackets of an address such as [::1] part it from the port and belong to neither.
    socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()


def _answers(place: str) -> bool:
    """Whether a process listens at a socket of this machine."""
    with socket.socket(socket.AF_UNIX) as asking:
        return asking.connect_ex(place) == 0


def _ask(address: str, **variables: str) -> None:
    """In a process of its own, for where Ray does not find what it looks for it ends the process."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    environment = {**os.environ, **variables}
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=ANSWER_SECONDS)


def _show_token(address: str) -> None:
    """`ray start` gives a cluster the token of whoever has one, and looks for it; a driver does not, unless it is told to.

    Raises InputError where that is not the token that the cluster wants.
    """
    refusal = InputError(
        f"The Ray cluster at {address} wants its token: have the token in ~/.ray/auth_token or in RAY_AUTH_TOKEN, and "
        f"{MODE} unset or token."
    )
    if MODE in os.environ:
        # So it was asked already.
        raise refusal
    try:
        _ask(address, **{MODE: "token"})
    except subprocess.SubprocessError:
        raise refusal from None
    os.environ[MODE] = "token"


@contextlib.contextmanager
def _signals_as_they_were() -> Iterator[None]:
    """Ray takes over SIGTERM, which a sweep understands as a request to stop."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # outside the main thread nobody took anything
            signal.signal(signal.SIGTERM, before)


def _cores() -> int:
    """Those that this process may use; not every system can say which."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
