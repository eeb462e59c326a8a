"""Threads: each works alone, and what the host of the library has set stays as it is."""

import os
import threading
import time

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from clusterkit import assign, fit
from clusterkit.threads import in_parallel, one_thread, threads_allowed


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_one_thread_is_for_its_block_alone(four_threads):
    before = blas_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
        assert set(blas_threads()) <= {1}
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        assert threads_allowed() == 4
    assert torch.get_num_threads() == 4
    assert blas_threads() == before


def test_after_an_error_in_a_block_all_is_as_before(four_threads):
    with pytest.raises(ZeroDivisionError), one_thread():
        _ = 1 / 0
    assert torch.get_num_threads() == 4


def test_blocks_that_overlap_in_several_threads_leave_nothing_behind(four_threads):
    first_in, second_in = threading.Event(), threading.Event()

    def first():
        with one_thread():
            first_in.set()
            second_in.wait(10)

    def second():
        first_in.wait(10)
        with one_thread():
            second_in.set()
            time.sleep(0.05)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert threads_allowed() == 4
    # What torch was told by another thread holds for those that begin after it.
    assert in_parallel(lambda _: torch.get_num_threads(), range(3)) == [1, 1, 1]
    assert torch.get_num_threads() == 4


def test_in_parallel_keeps_the_order_and_gives_the_first_error(four_threads):
    def slow_if_early(number: int) -> int:
        time.sleep(0.02 * (5 - number))
        return number * number

    assert in_parallel(slow_if_early, range(5)) == [0, 1, 4, 9, 16]

    def fails(number: int) -> None:
        if number:
            raise ValueError(f"part {number}")

    with pytest.raises(ValueError, match="part 1"):
        in_parallel(fails, range(4))


def test_in_parallel_uses_as_many_threads_as_torch_had(four_threads):
    together = threading.Barrier(4, timeout=10)
    # Passes only where four are at it at once.
    assert len(in_parallel(lambda _: together.wait(), range(4))) == 4
    with one_thread():
        assert len(in_parallel(lambda _: together.wait(), range(4))) == 4


def test_a_hosts_settings_are_as_before(sample, tmp_path, config, four_threads):
    environment, blas = dict(os.environ), blas_threads()
    filters, printing = np.geterr(), np.get_printoptions()
    torch.manual_seed(7)
    random = torch.get_rng_state()
    run = fit(sample / "labels.csv", config=config, run=tmp_path / "run")
    assign(run, sample / "unlabeled", config=config, out=tmp_path / "a.csv")
    assert torch.get_num_threads() == 4
    assert blas_threads() == blas
    assert dict(os.environ) == environment
    assert torch.equal(torch.get_rng_state(), random)
    assert (np.geterr(), np.get_printoptions()) == (filters, printing)
