"""The article's `SimilarityFinder.predict` as it is published, on a run's weights.

For each query: one forward of the classifier, then for each of 15 images of the class that it
names, the query and that image opened anew, encoded one at a time, and joined by the head: 31
forwards and 31 decodes.
"""

from pathlib import Path

import torch
from PIL import Image

from clusterkit.data.imageio.read import to_array
from clusterkit.formats.run import Run
from clusterkit.models.forward import normalise
from clusterkit.models.heads import Classifier, SiameseModel


class ArticleFinder:
    """Finds the most similar of the first images of the predicted class.

    Parameters
    ----------
    run : Run
    """

    def __init__(self, run: Run) -> None:
        nets = run.networks
        self.size = run.config.image.size
        self.classifier = Classifier(nets.encoder, nets.classifier_head).eval()
        self.siamese = SiameseModel(nets.siamese_encoder or nets.encoder, nets.siamese_head).eval()
        self.files = {
            c: [run.find_image(i) for i in run.manifest["image"][run.manifest["label"] == c]]
            for c in run.classes
        }
        self.classes = run.classes

    @torch.inference_mode()
    def predict(self, file: Path, compare_n: int = 15) -> Path:
        """Return the labelled file that is most similar to a query."""
        label = self.classes[int(self.classifier(self._open(file)).argmax())]
        others = self.files[label][:compare_n]
        logits = [self.siamese(self._open(file), self._open(other)) for other in others]
        return others[int(torch.cat(logits).argmax())]

    def _open(self, file: Path) -> torch.Tensor:
        with Image.open(file) as image:
            return normalise(to_array(image.convert("RGB"), self.size)[None], "cpu").contiguous()
