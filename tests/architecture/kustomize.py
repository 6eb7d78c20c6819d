"""Renders deploy/k8s: with a real kustomize where there is one, and always with our small part of it.

Our part: resources, components, labels on metadata and templates, a namespace, and strategic merge
patches chosen by kind and label. Anything else in a kustomization is an error here, so that the
tests never judge something other than what a cluster would get.
"""

import copy
import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

Document = dict[str, Any]
Renderer = Callable[[Path], list[Document]]

_KEYS: Final = frozenset(
    {"apiVersion", "kind", "resources", "components", "patches", "labels", "namespace"}
)
# By which key Kubernetes merges a list; every other list is replaced whole.
_MERGE_KEYS: Final[Mapping[str, str]] = {
    "containers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumes": "name",
    "topologySpreadConstraints": "topologyKey",
}


def renderers() -> dict[str, Renderer]:
    """Every renderer this machine has, ours first."""
    found: dict[str, Renderer] = {"ours": render}
    for name, command in (("kustomize", ["build"]), ("kubectl", ["kustomize"])):
        if path := shutil.which(name):
            found[name] = functools.partial(_run, path, *command)
    return found


def by_name(documents: list[Document]) -> dict[tuple[str, str], Document]:
    """Documents under (kind, name). Two of the same name are an error."""
    named = {(str(one["kind"]), str(one["metadata"]["name"])): one for one in documents}
    assert len(named) == len(documents), "two resources share a name"
    return named


def without_order(value: Any) -> Any:
    """The same, with lists in one order: renderers differ in where a merged item goes."""
    if isinstance(value, dict):
        return {key: without_order(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return sorted((without_order(inner) for inner in value), key=_sort_key)
    return value


def _sort_key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def render(folder: Path) -> list[Document]:
    """What `kustomize build folder` prints, as documents."""
    return _apply(folder, [])


def _run(*command: str | Path) -> list[Document]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def _apply(folder: Path, documents: list[Document]) -> list[Document]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    unsupported = kustomization.keys() - _KEYS
    assert not unsupported, f"{folder.name}: this renderer does not know {sorted(unsupported)}"
    documents = [*documents]
    for name in kustomization.get("resources", ()):
        path = folder / name
        documents += render(path) if path.is_dir() else yaml.safe_load_all(path.read_text("utf-8"))
    for name in kustomization.get("components", ()):
        documents = _apply(folder / name, documents)
    for patch in kustomization.get("patches", ()):
        change = yaml.safe_load((folder / patch["path"]).read_text("utf-8"))
        chosen = [one for one in documents if _is_target(one, patch["target"])]
        assert chosen, f"{folder.name}: nothing for {patch['path']}"
        documents = [_patched(one, change) if one in chosen else one for one in documents]
    for one in documents:
        for label in kustomization.get("labels", ()):
            _add_labels(one, label)
        if namespace := kustomization.get("namespace"):
            one["metadata"]["namespace"] = namespace
    return documents


def _is_target(document: Document, target: Mapping[str, str]) -> bool:
    assert target.keys() <= {"kind", "labelSelector"}
    key, _, value = target.get("labelSelector", "").partition("=")
    labels = document["metadata"].get("labels", {})
    return document["kind"] == target["kind"] and (not key or labels.get(key) == value)


def _add_labels(document: Document, label: Mapping[str, Any]) -> None:
    assert label.keys() <= {"pairs", "includeTemplates"}
    document["metadata"].setdefault("labels", {}).update(label["pairs"])
    if label.get("includeTemplates") and "template" in document.get("spec", {}):
        document["spec"]["template"]["metadata"].setdefault("labels", {}).update(label["pairs"])


def _patched(document: Document, change: Document) -> Document:
    change = {**change, "metadata": {**change["metadata"], "name": document["metadata"]["name"]}}
    merged = _merge("", document, change)
    assert isinstance(merged, dict)
    return merged


def _merge(field: str, old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        merged = {key: copy.deepcopy(value) for key, value in old.items()}
        for key, value in new.items():
            merged[key] = _merge(key, merged.get(key), value)
        return merged
    if isinstance(old, list) and isinstance(new, list) and field in _MERGE_KEYS:
        name = _MERGE_KEYS[field]
        items = {item[name]: item for item in copy.deepcopy(old)}
        for item in new:
            items[item[name]] = _merge("", items.get(item[name]), item)
        return list(items.values())
    return copy.deepcopy(new)
