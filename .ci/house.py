"""Measure how the Python packages are built: rooms, arrows between them, functions and files.

``python .ci/house.py`` prints a table, ``--json`` the same as JSON; ``--check`` ends with 1 where an arrow runs up
against the order below, where rooms stand in a cycle, or where a room has no place in the order.

A room is a folder below ``cxr_edge`` with all that is in it. An arrow goes from room A to room B where a module of A
imports a module of B: when it is loaded, later within a function (lazy), or for types alone (``TYPE_CHECKING``).
``__init__`` and ``__main__`` are the door of the house: they may import from every room, and only ``cli`` from them.
"""

import argparse
import ast
import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
HOUSE = "cxr_edge"
PACKAGES = ("cxr_edge", "training", "export", "benchmarks")

#: Bottom to top: a room may import from those in earlier lines, and from its neighbours within its line.
ORDER = (
    ("errors",),
    ("support",),
    ("images", "backends"),
    ("model",),
    ("outputs",),
    ("runs", "node", "demo", "diagnostics"),
    ("cli", "frozen"),
)
DOOR = "(door)"
#: The one room that may import what the package gives to everyone.
BEFORE_THE_DOOR = "cli"
#: Modules of the top level that are a room by another name; the others are room "(top)".
TOP = {"errors": "errors", "_version": "errors", "__init__": DOOR, "__main__": DOOR}

MANY_PARAMETERS = 5
KINDS = ("when loaded", "lazy", "for types")


def modules(package: str) -> dict[str, Path]:
    """Return a package's modules by their dotted names."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(path: Path) -> str:
    """Return the room of a module of the house."""
    first, *rest = path.relative_to(ROOT / HOUSE).with_suffix("").parts
    return first if rest else TOP.get(first, "(top)")


def is_type_checking(node: ast.If) -> bool:
    """Return whether this is ``if TYPE_CHECKING:``."""
    test = node.test
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports(node: ast.AST, package: str, kind: str = KINDS[0]) -> Iterator[tuple[str, str, int]]:
    """Return what is imported below a node: dotted name, kind and line."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, kind, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                above = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*above, base]).rstrip(".")
            yield from ((f"{base}.{alias.name}", kind, child.lineno) for alias in child.names)
        elif isinstance(child, ast.If) and is_type_checking(child):
            for statement in child.body:
                yield from imports(ast.Module([statement], []), package, KINDS[2])
            for statement in child.orelse:
                yield from imports(ast.Module([statement], []), package, kind)
        else:
            if isinstance(child, ast.Call) and (name := dynamic(child)):
                yield name, KINDS[1], child.lineno
            within = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and kind == KINDS[0]
            yield from imports(child, package, KINDS[1] if within else kind)


def dynamic(call: ast.Call) -> str | None:
    """Return the module that ``import_module("…")`` names."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", None)
    if name == "import_module" and call.args and isinstance(call.args[0], ast.Constant):
        return str(call.args[0].value)
    return None


def arrows() -> dict[tuple[str, str], dict[str, list[str]]]:
    """Return the arrows: (from, to) → kind → places."""
    known = modules(HOUSE)
    found: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for target, kind, line in imports(ast.parse(path.read_text(encoding="utf-8")), package):
            while target and target not in known:
                target = target.rpartition(".")[0]
            if not target:
                continue
            here, there = room(path), room(known[target])
            if here not in (there, DOOR):
                found[here, there][kind].append(f"{path.relative_to(ROOT)}:{line} → {target}")
    return {arrow: dict(kinds) for arrow, kinds in sorted(found.items())}


def cycles(pairs: set[tuple[str, str]]) -> list[list[str]]:
    """Return the sets of rooms that each can be reached from each other, with more than one room."""
    reach: dict[str, set[str]] = defaultdict(set)
    for start in {name for pair in pairs for name in pair}:
        waiting = [start]
        while waiting:
            here = waiting.pop()
            for a, b in pairs:
                if a == here and b not in reach[start]:
                    reach[start].add(b)
                    waiting.append(b)
    together = {frozenset(b for b in reach[a] if a in reach[b]) | {a} for a in list(reach)}
    return sorted(sorted(rooms) for rooms in together if len(rooms) > 1)


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Return a file's functions: where, lines of the body without docstring, parameters without self or cls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
        given = node.args
        names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        names += [one.arg for one in (given.vararg, given.kwarg) if one]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", lines, count


def spread(values: list[int]) -> dict[str, float]:
    """Return median, 90th percentile and maximum."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"median": statistics.median(ordered), "p90": ordered[round(0.9 * last)], "max": ordered[last]}


def measure() -> dict:
    """Return all figures."""
    paths = list(modules(HOUSE).values())
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for path in paths if path.name != "__init__.py")
    rooms = Counter(room(path) for path in paths)
    everything = arrows()
    found = {pair: kinds for pair, kinds in everything.items() if DOOR not in pair}
    through = {pair: kinds for pair, kinds in everything.items() if DOOR in pair}
    places = {name: level for level, line in enumerate(ORDER) for name in line}
    up = [pair for pair in found if all(name in places for name in pair) and places[pair[0]] < places[pair[1]]]
    up += [pair for pair in through if pair[0] != BEFORE_THE_DOOR]
    figures: dict = {
        "rooms": len({name for name in rooms if name not in ("errors", DOOR)} | {"(top)"}),
        "modules by room": dict(rooms.most_common()),
        "folders": len(folders),
        "fullest folder": dict(folders.most_common(1)),
        "arrows": len(found),
        "arrows, by kind": {
            "when loaded": sum(KINDS[0] in kinds for kinds in found.values()),
            "lazy alone": sum(set(kinds) == {KINDS[1]} for kinds in found.values()),
            "for types alone": sum(set(kinds) == {KINDS[2]} for kinds in found.values()),
            "lazy and for types": sum(set(kinds) == set(KINDS[1:]) for kinds in found.values()),
        },
        "arrows up": {f"{a} → {b}": everything[a, b] for a, b in up},
        "cycles": cycles(set(found)),
        "cycles when loaded": cycles({pair for pair, kinds in found.items() if KINDS[0] in kinds}),
        "rooms without a place": sorted(name for name in rooms if name not in places and name != DOOR),
        "every arrow": {f"{a} → {b}": {kind: len(where) for kind, where in kinds.items()}
                        for (a, b), kinds in everything.items()},
        "packages": {},
    }  # fmt: skip
    for package in PACKAGES:
        files = list(modules(package).values())
        all_functions = [function for path in files for function in functions(path)]
        many = [name for name, _, count in all_functions if count > MANY_PARAMETERS]
        lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
        figures["packages"][package] = {
            "files": len(files),
            "lines of a file": spread(list(lines.values())),
            "longest file": max(lines, key=lambda path: lines[path]).relative_to(ROOT).as_posix(),
            "functions": len(all_functions),
            "lines of a function's body": spread([length for _, length, _ in all_functions]),
            "longest function": max(all_functions, key=lambda function: function[1])[0],
            f"functions with more than {MANY_PARAMETERS} parameters": len(many),
            "share of them": round(len(many) / len(all_functions), 3),
        }
    return figures


def table(figures: dict) -> str:
    """Return the figures for people."""
    (fullest,) = figures["fullest folder"].items()
    rows: list[tuple[str, object]] = [
        (f"{HOUSE}: rooms (folders at its top, and the top itself)", figures["rooms"]),
        ("folders with modules", figures["folders"]),
        ("modules in the fullest folder", f"{fullest[1]} ({fullest[0]})"),
        ("arrows between rooms", figures["arrows"]),
        *((f"  {kind}", count) for kind, count in figures["arrows, by kind"].items()),
        ("arrows up against the order", len(figures["arrows up"])),
        ("cycles between rooms", "; ".join(" ⇄ ".join(rooms) for rooms in figures["cycles"]) or 0),
        ("  of what is imported when loaded", "; ".join(" ⇄ ".join(r) for r in figures["cycles when loaded"]) or 0),
        ("rooms without a place in the order", ", ".join(figures["rooms without a place"]) or 0),
    ]
    for package, of_it in figures["packages"].items():
        rows.append((f"{package}:", ""))
        for name, value in of_it.items():
            shown = " / ".join(f"{part:g}" for part in value.values()) if isinstance(value, dict) else value
            rows.append((f"  {name}{', median / p90 / max' if isinstance(value, dict) else ''}", shown))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {value}".rstrip() for name, value in rows]
    lines += ["", "modules by room: " + ", ".join(f"{name} {n}" for name, n in figures["modules by room"].items())]
    lines += ["arrows (imports when loaded, lazy, for types):"]
    lines += [
        f"  {arrow}: " + ", ".join(str(kinds.get(kind, 0)) for kind in KINDS)
        for arrow, kinds in figures["every arrow"].items()
    ]
    for arrow, kinds in figures["arrows up"].items():
        lines += ["", f"up: {arrow}", *(f"  {kind}: {place}" for kind, all_of in kinds.items() for place in all_of)]
    return "\n".join(lines)


def main() -> None:
    """Print the figures; with ``--check`` hold the rooms to their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="end with 1 where the rooms do not keep their order")
    chosen = parser.parse_args()
    figures = measure()
    print(json.dumps(figures, indent=1, ensure_ascii=False) if chosen.json else table(figures))
    faults = [name for name in ("arrows up", "cycles", "rooms without a place") if figures[name]]
    if chosen.check and faults:
        sys.exit(f"not 0: {', '.join(faults)}")


if __name__ == "__main__":
    main()
