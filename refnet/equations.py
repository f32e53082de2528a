"""Find an equation: its code, and the tests that check it.

    python -m refnet.equations                 how many of the 52 numbered equations are in code, how many tested
    python -m refnet.equations arpgnet         each equation: formula, file and line, function, tests
    python -m refnet.equations arpgnet 3       the function's source, a worked example, its tests' source

A docstring line that starts with a paper's key and a number in brackets is an address, and what follows is the
formula; lines indented further continue it. In refnet/ the address marks the equation's one home, in tests/ a test of
it. What stands after `Reading:` only talks about an equation. The files are parsed, never imported: this runs where
torch is not installed. Exit status 0: all in order; 1: an equation is missing, untested, or has two homes, or an
address is wrong; 2: misspelt.
"""
import argparse
import ast
import difflib
import re
import shutil
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Paper(NamedTuple):
    count: int                                   # its numbered equations
    name: str
    title: str


EQUATIONS = {
    "arpgnet": Paper(10, "ARPGNet", "Appearance- and Relation-aware Parallel Graph Attention Fusion Network"),
    "engat": Paper(10, "ENGAT", "Relational Edge-Node Graph Attention Network"),
    "megraphau": Paper(8, "ME-GraphAU", "Multi-dimensional Edge Feature-based AU Relation Graph"),
    "face2nodes": Paper(12, "Face2Nodes", "Relation-aware dynamic graph convolution"),
    "emotiongcn": Paper(12, "Emotion-GCN", "Exploiting Emotional Dependencies with GCNs"),
}
TOTAL = sum(paper.count for paper in EQUATIONS.values())


# ---- reading addresses ----

_KEYS = "|".join(EQUATIONS)
_ADDRESS = re.compile(rf"({_KEYS})\s*\((\d+(?:\s*,\s*\d+)*|§[^()]*)\)")
_NEARLY = re.compile(rf"({_KEYS})\s*(?:\(\s*Eqs?\b[^()]*\d"                                     # (Eq. 2)
                     r"|\(\s*\d+(?:\s*,\s*\d+)*\s*(?:[-–:;]|and|to)\s*\d"                      # (2-4), (2 and 3)
                     r"|\(\d+\)\s*(?:[-–,]|and|to)\s*\(\d+\))")                              # (2), (3)
_MISSPELT = re.compile(r"([A-Za-z][\w-]*)\s*\(\d{1,2}(?:\s*,\s*\d{1,2})*\)")


class Said(NamedTuple):
    """One address line of a docstring."""
    paper: str
    keys: tuple[str, ...]                        # ("2", "3"), or ("§4.2.2",)
    formula: str                                 # several rows if it continues


def addresses(doc: str, column: int = 0) -> tuple[list[Said], list[tuple[str, str]]]:
    """The address lines of a docstring, and the lines that look like one and cannot be read.

    doc      the docstring as written, not cleaned: indentation decides what continues a formula
    column   where its opening quotes stand; its first row is indented that far
    →        addresses, and (paper, complaint) pairs
    """
    rows = (" " * column + doc).expandtabs().split("\n")
    said, wrong, n = [], [], 0
    while n < len(rows):
        row, text = rows[n], rows[n].strip()
        n += 1
        if text.startswith("Reading:"):
            break
        indent = len(row) - len(row.lstrip())
        if nearly := _NEARLY.match(text):
            paper = nearly[1]
            wrong.append((paper, f"cannot read the address in \"{text}\"; write {paper} (2) or {paper} (2, 3, 4)"))
        elif found := _ADDRESS.match(text):
            rest = text[found.end():]
            start = indent + found.end() + len(rest) - len(rest.lstrip(" :"))
            formula = [rest.lstrip(" :")]
            while n < len(rows) and rows[n].strip() and _continues(rows[n], indent):
                here = len(rows[n]) - len(rows[n].lstrip())
                formula.append(" " * max(0, here - start) + rows[n].strip())
                n += 1
            parts = [part.strip() for part in found[2].split(",")]
            keys = [p for p in parts if p.startswith("§")] if parts[0].startswith("§") else [str(int(p)) for p in parts]
            said.append(Said(found[1], tuple(keys), "\n".join(formula).lstrip("\n")))
        elif (other := _MISSPELT.match(text)) and other[1] not in EQUATIONS:
            if near := difflib.get_close_matches(other[1], EQUATIONS, 1, 0.8):
                wrong.append((near[0], f"\"{other[0]}\" names no paper; did you mean {near[0]}?"))
    return said, wrong


def _continues(row: str, indent: int) -> bool:
    """Does this row continue the formula of an address indented this far?"""
    text = row.strip()
    return len(row) - len(row.lstrip()) > indent and not (
        text.startswith("Reading:") or _ADDRESS.match(text) or _NEARLY.match(text))


# ---- walking the files ----

class Place(NamedTuple):
    """A function, class or module whose docstring carries an address."""
    file: str                                    # from the project's root, with forward slashes
    name: str                                    # GraphAttention.forward; "" is the module itself
    first: int                                   # rows of the source, decorators included, counted from 1
    line: int                                    # the row of its def or class
    last: int
    source: str
    formula: str

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def label(self) -> str:
        """As pytest takes it: tests/test_arpgnet.py::TestFusion::test_eq9."""
        return "::".join([self.file, *filter(None, self.name.split("."))])


@dataclass
class Found:
    """What the two directories say. `homes` and `tests` are keyed by (paper, "3") or (paper, "§4.2.2")."""
    homes: dict[tuple[str, str], list[Place]] = field(default_factory=dict)
    tests: dict[tuple[str, str], list[Place]] = field(default_factory=dict)
    wrong: list[tuple[str, str]] = field(default_factory=list)          # (paper, complaint); paper "" where none is known
    here: set[str] = field(default_factory=set)                         # papers with a model file
    has_tests: bool = False
    root: Path = ROOT

    def count(self, paper: str) -> tuple[int, int]:
        """How many of a paper's numbered equations are in code, and how many are tested."""
        keys = [(paper, key) for key in numbers(paper)]
        return sum(k in self.homes for k in keys), sum(k in self.tests for k in keys)

    def sections(self, paper: str) -> list[str]:
        """A paper's unnumbered addresses, in the order of its sections."""
        keys = {key for p, key in self.homes.keys() | self.tests.keys() if p == paper and key.startswith("§")}
        return sorted(keys, key=lambda key: ([int(n) for n in re.findall(r"\d+", key)], key))

    def problems(self, paper: str) -> list[str]:
        """What is out of order, a line each. A paper that is not here yet has no gaps."""
        rows = []
        for key in numbers(paper):
            homes = self.homes.get((paper, key), [])
            if len(homes) > 1:
                rows.append(f"{paper} ({key}) has {len(homes)} homes: "
                            + ", ".join(f"{p.where} {p.name}".strip() for p in homes))
            if paper in self.here and not homes:
                rows.append(f"{paper} ({key}) is missing: no line of a docstring in refnet/ starts so")
            if paper in self.here and self.has_tests and (paper, key) not in self.tests:
                rows.append(f"{paper} ({key}) is untested: no line of a test's docstring starts so")
        return rows + [text for p, text in self.wrong if p == paper]


def numbers(paper: str) -> list[str]:
    """The numbers of a paper's equations, as they are typed: "1", "2", ..."""
    return [str(n) for n in range(1, EQUATIONS[paper].count + 1)]


def collect(root: Path = ROOT) -> Found:
    """Read every docstring under root/refnet and root/tests.

    In refnet/ any docstring may be a home. In tests/ only what pytest would run is a test: a `test...` function or a
    `Test...` class in a test_*.py file; an address on a helper proves nothing and is not counted.
    """
    found = Found(root=root, here={p for p in EQUATIONS if (root / "refnet" / "models" / f"{p}.py").is_file()},
                  has_tests=(root / "tests").is_dir())
    for directory in ("refnet", "tests"):
        for path in sorted((root / directory).rglob("*.py")):
            file = path.relative_to(root).as_posix()
            try:
                text = path.read_text(encoding="utf-8-sig")
                tree = ast.parse(text)
            except (SyntaxError, ValueError) as error:               # a decoding error is a ValueError
                found.wrong.append(("", f"{file}:{getattr(error, 'lineno', None) or 1}: cannot be read: {error}"))
                continue
            rows = text.split("\n")
            for name, node in _named(tree):
                start = "Test" if isinstance(node, ast.ClassDef) else "test"
                is_test = path.name.startswith("test_") and name.rsplit(".", 1)[-1].startswith(start)
                target = found.homes if directory == "refnet" else found.tests if is_test else None
                _note(found, target, file, rows, name, node)
    return found


def _named(node: ast.AST, prefix: str = ""):
    """(dotted name, node) of the module and of every class and function in it, in reading order."""
    if isinstance(node, ast.Module):
        yield "", node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield prefix + child.name, child
            yield from _named(child, f"{prefix}{child.name}.")
        else:
            yield from _named(child, prefix)                         # inside an if, a with, a try


def _note(found: Found, target: dict | None, file: str, rows: list[str], name: str, node: ast.AST) -> None:
    """Enter one docstring's addresses into `target` (None: a helper among the tests), the wrong ones into `found.wrong`."""
    if ast.get_docstring(node, clean=False) is None:
        return
    doc = node.body[0].value
    first = min([d.lineno for d in getattr(node, "decorator_list", [])] + [getattr(node, "lineno", 1)])
    last, line = getattr(node, "end_lineno", len(rows)), getattr(node, "lineno", 1)
    source = textwrap.dedent("\n".join(rows[first - 1:last])).rstrip()
    said, wrong = addresses(doc.value, doc.col_offset)
    found.wrong += [(paper, f"{file}:{line} {name}".rstrip() + f": {text}") for paper, text in wrong]
    for paper, keys, formula in said:
        for key in keys:
            if not key.startswith("§") and key not in numbers(paper):
                found.wrong.append((paper, f"{file}:{line} {name}".rstrip() + f": {paper} ({key}) does not exist; "
                                    f"{paper} has equations 1 to {EQUATIONS[paper].count}"))
            elif target is not None:
                places = target.setdefault((paper, key), [])
                if not any((p.file, p.name, p.line) == (file, name, line) for p in places):
                    places.append(Place(file, name, first, line, last, source, formula))


# ---- printing ----

def overview(found: Found) -> tuple[list[str], int]:
    """A line per paper and the total; exit status 1 if anything is out of order."""
    rows, in_code, tested, bad = [], 0, 0, [text for paper, text in found.wrong if not paper]
    for key, paper in EQUATIONS.items():
        a, b = found.count(key)
        in_code, tested, bad = in_code + a, tested + b, bad + found.problems(key)
        rows.append(f"{_line(key, a, b, paper.count, found):45}   {paper.title}")
    rows += [_line("total", in_code, tested, TOTAL, found), *_no_tests(found)]
    return rows + _complaints(bad), int(bool(bad))


def _line(key: str, in_code: int, tested: int, count: int, found: Found) -> str:
    said = f"{in_code:2} of {count} in code" + (f", {tested:2} of {count} tested" if found.has_tests else "")
    if key in EQUATIONS and key not in found.here:
        said = "not here yet"
    return f"{key:12}{said}"


def _no_tests(found: Found) -> list[str]:
    return [] if found.has_tests else ["", "There is no tests/ beside refnet/: installed without tests, so none are listed."]


def _complaints(bad: list[str]) -> list[str]:
    return ["", *(f"wrong: {text}" for text in bad)] if bad else []


def table(found: Found, key: str) -> tuple[list[str], int]:
    """Every equation of one paper: formula, home, tests."""
    paper, bad = EQUATIONS[key], found.problems(key) + [text for p, text in found.wrong if not p]
    a, b = found.count(key)
    rows = [f"{paper.name}: {paper.title}", _line(key, a, b, paper.count, found)]
    if key not in found.here:
        rows[1] += f": there is no refnet/models/{key}.py"
    for n in numbers(key):
        rows += _entry(found, key, n, 6)
    if unnumbered := found.sections(key):
        rows += ["", "Formulas without a number"]
        for n in unnumbered:
            rows += _entry(found, key, n, max(map(len, unnumbered)) + 4)
    return rows + _no_tests(found) + _complaints(bad), int(bool(bad))


def _entry(found: Found, key: str, n: str, width: int) -> list[str]:
    """One address in the table; a section may hold several formulas, each with its function under it."""
    homes, tests = found.homes.get((key, n), []), found.tests.get((key, n), [])
    pad = " " * (width + 2)
    rows = [] if homes else [pad + "not in code"]
    for p in homes:
        rows += [pad + row for row in p.formula.split("\n")] + [f"{pad}{p.where}   {p.name or '(the module)'}"]
    if found.has_tests:
        rows += textwrap.wrap("  ".join(p.label for p in tests) or "no test", _width(), initial_indent=pad,
                              subsequent_indent=pad, break_long_words=False, break_on_hyphens=False)
    return ["", f"  {f'({n})':{width}}" + rows[0][len(pad):], *rows[1:]]


def slide(found: Found, key: str, n: str) -> tuple[list[str], int]:
    """One equation: its function's source, then its tests' source."""
    homes, tests = found.homes.get((key, n), []), found.tests.get((key, n), [])
    rows = [f"{EQUATIONS[key].name} ({n})    {EQUATIONS[key].title}"]
    rows += [f"    {row}" for place in homes for row in place.formula.split("\n")]
    shown = [t for t in tests if not any(_inside(t, other) for other in tests)]
    for place in homes + blackboards(found.root, key, n) + shown:
        rows += ["", _rule(f"{place.where}  {place.name}".rstrip()), "", place.source]
    bad = [text for text in found.problems(key) if text.startswith(f"{key} ({n}) ")]
    if not homes and not bad:
        rows += ["", f"Not in code yet: there is no refnet/models/{key}.py."]
    if found.has_tests and homes and not tests and not bad:
        rows += ["", "No test carries this address."]
    return rows + _no_tests(found) + _complaints(bad), int(bool(bad))


def blackboards(root: Path, key: str, n: str) -> list[Place]:
    """The worked examples of one equation: what refnet/examples.py assigns to a name and says it is `of` that address."""
    file, out = "refnet/examples.py", []
    if not (root / file).is_file():
        return out
    text = (root / file).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and node.value.args:
            of = getattr(node.value.args[0], "value", "")
            if any(said.paper == key and n in said.keys for said in addresses(str(of))[0]):
                source = "\n".join(text.splitlines()[node.lineno - 1:node.end_lineno])
                out.append(Place(file, node.targets[0].id, node.lineno, node.lineno, node.end_lineno, source, ""))
    return out


def _inside(a: Place, b: Place) -> bool:
    """Is a printed already, as a method of the class b?"""
    return a.file == b.file and a != b and b.first <= a.first and a.last <= b.last


def _rule(text: str) -> str:
    return f"── {text} " + "─" * max(3, _width() - len(text) - 4)


def _width() -> int:
    return max(60, min(120, shutil.get_terminal_size((120, 24)).columns))


# ---- the command ----

def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def _choose(parser: argparse.ArgumentParser, found: Found, paper: str, number: str | None) -> str | None:
    """The address asked for; a misspelt one ends here, with the nearest match named."""
    if paper not in EQUATIONS:
        near = difflib.get_close_matches(_plain(paper), EQUATIONS, 1, 0.5)
        parser.error(f"no paper is called {paper!r}; "
                     + (f"did you mean {near[0]}?" if near else f"there are {', '.join(EQUATIONS)}"))
    if number is None:
        return None
    key, sections = number.strip("() "), found.sections(paper)
    if is_number := bool(re.fullmatch(r"-?\d{1,9}", key)):
        key = str(int(key))
    if key in numbers(paper) or key in sections:
        return key
    if is_number:
        nearest = min(numbers(paper), key=lambda n: abs(int(n) - int(key)))
    else:
        nearest = next(iter(difflib.get_close_matches(key, numbers(paper) + sections, 1, 0.5)), None)
    parser.error(f"{paper} has equations 1 to {EQUATIONS[paper].count}" + (f" and {', '.join(sections)}" if sections else "")
                 + f", not {number!r}" + (f"; did you mean {paper} {nearest}?" if nearest else ""))


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    """Print what was asked for; the exit status is the answer."""
    parser = argparse.ArgumentParser(prog="python -m refnet.equations", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", nargs="?", help=", ".join(EQUATIONS))
    parser.add_argument("number", nargs="?", help="the equation's number; or the section of a formula without one, as §3.2")
    asked = parser.parse_args(argv)
    found = collect(root)
    if asked.paper is None:
        rows, status = overview(found)
    else:
        number = _choose(parser, found, asked.paper, asked.number)
        rows, status = table(found, asked.paper) if number is None else slide(found, asked.paper, number)
    print("\n".join(rows))
    return status


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8")       # β and Σ also where the console's own encoding has no such letter
    sys.exit(main())
