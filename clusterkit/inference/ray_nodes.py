"""The nodes of a Ray cluster: whether each computes what this machine would."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from clusterkit.data.loading import ImageRef
from clusterkit.data.remote_files import is_remote
from clusterkit.errors import ClusterkitError, shown

log = logging.getLogger("clusterkit")

# What reads and computes images: another version may see another picture, or none.
PACKAGES = (
    "clusterkit", "torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pillow",
    "tifffile", "pydicom", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg",
    "pylibjpeg-rle", "pillow-heif", "imagecodecs", "fsspec", "s3fs", "gcsfs", "adlfs",
)  # fmt: skip

# Seconds in which a node must answer.
_PATIENCE = 120

# Files of the input that each node must see: the first, the last, and some between.
_LOOKED_FOR = 16


def processors_of_nodes(device: str) -> str:
    """Return the kinds of processor, joined, of the nodes that compute.

    Parameters
    ----------
    device : cpu or cuda

    Raises
    ------
    ClusterkitError
        A node does not answer, or has other versions than this machine of what computes.
    """
    here, found = versions_of(PACKAGES), set[str]()
    for node, (versions, processor) in _asked(_described, device, PACKAGES).items():
        for name, version in here.items():
            if versions[name] != version:
                raise ClusterkitError(_differs(node, name, versions[name], version))
        found.add(processor)
    if len(found) > 1:
        log.warning("the nodes have several kinds of processors (%s): confidences may differ by "
                    "some 1e-6 with which of them computes an image",
                    "; ".join(sorted(found)))  # fmt: skip
    return "; ".join(sorted(found))


def check_nodes(refs: Sequence[ImageRef]) -> None:
    """Check that each node sees the images at `refs`, by some of them.

    Raises
    ------
    ClusterkitError
        One does not.
    """
    step = max(1, len(refs) // _LOOKED_FOR)
    paths = [path for path, _ in [*refs[::step], refs[-1]]]
    urls = [path for path in paths if is_remote(path)][:: _LOOKED_FOR // 2]
    # What this machine cannot read either is a failed row.
    urls = [url for url in urls if not _why_unread([url])]
    for node, why in (_asked(_why_unread, urls) if urls else {}).items():
        if why:
            raise ClusterkitError(
                f"node {node} cannot read {shown(why, 300)}; give its `ray start` the credentials "
                "and settings of the store that this machine has in the environment"
            )
    sizes = [(str(path), os.path.getsize(path))
             for path in paths if not is_remote(path) and os.path.isfile(path)]  # fmt: skip
    for node, unseen in (_asked(_unseen, sizes) if sizes else {}).items():
        # A file that has changed since is nobody's fault.
        if unseen and not _unseen([(unseen, dict(sizes)[unseen])]):
            raise ClusterkitError(
                f"node {node} does not see '{shown(unseen, 200)}' as this machine does; give a "
                "folder that all nodes share under one path, or a URL such as s3://bucket/folder"
            )


def _why_unread(urls: Sequence[str]) -> str:
    """Runs on a node: the first URL that cannot be read there, and the reason; "": none."""
    from clusterkit.data.remote_files import HEAD
    from clusterkit.data.stores import attempt, fetch
    from clusterkit.errors import ClusterkitError

    for url in urls:
        try:
            attempt(url, partial(fetch, path=url, end=HEAD))
        except ClusterkitError as error:
            return f"'{url}': {error}"
    return ""


def versions_of(packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of what is installed; "": it is not."""
    from importlib import metadata

    found = dict.fromkeys(packages, "")
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _described(device: str, packages: Sequence[str]) -> tuple[dict[str, str], str]:
    """Runs on a node: its versions, and its kind of processor."""
    versions = versions_of(packages)
    try:
        import torch

        from clusterkit.models.networks import processor_of

        return versions, processor_of(torch.device(device))
    except Exception:
        return versions, ""


def _unseen(sizes: Sequence[tuple[str, int]]) -> str:
    """Runs on a node: the first file that is not there, or has another size; "": none."""
    import os

    for path, size in sizes:
        try:
            same = os.path.getsize(path) == size
        except OSError:
            same = False
        if not same:
            return path
    return ""


def _asked(function: Callable[..., Any], *given: Any) -> dict[str, Any]:
    """Return what a function gives on each node that computes, by the node's name."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value: a node that has no clusterkit says so itself.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        remote = ray.remote(num_cpus=0, max_retries=1)(function)
        found = {}
        for node in ray.nodes():
            if not node["Alive"] or not {"CPU", "GPU"} & node["Resources"].keys():
                continue
            strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            # Several nodes of one machine are told apart by their numbers.
            name = f"{name}, {node['NodeID'][:6]}" if name in found else name
            found[name] = remote.options(scheduling_strategy=strategy).remote(*given)
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    return {name: _answer(name, answer) for name, answer in found.items()}


def _answer(node: str, answer: Any) -> Any:
    import ray

    try:
        return ray.get(answer, timeout=_PATIENCE)
    except ray.exceptions.RayError as error:
        said = str(error).strip().splitlines()[-1:]
        raise ClusterkitError(f"node {node} does not answer: {' '.join(said)[:300]}; end its Ray "
                              "by `ray stop` there, or mend it") from error  # fmt: skip


def _differs(node: str, name: str, there: str, here: str) -> str:
    if not here:
        return (f"node {node} has {name} {there}, and this machine has none: it would read other "
                f"images; pip install '{name}=={there}' here")  # fmt: skip
    has = f"has {name} {there}" if there else f"has no {name}"
    return (f"node {node} {has}, and this machine {here}: it would compute otherwise; pip install "
            f"'{name}=={here}' there")  # fmt: skip
