"""What the first process decides reaches all, errors too."""

import multiprocessing
import pickle
from pathlib import Path

import pytest
from torch import distributed

from mmseg_domino.domain.extraction_plan import DamagedImagesError
from mmseg_domino.utils.processes import on_first, process_rank

FORK = multiprocessing.get_context("fork")


def test_one_process_calls_the_function_itself():
    assert process_rank() == (0, 1)
    assert on_first(lambda: "here") == "here"
    with pytest.raises(ZeroDivisionError):
        on_first(lambda: 1 / 0)


def _process(rank, rendezvous, results):
    distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
    )
    called = []

    def fail():
        called.append(rank)
        raise DamagedImagesError({"a.png": "is empty"}, Path("store.safetensors"))

    try:
        given = on_first(lambda: called.append(rank) or process_rank())
        on_first(fail)
    except DamagedImagesError as error:
        results.put((rank, given, called, error.damaged))
    finally:
        distributed.destroy_process_group()


def test_result_and_error_of_the_first_reach_the_other(tmp_path):
    results = FORK.SimpleQueue()
    arguments = (tmp_path / "rendezvous", results)
    processes = [FORK.Process(target=_process, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    found = sorted(results.get() for _ in processes)
    damaged = {"a.png": "is empty"}
    assert found == [(0, (0, 2), [0, 0], damaged), (1, (0, 2), [], damaged)]


def test_an_error_with_arguments_of_its_own_is_the_same_elsewhere():
    error = DamagedImagesError({"a.png": "is empty"}, Path("store.safetensors"))
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), other.damaged) == (str(error), error.damaged)
