"""An exception at any one place of the package, as raised by a signal's handler, a greenlet's end or a full memory."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType, FrameType
from typing import Any

from support.processes import PACKAGE

#: More places than any command here comes by.
_ENDLESS = 20_000

_FOLDER = str(PACKAGE)


class Interrupted(BaseException):
    """As KeyboardInterrupt, SystemExit or gevent's GreenletExit: no Exception."""


@cache
def _places(code: CodeType, every: bool) -> frozenset[int]:
    """Return the places in a function where an exception is raised: all instructions, or those that begin a line or
    follow on a call.

    CPython runs no handler where an ``except`` block begins or ends, and where a ``with`` block is left, until
    ``__exit__`` is called; nothing there needs memory. A trace function alone can raise there, and then no ``with``
    gives back what it holds, and the interpreter loses count of the exceptions that are being handled.
    """
    instructions = [each for each in dis.get_instructions(code) if each.opname != "CACHE"]
    names = [each.opname for each in instructions]
    never: set[int] = set()
    chosen: set[int] = set()
    for number, each in enumerate(instructions):
        if every or each.starts_line or (number and names[number - 1].startswith("CALL")):
            chosen.add(each.offset)
        if each.opname in ("PUSH_EXC_INFO", "POP_EXCEPT", "WITH_EXCEPT_START"):
            never.add(each.offset)
        nones = instructions[number : number + 3]
        if len(nones) == 3 and all(none.opname == "LOAD_CONST" and none.argval is None for none in nones):
            rest = range(number, min(number + 5, len(instructions)))
            calls = [at for at in rest if names[at] in ("PRECALL", "CALL")]
            if calls:
                never |= {instruction.offset for instruction in instructions[number - 2 : calls[-1] + 1]}
    return frozenset(chosen - never)


def interrupt_everywhere(
    work: Callable[[], object], error: type[BaseException], prepare: Callable[[], object], *, every: bool
) -> Iterator[BaseException | None]:
    """Run ``work`` again and again, and raise ``error`` at its first place, at its second, and so on.

    ``prepare`` runs before each time, uninterrupted. ``every`` says that each instruction is a place, which takes long.
    Yields after each run, with what came out of it, so that the caller can look around. Ends with the run that was not
    interrupted any more. Only this package is interrupted.
    """
    for number in range(1, _ENDLESS):
        left = number
        prepare()

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left
            if left <= 0 or not frame.f_code.co_filename.startswith(_FOLDER):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode" and frame.f_lasti in _places(frame.f_code, every):
                left -= 1
                if left == 0:
                    raise error
            return trace

        came: BaseException | None = None
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        except (Interrupted, Exception) as raised:
            came = raised.with_traceback(None)
            came.__cause__ = came.__context__ = None
        finally:
            sys.settrace(before)
        yield came
        if left > 0:
            return
    raise AssertionError("there is no end to it")
