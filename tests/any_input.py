"""The two laws of whatever comes from outside: it is refused in a sentence, or what is trained on it sees it."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from small_runs import Trained, small_experiment, train_alone

from cnn_constraints.arrays import Dataset, Split
from cnn_constraints.errors import InputError

MANY = int(os.environ.get("TEST_EXAMPLES", 40))
"""Examples of a law; more by hand."""

TRAIN, TEST = 60, 12
"""So many images are trained on and tested, whatever the number of those that were read: one program for all."""


def refusal_of(call: Callable[[], Any]) -> str | None:
    """The sentence with which it is refused; None where it is not. Fails for one that no terminal shows as a sentence."""
    try:
        call()
    except InputError as refusal:
        sentence = str(refusal)
        assert len(sentence.splitlines()) == 1 and sentence[-1] in ".?" and len(sentence) < 1000
        return sentence
    return None


def require_that_training_sees(dataset: Dataset) -> None:
    """Trained for a moment, its losses are finite, the same for the same images, and others for their negatives."""
    fixed = dataset._replace(
        classes=("0", "1", "2"), train=_filled_up(dataset.train, TRAIN), test=_filled_up(dataset.test, TEST)
    )
    losses, again, other = (_losses(each) for each in (fixed, fixed, _negative(fixed)))
    assert np.isfinite(losses).all() and np.array_equal(losses, again) and (losses != other).any()


def _filled_up(split: Split, examples: int) -> Split:
    chosen = np.arange(examples) % len(split.labels)
    return Split(split.images[chosen], split.labels[chosen])


def _negative(dataset: Dataset) -> Dataset:
    opposite = lambda images: 255 - images if images.dtype == np.uint8 else -images
    train, test = (split._replace(images=opposite(split.images)) for split in (dataset.train, dataset.test))
    return dataset._replace(train=train, test=test)


def _losses(dataset: Dataset) -> np.ndarray:
    trained: Trained = train_alone(small_experiment("conv", seed=0, layers=1), dataset)
    metrics = [metric for segment in trained.segments for metric in (segment.train, segment.validation)]
    return np.concatenate([np.ravel(metric.loss) for metric in (*metrics, trained.test)])
