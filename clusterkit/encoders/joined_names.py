"""Names of several encoders in one option: ``a+b``, and their weights likewise."""

from pathlib import Path

from clusterkit.errors import WeightsError

SEPARATOR = "+"


def split_encoders(backbone: str, weights: str) -> list[tuple[str, str]]:
    """Return (name, weights) of each encoder that `--backbone` and `--weights` name.

    Parameters
    ----------
    backbone : str
        One name, or several with ``+`` between them. A ``local-dir:`` whose folder exists is one.
    weights : str
        ``auto`` or ``none`` for all of them, or as many sources with ``+`` between them.

    Raises
    ------
    WeightsError
        A name is missing, named twice, or there is another number of sources.

    >>> split_encoders("resnet34", "auto")
    [('resnet34', 'auto')]
    >>> split_encoders("resnet34+vgg11", "auto+vgg11.pth")
    [('resnet34', 'auto'), ('vgg11', 'vgg11.pth')]
    """
    kind, _, folder = backbone.partition(":")
    if SEPARATOR not in backbone or (kind == "local-dir" and Path(folder).is_dir()):
        return [(backbone, weights)]
    names = [name.strip() for name in backbone.split(SEPARATOR)]
    if "" in names:
        raise WeightsError(f"backbone '{backbone}' names no encoder on one side of a "
                           f"{SEPARATOR}; give a{SEPARATOR}b")  # fmt: skip
    if len(set(names)) < len(names):
        raise WeightsError(f"backbone '{backbone}' names an encoder twice; name it once")
    if weights in ("auto", "none"):
        return [(name, weights) for name in names]
    sources = [source.strip() for source in weights.split(SEPARATOR)]
    if len(sources) != len(names) or "" in sources:
        example = SEPARATOR.join(["auto"] * (len(names) - 1) + ["FILE"])
        raise WeightsError(f"backbone '{backbone}' names {len(names)} encoders, and '{weights}' is "
                           f"no source for each; give --weights {example}")  # fmt: skip
    return list(zip(names, sources, strict=True))
