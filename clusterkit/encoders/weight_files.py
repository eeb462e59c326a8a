"""Files of weights: plain tensors, read without running anything that they hold."""

from pathlib import Path

import torch

from clusterkit.errors import WeightsError

# Written by `save_pretrained` or a download from the hub, the most usual first.
_IN_FOLDER = ("model.safetensors", "open_clip_model.safetensors", "model.pth", "pytorch_model.pth")
_ENDINGS = (".safetensors", ".pth", ".pt")
_CONVERT = (
    'convert it where you trust it: python -c "import torch; from safetensors.torch import '
    "save_file; save_file(torch.load('{name}', weights_only=True), 'model.safetensors')\""
)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` or ``.pth`` file by their names.

    Raises
    ------
    WeightsError
        There is no such file, or it holds something else than tensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"weights file {path} does not exist; give auto, none, a file or a folder"
        )
    if path.suffix.lower() in (".bin", ".pkl", ".pickle"):
        raise WeightsError(
            f"weights file {path} may be a pickle, which can run code, and is not read; "
            + _CONVERT.format(name=path.name)
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            # weights_only: a pickle from a stranger must not run code.
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"weights file {path} is not a file of plain tensors (.pth or .safetensors): "
            f"{type(error).__name__}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError(f"weights file {path} holds no plain dict of tensors")
    return state


def file_in_folder(folder: Path) -> Path:
    """Return the file of weights in a folder, as `save_pretrained` or a hub's download leaves it.

    Raises
    ------
    WeightsError
        There is none, or several of which none has a usual name.
    """
    for name in _IN_FOLDER:
        if (folder / name).is_file():
            return folder / name
    for ending in _ENDINGS:
        found = sorted(folder.glob(f"*{ending}"))
        if len(found) > 1:
            names = ", ".join(path.name for path in found[:4])
            raise WeightsError(f"{folder} holds several files of weights ({names}); name one of "
                               "them in --weights")  # fmt: skip
        if found:
            return found[0]
    pickles = sorted(folder.glob("*.bin"))
    if pickles:
        return pickles[0]
    raise WeightsError(f"{folder} holds no weights (model.safetensors); it is what timm's "
                       "save_for_hf or a download of the model's repository leaves")  # fmt: skip


def do_not_fit(
    where: str, name: str, missing: list[str], wrong: list[str], of: int
) -> WeightsError:
    """Return the error for tensors that are not those of a network.

    Parameters
    ----------
    where : str
        The file.
    name : str
        The network.
    missing, wrong : list of str
        Tensors that are not there, and that have another shape.
    of : int
        Tensors that the network has.
    """
    example = (missing or wrong)[0]
    return WeightsError(
        f"weights {where} do not fit backbone '{name}': {len(missing)} of {of} "
        f"tensors missing, {len(wrong)} of another shape (e.g. '{example}'); "
        "name the backbone they were trained with in --backbone"
    )
