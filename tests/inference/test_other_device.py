"""Nothing of the CPU is mixed with what is on a device: tried without a GPU, on a stand-in."""

import subprocess
import sys

import pytest
from torch.utils import backend_registration

CODE = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
from tests.other_device import NAME, set_up
library = set_up()
from clusterkit import assign, audit, embed, fit
from clusterkit.config import config_from_dict
sample, out, strategy, encoder = sys.argv[1:]
config = config_from_dict({
    "device": NAME, "image": {"size": 48},
    "model": {"backbone": "squeezenet1_1", "weights": "none", "encoder": encoder},
    "train": {"strategy": strategy, "siamese_epochs": 1, "epochs": 1, "folds": 1},
    "assign": {"max_error": 0.4, "batch_size": 16, "workers": 0}, "audit": {"limit": 6},
})
run = fit(sample + "/labels.csv", config=config, run=out + "/run")
table = assign(run, sample + "/unlabeled.csv", config=config).table
embed(sample + "/unlabeled", out + "/f.npz", run=run, config=config)
audit(run, config=config, out=out + "/audit")
here = assign(run, sample + "/unlabeled.csv", device="cpu", out=out + "/cpu.csv").table
same = (table["predicted_label"] == here["predicted_label"]).all()
print(json.dumps([len(table), bool(same)]), flush=True)
# A device in Python does not outlive Python.
os._exit(0)
"""


@pytest.mark.long
@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this version of torch has no devices in Python",
)
@pytest.mark.parametrize(("strategy", "encoder"), [("head", "shared"), ("finetune", "separate")])
def test_nothing_is_mixed_on_another_device(sample, tmp_path, strategy, encoder):
    done = subprocess.run([sys.executable, "-c", CODE, sample, tmp_path, strategy, encoder],
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "[50, true]"
