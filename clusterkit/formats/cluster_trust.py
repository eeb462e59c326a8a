"""How far the name of a whole cluster is borne out by the members that were looked at."""

from typing import NamedTuple

import pandas as pd

from clusterkit.formats.reviews import Reviews


class CheckedMembers(NamedTuple):
    """Members of a named cluster that have a decision of their own.

    Attributes
    ----------
    looked_at : int
        Members that were given a label, or rejected, by themselves.
    agreeing : int
        Those of them that were given the cluster's name.
    """

    looked_at: int
    agreeing: int

    @property
    def trust(self) -> float:
        """Probability that a member nobody looked at is what the name says.

        Laplace's rule of succession (1774): (agreeing + 1) / (looked at + 2).

        >>> CheckedMembers(0, 0).trust, CheckedMembers(8, 8).trust
        (0.5, 0.9)
        """
        return (self.agreeing + 1) / (self.looked_at + 2)


def checked_members(reviews: Reviews, settled: pd.DataFrame, cluster: int) -> CheckedMembers:
    """Count the members of a named cluster that were looked at by themselves.

    Parameters
    ----------
    reviews : Reviews
        With the row that names it.
    settled : DataFrame
        `review_settling.settle` of all reviews.
    cluster : int
    """
    members = reviews.spread[reviews.spread["provenance"] == f"cluster:{cluster}"]
    own = settled[settled["provenance"] == "reviewed"].set_index("image_id")
    own = own.loc[own.index.isin(members["image_id"])]
    names = members.drop_duplicates("image_id", keep="last").set_index("image_id")["label"]
    agreeing = own["label"] == names.reindex(own.index)
    return CheckedMembers(len(own), int(agreeing.sum()))


def trust_of(reviews: list[Reviews], settled: pd.DataFrame) -> pd.Series:
    """Return the trust in the label of each image of `settled`, in (0, 1], by image_id.

    1 where a person looked at the image itself.
    """
    trust = pd.Series(1.0, index=settled["image_id"], dtype=float)
    named = settled[settled["provenance"] != "reviewed"]
    for file, reviewed in enumerate(reviews):
        of_file = named[named["file"] == file]
        for name, part in of_file.groupby("provenance"):
            found = checked_members(reviewed, settled, int(str(name).partition(":")[2]))
            trust[part["image_id"]] = found.trust
    return trust
