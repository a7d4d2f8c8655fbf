"""Contracts of stages, derived from their source: which columns and tables a stage reads and writes, what it may drop.

A stage is a function `(p, t, n)`. Its body, and those of all helpers that it calls, are followed as syntax: where a
name stands for a column of `p`, a table of `t`, a row of a table, or an address within one of them. What is written
through an address (`st32(base(p.arena) + k, ...)`) is a write of that column. A contract is an upper bound: what stands
on a branch that a packet never takes is in it. tests/test_contracts.py runs stages and holds what they change against
it; docs/stages.md has all of them.
"""

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from qfp import fia
from qfp.engines import kinds
from qfp_kernels import cbc, gcm
from qfp_kernels.columns import base
from qfp_kernels.drops import Drop
from qfp_kernels.jit import run_step
from qfp_kernels.seal import open_, seal, seal_ah

Origin = tuple[str, str]  # what a value leads to: ("p", ""), ("t", ""), ("column", name), ("row", table), ...
Env = dict[str, frozenset[Origin]]
NOTHING: frozenset[Origin] = frozenset()
PATH: Env = {"p": frozenset({("p", "")}), "t": frozenset({("t", "")})}
ADDRESS = {"column": "in column", "table": "in table", "row": "in table"}  # what `base` makes of it
HOLDERS = {"column": "column", "table": "table", "row": "table", "in column": "column", "in table": "table"}
STORES = ("st", "fetch_", "copy")  # how helpers that write memory are called: the address is their first argument


@dataclass
class Contract:
    """What a stage may do. `reads`, `writes`: columns of the workspace; `drops`: names of causes; `calls`: numbers of
    steps."""

    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    tables_read: set[str] = field(default_factory=set)
    tables_written: set[str] = field(default_factory=set)
    drops: set[str] = field(default_factory=set)
    calls: set[int] = field(default_factory=set)

    def note(self, origins: Iterable[Origin], written: bool) -> None:
        """Count in what was read or written."""
        for what, name in origins:
            holder = HOLDERS.get(what)
            if holder == "column":
                (self.writes if written else self.reads).add(name)
            elif holder == "table":
                (self.tables_written if written else self.tables_read).add(name)


@functools.cache
def contract(stage: fia.Stage) -> Contract:
    """The contract of a stage, with those of the steps that it calls. It is made once: do not change it."""
    found = Contract()
    done: set[Any] = set()
    called = [stage.run]
    if stage.run in (seal, open_, seal_ah):  # they call the ciphers' stages by address
        called += _ciphers()
    for run in called:
        _follow(run, PATH, found, done)
    return found


def _ciphers() -> list[Callable[..., Any]]:
    """Every stage of a native cipher."""
    protections = [("esp", encr, key, integ) for encr in ("null", "aes-cbc", "aes-ctr", "aes-gcm", "aes-gmac")
                   for key in (set(gcm.SEAL) | set(cbc.SEAL)) for integ in ("none", *kinds.MACS)]  # fmt: skip
    protections += [("ah", "null", 0, integ) for integ in ("aes-gmac", *kinds.MACS)]
    found: dict[Any, None] = {}
    for protection in protections:
        for outbound in (True, False):
            found |= dict.fromkeys(kinds.steps(*protection, outbound, True))
    return [step for step in found if not isinstance(step, str)]


# --- source


def _plain(fn: Any) -> Any:
    """The Python function of something that numba made, else of itself."""
    return getattr(fn, "py_func", fn)


@functools.cache
def _source(fn: Any) -> ast.FunctionDef:
    tree = ast.parse(inspect.getsource(sys.modules[fn.__module__]))
    return next(each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef) and each.name == fn.__name__
                and each.lineno <= fn.__code__.co_firstlineno + len(each.decorator_list) + 1
                and (each.end_lineno or 0) >= fn.__code__.co_firstlineno)  # fmt: skip


@functools.cache
def _causes(module: str) -> dict[str, frozenset[str]]:
    """Constants of a module that stand for causes, one or many; imported ones are their modules'."""
    found: dict[str, frozenset[str]] = {}
    for each in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(each, ast.ImportFrom) and str(each.module) in sys.modules:
            if str(each.module).startswith("qfp_kernels."):
                theirs = _causes(str(each.module))
                known = (alias for alias in each.names if alias.name in theirs)
                found |= {alias.asname or alias.name: theirs[alias.name] for alias in known}
        elif isinstance(each, ast.Assign):
            target, pairs = each.targets[0], [(each.targets[0], each.value)]
            if isinstance(target, ast.Tuple) and isinstance(each.value, ast.Tuple):
                pairs = list(zip(target.elts, each.value.elts, strict=True))
            elif isinstance(target, ast.Tuple):  # of an expression that makes them all
                pairs = [(name, each.value) for name in target.elts]
            for name, value in pairs:
                causes = _causes_in(value, found)
                if isinstance(name, ast.Name) and causes:
                    one = getattr(sys.modules[module], name.id) if isinstance(target, ast.Tuple) else None
                    found[name.id] = causes & {Drop(one).name} if isinstance(one, int) else causes
    return found


def _causes_in(value: ast.expr, known: dict[str, frozenset[str]]) -> frozenset[str]:
    """Names of the causes in an expression: `Drop.NAME`, and constants that stand for some."""
    inner = list(ast.walk(value))
    named = {each.attr for each in inner if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)
             and each.value.id == "Drop"}  # fmt: skip
    constants = [known[each.id] for each in inner if isinstance(each, ast.Name) and each.id in known]
    return frozenset(named).union(*constants)


# --- following


def _follow(fn: Any, env: Env, found: Contract, done: set[Any]) -> frozenset[Origin]:
    """Count in what a function does with arguments of these origins; the origins of what it returns."""
    plain = _plain(fn)
    key = (plain, tuple(sorted((name, tuple(sorted(origins))) for name, origins in env.items())))
    if key in done:
        return NOTHING
    done.add(key)
    causes = _causes(plain.__module__)
    tree = _source(plain)
    named = (causes[each.id] for each in ast.walk(tree) if isinstance(each, ast.Name) and each.id in causes)
    found.drops.update(*named)
    body = _Body(plain, dict(env), found, done)
    for _ in range(2):  # a name may be used above the line that gives it a value: loops
        for statement in tree.body:
            body.visit(statement)
    return body.returned


class _Body(ast.NodeVisitor):
    """One function: what its names lead to."""

    def __init__(self, fn: Any, env: Env, found: Contract, done: set[Any]):
        self._fn, self._env, self._found, self._done = fn, env, found, done
        self.returned = NOTHING

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None:
            self.returned |= self._of(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._put(target, node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._of(node.value)
        self._store(node.target)
        if not isinstance(node.target, ast.Name):
            self._of(node.target)

    def visit_Expr(self, node: ast.Expr) -> None:
        self._of(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.expr):
            self._of(node)
        else:
            super().generic_visit(node)

    def _put(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for each, part in zip(target.elts, value.elts, strict=True):
                self._put(each, part)
            return
        origins = self._of(value)
        for each in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(each, ast.Name):
                self._env[each.id] = self._env.get(each.id, NOTHING) | origins
            else:
                self._store(each)

    def _store(self, target: ast.expr) -> None:
        """`p.seq[i] = ...`, `t.sa_out[s].last = ...`, `row.last = ...`."""
        if isinstance(target, ast.Subscript):
            self._of(target.slice)
            self._found.note(self._of(target.value), written=True)
        elif isinstance(target, ast.Attribute):
            self._found.note(self._of(target.value), written=True)

    def _of(self, node: ast.expr) -> frozenset[Origin]:
        """What an expression leads to; what it reads is counted in."""
        if isinstance(node, ast.Name):
            return self._env.get(node.id, NOTHING)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Subscript):
            self._of(node.slice)
            inner = self._of(node.value)
            self._found.note(inner, written=False)
            return frozenset(("row" if what == "table" else "column", name) for what, name in inner
                             if what == "table" or (what, name) == ("column", "flow"))  # fmt: skip
        if isinstance(node, ast.Call):
            return self._call(node)
        parts = [self._of(each) for each in ast.iter_child_nodes(node) if isinstance(each, ast.expr)]
        return NOTHING if isinstance(node, ast.Compare) else NOTHING.union(*parts)

    def _attribute(self, node: ast.Attribute) -> frozenset[Origin]:
        inner = self._of(node.value)
        if ("p", "") in inner:
            return frozenset({("column", node.attr)})
        if ("t", "") in inner:
            return frozenset({("table", node.attr)})
        self._found.note((each for each in inner if each[0] == "row"), written=False)
        return NOTHING

    def _call(self, node: ast.Call) -> frozenset[Origin]:
        arguments = [self._of(each) for each in node.args]
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        called = self._fn.__globals__.get(name)
        if called is run_step:
            number = self._fn.__globals__[ast.unparse(node.args[2])]
            self._found.calls.add(number)
            _follow(fia.STEPS[number], PATH, self._found, self._done)
            return NOTHING
        if called is base:
            return frozenset((ADDRESS[what], of) for what, of in arguments[0] if what in ADDRESS)
        plain = _plain(called)
        if inspect.isfunction(plain) and plain.__module__.startswith("qfp_kernels") and hasattr(called, "py_func"):
            names = plain.__code__.co_varnames[: plain.__code__.co_argcount]
            return _follow(called, dict(zip(names, arguments, strict=True)), self._found, self._done)
        for k, origins in enumerate(arguments):
            addresses = [each for each in origins if each[0].startswith("in ")]
            self._found.note(addresses, written=k == 0 and name.startswith(STORES))
        return frozenset(each for origins in arguments for each in origins if each[0].startswith("in "))
