"""Values that are each in order and impossible together."""

from bad_input.entry import Entries, Entry, config, flags
from bad_input.of_configs import SEEDS


def cell(axis: str, words: str) -> Entry:
    """The small config with another axis of cells."""
    return config('axis("model.constraint", ["shared", "conv"])', f"axis({axis})", words)


ENTRIES: Entries = {
    "a delta larger than the image": flags("--model.delta 8", "delta is 8: on an image of 8 x 8"),
    "a delta larger than the reduced image": flags(
        "--model.delta 2 --data.reduce 4", "or be None (all offsets); the images are 2 x 2 by data.reduce 4."
    ),
    "a task too small for its pooling": flags(
        "--model.delta 2 --data.source signal_patches --data.size 2", "; the images are 2 x 1 by data.size 2."
    ),
    "a delta larger than the image, on an axis": cell(
        '("model.constraint", "model.delta"), [("conv", 1), ("local", 8)]', "delta is 8"
    ),
    "a batch larger than n_train": flags("--training.batch-size 21", "it must not exceed data.n_train, 20."),
    "n_train larger than the data set": flags("--data.n-train 1400", "1400 + 20: the training split has 1397 images"),
    "n_train larger than the data set, on an axis": config(SEEDS, 'axis("data.n_train", [20, 1400])', "1400 + 20"),
    "n_train larger than what validation leaves": flags("--data.n-train 1378", "1378 + 20"),
    "validation larger than what is left": flags("--data.n-validation 1378", "20 + 1378"),
    "validation that takes every image of a class": flags(
        "--data.n-validation 1376", "so that none would be left to train on"
    ),
    "updates that looks do not divide": config(
        "evaluate_every=1", "evaluate_every=4", "training.updates is 2: it must be"
    ),
    "lists that disagree": config("strides=(1,)", "strides=(1, 1)", "model.strides has 2 entries"),
    "lists that disagree on an axis": config(SEEDS, 'axis("model.channels", [(2,), (2, 2)])', "model.channels has 2"),
    "pooling that leaves no pixel": flags("--model.pool-sizes 9", "(9,) leave no pixel of an image of 8 x 8"),
    "a stride that leaves nothing to pool": flags("--model.strides 8", "leave no pixel of an image of 8 x 8"),
    "a reduction that does not fit": flags("--data.reduce 3", "it must divide the height and the width of 8 x 8"),
    "a reduction to one pixel": flags("--data.reduce 8", "the images are 1 x 1 by data.reduce 8."),
    "a tile larger than the image": cell(
        '("model.constraint", "model.tile"), [("tiled", 9)]',
        "model.tile is 9: the first layer has 8 x 8 output sites, so that more than 8",
    ),
    "a rank larger than a filter bank": cell(
        '("model.constraint", "model.rank"), [("low_rank_local", 19)]',
        "model.rank is 19: the first layer has 8 x 8 output sites and filter banks of 18 weights",
    ),
    "a violation of what has no ties": cell(
        '("model.constraint", "training.violations"), [("low_rank_local", ("conv",))]', "nothing is stronger than it"
    ),
    "a flag that the sweep varies": flags("--seed 1", "--seed has no effect: config.py sweeps over seed"),
    "a cell that the sweep varies": flags("--model.constraint conv", "--model.constraint has no effect"),
    "a strength without an intervention": flags("--data.strength 0.5", "the intervention 'none' takes no strength"),
    "a size of a data set that has its own": flags("--data.size 5", "digits has a size of its own"),
    "a folder that is not read": flags("--data.folder .", "data.folder is '.': digits reads no folder"),
    "a folder of a task": flags("--data.source signal_patches --data.folder .", "signal_patches reads no folder"),
    "a digest of images that have none": flags(
        f"--data.digest {64 * '0'}", "only images in a folder", shown="--data.digest and 64 digits"
    ),
    "a digest without a folder": flags(
        f"--data.source folder --data.digest {64 * '0'}",
        "only images in a folder",
        shown="--data.source folder --data.digest and 64 digits",
    ),
    "images without a folder": flags("--data.source folder", "'folder' needs a folder"),
    "a switch without its time": flags("--training.switch-from conv", "training.switch_at is None"),
    "a time of no switch": flags("--training.switch-at 1", "it has no effect without training.switch_from."),
    "a switch after the last update": flags(
        "--training.switch-from conv --training.switch-at 3", "between 0 and training.updates, 2."
    ),
    "a switch from what is not stronger": flags(
        "--training.switch-from shared --training.switch-at 1", "shared is not stronger than conv."
    ),
    "a strength of no penalty": flags("--training.penalty-strengths 0.1", "it has no effect without training.penalty."),
    "a threshold of another penalty": flags(
        "--training.penalty conv --training.penalty-strengths 1 --training.penalty-threshold 3", "penalty beta_lasso"
    ),
}
