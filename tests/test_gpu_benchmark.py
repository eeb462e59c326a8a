"""The benchmark of the GPU takes its whole way on the CPU too, and says what lacks in one line."""

import json

import pytest

from benchmarks import gpu

WORDS = (
    "labels as on the CPU", "squeezenet1_1: copy, images/s", "squeezenet1_1: finish, images/s",
    "squeezenet1_1: assign ÷ min(decode, copy, forward)", "the same seed gives the same losses",
    "parts of a batch give its features",
)  # fmt: skip


@pytest.mark.slow
def test_it_runs_in_short_on_the_cpu(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert gpu.main(["--short", "--device", "cpu", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["machine"]["device"] == "cpu"
    assert set(WORDS) <= set(found["figures"])
    assert found["figures"]["labels as on the CPU"] == 1
    assert any("convolution" in line for line in found["profile"])
    said = capsys.readouterr().out
    assert "left out" not in said
    assert said.count("\nlabels as on the CPU") == 1


def test_no_part_is_begun_when_the_time_is_over(tmp_path, capsys):
    assert gpu.main(["--short", "--device", "cpu", "--minutes", "-1"]) == 0
    assert capsys.readouterr().out.count("left out, -1 minutes are over") == len(gpu.PARTS)


def test_what_lacks_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "plum" else name)
    assert gpu.main(["--device", "cpu", "--wheels", str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("not installed: 'plum-dispatch<2.10'; see ")


def test_a_device_that_is_not_there_is_one_line(capsys):
    assert gpu.main(["--device", "cuda:99"]) == 1
    assert capsys.readouterr().out.startswith("error: device 'cuda:99' cannot be used here")
