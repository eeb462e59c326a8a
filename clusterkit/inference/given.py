"""Features for a run: there where it was fitted on such, and none where it has an encoder."""

from collections.abc import Sequence
from pathlib import Path

from clusterkit.data.features.table import FeatureTable, is_feature_file, read_features
from clusterkit.data.remote_places import Place
from clusterkit.errors import RunError
from clusterkit.formats.run import Run

# One file of features, or several; empty: none.
Files = Sequence[Path | str] | Path | str


def why_no_cams(run: Run) -> str:
    """Return why a run can show no class activation maps, in words; "": it can."""
    if run.info.features is None:
        return ""
    return (
        f"This run was fitted on given features ({run.info.features.name}) and has no encoder: "
        "there are no CAMs (heat maps), which show what places of an image an encoder looks at. A "
        "run that is fitted on the images themselves has them."
    )


def open_given(run: Run, features: Files, source: Place | None = None) -> FeatureTable | None:
    """Read the features of images that are to be compared with a run's; None: it has an encoder.

    Parameters
    ----------
    run : Run
    features : path or sequence of path
        Empty: none are given.
    source : path or RemoteLocation or None
        The images; where this is a file of features itself, no others are needed.

    Raises
    ------
    ClusterkitError
        Features are missing, not wanted, or not comparable with those of the run.
    """
    record = run.info.features
    if record is None:
        if features:
            raise RunError(f"the run {run.path} has an encoder of its own ({run.info.backbone}) "
                           "and reads the images; leave out --features")  # fmt: skip
        return None
    if not features and isinstance(source, Path) and source.is_file() and is_feature_file(source):
        features = source
    if not features:
        raise RunError(
            f"the run {run.path} was fitted on features ({record.name}, {record.dimension} numbers "
            "an image) and has no encoder; give those of these images with --features FILE"
        )
    table = read_features(features)
    record.check(table)
    return table
