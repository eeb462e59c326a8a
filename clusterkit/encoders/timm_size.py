"""How large a network of timm would be, found out without the memory for it."""

from collections.abc import Mapping

import timm
import torch

from clusterkit.encoders.backbone import EncoderRecord
from clusterkit.encoders.timm_networks import check_arguments
from clusterkit.errors import WeightsError


def parameters_of(record: EncoderRecord, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many parameters the network of a record has, without making it; 0: unknown.

    Parameters
    ----------
    record : EncoderRecord
    shapes : dict of str to tuple of int
        Of the tensors of the run's weights.

    Raises
    ------
    WeightsError
        It is described with more layers than there are tensors, with what is no part of a network,
        or with tensors of other shapes.
    """
    tensors = len(shapes)
    if not timm.is_model(record.architecture):
        return 0
    check_arguments(record.arguments, record.name)
    for name, value in record.arguments.items():
        counts = value if isinstance(value, list) else [value]
        if any(part in name for part in ("depth", "layer", "block")) and any(
            isinstance(count, int | float) and count > tensors for count in counts
        ):
            raise WeightsError(f"encoder '{record.name}' is described with {name} = {value!r:.60}, "
                               f"and has {tensors} tensors")  # fmt: skip
    try:
        with torch.device("meta"):
            network = timm.create_model(record.architecture, pretrained=False, **record.arguments)
    except NotImplementedError:
        # Some ask for values where there are none.
        return 0
    known: dict[str, set[tuple[int, ...]]] = {}
    for name, shape in shapes.items():
        known.setdefault(name.partition(".network.")[2], set()).add(shape)
    for name, parameter in network.named_parameters():
        if tuple(parameter.shape) not in known.get(name, {tuple(parameter.shape)}):
            raise WeightsError(f"encoder '{record.name}' has a '{name}' of the shape "
                               f"{tuple(parameter.shape)}, and its weights another")  # fmt: skip
    return sum(parameter.numel() for parameter in network.parameters())
