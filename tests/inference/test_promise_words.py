"""The promise is a frequency, and names what it was tested on and what it leaves out."""

from types import SimpleNamespace

import pytest

from clusterkit.inference.promise_text import promise_text
from clusterkit.methods.risk_control import Promise

PROMISE = Promise(max_error=0.05, level=0.9, threshold=0.9931, bound=0.04, accepted=190, errors=0,
                  units=23, available=60, needed=45, more=0, unit="group")  # fmt: skip


def rule_of(*promises: Promise):
    """What promise_text looks at."""
    return SimpleNamespace(
        promises=promises, measured=[True] * len(promises),
        calibration=SimpleNamespace(within_groups=False),
        config=SimpleNamespace(assign=SimpleNamespace(per_class=len(promises) > 1, confidence=0.9)),
        run=SimpleNamespace(classes=["dots", "ring"][: len(promises)]), max_error=0.05,
    )  # fmt: skip


def changed(**values) -> Promise:
    return Promise(**vars(PROMISE) | values)


def test_of_every_hundred_labels():
    assert promise_text(rule_of(PROMISE)) == (
        "Of every 100 labels set here, at most 5 are wrong (90% sure, each group counting the "
        "same). Tested on 190 held-out images of 23 groups: 0 wrong. Not covered: kinds that "
        "nobody labelled, another scanner."
    )
    assert promise_text(rule_of(changed(unit="image"))) == (
        "Of every 100 labels set here, at most 5 are wrong (90% sure). Tested on 190 held-out "
        "images: 0 wrong. Not covered: kinds that nobody labelled, another scanner."
    )


@pytest.mark.parametrize(
    ("part", "said"),
    [(0.01, "100 labels set here, at most 1 is wrong"),
     (0.4, "100 labels set here, at most 40 are wrong"),
     (0.025, "1,000 labels set here, at most 25 are wrong"),
     (0.001, "1,000 labels set here, at most 1 is wrong"),
     (1 / 3, "1,000 labels set here, at most 333 are wrong")],
)  # fmt: skip
def test_frequencies_are_whole_numbers(part, said):
    assert said in promise_text(rule_of(changed(max_error=part)))


def test_no_threshold_is_a_pass_mark():
    both = rule_of(PROMISE, changed(threshold=None, available=12))
    for rule in (rule_of(PROMISE), both):
        assert "0.99" not in promise_text(rule)
    assert promise_text(both).startswith(
        "Of every 100 labels set here of each class, at most 5 are wrong (90% sure of all at once"
    )
    assert (
        "dots: 0 of 190 held-out images wrong; ring: none set (12 of the 45 groups it takes)"
        in (promise_text(both))
    )
