"""What is installed, read from the packages' own metadata: versions, extras, what does not fit."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from clusterkit.machine.trouble import Trouble

PACKAGE = "clusterkit"

# Packages of which a name alone imports little: what clusterkit imports of them.
_INSIDE = {
    "fastai": "fastai.vision.all",
    "matplotlib": "matplotlib.figure",
    "scikit-learn": "sklearn.linear_model",
    "scipy": "scipy.optimize",
}

# Ranges of others' packages that do not fit; more of them are one mistake.
_NAMED = 3


@dataclass(frozen=True)
class Installation:
    """What is installed.

    Attributes
    ----------
    versions : dict
        Package that clusterkit needs → version; None: it is missing.
    extras : dict
        Extra → what it lacks; empty: it is there.
    modules : dict
        Package that is there → the module by which it is imported.
    of_torch : set of str
        Packages among them that import torch.
    troubles : list of Trouble
    """

    versions: dict[str, str | None]
    extras: dict[str, list[str]]
    modules: dict[str, str]
    of_torch: set[str]
    troubles: list[Trouble]


def read_installation(package: str = PACKAGE) -> Installation:
    """Read what a package needs and what of it there is; nothing is imported.

    Parameters
    ----------
    package : str
        A distribution's name. One without metadata, as a source tree has none, is a note.
    """
    for remembered in (_distribution, _version, _needed):
        remembered.cache_clear()
    own = _distribution(package)
    if own is None:
        note = Trouble(
            "installation",
            f"{package} has no metadata here, so that what it needs "
            "cannot be compared with what there is; pip install -e . makes them",
            fails=False,
        )
        return Installation({}, {}, {}, set(), [note])
    needed = _needed(package)
    versions = {requirement.name: _version(requirement.name) for requirement in needed}
    modules = {name: _module(name) for name, version in versions.items() if version}
    troubles = [trouble for r in needed for trouble in _missing_or_other(r)]
    return Installation(
        versions=versions,
        extras=_extras(own, package),
        modules=modules,
        of_torch={name for name in modules if "torch" in _closure(name)},
        troubles=troubles + _indirect(package),
    )


@cache
def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None


@cache
def _version(name: str) -> str | None:
    found = _distribution(name)
    # What a removed package leaves may have no version.
    return (found.metadata["Version"] or None) if found else None


@cache
def _needed(name: str, extra: str = "") -> list[Requirement]:
    """Return what an installed package requires on this machine, for an extra or without one."""
    found, needed = _distribution(name), []
    for text in (found.requires if found else None) or []:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        plain = marker is None or marker.evaluate({"extra": ""})
        if (marker is None or marker.evaluate({"extra": extra})) and not (extra and plain):
            needed.append(requirement)
    return needed


def _lack(requirement: Requirement) -> str | None:
    """Return what is not there of a requirement; None: it is met."""
    version = _version(requirement.name)
    if version is None:
        return requirement.name
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name}{requirement.specifier} (is {version})"


def _missing_or_other(requirement: Requirement) -> Iterator[Trouble]:
    wanted = f"{requirement.name}{requirement.specifier}"
    version = _version(requirement.name)
    if version is None:
        yield Trouble("packages", f"{requirement.name} is not installed; pip install '{wanted}'")
    elif _lack(requirement):
        yield Trouble(
            "packages",
            f"{requirement.name} is {version}, and {PACKAGE} needs "
            f"{requirement.specifier}; pip install '{wanted}'",
        )


def _closure(name: str) -> set[str]:
    """Return a package and all that it needs, and that needs, in canonical names."""
    found: set[str] = set()
    todo = [name]
    while todo:
        one: str = canonicalize_name(todo.pop())
        if one not in found:
            found.add(one)
            todo += [requirement.name for requirement in _needed(one)]
    return found


def _indirect(package: str) -> list[Trouble]:
    """Return notes about packages that do not fit each other, as a torch and a torchvision."""
    unmet = [
        f"{name} needs {lack}"
        for name in sorted(_closure(package) - {canonicalize_name(package)})
        for requirement in _needed(name)
        if (lack := _lack(requirement))
    ]
    if not unmet:
        return []
    more = f" and {len(unmet) - _NAMED} more" if len(unmet) > _NAMED else ""
    return [
        Trouble(
            "packages",
            "do not fit each other: " + ", ".join(unmet[:_NAMED]) + more + "; pip check lists them",
            fails=False,
        )
    ]


def _extras(own: Distribution, package: str) -> dict[str, list[str]]:
    names = own.metadata.get_all("Provides-Extra") or []
    return {extra: sorted(set(_lacking(package, extra, set()))) for extra in sorted(names)}


def _lacking(package: str, extra: str, seen: set[str]) -> Iterator[str]:
    seen.add(extra)
    for requirement in _needed(package, extra):
        if canonicalize_name(requirement.name) == canonicalize_name(package):
            # An extra may be made of others.
            for other in requirement.extras - seen:
                yield from _lacking(package, other, seen)
        elif lack := _lack(requirement):
            yield lack


def _module(name: str) -> str:
    """Return the module by which a package is imported."""
    if canonicalize_name(name) in _INSIDE:
        return _INSIDE[canonicalize_name(name)]
    like = canonicalize_name(name).replace("-", "_")
    found = _distribution(name)
    if find_spec(like) is not None or found is None:
        return like
    declared = (found.read_text("top_level.txt") or "").split()
    names = declared or [
        file.parts[0].removesuffix(".py")
        for file in found.files or []
        if file.suffix == ".py" and len(file.parts) <= 2
    ]
    plain = [one for one in names if one.isidentifier() and not one.startswith("_")]
    return plain[0] if plain else like
