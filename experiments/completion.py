"""Completion of all commands in bash: `source <(python -m experiments.completion)`.

Flags, the names that they take, claims and suites are written into the script, so that it answers at once; nothing of it
depends on a config file but the defaults, which are not completed.
"""

import dataclasses
import shlex
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cnn_constraints import config
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.constraints.counts import BYTES
from cnn_constraints.executors.learned import SOURCES
from cnn_constraints.experiment import Experiment
from cnn_constraints.report.pictures import PICTURES
from experiments import benchmark, claims, count, pictures, report, sweep
from experiments.entry import check_flags, entry_point, parse_flags
from experiments.machines import Machines

SCRIPT = """\
_cnn_constraints() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" flag="" command="" flags="" values="" word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$word" in
      experiments.*) command="${{word#experiments.}}" ;;
      --*) flag="$word" ;;
    esac
  done
  local before="${{COMP_WORDS[COMP_CWORD-1]}}"
  # Bash takes the = of --flag=value for a word.
  [[ "$current" == = ]] && current=""
  case "$command $flag" in
{values}
  esac
  # A flag may take several names, and one that has its name may be followed by what the command itself takes.
  if [[ "$before" != "$flag" && "$before" != = ]]; then
    case "$command" in
{first}
    esac
  fi
  case "$command" in
{flags}
    "") [[ "$before" == -m ]] && values={modules} ;;
  esac
  # Where nothing comes from here, bash completes files.
  [[ "$current" == -* ]] && values="$flags"
  COMPREPLY=($(compgen -W "$values" -- "$current"))
}}
complete -o default -o bashdefault -F _cnn_constraints python python3
"""
"""`-m` and a module are arguments of python, so that it is python whose arguments are completed."""


@dataclass(frozen=True)
class Command:
    """Print a script for bash that completes the commands, their flags and the names that these take."""


class Words(NamedTuple):
    """Of one command: what may come first, and the names that each flag takes, if it takes names."""

    first: Iterable[str]
    flags: Mapping[str, Iterable[str]]


def main(arguments: list[str]) -> None:
    """Print the script for bash."""
    check_flags(arguments, [])
    parse_flags(Command, arguments, EXAMPLES, prog="python -m experiments.completion")
    print(script(commands()), end="")


EXAMPLES = {
    "source <(python -m experiments.completion)": "In this shell; in ~/.bashrc, after the environment is activated, in "
    "all. Then try: python -m experiments.sweep configs/quickstart.py --model.con<Tab>",
}


def commands() -> dict[str, Words]:
    """By the name of the module."""
    names = config.registries()
    fields = {"--" + name.replace("_", "-"): names.get(name, ()) for name in config.flat(Experiment())}
    return {
        "sweep": Words((), fields | _flags(sweep.Command) | _flags(Machines)),
        "report": Words((), _flags(report.Command)),
        "claims": Words(CLAIMS, _flags(claims.Command)),
        "count": Words((), _flags(count.Command) | {"--boundary": names["model.boundary"], "--dtype": BYTES}),
        "benchmark": Words(benchmark.SUITES, _flags(benchmark.Command) | {"--cells": benchmark.Command.cells}),
        "pictures": Words(PICTURES, _flags(pictures.Command) | {"--source": SOURCES}),
        "completion": Words((), {}),
    }


def _flags(command: type) -> dict[str, tuple[str, ...]]:
    """Of the fields that tyro makes flags of: not of positional arguments, and not of dataclasses."""
    hints = typing.get_type_hints(command, include_extras=True)
    flags = {}
    for field in dataclasses.fields(command):
        hint = hints[field.name]
        positional = "Positional" in repr(getattr(hint, "__metadata__", ()))
        bare = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        if not positional and not dataclasses.is_dataclass(bare):
            named = typing.get_args(bare) if typing.get_origin(bare) is typing.Literal else ()
            flags["--" + field.name.replace("_", "-")] = named
    return flags


def script(words: Mapping[str, Words]) -> str:
    """For bash."""
    values, firsts, flags = [], [], []
    for command, (first, of_flag) in words.items():
        for flag, names in of_flag.items():
            if list(names):
                values.append(f"    {shlex.quote(f'{command} {flag}')}) values={_listed(names)} ;;")
        if list(first):
            firsts.append(f"      {command}) values+={_listed(['', *first])} ;;")
        flags.append(f"    {command}) flags={_listed([*of_flag, '--help'])} ;;")
    modules = _listed(f"experiments.{command}" for command in words)
    cases = {"values": values, "first": firsts, "flags": flags}
    return SCRIPT.format(**{name: "\n".join(lines) for name, lines in cases.items()}, modules=modules)


def _listed(words: Iterable[str]) -> str:
    return shlex.quote(" ".join(words))


if __name__ == "__main__":
    entry_point(main)()
