"""Where everything of the local suite listens and keeps its data, as each process must know it."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from deploy.local import ports
from deploy.local.errors import LocalError
from deploy.local.process import ROOT

DATA_DIR_DEFAULT: Final = ".fisc"
LOOPBACK: Final = ("127.0.0.1", "localhost")
SERVICES: Final = tuple(ports.GRPC_OFFSETS)
WEB_SERVERS: Final = tuple(ports.HTTP_OFFSETS)
SEALERS: Final = ("gateway", "notification")
OPERATORS: Final = ("gateway", "clearing", "notification", "cockpit")
OPERATOR_FILE: Final = "operator-token"
OVERRIDE: Final = "FISC_OVERRIDE_"
"""FISC_OVERRIDE_GATEWAY_RISK_TARGET is FISC_RISK_TARGET to gateway alone, in place of what is made here: so
a test puts a proxy between two processes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """One suite: the first of its ports, its directory, the address it listens on."""

    base_port: int = ports.BASE_PORT_DEFAULT
    data_dir: Path = ROOT / DATA_DIR_DEFAULT
    host: str = LOOPBACK[0]

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read FISC_BASE_PORT and FISC_DATA_DIR. Raises LocalError naming the variable."""
        environ = os.environ if environ is None else environ
        text = environ.get("FISC_BASE_PORT") or str(ports.BASE_PORT_DEFAULT)
        if not text.isdecimal() or not ports.BASE_PORT_MIN <= int(text) <= ports.BASE_PORT_MAX:
            raise LocalError(
                f"FISC_BASE_PORT is {text!r}; it must be a number from "
                f"{ports.BASE_PORT_MIN} to {ports.BASE_PORT_MAX}."
            )
        data_dir = Path(environ.get("FISC_DATA_DIR") or ROOT / DATA_DIR_DEFAULT)
        return cls(base_port=int(text), data_dir=data_dir.expanduser().absolute())

    def port(self, name: str) -> int:
        """Return the main port of a service or web server: gRPC or HTTP."""
        offsets = {**ports.GRPC_OFFSETS, **ports.HTTP_OFFSETS}
        return self.base_port + offsets[name]

    def metrics_port(self, name: str) -> int:
        """Return the port of a process's Prometheus metrics."""
        return self.base_port + ports.METRICS_OFFSETS[name]

    @property
    def callback_port(self) -> int:
        """The port on which gateway hears the channels' callbacks."""
        return self.base_port + ports.CALLBACK_OFFSET

    @property
    def postgres_port(self) -> int:
        """The port of the embedded Postgres."""
        return self.base_port + ports.POSTGRES_OFFSET

    @property
    def redis_port(self) -> int:
        """The port of the embedded Valkey."""
        return self.base_port + ports.REDIS_OFFSET

    def purposes(self) -> dict[int, str]:
        """Return every port of our own processes and what it is for."""
        main = {self.port(name): name for name in (*SERVICES, *WEB_SERVERS)}
        metrics = {
            self.metrics_port(name): f"the metrics of {name}" for name in (*SERVICES, *WEB_SERVERS)
        }
        return {**main, **metrics, self.callback_port: "the callbacks of gateway"}


def describe_environment(
    settings: LocalSettings,
    name: str,
    *,
    database_url: str | None,
    redis_url: str,
    seal_keys: Mapping[str, str],
    operator_token: str,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment of one process; its addresses win over inherited ones.

    `seal_keys` are by service: each gets its own alone, as only a service gets its own database.
    The operator token goes to those who speak or listen to the operators' part of a service.
    """
    prefix = f"FISC_{name.upper()}"
    port_kind = "GRPC" if name in SERVICES else "HTTP"
    targets = {
        f"FISC_{service.upper()}_TARGET": f"{settings.host}:{settings.port(service)}"
        for service in SERVICES
    }
    environment = {
        **inherited,
        **targets,
        "PYTHONUNBUFFERED": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', os.defpath)}",
        "FISC_REDIS_URL": redis_url,
        f"{prefix}_HOST": settings.host,
        f"{prefix}_{port_kind}_PORT": str(settings.port(name)),
        f"{prefix}_METRICS_PORT": str(settings.metrics_port(name)),
    }
    if database_url is not None:
        environment[f"{prefix}_DATABASE_URL"] = database_url
    if name == "sandbox":
        environment["FISC_SANDBOX_DATA_DIR"] = str(settings.data_dir / "sandbox")
    if name == "gateway":
        environment["FISC_GATEWAY_CALLBACK_PORT"] = str(settings.callback_port)
        environment["FISC_GATEWAY_CALLBACK_BASE_URL"] = (
            f"http://{settings.host}:{settings.callback_port}"
        )
    if name == "notification":
        # Merchants' receivers run on this machine here; elsewhere neither is allowed.
        environment["FISC_NOTIFICATION_ALLOW_PRIVATE_ENDPOINTS"] = "true"
        environment["FISC_NOTIFICATION_ALLOW_HTTP"] = "true"
    if name in seal_keys:
        environment[f"{prefix}_SEAL_KEY"] = seal_keys[name]
    if name in OPERATORS:
        environment["FISC_OPERATOR_TOKEN"] = operator_token
    # Traffic on loopback never belongs to a proxy the machine may have set for the outside.
    for variable in ("NO_PROXY", "no_proxy"):
        others = [part for part in inherited.get(variable, "").split(",") if part]
        environment[variable] = ",".join(dict.fromkeys([*others, *LOOPBACK, settings.host]))
    return _override(environment, name)


def _override(environment: Mapping[str, str], name: str) -> dict[str, str]:
    mine = f"{OVERRIDE}{name.upper()}_"
    overrides = {
        f"FISC_{variable.removeprefix(mine)}": value
        for variable, value in environment.items()
        if variable.startswith(mine)
    }
    # The others' may hold addresses with passwords.
    kept = {key: value for key, value in environment.items() if not key.startswith(OVERRIDE)}
    return {**kept, **overrides}
