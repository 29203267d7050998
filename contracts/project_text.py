"""The project file as text: decoded with errors that help, and written with comments."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import inspect

from contracts.errors import ConfigError
from contracts.project import FILENAME, Project

COMMENT_WIDTH = 118  # characters of a comment line


def decode_project(text: str) -> Project:
    """The settings that a project file states, defaults where it is silent.

    Raises:
        ConfigError: if the text is no TOML, or a section, key or value is not allowed; one line that says what is.
    """
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{FILENAME} is no valid TOML: {str(error)[0].lower()}{str(error)[1:]}") from None
    _refuse_unknown(given, _struct(Project), ())
    try:
        return msgspec.convert(given, Project)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), given)) from None


def project_text(project: Project) -> str:
    """The settings as a project file in which every key has its comment; `decode_project` gives them back."""
    return "\n".join(
        [
            "# Settings of a pocketrec project. Every key may be left out: the value below is then its default,",
            "# where a value is written at all. Keys that do not exist are refused.",
            *_tables(project, _struct(Project), ()),
            "",
        ]
    )


def _struct(type: type | inspect.Type) -> inspect.StructType:
    info = type if isinstance(type, inspect.Type) else inspect.type_info(type)
    assert isinstance(info, inspect.StructType)
    return info


def _bare(type: inspect.Type) -> tuple[inspect.Type, str]:
    """A field's type without its metadata, and its description."""
    if isinstance(type, inspect.Metadata):
        return type.type, (type.extra_json_schema or {}).get("description", "")
    return type, ""


def _refuse_unknown(given: object, struct: inspect.StructType, path: tuple[str, ...]) -> None:
    if not isinstance(given, dict):
        return
    fields = {field.name: _bare(field.type)[0] for field in struct.fields}
    for key, value in given.items():
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1, cutoff=0.5)
            guess = f"did you mean {near[0]!r}? " if near else ""
            where, what = (f"[{'.'.join(path)}]", "key") if path else (FILENAME, "section")
            raise ConfigError(f"{where} has no {what} {key!r}: {guess}It has {', '.join(fields) or 'none'}")
        inner = fields[key]
        if isinstance(inner, inspect.StructType):
            _refuse_unknown(value, inner, (*path, key))


def _explain(message: str, given: object) -> str:
    """One line for msgspec's "Expected ... - at `$.section.key`"."""
    reason, _, place = message.partition(" - at `")
    path = re.findall(r"[^.\[\]`$]+", place)
    if not path:  # raised by the project's own check
        return reason
    struct, type, about = _struct(Project), inspect.Type(), ""
    for depth, key in enumerate(path):
        field = next((field for field in struct.fields if field.name == key), None)
        if field is None:
            path = path[:depth]
            break
        type, about = _bare(field.type)
        given = given[key] if isinstance(given, dict) else given
        if isinstance(type, inspect.StructType):
            struct = type
    if isinstance(type, inspect.StructType) and isinstance(given, dict):  # raised by the section's own check
        return f"[{'.'.join(path)}] {reason}"
    note = f" ({about})" if about else ""
    *section, key = path
    name = f"[{'.'.join(section)}] {key}" if section else f"[{key}]"
    return f"{name} = {json.dumps(given, default=str)}: allowed is {allowed(type)}{note}"


def allowed(type: inspect.Type) -> str:
    """The values that a field takes, in words."""
    match type:
        case inspect.IntType() | inspect.FloatType():
            word = "an integer" if isinstance(type, inspect.IntType) else "a number"
            bounds = (("from", type.ge), ("above", type.gt), ("to", type.le), ("below", type.lt))
            range = " ".join([word, *(f"{side} {bound:.12g}" for side, bound in bounds if bound is not None)])
            return range if type.multiple_of is None else f"{range}, a multiple of {type.multiple_of:.12g}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return f"text that matches {type.pattern}" if type.pattern else "text"
        case inspect.LiteralType():
            return "one of " + ", ".join(json.dumps(value) for value in sorted(type.values, key=str))
        case inspect.EnumType():
            return "one of " + ", ".join(json.dumps(member.value) for member in type.cls)
        case inspect.UnionType():
            return " or ".join(allowed(member) for member in type.types if not isinstance(member, inspect.NoneType))
        case inspect.VarTupleType():
            return f"a list, each {allowed(type.item_type)}"
        case inspect.DictType():
            return f"a table, each value {allowed(type.value_type)}"
        case inspect.Metadata():
            return allowed(type.type)
        case _:
            return "a table"


def _tables(value: object, struct: inspect.StructType, path: tuple[str, ...]) -> Iterator[str]:
    """A section's lines, plain keys first: in TOML a key after a table's header belongs to that table."""
    inner: list[tuple[str, inspect.StructType]] = []
    if path:
        yield from ("", *_comment(" ".join((struct.cls.__doc__ or "").split())), f"[{'.'.join(path)}]")
    for field in struct.fields:
        type, about = _bare(field.type)
        if isinstance(type, inspect.StructType):
            inner.append((field.name, type))
            continue
        current = getattr(value, field.name)
        yield from _comment(f"{about}: {allowed(type)}" if _worth_saying(type) else about)
        yield f"# {field.name} =" if current is None else f"{field.name} = {_toml(current)}"
    for name, type in inner:
        yield from _tables(getattr(value, name), type, (*path, name))


def _worth_saying(type: inspect.Type) -> bool:
    return not isinstance(type, inspect.UnionType | inspect.VarTupleType) and allowed(type) != "text"


def _comment(text: str) -> Sequence[str]:
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > COMMENT_WIDTH:
            lines.append("")
        lines[-1] += f" {word}"
    return [f"#{line}" for line in lines] if words else []


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        pairs = ", ".join(f"{_toml(str(key))} = {_toml(each)}" for key, each in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_toml(each) for each in value)}]"
    if isinstance(value, str):
        return _basic_string(value)
    return repr(value)


def _basic_string(text: str) -> str:
    """A TOML basic string (TOML 1.0, section String): JSON's escapes, and DEL, which JSON leaves as it is."""
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")
