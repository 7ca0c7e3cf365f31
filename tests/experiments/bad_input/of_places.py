"""Run folders, the file system, and what the environment says. Entries about what a run folder holds go into RUNS."""

import errno
from collections.abc import Callable
from pathlib import Path

from bad_input.entry import Entries, Entry, denied, flags, unwritable

from cnn_constraints import store
from cnn_constraints.experiment import Experiment, axis, product
from cnn_constraints.resolve import resolve
from cnn_constraints.settings import CACHE_VARIABLE, DATA_VARIABLE
from cnn_constraints.training.records import Finished, Result


def occupied() -> None:
    Path("full").mkdir()
    Path("full/thesis.tex").touch()


def run_without_results() -> None:
    store.open_run(Path("run"), resolve([Experiment()]), {}).close()


RESULT = Result(0, 0.01, 0.0, 0.0, 400, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0, {}, 10, 10, "cpu")


def damaged_run(pattern: str, change: Callable[[bytes], bytes | None]) -> Callable[[], None]:
    """A run of two experiments, one of whose files was changed, or lost where `change` gives None."""

    def prepare() -> None:
        experiments = resolve(product(Experiment(), axis("seed", [0, 1])))
        with store.open_run(Path("run"), experiments, {}) as run:
            run.commit("group", [Finished(experiments[0].name, RESULT, [], 1.0)])
        (path,) = Path("run").glob(pattern)
        content = change(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)

    return prepare


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


PLACES: Entries = {
    "a file for a run folder": flags("--output config.py", "config.py"),
    "a run folder within a file": flags("--output config.py/run", "config.py/run"),
    "a folder of something else": flags("--output full", "full holds thesis.tex", prepare=occupied),
    "a device for a run folder": flags("--output /dev/full", "/dev/full is a file"),
    "a place where nothing can be made": flags("--output /proc/run", "cannot be made"),
    "a name too long for a run folder": flags(
        f"--output {300 * 'x'}", "cannot be used (File name too long)", shown="a name of 300 letters"
    ),
    "a run folder that is closed": flags(
        "--output closed", "Permission denied", prepare=Path("closed").mkdir, patch=denied("closed")
    ),
    "a place that may not be written": flags(
        "", "(Permission denied): choose another", patch=unwritable(errno.EACCES, "runs")
    ),
    "a run folder that may not be written": flags(
        "--output closed",
        "The run folder closed cannot be written (Permission denied)",
        prepare=Path("closed").mkdir,
        patch=unwritable(errno.EACCES, "closed/metrics"),
    ),
    "a file among the folders of a run": flags(
        "--output run", "run/metrics is a file, where a run has a folder", prepare=lambda: write("run/metrics", "text")
    ),
    "a full disk": flags("", "(No space left on device): choose another", patch=unwritable(errno.ENOSPC, "runs")),
    "a disk that is only read": flags(
        "", "(Read-only file system): choose another", patch=unwritable(errno.EROFS, "runs")
    ),
    "a full disk for claims": Entry(
        "claims parameter_ladder --output out",
        "out cannot be used (No space left",
        patch=unwritable(errno.ENOSPC, "out"),
    ),
    "a full disk for what is printed": Entry(
        "count", "cannot be written (No space left on device)", apart=True, output="/dev/full"
    ),
}

ENVIRONMENT: Entries = {
    "a data folder that is not there": flags(
        "--data.source mnist", "which the environment variable", environment={DATA_VARIABLE: "nowhere"}
    ),
    "a file for a data folder": flags(
        "--data.source mnist", "There is no data folder 'config.py'", environment={DATA_VARIABLE: "config.py"}
    ),
    "a file for a cache": flags(
        "", "cannot be written (Not a directory)", environment={CACHE_VARIABLE: "config.py/cache"}
    ),
    "a cache that may not be written": flags(
        "",
        "(Permission denied): name another",
        environment={CACHE_VARIABLE: "closed"},
        patch=unwritable(errno.EACCES, "closed"),
    ),
    "a cache on a full disk": flags(
        "",
        "(No space left on device): name another",
        environment={CACHE_VARIABLE: "disk"},
        patch=unwritable(errno.ENOSPC, "disk"),
    ),
    "a platform that is not there": flags(
        "", "JAX_PLATFORMS is 'abacus'", environment={"JAX_PLATFORMS": "abacus"}, apart=True
    ),
    "a word for a number of devices": flags(
        "", "JAX refuses an environment variable", environment={"JAX_NUM_CPU_DEVICES": "many"}, apart=True
    ),
    "no devices": flags("", "JAX_NUM_CPU_DEVICES is 0", environment={"JAX_NUM_CPU_DEVICES": "0"}, apart=True),
}

RUNS: Entries = {
    "a report on nothing": Entry("report", "Name a run folder"),
    "a report on what is not there": Entry("report nowhere", "There is no run folder nowhere"),
    "a report on a file": Entry("report config.py", "There is no run folder config.py"),
    "a report on a folder of something else": Entry("report .", "not a run folder"),
    "a report on a folder of runs": Entry("report runs", "not a run folder", prepare=lambda: Path("runs").mkdir()),
    "a report on an empty run": Entry("report run", "no finished experiment", prepare=run_without_results),
    "a report on two, one of which is not there": Entry(
        "report run nowhere", "run has no finished experiment yet", prepare=run_without_results
    ),
    "a report on the same run twice": Entry("report run run", "run is given twice"),
    "a report with a flag that is not there": Entry("report nowhere --figure", "--figure"),
    "a folder for figures that is a file": Entry("report run --figures config.py", "--figures is config.py, a file"),
    "a page that is a folder": Entry("report run --page .", "--page is ., a folder: name a file"),
    "a page in a folder that is not there": Entry("report run --page nowhere/page.html", "There is no folder nowhere"),
    "claims beside a run": Entry(
        "report run claims", "report it alone", prepare=lambda: write("claims/claims.json", "{}")
    ),
    "figures of claims": Entry(
        "report claims --figures paper", "--figures has no effect", prepare=lambda: write("claims/claims.json", "{}")
    ),
    "figures of two runs of one name": Entry("report a/run b/run --figures paper", "Two run folders are named run"),
    "a page of damaged claims": Entry(
        "report claims", "claims/claims.json is damaged", prepare=lambda: write("claims/claims.json", "{}")
    ),
    "a report on an empty name": Entry("report ''", "is empty"),
    "a report on a run whose config is no JSON": Entry(
        "report run", "run/config.json is damaged, since it is not JSON", prepare=lambda: write("run/config.json", "{")
    ),
    "a report on a run whose part is cut short": Entry(
        "report run",
        "was damaged or altered, since its content has not the digest in its name",
        prepare=damaged_run("metrics/*", lambda content: content[:-9]),
    ),
    "a report on a run whose part was altered": Entry(
        "report run",
        "was damaged or altered",
        prepare=damaged_run("metrics/*", lambda content: content.replace(b"cpu", b"gpu")),
    ),
    "a report on a run whose part is missing": Entry(
        "report run", "is missing: restore it", prepare=damaged_run("metrics/*", lambda _: None)
    ),
    "a report on a run whose index is missing": Entry(
        "report run", "run/index.json is missing", prepare=damaged_run("index.json", lambda _: None)
    ),
    "a report on a run whose index is cut short": Entry(
        "report run",
        "run/index.json is damaged",
        prepare=damaged_run("index.json", lambda content: content[: len(content) // 2]),
    ),
    "a report on a run whose config was altered": Entry(
        "report run",
        "run/config.json was altered",
        prepare=damaged_run("config.json", lambda content: content.replace(b'"updates": 400', b'"updates": 401')),
    ),
    "a report on a run of an older version": Entry(
        "report run",
        "run has format 2, and this version reads format 3",
        prepare=damaged_run("config.json", lambda content: content.replace(b'"format": 3', b'"format": 2')),
    ),
    "a sweep into a run whose config is cut short": flags(
        "--output run",
        "run/config.json is damaged",
        prepare=damaged_run("config.json", lambda content: content[: len(content) // 2]),
    ),
    "a sweep into a run of a newer version": flags(
        "--output run",
        "run has format 4, and this version reads format 3",
        prepare=damaged_run("config.json", lambda content: content.replace(b'"format": 3', b'"format": 4')),
    ),
    "a report on a run that is closed": Entry(
        "report run", "cannot be read (Permission denied)", prepare=run_without_results, patch=denied("run")
    ),
}
