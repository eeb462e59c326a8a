"""Several processes that do the same, as a launcher starts them: forked, so nothing is imported."""

import multiprocessing
import os
import socket
import traceback
from multiprocessing.connection import Connection

# Seconds after which a process hangs.
PATIENCE = 120


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _work(work, rank: int, environment: dict[str, str], sender: Connection) -> None:
    os.environ.update(environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
    import torch

    torch.set_num_threads(1)
    try:
        found = work(rank)
    except BaseException as error:
        traceback.print_exc()
        found = error
    sender.send(found)
    # Nothing of the tests' own is tidied up here.
    os._exit(0)


def together(work, size: int = 2) -> list:
    """Call ``work(rank)`` in `size` processes; returns what each returned or raised.

    None: it ended without a word.
    """
    import torch.distributed

    port = _free_port()
    # As torchrun does: what the processes tell each other outlives any of them.
    store = torch.distributed.TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False)
    environment = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                   "TORCHELASTIC_USE_AGENT_STORE": "True"}  # fmt: skip
    context, processes, receivers = multiprocessing.get_context("fork"), [], []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(work, rank, environment, sender))
        process.start()
        sender.close()
        processes.append(process)
        receivers.append(receiver)
    try:
        return [_received(receiver) for receiver in receivers]
    finally:
        for process in processes:
            process.kill()
            process.join()
        del store


def _received(receiver: Connection) -> object:
    assert receiver.poll(PATIENCE), "a process hangs"
    try:
        return receiver.recv()
    except EOFError:
        return None
