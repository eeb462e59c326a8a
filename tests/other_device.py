"""A device `other` that computes on the CPU, and takes no tensor of the CPU beside its own.

What is on it by mistake, or not on it by mistake, is an error as on a GPU; where there is none, it
shows that `fit`, `assign`, `embed` and `audit` keep apart what belongs where. For a process of its
own: it changes torch.
"""

from typing import Any

import torch
from torch.utils import _pytree as tree
from torch.utils import backend_registration

NAME = "other"

# Operations between devices: copies, and looking rows up by numbers that are on the CPU.
_BETWEEN = ("_to_copy", "copy_", "_copy_from", "set_", "index", "_index", "_unsafe_index")

_PLAIN = torch.Tensor.as_subclass
_combined: dict[type, type] = {}


class _Module(backend_registration._DummyBackendModule):
    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Its numbers come from the CPU's generator."""


class Other(torch.Tensor):
    """A tensor on the device; its numbers are in `raw`, on the CPU."""

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "Other":
        return torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), strides=raw.stride(), dtype=raw.dtype, device=torch.device(NAME, 0)
        )

    def __init__(self, raw: torch.Tensor) -> None:
        self.raw = raw.raw if isinstance(raw, Other) else _PLAIN(raw, torch.Tensor)

    def __repr__(self, **_: Any) -> str:
        return f"{NAME}: {self.raw}"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _compute(operation, args, kwargs or {})


def _compute(operation: Any, args: tuple, kwargs: dict) -> Any:
    flat, form = tree.tree_flatten((args, kwargs))
    name = operation._schema.name.partition("::")[2]
    ours = [one for one in flat if isinstance(one, Other)]
    cpu = [one for one in flat if isinstance(one, torch.Tensor) and not isinstance(one, Other)]
    if ours and any(one.dim() for one in cpu) and not name.startswith(_BETWEEN):
        raise RuntimeError(f"{name}: tensors of the CPU and of {NAME}")
    devices = [one for one in flat if isinstance(one, torch.device)]
    # Without one, what is made of nothing came here because it is to be on this device.
    here = devices[-1].type == NAME if devices else True
    known = {id(one.raw): one for one in ours}
    args, kwargs = tree.tree_unflatten([_on_cpu(one) for one in flat], form)

    def back(found: Any) -> Any:
        if not here or not isinstance(found, torch.Tensor) or isinstance(found, Other):
            return found
        return known[id(found)] if id(found) in known else Other(found)

    return tree.tree_map(back, operation(*args, **kwargs))


def _on_cpu(one: Any) -> Any:
    if isinstance(one, Other):
        return one.raw
    if isinstance(one, torch.device) and one.type == NAME:
        return torch.device("cpu")
    return _PLAIN(one, torch.Tensor) if isinstance(one, torch.Tensor) else one


def _as_subclass(tensor: torch.Tensor, cls: type) -> torch.Tensor:
    """fastai gives tensors classes of its own; of these there are some on the device too."""
    if not isinstance(tensor, Other):
        return _PLAIN(tensor, cls)
    if cls is torch.Tensor or tensor.requires_grad:
        return tensor if type(tensor) is Other else Other(tensor.raw)
    if isinstance(tensor, cls):
        return tensor
    if not issubclass(cls, Other):
        own = {"__new__": Other.__new__, "__init__": Other.__init__,
               "set_meta": lambda tensor, like, as_copy=False: None}  # fmt: skip
        cls = _combined.setdefault(cls, type(f"Other{cls.__name__}", (cls, Other), own))
    return cls(tensor.raw)


def set_up() -> torch.library.Library:
    """Let torch know the device; what is returned must be kept."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    library = torch.library.Library("_", "IMPL")
    library.fallback(lambda operation, *args, **kwargs: _compute(operation, args, kwargs),
                     "PrivateUse1")  # fmt: skip
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.Tensor.as_subclass = torch.as_subclass = _as_subclass
    # Tensors of Python know nothing of inference mode, and torch.tensor nothing of the device.
    torch.inference_mode, make = torch.no_grad, torch.tensor

    def tensor(values: Any, *args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        made = make(values, *args, **kwargs)
        return made if device is None else made.to(device)

    torch.tensor = tensor
    return library
