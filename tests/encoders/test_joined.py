"""Several encoders as one: their maps side by side, each encoder fed as it was trained."""

import json

import pytest
import torch
from torch import nn

from clusterkit.auditing.cam import field_offsets
from clusterkit.encoders.backbone import EncoderRecord
from clusterkit.encoders.encoder import Encoder, EncoderInput
from clusterkit.encoders.joined import JoinedEncoder
from clusterkit.encoders.joined_names import split_encoders
from clusterkit.encoders.registry import empty_like, load_backbone
from clusterkit.errors import WeightsError
from clusterkit.models.folding import folded

VIT, CONV = "vit_tiny_patch16_224", "resnet18"


@pytest.fixture(scope="module")
def joined():
    return load_backbone(f"{VIT}+{CONV}", "none", 64)


class Pixels(Encoder):
    """Its only map are the pixels as they come."""

    depths, groups = [3], [1]

    def __init__(self, mean, std):
        super().__init__()
        self.expects = EncoderInput(mean=mean, std=std)

    def forward(self, images):
        return [images]

    def stages(self):
        return [[nn.Identity()]]


def test_maps_are_those_of_each_encoder(joined):
    encoder, picture = joined.encoder.eval(), torch.rand(2, 3, 64, 64)
    own = [maps for part in encoder.parts for maps in part(on_scale(picture, part.expects))]
    for one, other in zip(encoder(on_scale(picture, encoder.expects)), own, strict=True):
        assert torch.allclose(one, other, atol=1e-4)
    assert encoder.depths == [maps.shape[1] for maps in own]
    assert encoder.chains == [part.nested for part in encoder.parts]
    assert encoder.channels == sum(map(sum, encoder.chains))


def on_scale(picture, expects):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (expects.mean, expects.std))
    return (picture - mean) / std


def test_each_encoder_gets_images_on_its_own_scale():
    both = JoinedEncoder([Pixels((0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
                          Pixels((0.9, 0.8, 0.7), (0.3, 0.2, 0.1))])  # fmt: skip
    picture = torch.rand(2, 3, 4, 4)
    found = both(on_scale(picture, both.expects))
    for one, part in zip(found, both.parts, strict=True):
        assert torch.allclose(one, on_scale(picture, part.expects), atol=1e-5)


def test_tokens_have_no_place_wherever_they_stand(joined):
    encoder = joined.encoder
    # Three maps of patches and their token, then three maps.
    assert (encoder.tokens, encoder.places) == (1, [0, 1, 2, 4, 5, 6])
    offsets = field_offsets(encoder)
    assert offsets == tuple(o for part in encoder.parts for o in field_offsets(part))
    assert offsets[:3] == (0, 0, 0)
    assert all(abs(offset) > 0.5 for offset in offsets[3:])


def test_layers_and_stages_are_those_of_the_parts(joined):
    encoder = joined.encoder
    vit, conv = encoder.parts
    assert encoder.layer(-1) is conv.layer(-1)
    assert encoder.layer(0) is vit.layer(0) is None
    layers = [layer for stage in encoder.stages() for layer in stage]
    weights = {id(p) for layer in layers for p in layer.parameters()}
    assert weights >= {id(p) for stage in vit.stages() for m in stage for p in m.parameters()}
    assert weights >= {id(p) for stage in conv.stages() for m in stage for p in m.parameters()}
    # A network of one depth is drawn anew together with the other's deepest.
    uneven = JoinedEncoder([conv, Pixels((0, 0, 0), (1, 1, 1))])
    assert [len(stage) for stage in uneven.stages()] == [
        len(stage) + last for stage, last in zip(conv.stages(), (0, 0, 1), strict=True)
    ]


def test_a_record_builds_them_again(joined):
    record = EncoderRecord.from_dict(json.loads(json.dumps(joined.record.to_dict())))
    assert record == joined.record
    assert (record.name, record.weights, joined.pretrained) == (f"{VIT}+{CONV}", "none", False)
    again = empty_like(record, 64)
    again.load_state_dict(joined.encoder.state_dict())
    images = torch.randn(1, 3, 64, 64)
    before, after = joined.encoder.eval()(images), folded(again, again.side)(images)
    for one, other in zip(before, after, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("parts", [[], ["one"], ["joined", "one"]])
def test_a_record_of_other_parts_is_refused(joined, parts):
    values = joined.record.to_dict()
    known = {"one": values["parts"][0], "joined": values}
    with pytest.raises((ValueError, KeyError)):
        EncoderRecord.from_dict(values | {"parts": [known[part] for part in parts]})


def test_images_are_as_large_as_the_largest_wants():
    found = load_backbone("test_vit+resnet18", "none")
    assert [part.record.expects.size for part in (load_backbone("test_vit", "none"), found)] == [
        160, 224,
    ]  # fmt: skip
    assert [len(maps) for maps in found.encoder(torch.zeros(1, 3, 224, 224))] == [1] * 7


@pytest.mark.parametrize(
    ("backbone", "weights", "said"),
    [
        ("resnet18+", "auto", "names no encoder"),
        ("resnet18+resnet18", "auto", "names an encoder twice"),
        ("resnet18+vgg11", "w.pth", r"names 2 encoders.*--weights auto\+FILE"),
        ("resnet18+vgg11", "auto+", r"--weights auto\+FILE"),
        ("resnet18+resnet1", "none", "unknown backbone 'resnet1'"),
        ("resnet18+squeezenet1_1", "none+missing.pth", "missing.pth"),
    ],
)
def test_what_names_no_encoders_is_refused_in_one_line(backbone, weights, said):
    with pytest.raises(WeightsError, match=said) as caught:
        load_backbone(backbone, weights)
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_plus_in_its_name_is_one_encoder(tmp_path):
    (tmp_path / "a+b").mkdir()
    name = f"local-dir:{tmp_path / 'a+b'}"
    assert split_encoders(name, "auto") == [(name, "auto")]
