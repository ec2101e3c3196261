"""Collects the error codes from the source and writes docs/errors.md: `python -m tests.error_codes`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

from crossover import errors

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
CLASSES = {n: c for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, errors.UserError)}
FIELDS = ("code", "field", "problem", "remedy")
UNKNOWN = "…"
"""Stands for a part of a text that only the running program knows."""
CODE = re.compile(r"[a-z]+\.[a-z0-9]+(-[a-z0-9]+)*")
HEAD = """# Errors

An error that you can correct is one line on standard error, exit code 2:

```text
crossover: FIELD: PROBLEM; REMEDY [CODE]
```

The codes are stable: programs may match them. They are listed by the class of their exception in `crossover/errors.py`.
`…` stands for a value. This page is generated from the source: renew it with `python -m tests.error_codes`.
"""
Texts = dict[str, set[str]]


@cache
def modules() -> dict[Path, ast.Module]:
    """The source, parsed."""
    folders = ("crossover", "cluster", "components", "pipelines", "services")
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return {path: ast.parse(path.read_text("utf-8")) for path in paths}


@cache
def error_codes() -> dict[str, dict[str, Texts]]:
    """By class and code: the texts of field, problem and remedy in the source.

    Raises:
        ValueError: a code in the source cannot be read, has another form than `area.what`, or is of two classes.
    """
    result: dict[str, dict[str, Texts]] = {}
    for path, tree in modules().items():
        for function, call, returned in _constructors(tree):
            for known in _arguments(path, function) if returned else [{}]:
                texts = _locals(function, known, call.lineno)
                given = {n: _texts(a, texts) for n, a in _given(call, FIELDS).items()}
                for code in given.pop("code"):
                    kind = ast.unparse(call.func)
                    if not CODE.fullmatch(code) or any(code in c for k, c in result.items() if k != kind):
                        raise ValueError(f"{path.relative_to(ROOT)}:{call.lineno}: cannot list the code {code!r}")
                    row = result.setdefault(kind, {}).setdefault(code, {})
                    for name, values in given.items():
                        row.setdefault(name, set()).update(values)
    return result


def _constructors(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Call, bool]]:
    """Calls of the classes: the function around each, the call, and whether the function returns it to a caller."""
    stack: list[tuple[ast.AST, ast.AST, bool]] = [(tree, tree, False)]
    while stack:
        node, function, returned = stack.pop()
        function = node if isinstance(node, ast.FunctionDef) else function
        returned = isinstance(node, ast.Return) or (returned and isinstance(node, ast.expr))
        stack += [(child, function, returned) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
            # an error that is raised again with a longer message keeps its code
            if ast.unparse(_given(node, FIELDS)["code"]) != "error.code":
                yield function, node, returned


def _given(call: ast.Call, names: tuple[str, ...]) -> dict[str, ast.expr]:
    """The arguments of a call by their names."""
    return dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}


def _arguments(path: Path, function: ast.AST) -> list[Texts]:
    """What the calls of a function pass to it, one dict a call; a private function is called in its own file."""
    assert isinstance(function, ast.FunctionDef)
    names = tuple(a.arg for a in (*function.args.args, *function.args.kwonlyargs))
    paths = [path] if function.name.startswith("_") else modules()
    return [
        {name: _texts(argument, _locals(caller, {}, call.lineno)) for name, argument in _given(call, names).items()}
        for file in paths
        for caller, call in _calls(file).get(function.name, ())
    ]


@cache
def _calls(path: Path) -> dict[str, list[tuple[ast.FunctionDef, ast.Call]]]:
    """The calls in a file by the name of the function called, each with a function around it."""
    calls: dict[str, list[tuple[ast.FunctionDef, ast.Call]]] = {}
    for caller in ast.walk(modules()[path]):
        if isinstance(caller, ast.FunctionDef):
            for call in ast.walk(caller):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                    calls.setdefault(call.func.id, []).append((caller, call))
    return calls


def _locals(function: ast.AST, known: Texts, before: int) -> Texts:
    """The texts of a function's variables at a line: of each the last assignment above it, or what is known of it."""
    texts = dict(known)
    assignments = [n for n in ast.walk(function) if isinstance(n, ast.Assign) and n.lineno < before]
    for node in sorted(assignments, key=lambda n: n.lineno):
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = list(zip(target.elts, value.elts, strict=True))
        else:
            pairs = [(target, value)]
        texts |= {name.id: _texts(part, known) for name, part in pairs if isinstance(name, ast.Name)}
    return texts


def _texts(node: ast.expr, known: Texts) -> set[str]:
    """Every text that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    if isinstance(node, ast.IfExp):
        return _texts(node.body, known) | _texts(node.orelse, known)
    if isinstance(node, ast.Name):
        return known.get(node.id, {UNKNOWN})
    if isinstance(node, ast.JoinedStr):
        parts = [_texts(p.value if isinstance(p, ast.FormattedValue) else p, known) for p in node.values]
        return {"".join(texts) for texts in product(*parts)}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return {left + right for left, right in product(_texts(node.left, known), _texts(node.right, known))}
    return {UNKNOWN}


def page() -> str:
    """The page's text."""
    lines = [HEAD]
    for kind, codes in sorted(error_codes().items()):
        lines += [f"## {kind}\n", f"{CLASSES[kind].__doc__}\n", "| code | field: problem | remedy |", "|---|---|---|"]
        for code, row in sorted(codes.items()):
            field, problem, remedy = (_cell(row[name]) for name in FIELDS[1:])
            lines.append(f"| `{code}` | {field}: {problem} | {remedy} |")
        lines.append("")
    return "\n".join(lines)


def _cell(texts: set[str]) -> str:
    """The texts in one cell of the table; one that is unknown only where there is no other."""
    known = sorted({" ".join(text.split()).replace("|", "\\|") for text in texts} - {UNKNOWN, ""})
    return " *or* ".join(known) or UNKNOWN


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
