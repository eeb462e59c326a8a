"""Settings that follow from the encoder: how large images are, and how they are resized."""

import logging

from clusterkit.config import Config, override
from clusterkit.encoders.backbone import Backbone

log = logging.getLogger("clusterkit")


def as_expected(config: Config, backbone: Backbone) -> Config:
    """Return the settings with the encoder's own size and interpolation where nobody chose any.

    The part of a picture that the encoder saw in its training (`crop_pct`) is told and not taken:
    at the margin that it would cut off there may be what the picture was made for.

    Parameters
    ----------
    config : Config
    backbone : Backbone
    """
    expects, image = backbone.record.expects, config.image
    size = image.size or expects.size
    interpolation = expects.interpolation if image.interpolation == "auto" else image.interpolation
    for one in backbone.record.parts or (backbone.record,):
        own = one.expects
        log.info("backbone %s, %s weights: %d pixels a side, %s; "
                 "mean %s, std %s; crop %s, not taken", one.name, one.weights, size,
                 interpolation, own.mean, own.std, own.crop_pct)  # fmt: skip
    if size != expects.size:
        log.info("backbone %s was trained on images of %d pixels, and %d are asked for",
                 backbone.name, expects.size, size)  # fmt: skip
    return override(config, image__size=size, image__interpolation=interpolation)
