"""Early stopping: which epoch's weights are kept."""

import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner

from clusterkit.training.callbacks import KeepBest


class _Losses:
    """Stands for a model that is as good as a list says, epoch by epoch."""

    def __init__(self, losses):
        self.losses, self.epoch, self.kept = losses, -1, []

    def __call__(self):
        self.epoch += 1
        return self.losses[self.epoch], 0.5


def _train_on(losses, early_stopping):
    model = torch.nn.Linear(1, 1)
    rows = [(torch.ones(1), torch.ones(1))] * 4
    loaders = DataLoaders(DataLoader(rows, bs=2), DataLoader(rows, bs=2))
    record, weights, validation = [], [], _Losses(losses)

    def note(*row):
        record.append(row)
        weights.append(model.weight.item())

    keep = KeepBest(validation, len(losses), early_stopping, note)
    learner = Learner(loaders, model, loss_func=torch.nn.functional.mse_loss, cbs=keep)
    with learner.no_bar(), learner.no_logging():
        learner.fit(len(losses))
    return model.weight.item(), weights, record


def test_best_weights_are_kept_and_no_gain_ends_training():
    losses = [9, 8, 7, 6, 2, 3, 3, 3, 3, 3, 3, 1]
    last, weights, record = _train_on(losses, early_stopping=True)
    assert last == weights[4]
    assert [row[2] for row in record] == losses[:8]
    assert len(set(weights)) == 8


def test_losses_before_the_rate_peaks_do_not_end_training():
    losses = [1, 5, 5, 5, 5, 0.5, 5, 5, 5, 5, 5, 5]
    last, weights, record = _train_on(losses, early_stopping=True)
    assert (last, len(record)) == (weights[5], 9)


def test_what_calibration_measures_on_chooses_no_epoch():
    last, weights, record = _train_on([1, 2, 3, 4, 5, 6], early_stopping=False)
    assert last == weights[-1]
    assert [row[2] for row in record] == [1, 2, 3, 4, 5, 6]
