"""What a cluster would get from deploy/k8s, and whether our processes start and stop well there."""

import importlib
from collections.abc import Callable
from typing import Any, Final

import pytest
import yaml
from cryptography.fernet import Fernet
from kubernetes_validate import utils
from pydantic_settings import BaseSettings

from libs.rpc import server
from tests.architecture import kustomize, tree
from tests.architecture.kustomize import Document

K8S: Final = tree.ROOT / "deploy" / "k8s"
KUBERNETES: Final = "1.37"
OVERLAYS: Final = ("base", "overlays/demo")
RPC: Final = ("account", "clearing", "gateway", "notification", "risk", "router")
WEB: Final = ("cockpit", "sandbox")
RENDERERS: Final = kustomize.renderers()
STOP_RESERVE_S: Final = 5
# What each key of our Secrets looks like.
SECRETS: Final[dict[str, Callable[[], str]]] = {
    "database-url": lambda: "postgresql://fisc@postgres/fisc",
    "seal-key": lambda: Fernet.generate_key().decode(),
    "token": lambda: "t" * 40,
    "url": lambda: "redis://redis:6379/0",
}

DEMO: Final = kustomize.by_name(kustomize.render(K8S / "overlays/demo"))
BASE: Final = kustomize.by_name(kustomize.render(K8S / "base"))


def _pod(service: str, rendered: dict[tuple[str, str], Document] = DEMO) -> dict[str, Any]:
    pod: dict[str, Any] = rendered["Deployment", service]["spec"]["template"]["spec"]
    return pod


def _container(service: str) -> dict[str, Any]:
    (container,) = _pod(service)["containers"]
    assert isinstance(container, dict)
    return container


def _ports(service: str) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in _container(service)["ports"]}


def _value(variable: dict[str, Any]) -> str:
    if "value" in variable:
        return str(variable["value"])
    source = variable["valueFrom"]
    if "secretKeyRef" in source:
        return SECRETS[source["secretKeyRef"]["key"]]()
    reference = source["configMapKeyRef"]
    return str(DEMO["ConfigMap", reference["name"]]["data"][reference["key"]])


def _environment(service: str) -> dict[str, str]:
    container = _container(service)
    environment: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        environment |= DEMO["ConfigMap", source["configMapRef"]["name"]]["data"]
    return environment | {one["name"]: _value(one) for one in container.get("env", ())}


def _settings_class(service: str) -> type[BaseSettings]:
    module = importlib.import_module(f"services.{service}.config")
    settings: type[BaseSettings] = module.Settings
    return settings


def _variables(service: str) -> set[str]:
    """The environment variables a service reads."""
    settings = _settings_class(service)
    prefix = settings.model_config.get("env_prefix", "")
    return {
        str(field.validation_alias or f"{prefix}{name}".upper())
        for name, field in settings.model_fields.items()
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("renderer", RENDERERS)
def test_every_renderer_makes_the_same_of_it(renderer: str, overlay: str) -> None:
    rendered = kustomize.by_name(RENDERERS[renderer](K8S / overlay))
    ours = kustomize.by_name(kustomize.render(K8S / overlay))
    assert kustomize.without_order(rendered) == kustomize.without_order(ours)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_knows_every_field(overlay: str) -> None:
    for document in kustomize.render(K8S / overlay):
        utils.validate(document, KUBERNETES, strict=True)


def test_every_service_is_deployed_and_the_sandbox_only_where_asked_for() -> None:
    def deployed(rendered: dict[tuple[str, str], Document]) -> set[str]:
        return {name for kind, name in rendered if kind == "Deployment"}

    assert deployed(DEMO) == set(tree.SERVICES)
    assert deployed(BASE) == set(tree.SERVICES) - {"sandbox"}


@pytest.mark.parametrize("service", tree.SERVICES)
def test_a_pod_starts_with_the_settings_it_is_given(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in _environment(service).items():
        monkeypatch.setenv(name, value)
    settings: Any = _settings_class(service)()
    ports = _ports(service)
    assert settings.host == "0.0.0.0"
    assert settings.metrics_port == ports["metrics"]
    kind = "grpc" if service in RPC else "http"
    assert getattr(settings, f"{kind}_port") == ports[kind]


@pytest.mark.parametrize("service", tree.SERVICES)
def test_a_pod_is_given_nothing_its_service_does_not_read(service: str) -> None:
    given = {one["name"] for one in _container(service).get("env", ())}
    assert given <= _variables(service)


def test_every_common_setting_is_read_by_somebody() -> None:
    read = set().union(*(_variables(service) for service in tree.SERVICES))
    assert set(DEMO["ConfigMap", "fisc-settings"]["data"]) <= read


def test_secrets_are_read_from_secrets_and_never_written_here() -> None:
    base = yaml.safe_dump_all(list(BASE.values()))
    assert "kind: Secret\n" not in base
    for service in tree.SERVICES:
        for variable in _container(service).get("env", ()):
            is_secret = variable["name"].endswith(("_KEY", "_TOKEN", "_URL"))
            is_address = variable["name"].endswith("_BASE_URL")
            assert is_secret != ("value" in variable) or is_address, variable["name"]


@pytest.mark.parametrize("service", RPC)
def test_clients_of_a_service_see_each_of_its_pods(service: str) -> None:
    spec = DEMO["Service", service]["spec"]
    (port,) = spec["ports"]
    assert spec["clusterIP"] == "None"
    assert port["port"] == _ports(service)[port["targetPort"]]
    common = DEMO["ConfigMap", "fisc-settings"]["data"]
    assert common[f"FISC_{service.upper()}_TARGET"] == f"dns:///{service}:{port['port']}"


def test_channels_reach_the_callback_port() -> None:
    spec = DEMO["Service", "gateway-callbacks"]["spec"]
    (port,) = spec["ports"]
    assert spec["type"] == "ClusterIP"
    assert (
        str(_ports("gateway")[port["targetPort"]])
        == (DEMO["ConfigMap", "fisc-settings"]["data"]["FISC_GATEWAY_CALLBACK_PORT"])
    )
    url = DEMO["ConfigMap", "fisc-installation"]["data"]["callback-base-url"]
    assert url == f"http://gateway-callbacks:{port['port']}"


def test_every_selector_finds_the_pods_of_its_name() -> None:
    for (kind, name), document in DEMO.items():
        if kind not in {"Service", "Deployment", "PodDisruptionBudget"}:
            continue
        selector = document["spec"]["selector"]
        wanted = selector if kind == "Service" else selector["matchLabels"]
        service = name.removesuffix("-callbacks")
        labels = DEMO["Deployment", service]["spec"]["template"]["metadata"]["labels"]
        assert wanted == {"app.kubernetes.io/name": service}
        assert wanted.items() <= labels.items()


@pytest.mark.parametrize("service", RPC)
def test_a_service_is_ready_when_its_health_service_says_so(service: str) -> None:
    container = _container(service)
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["grpc"] == {"port": _ports(service)["grpc"]}


@pytest.mark.parametrize("service", tree.SERVICES)
def test_probes_ask_a_port_the_pod_has(service: str) -> None:
    container = _container(service)
    ports = _ports(service)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe].get("grpc") or container[probe]["httpGet"]
        assert asked["port"] in {*ports, *ports.values()}


@pytest.mark.parametrize("service", RPC)
def test_a_database_that_is_away_restarts_nobody(service: str) -> None:
    # The whole and the services turn NOT_SERVING with the database; this name alone does not.
    probe = _container(service)["livenessProbe"]
    assert probe["grpc"] == {"port": _ports(service)["grpc"], "service": server.LIVENESS}
    assert probe.keys().isdisjoint({"httpGet", "tcpSocket", "exec"})


@pytest.mark.parametrize("service", RPC)
def test_a_pod_has_the_time_to_drain(service: str) -> None:
    sleep_s = _container(service)["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = float(_environment(service)[f"FISC_{service.upper()}_DRAIN_GRACE_S"])
    assert _pod(service)["terminationGracePeriodSeconds"] >= sleep_s + drain_s + STOP_RESERVE_S


@pytest.mark.parametrize("service", sorted(set(tree.SERVICES) - {"sandbox"}))
def test_an_update_never_takes_a_replica_away_first(service: str) -> None:
    spec = BASE["Deployment", service]["spec"]
    assert spec["replicas"] >= 2
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert BASE["PodDisruptionBudget", service]["spec"]["maxUnavailable"] == 1
    topologies = {one["topologyKey"] for one in _pod(service)["topologySpreadConstraints"]}
    assert topologies == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}


@pytest.mark.parametrize("service", tree.SERVICES)
def test_a_pod_can_do_nothing_but_its_work(service: str) -> None:
    pod, container = _pod(service), _container(service)
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == service
    assert DEMO["ServiceAccount", service]["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    resources = container["resources"]
    assert resources["limits"]["memory"] == resources["requests"]["memory"]
    assert "cpu" in resources["requests"]


@pytest.mark.parametrize("service", tree.SERVICES)
def test_prometheus_is_told_the_metrics_port(service: str) -> None:
    template = DEMO["Deployment", service]["spec"]["template"]["metadata"]
    assert template["annotations"]["prometheus.io/scrape"] == "true"
    assert template["annotations"]["prometheus.io/port"] == str(_ports(service)["metrics"])
