"""The losses of a training, one row per epoch."""

from dataclasses import dataclass, field

Row = dict[str, str | int | float | None]


@dataclass
class History:
    """The epochs of one model in the order trained; `fold` is written into every row.

    The validation images are those that choose the epoch where there are any (`keep_back`), else
    those that the fold holds out.
    """

    fold: str = ""
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        stage: str,
        epoch: int,
        train_loss: float,
        valid_loss: float | None = None,
        valid_accuracy: float | None = None,
    ) -> None:
        """Append one epoch of a stage (``"classifier"`` or ``"siamese"``)."""
        self.rows.append(
            {
                "fold": self.fold,
                "stage": stage,
                "epoch": epoch,
                "train_loss": train_loss,
                "valid_loss": valid_loss,
                "valid_accuracy": valid_accuracy,
            }
        )
