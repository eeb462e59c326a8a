"""Several encoders as one: each sees every image, and their maps stand side by side."""

from itertools import accumulate, zip_longest

import torch
from torch import nn

from clusterkit.encoders.encoder import Encoder, EncoderInput


class JoinedEncoder(Encoder):
    """Encoders whose maps are handed on one encoder after the other.

    Parameters
    ----------
    parts : list of Encoder
        Images come on the scale of the first; each of the others gets them on its own.

    Attributes
    ----------
    members : nn.ModuleList of Encoder
    """

    def __init__(self, parts: list[Encoder]) -> None:
        super().__init__()
        self.members = nn.ModuleList(parts)
        self.depths = [channels for part in parts for channels in part.depths]
        self.groups = [maps for part in parts for maps in part.groups]
        self.tokens = sum(part.tokens for part in parts)
        self.expects = parts[0].expects
        # Only one that takes a single size has another than the rest.
        fixed = [part.side for part in parts if part.side != Encoder.side]
        self.side = fixed[0] if fixed else Encoder.side
        self._scales = [_Rescale(self.expects, part.expects) for part in parts]

    @property
    def parts(self) -> list[Encoder]:
        """The encoders, in their order."""
        return [part for part in self.members if isinstance(part, Encoder)]

    @property
    def chains(self) -> list[list[int]]:
        """Channels of each depth of each encoder."""
        return [chain for part in self.parts for chain in part.chains]

    @property
    def places(self) -> list[int]:
        """Which maps have places: those of every encoder that are no tokens."""
        starts = accumulate((len(part.depths) for part in self.parts), initial=0)
        return [start + i for part, start in zip(self.parts, starts, strict=False)
                for i in part.places]  # fmt: skip

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps of images normalised as `expects` says."""
        pairs = zip(self.parts, self._scales, strict=True)
        return [maps for part, rescale in pairs for maps in part(rescale(images))]

    def stages(self) -> list[list[nn.Module]]:
        """Return the layers of all encoders, the deepest stages together."""
        from_deepest = zip_longest(*(part.stages()[::-1] for part in self.parts), fillvalue=[])
        return [[layer for own in stage for layer in own] for stage in from_deepest][::-1]

    def layer(self, number: int) -> nn.Module | None:
        """Return the layer whose output is a map; None: there is none."""
        number %= len(self.depths)
        for part in self.parts:
            if number < len(part.depths):
                return part.layer(number)
            number -= len(part.depths)
        raise AssertionError("the number is below that of all maps")


class _Rescale:
    """Images on the scale of one encoder → on that of another."""

    def __init__(self, given: EncoderInput, wanted: EncoderInput) -> None:
        pairs = zip(given.mean, given.std, wanted.mean, wanted.std, strict=True)
        self.lines = [(std / own_std, (mean - own_mean) / own_std)
                      for mean, std, own_mean, own_std in pairs]  # fmt: skip
        self.same = all(line == (1.0, 0.0) for line in self.lines)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self.same:
            return images
        factor, shift = (images.new_tensor(v).view(1, 3, 1, 1)
                         for v in zip(*self.lines, strict=True))  # fmt: skip
        return images * factor + shift
