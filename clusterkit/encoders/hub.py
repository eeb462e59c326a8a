"""Files of the Hugging Face hub: found in its cache, or downloaded where the network allows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterkit.errors import WeightsError


def download(repository: str, filename: str) -> Path | None:
    """Return a file of a repository, from the hub's cache or the network.

    Parameters
    ----------
    repository : str
        ``owner/name``, or ``owner/name@revision``.
    filename : str

    Returns
    -------
    Path or None
        None: the repository has no such file.

    Raises
    ------
    WeightsError
        It cannot be had: no network, no such repository, or one that asks for a token.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    owner, _, revision = repository.partition("@")
    carry = ("or download the repository where there is a network, and give its folder in "
             "--weights DIR")  # fmt: skip
    try:
        with _without_bars():
            return Path(hf_hub_download(owner, filename, revision=revision or None))
    except GatedRepoError as error:
        raise WeightsError(f"{repository} is gated: accept its terms on the hub and log in "
                           f"(hf auth login), {carry}") from error  # fmt: skip
    except LocalEntryNotFoundError as error:
        raise WeightsError(f"weights of {repository} cannot be downloaded (no network?); "
                           f"try again, {carry}") from error  # fmt: skip
    except EntryNotFoundError:
        return None
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"the hub has no repository {repository}, or only for those who are logged in "
            f"(hf auth login); its names tell a from A; {carry}"
        ) from error
    except Exception as error:
        said = str(error).strip().splitlines()
        reason = said[0][:200] if said else type(error).__name__
        raise WeightsError(f"weights of {repository} cannot be had ({reason}); {carry}") from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """Hide the bars of the hub's client, which would stand between ours."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hidden = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            enable_progress_bars()
