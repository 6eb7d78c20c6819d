"""The recipe of the images, as far as it can be checked without building one."""

import re
from typing import Final

import pytest
import yaml

from tests.architecture import tree

DOCKERFILE: Final = (tree.ROOT / "deploy/docker/Dockerfile").read_text("utf-8")
IGNORED: Final = (tree.ROOT / ".dockerignore").read_text("utf-8").splitlines()


@pytest.mark.parametrize("service", tree.SERVICES)
def test_every_service_can_be_an_image(service: str) -> None:
    assert (tree.ROOT / "services" / service / "__main__.py").is_file()
    assert re.search(rf"^# SERVICE is .*\b{service}\b", DOCKERFILE, re.MULTILINE)


def test_what_the_recipe_copies_exists_and_reaches_the_builder() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert copied
    let_through = [line[1:] for line in IGNORED if line.startswith("!")]
    for source in copied:
        path = source.replace("${SERVICE}", "router")
        assert (tree.ROOT / path).exists(), path
        assert any(path == kept or path.startswith(f"{kept}/") for kept in let_through), path


def test_the_builder_sees_nothing_that_is_not_listed() -> None:
    assert next(line for line in IGNORED if not line.startswith("#")) == "*"


def test_the_image_runs_as_the_user_the_manifests_name() -> None:
    user = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE)
    patch = yaml.safe_load((tree.ROOT / "deploy/k8s/base/patches/pod.yaml").read_text("utf-8"))
    context = patch["spec"]["template"]["spec"]["securityContext"]
    assert user == [(str(context["runAsUser"]), str(context["runAsGroup"]))]


def test_the_images_leave_out_only_the_embedded_servers() -> None:
    lock = (tree.ROOT / "requirements.txt").read_text("utf-8")
    left_out = re.findall(r"/\^([a-z-]+)==/", DOCKERFILE)
    embedded = re.search(r"^embedded = \[(.*?)^\]", _pyproject(), re.MULTILINE | re.DOTALL)
    assert embedded
    assert left_out == re.findall(r'"([a-z-]+)==', embedded[1])
    for name in left_out:
        assert f"\n{name}==" in lock


def _pyproject() -> str:
    return (tree.ROOT / "pyproject.toml").read_text("utf-8")
