"""An experiment is written in one way and has one name, and whatever is wrong with it is told in one sentence."""

import dataclasses
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
from random_experiments import IMAGES, PAIRS, REGISTRIES, pair, random_experiment, write_images

import cnn_constraints as cc
from cnn_constraints import resolve as resolve_module
from cnn_constraints.data import sources
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import DEFAULTS, Experiment, axis, flat, get, hints, product, replace
from cnn_constraints.lattice import constraints, low_rank
from cnn_constraints.resolve import ARRAYS, Resolved, registries, resolve, soft_constraints
from cnn_constraints.training.soft_constraints import BETA_LASSO

FIELDS = sorted(DEFAULTS)
LOCAL = sorted(name for name in low_rank.names() if constraints.find(low_rank.bank_of(name)).local)
LOCAL_SET = set(LOCAL)
GLOBAL = sorted(set(low_rank.names()) - LOCAL_SET)
SIZES = {"model.tile": "tiled", "model.rank": "low_rank_local"}
"""Fields that mean something to one constraint alone."""
VERIFIED = sorted(set(sources.names()) - {"folder"})

WRONG_FOR_TYPE: dict[Any, list[Any]] = {
    str: [None, 3, 1.5, True, b"conv", ("none",), ["none"]],
    str | None: [3, 1.5, False, b"conv", ("none",), ["none"]],
    int: [None, "3", 1.5, 3.0, True, (3,), [3]],
    int | None: ["3", 1.5, 3.0, False, (3,), [3]],
    float | None: ["3", True, 1j, (0.5,), [0.5]],
    tuple[int, ...]: [None, 3, "33", True, [3, 3], {3: 3}, ("3", 3), (3, "3"), (3, 3.0), (3, None), (3, True)],
    tuple[str, ...]: [None, "conv", 3, True, ["conv"], {"conv"}, ("conv", 3), (None,), (True,)],
    tuple[float, ...]: [None, 0.1, "0.1", True, [0.1], {0.1}, ("0.1",), (0.1, "0.2"), (0.1, None), (0.1, True), (1j,)],
}
WRONG_TYPES = [(field, value) for field, hint in hints().items() for value in WRONG_FOR_TYPE[hint]]

CASES = 10
"""Random experiments a test."""


@pytest.fixture
def generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True, scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory in which IMAGES is a folder of images."""
    place = tmp_path_factory.mktemp("images")
    write_images(place / IMAGES, np.random.default_rng(), per_class=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield place / IMAGES


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Values come as from a user: no check that is switched on for tests alone stands before the package's own."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def experiments(generator: np.random.Generator) -> list[Experiment]:
    return [random_experiment(generator) for _ in range(CASES)]


def resolve_one(experiment: Experiment) -> Resolved:
    (resolved,) = resolve([experiment])
    return resolved


def refusal(experiment: Experiment) -> str:
    with pytest.raises(InputError) as error:
        resolve_one(experiment)
    message = str(error.value)
    assert "\n" not in message and message[-1] in ".?"
    return message


def without_size(experiment: Experiment) -> Experiment:
    """So that its images may come from anywhere."""
    return replace(experiment, {"data.size": None})


def without_soft_constraints(experiment: Experiment) -> Experiment:
    plain = flat(Experiment())
    soft = ("switch_from", "switch_at", "penalty", "penalty_strengths", "penalty_threshold", "violations")
    return replace(experiment, {f"training.{name}": plain[f"training.{name}"] for name in soft})


def test_resolving_twice_is_resolving_once(experiments):
    once = resolve(experiments)
    assert resolve(once) == once
    assert all(again is one for again, one in zip(resolve(once), once, strict=True))
    assert resolve([replace(one, {}) for one in once]) == once


def test_replacing_gives_an_experiment_that_is_not_resolved(experiments):
    for one in resolve(experiments):
        again = cc.replace(one, {"seed": one.seed})
        assert type(again) is Experiment and flat(again) == flat(one)
        assert [type(other) for other in product(one, axis("seed", [1, 2]))] == [Experiment, Experiment]


def test_what_python_changes_of_a_resolved_experiment_is_resolved_anew(experiments):
    """It would go by the name of another."""
    for one in resolve(experiments):
        changes = {"seed": (one.seed + 1) % 2**32}
        assert resolve_one(dataclasses.replace(one, **changes)) == resolve_one(cc.replace(one, changes))
        assert refusal(dataclasses.replace(one, seed=-1)).startswith("seed is -1: ")


def test_a_resolved_experiment_can_be_sent_to_another_process(experiments):
    once = resolve(experiments)
    assert pickle.loads(pickle.dumps(once)) == once


def test_sections_are_checked_once_however_many_experiments_share_them(generator, monkeypatch):
    calls = []
    whole = resolve_module._check_lists
    monkeypatch.setattr(resolve_module, "_check_lists", lambda *sections: (calls.append(sections), whole(*sections)))
    # No other test has these, so that nobody has checked them.
    base = replace(Experiment(), {"training.learning_rates": (float(generator.random()), 2.0)})
    assert len(resolve(product(base, axis("seed", range(2000))))) == 2000
    assert len(calls) == 1


def test_what_equals_a_value_that_is_in_order_is_still_refused(unchecked):
    """Though Python takes True for 1."""
    one = replace(Experiment(), {"model.pool_sizes": (1, 1), "data.reduce": 1})
    resolve_one(one)
    for changes in ({"model.pool_sizes": (True, 1)}, {"data.reduce": True}, {"data.reduce": 1.0}):
        (field,) = changes
        equal = replace(one, changes)
        assert equal == one
        assert refusal(equal).startswith(f"{field} is ")


def test_the_candidates_are_every_combination_the_last_fastest(experiments):
    for one in resolve(experiments):
        training = one.training
        combinations = itertools.product(
            training.learning_rates, training.weight_decays, training.penalty_strengths or (0.0,)
        )
        assert [tuple(candidate) for candidate in one.candidates] == list(combinations)
        assert {type(value) for candidate in one.candidates for value in candidate} == {float}


def test_resolving_changes_only_what_can_be_said_in_two_ways(experiments):
    two_ways = {"model.constraint", "model.delta", *SIZES, "training.penalty_threshold"}
    two_ways |= {"data.digest", "data.size", "data.strength"}
    for experiment in experiments:
        before, after = flat(experiment), flat(resolve_one(experiment))
        assert {name for name in before if before[name] != after[name]} <= two_ways


@pytest.mark.parametrize(("field", "value"), [("data.size", 16), ("data.strength", 0.2)])
def test_what_is_not_given_is_what_it_stands_for(field, value):
    told = replace(Experiment(), {"data.source": "signal_patches", "data.intervention": "translate"})
    assert resolve_one(told) == resolve_one(replace(told, {field: value}))


@pytest.mark.parametrize(("local", "whole"), [("conv", "shared"), ("local", "dense")])
def test_a_local_cell_that_sees_all_offsets_is_its_corner(local, whole, experiments):
    for experiment in experiments:
        unlimited = replace(experiment, {"model.constraint": local, "model.delta": None})
        corner = replace(experiment, {"model.constraint": whole, "model.delta": None})
        assert resolve_one(unlimited) == resolve_one(corner)


@pytest.mark.parametrize("constraint", GLOBAL)
def test_delta_is_lost_where_every_constraint_sees_all_offsets(constraint, experiments):
    for experiment in experiments:
        model = resolve_one(replace(experiment, {"model.constraint": constraint})).model
        heeded = not LOCAL_SET.isdisjoint(soft_constraints(experiment).stronger)
        assert (model.constraint, model.delta) == (constraint, experiment.model.delta if heeded else None)


@pytest.mark.parametrize("constraint", LOCAL)
def test_a_local_constraint_keeps_its_delta(constraint, experiments, draw):
    for experiment in experiments:
        changed = replace(experiment, {"model.constraint": constraint, "model.delta": draw.integer(0, 99)})
        assert resolve_one(changed).model.delta == changed.model.delta


@pytest.mark.parametrize("field", SIZES)
def test_a_size_is_two_where_it_means_something_and_none_elsewhere(field, experiments, draw):
    for experiment in map(without_soft_constraints, experiments):
        own, two = (replace(experiment, {"model.constraint": SIZES[field], field: size}) for size in (None, 2))
        assert resolve_one(own) == resolve_one(two)
        other = replace(own, {"model.constraint": draw.rng.choice(sorted({*LOCAL, *GLOBAL} - {SIZES[field]}))})
        resolved = resolve_one(replace(other, {field: draw.integer(2, 99)}))
        assert resolved == resolve_one(other) and get(resolved, field) is None


def test_tiles_of_one_site_are_a_convolution(experiments):
    for experiment in map(without_soft_constraints, experiments):
        ways = ({"model.constraint": "tiled", "model.tile": 1}, {"model.constraint": "conv"})
        tiles, conv = (resolve_one(replace(experiment, way)) for way in ways)
        assert tiles == conv


def test_resolving_keeps_the_first_of_equal_experiments_in_order(experiments, generator):
    once = resolve(experiments)
    repeated = [*experiments, *(experiments[i] for i in generator.integers(len(experiments), size=20)), *once]
    assert resolve(repeated) == once


def test_a_sweep_to_all_offsets_and_the_cell_it_ends_in_are_one_experiment(generator):
    seeds = axis("seed", generator.choice(1000, generator.integers(1, 5), replace=False).tolist())
    ways = axis(("model.constraint", "model.delta"), [("conv", None), ("shared", None), ("shared", 3)])
    assert len(resolve(product(Experiment(), ways, seeds))) == len(seeds)


def test_an_empty_sweep_is_refused():
    with pytest.raises(InputError, match="empty"):
        resolve([])


def test_an_experiment_that_is_wrong_is_refused_among_others():
    with pytest.raises(InputError, match="did you mean 'local'"):
        resolve(product(Experiment(), axis("model.constraint", ["conv", "locale"])))


def test_a_name_is_of_the_fields_that_are_not_at_their_default_and_of_no_other(experiments):
    """So a field to come, whose default does what was done before, renames nothing."""
    for one in resolve(experiments):
        told = {name: value for name, value in flat(one).items() if value != DEFAULTS[name]}
        told.pop("data.folder", None)
        assert one.name == hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


@pytest.mark.parametrize("field", [field for field in FIELDS if field in PAIRS])
def test_every_field_is_in_the_name(field):
    one, other = map(resolve_one, pair(field))
    assert {name for name in FIELDS if get(one, name) != get(other, name)} == {field}
    assert one.name != other.name


def test_every_field_but_the_place_of_images_was_tried():
    assert set(FIELDS) - set(PAIRS) == {"data.folder", "data.digest"}


def test_experiments_of_one_group_differ_in_no_field_but_arrays(experiments):
    for one, other in itertools.combinations(resolve(experiments), 2):
        differing = {name for name in FIELDS if get(one, name) != get(other, name)} - {"data.folder"}
        same = differing <= set(ARRAYS) and len(one.candidates) == len(other.candidates)
        assert (one.group == other.group) == same


@pytest.mark.parametrize("source", VERIFIED)
def test_where_verified_archives_lie_is_not_in_the_name(source, experiments):
    for experiment in map(without_size, experiments):
        places = [replace(experiment, {"data.source": source, "data.folder": place}) for place in (None, "a", IMAGES)]
        assert len(resolve(places)) == 1
        beside = replace(experiment, {"data.source": "folder", "data.folder": IMAGES})
        assert resolve([beside, *places]) == [resolve_one(beside), resolve_one(places[0])]


@pytest.mark.parametrize(
    ("field", "whole"),
    [
        ("training.weight_decays", (0,)),
        ("training.weight_decays", (0.5, -0.0)),
        ("training.learning_rates", (1, 2)),
        ("training.learning_rates", (1, 0.5)),
        ("training.penalty_strengths", (1, -0.0)),
        ("training.penalty_threshold", 3),
        ("training.penalty_threshold", -0.0),
        ("data.strength", 1),
        ("data.strength", -0.0),
    ],
    ids=str,
)
@pytest.mark.usefixtures("unchecked")
def test_equal_experiments_have_one_name(field, whole):
    """Whichever of them comes first."""
    base = {"training.penalty": BETA_LASSO, "training.penalty_strengths": (0.5,), "data.intervention": "translate"}
    point = tuple(float(number) + 0.0 for number in whole) if isinstance(whole, tuple) else float(whole) + 0.0
    one, two = (resolve_one(replace(Experiment(), base | {field: value})) for value in (whole, point))
    assert one == two
    assert one.name == two.name
    assert repr(get(one, field)) == repr(point)


def test_a_name_is_twelve_hexadecimal_digits(experiments):
    for one in resolve(experiments):
        assert re.fullmatch(r"[0-9a-f]{12}", one.name) and re.fullmatch(r"[0-9a-f]{12}", one.group)


def of_folder(folder: str | Path, **changes: Any) -> Experiment:
    return replace(Experiment(), {"data.source": "folder", "data.folder": str(folder), **changes})


@pytest.fixture
def gray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, generator: np.random.Generator) -> Path:
    """A folder of images in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "gray", generator, per_class=2)
    return tmp_path / "gray"


def test_the_same_images_are_one_experiment_wherever_they_lie(gray):
    shutil.copytree(gray, gray.parent / "elsewhere" / "copied")
    os.symlink(gray, gray.parent / "link")
    places = [gray, f"{gray}/", "gray", "./gray", "gray/../gray", "link", "link/", "elsewhere/copied"]
    (gray / "train" / "a" / "notes.txt").write_text("What is no image is not looked at.")
    assert len({resolve_one(of_folder(place)).name for place in places}) == 1
    (one,) = resolve(map(of_folder, places))
    assert one.data.digest == sources.digest(gray) and one.data.folder == str(gray)
    # And what other fields say is heeded beside it.
    assert len(resolve(product(of_folder(gray), axis("data.folder", map(str, places)), axis("seed", [0, 1])))) == 2


def flip_a_byte(gray: Path) -> None:
    path = gray / "test" / "b" / "1.png"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


OTHER_IMAGES = {
    "another byte": flip_a_byte,
    "another name": lambda gray: (gray / "train/a/0.png").rename(gray / "train/a/2.png"),
    "another class": lambda gray: (gray / "train/a/0.png").rename(gray / "train/b/2.png"),
    "one more": lambda gray: shutil.copy(gray / "train/a/0.png", gray / "train/a/2.png"),
    "one fewer": lambda gray: (gray / "test/a/0.png").unlink(),
}


@pytest.mark.parametrize("change", OTHER_IMAGES.values(), ids=OTHER_IMAGES)
def test_other_images_at_the_same_place_are_another_experiment(gray, change):
    before = resolve_one(of_folder(gray))
    change(gray)
    after = resolve_one(of_folder(gray))
    assert before.name != after.name and before.group != after.group
    assert {field for field in FIELDS if get(before, field) != get(after, field)} == {"data.digest"}


def test_images_are_read_once_for_all_experiments_on_them(gray, monkeypatch):
    read = []
    whole = sources.digest
    monkeypatch.setattr(sources, "digest", lambda folder: (read.append(folder), whole(folder))[1])
    resolved = resolve(product(of_folder(gray), axis("seed", range(20))))
    resolve(resolved)
    assert read == [str(gray)]


def test_a_digest_says_which_images_are_meant(gray):
    digest = sources.digest(gray)
    assert resolve_one(of_folder(gray, **{"data.digest": digest})) == resolve_one(of_folder(gray))
    told = of_folder(gray, **{"data.digest": "0" * 64})
    assert refusal(told).startswith(f"data.digest is '{'0' * 64}', and the images in '{gray}' have {digest}: ")
    flip_a_byte(gray)
    assert "put back those" in refusal(of_folder(gray, **{"data.digest": digest}))


@pytest.mark.parametrize("source", VERIFIED)
def test_only_images_of_a_folder_have_a_digest(source, gray):
    for folder in (None, "gray"):
        changes = {"data.source": source, "data.folder": folder, "data.digest": "0" * 64}
        assert refusal(replace(Experiment(), changes)).startswith("data.digest is '000")
    nowhere = {"data.source": "folder", "data.digest": "0" * 64}
    assert refusal(replace(Experiment(), nowhere)).startswith("data.digest is '000")


def test_a_folder_without_images_is_refused(gray):
    assert "There is no data folder 'nowhere'" in refusal(of_folder("nowhere"))
    shutil.rmtree(gray / "test")
    assert "'gray/test' is missing" in refusal(of_folder("gray"))


def test_an_image_may_have_a_name_that_is_no_text(gray):
    before = resolve_one(of_folder(gray))
    os.rename(gray / "train/a/0.png", os.fsencode(gray / "train/a") + b"/\xff.png")
    assert resolve_one(of_folder(gray)).name != before.name


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES, ids=str)
@pytest.mark.usefixtures("unchecked")
def test_a_value_of_the_wrong_type_is_refused_with_its_field(field, value):
    message = refusal(replace(Experiment(), {field: value}))
    assert message.startswith(f"{field} is {value!r}: ")


@pytest.mark.parametrize("section", ["data", "model", "training"])
@pytest.mark.parametrize("value", [None, {"n_train": 3}, "conv"], ids=str)
@pytest.mark.usefixtures("unchecked")
def test_a_section_of_the_wrong_type_is_refused(section, value):
    assert refusal(dataclasses.replace(Experiment(), **{section: value})).startswith(f"{section} is {value!r}: ")


def as_entry(field: str, name: str) -> str | tuple[str, ...]:
    """Some fields hold several names."""
    return (name,) if isinstance(DEFAULTS[field], tuple) else name


def test_every_registry_was_tried():
    assert {field: set(names) for field, names in registries().items()} == {
        field: set(names) for field, names in REGISTRIES.items()
    }


@pytest.mark.parametrize(
    ("field", "name"), [(field, name) for field, names in REGISTRIES.items() for name in sorted(names)]
)
def test_a_misspelt_name_is_told_the_nearest(field, name):
    typo = name[:-1] + "q"
    message = refusal(replace(Experiment(), {field: as_entry(field, typo)}))
    assert repr(typo) in message and message.endswith(f"did you mean {name!r}?")


@pytest.mark.parametrize("field", REGISTRIES)
def test_a_name_like_no_other_is_told_all_that_are_allowed(field):
    message = refusal(replace(Experiment(), {field: as_entry(field, "@@@@")}))
    assert field in message and "'@@@@'" in message
    assert all(name in message for name in REGISTRIES[field])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((field, value) for field in ("data.n_train", "data.n_validation") for value in (0, -1)),
        *((f"training.{leaf}", value) for leaf in ("batch_size", "updates", "evaluate_every") for value in (0, -32)),
        ("seed", -1),
        ("seed", 2**32),
        ("model.delta", -1),
        ("model.tile", 0),
        ("model.rank", 0),
        ("data.reduce", 0),
        ("data.size", 3),
        ("data.strength", 0.5),
        *(
            (f"model.{leaf}", value)
            for leaf in ("channels", "pool_sizes", "strides")
            for value in ((), (0, 1), (1, -1))
        ),
        *(
            (f"training.{leaf}", value)
            for leaf in ("learning_rates", "weight_decays")
            for value in ((), (-0.1,), (0.1, float("inf")), (float("nan"), 0.1), (0.1, 0.2, 0.1))
        ),
        ("training.learning_rates", (0.1, 0.0)),
        ("training.updates", 399),
        ("training.batch_size", 301),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_refused_with_its_field(field, value):
    assert refusal(replace(Experiment(), {field: value})).startswith(f"{field} is {value}: ")


@pytest.mark.parametrize("field", ["model.pool_sizes", "model.strides"])
@pytest.mark.parametrize(("layers", "entries"), [(1, 2), (2, 1), (3, 4), (4, 2)])
def test_lists_of_different_lengths_are_refused(field, layers, entries):
    lists = {f"model.{leaf}": (1,) * layers for leaf in ("channels", "pool_sizes", "strides")}
    message = refusal(replace(Experiment(), lists | {field: (1,) * entries}))
    assert message.startswith(f"{field} has {entries} ") and f"model.channels has {layers}" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("model.delta", 0),
        ("data.n_train", 32),
        ("data.n_validation", 1),
        ("training.batch_size", 300),
        ("training.batch_size", 1),
        ("training.updates", 40),
        ("training.evaluate_every", 400),
        ("training.weight_decays", (0.0, 5.0)),
    ],
    ids=str,
)
def test_the_ends_of_a_range_belong_to_it(field, value):
    edge = replace(Experiment(), {field: value})
    assert flat(resolve_one(edge)) == flat(edge)
