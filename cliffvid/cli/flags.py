"""Generate command-line flags from the described fields of classes of options."""

import functools
import inspect
import os
import shutil
import sys
from collections.abc import Callable
from copy import copy
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import GenericAlias, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypedDict, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo, ParameterInfo

from ..option import Described, Kind, description, flag_name, is_time, number, seconds
from ..options import CAMERA, OUTPUT, PANELS, Options

# Names in earlier versions, for "did you mean".
RENAMED = {"--engine": "--runner", "--engines": "--models"}
METAVARS = {int: "INTEGER", float: "NUMBER"}
NARROW = 60  # columns
if TYPE_CHECKING:  # typer vendors click under a name that depends on its version
    from typer._click import Command
    from typer._click.exceptions import UsageError

    ParseError: TypeAlias = UsageError
else:
    ParseError = typer.BadParameter.__base__  # raised for input that cannot be parsed
AnyField: TypeAlias = Field[Any]  # an option of any type
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and warnings only.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


class Offered(TypedDict):
    """Arguments of typer for shell completion of an option's value."""

    autocompletion: Callable[[], list[str]]


class How(TypedDict, total=False):
    """Arguments of typer.Option."""

    help: str
    rich_help_panel: str | None
    show_default: bool | str
    metavar: str
    parser: Callable[[str], int | float | str]
    autocompletion: Callable[[], list[str]]


def flag(kind: type, name: str) -> ParameterInfo:
    """Return the annotation of a command parameter that is one option of a class."""
    (found,) = (each for each in fields(kind) if each.name == name)
    return _info(_parameter(found, panel=None))


def only(*names: str) -> Callable[[str], bool]:
    """Return a filter that selects these options for a command."""
    return lambda name: name in names


def without(*names: str) -> Callable[[str], bool]:
    """Return a filter that selects all options except these for a command."""
    return lambda name: name not in names


def offering(words: tuple[str, ...]) -> Offered:
    """Return the arguments of typer that complete an option's value with these words."""

    def offered() -> list[str]:
        return list(words)

    return {"autocompletion": offered}


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is an options class by flags for its options.

    ``Annotated[Options, only("stream")]`` selects some of them. The command receives all parameters by keyword.
    """
    parameters: list[inspect.Parameter] = []
    made: dict[str, tuple[Callable[..., object], list[str]]] = {}
    for own in inspect.signature(command).parameters.values():
        kind, takes = own.annotation, without()
        if get_origin(kind) is Annotated:
            kind, takes = get_args(kind)[:2]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        taken = [each for each in fields(kind) if description(each) and takes(each.name)]
        made[own.name] = kind, [each.name for each in taken]
        parameters += (_parameter(each, _described(each).panel) for each in sorted(taken, key=_panel))
    if any(_info(each).rich_help_panel for each in parameters):
        parameters = [_in_output(each) for each in parameters]

    @functools.wraps(command)
    def call(**given: object) -> None:
        for name, (kind, names) in made.items():
            values = {each: given.pop(each) for each in names}
            given[name] = kind(
                **{each: () if value is None and each == "track" else value for each, value in values.items()}
            )
        return command(**given)

    vars(call)["__signature__"] = inspect.Signature(parameters)
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _described(each: AnyField) -> Described:
    """Return the description of an option."""
    described = description(each)
    assert described is not None, f"{each.name} is no option"
    return described


def _panel(each: AnyField) -> int:
    panel = _described(each).panel
    return PANELS.index(panel) if panel else 0


def _info(parameter: inspect.Parameter) -> ParameterInfo:
    info: ParameterInfo = get_args(parameter.annotation)[1]
    return info


def _in_output(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a command's own option in the panel Output, if the other options have panels."""
    kind, info = get_args(parameter.annotation)
    if info.rich_help_panel or isinstance(info, ArgumentInfo):
        return parameter
    info = copy(info)
    info.rich_help_panel = OUTPUT
    return parameter.replace(annotation=Annotated[kind, info])


def _parameter(each: AnyField, panel: str | None) -> inspect.Parameter:
    """Return an option as a typer parameter.

    Invalid numbers and choices are passed on: the options class rejects them, as it does in Python.
    """
    described, kind = _described(each), Kind.of(each.type)
    names = described.flags or (flag_name(each),)
    how: How = {"help": described.help, "rich_help_panel": panel, "show_default": described.shown or True}
    annotation: type | GenericAlias | UnionType = str
    default = inspect.Parameter.empty if each.default is MISSING else each.default
    if kind.many:
        annotation, default, how["metavar"] = GenericAlias(list, kind.base), None, METAVARS[kind.base]
    elif kind.base in (bool, Path):
        annotation = kind.base
    elif kind.base in (int, float):
        unit = "TIME" if is_time(each) else METAVARS[kind.base]
        how |= {"parser": _parser(each, kind), "metavar": " | ".join((unit, *kind.choices))}
    elif kind.choices:
        how["metavar"] = " | ".join(kind.choices)  # lines can break between them
    if kind.choices:
        how["autocompletion"] = offering(kind.choices)["autocompletion"]
    if default is None:
        annotation |= None
    info = typer.Option(*names, **how)
    return inspect.Parameter(
        each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


def _parser(each: AnyField, kind: Kind) -> Callable[[str], int | float | str]:
    def parsed(text: str) -> int | float | str:
        if not isinstance(text, str):  # a default value
            return text
        return seconds(text) if is_time(each) else number(text, int if kind.base is int else float)

    return parsed


def make_command(app: typer.Typer) -> TyperGroup:
    """Return the click command of a typer app."""
    made = typer.main.get_command(app)
    assert isinstance(made, TyperGroup)
    _tidy(made, made.context_settings["help_option_names"], shutil.get_terminal_size().columns < NARROW)
    return made


def _tidy(command: "Command", help_names: list[str], narrow: bool) -> None:
    """Replace Python type names in the help, and keep it complete on a narrow terminal."""
    if narrow and isinstance(command, TyperCommand | TyperGroup):
        command.rich_markup_mode = None  # rich's table would truncate option names
    own = command.get_help_option(typer.Context(command, help_option_names=help_names))
    for each in (*command.params, *((own,) if own else ())):
        if each.param_type_name == "argument":
            each.metavar = each.metavar or (each.name or "").upper()
        elif getattr(each, "is_flag", False):
            each.metavar = ""
            each.default = each.default or False  # for None, typer would load pydantic to make a bool, even for help
    for inner in getattr(command, "commands", {}).values():
        _tidy(inner, help_names, narrow)


def parse_message(error: ParseError) -> str:
    """Return a one-line parse error with a suggestion; an empty text if the help was printed."""
    words = str(error.format_message()).strip()
    wrong, context = getattr(error, "option_name", ""), error.ctx
    if context and hasattr(error, "possibilities"):
        known = [name for each in context.command.params for name in each.opts if name.startswith("--")]
        close = [RENAMED[wrong]] if RENAMED.get(wrong) in known else get_close_matches(wrong, known, n=1)
        words = f"no such option: {wrong}" + (f"; did you mean {close[0]}?" if close else "")
        if file := next((each for each in sys.argv[1:] if each.startswith("-") and os.path.lexists(each)), ""):
            words = f"no such option: {wrong}; for the file of this name write ./{file}"
    return f"{words} ({context.command_path} --help)" if words and context else words


CameraFile = Annotated[
    Path | None,
    typer.Option(
        "--camera",
        help="JSON file of the camera: focal_px or fov_deg, cx_px, cy_px.",
        rich_help_panel=CAMERA,
        show_default="none",
    ),
]
ModelsDir = Annotated[Path | None, flag(Options, "models_dir")]
Overwrite = Annotated[bool, flag(Options, "overwrite")]
