"""What is not what was written is named, and never guessed at or read: a report refuses it, a sweep computes it again."""

import json

import pandas
import pytest
from made_up_records import EXPERIMENTS, NAMES, assert_holds, contents, damage, finished, parts, write_run

from cnn_constraints import store, sweep
from cnn_constraints.errors import InputError
from cnn_constraints.files import digest


@pytest.mark.parametrize("how", ["truncated", "altered", "longer"])
@pytest.mark.parametrize("repetition", range(3))
def test_a_damaged_part_is_refused_by_name_and_computed_again_by_a_sweep(folder, generator, how, repetition):
    good, bad = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [good])
    whole = set(parts(folder))
    write_run(folder, [bad])
    (path,) = set(parts(folder)) - whole
    content = damage(path.read_bytes(), how, generator)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        store.read(folder)
    assert store.finished(folder) == {NAMES[0]}
    with pytest.warns(UserWarning, match=path.name):
        store.open_run(folder, EXPERIMENTS, {}).close()
    assert path.with_name(path.name + ".damaged").read_bytes() == content
    assert_holds(folder, [good])
    write_run(folder, [bad])
    assert_holds(folder, [good, bad])


def test_a_part_under_another_name_is_refused(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    (path,) = parts(folder)
    path.rename(path.with_name(f"other-{'0' * 16}.parquet"))
    with pytest.raises(InputError, match=path.name):
        store.read(folder)


def test_a_missing_part_is_refused_by_name_and_computed_again_by_a_sweep(folder, generator):
    good, lost = finished(generator, NAMES[0]), finished(generator, NAMES[1])
    write_run(folder, [good])
    whole = set(parts(folder))
    write_run(folder, [lost])
    (path,) = set(parts(folder)) - whole
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        store.read(folder)
    assert store.finished(folder) == {NAMES[0]}
    with pytest.warns(UserWarning, match=f"{path.name} is missing"):
        store.open_run(folder, EXPERIMENTS, {}).close()
    assert_holds(folder, [good])


def test_a_part_that_was_committed_as_its_process_died_counts(folder, generator):
    """Killed between the part and the index."""
    found = [finished(generator, NAMES[0])]
    store.open_run(folder, EXPERIMENTS, {}).close()
    index = (folder / "index.json").read_bytes()
    write_run(folder, found)
    (folder / "index.json").write_bytes(index)
    assert_holds(folder, found)
    store.open_run(folder, EXPERIMENTS, {}).close()
    assert json.loads((folder / "index.json").read_text())["parts"] == [path.name for path in parts(folder)]


@pytest.mark.parametrize("how", ["truncated", "altered", "missing"])
def test_a_damaged_index_is_refused_and_written_anew_by_a_sweep(folder, generator, how):
    found = [finished(generator, NAMES[0])]
    write_run(folder, found)
    path = folder / "index.json"
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(whole.replace(b"-", b"+") if how == "altered" else whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"index\.json"):
        store.read(folder)
    with pytest.warns(UserWarning, match=r"index\.json"):
        store.open_run(folder, EXPERIMENTS, {}).close()
    assert path.read_bytes() == whole
    assert_holds(folder, found)


CONTENTS = [
    *(b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b'{"format": 3}', b'{"format": 3, "experiments": []}'),
    *(
        b'{"experiments": {}}',
        b'{"format": "3", "experiments": {}}',
        b'{"format": null, "experiments": {}}',
        b'{"attempts": 3}',
    ),
]


@pytest.mark.parametrize("content", CONTENTS, ids=repr)
@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_a_damaged_document_is_refused_with_its_name(folder, generator, content, name):
    write_run(folder, [finished(generator, NAMES[0])])
    (folder / name).write_bytes(content)
    before = contents(folder)
    acts = [lambda: store.open_run(folder, EXPERIMENTS, {})]
    if name == "config.json":
        acts += [lambda: store.read(folder), lambda: store.finished(folder)]
    for act in acts:
        with pytest.raises(InputError) as error:
            act()
        assert str(folder / name) in str(error.value)
    assert contents(folder) == before


def test_an_altered_config_is_refused_with_its_name(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    path = folder / "config.json"
    text = path.read_text()
    assert '"updates": 400' in text
    path.write_text(text.replace('"updates": 400', '"updates": 401'))
    for act in (store.read, store.finished, lambda folder: store.open_run(folder, EXPERIMENTS, {})):
        with pytest.raises(InputError, match=r"config\.json was altered"):
            act(folder)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
@pytest.mark.parametrize("document", ["config.json", "index.json", "environment.json"])
def test_another_format_is_refused_with_its_number_and_stays(folder, generator, number, document):
    write_run(folder, [finished(generator, NAMES[0])])
    described = json.loads((folder / document).read_text()) | {"format": number}
    (folder / document).write_text(json.dumps(described))
    before = contents(folder)
    acts = [lambda folder: store.open_run(folder, EXPERIMENTS, {})]
    if document != "environment.json":
        acts += [store.read, store.read_finished, lambda folder: store.is_whole(folder, EXPERIMENTS)]
    if document == "config.json":
        acts.append(store.finished)
    for act in acts:
        with pytest.raises(InputError, match=f"format {number}.*format 3"):
            act(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("others", [False, True], ids=["alone", "with its tables"])
def test_a_run_of_the_format_before_is_refused_in_a_sentence_and_stays(folder, generator, others):
    """Whoever asks: none of its files changes, and none is added."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"format": 2, "trials": {}, "checksum": "0" * 64}))
    if others:
        (folder / "metrics").mkdir()
        (folder / "metrics" / "a-0123456789abcdef.parquet").write_bytes(generator.bytes(100))
        (folder / "index.json").write_text(json.dumps({"format": 2, "parts": ["a-0123456789abcdef.parquet"]}))
    before = contents(folder), sorted(folder.rglob("*"))
    for act in (
        *(store.read, store.read_finished, store.finished, store.read_config),
        lambda folder: store.is_whole(folder, EXPERIMENTS),
        lambda folder: store.open_run(folder, EXPERIMENTS, {}),
        lambda folder: sweep.run(EXPERIMENTS, folder),
    ):
        with pytest.raises(InputError, match=r"has format 2, and this version reads format 3: .*\.$"):
            act(folder)
    assert (contents(folder), sorted(folder.rglob("*"))) == before


def test_what_is_not_a_run_folder_is_not_read(folder, tmp_path):
    for place in (folder, tmp_path):
        with pytest.raises(InputError, match=r"not a run folder: it has no config\.json|no run folder") as error:
            store.read(place)
        assert str(place) in str(error.value)


def test_the_nearest_run_is_named_where_there_is_none(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    with pytest.raises(InputError, match=rf"did you mean {folder}\?"):
        store.read(folder.with_name(folder.name + "x"))
    with pytest.raises(InputError, match=rf"{folder.parent} is not a run folder.*but {folder.name} in it"):
        store.read(folder.parent)


def test_every_column_can_be_grouped_by(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    results = store.read(folder)
    assert all(len(results.groupby(name, dropna=False)) == 1 for name in results.columns)


def test_an_unknown_event_is_refused(folder):
    with pytest.raises(InputError, match=r"'results'.*evaluation, result, time.*'result'"):
        store.read(folder, "results")


def test_metrics_of_an_unknown_experiment_are_refused_with_its_name(folder, generator):
    write_run(folder, [finished(generator, NAMES[0])])
    (folder / "config.json").unlink()
    store.open_run(folder, EXPERIMENTS[1:], {}).close()
    with pytest.raises(InputError, match=rf"config\.json lacks the experiment {NAMES[0]}"):
        store.read(folder)


def test_a_number_that_is_missing_everywhere_is_a_number_still(folder, generator):
    """A column of nothing but NaN, which can be averaged, and not one of objects."""
    write_run(folder, [finished(generator, name, ("conv",), missing=1.0) for name in NAMES[:2]])
    for event in ("result", "evaluation"):
        table = store.read(folder, event)
        for column in ("train_loss", "validation_accuracy", "violation_conv"):
            assert table[column].dtype == float and table[column].isna().all()


def test_nothing_in_a_run_folder_is_unpickled(folder, generator, monkeypatch):
    write_run(folder, [finished(generator, NAMES[0])])
    checkpoint = store.Checkpoint(10, 1.0, {NAMES[1]: []}, [generator.normal(size=(1, 3))])
    store.Checkpoints(folder).save("group", checkpoint)
    import pickle

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    store.read(folder)
    assert store.Checkpoints(folder).load("group") is not None
    # A table of objects, under the name that its content asks for: Parquet knows none.
    with pytest.raises(Exception, match=r"(?i)convert|object"):
        pandas.DataFrame({"event": [object()]}).to_parquet(None)


def test_digests_tell_any_two_contents_apart(generator):
    content = generator.bytes(int(generator.integers(1, 100)))
    assert digest(content) == digest(bytes(content)) != digest(damage(content, "altered", generator))
