"""Config files: what is no config file, what goes wrong in it, and what it returns."""

import os
from pathlib import Path

from bad_input.entry import Entries, Entry, config, denied

START = "return Experiment("
SWEEP = 'return product(base, axis("model.constraint", ["shared", "conv"]), axis("seed", [0, 1]))'
DATA = 'Data(source="digits", n_train=20, n_validation=20)'
SEEDS = 'axis("seed", [0, 1])'
RATES = "learning_rates=(0.01,)"


def raises(what: str, words: str) -> Entry:
    return config(START, f"raise {what}\n    {START}", words)


def returns(what: str, words: str) -> Entry:
    """get_sweep() with another end."""
    return config(SWEEP, f"return {what}", words)


def misspelt() -> None:
    Path("configs").mkdir()
    Path("configs/quickstart.py").touch()


FILES: Entries = {
    "a config that is not there": Entry("sweep confog.py", "There is no config file confog.py"),
    "a misspelt config": Entry("sweep configs/quikstart.py", "did you mean configs/quickstart.py?", prepare=misspelt),
    "a folder": Entry("sweep configs", "configs is a folder: name one of its config files.", prepare=misspelt),
    "a file of another kind": Entry(
        "sweep config.yaml", "a config file ends in .py", prepare=lambda: Path("config.yaml").touch()
    ),
    "a device": Entry("sweep /dev/null", "There is no config file /dev/null"),
    "a link to nothing": Entry(
        "sweep link.py", "There is no config file link.py", prepare=lambda: os.symlink("nowhere", "link.py")
    ),
    "a link to itself": Entry(
        "sweep link.py", "link.py cannot be read", prepare=lambda: os.symlink("link.py", "link.py")
    ),
    "a name too long for a file": Entry(f"sweep {300 * 'x'}.py", "File name too long", shown="a name of 300 letters"),
    "a config that may not be read": Entry("sweep config.py", "PermissionError", patch=denied("config.py")),
    "a config in a folder that is closed": Entry(
        "sweep closed/config.py",
        "closed/config.py cannot be read (Permission denied)",
        prepare=lambda: Path("closed").mkdir(),
        patch=denied("closed"),
    ),
    "an empty file": Entry("sweep empty.py", "lacks get_config()", prepare=lambda: Path("empty.py").touch()),
    "bytes": Entry(
        "sweep bytes.py", "SyntaxError", prepare=lambda: Path("bytes.py").write_bytes(b"\xff\xfe"), shown="two bytes"
    ),
}

FAILURES: Entries = {
    "what is not Python": config("):", ")", "SyntaxError"),
    "a name that is not there to import": config("Training, axis,", "Training, axes,", "axes"),
    "a module that is not there": config(
        "from cnn_constraints.experiment", "from cnn_constraint.experiment", "ModuleNotFoundError"
    ),
    "a name that is not defined": config("return product(", "return produce(", "'produce'"),
    "no get_config()": config("def get_config", "def get_configuration", "lacks get_config()"),
    "a get_config that is a value": config("def get_config", "get_config = 3\n\n\ndef other", "lacks get_config()"),
    "a get_sweep that is a value": config("def get_sweep", "get_sweep = 3\n\n\ndef other", "no function"),
    "a get_config() that takes a value": config("def get_config()", "def get_config(base)", "missing 1 required"),
    "a get_sweep() that takes none": config("def get_sweep(base)", "def get_sweep()", "takes 0 positional arguments"),
    "an error of its own, on two lines": raises("ValueError('one\\ntwo')", "config.py: ValueError: one two."),
    "an error without a word": raises("RuntimeError", "config.py: RuntimeError."),
    "an exit": raises("SystemExit(3)", "config.py: SystemExit: 3."),
    "a config that calls itself": config(START, f"get_config()\n    {START}", "RecursionError"),
    "a failed assertion": config(START, f"assert 1 > 2, 'too small'\n    {START}", "too small"),
    "a missing key": config("n_train=20,", "n_train={}['small'],", "KeyError: 'small'"),
    "a missing file": config("n_train=20,", "n_train=int(open('size.txt').read()),", "size.txt"),
    "an error at the end of a generator": config(SWEEP, "yield base\n    raise ValueError('late')", "ValueError: late"),
}

RETURNS: Entries = {
    "no experiment": config(START, START.replace("return ", ""), "A NoneType is no Experiment"),
    "get_sweep() without a return": config("return product(", "product(", "must return Experiments, not NoneType"),
    "one experiment for a sweep": returns("base", "must return Experiments, not Experiment."),
    "a text for a sweep": returns("'conv'", "A str is no Experiment"),
    "lists of lists": returns("[[base]]", "A list is no Experiment"),
    "a section for an experiment": returns("[base.data]", "A Data is no Experiment"),
    "an empty sweep": config("[0, 1]", "[]", "The sweep is empty"),
    "an endless sweep": returns("iter(lambda: base, None)", "returns more than 100,000 Experiments"),
    "a misspelt field": config("n_train=", "n_trian=", "Unknown field of Data 'n_trian'"),
    "a misspelt source": config('source="digits"', 'source="digit"', "did you mean 'digits'?"),
    "a source of two lines": config('source="digits"', 'source="di\\ngits"', "'di\\ngits'"),
    "a misspelt constraint on an axis": config('"shared", "conv"', '"shared", "convolution"', "did you mean 'conv'?"),
    "a misspelt axis": config('axis("seed"', 'axis("sead"', "did you mean 'seed'?"),
    "a section for an axis": config('axis("seed", [0, 1])', 'axis("model", [3])', "Unknown config field 'model'"),
    "an axis without values": config(SEEDS, 'axis("seed")', "TypeError"),
    "a zip of different lengths": config(SEEDS, 'axis(("seed", "data.n_train"), [(0, 20), (1,)])', "(1,)"),
    "the wrong section": config(DATA, "Model()", "it must be a Data(...)."),
    "no section": config(DATA, "None", "data is None: it must be a Data(...)."),
    "a text for a number": config("n_train=20,", 'n_train="20",', "data.n_train is '20': it must be a whole number."),
    "a fraction for a whole number": config("updates=2", "updates=2.0", "training.updates is 2.0"),
    "a number of NumPy": config(
        "n_train=20,", "n_train=__import__('numpy').int64(20),", "data.n_train is np.int64(20)"
    ),
    "True for a number": config("updates=2", "updates=True", "training.updates is True: it must be a whole number."),
    "True in a tuple": config("channels=(2,)", "channels=(True,)", "model.channels is (True,)"),
    "None for a number": config("updates=2", "updates=None", "training.updates is None"),
    "a list for a tuple": config("channels=(2,)", "channels=[2]", "model.channels is [2]: it must be a tuple"),
    "a number for a tuple": config(RATES, "learning_rates=0.01", "training.learning_rates is 0.01: it must be a tuple"),
    "a complex number": config(RATES, "learning_rates=(1j,)", "training.learning_rates is (1j,)"),
    "a number of thousands of digits": config(RATES, "learning_rates=(10**9999,)", "thousands of digits"),
    "too many learning rates": config(RATES, "learning_rates=tuple(range(1, 2000))", "1,999 combinations"),
    "an empty folder's name": config('source="digits"', 'source="folder", folder=""', "There is no data folder ''"),
    "a negative seed": config("[0, 1]", "[-1]", "seed is -1: it must lie between 0 and 4294967295."),
    "a seed beyond 32 bits": config("[0, 1]", "[2**32]", "seed is 4294967296"),
    "a text for a seed": config("[0, 1]", "['0']", "seed is '0': it must be a whole number."),
    "out of range, with the file it stands in": config("updates=2", "updates=0", "config.py: training.updates is 0"),
}
