"""The command's words with their placeholders, and the values that a line gives to the placeholders."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from ...errors import BackendError, InvalidArgumentError
from ..text import clean_bytes
from .lines import LINE_BYTES_MAX

_PLACEHOLDER = re.compile(rb"\{(?:|\.|/|//|/\.|#|%|[0-9]+)\}")
_EXTENSION = re.compile(rb"\.[^/.]*\Z")
_HASH_BYTES_MAX = 256
_NAME_CHARACTERS_MAX = 40
_SHORT_DIGEST_CHARACTERS = 12


class CannotRunError(BackendError):
    """The command cannot be run for any line."""


class UnusableLineError(BackendError):
    """The command cannot be run for this line."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one line: its columns (the whole line without ``--colsep``), the number of the line and the job
    slot."""

    columns: Sequence[bytes]
    number: int = 0
    slot: int = 1


def without_extension(path: bytes) -> bytes:
    """Return the path without the extension of its last part."""
    return _EXTENSION.sub(b"", path)


def base_name(path: bytes) -> bytes:
    """Return the part after the last slash."""
    return path.rpartition(b"/")[2]


def folder_name(path: bytes) -> bytes:
    """Return the folder of a path, as dirname(1) does."""
    stripped = path.rstrip(b"/")
    if not stripped:
        return b"/" if path else b"."
    folder, slash, _ = stripped.rpartition(b"/")
    return (folder.rstrip(b"/") or b"/") if slash else b"."


_OF_COLUMNS: dict[bytes, Callable[[bytes], bytes]] = {
    b"{}": lambda column: column,
    b"{.}": without_extension,
    b"{/}": base_name,
    b"{//}": folder_name,
    b"{/.}": lambda column: without_extension(base_name(column)),
}


class _Word:
    """One word of the template, split at its placeholders."""

    def __init__(self, word: bytes) -> None:
        self.text = word
        self._placeholders = _PLACEHOLDER.findall(word)
        self._texts = _PLACEHOLDER.split(word)
        self.highest_column = max((int(name[1:-1]) for name in self.names if name[1:-1].isdigit()), default=0)

    @property
    def names(self) -> list[bytes]:
        """The placeholders of the word."""
        return self._placeholders

    def fill(self, values: Values) -> list[bytes]:
        """Return the word with the values filled in. Several columns for one placeholder give several words."""
        words = [self._texts[0]]
        for name, text in zip(self._placeholders, self._texts[1:], strict=True):
            first, *rest = _expand(name, values)
            words[-1] += first
            words += rest
            words[-1] += text
        return words


def _expand(name: bytes, values: Values) -> list[bytes]:
    if (of_column := _OF_COLUMNS.get(name)) is not None:
        return [of_column(column) for column in values.columns]
    if name == b"{#}":
        return [b"%d" % values.number]
    if name == b"{%}":
        return [b"%d" % values.slot]
    return [values.columns[int(name[1:-1]) - 1]]


class Template:
    """A command with placeholders. Without a placeholder, the line is the last argument."""

    def __init__(self, argv: Sequence[str], column_separator: str | None = None) -> None:
        """Create a template.

        Args:
            argv: The words of the command.
            column_separator: A regular expression that separates the columns of a line. ``None``: a line has no
                columns.

        Raises:
            CannotRunError: The program does not exist or is not executable.
            InvalidArgumentError: The template names a column that no line has, or the separator is invalid.
        """
        words = [os.fsencode(word) for word in argv]
        identity = b"\0".join(words)
        self._text = os.fsencode(shlex.join(argv)).decode("utf-8", "backslashreplace")
        self._separator = None
        if column_separator is not None:
            self._separator = _compile_separator(column_separator)
            identity += b"\0\0" + os.fsencode(column_separator)
            self._text += f" (columns: {clean_bytes(os.fsencode(column_separator))})"
        self._digest = blake2b(identity, digest_size=16).hexdigest()
        self._words = [_Word(word) for word in words]
        self._check_columns()
        if not any(word.names for word in self._words):  # a word with {#} or {%} alone is a placeholder, too
            self._words.append(_Word(b"{}"))
        self._highest_column = max(word.highest_column for word in self._words)
        self.needs_number = any(b"{#}" in word.names for word in self._words)
        # The path of the program is searched only once. So commands start faster, and a wrong name is reported before a
        # task is stored.
        self.program = None if self._words[0].names else find_program(self._words[0].text)

    def __str__(self) -> str:
        return self._text

    @property
    def instance_id(self) -> str:
        """The default name of the instance with this command's tasks: the name of the program and a hash."""
        name = base_name(self._words[0].text).decode("utf-8", "backslashreplace")[:_NAME_CHARACTERS_MAX]
        return f"{name}-{self._digest[:_SHORT_DIGEST_CHARACTERS]}"

    @property
    def definition_hash(self) -> str:
        """A hash of the command, followed by the beginning of the command for people to read."""
        text = f"{self._digest} {self._text}".encode().replace(b"\0", b"")
        return text[:_HASH_BYTES_MAX].decode("utf-8", "ignore")

    def _check_columns(self) -> None:
        for word in self._words:
            for name in word.names:
                if name[1:-1].isdigit() and (self._separator is None or int(name[1:-1]) == 0):
                    raise InvalidArgumentError(
                        f"the command contains {name.decode()}, but there is no such column"
                        + ("; --colsep splits each line into columns" if self._separator is None else "")
                    )

    def columns(self, line: bytes) -> list[bytes]:
        """Split a line into columns, without the blanks around each column. Without a separator, the line is the only
        column."""
        if self._separator is None:
            return [line]
        return [(column or b"").strip(b" \t\n\r") for column in self._separator.split(line)]

    def check_line(self, line: bytes) -> None:
        """Raise ``InvalidArgumentError`` if the line lacks a column that the command needs."""
        if self._highest_column and (count := len(self.columns(line))) < self._highest_column:
            missing = next(
                name.decode()
                for word in self._words
                for name in word.names
                if name[1:-1].isdigit() and int(name[1:-1]) > count
            )
            raise InvalidArgumentError(
                f"the command contains {missing}, but the line {clean_bytes(line, width=80)!r} has only "
                f"{count} column{'' if count == 1 else 's'}"
            )

    def fill(self, line: bytes, *, number: int = 0, slot: int = 1) -> tuple[bytes, list[bytes]]:
        """Return the program's path and the arguments for this line.

        Args:
            line: The line.
            number: The value of ``{#}``.
            slot: The value of ``{%}``.

        Raises:
            UnusableLineError: The line cannot be an argument.
        """
        argv = self.arguments(line, number=number, slot=slot)
        if self.program is not None:
            return self.program, argv
        try:
            return find_program(argv[0]), argv
        except CannotRunError as error:
            raise UnusableLineError(str(error)) from None

    def arguments(self, line: bytes, *, number: int, slot: int) -> list[bytes]:
        """Return the program's name and arguments for this line. Raises ``UnusableLineError`` as ``fill`` does."""
        if len(line) > LINE_BYTES_MAX:
            raise UnusableLineError(f"the line is longer than an argument may be ({LINE_BYTES_MAX:,} bytes)")
        if b"\0" in line:
            raise UnusableLineError("the line contains a NUL byte, which an argument cannot contain")
        values = Values(self.columns(line), number, slot)
        if len(values.columns) < self._highest_column:
            raise UnusableLineError(f"the line has only {len(values.columns)} columns")
        return [argument for word in self._words for argument in word.fill(values)]

    def tag(self, line: bytes) -> bytes:
        """Return the text that ``--tag`` writes before each line of output, without the tab."""
        return b" ".join(self.columns(line))

    def command_line(self, line: bytes, *, number: int, slot: int) -> bytes:
        """Return the command for this line as text, quoted for a shell."""
        argv = self.arguments(line, number=number, slot=slot)
        return os.fsencode(shlex.join(os.fsdecode(argument) for argument in argv))


def _compile_separator(text: str) -> re.Pattern[bytes]:
    try:
        separator = re.compile(os.fsencode(text))
    except re.error as error:
        raise InvalidArgumentError(f"--colsep {text!r} is not a regular expression: {error}") from None
    if separator.match(b"") is not None:
        raise InvalidArgumentError(
            f"--colsep {text!r} is a regular expression that also matches empty text; "
            r"to split at a special character such as |, write '\|'"
        )
    return separator


def find_program(program: bytes) -> bytes:
    """Return the path of a program. Raises ``CannotRunError`` if there is no such program."""
    path = shutil.which(program)
    if path is not None:
        return path
    name = os.fsdecode(program)
    if b"/" in program and os.path.isdir(program):
        raise CannotRunError(f"cannot run {name!r}: it is a folder")
    if b"/" in program and os.path.exists(program):
        raise CannotRunError(f"cannot run {name!r}: it is not executable")
    hint = ""
    if len(words := name.split()) > 1 and shutil.which(words[0]):
        hint = f"; to run {words[0]!r}, give its arguments as separate words, not all in one pair of quotes"
    raise CannotRunError(f"cannot run {name!r}: program not found{hint}")
