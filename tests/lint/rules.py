"""The rules of the house that no linter knows. Each takes a module and gives the lines that break it.

A rule is broken on purpose in ``test_rules.py``, and asked of the whole house in ``test_source.py``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.lint.house import Module, last_name, owner

#: A line number, and what is wrong there.
Finding = tuple[int, str]
Check = Callable[[Module], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A rule, where it does not hold and why."""

    check: Check
    for_tests: bool = False
    except_in: tuple[str, ...] = ()

    def findings(self, module: Module) -> list[str]:
        if module.within(*self.except_in):
            return []
        return [f"{module.path}:{line}: {what}" for line, what in self.check(module)]


def commits(module: Module) -> Iterator[Finding]:
    """State, history row and queue entry of a transition are one commit: a second place that commits breaks promise 2.

    ``begin()`` of an engine or a connection commits at its end.
    """
    for call in module.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"commit", "begin"}:
            yield call.lineno, f"{ast.unparse(call.func)}(): only workflow/store/unit_of_work.py commits"


def sessions(module: Module) -> Iterator[Finding]:
    """A session outside the store is a query outside the store: nobody finds it when a table changes."""
    for node in module.nodes:
        names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else [last_name(node)]
        if isinstance(node, ast.ImportFrom | ast.Attribute) and {"Session", "sessionmaker", "create_engine"} & {*names}:
            yield node.lineno, "a session is opened only in workflow/store"


def table_classes(module: Module) -> Iterator[ast.ClassDef]:
    """``class OrderTable(SQLModel, table=True)``."""
    for node in module.nodes:
        if isinstance(node, ast.ClassDef) and any(word.arg == "table" for word in node.keywords):
            yield node


def tables_imported(tables: frozenset[str]) -> Check:
    """Frozen values leave the store; a row that wanders can change behind everybody's back."""

    def check(module: Module) -> Iterator[Finding]:
        for node in module.nodes:
            if isinstance(node, ast.ImportFrom):
                for name in tables & {alias.name for alias in node.names}:
                    yield node.lineno, f"{name} is touched only in workflow/store"
            elif isinstance(node, ast.Attribute) and node.attr in tables:
                yield node.lineno, f"{node.attr} is touched only in workflow/store"

    return check


def tables_without_prefix(module: Module) -> Iterator[Finding]:
    """The execution library keeps its tables in the same database; migrations tell them apart by our prefix."""
    for table in table_classes(module):
        names = [
            node.value.value
            for node in table.body
            if isinstance(node, ast.Assign)
            and last_name(node.targets[0]) == "__tablename__"
            and isinstance(node.value, ast.Constant)
        ]
        if not (names and str(names[0]).startswith("cl_")):
            yield table.lineno, f"the table of {table.name} must be named cl_..."


def naive_times(module: Module) -> Iterator[Finding]:
    """A time without a zone is an hour wrong twice a year, and matching weighs minutes."""
    for call in module.calls:
        said = len(call.args) + sum(word.arg in {"tz", "tzinfo"} for word in call.keywords)
        name, of = last_name(call.func), owner(call.func)
        missing = {"now": 1, "fromtimestamp": 2}.get(name, 0) if of == "datetime" else 0
        if name in {"utcnow", "utcfromtimestamp"} or said < missing or (name == "today" and of in {"date", "datetime"}):
            yield call.lineno, f"{ast.unparse(call)} has no time zone: give it tz="


def broad_excepts(module: Module) -> Iterator[Finding]:
    """An error that nobody expected must surface, not become a quiet state.

    Allowed: to undo and raise it again (``except BaseException: rollback(); raise``).
    """
    for node in module.nodes:
        caught: list[ast.expr | None] = []
        if isinstance(node, ast.ExceptHandler) and not _raised_again(node):
            caught = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type]
        elif isinstance(node, ast.Call) and last_name(node.func) == "suppress":
            caught = list(node.args)
        for kind in caught:
            if kind is None or last_name(kind) in {"Exception", "BaseException"}:
                yield node.lineno, "a broad except: name what can be handled"


def _raised_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    leaves = any(isinstance(part, ast.Return | ast.Break | ast.Continue) for part in ast.walk(handler))
    return isinstance(last, ast.Raise) and last.exc is None and not leaves


_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})

#: What speaks of a person, wherever it stands.
_PERSONAL = re.compile(r"patient|family|given|surname|birth|mrn|demographics")

#: What holds a person when it is what is logged: a recorder's file name often is a patient's name.
_HOLDING = frozenset(
    {
        "name", "file_name", "filename", "path", "sex", "raw", "payload", "body", "claim", "claims", "segment", "text",
        "segments", "order", "request", "recording", "message", "notice", "facts", "identifier", "delivery", "event",
        "data",
    }
)  # fmt: skip


def log_calls(module: Module) -> Iterator[ast.Call]:
    """``log.info(...)``, ``self._logger.warning(...)``, ``logging.error(...)``."""
    for call in module.calls:
        of = owner(call.func).strip("_").lower()
        if last_name(call.func) in _LEVELS and (of == "logging" or of.endswith(("log", "logger"))):
            yield call


def patient_data_in_logs(module: Module) -> Iterator[Finding]:
    """Logs leave the building; ids and control ids are enough to find the rest in the journal, behind the sign-in.

    The message is a literal; what is put into it or beside it may not speak of a person, may not be a whole value, and
    may not be a caught error, whose sentence may repeat what it stumbled over.
    """
    caught = {node.name for node in module.nodes if isinstance(node, ast.ExceptHandler) and node.name}
    for call in log_calls(module):
        template = call.args[1 if last_name(call.func) == "log" else 0 :][:1]
        if any(not isinstance(part, ast.Constant) for part in template):
            yield call.lineno, "the message of a log call must be a literal: put ids into extra="
        for part in [*call.args, *(word.value for word in call.keywords if word.arg != "exc_info")]:
            for word in _personal_words(part, caught):
                yield call.lineno, f"{word!r} in a log call: log ids only"


def _personal_words(part: ast.expr, caught: set[str]) -> Iterator[str]:
    nodes = list(ast.walk(part))
    # order.id logs an id, and type(error) a class: what they are taken from is not logged itself.
    taken_from = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    taken_from |= {
        id(inner)
        for node in nodes
        if isinstance(node, ast.Call) and last_name(node.func) == "type"
        for inner in node.args
    }
    keys = {id(key) for node in nodes if isinstance(node, ast.Dict) for key in node.keys}
    for node in nodes:
        word = str(node.value) if isinstance(node, ast.Constant) and id(node) in keys else last_name(node)
        if _PERSONAL.search(word) or (id(node) not in taken_from and word in _HOLDING | caught):
            yield word


def foreign_loggers(module: Module) -> Iterator[Finding]:
    """One prefix, so that one switch sets the level of everything that is ours."""
    for call in module.calls:
        if last_name(call.func) == "getLogger":
            first = call.args[0] if call.args else ast.Constant("")
            start = first.left if isinstance(first, ast.BinOp) else first
            if not (isinstance(start, ast.Constant) and str(start.value).startswith("cinelink.")):
                yield call.lineno, 'write logging.getLogger("cinelink." + __name__)'


def environment_reads(module: Module) -> Iterator[Finding]:
    """An edge takes values: what it reads from the environment by itself no setting shows and no test sets."""
    for node in module.nodes:
        if last_name(node) in {"environ", "getenv"} and owner(node) == "os":
            yield node.lineno, "only the composition root reads the environment"  # type: ignore[attr-defined]


def lucky_sleeps(module: Module) -> Iterator[Finding]:
    """A test waits for a condition with a limit; a bare sleep is too short on a busy machine and too long elsewhere.

    Allowed: a sleep in a loop over a range, or in a ``while`` that compares with a deadline.
    """
    limited = {
        id(node)
        for loop in module.nodes
        if isinstance(loop, ast.For | ast.AsyncFor)
        or (isinstance(loop, ast.While) and any(isinstance(part, ast.Compare) for part in ast.walk(loop)))
        for node in ast.walk(loop)
    }
    for call in module.calls:
        if last_name(call.func) == "sleep" and id(call) not in limited:
            yield call.lineno, "a sleep for luck: wait for a condition with a limit"


def unfinished(module: Module) -> Iterator[Finding]:
    """What is not done is not there: no stub, no test that is passed over, no note to come back."""
    for node in module.nodes:
        word = last_name(node)
        if word == "NotImplementedError" or (
            word in {"skip", "skipif", "xfail", "importorskip"} and "pytest" in ast.unparse(node)
        ):
            yield node.lineno, f"{word}: finish it, or leave it out"  # type: ignore[attr-defined]
    for number, line in enumerate(module.text.splitlines(), 1):
        if re.search(r"#\s*(TODO|FIXME|XXX|HACK)\b", line):
            yield number, "a note to come back: do it now, or leave it out"


def stand_ins(module: Module) -> Iterator[Finding]:
    """A stand-in lets the demo succeed at what the product cannot do; it says so of itself, in one of these words."""
    for number, line in enumerate(module.text.splitlines(), 1):
        if found := re.search(r"\bTEMPORARY\b|\b[Tt]o be replaced\b|\bstand-in\b|\bstubs?\b|\bdummy\b", line):
            yield number, f"{found[0]}: put the real thing in its place"


LONGEST = 600


def too_long(module: Module) -> Iterator[Finding]:
    """A module of more than 600 lines is several nouns behind one door."""
    lines = len(module.text.splitlines())
    if lines > LONGEST:
        yield lines, f"{lines} lines; {LONGEST} at most: split it by nouns"
