"""What every command shares: arguments, help, and user errors as one line with exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from cfg import UserError
from cfg.help import describe


def run_command(
    main: Callable[[Sequence[str]], int | None],
    usage: str,
    arguments: Sequence[str] | None = None,
    settings: bool = True,
) -> int:
    """Run a command and return its exit status.

    Args:
        main: gets the arguments; a UserError it raises is printed as one line, status 2.
        usage: text of --help.
        arguments: in place of sys.argv.
        settings: whether --help also lists every setting.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if {"-h", "--help", "help"} & set(arguments):
            print(usage.strip())
            if settings:
                print("\nSettings (key=default  meaning):\n" + "\n".join(describe()))
            return 0
        return main(arguments) or 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output (head, less) has left. Keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def split_arguments(
    arguments: Sequence[str], own: Sequence[str]
) -> tuple[dict[str, str], list[str]]:
    """Split ``key=value`` arguments into a command's own and settings of the configuration."""
    mine: dict[str, str] = {}
    rest: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key in own:
            if not equals or not value:
                raise UserError(f"argument {argument!r}: expected {key}=VALUE")
            if key in mine:
                raise UserError(f"argument {key!r} is given twice: give it once")
            mine[key] = value
        else:
            rest.append(argument)
    return mine, rest


def flag(value: str, key: str) -> bool:
    """Read a true/false argument."""
    if value.lower() in ("true", "1", "yes", "on"):
        return True
    if value.lower() in ("false", "0", "no", "off"):
        return False
    raise UserError(f"{key}={value}: expected true or false")


def positive(own: dict[str, str], key: str, default: float) -> float:
    """Read a command's own argument that is a positive number."""
    try:
        value = float(own.get(key, default))
    except ValueError as error:
        raise UserError(f"{key}={own[key]}: expected a number") from error
    if not value > 0:
        raise UserError(f"{key}={own[key]}: expected a positive number")
    return value
