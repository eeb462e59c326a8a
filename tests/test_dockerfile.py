"""The Dockerfile names what the package has, downloads nothing, and makes no broken image."""

import json
import re
import shlex
import tomllib

import pytest

from clusterkit.cli import cli
from tests.dockerfile import ROOT, instructions, shell_commands

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8")


def wrong(text: str, ignored: str) -> list[str]:
    """Return what is wrong with a Dockerfile and its list of ignored files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    steps = instructions(text)
    names = [name for name, _ in steps]
    commands = shell_commands(steps)
    found = []
    installs = [shlex.split(c) for c in commands if " pip " in c or c.startswith("pip ")]
    for words in installs:
        if not {"--no-index", "--find-links"} <= set(words):
            found.append(f"pip may ask an index: {words}")
        for requirement in words[words.index("install") + 1 :]:
            package, _, extras = requirement.partition("[")
            if extras and package != project["name"]:
                found.append(f"{package} is not this package")
            known = set(project["optional-dependencies"])
            for extra in set(filter(None, extras.rstrip("]").split(","))) - known:
                found.append(f"no extra {extra}")
    if not any(project["name"] in " ".join(words) for words in installs):
        found.append("the package is not installed")
    hosts = re.findall(r"://|\b[\w-]+\.(?:com|io|org|dev|net)\b", re.sub("#.*", "", text))
    found += [f"names a host: {host}" for host in hosts]
    if not re.search(r"source=wheels,target=/wheels\b", text) or "/wheels " not in text:
        found.append("the wheels are not those of the build's folder")
    kept = [line[1:] for line in ignored.split() if line.startswith("!")]
    if "*" not in ignored.split() or kept != ["wheels"]:
        found.append("more than the wheels may get into the image")
    return found + wrong_start(steps, names, set(project["scripts"]))


def wrong_start(steps: list[tuple[str, str]], names: list[str], programs: set[str]) -> list[str]:
    """Return what is wrong with the user, the check, and what a container starts."""
    found, last = [], dict(steps)
    entry, given = (json.loads(last.get(name, "[]")) for name in ("ENTRYPOINT", "CMD"))
    if len(entry) != 1 or entry[0] not in programs:
        found.append(f"no such program: {entry}")
    used = [shlex.split(rest) for name, rest in steps if name == "RUN"]
    used = [words[1:] for words in used if words[0] in programs]
    for words in [*used, given]:
        if words and not words[0].startswith("-") and words[0] not in cli.commands:
            found.append(f"no such command: {words[0]}")
    if ["doctor"] not in used:
        return [*found, "what would fail is not looked for"]
    checked = max(i for i, step in enumerate(steps) if step[0] == "RUN")
    if last.get("USER", "root") in ("root", "0") or names.index("USER") > checked:
        found.append("not checked as the user that runs it")
    return found


def test_nothing_is_wrong():
    assert wrong(DOCKERFILE, IGNORED) == []


@pytest.mark.parametrize(
    ("now", "then", "said"),
    [
        ("--no-index ", "", "may ask an index"),
        ("dicom,features", "dicom,nonsense", "no extra nonsense"),
        ("EXTRAS=dicom,features", "EXTRAS=", None),
        ('["clusterkit"]', '["clusterkitt"]', "no such program"),
        ("RUN clusterkit doctor\n", "", "what would fail is not looked for"),
        ("clusterkit doctor", "clusterkit docter", "no such command: docter"),
        ('["--help"]', '["fitt"]', "no such command: fitt"),
        ("USER clusterkit\n", "", "not checked as the user"),
        ("USER clusterkit\n", "USER root\n", "not checked as the user"),
        ("source=wheels", "source=.", "not those of the build's folder"),
        ("ARG BASE=", "ARG BASE=registry.example.com/", "names a host"),
        ('"clusterkit[', '"clusterkid[', "not this package"),
    ],
)
def test_mistakes_are_seen(now, then, said):
    assert now in DOCKERFILE
    found = wrong(DOCKERFILE.replace(now, then), IGNORED)
    assert found == [] if said is None else any(said in one for one in found), found


@pytest.mark.parametrize("ignored", ["", "!wheels\n", "*\n!wheels\n!labels.csv\n", "runs\n"])
def test_a_patients_images_get_into_no_image(ignored):
    assert "more than the wheels may get into the image" in wrong(DOCKERFILE, ignored)
