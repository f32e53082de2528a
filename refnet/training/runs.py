"""A run folder: what is in it, how it is written, and how it is read back.

    config.json       settings and their sources, command line, versions, device, seed, counts of the data
    log.csv           a row an epoch
    last.pt, best.pt  see checkpoint.py
    predictions.csv   of the report part: sample, subject, fold, target, predicted, then one probability a class
    curves.png        the log, drawn        confusion.png   the predictions, counted

Several folds live in fold-<id>/ each, and their predictions are pooled in the run folder itself.
"""
import csv
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refnet.figures import charts
from refnet.pictures import write_picture
from refnet.training.checkpoint import CheckpointError

Rows = dict[str, Any]                                           # a column each: a list of str, or a tensor (n,)
WORDS = ("sample", "subject", "fold")


class UsageError(ValueError):
    """The command line asks for what cannot be; the message says what can."""


def new_folder(output_dir: str | None, key: str, name: str, moment: int | None = None) -> Path:
    """The path of a run folder to be, not made yet: exactly output_dir, or runs/<paper>/<time>-<name>.

    moment   milliseconds since 1970, the same on every process; now, where it is not given

    Raises UsageError for a folder that holds a run already.
    """
    if output_dir is not None:
        folder = Path(output_dir)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--output-dir {folder} is a file; name a folder")
        if (folder / "config.json").exists():
            raise UsageError(f"--output-dir {folder} holds a run already; go on with it by --resume {folder}, "
                             "or name another folder")
        return folder
    moment = time.time_ns() // 10 ** 6 if moment is None else moment
    at = time.strftime("%Y%m%d-%H%M%S", time.localtime(moment // 1000)) + f"-{moment % 1000:03d}"
    stem = Path("runs") / key / f"{at}-{name}"
    folder, n = stem, 2
    while folder.exists():                                      # two runs at the same moment
        folder, n = stem.with_name(f"{stem.name}-{n}"), n + 1
    return folder


def fold_folder(folder: Path, fold: str, folds: int) -> Path:
    """Where a fold lives: the run folder itself if it is the only one."""
    return folder if folds == 1 else folder / f"fold-{fold}"


def to_resume(where: str, key: str) -> tuple[Path, dict[str, Path]]:
    """Find what --resume means.

    where   a run folder or a .pt of it; "" for the newest run of this paper
    →       the run folder, and for each of its folds' folders the checkpoint to go on from

    Raises CheckpointError where there is nothing to go on from.
    """
    if not where:
        files = list((Path("runs") / key).glob("**/last.pt"))
        if not files:
            raise CheckpointError(Path("runs") / key, "no run with a last.pt in it", "Name a run folder: --resume DIR")
        where = max(files, key=lambda p: p.stat().st_mtime)
    path = Path(where)
    if not path.exists():
        raise CheckpointError(path, "there is no such run", "Name a run folder, or the last.pt in one")
    folder = path if path.is_dir() else path.parent
    if folder.name.startswith("fold-"):
        folder = folder.parent
    found = {p.parent: p for p in sorted([*folder.glob("last.pt"), *folder.glob("fold-*/last.pt")])}
    if path.is_file():
        found[path.parent] = path
    if not found:
        raise CheckpointError(folder, "this run has no last.pt yet", "Nothing is lost: start it again, in another folder")
    return folder, found


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)


def write_config(folder: Path, content: dict[str, Any]) -> None:
    """Write config.json."""
    write_text(folder / "config.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_log(folder: Path, log: list[dict[str, Any]]) -> None:
    """Write log.csv: every column that any row has, blank where a row lacks it."""
    names = list(dict.fromkeys(name for row in log for name in row))
    write_text(folder / "log.csv", _csv([names] + [[row.get(name, "") for name in names] for row in log]))


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read log.csv back: numbers as numbers, blanks left out."""
    with (folder / "log.csv").open(encoding="utf-8", newline="") as f:
        kinds = {"stage": str, "epoch": int, "step": int}
        return [{k: kinds.get(k, float)(v) for k, v in row.items() if v != ""} for row in csv.DictReader(f)]


def write_predictions(path: Path, rows: Rows, classes: tuple[str, ...]) -> None:
    """Write predictions.csv: class names for `target` and `predicted`, numbers with all their digits elsewhere."""
    columns = [[classes[k] if k >= 0 else "" for k in values.tolist()] if name in ("target", "predicted")
               else values.tolist() if isinstance(values, Tensor) else values for name, values in rows.items()]
    write_text(path, _csv([list(rows)] + list(zip(*columns))))


def write_units(path: Path, rows: Rows, units: list[str]) -> None:
    """Write the action units of one's own pictures under OpenFace's names: AU01_c is 1 where it is called; AU01_p, its probability, is ours."""
    columns = [rows["sample"], *(rows[f"predicted_{unit}"].tolist() for unit in units), *(rows[f"p_{unit}"].tolist() for unit in units)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _csv([["sample", *(f"{unit}_c" for unit in units), *(f"{unit}_p" for unit in units)]] + list(zip(*columns))))


def read_predictions(path: str | Path, classes: tuple[str, ...]) -> Rows:
    """Read predictions.csv back: the same rows that were written.

    classes   names in the order of the codes; () where there are no expressions

    Raises UsageError for a missing file or column, and for a cell that is not what its column holds.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: there are no predictions; the run has not come to its end")
    with path.open(encoding="utf-8", newline="") as f:
        reader = csv.DictReader(f)
        names, table = reader.fieldnames or [], list(reader)
    if missing := [name for name in WORDS if name not in names]:
        raise UsageError(f"{path}: no column {missing[0]!r}; found {', '.join(names) or 'nothing'}")
    rows: Rows = {}
    for name in names:
        whole = name.startswith(("target", "predicted")) and not name.endswith(("_valence", "_arousal"))
        try:
            if name in WORDS:
                rows[name] = [row[name] for row in table]
            elif name in ("target", "predicted"):
                codes = [classes.index(row[name]) if row[name] else -1 for row in table]
                rows[name] = torch.tensor(codes, dtype=torch.long)
            else:
                rows[name] = torch.tensor([int(row[name]) if whole else float(row[name]) for row in table],
                                          dtype=torch.long if whole else torch.float32)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{path}: column {name!r}: {error}") from error
    return rows


def averaged(rows: Rows, classes: tuple[str, ...]) -> Rows:
    """One row a sample: probabilities, valence and arousal are the means of the rows with its id.

    `predicted` is then the class of the highest mean, the first of equals; `predicted_AU..` what most rows say, present
    where half do.
    """
    ids = list(dict.fromkeys(rows["sample"]))
    if len(ids) == len(rows["sample"]):
        return rows
    place = {name: k for k, name in enumerate(ids)}
    of = torch.tensor([place[name] for name in rows["sample"]])                            # (n,)
    n = torch.bincount(of).double()                                                        # (ids,)
    first = torch.tensor([rows["sample"].index(name) for name in ids])                     # (ids,)

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(len(ids), dtype=torch.float64).index_add(0, of, values.double()) / n

    out: Rows = {}
    for name, values in rows.items():
        if not isinstance(values, Tensor):
            out[name] = [values[k] for k in first.tolist()]
        elif name.startswith("target"):
            out[name] = values[first]
        elif values.is_floating_point():
            out[name] = mean(values).to(values.dtype)
        elif name == "predicted":
            out[name] = torch.stack([mean(rows[f"p_{c}"]) for c in classes]).argmax(0)
        else:
            out[name] = (mean(values) >= 0.5).long()
    return out


def pooled(parts: list[Rows]) -> Rows:
    """The rows of several folds, one after the other."""
    return {name: torch.cat([p[name] for p in parts]) if isinstance(values, Tensor) else sum((p[name] for p in parts), [])
            for name, values in parts[0].items()}


def headline(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores without those of single action units, which log.csv and evaluate.py's table hold."""
    return {name: value for name, value in scores.items() if " AU" not in name}


def draw_log(folder: Path, log: list[dict[str, Any]]) -> None:
    """Draw curves.png: the loss terms above, the scores of the select part below."""
    if not log:
        return
    names = [n for n in dict.fromkeys(name for row in log for name in headline(row)) if n not in ("stage", "epoch", "step", "lr")]
    lines = {n: [float(row.get(n, "nan")) for row in log] for n in names}
    terms, scores = [n for n in names if not n.startswith("select_")], [n for n in names if n.startswith("select_")]
    panels = {"loss": terms} | ({"select": scores} if scores else {})
    write_picture(charts.curves(lines, panels=panels), folder / "curves.png")


def draw_confusion(folder: Path, rows: Rows, classes: tuple[str, ...], title: str) -> None:
    """Draw confusion.png, where the predictions are of expressions."""
    if "predicted" not in rows:
        return
    known, C = rows["target"] >= 0, len(classes)
    counts = torch.bincount(rows["target"][known] * C + rows["predicted"][known], minlength=C * C).unflatten(0, (C, C))
    write_picture(charts.confusion(counts, list(classes), title), folder / "confusion.png")


def _csv(lines: list) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
