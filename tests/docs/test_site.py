"""The pages are complete; the site is built without a warning and fetches nothing."""

import html
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import clusterkit
from clusterkit.cli import cli
from clusterkit.config import Config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generator():
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sections(page: str) -> dict[str, str]:
    """Heading → what stands below it, without marks and escapes."""
    _, *parts = re.split(r"^## (.*)$", page, flags=re.M)
    texts = [html.unescape(re.sub("</?code>", "", part)) for part in parts[1::2]]
    return dict(zip(parts[0::2], texts, strict=True))


def test_reference_names_every_command_and_option(generator):
    found = sections(generator.commands_page())
    shared = found["Options of every command"]
    assert set(found) == {"Options of every command", *(f"clusterkit {c}" for c in cli.commands)}
    for name, command in cli.commands.items():
        text = found[f"clusterkit {name}"]
        assert " ".join((command.help or "").split("\n\n")[0].split()) in text
        for parameter in command.params:
            names = parameter.opts if parameter.param_type_name == "option" else [text]
            rows = [*text.splitlines(), *shared.splitlines()]
            for option in (*names, *parameter.secondary_opts):
                listed = [
                    r for r in rows if re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", r)
                ]
                assert listed or option == text, (name, option)
                help_text = getattr(parameter, "help", None)
                assert not help_text or any(help_text in row for row in listed), (name, option)


def test_reference_names_every_setting(generator):
    page = html.unescape(generator.configuration_page())
    for section, values in Config().to_dict().items():
        for key in values if isinstance(values, dict) else [None]:
            name = section if key is None else f"{section}.{key}"
            assert f"<code>{name}</code>" in page.replace("&#95;", "_"), name


def test_reference_names_everything_public(generator):
    names = {line.rpartition(".")[2] for line in generator.public_names().split()}
    assert names >= (set(clusterkit.__all__) | {"inspect"}) - {"__version__"}


def test_reference_names_every_column():
    from clusterkit.formats.assignments import COLUMNS, STATUSES
    from clusterkit.formats.reviews import DECISIONS, REVIEW_COLUMNS

    text = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    for name in (*COLUMNS, *STATUSES, *DECISIONS, *REVIEW_COLUMNS):
        assert f"`{name}`" in text, name


def test_reference_names_every_key(run, assignment):
    text = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    records = (run.path / "run.json", assignment.path.with_suffix(".json"))
    for key in {key for path in records for key in json.loads(path.read_text(encoding="utf-8"))}:
        assert f"`{key}`" in text, key


def test_architecture_names_every_folder():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for folder in (ROOT / "clusterkit").iterdir():
        if (folder / "__init__.py").is_file():
            assert f"`{folder.name}/`" in text, folder


def test_no_page_names_a_file_that_is_not_there():
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(
            r"`((?:clusterkit|tests|benchmarks|configs|examples|docs)/[\w./-]+)`", text
        ):
            assert (ROOT / name).exists(), f"{page}: {name}"
        for name in re.findall(r"python -m (benchmarks\.\w+)", text):
            assert (ROOT / (name.replace(".", "/") + ".py")).is_file(), f"{page}: {name}"
        assert not re.search("DESIG[N]", text), page


@pytest.mark.slow
def test_site_is_built_and_asks_the_network_for_nothing(tmp_path, generator):
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        # Links may lead away, but what a browser fetches by itself must not.
        fetched = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?([^\"'\s>]+)", text)
        fetched += re.findall(r"<link[^>]*\shref=[\"']?([^\"'\s>]+)", text)
        assert not [f for f in fetched if f.startswith(("http:", "https:", "//"))], page


def test_readme_is_short_and_shows_the_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / link).exists(), link
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert len(pictures) == 2
    for picture in pictures:
        assert (ROOT / picture).stat().st_size <= 300_000
