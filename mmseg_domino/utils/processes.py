"""What the processes of one run (``torch.distributed``) do together; a run may have only one."""

from collections.abc import Callable
from typing import TypeVar

from torch import distributed

T = TypeVar("T")


def process_rank() -> tuple[int, int]:
    """This process's rank, and how many processes there are."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def on_first(function: Callable[[], T]) -> T:
    """Call a function in the first process only; its result is given, or its error raised, in all.

    To be called by every process. Result and error must be picklable.
    """
    rank, world = process_rank()
    if world == 1:
        return function()
    outcome: list = [None, None]
    if rank == 0:
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error
    distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
