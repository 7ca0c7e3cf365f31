"""One job on several hosts, each a process with devices of its own (`jax.distributed`): all run the same program on the
devices of all, and what must be the same everywhere is what the first process says. With one process nothing is sent.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from cnn_constraints.errors import InputError

T = TypeVar("T")


def alone() -> bool:
    """Whether this is the only process of its job."""
    return jax.process_count() == 1


def first() -> bool:
    """Whether this is the process that reads and writes the run folder."""
    return jax.process_index() == 0


def anywhere(flag: bool) -> bool:
    """Whether it is true in any process."""
    return flag if alone() else bool(multihost_utils.process_allgather(np.array(flag)).any())


def on_first(action: Callable[[], T]) -> T | None:
    """What the first process gets from an action that the others leave to it. Raises its InputError there, and one that
    points to it elsewhere, so that no process waits for one that has ended.
    """
    result, failure = None, None
    if first():
        try:
            result = action()
        except InputError as error:
            failure = error
    if not agreed(np.array(failure is None)):
        raise failure or InputError("The first process of this job has refused its input: it says why.")
    return result


def place(arrays: Any, sharding: Sharding) -> Any:
    """Arrays, the same in every process, on the devices of all; what is there already is not copied."""
    return jax.device_put(arrays, sharding) if alone() else jax.tree.map(lambda leaf: _place(leaf, sharding), arrays)


def gather(arrays: Any) -> Any:
    """Arrays that are spread over the devices of one mesh, whole, on every host."""
    return jax.tree.map(np.asarray, arrays if alone() else _replicate(jax.tree.leaves(arrays)[0].sharding.mesh)(arrays))


def agreed(arrays: Any) -> Any:
    """What the first process gives for these arrays, whose shapes are the same in every process."""
    return arrays if alone() else multihost_utils.broadcast_one_to_all(arrays)


@cache
def _replicate(mesh: Mesh) -> Callable:
    """All arrays at once: sent one by one they would take several times as long."""
    return jax.jit(lambda arrays: arrays, out_shardings=NamedSharding(mesh, PartitionSpec()))


def _place(array: Any, sharding: Sharding) -> jax.Array:
    if isinstance(array, jax.Array) and array.sharding == sharding:
        return array
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_place(jax.random.key_data(array), sharding))
    here = np.asarray(array)
    return jax.make_array_from_callback(here.shape, sharding, lambda index: here[index])
