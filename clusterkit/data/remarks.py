"""Remarks on a data set that come up while it is read."""

import logging
from dataclasses import dataclass, field

log = logging.getLogger("clusterkit")


@dataclass
class Remarks:
    """Sentences about a data set, for whoever reads it to report.

    Attributes
    ----------
    sentences : list of str
    refused : dict of str to str
        By the path of a file, why its label is none.
    """

    sentences: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)

    def add(self, sentence: str) -> None:
        """Take a sentence, each once; "" is none."""
        if sentence and sentence not in self.sentences:
            self.sentences.append(sentence)

    def warn(self) -> None:
        """Log the sentences as warnings."""
        for sentence in self.sentences:
            log.warning("%s", sentence)
