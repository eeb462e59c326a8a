"""The article's `SimilarityFinder` over a run."""

import numpy as np
import pytest
import torch

from clusterkit import SimilarityFinder, similar
from clusterkit.data.imageio.read import load_image, to_array
from clusterkit.errors import ClusterkitError, ImageError
from clusterkit.models.forward import normalise
from clusterkit.models.heads import SiameseModel


@pytest.fixture
def query(sample):
    return sample / "labeled" / "ring" / "p01-1.png"


def test_predict_is_the_articles_loop(run, query):
    """Argmax over the first 15 files of the predicted class, by the module's own forward."""
    finder = SimilarityFinder(run)
    found = finder.predict(query)
    rows = run.manifest[run.manifest["label"] == finder.predicted_class_].iloc[:15]
    model = SiameseModel(run.networks.encoder, run.networks.siamese_head).eval()

    def tensor(path):
        return normalise(to_array(load_image(path), 48)[None], "cpu")

    scores = []
    with torch.inference_mode():
        for image in rows["image"]:
            pair = tensor(query), tensor(run.data_root / image)
            scores.append((model(*pair) + model(*pair[::-1])).item() / 2)
    assert found == run.data_root / rows["image"].iloc[int(np.argmax(scores))]
    assert len(finder.ranking_) == len(rows)
    assert found.is_file()


def test_compare_with_all(run, query):
    finder = SimilarityFinder(run)
    finder.predict(query, compare_n=None)
    assert len(finder.ranking_) >= (run.manifest["label"] == finder.predicted_class_).sum()
    assert finder.ranking_["similarity"].is_monotonic_decreasing
    assert finder.ranking_["similarity"].between(0, 1).all()
    picture = finder.similar_cams()
    assert picture.mode == "RGB"
    assert min(picture.size) > 300


def test_errors(run, query, sample, tmp_path):
    finder = SimilarityFinder(run)
    with pytest.raises(ClusterkitError, match="no query yet"):
        finder.similar_cams()
    with pytest.raises(ValueError, match="at least 1"):
        finder.predict(query, compare_n=0)
    with pytest.raises(ImageError, match="does not exist"):
        finder.predict(tmp_path / "none.png")
    with pytest.raises(ClusterkitError, match="cannot write"):
        similar(run, query, cams=tmp_path / "no" / "folder.png")
