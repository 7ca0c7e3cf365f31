"""An experiment is written in one way and has one name, and whatever is wrong with it is told in one sentence."""

import dataclasses
import itertools
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from any_input import MANY, refusal_of
from hypothesis import given, settings
from random_experiments import FILE, FOLDER, PAIRS, experiments_in_order, pair, write_arrays, write_images

import cnn_constraints as cc
from cnn_constraints.data import sources
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import (
    DEFAULTS,
    PLACES,
    Experiment,
    axis,
    fields,
    flat,
    flatten,
    get,
    per_layer,
    product,
    replace,
    to_json,
)
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.resolve import ARRAYS, Resolved, name_of, registries, resolve, soft_constraints

LOCAL = {name for name in low_rank.names() if constraints.find(low_rank.bank_of(name)).local}


pytestmark = pytest.mark.usefixtures("world")


def of_any(law: Callable[[Experiment], None]) -> Callable:
    return settings(max_examples=MANY // 4)(given(experiments_in_order())(law))


def resolve_one(experiment: Experiment) -> Resolved:
    (resolved,) = resolve([experiment])
    return resolved


def refusal(changes: dict[str, Any]) -> str:
    return refusal_of(lambda: resolve_one(replace(Experiment(), changes))) or pytest.fail("it was not refused")


@of_any
def test_resolving_twice_is_resolving_once(experiment):
    once = resolve([experiment])
    assert resolve(once)[0] is once[0]
    assert resolve([experiment, *once]) == resolve([replace(once[0], {})]) == once
    assert pickle.loads(pickle.dumps(once)) == once


@of_any
def test_what_is_changed_of_a_resolved_experiment_is_resolved_anew(experiment):
    """It would go by the name of another."""
    one = resolve_one(experiment)
    changes = {"seed": (one.seed + 1) % 2**32}
    assert type(cc.replace(one, changes)) is Experiment
    assert resolve_one(dataclasses.replace(one, **changes)) == resolve_one(cc.replace(one, changes)) != one


@of_any
def test_what_can_be_said_in_two_ways_is_one_experiment(one):
    """A local cell at all offsets is its corner, tiles of one site are a convolution, equal layers are one for all, and a
    size of its own is two.
    """
    heeds, count = LOCAL & set(soft_constraints(one).stronger), len(one.model.channels)
    ways: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"constraint": "conv", "delta": None}, {"constraint": "shared", "delta": None}),
        ({"constraint": "local", "delta": None}, {"constraint": "dense", "delta": None}),
        ({"constraint": "tiled", "tile": None}, {"constraint": "tiled", "tile": 2}),
        ({"constraint": "low_rank_local", "rank": None}, {"constraint": "low_rank_local", "rank": 2}),
        ({"constraint": "local", "delta": 3}, {"constraint": ("local",) * count, "delta": (3,) * count}),
        ({"delta": 0}, {"delta": 0, "boundary": "zero", "padding": "full"}),
        ({"normalisation": "batch", "bias": "none"}, {"normalisation": "batch", "bias": "channel"}),
    ]
    if not heeds:
        ways.append(({"constraint": "dense", "delta": 7}, {"constraint": "dense", "delta": 9}))
        mixed = {"constraint": ("dense", *["conv"] * count), "delta": 3} | {
            field: (1, *getattr(one.model, field)) for field in ("channels", "pool_sizes", "strides")
        }
        ways.append((mixed, mixed | {"delta": (7, *[3] * count)}))
    if "tiled" not in soft_constraints(one).stronger:
        ways.append(({"constraint": "tiled", "tile": 1}, {"constraint": "conv"}))
    for both in ways:
        named = [{f"model.{leaf}": value for leaf, value in way.items()} for way in both]
        usual = {"model.delta": 2, "model.padding": "same", "model.boundary": "zero"}
        first, second = (resolve_one(replace(one, usual | way)) for way in named)
        assert first == second, both


def test_a_size_and_a_strength_that_are_not_given_are_those_they_stand_for():
    drawn = replace(Experiment(), {"data.source": "signal_patches", "data.intervention": "translate"})
    assert resolve_one(drawn) == resolve_one(replace(drawn, {"data.size": 16, "data.strength": 0.2}))


@of_any
def test_resolving_changes_nothing_else(experiment):
    two_ways = {f"model.{leaf}" for leaf in ("constraint", "delta", "tile", "rank", "padding", "bias")}
    two_ways |= {"data.digest", "data.size", "data.strength", "data.augmentation_strengths"}
    two_ways |= {"training.penalty_threshold"}
    before, after = flat(experiment), flat(resolve_one(experiment))
    assert {name for name in before if before[name] != after[name]} <= two_ways
    layers = [
        [per_layer(of[field], len(experiment.model.channels)) for field in ("model.constraint", "model.delta")]
        for of in (before, after)
    ]
    for constraint, own_delta, name, delta in zip(*layers[0], *layers[1], strict=True):
        if name in LOCAL:
            assert name == ("conv" if constraint == "tiled" and before["model.tile"] == 1 else constraint)
            assert delta == own_delta


@of_any
def test_the_candidates_are_every_combination_the_last_fastest(experiment):
    one = resolve_one(experiment)
    training = one.training
    each = (training.learning_rates, training.weight_decays, training.penalty_strengths or (0.0,))
    assert [tuple(candidate) for candidate in one.candidates] == list(itertools.product(*each))
    assert {type(value) for candidate in one.candidates for value in candidate} == {float}


@of_any
def test_a_name_is_of_the_fields_that_are_not_at_their_default_and_of_no_other(experiment):
    """So a field to come, whose default does what was done before, renames nothing; and JSON has the same name."""
    one = resolve_one(experiment)
    told = {name: value for name, value in flat(one).items() if value != DEFAULTS[name] and name not in PLACES}
    assert one.name == name_of(told) == name_of(flatten(to_json(one)))
    assert re.fullmatch(r"[0-9a-f]{12}", one.name) and re.fullmatch(r"[0-9a-f]{12}", one.group)


def test_every_field_is_in_the_name():
    assert set(DEFAULTS) - set(PAIRS) == {*PLACES, "data.digest"}
    for field in PAIRS:
        one, other = map(resolve_one, pair(field))
        assert {name for name in DEFAULTS if get(one, name) != get(other, name)} == {field}
        assert one.name != other.name and (one.group == other.group) == (field in ARRAYS)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("training.weight_decays", (0.5, -0.0)),
        ("training.learning_rates", (1, 0.5)),
        ("training.penalty_strengths", (1, -0.0)),
        ("training.penalty_threshold", 3),
        ("data.strength", -0.0),
    ],
    ids=str,
)
def test_equal_numbers_have_one_name(field, given):
    base = {"training.penalty": "beta_lasso", "training.penalty_strengths": (0.5,), "data.intervention": "translate"}
    as_float = lambda value: float(value) + 0.0
    written = tuple(map(as_float, given)) if isinstance(given, tuple) else as_float(given)
    one, two = (resolve_one(replace(Experiment(), base | {field: value})) for value in (given, written))
    assert one == two and one.name == two.name and repr(get(one, field)) == repr(written)


WRONG: dict[type, list[Any]] = {
    str: [3, 1.5, True, b"conv", ("none",), ["none"]],
    int: ["3", 1.5, 3.0, True, (3,), [3], 10**40, 10**5000],
    float: ["3", True, 1j, (0.5,), [0.5], float("nan"), float("inf"), 1e39],
}


def is_tuple(field: str) -> bool:
    return str(fields()[field][0]).startswith("tuple")


def wrong_values(field: str) -> Iterator[Any]:
    """Of another type, of no registry, and beyond its bounds; in a tuple too, where the field holds one."""
    hint, bounds = fields()[field]
    (kind,) = (kind for kind in WRONG if re.search(rf"\b{kind.__name__}\b", str(hint)))
    entries = [value for value in WRONG[kind] if value != 3.0 or kind is int]
    if bounds:
        entries += [bounds["least"] - 1, bounds["most"] * 2 + 1]
    if field in registries():
        entries += ["@@@@", ""]
    if "None" not in str(hint):
        entries.append(None)
    if is_tuple(field):
        yield from (None, entries[0], [*DEFAULTS[field]])
        yield from ((*DEFAULTS[field][:1], entry) for entry in entries)
    else:
        yield from entries


@pytest.mark.parametrize("field", fields())
def test_every_field_refuses_what_is_not_of_its_type_its_registry_or_its_bounds(field):
    for value in wrong_values(field):
        message = refusal({field: value})
        assert field in message, (value, message)
        assert "..." in message or "digits" in message or repr(value) in message or repr(value[-1]) in message


@pytest.mark.parametrize("field", registries())
def test_a_misspelt_name_is_told_the_nearest(field):
    for name in registries()[field]:
        typo = name[:-1] + "q"
        message = refusal({field: (typo,) if is_tuple(field) else typo})
        assert field in message and repr(typo) in message and message.endswith(f"did you mean {name!r}?")


def test_the_ends_of_the_bounds_belong_to_them():
    alone = {name for name, (changes, _) in PAIRS.items() if not changes} - {"model.channels"}
    for field in alone:
        if (bounds := fields()[field][1]) and not is_tuple(field):
            changes = {field: bounds["least"], "training.evaluate_every": 1}
            assert get(resolve_one(replace(Experiment(), changes)), field) == bounds["least"]
    assert resolve_one(replace(Experiment(), {"seed": 2**32 - 1})).seed == 2**32 - 1


TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"data.strength": 0.5}, "data.strength is 0.5: 'none' takes no strength"),
    ({"data.augmentation": ("flip", "flip")}, "data.augmentation is ('flip', 'flip'): it must name each once."),
    ({"data.augmentation_strengths": (0.5,)}, "data.augmentation_strengths is (0.5,): each augmentation needs one"),
    (
        {"data.augmentation": ("flip",), "data.intervention": "edge_noise"},
        "'edge_noise' does is done once, before training",
    ),
    ({"data.size": 5}, "data.size is 5: digits has a size of its own"),
    ({"data.source": "quadratic_labels", "data.size": 10**4}, "bytes"),
    ({"model.channels": ()}, "model.channels is ()"),
    ({"model.strides": (1,)}, "model.strides is (1,): model.channels is (8, 16)"),
    ({"model.constraint": ("conv",)}, "model.constraint is ('conv',): model.channels is (8, 16)"),
    ({"model.delta": (1, 2, 3)}, "model.delta is (1, 2, 3): model.channels is (8, 16)"),
    ({"model.padding": "full", "model.boundary": "circular"}, "model.padding is full: a circular boundary"),
    ({"model.padding": "valid", "model.delta": (2, None)}, "model.padding is valid: it is delta"),
    ({"training.learning_rates": ()}, "training.learning_rates is ()"),
    ({"training.weight_decays": (0.1, 0.1)}, "all different"),
    ({"training.learning_rates": (0.1, 0.1 + 1e-12)}, "all different in 32 bits"),
    ({"training.learning_rates": tuple(range(1, 1002))}, "1,001 combinations"),
    ({"training.penalty_strengths": (0.1,)}, "no effect without training.penalty."),
    ({"training.penalty": "conv"}, "training.penalty_strengths is ()"),
    ({"training.penalty_threshold": 1.0}, "no effect without training.penalty beta_lasso"),
    ({"training.switch_at": 3}, "no effect without training.switch_from"),
    ({"training.switch_from": "conv"}, "training.switch_at is None"),
    ({"training.switch_from": "conv", "training.switch_at": 401}, "training.switch_at is 401"),
    ({"training.violations": ("conv", "conv")}, "each once"),
    ({"training.updates": 399}, "training.updates is 399: it must be a multiple"),
    ({"training.updates": 40 * 10**6}, "images, each as often"),
    ({"data.source": "folder", "data.folder": "nowhere"}, "There is no data folder 'nowhere'"),
    ({"data.digest": "0"}, "data.digest is '0': only the images of the sources folder and arrays"),
    ({"data.source": "arrays", "data.file": "nowhere"}, "There is no data file 'nowhere'"),
    ({"data.source": "arrays", "data.file": FILE, "data.digest": "0"}, f"the images in {FILE!r} have"),
    ({"data.source": "folder", "data.folder": FOLDER, "data.digest": "0"}, f"the images in {FOLDER!r} have"),
]


@pytest.mark.parametrize(("changes", "words"), TOGETHER, ids=lambda value: value if isinstance(value, str) else "")
def test_fields_that_do_not_go_together_are_refused(changes, words):
    assert words in refusal(changes)


def test_what_is_no_experiment_is_refused():
    no_model = dataclasses.replace(Experiment(), model=3)
    bad = (
        ([None], "of the type NoneType: it must be an Experiment"),
        ([no_model], "model is of the type int: "),
        ([], "empty"),
    )
    for experiments, words in bad:
        with pytest.raises(InputError, match=words):
            resolve(experiments)


def of_folder(folder: str | Path, **changes: Any) -> Experiment:
    return replace(Experiment(), {"data.source": "folder", "data.folder": str(folder), **changes})


@pytest.fixture
def gray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator) -> Path:
    """A folder of images in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "gray", generator, per_class=2)
    return tmp_path / "gray"


def test_the_same_images_are_one_experiment_wherever_they_lie(gray, monkeypatch):
    shutil.copytree(gray, gray.parent / "copied")
    os.symlink(gray, gray.parent / "link")
    (gray / "train" / "a" / "notes.txt").write_text("What is no image is not looked at.")
    read, whole = [], sources.digest
    monkeypatch.setattr(sources, "digest", lambda folder: (read.append(folder), whole(folder))[1])
    places = [str(gray), f"{gray}/", "gray", "./gray", "gray/../gray", "link", "copied"]
    resolved = resolve(product(of_folder(gray), axis("data.folder", places), axis("seed", [0, 1])))
    assert len(resolved) == 2 and read == places
    assert resolved[0].data.digest == whole(gray)
    assert resolve_one(of_folder(gray, **{"data.digest": whole(gray)})) == resolved[0]
    write_arrays(gray.parent / "a.npz", np.random.default_rng(0))
    shutil.copy(gray.parent / "a.npz", gray.parent / "b.npz")
    write_arrays(gray.parent / "other.npz", np.random.default_rng(1))
    files = product(Experiment(), axis("data.source", ["arrays"]), axis("data.file", ["a.npz", "b.npz", "other.npz"]))
    assert [one.data.file for one in resolve(files)] == ["a.npz", "other.npz"]
    # Archives are verified by their checksums, wherever they lie.
    archives = product(Experiment(), axis("data.source", ["mnist"]), axis("data.folder", [None, "a", "gray"]))
    assert len(resolve(archives)) == 1


def flip_a_byte(gray: Path) -> None:
    path = gray / "test" / "b" / "1.png"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


OTHER_IMAGES = {
    "another byte": flip_a_byte,
    "another name": lambda gray: (gray / "train/a/0.png").rename(gray / "train/a/2.png"),
    "another class": lambda gray: (gray / "train/a/0.png").rename(gray / "train/b/2.png"),
    "one more": lambda gray: shutil.copy(gray / "train/a/0.png", gray / "train/a/2.png"),
    "no text": lambda gray: os.rename(gray / "train/a/0.png", os.fsencode(gray / "train/a") + b"/\xff.png"),
}


@pytest.mark.parametrize("change", OTHER_IMAGES.values(), ids=OTHER_IMAGES)
def test_other_images_at_the_same_place_are_another_experiment(gray, change):
    before = resolve_one(of_folder(gray))
    change(gray)
    after = resolve_one(of_folder(gray))
    assert before.name != after.name and before.group != after.group
    assert {field for field in DEFAULTS if get(before, field) != get(after, field)} == {"data.digest"}
