"""What all commands share: Hydra around a task, and every mistake as one line on stderr with exit status 2."""

from __future__ import annotations

import argparse
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from vmax.config import compose, composition_error, is_hydras, to_mapping
from vmax.errors import UserError
from vmax.files import DiskFull, config_dir, refused, unwritable
from vmax.hydra_errors import HYDRA_ERRORS

FLAGS = (
    *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "info", "shell-completion"),
    *("config-path", "config-name", "config-dir", "experimental-rerun"),
)
MISTAKE, CRASH, INTERRUPTED = 2, 1, 130


class JobFailed(Exception):
    """A job failed and has said why; in a multirun the others go on. `status`: exit status; `reason`: what it said."""

    def __init__(self, status: int, reason: str | None = None) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason


def hydra_main(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Runs `task` on the configuration that the command line composes; with --multirun once for each job.

    A mistake of the user ends in one line and status 2, a crash in its traceback and status 1, Ctrl-C in status 130.
    A failing job of a multirun does not stop the others. Folders that stayed empty are removed.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    arguments = sys.argv[1:]
    decorate = hydra.main(config_path=str(config_dir()), config_name=config_name, version_base="1.3")
    try:
        check_flags(arguments)
        if (overrides := asked_to_show(arguments)) is not None:
            print(OmegaConf.to_yaml(OmegaConf.create(to_mapping(compose(overrides, config_name)))))
            return
        decorate(lambda composed: _run_job(task, composed))()
    except JobFailed as failure:
        sys.exit(failure.status)
    except UserError as error:
        _exit(str(error))
    except HYDRA_ERRORS as error:
        overrides = [argument for argument in arguments if not argument.startswith("-")]
        _exit(str(composition_error(error, overrides, config_name)))
    except BrokenPipeError:
        _nobody_reads()
    except OSError as error:  # a job's own are told by _run_job
        _exit(str(unwritable(f"hydra.run.dir={error.filename}", error)))
    except KeyboardInterrupt as stop:
        print(": ".join(("interrupted", *map(str, stop.args))), file=sys.stderr)
        sys.exit(INTERRUPTED)


def plain_main(task: Callable[[Sequence[str]], int], help_text: str, config_name: str, prefix: str = "") -> NoReturn:
    """Runs a command that takes its arguments itself and ends with the status that it returns; a mistake is one line.

    With --help prints `help_text` and the keys of its YAML file, each behind `prefix`.
    """
    arguments = sys.argv[1:]
    if {"--help", "-h"} & set(arguments):
        lines = (config_dir() / f"{config_name}.yaml").read_text(encoding="utf-8").splitlines()
        print(help_text + "\n".join(f"  {prefix}{line}" for line in lines if not line.startswith("#")))
        sys.exit(0)
    try:
        sys.exit(task(arguments))
    except (UserError, DiskFull) as error:
        _exit(str(error))
    except BrokenPipeError:
        _nobody_reads()
    except OSError as error:
        _exit(refused(error) or str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def check_flags(arguments: Sequence[str]) -> None:
    """Raises UserError for a setting that was written like a flag (`--seed=1`) and for flags that do not exist."""
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if argument.startswith("--") and name not in FLAGS:
            raise UserError(
                f"{argument}: unknown flag; settings have no dashes: {name}={value or 'VALUE'} (see --help)"
            )


def asked_to_show(arguments: Sequence[str]) -> list[str] | None:
    """The overrides beside `--cfg job`; None where something else is asked for.

    Hydra would show the configuration before the budget is applied.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cfg", "-c", nargs="?")
    parser.add_argument("--resolve", action="store_true")
    known, rest = parser.parse_known_args(arguments)
    if known.cfg != "job" or any(argument.startswith("-") for argument in rest):
        return None
    return [override for override in rest if not is_hydras(override)]


def own_keys(arguments: Sequence[str], config_name: str, first: str) -> dict[str, Any]:
    """The settings of a command that takes its arguments itself: those of its YAML file with what was typed, as text.

    Raises UserError for a word that is no setting; `first` is the key that it may have been meant for.
    """
    own = OmegaConf.to_container(OmegaConf.load(config_dir() / f"{config_name}.yaml"))
    assert isinstance(own, dict)
    values = {str(key): value for key, value in own.items()}
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if not sign:
            raise UserError(f"{argument}: is no setting; write {first}={argument}")
        values[key] = None if text in ("", "null") else text
    return values


def typed(job: Any) -> list[str]:
    """The overrides of Hydra's job as they were typed, references unresolved."""
    found = OmegaConf.to_container(job.overrides.task, resolve=False)
    assert isinstance(found, list)
    return [str(override) for override in found]


def only(mapping: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The composed configuration of a command that knows these keys. Raises UserError for others and missing ones."""
    for key in mapping:
        if key not in keys:
            raise UserError(f"{key}: unknown; allowed: {', '.join(keys)}")
    for key in keys:
        if key not in mapping:
            raise UserError(f"{key}: missing; it can be set, not removed")
    return mapping


def flat(mapping: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """The values of nested settings by their full keys, `{"env.max_steps": 200}`."""
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        found |= flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return found


def _run_job(task: Callable[[DictConfig], Any], composed: DictConfig) -> Any:
    """Runs one job and reports its failure; inside a multirun the failure is raised to Hydra, which goes on."""
    job = HydraConfig.get()
    multirun = job.mode == RunMode.MULTIRUN
    label = f"job {job.job.num} ({','.join(typed(job))}): " if multirun else ""
    try:
        return task(composed)
    except JobFailed as error:
        failure = error
    except (UserError, DiskFull) as error:
        print(f"error: {label}{error}", file=sys.stderr)
        failure = JobFailed(MISTAKE, str(error))
    except BrokenPipeError:
        _nobody_reads()
    except Exception as error:
        if isinstance(error, OSError) and (reason := refused(error)) is not None:
            print(f"error: {label}{reason}", file=sys.stderr)
            failure = JobFailed(MISTAKE, reason)
        else:
            print(f"error: {label}", end="", file=sys.stderr)
            traceback.print_exc()
            failure = JobFailed(CRASH, "".join(traceback.format_exception_only(error)).strip())
    finally:
        remove_empty(Path(job.runtime.output_dir))
    if multirun:
        raise failure
    sys.exit(failure.status)


def remove_empty(folder: Path) -> None:
    """Removes a run's folder if nothing was written into it, and the folders above it likewise."""
    try:
        if folder.exists():
            folder.rmdir()
        for parent in list(folder.parents)[:3]:
            if re.fullmatch(r"\d{4}-\d\d-\d\d|outputs|evaluate|export|act", parent.name):
                parent.rmdir()
    except OSError:
        return


def _nobody_reads() -> NoReturn:
    """Ends quietly: whoever read the output has seen enough, as `head` has."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(CRASH)


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(MISTAKE)
