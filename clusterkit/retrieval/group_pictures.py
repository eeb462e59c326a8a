"""The picture of `similar_groups`: the closest pair of images per group, with their CAMs."""

from collections.abc import Sequence

from PIL import Image

from clusterkit.auditing.explain import Explainer
from clusterkit.auditing.pair_pictures import (
    PairRow,
    draw_pairs,
    open_labelled,
    picture_pair,
    shorten,
)
from clusterkit.auditing.token_part import about_token
from clusterkit.data.imageio.read import load_image
from clusterkit.formats.run import Run
from clusterkit.inference.predictor import Predictor
from clusterkit.retrieval.group_matches import NO_ADVICE, GroupMatch
from clusterkit.retrieval.group_query import GroupQuery

# A picture with more rows than this is not looked at, and cannot be drawn at some height.
_MAX_ROWS = 20
# Characters of a row's labels in it.
_LABELS = 28
_FOOT = f"Beside each image: the places that speak for its likeness, yellow most. {NO_ADVICE}"


def draw_group_matches(
    predictor: Predictor, query: GroupQuery, matches: Sequence[GroupMatch]
) -> Image.Image:
    """Draw the closest pair of the query and each of at most 20 groups, as an RGB picture.

    Parameters
    ----------
    predictor : Predictor
        Its config says by which method CAMs are made.
    query : GroupQuery
    matches : sequence of GroupMatch
        The most similar first.

    Raises
    ------
    ClusterkitError
        An image is not there any more, or cannot be read.
    """
    rows, explainer = [], Explainer.of(predictor, predictor.config.audit.method)
    for match in matches[:_MAX_ROWS]:
        first = _open_query_image(predictor.run, query, match.query_image)
        second = open_labelled(predictor.run, match.image)
        picture = picture_pair(explainer, predictor.run, first, second, match.label)
        rows.append(PairRow(picture, _title(match), (match.query_image, match.image)))
    name = shorten(query.group) if query.group and not query.refs else _images(len(query.names))
    title = f"Query: {name}. The patients with the most similar images"
    return draw_pairs(rows, title, f"{_FOOT} {about_token(predictor.networks.encoder)}".rstrip())


def _title(match: GroupMatch) -> str:
    labels = match.labels.replace("|", ", ")
    return (
        f"{match.rank}. {shorten(match.group)}: {match.similarity * 100:.1f}% similar "
        f"(closest pair {match.closest_similarity * 100:.1f}%, {match.label}); "
        f"{'the same patient? ' * (match.same_images > 0)}"
        f"{_images(match.n_images)}: {labels[:_LABELS]}{'…' * (len(labels) > _LABELS)}"
    )


def _open_query_image(run: Run, query: GroupQuery, name: str) -> Image.Image:
    if not query.refs:
        return open_labelled(run, name)
    path, frame = query.refs[query.names.index(name)]
    return load_image(path, how=run.config.image, frame=int(frame or 0))


def _images(n: int) -> str:
    return f"{n} image{'s' * (n != 1)}"
