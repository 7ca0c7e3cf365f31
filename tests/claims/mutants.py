"""Known ways to break the system, each of which some claim must notice: `python tests/claims/mutants.py`.

A mutant puts one function, or one constant, in another's place while a claim is measured, with few tuning seeds and fewer
sizes than usual. It is caught where a criterion fails: an undecided one does not count. Each claim is measured without a
mutant too, when none of its criteria may fail. Exit code 1 where a mutant survives, or a claim fails without one.

That seeds are ignored is no mutant: one seed measured several times gives an interval of no width around a true value.
"""

import dataclasses
import functools
import gc
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from cnn_constraints.claims import parameter_ladder, quadratic_separation, records
from cnn_constraints.claims.claim import Laboratory
from cnn_constraints.claims.laboratory import Session, find_images
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.errors import unknown_name
from cnn_constraints.lattice.constraints import offsets_of_pairs
from cnn_constraints.settings import prepare_jax

ONE_SEED = (
    "parameter_ladder",
    "constraints_make_convolution",
    "equivariance",
    "reach",
    "average_is_augmentation",
    "position_from_the_border",
)
"""Claims that are measured with one seed here; others have three."""

SMALLER: dict[str, dict[str, Any]] = {
    "parameter_ladder": {"SMALL": parameter_ladder.SMALL[::9]},
    "constraints_make_convolution": {"SIDES": (6,), "DELTAS": (1, 2)},
    "dynamic_signal": {
        "SIZES": {"conv": (48,), "local": (32, 128, 512, 1024, 2048), "dense": (1024,), "shared": (4096,)}
    },
    "quadratic_separation": {"SAMPLES": quadratic_separation.SAMPLES | {"dense": (256, 1024, 4096, 16384)}},
    "locality_exponent": {"SIZES": (64, 128, 256, 512, 1024)},
    "pruning_finds_locality": {"UPDATES": 500},
}
"""Constants of a claim that are smaller here."""


class Mutant(NamedTuple):
    """place: a function or constant of the package, as `pkgutil.resolve_name` has it; after a slash, a key of a dictionary.
    broken: what stands there, given what stood there.
    """

    claim: str
    words: str
    place: str
    broken: Callable[[Any], Any]


def instead(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def of_cell(cell: str, change: Callable[..., Any]) -> Callable[[Any], Any]:
    """Of `choose.apply`. change: is given it for this cell, and its arguments."""

    def broken(apply: Callable[..., Any]) -> Callable[..., Any]:
        def changed(name: str, *given: Any) -> Any:
            return change(functools.partial(apply, name), *given) if name == cell else apply(name, *given)

        return changed

    return broken


def rising(f: Callable[..., jax.Array], axis: int, height: float) -> Callable[..., jax.Array]:
    """What f gives, and from one end of an axis to the other up to `height` of it more."""

    def weighted(*given: Any) -> jax.Array:
        x = f(*given)
        slope = jnp.linspace(1, 1 + height, x.shape[axis]).astype(x.dtype)
        return x * slope.reshape([-1 if place == axis else 1 for place in range(x.ndim)])

    return weighted


def either_near(geometry: Any, delta: int | None) -> np.ndarray:
    a, b = offsets_of_pairs(geometry)
    return np.ones(a.shape, bool) if delta is None else (abs(a) <= delta) | (abs(b) <= delta)


def in_first_patch(draw: Callable[..., Any]) -> Callable[..., Any]:
    def signal_patches(generator, examples, patches, signal, noise):
        first, labels = draw(generator, examples, 1, signal, noise)
        others = noise * generator.standard_normal((examples, patches - 1, len(signal)))
        return np.concatenate([first, others], axis=1), labels

    return signal_patches


def with_neighbours_labels(draw: Callable[..., Any]) -> Callable[..., Any]:
    def shuffled(*given: Any) -> Any:
        inputs, labels = draw(*given)
        return inputs, (jnp if isinstance(labels, jax.Array) else np).roll(labels, 1)

    return shuffled


def far_polynomial(signals: np.ndarray, oscillating: bool) -> np.ndarray:
    terms = signals * np.roll(signals, -10, axis=1) * np.roll(signals, -15, axis=1)
    signs = (-1.0) ** np.arange(signals.shape[1]) if oscillating else np.ones(signals.shape[1])
    return terms @ signs / np.sqrt(signals.shape[1])


def apart(signals: jax.Array, first: Any, bits: int) -> jax.Array:
    """The parity of sites that are no neighbours."""
    return signals[:, (first + 7 * jnp.arange(bits)) % signals.shape[1]].prod(axis=1)


def larger_sum(images: np.ndarray) -> np.ndarray:
    sums = images[..., :2].sum(axis=(1, 2))
    return (sums[:, 0] > sums[:, 1]).astype(np.int32)


def upper_half(x: jax.Array) -> jax.Array:
    return x.at[:, x.shape[1] // 2 :].set(0)


def unturned(inputs: np.ndarray) -> np.ndarray:
    """Each of the 40 inputs as often as it was, where it was."""
    return np.tile(inputs[:40], (len(inputs) // 40, 1))


def without_sharing(f: Callable[..., Any]) -> Callable[..., Any]:
    """Of functions whose first argument names a cell."""
    return lambda cell, *given, **more: f("local" if cell == "conv" else cell, *given, **more)


def in_training_alone(intervention: Any) -> Any:
    return intervention._replace(apply=lambda *given: intervention.apply(*given)._replace(test=given[0].test))


def in_labels_alone(intervention: Any) -> Any:
    def apply(dataset: Any, strength: float) -> Any:
        coded = intervention.apply(dataset, strength)
        splits = {
            name: getattr(coded, name)._replace(images=getattr(dataset, name).images) for name in ("train", "test")
        }
        return dataset._replace(**splits)

    return intervention._replace(apply=apply)


def of(claim: str, *mutants: tuple[str, str, Callable[[Any], Any]]) -> list[Mutant]:
    """HERE in a place: the module of the claim."""
    return [Mutant(claim, words, place.replace(HERE, f"claims.{claim}"), broken) for words, place, broken in mutants]


HERE, LAYER, NEAR, AVERAGE = "HERE", "ops.choose:apply", "lattice.constraints:near", "network:READOUTS/global_average"
POLYNOMIAL, PATCHES = "data.tasks:local_polynomial", "data.tasks:signal_patches"
INTERVENTIONS = "data.interventions:INTERVENTIONS"

MUTANTS = [
    *of(
        "equivariance",
        ("sharing is 1% off in conv", LAYER, of_cell("conv", lambda f, *given: rising(f, 1, 0.01)(*given))),
        ("sharing is 1% off in shared", LAYER, of_cell("shared", lambda f, *given: rising(f, 2, 0.01)(*given))),
        (
            "a torus has a border",
            LAYER,
            of_cell("conv", lambda f, x, w, g, *rest: f(x, w, dataclasses.replace(g, boundary="zero"), *rest)),
        ),
        ("the average is weighted by the place", AVERAGE, lambda f: lambda x: f(rising(jnp.asarray, 1, 0.1)(x))),
    ),
    *of(
        "reach",
        ("a thousandth leaks in", LAYER, of_cell("conv", lambda f, x, *rest: f(x, *rest) + 1e-3 * x.mean())),
        ("the lower half is unseen", LAYER, of_cell("shared", lambda f, x, *rest: f(upper_half(x), *rest))),
    ),
    *of(
        "parameter_ladder",
        ("near means delta + 1", NEAR, lambda f: lambda g, delta: f(g, delta if delta is None else delta + 1)),
        ("near in one direction is near", NEAR, instead(either_near)),
        (
            "weights are counted beyond the border",
            "lattice.counts:count",
            lambda f: lambda name, g, *delta: f(name, dataclasses.replace(g, boundary="circular"), *delta),
        ),
        (
            "an offset and its negative share a weight",
            "lattice.constraints:offset_names",
            lambda f: lambda g: abs(f(g) - f(g)[0, 0]),
        ),
    ),
    *of(
        "constraints_make_convolution",
        ("sharing is 1% off", "HERE:expand", lambda f: rising(f, 0, 0.01)),
        ("projections are 1% too large", "HERE:project", lambda f: lambda *given: 1.01 * f(*given)),
        ("kernels are turned by half", LAYER, of_cell("conv", lambda f, x, w, *rest: f(x, w[:, ::-1], *rest))),
        ("the meet of two is the first", "HERE:meet", instead(lambda first, second: first)),
    ),
    *of(
        "kernel_lattice",
        ("the polynomial is not local", POLYNOMIAL, instead(far_polynomial)),
        ("what oscillates does not", POLYNOMIAL, lambda f: lambda signals, oscillating: f(signals, False)),
        ("the layer is linear", "HERE:nonlinearity", instead(lambda t: t)),
        (
            "conv does not share",
            "HERE:cell_kernel",
            lambda f: lambda x, y, window, pool: f(x, y, window, 1 if window < x.shape[1] else pool),
        ),
        (
            "local sees everything",
            "HERE:cell_kernel",
            lambda f: lambda x, y, window, pool: f(x, y, x.shape[1] if pool == 1 else window, pool),
        ),
    ),
    *of(
        "average_is_augmentation",
        (
            "sharing is 1% off",
            "HERE:cell_kernel",
            lambda f: lambda x, y, window, pool: (1.01 if pool > 1 else 1) * f(x, y, window, pool),
        ),
        (
            "rotations do not turn",
            "HERE:regression",
            lambda f: lambda cell, ridge, train, *rest: f(cell, ridge, unturned(train), *rest),
        ),
        ("the ridge is one for all", "HERE:regression", lambda f: lambda cell, ridge, *rest: f(cell, 1e-3, *rest)),
    ),
    *of(
        "dynamic_signal",
        ("the signal is always in the first patch", PATCHES, in_first_patch),
        ("labels are shuffled", PATCHES, with_neighbours_labels),
        ("there is no noise", PATCHES, lambda f: lambda *given: f(*given[:-1], 0.0)),
        ("conv does not share", "HERE:run", without_sharing),
        ("the activation is linear", "HERE:localized_signed", instead(lambda z, threshold: z)),
    ),
    *of(
        "quadratic_separation",
        ("labels tell sums and not norms", "data.tasks:quadratic_labels", instead(larger_sum)),
        ("labels are shuffled", "training.loop:prepare", with_neighbours_labels),
        (
            "one sample in twenty is lost",
            "HERE:exact_error",
            lambda f: lambda dimension, share, seed: f(dimension, 0.95 * share, seed),
        ),
    ),
    *of(
        "invisible_at_infinite_width",
        ("initial weights vary twice as much", "lattice.counts:inverse_fan_in", lambda f: lambda *given: 2 * f(*given)),
    ),
    *of(
        "position_from_the_border",
        ("full padding is same padding", "HERE:BORDERS/full", instead(("same", "zero"))),
        ("a torus has a border", "HERE:BORDERS/circular", instead(("same", "zero"))),
    ),
    *of(
        "locality_exponent",
        ("the teacher sees everything", "HERE:TEACHER_WINDOW", instead(6)),
        (
            "conv does not share",
            "HERE:cell_kernel",
            lambda f: lambda x, y, cell, window: f(x, y, "local" if cell == "conv" else cell, window),
        ),
        ("the ridge is not small", "HERE:RIDGE", instead(0.1)),
    ),
    *of(
        "bias_against_reality",
        ("test images are not permuted", f"{INTERVENTIONS}/permute_pixels", in_training_alone),
        ("labels code no place", f"{INTERVENTIONS}/label_positions", in_labels_alone),
    ),
    *of(
        "parity",
        ("the parity is not of neighbours", "data.tasks:parity", instead(apart)),
        ("every layer is local", "HERE:Layer", lambda f: lambda cell, *given, **more: f("local", *given, **more)),
    ),
    *of(
        "receptive_fields_emerge",
        ("nothing is saturated", "HERE:covariances", lambda f: lambda: f()._replace(saturated=jnp.zeros(8, bool))),
        ("both classes have one length", "HERE:LENGTHS", instead((2.0, 2.0))),
    ),
    *of(
        "pruning_finds_locality",
        ("the largest weights are cut", "HERE:prune", lambda f: lambda mask, w: f(mask, 1 / (abs(w) + 1e-9))),
        (
            "nothing is permuted",
            "HERE:run",
            lambda f: lambda dataset, n_train, permuted, seed: f(dataset, n_train, False, seed),
        ),
    ),
]


@contextmanager
def put_in_place(mutant: Mutant) -> Iterator[None]:
    """Nothing that was computed before is remembered within, and nothing of it after."""
    path, _, key = mutant.place.partition("/")
    module, _, name = path.partition(":")
    home = resolve_name(f"cnn_constraints.{module}")
    there = getattr(home, name)
    with mock.patch.object(home, name, {**there, key: mutant.broken(there[key])} if key else mutant.broken(there)):
        forget()
        yield
    forget()


def forget() -> None:
    """All compiled programs, and what functions of the package remember."""
    jax.clear_caches()
    for thing in gc.get_objects():
        if isinstance(thing, functools._lru_cache_wrapper) and thing.__module__.startswith("cnn_constraints."):
            thing.cache_clear()


def failing(name: str, mutant: Mutant | None = None) -> list[str]:
    """The quantities of a claim whose criteria fail."""
    claim, images = CLAIMS[name], find_images([name], "quick", None)
    seeds = (0,) if name in ONE_SEED else (0, 1, 2)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for constant, value in SMALLER.get(name, {}).items():
            stack.enter_context(mock.patch(f"cnn_constraints.claims.{name}.{constant}", value))
        if mutant:
            stack.enter_context(put_in_place(mutant))
        session = Session(folder, "quick", 0, images, [])
        found = claim.measure(Laboratory("quick", seeds, images, lambda some: session.train(some, folder / "runs")))
    judged = records.judge(records.terms(claim, seeds, {}), found.values, 0.0)
    return [row["quantity"] for row in judged["criteria"] if row["verdict"] == "fails"]


def main(names: Sequence[str]) -> int:
    """Of the claims named, or of all that have mutants. Returns the exit code."""
    known = dict.fromkeys(mutant.claim for mutant in MUTANTS)
    for name in names:
        if name not in known:
            print(f"error: {unknown_name('claim with mutants', name, known)}", file=sys.stderr)
            return 2
    prepare_jax()
    mutants = [mutant for mutant in MUTANTS if not names or mutant.claim in names]
    cases = [(name, None) for name in dict.fromkeys(mutant.claim for mutant in mutants)]
    wrong = 0
    for name, mutant in [*((mutant.claim, mutant) for mutant in mutants), *cases]:
        started = time.perf_counter()
        fails = failing(name, mutant)
        is_wrong = bool(fails) != (mutant is not None)
        wrong += is_wrong
        words = f"{'!' if is_wrong else ' '} {name:28} | {mutant.words if mutant else 'no mutant':40}"
        print(
            f"{words} | {time.perf_counter() - started:4.0f} s | {'; '.join(fails[:1]) or 'nothing fails'}", flush=True
        )
    print(f"{len(mutants)} mutants of {len(cases)} claims, {wrong} not as they should be.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
