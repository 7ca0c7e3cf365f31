"""One row an arm: means with intervals over seeds, learning curves, and the images that an error takes.

An arm is everything about an experiment except its seed. The seeds of an arm differ in training subset, initial weights and
order of batches, so an interval over seeds covers all three; the test images are the same for all.
"""

import pandas

from cnn_constraints.statistics import geometric_mean_interval, mean_interval, samples_of_seeds
from cnn_constraints.summaries.table import (
    CELL,
    CONDITIONS,
    DELTA,
    N_TRAIN,
    arm_fields,
    groups,
    in_order,
    prepare,
    telling_fields,
)
from cnn_constraints.summaries.tuning import shares_at_edge


def summarise(results: pandas.DataFrame, evaluations: pandas.DataFrame | None = None) -> pandas.DataFrame:
    """One row an arm, of a table of `store.read` with at least one row.

    Columns: the `arm_fields`; `seeds` in the means; `diverged` experiments, which are in no mean; `parameters`; means over
    seeds of `test_accuracy`, with its 95% interval from `test_accuracy_low` to `test_accuracy_high`, and of
    `train_accuracy`, all fractions; the median `learning_rate` chosen; and the shares of experiments with each column of
    `tuning.at_edge`, which reads what was tried off the `evaluations` where they are given. Sorted as by `in_order`.

    >>> arms = summarise(store.read("runs/quickstart")).query("`data.n_train` == 100 and `data.intervention` == 'none'")
    >>> arms[["model.constraint", "test_accuracy", "seeds"]].round(3).values.tolist()
    [['dense', 0.326, 4], ['shared', 0.597, 4], ['local', 0.303, 4], ['conv', 0.676, 4]]
    """
    table = prepare(results)
    rows = []
    for arm, experiments in groups(table, arm_fields(table)):
        done = experiments.loc[~experiments["diverged"]]
        mean, low, high, seeds = mean_interval(done["test_accuracy"])
        measured = {"seeds": seeds, "diverged": len(experiments) - seeds}
        measured |= {"parameters": experiments["parameters"].iloc[0]}
        measured |= {"test_accuracy": mean, "test_accuracy_low": low, "test_accuracy_high": high}
        measured |= {"train_accuracy": done["train_accuracy"].mean(), "learning_rate": done["learning_rate"].median()}
        rows.append(arm | measured | shares_at_edge(experiments, evaluations))
    return in_order(pandas.DataFrame(rows))


def learning_curves(results: pandas.DataFrame) -> pandas.DataFrame:
    """The rows of `summarise` with the test `error`, a fraction, and its 95% interval, `error_low` to `error_high`.

    >>> curves = learning_curves(store.read("runs/quickstart"))
    >>> conv = curves[(curves["model.constraint"] == "conv") & (curves["data.intervention"] == "none")]
    >>> dict(zip(conv["data.n_train"], conv["error"].round(3), strict=True))
    {100: 0.324, 1000: 0.165}
    """
    arms = summarise(results)
    sources = {"error": "test_accuracy", "error_low": "test_accuracy_high", "error_high": "test_accuracy_low"}
    return arms.assign(**{name: 1 - arms[source] for name, source in sources.items()})


def samples_to_error(results: pandas.DataFrame, error: float) -> pandas.DataFrame:
    """How many training images each cell needs to reach a test error, a fraction; one row a learning curve.

    Columns: what tells the curves apart, n_train aside; `seeds`; the geometric mean over seeds of `samples`, with its 95%
    interval `samples_low` to `samples_high`, each seed's by `statistics.samples_to_error`: infinite where an error is never
    reached, the first size where it is reached at once. A seed that lacks a size, or diverged at one, is left out.

    Raises InputError for an error that is not above 0.

    >>> needed = samples_to_error(store.read("runs/quickstart").query("`data.intervention` == 'none'"), 0.3)
    >>> dict(zip(needed["model.constraint"], needed["samples"].round(), strict=True))
    {'dense': 387.0, 'shared': 168.0, 'local': 426.0, 'conv': 125.0}
    """
    table = prepare(results)
    fields = [*CONDITIONS, CELL, DELTA]
    fields += telling_fields(table, [*fields, N_TRAIN], arm_fields(table))
    rows = []
    for curve, experiments in groups(table, fields):
        seeds = experiments.pivot(index="seed", columns=N_TRAIN, values="test_accuracy").dropna()
        needed = samples_of_seeds(list(seeds.columns), 1 - seeds.to_numpy(float), error)
        mean, low, high, count = geometric_mean_interval(needed)
        rows.append(curve | {"seeds": count, "samples": mean, "samples_low": low, "samples_high": high})
    return in_order(pandas.DataFrame(rows))
