"""What `--fail-if` may say: one comparison of one rate, read into plain values. Standard library only.

    RATE < NUMBER               accuracy[a] < 0.92
    RATE < RATE                 recall[a,cat] < recall[b,cat]
    RATE < RATE - NUMBER        accuracy[new] < accuracy[old] - 0.01
    RATE < NUMBER * RATE        forward[new] < 0.9 * forward[old]

with `<` or `>`. A rate is a name, in brackets followed by what it is of. What has a comma, a bracket, a quote, `<` or
`>` in it stands in quotes: `recall[a,"red, or pink"]`.
"""

import re
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError

FORMS = "RATE < NUMBER, RATE < RATE, RATE < RATE - NUMBER or RATE < NUMBER * RATE, with < or >"
NAME = re.compile(r"[a-z][a-z_]*")
NUMBER = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")
SIGN = re.compile(r"[<>](?!=)")
QUOTED = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""")
# Brackets of a call, as in my.py:NET(width=10, depth=2), hold their commas themselves.
WORD = r"""(?:[^\s,\[\]"'()<>]|\([^()]*\))+"""
BARE = re.compile(f"{WORD}(?: +{WORD})*")
ESCAPED = re.compile(r"""\\([\\"'])""")


@dataclass(frozen=True)
class Rate:
    """A rate by its name and what it is of, such as `recall` of (`a`, `cat`)."""

    name: str
    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As it is typed."""
        return f"{self.name}[{','.join(map(quoted, self.parts))}]" if self.parts else self.name


@dataclass(frozen=True)
class Threshold:
    """`left < factor * right + offset`, or `left < offset` where there is no right; with `>` the other way round."""

    text: str
    left: Rate
    sign: Literal["<", ">"]
    right: Rate | None = None
    factor: float = 1.0
    offset: float = 0.0

    @property
    def rates(self) -> tuple[Rate, ...]:
        """The one or two that it names."""
        return (self.left, self.right) if self.right else (self.left,)


def quoted(part: str) -> str:
    """What a rate is of, in quotes where it would be read otherwise."""
    if BARE.fullmatch(part):
        return part
    return '"' + re.sub(r'([\\"])', r"\\\1", part) + '"'


def read_threshold(text: str, example: str = "accuracy < 0.92") -> Threshold:
    """Read one comparison.

    Args:
        example: one that works, for who typed another form.

    Raises:
        UsageError: another form; says from where on it cannot be read.
    """
    words = _Words(text, example)
    left = words.rate()
    sign: Literal["<", ">"] = "<" if words.need(SIGN)[0] == "<" else ">"
    number = words.take(NUMBER)
    if number is None:
        right = words.rate()
        offset = -float(words.need(NUMBER)[0]) if words.take_mark("-") else 0.0
        found = Threshold(text.strip(), left, sign, right, offset=offset)
    elif words.take_mark("*"):
        found = Threshold(text.strip(), left, sign, words.rate(), factor=float(number[0]))
    else:
        found = Threshold(text.strip(), left, sign, offset=float(number[0]))
    if not words.ended:
        raise words.error()
    return found


class _Words:
    """A text that is read from left to right."""

    def __init__(self, text: str, example: str) -> None:
        self.text, self.example, self.place = text, example, 0

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """What comes next, if it is of this pattern; blanks before it do not count."""
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1
        found = pattern.match(self.text, self.place)
        self.place = found.end() if found else self.place
        return found

    def take_mark(self, mark: str) -> bool:
        """Whether this mark comes next."""
        return self.take(re.compile(re.escape(mark))) is not None

    def need(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """What must come next."""
        found = self.take(pattern)
        if found is None:
            raise self.error()
        return found

    def rate(self) -> Rate:
        """A name with what it is of."""
        name, parts = self.need(NAME)[0], list[str]()
        if self.take_mark("["):
            while not parts or self.take_mark(","):
                parts.append(self._part())
            self.need(re.compile(r"\]"))
        return Rate(name, tuple(parts))

    def _part(self) -> str:
        if in_quotes := self.take(QUOTED):
            return ESCAPED.sub(r"\1", in_quotes[2])
        return self.need(BARE)[0]

    @property
    def ended(self) -> bool:
        """Whether nothing is left."""
        return not self.text[self.place :].strip()

    def error(self) -> UsageError:
        """That what is left cannot be read."""
        left = self.text[self.place :].strip()
        where = f" from '{left}' on" if self.text[: self.place].strip() and left else ", it ends too soon" * (not left)
        return UsageError(f"cannot read the threshold '{self.text}'{where}", try_=f'--fail-if "{self.example}"')
