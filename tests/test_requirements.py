"""The locks are complete: what they install asks for nothing else, on no system, whatever has been released since."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCKS = ("install", "serve", "dev", "oldest", "oldest-client")
SYSTEMS = {"linux": "Linux", "darwin": "Darwin"}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
ANY_SYSTEM = [(system, python) for system in SYSTEMS for python in PYTHONS]


def locked(name: str) -> list[Requirement]:
    """The lines of a lock, without their hashes."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
    return [Requirement(line.partition(" \\")[0]) for line in text.splitlines() if not line.startswith(" ")]


def environment(system: str, python: str, extra: str = "") -> dict[str, str]:
    values = {key: str(value) for key, value in default_environment().items()}
    return values | {
        "sys_platform": system,
        "platform_system": SYSTEMS[system],
        "python_version": python,
        "python_full_version": f"{python}.0",
        "extra": extra,
    }


def needed_by(one: Requirement, extras: set[str], system: str, python: str) -> Iterator[Requirement]:
    """What one locked package asks for with these extras; nothing, if it is not what is installed here."""
    try:
        installed = metadata.distribution(one.name)
    except metadata.PackageNotFoundError:  # for another system
        return
    if not one.specifier.contains(installed.version, prereleases=True):  # beneath the oldest python-socketio
        return
    for line in installed.requires or ():
        need = Requirement(line)
        if not need.marker or any(need.marker.evaluate(environment(system, python, extra)) for extra in {"", *extras}):
            yield need


def asked_for(lock: str) -> list[Requirement]:
    """What is asked for by name: the project and its groups."""
    groups, project = PROJECT["dependency-groups"], PROJECT["project"]
    every_extra = f"roomkey[{','.join(project['optional-dependencies'])}]"
    lines = {
        "install": groups["install"],
        "serve": [*project["dependencies"], "roomkey[server]"],
        "dev": [*project["dependencies"], every_extra, *groups["dev"]],
    }
    return [Requirement(line) for line in lines[lock]]


def opened(needs: list[Requirement]) -> Iterator[Requirement]:
    """The same, with what roomkey's own extras stand for."""
    for need in needs:
        if need.name != "roomkey":
            yield need
        for extra in need.extras if need.name == "roomkey" else ():
            found = PROJECT["project"]["optional-dependencies"][extra]
            yield from opened([Requirement(line) for line in found])


def missing(pins: dict[str, Requirement], needs: list[Requirement]) -> list[str]:
    """What is asked for, and not pinned to a version that will do, with its extras."""
    found = []
    for need in needs:
        pin = pins.get(canonicalize_name(need.name))
        version = next(iter(pin.specifier)).version if pin else ""
        if not pin or not need.specifier.contains(version, prereleases=True):
            found.append(str(need))
        elif pin and not need.extras <= pin.extras:
            found.append(f"{need}: the lock drops the extra")
    return found


@pytest.mark.parametrize(("system", "python"), ANY_SYSTEM)
@pytest.mark.parametrize("lock", ["install", "serve", "dev"])
def test_lock_requests_nothing_outside_it(lock: str, system: str, python: str) -> None:
    here = [one for one in locked(lock) if not one.marker or one.marker.evaluate(environment(system, python))]
    pins = {canonicalize_name(one.name): one for one in here}
    needs = [need for one in here for need in needed_by(one, one.extras, system, python)]
    needs += [
        need for need in opened(asked_for(lock)) if not need.marker or need.marker.evaluate(environment(system, python))
    ]
    assert missing(pins, needs) == []


def test_most_of_a_lock_is_looked_into() -> None:
    """What the test above asks is answered by what is installed, so that has to be what the lock names."""
    same = [one for one in locked("dev") if _installed(one.name) in {spec.version for spec in one.specifier}]
    assert len(same) >= len(locked("dev")) - 10


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_versions_and_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")
    line = r"[a-zA-Z0-9._-]+(\[[a-z0-9,_-]+\])?==[^\s;]+( ; [^\\\n]+)?"
    assert re.fullmatch(rf"({line}( \\\n    --hash=sha256:[0-9a-f]{{64}})+\n)+", text)


def test_locks_agree_on_every_version() -> None:
    versions: dict[tuple[str, str], set[str]] = {}  # by name and Python: some packages support few versions of Python
    for lock in ("install", "serve", "dev"):
        for one in locked(lock):
            name = canonicalize_name(one.name), str(one.marker)
            versions.setdefault(name, set()).add(str(one.specifier))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_installer_and_build_backend_are_pinned() -> None:
    pinned = {canonicalize_name(one.name) for one in locked("install")}
    backend = {canonicalize_name(Requirement(line).name) for line in PROJECT["build-system"]["requires"]}
    assert {"pip", "editables"} | backend <= pinned
