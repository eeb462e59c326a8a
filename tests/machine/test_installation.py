"""What is read of packages' metadata: versions, ranges, extras."""

import pytest

from clusterkit.machine.installation import read_installation
from tests.packages import make_package


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name, *args, **kwargs: make_package(tmp_path, name, *args, **kwargs)


def test_versions_modules_and_what_needs_torch(packages):
    needed = ["torch>=2", "ck-vision", "other-thing>=0.5", "ck-absent; sys_platform == 'none'"]
    packages("mine", requires=needed)
    packages("torch", "2.9+cpu")
    packages("ck-vision", "3", requires=["ck-inner"])
    packages("ck-inner", requires=["torch"])
    packages("other-thing", "0.6rc1")
    found = read_installation("mine")
    assert found.versions == {"torch": "2.9+cpu", "ck-vision": "3", "other-thing": "0.6rc1"}
    assert found.modules == {"torch": "torch", "ck-vision": "ck_vision",
                             "other-thing": "other_thing"}  # fmt: skip
    assert found.of_torch == {"torch", "ck-vision"}
    assert found.troubles == []


def test_what_is_missing_or_of_another_range_would_fail(packages):
    packages("mine", requires=["ck-absent>=2", "ck-old>=2,<4"])
    packages("ck-old", "1.5")
    absent, old = read_installation("mine").troubles
    assert absent.fails
    assert absent.text == "ck-absent is not installed; pip install 'ck-absent>=2'"
    assert "ck-old is 1.5, and clusterkit needs <4,>=2; pip install 'ck-old<4,>=2'" in old.text


def test_packages_that_do_not_fit_each_other_are_a_note(packages):
    packages("mine", requires=["ck-vision"])
    packages("ck-vision", requires=["ck-core==2.1"])
    packages("ck-core", "2.2")
    (note,) = read_installation("mine").troubles
    assert not note.fails
    assert "ck-vision needs ck-core==2.1 (is 2.2)" in note.text


def test_extras(packages):
    packages("mine", extras={"some": ["ck-one>=1", "ck-two"], "new": ["ck-one>=9"],
                             "all": ["mine[some,new,all]"], "none": []})  # fmt: skip
    packages("ck-one", "1.0")
    found = read_installation("mine")
    assert found.extras == {"some": ["ck-two"], "new": ["ck-one>=9 (is 1.0)"], "none": [],
                            "all": ["ck-one>=9 (is 1.0)", "ck-two"]}  # fmt: skip
    assert found.troubles == []


def test_a_source_tree_has_no_metadata():
    found = read_installation("ck-not-installed")
    assert found.versions == {}
    (note,) = found.troubles
    assert not note.fails
    assert "no metadata" in note.text


def test_what_a_removed_package_leaves(packages, tmp_path):
    packages("mine", requires=["ck-left"])
    (tmp_path / "ck_left-1.0.dist-info").mkdir()
    (trouble,) = read_installation("mine").troubles
    assert "ck-left is not installed" in trouble.text
