"""The equation finder, on small trees written here: what counts as a home, as a test, and as a mistake.

The papers' real equations are checked by `python -m refnet.equations` itself, at the end of this file.
"""
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from refnet.equations import EQUATIONS, ROOT, addresses, collect, main


def plant(root: Path, **files: str) -> Path:
    """Write files into a tree; `ops__attention` is refnet/ops/attention.py, `test_a` is tests/test_a.py."""
    for name, text in files.items():
        path = root / ("tests" if name.startswith(("test_", "slow_")) else "refnet") / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return root


def whole(root: Path, paper: str = "arpgnet", leave_out: tuple[int, ...] = ()) -> Path:
    """A tree in which one paper is complete, but for the numbers left out of the code."""
    count = range(1, EQUATIONS[paper].count + 1)
    code = [f'def f{n}():\n    """F.\n\n        {paper} ({n})   x_{n} = β_{n}\n    """\n\n\n'
            for n in count if n not in leave_out]
    tests = [f'def test_eq{n}():\n    """{paper} ({n}): by hand."""\n\n\n' for n in count]
    return plant(root, **{f"models__{paper}": "".join(code), f"test_{paper}": "".join(tests)})


def ask(root: Path, capsys, *argv: str) -> tuple[int, str]:
    status = main(list(argv), root)
    return status, capsys.readouterr().out


# ---- addresses in a docstring ----

def said(doc: str) -> list[tuple]:
    found, wrong = addresses(textwrap.dedent(doc))
    assert wrong == []
    return [tuple(s) for s in found]


def test_two_stacked_addresses():
    """Two papers share a function: each line is an address of its own."""
    assert said("""Weights over a neighbourhood.

        arpgnet (3)   β_ij = exp(e_ij)
        engat (2)     α_ij = exp(e_ij)

    e    (*, N, N)   scores
    """) == [("arpgnet", ("3",), "β_ij = exp(e_ij)"), ("engat", ("2",), "α_ij = exp(e_ij)")]


def test_several_numbers_and_a_section():
    assert said("""Two waves.

        arpgnet (5, 6)   PE = sin, cos
        megraphau (§2.2)  e_ij after the gate
        engat (§3.2, §3.3, Table 4)  z
    """) == [("arpgnet", ("5", "6"), "PE = sin, cos"), ("megraphau", ("§2.2",), "e_ij after the gate"),
             ("engat", ("§3.2", "§3.3"), "z")]


def test_a_formula_goes_on_where_it_is_indented_further():
    """The second row keeps its place under the first: two columns to the right of where the formula starts."""
    assert said("""Loss.

        engat (8)   F1 = 2 TP
                      / (2 TP + FP + FN)
          and so on
        engat (9)   UF1
    x   (N,)   not a formula
    """) == [("engat", ("8",), "F1 = 2 TP\n  / (2 TP + FP + FN)\nand so on"), ("engat", ("9",), "UF1")]


def test_a_blank_row_ends_the_formula():
    assert said("""S.

        engat (8)   F1

            x   (N,)   deeper, yet not of the formula
    """) == [("engat", ("8",), "F1")]


def test_the_first_row_may_be_the_address():
    """In a test the docstring opens with it; rows at the quotes' own column do not continue it."""
    found, _ = addresses("arpgnet (2): W = I, by hand.\n    and prose\n        more", column=4)
    assert [tuple(s) for s in found] == [("arpgnet", ("2",), "W = I, by hand.")]


def test_reading_ends_the_addresses():
    assert said("""S.

        arpgnet (3)   β
                      deeper
    Reading: the heading says otherwise;
        arpgnet (4)   is only talked about.
    """) == [("arpgnet", ("3",), "β\ndeeper")]
    assert said("S.\n\narpgnet (3)   β\n    Reading: set deeper.\narpgnet (4)   no\n") == [("arpgnet", ("3",), "β")]


def test_an_address_set_deeper_is_no_continuation():
    assert said("S.\n\narpgnet (3)   β\n   engat (2)   α\n") == [("arpgnet", ("3",), "β"), ("engat", ("2",), "α")]


def test_an_address_starts_its_line():
    assert said("Used by arpgnet (3), see there.\n\n    See also: engat (2)\n") == []


@pytest.mark.parametrize("line, paper", [
    ("arpgnet (2-4)   e", "arpgnet"), ("arpgnet (2–4)   e", "arpgnet"), ("arpgnet (2), (3)   e", "arpgnet"),
    ("engat (Eq. 2)   e", "engat"), ("engat (2) and (3)   e", "engat"), ("engat (2, 3 and 4)   e", "engat"),
    ("arpgnt (3)   e", "arpgnet"), ("face2node (5)   e", "face2nodes"),
])
def test_an_address_that_cannot_be_read_is_said(line, paper):
    found, wrong = addresses(f"S.\n\n    {line}\n")
    assert found == [] and [p for p, _ in wrong] == [paper]


@pytest.mark.parametrize("line", ["arpgnet (2): (W x)_i", "arpgnet (2)   (W x)_i", "arpgnet (2) (W x)", "arpgnet(2)   W x"])
def test_a_formula_may_open_with_a_bracket(line):
    found, wrong = addresses(f"S.\n\n    {line}\n")
    assert wrong == [] and found[0].keys == ("2",) and found[0].formula.replace("_i", "").strip("()") == "W x"


# ---- homes and tests in a tree ----

def test_a_whole_paper(tmp_path, capsys):
    found = collect(whole(tmp_path))
    assert found.count("arpgnet") == (10, 10) and found.here == {"arpgnet"} and found.problems("arpgnet") == []
    status, out = ask(tmp_path, capsys)
    rows = out.splitlines()
    assert status == 0
    assert rows[0].startswith("arpgnet     10 of 10 in code, 10 of 10 tested   Appearance- and Relation-aware")
    assert rows[1].split("  ")[0] == "engat" and rows[1].split()[1:4] == ["not", "here", "yet"]
    assert rows[1].index("Relational Edge-Node Graph Attention Network") == rows[0].index("Appearance-")
    assert rows[5] == "total       10 of 52 in code, 10 of 52 tested" and len(rows) == 6


def test_a_gap(tmp_path, capsys):
    status, out = ask(whole(tmp_path, leave_out=(3,)), capsys, "arpgnet")
    assert status == 1 and "wrong: arpgnet (3) is missing" in out and out.count("wrong:") == 1
    assert " 9 of 10 in code" in out and "(3)   not in code" in out
    assert [ask(tmp_path, capsys, *argv)[0] for argv in ((), ("arpgnet", "3"), ("arpgnet", "4"), ("engat",))] == [1, 1, 0, 0]


def test_a_second_home(tmp_path, capsys):
    plant(whole(tmp_path), ops__again='''
        class Layer:
            def forward(self):
                """Again.

                    arpgnet (4, 5)   x
                """
        ''')
    status, out = ask(tmp_path, capsys, "arpgnet")
    both = "refnet/models/arpgnet.py:22 f4, refnet/ops/again.py:3 Layer.forward"
    assert status == 1 and f"wrong: arpgnet (4) has 2 homes: {both}\n" in out
    assert "arpgnet (5) has 2 homes" in out and out.count("wrong:") == 2


def test_the_same_number_twice_in_one_docstring_is_one_home(tmp_path):
    plant(whole(tmp_path, leave_out=(5, 6)),
          ops__position='"""Waves.\n\n    arpgnet (5, 6)   PE\n    arpgnet (6)   cos\n"""')
    found = collect(tmp_path)
    assert found.problems("arpgnet") == [] and [p.where for p in found.homes["arpgnet", "6"]] == ["refnet/ops/position.py:1"]


def test_a_function_under_a_condition_is_found(tmp_path):
    plant(whole(tmp_path, leave_out=(3,)),
          ops__either='if True:\n    def f():\n        """F.\n\n        arpgnet (3)   β\n        """\n')
    assert collect(tmp_path).homes["arpgnet", "3"][0].where == "refnet/ops/either.py:2"


def test_untested(tmp_path, capsys):
    """A helper among the tests, and a test that pytest would not collect, prove nothing."""
    whole(tmp_path)
    plant(tmp_path, test_arpgnet="".join(f'def test_eq{n}():\n    """arpgnet ({n})"""\n' for n in range(1, 10)) + '''
def twin():
    """arpgnet (10): a double loop."""
''', slow_arpgnet='def test_eq10():\n    """arpgnet (10): not in a test_*.py file."""\n')
    status, out = ask(tmp_path, capsys, "arpgnet")
    assert status == 1 and "\nwrong: arpgnet (10) is untested: no line of a test's docstring starts so" in out and out.count("wrong:") == 1
    assert "9 of 10 tested" in out


def test_a_reading_is_not_a_home(tmp_path):
    plant(whole(tmp_path, leave_out=(3,)),
          ops__attention='def f():\n    """F.\n\n    Reading: headed softmax_i.\n    arpgnet (3)   β\n    """\n')
    assert collect(tmp_path).problems("arpgnet")[0].startswith("arpgnet (3) is missing")


def test_a_number_that_does_not_exist(tmp_path, capsys):
    plant(whole(tmp_path), ops__more='def g():\n    """G.\n\n        arpgnet (11)   z\n    """\n',
          test_more='def test_g():\n    """arpgnet (0): none."""\n')
    status, out = ask(tmp_path, capsys)
    assert status == 1
    assert "wrong: refnet/ops/more.py:1 g: arpgnet (11) does not exist; arpgnet has equations 1 to 10\n" in out
    assert "wrong: tests/test_more.py:1 test_g: arpgnet (0) does not exist" in out


def test_a_paper_that_is_not_here_yet_has_no_gaps_but_may_have_mistakes(tmp_path, capsys):
    whole(tmp_path)
    plant(tmp_path, ops__shared='def f():\n    """F.\n\n        engat (2)   α\n    """\n')
    status, out = ask(tmp_path, capsys, "engat")
    assert status == 0 and "not here yet: there is no refnet/models/engat.py" in out
    assert "refnet/ops/shared.py:1   f\n" in out
    assert ask(tmp_path, capsys)[1].splitlines()[5].startswith("total       11 of 52 in code, 10 of 52")
    assert "Not in code yet" in ask(tmp_path, capsys, "engat", "3")[1]
    plant(tmp_path, ops__again='def g():\n    """G.\n\n        engat (2)   α\n    """\n')
    assert ask(tmp_path, capsys)[0] == 1


def test_without_tests(tmp_path, capsys):
    whole(tmp_path)
    (tmp_path / "tests" / "test_arpgnet.py").unlink()
    (tmp_path / "tests").rmdir()
    for argv in ((), ("arpgnet",), ("arpgnet", "3")):
        status, out = ask(tmp_path, capsys, *argv)
        assert status == 0 and "installed without tests" in out and "no test\n" not in out and "tested" not in out


def test_a_file_that_cannot_be_read(tmp_path, capsys):
    plant(whole(tmp_path), ops__broken="\ndef f(:\n")
    (tmp_path / "refnet" / "ops" / "latin.py").write_bytes(b'"""caf\xe9"""')
    status, out = ask(tmp_path, capsys)
    assert status == 1 and out.count("wrong:") == 2
    assert "wrong: refnet/ops/broken.py:2: cannot be read" in out and "wrong: refnet/ops/latin.py:1: cannot be read" in out


# ---- what is printed ----

CODE = '''
    import torch                                 # never imported: the finder only parses


    class Layer:
        @staticmethod
        def scores(e):
            """Weights.

                arpgnet (3)   β_ij = exp(e_ij)
                                   / Σ_k exp(e_ik)
                engat (2)     α_ij

            e  (N, N)  →  (N, N)
            """
            return e


    def after():
        """The note under the tables.

            arpgnet (§4.2.2)   η
        """
'''
TEST = '''
    class TestScores:
        """arpgnet (3): all of it."""

        @mark.parametrize("k", [2, 3])
        def test_quarter(self, k):
            """arpgnet (3): a quarter."""
            assert k


    @mark.slow
    def test_engat():
        """engat (2): one.

        arpgnet (3): and the other.
        """
        assert scores


    def test_not_asked():
        """arpgnet (4): another."""
'''


@pytest.fixture
def layer(tmp_path):
    return plant(whole(tmp_path, leave_out=(3,)), ops__attention=CODE, test_attention=TEST)


def test_the_table_of_a_paper(layer, capsys):
    status, out = ask(layer, capsys, "arpgnet")
    assert status == 0 and out.startswith("ARPGNet: Appearance- and Relation-aware Parallel Graph Attention Fusion Network\n")
    row = out[out.index("  (3)"):out.index("  (4)")]
    assert row.splitlines()[:3] == ["  (3)   β_ij = exp(e_ij)",
                                    "             / Σ_k exp(e_ik)",
                                    "        refnet/ops/attention.py:7   Layer.scores"]
    assert row.split()[-4:] == ["tests/test_arpgnet.py::test_eq3", "tests/test_attention.py::TestScores",
                                "tests/test_attention.py::TestScores::test_quarter", "tests/test_attention.py::test_engat"]
    assert max(map(len, row.splitlines())) <= 120
    assert out[out.index("Formulas without"):].splitlines() == [
        "Formulas without a number", "",
        "  (§4.2.2)  η", "            refnet/ops/attention.py:19   after", "            no test"]


def test_a_section_may_hold_two_formulas(layer, capsys):
    plant(layer, ops__two='def two():\n    """Two.\n\n        arpgnet (§4.2.2)   ζ\n    """\n')
    status, out = ask(layer, capsys, "arpgnet")
    assert status == 0 and out.endswith("            refnet/ops/attention.py:19   after\n            ζ\n"
                                        "            refnet/ops/two.py:1   two\n            no test\n")


def test_a_slide(layer, capsys):
    """The method with its decorator, set against the margin; then the tests, a class whole and once, without the others."""
    status, out = ask(layer, capsys, "arpgnet", "3")
    code, *tests = out.split("── ")[1:]
    assert status == 0 and len(tests) == 3
    assert code.startswith("refnet/ops/attention.py:7  Layer.scores ──")
    assert "\n@staticmethod\ndef scores(e):\n    \"\"\"Weights.\n" in code
    assert code.rstrip().endswith("return e") and "def after" not in out and "import torch" not in out
    assert tests[0].startswith("tests/test_arpgnet.py:9  test_eq3 ──")
    assert tests[1].startswith("tests/test_attention.py:2  TestScores ──")
    assert '    @mark.parametrize("k", [2, 3])\n' in tests[1]
    assert tests[2].startswith("tests/test_attention.py:12  test_engat ──")
    assert "\n@mark.slow\ndef test_engat():\n" in tests[2]
    assert out.count("def test_quarter") == 1 and "test_not_asked" not in out
    assert ask(layer, capsys, "engat", "2")[1].count("def scores(e)") == 1


def test_a_slide_of_a_formula_without_a_number(layer, capsys):
    status, out = ask(layer, capsys, "arpgnet", "§4.2.2")
    assert status == 0 and "def after():" in out and "No test carries this address." in out


@pytest.mark.parametrize("argv, meant", [
    (["arpnet"], "did you mean arpgnet?"),
    (["ME-GraphAU"], "did you mean megraphau?"),
    (["emotion-gcn", "3"], "did you mean emotiongcn?"),
    (["zzz"], "there are arpgnet, engat, megraphau, face2nodes, emotiongcn"),
    (["arpgnet", "11"], "did you mean arpgnet 10?"),
    (["arpgnet", "0"], "did you mean arpgnet 1?"),
    (["arpgnet", "-2"], "did you mean arpgnet 1?"),
    (["arpgnet", "3a"], "did you mean arpgnet 3?"),
    (["arpgnet", "§4.2"], "did you mean arpgnet §4.2.2?"),
    (["arpgnet", "x"], "arpgnet has equations 1 to 10 and §4.2.2, not 'x'\n"),
])
def test_misspelt(layer, capsys, argv, meant):
    with pytest.raises(SystemExit) as stopped:
        main(argv, layer)
    assert stopped.value.code == 2 and meant in capsys.readouterr().err


def test_an_equation_may_be_written_as_on_the_page(layer, capsys):
    assert ask(layer, capsys, "arpgnet", "(3)") == ask(layer, capsys, "arpgnet", "03") == ask(layer, capsys, "arpgnet", "3")


# ---- the command itself ----

def test_fifty_two():
    counts = {key: paper.count for key, paper in EQUATIONS.items()}
    assert counts == {"arpgnet": 10, "engat": 10, "megraphau": 8, "face2nodes": 12, "emotiongcn": 12}
    assert sum(counts.values()) == 52


def command(*argv: str, root: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *argv], cwd=root, capture_output=True, env={**os.environ, **environment}, timeout=60)


def test_the_command_needs_no_packages():
    """-S leaves out every installed package, so an import of torch would fail; the real tree is read."""
    ran = command("-S", "-m", "refnet.equations")
    assert ran.stderr == b"" and ran.returncode in (0, 1) and b"of 52 in code" in ran.stdout
    assert command("-S", "-c", "import torch").returncode == 1


def test_the_command_imports_nothing_of_refnet():
    ran = command("-S", "-c", "import sys, refnet.equations as e; e.main(['arpgnet']); "
                  "mine = [m for m in sys.modules if m.split('.')[0] in ('refnet', 'torch', 'numpy', 'PIL')]; "
                  "print(*sorted(mine), file=sys.stderr)", PYTHONIOENCODING="utf-8")
    assert ran.stderr.decode().split() == ["refnet", "refnet.equations"]


def test_the_command_writes_utf8_on_any_console(tmp_path):
    """The finder and a tree with one gap stand in a folder of their own; the console claims to know ASCII only."""
    whole(tmp_path, leave_out=(4,))
    (tmp_path / "refnet" / "equations.py").write_bytes((ROOT / "refnet" / "equations.py").read_bytes())
    for argv, status in ((["arpgnet", "3"], 0), (["arpgnet"], 1)):
        ran = command("-m", "refnet.equations", *argv, root=tmp_path, PYTHONIOENCODING="ascii")
        assert ran.returncode == status and ran.stderr == b"" and "x_3 = β_3" in ran.stdout.decode("utf-8")
    ran = command("-m", "refnet.equations", "arpgnet", "β", root=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    assert ran.returncode == 2 and "not 'β'" in ran.stderr.decode("utf-8")


def test_this_project_is_in_order():
    """Every equation of every paper that is here: in code once, and tested; no wrong address anywhere."""
    found = collect(ROOT)
    unreadable = [text for paper, text in found.wrong if not paper]
    assert unreadable + [row for key in EQUATIONS for row in found.problems(key)] == []


def test_a_slide_shows_the_worked_example(capsys):
    """The blackboard of (3) stands between its function and its tests, and those of other equations do not."""
    assert main(["arpgnet", "3"]) == 0
    out = capsys.readouterr().out
    assert out.index("def masked_softmax") < out.index("A_QUARTER = Example(") < out.index("def test_eq3_")
    assert "TWO_NODES = Example" not in out
