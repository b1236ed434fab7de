"""What reaches a terminal: other people's text can be read there, and nothing of it is obeyed."""

import io
import json
import os
import signal
import sys
import time
import unicodedata
import weakref

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from bench.cli import session
from bench.cli.console import UNSEEN, Answer, Teller, complain, harmless, show, table_of

OBEYED = ("Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn")
ORDERS = {
    "colour": ("\x1b[31mred", r"\x1b[31mred"),
    "window title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "one byte for ESC [": ("\x9b2J", r"\x9b2J"),
    "back to the start of the line": ("good\rbad", r"good\x0dbad"),
    "backspace": ("bad\b\b\bgood", r"bad\x08\x08\x08good"),
    "right to left": ("\u202ecod.exe", r"\u202ecod.exe"),
    "isolate": ("\u2066x\u2069", r"\u2066x\u2069"),
    "invisible": ("ad\u200bmin", r"ad\u200bmin"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "half a pair": ("\ud800", r"\ud800"),
    "tag": ("\U000e0041", r"\U000e0041"),
    "link": ("\x1b]8;;http://x\x07y", r"\x1b]8;;http://x\x07y"),
    "clipboard": ("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
    "another line": ("fine\nerror: not fine", r"fine\x0aerror: not fine"),
    "joiner where nothing joins": ("ad\u200dmin", r"ad\u200dmin"),
    "letter without a look": ("ad\u3164min", r"ad\u3164min"),
    "no character": ("\uffff", r"\uffff"),
    "flood of marks": ("e" + "\u0301" * 6, "e" + "\u0301" * 4 + r"\u0301\u0301"),
    "flood with joiners": ("é" + "\u0301\u200d" * 5, "é" + "\u0301\u200d" * 4 + r"\u0301\u200d"),
}


@pytest.mark.parametrize(("words", "shown"), ORDERS.values(), ids=ORDERS)
def test_what_a_terminal_would_obey_is_written_out(words: str, shown: str) -> None:
    assert harmless(words) == shown


@given(st.text())
def test_no_order_is_left_and_what_is_plain_stays(text: str) -> None:
    shown = harmless(text)
    assert not [each for each in shown if each not in "\u200c\u200d" and unicodedata.category(each) in OBEYED]
    assert harmless(shown) == shown
    if all(unicodedata.category(each)[0] not in "CZM" and each not in UNSEEN for each in text):
        assert shown == text


@pytest.mark.parametrize(
    "text", ["größe 3×4, „ä“", "猫", "emoji 👩\u200d🔬", "[bold]not markup[/]", ":bomb: \\[/]", "\\"]
)
def test_plain_text_is_shown_as_it_is(text: str) -> None:
    out = io.StringIO()
    Teller(Console(file=out, width=200)).say(text)
    assert out.getvalue() == text + "\n"


def test_every_way_to_the_terminal_is_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    errors, evil = io.StringIO(), "\x1b[2J\u202e"
    teller = Teller(Console(file=errors, width=200))
    teller.say(evil)
    teller.warn(evil)
    with teller.track(evil, 1) as task:
        task.advance(1, evil)
    complain(teller.errors, evil, evil)
    show(Answer({"name": evil}, (evil, table_of(evil, ("head",), [(evil,)]))), as_json=False)
    show(Answer({"name": evil}, ()), as_json=True)
    printed = capsys.readouterr().out + errors.getvalue()
    assert "\x1b[2J" not in printed and "\u202e" not in printed and printed.count("x1b[2J") >= 6


def test_json_says_the_same_names_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b\x9b\u202e猫\U000e0041"
    show(Answer({"name": name}, ()), as_json=True)
    printed = capsys.readouterr().out
    assert json.loads(printed)["name"] == name
    assert harmless(printed.rstrip("\n")) == printed.rstrip("\n")


def test_a_warning_is_told_once_a_call_and_a_line_as_often_as_it_is_said() -> None:
    errors = io.StringIO()
    teller = Teller(Console(file=errors, width=200))
    for _ in range(2):
        teller.warn("no kernels")
        teller.warn("too old")
        teller.say("an epoch")
    assert errors.getvalue().splitlines() == ["note: no kernels", "note: too old", "an epoch", "an epoch"]


class Caller:
    """Something that a weak reference can be made of."""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGTERM")
def test_a_signal_that_a_callback_of_python_drops_ends_the_command_all_the_same() -> None:
    before, known = signal.getsignal(signal.SIGTERM), sys.unraisablehook
    signal.signal(signal.SIGTERM, session.Heard())
    started = time.monotonic()
    try:
        with pytest.raises(session.Terminated), session.dropped_signals_sent_again():
            value = Caller()
            watched = weakref.ref(value, lambda _: os.kill(os.getpid(), signal.SIGTERM))
            del value  # its callback raises, and Python drops that
            assert watched() is None
            while time.monotonic() - started < 5:
                time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sys.unraisablehook is known
