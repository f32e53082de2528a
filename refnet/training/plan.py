"""What a command asks for: settings laid over each other, which runs there are, and the table they make."""
import argparse
import dataclasses
import statistics
from pathlib import Path
from types import ModuleType
from typing import Any

from refnet import config
from refnet.training import runs
from refnet.training.job import Job, Options
from refnet.training.runs import UsageError

OWN = ("drawn", "folder")                                       # data sets that no paper prints a score for
PLACES = ("landmarks", "cache")                                 # settings that only say where things lie
GIVEN = (*PLACES, "glove", "between")                           # and those that name a file which a paper's own run needs
Runs = dict[tuple[str, int], tuple[Job, Path]]                  # (ablation row, seed) → what is trained, and where to


def options_of(args: argparse.Namespace) -> Options:
    """The flags that say how to train; the number of workers waits for the data.

    Raises UsageError for flags that do not go together.
    """
    if args.resume is not None and (args.table or args.repeat > 1 or args.output_dir):
        raise UsageError("--resume goes on with one run in its own folder: leave --table, --repeat and --output-dir out")
    if args.table and args.ablation:
        raise UsageError("--table runs all rows, --ablation one: give one of them")
    for name in ("data", "output_dir"):
        if getattr(args, name) == "":
            raise UsageError(f"--{name.replace('_', '-')} is empty; name a folder, or leave it out")
    if args.select is not None and args.select >= 1:
        raise UsageError(f"--select is a share below 1; got {args.select}")
    given = {name: getattr(args, name) for name in Options._fields if name != "workers"}
    return Options(**{name: value for name, value in given.items() if value is not None})


def planned(paper: ModuleType, key: str, args: argparse.Namespace, options: Options, moment: int | None = None) -> Runs:
    """The runs that a command asks for: one, or one a row and seed, which then share a parent folder.

    Without --data: drawn faces and the preset demo; with it: what --dataset says and the preset paper.
    Raises UsageError where flags do not go together, or a folder holds a run already.
    """
    real = ", ".join(name for name in paper.DATASETS if name != "drawn")
    if args.data is None and args.dataset not in (None, "drawn"):
        raise UsageError(f"--dataset {args.dataset} needs --data DIR, the folder it lies in")
    if args.data is not None and args.dataset is None:
        raise UsageError(f"--data needs --dataset, one of {real}")
    if args.data is not None and args.dataset == "drawn":
        raise UsageError(f"drawn faces come without --data; for files, --dataset is one of {real}")
    dataset, preset = args.dataset or "drawn", args.preset or ("paper" if args.data else "demo")
    if args.ablation and paper.ABLATIONS[args.ablation].pretrained is False and options.weights:
        raise UsageError(f"--ablation {args.ablation} is trained from scratch; leave --weights out")
    rows = rows_of(paper, args.table) if args.table else [args.ablation or ""]
    one = f"repeat{args.repeat}" if args.repeat > 1 else f"seed{args.seed}"
    name = f"table{args.table.removeprefix('table')}" if args.table else one
    top, several = runs.new_folder(args.output_dir, key, name, moment), len(rows) * args.repeat > 1
    if several and (held := sorted(top.glob("*/config.json"))):
        raise UsageError(f"--output-dir {top} holds runs already, such as {held[0].parent}; name another folder")
    if args.select is None:
        options = options._replace(select=paper.DATASETS[dataset].select)
    yours, found = config.given(args, paper.Config), {}
    for row in rows:
        for seed in range(args.seed, args.seed + args.repeat):
            own = options._replace(seed=seed, weights="" if row and paper.ABLATIONS[row].pretrained is False else options.weights)
            job = settle(paper, key, dataset, preset, row, yours, args.data or "", own)
            found[row, seed] = job, top / (f"{row}-seed{seed}" if row else f"seed{seed}") if several else top
    return found


def settle(paper: ModuleType, key: str, dataset: str, preset: str, ablation: str, yours: dict[str, Any], root: str,
           options: Options) -> Job:
    """Lay the settings over each other: Config < data set < preset < ablation row < what stands on the command line.

    Raises UsageError where they do not go together.
    """
    layers = [(f"data set {dataset}", paper.DATASETS[dataset].settings), (f"preset {preset}", paper.PRESETS[preset])]
    if ablation:
        layers.append((ablation, paper.ABLATIONS[ablation].on(dataset)))
    try:
        cfg, sources = config.merge(paper.Config, *layers, ("yours", yours))
    except ValueError as error:
        raise UsageError(str(error)) from error
    return Job(paper, key, cfg, sources, dataset, preset, ablation, root, options)


def resumed(paper: ModuleType, saved: dict[str, Any], args: argparse.Namespace, options: Options) -> Job:
    """The job of a checkpoint. Where things lie (PLACES), --workers, --steps and --save-every may be new, nothing else.

    Raises UsageError for a flag that says something else than the run did.
    """
    free = ("steps", "save_every", "workers")
    given = config.given(args, paper.Config)
    asked = {name: value for name, value in given.items() if name not in PLACES}
    asked |= {name: value for name, value in options._asdict().items()
              if name not in free and value != Options._field_defaults[name]}
    asked |= {name: getattr(args, name) for name in ("dataset", "preset", "ablation") if getattr(args, name) is not None}
    for name, value in asked.items():
        had = (saved | saved["options"] | saved["cfg"]).get(name)
        if value != had:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} {config.show(value)}: a run that goes on keeps its settings, here {config.show(had)}; "
                             f"leave {flag} out, or start a new run")
    kept = Options(**saved["options"])._replace(steps=options.steps, save_every=options.save_every)
    return job_of(paper, saved, args.data, {name: given[name] for name in PLACES if name in given})._replace(options=kept)


def job_of(paper: ModuleType, saved: dict[str, Any], root: str | None, places: dict[str, str] = {}) -> Job:
    """The job that a checkpoint is of; its data lie in root, where that is given, and what belongs to them in `places`.

    Raises UsageError for a checkpoint whose settings are no longer the paper's.
    """
    try:
        cfg = paper.Config(**saved["cfg"] | places)
    except (TypeError, ValueError) as error:
        raise UsageError(f"the run was made by another version of {saved['paper']}: {error}; start a new run") from error
    return Job(paper, saved["paper"], cfg, saved["sources"], saved["dataset"], saved["preset"], saved["ablation"],
               root or saved["root"], Options(**saved["options"]))


def rows_of(paper: ModuleType, word: str) -> list[str]:
    """The ablation rows of a table: 4 → table4.1, table4.2, ...; alpha → alpha.1, ..., where a paper's file has rows of our own.

    Raises UsageError for a table that is not there.
    """
    names = [name for name in paper.ABLATIONS if name.split(".")[0].removeprefix("table") == word.removeprefix("table")]
    if not names:
        tables = list(dict.fromkeys(name.split(".")[0].removeprefix("table") for name in paper.ABLATIONS if "." in name))
        raise UsageError(f"no --table {word}{config.nearest(word, tables)}; there are {', '.join(tables) or 'none'}")
    return names


def table(jobs: dict[str, Job], scores: dict[str, list[dict[str, float]]]) -> str:
    """A table in the paper's layout: the switches of each row, then our scores, mean ± deviation over the seeds.

    jobs     row → its job; "" for settings that are no row
    scores   row → the scores of each seed

    Printed scores stand beside ours only where both are of the paper's settings and of real faces. Ours are in the unit
    of the printed ones: percent, where those pass 1.
    """
    some = next(iter(jobs.values()))
    printed = {row: some.paper.ABLATIONS[row].scores(some.dataset) if row else {} for row in jobs}
    switches = list(dict.fromkeys(name for row in jobs if row for name in some.paper.ABLATIONS[row].settings))
    seeds, first = next(iter(scores.values())), next(iter(scores.values()))[0]
    every = {m for row in jobs if row for d in some.paper.DATASETS for m in some.paper.ABLATIONS[row].scores(d)}
    measures = [m for m in first if m in every] or list(first)[:2]
    units = {m: [row.scores(d).get(m, 0) for row in some.paper.ABLATIONS.values() for d in some.paper.DATASETS] for m in measures}
    percent = {m: any(printed.values()) and max(units[m]) > 1 for m in measures}
    beside = some.preset == "paper" and some.dataset not in OWN and any(printed.values()) and all(as_printed(job) for job in jobs.values())
    lines = [["row", *switches, *(f"{m}, ours" for m in measures), *(f"{m}, printed" for m in measures if beside)]]
    for row, job in jobs.items():
        lines.append([row or "full", *(tick(getattr(job.cfg, name)) for name in switches),
                      *(spread([s[m] for s in scores[row]], percent[m]) for m in measures),
                      *(f"{printed[row][m]:.{2 if percent[m] else 4}f}" if m in printed[row] else "" for m in measures if beside)])
    wide = [max(map(len, column)) for column in zip(*lines)]
    data = "drawn faces" if some.dataset == "drawn" else some.dataset
    which = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {some.options.seed}"
    note = f"{some.key} on {data}, preset {some.preset}, {which}"
    note += "" if beside else "; not to be compared with the paper's scores"
    if not beside and some.dataset not in OWN and any(row and some.paper.ABLATIONS[row].pretrained and not job.options.weights for row, job in jobs.items()):
        note += ", which are of pre-trained weights: --weights FILE"
    if not beside and some.dataset not in OWN and (lacks := {getattr(job.cfg, "lacks", "") for job in jobs.values()} - {""}):
        note += f"; ours lack {', '.join(sorted(lacks))}"
    if beside and (files := {job.options.weights for job in jobs.values()} - {""}):
        note += f"\nours start from {', '.join(sorted(files))}"
    note += "".join(f"\n{text}" for text in dict.fromkeys(some.paper.ABLATIONS[row].note for row in jobs if row) if text and beside)
    return "\n".join(["  ".join(cell.ljust(w) for cell, w in zip(line, wide)).rstrip() for line in lines] + [note])


def as_printed(job: Job) -> bool:
    """Whether a job has the paper's own settings, those of its row, starts as it did, and trains to the end."""
    pretrained = job.paper.ABLATIONS[job.ablation].pretrained if job.ablation else None
    own = settle(job.paper, job.key, job.dataset, job.preset, job.ablation, {}, job.root, job.options).cfg
    theirs, ours = ({name: v for name, v in dataclasses.asdict(cfg).items() if name not in GIVEN} for cfg in (own, job.cfg))
    same = theirs == ours and not getattr(job.cfg, "lacks", "")
    return same and pretrained in (None, bool(job.options.weights)) and not job.options.steps


def printed_size(job: Job) -> dict[str, float]:
    """The size that a table of the paper prints for a job's settings, on whichever data set; {} for others."""
    for name, row in job.paper.ABLATIONS.items():
        sizes = next((found for dataset in job.paper.DATASETS if "FLOPs (G)" in (found := row.scores(dataset))), None)
        if sizes:
            same = settle(job.paper, job.key, job.dataset, "paper", name, {}, job.root, job.options).cfg
            if dataclasses.replace(same, classes=job.cfg.classes) == job.cfg:
                return sizes
    return {}


def tick(value: Any) -> str:
    """A switch as papers print it: ✓ or -; other settings as they are typed."""
    return ("✓" if value else "-") if isinstance(value, bool) else config.show(value)


def spread(values: list[float], percent: bool) -> str:
    """One score, or mean ± standard deviation of several."""
    values, digits = [100 * v if percent else v for v in values], 2 if percent else 4
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
