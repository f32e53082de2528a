"""Look at what was trained.

    python evaluate.py RUN                                 a run folder: the paper's measure, its figures, predictions.csv
    python evaluate.py RUN/fold-s3/best.pt                 one fold of it
    python evaluate.py RUN --beside OTHER                  and another run of the same paper on the same samples: scores and figures of both
    python evaluate.py RUN/best.pt face.jpg clip/ a.gif    one's own pictures, frame folders, animations: a table, and a
                                                           picture each in RUN/pictures/
    python evaluate.py RUN clip/ --landmarks faces.csv     the same, the faces cropped and aligned by 68 points a frame; where a
                                                           first column names some pictures only, or one more than once,
                                                           each row is a face of its own

A checkpoint alone rebuilds the model. Exit status: 0 good, 1 it failed, 2 usage, 3 data, 4 checkpoint, 130 interrupted.
"""
import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refnet import config, models
from refnet.data.own import faces_given
from refnet.data.samples import DataError, Sample, fingerprint
from refnet.figures import charts
from refnet.ops import metrics
from refnet.pictures import PictureError, write_picture
from refnet.training import checkpoint, distributed, experiment, plan, runs
from refnet.training.checkpoint import CheckpointError
from refnet.training.job import Job, Options, RunError
from refnet.training.predictions import predict, units_of


class Seen(NamedTuple):
    """A run, tested again: its first fold's model on its samples, and what all folds' models say."""
    title: str
    job: Job
    cfg: Any
    seed: int
    model: nn.Module
    samples: list[Sample]
    first: runs.Rows                                            # of the first fold
    rows: runs.Rows                                             # of all folds, one after the other


def tested(run: Path, files: list[Path], args: argparse.Namespace, device: torch.device) -> Seen:
    """Predict the tested part of every fold again."""
    parts, found, seen = [], None, None
    place = distributed.Place(device)
    for file in files:
        paper, cfg, model, saved = checkpoint.restore(file)
        model.to(device)
        home = file.resolve().parent.name
        if home.startswith("fold-") and home != f"fold-{saved['fold']}":
            raise CheckpointError(file, f"it is of fold {saved['fold']}, and may have been trained on what {home} tests",
                                  f"Put it back into fold-{saved['fold']}")
        if args.landmarks and "landmarks" not in saved["cfg"]:
            raise runs.UsageError(f"--landmarks goes with pictures of one's own here, as {saved['paper']} has no files of landmarks; name them")
        job = plan.job_of(paper, saved, args.data, {"landmarks": args.landmarks} if args.landmarks else {})
        if found is None:
            found = experiment.read(job)
            chosen = saved.get("chosen", f"as it stood after step {saved['step']}")
            print(f"{job.key} on {experiment.data_name(job)}, {chosen}", *found.found, sep="\n")
            options = job.options._replace(workers=experiment.workers_for(found, args.workers))
            folds = {fold.id: fold for fold in experiment.folds_of(job, found)}
            if files[0].parent != run and len(files) < len(folds):
                raise CheckpointError(run, f"{len(files)} of its {len(folds)} folds are trained",
                                      f"Go on with train.py --resume {run}, or name one fold, such as {files[0]}")
        fold = folds.get(saved["fold"])
        if fold is None or fingerprint(fold.train) != saved["data"] or found.classes and tuple(found.classes) != tuple(cfg.classes):
            raise DataError(f"{file} was not trained on these data: its training samples or classes are others; what is now its "
                            "test part could have been trained on. Give --data where its own data lie")
        rows = predict(paper, model, fold.report, cfg, place, fold.id, options)
        seen = seen or Seen(job.key, job, cfg, saved["seed"], model, fold.report, rows, {})
        parts.append(rows)
    return seen._replace(rows=runs.pooled(parts))


def what(seen: Seen) -> dict[str, list]:
    """What a run was tested on: samples, classes or units, labels."""
    labels = {name: values.tolist() for name, values in seen.rows.items() if name.startswith("target")}
    return {"sample": seen.rows["sample"], "classes": list(getattr(seen.cfg, "classes", ())), "aus": list(getattr(seen.cfg, "aus", ()))} | labels


def alike(one: dict[str, list], other: dict[str, list]) -> bool:
    """Whether two runs were tested on the same; one may have fewer kinds of labels, as a network for one of two tasks has."""
    return all(one[name] == other[name] for name in one.keys() & other.keys())


def titled(seen: list[Seen], paths: list[Path]) -> list[Seen]:
    """How runs are called beside each other: by row and settings changed by hand, less what all share; where that is nothing, by the paper."""
    each = [[*([s.job.ablation] if s.job.ablation else []), *(f"{name} {config.show(getattr(s.job.cfg, name))}"
            for name, source in s.job.sources.items() if source.startswith("yours"))] for s in seen]
    titles = [", ".join(word for word in words if any(word not in other for other in each)) or s.job.key for s, words in zip(seen, each)]
    return [s._replace(title=f"{title} ({path.name})" if titles.count(title) > 1 else title) for s, title, path in zip(seen, titles, paths)]


def evaluate_run(run: Path, files: list[Path], args: argparse.Namespace, device: torch.device) -> None:
    """Predict the tested part of every fold again, pool, score, draw; of other runs beside it likewise."""
    seen = tested(run, files, args, device)
    others = [tested(path, checkpoints_of(path), args, device) for path in map(Path, args.beside)]
    for path, other in zip(args.beside, others):
        if other.job.key != seen.job.key or not alike(what(other), what(seen)):
            raise DataError(f"--beside {path}: {other.job.key}, {len(other.rows['sample'])} samples of {experiment.data_name(other.job)}; expected "
                            f"{seen.job.key} and the same {len(seen.rows['sample'])} samples, classes and labels as {run}: runs are compared on "
                            "what both test")
    seen, *others = titled([seen, *others], [run, *map(Path, args.beside)])
    job, cfg, paper = seen.job, seen.cfg, seen.job.paper
    figures, classes = models.load(job.key, "figures"), getattr(seen.cfg, "classes", ())
    rows = runs.averaged(seen.rows, classes)
    folder = Path(args.output_dir or run)
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_predictions(folder / "predictions.csv", seen.rows, classes)
    runs.draw_confusion(folder, rows, classes, f"{job.key}, {experiment.data_name(job)}, seed {seen.seed}")
    pictures = figures.of_rows(paper, rows, cfg) | figures.of_report(paper, seen.model, seen.samples, seen.first, device)
    if parts := [(s.title, counts_of(s)) for s in (seen, *others) if others and "predicted" in s.rows]:
        pictures["beside-confusion"] = charts.confusions(parts, list(classes), f"{job.key}, {experiment.data_name(job)}, {len(rows['sample'])} samples")
    if others:
        pictures |= figures.of_beside(paper, [(s.title, s.model, s.samples, s.first, device) for s in (seen, *others)])
    for name, picture in pictures.items():
        write_picture(picture, folder / f"{name}.png")
    print(f"\n{len(rows['sample'])} samples of the tested part, {experiment.data_name(job)}, seed {seen.seed}, "
          f"on {experiment.machine(distributed.Place(device))}\n{experiment.spelt(paper.score(rows, cfg))}\n")
    for path, other in zip(args.beside, others):
        scores = paper.score(runs.averaged(other.rows, classes), other.cfg)
        print(f"beside it {path} ({other.title}, seed {other.seed})\n{experiment.spelt(scores)}\n")
    if "predicted" in rows:
        print(confusion_table(metrics.confusion(rows["target"], rows["predicted"], len(classes)), classes))
    if units_of(rows):
        print(unit_table(rows, lambda some: paper.score(some, cfg), printed_for(paper, job)))
    drawn = ["confusion"] * ("predicted" in rows) + list(pictures)
    print("\nwritten to " + str(folder) + ": " + ", ".join(["predictions.csv", *(f"{name}.png" for name in drawn)]))


def counts_of(seen: Seen) -> Tensor:
    """A run's confusion matrix (C, C), a row a sample."""
    rows = runs.averaged(seen.rows, seen.cfg.classes)
    return metrics.confusion(rows["target"], rows["predicted"], len(seen.cfg.classes))


def confusion_table(counts: Tensor, classes: tuple[str, ...]) -> str:
    """Counts as text: rows are the truth, columns what was predicted, and the share found of each class."""
    wide = max(9, *(len(name) for name in classes)) + 1
    head = " " * wide + "".join(f"{name[:8]:>9}" for name in classes) + "    found"
    recall = metrics.recall_per_class(counts)
    lines = [f"{name:{wide}}" + "".join(f"{n:9d}" for n in row.tolist()) + f"{share:9.3f}"
             for name, row, share in zip(classes, counts, recall.tolist())]
    return "\n".join(["rows: target, columns: predicted", head, *lines])


def printed_for(paper, job) -> dict[str, float]:
    """What the paper prints for each unit, for a run of its settings or its authors' code's on its data; nothing for any other run."""
    for row in paper.ABLATIONS.values():
        for ablation in ("", "as_code"):
            if any(" AU" in name for name in row.scores(job.dataset)):
                same = plan.settle(paper, job.key, job.dataset, "paper", ablation, row.settings, job.root, job.options)
                if same.cfg == job.cfg and not job.options.steps:
                    return row.scores(job.dataset)
    return {}


def unit_table(rows: runs.Rows, score, printed: dict[str, float]) -> str:
    """F1 in percent as action units are reported: a column a unit and the mean; a row a fold, where there are several, and all.

    score     rows → {"F1": ..., "F1 AU01": ..., ...}
    printed   the paper's, in percent
    """
    units, folds = units_of(rows), sorted(set(rows["fold"]))
    lines = [["AU", *(str(int(unit.removeprefix("AU"))) for unit in units), "Avg.", "frames"]]
    for name in [*(folds if len(folds) > 1 else []), ""]:
        keep = torch.tensor([name in ("", fold) for fold in rows["fold"]])
        some = {column: values[keep] if isinstance(values, Tensor) else [v for v, k in zip(values, keep.tolist()) if k]
                for column, values in rows.items()}
        found = score(some)
        lines.append([f"fold {name}" if name else "F1, mean of folds" if len(folds) > 1 else "F1",
                      *(f"{100 * found[f'F1 {unit}']:.1f}" for unit in units), f"{100 * found['F1']:.1f}", str(int(keep.sum()))])
    if printed:
        lines.append(["printed", *(f"{printed[f'F1 {unit}']:.1f}" if f"F1 {unit}" in printed else "" for unit in units), f"{printed['F1']:.1f}", ""])
    wide = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, wide))) for line in lines)


def evaluate_own(file: Path, args: argparse.Namespace, device: torch.device) -> None:
    """Classify one's own pictures and clips: a table on stdout, an annotated picture each."""
    paper, cfg, model, saved = checkpoint.restore(file)
    model.to(device)
    given, note = faces_given(args.paths, args.landmarks)
    if note:
        print(note)
    if saved["dataset"] == "drawn":
        print("this model was trained on drawn faces: what it says of a photograph is a demonstration, not a measurement")
    samples = [sample for path, clip, points in given for sample in paper.own(path, clip, points)]
    if not args.landmarks:
        print("no --landmarks: the centre square of each picture is used; a face cropped as in training is read better")
    shown = [paper.prepare(sample, cfg, None) for sample in samples]                      # decoded before anything is written
    rows = predict(paper, model, samples, cfg, distributed.Place(device), "-", Options())
    folder = Path(args.output_dir or file.parent / "pictures")
    draw = models.load(saved["paper"], "figures")
    units, classes = units_of(rows), getattr(cfg, "classes", ()) if "predicted" in rows else ()
    affect = [name for name in ("valence", "arousal") if f"predicted_{name}" in rows]
    wide = max(len(sample.id) for sample in samples)
    print(f"\n{'':{wide}}  " + ("probability; * where a unit is called" if units else f"{'predicted' * bool(classes):9}")
          + "".join(f"{name[:9]:>11}" for name in (*classes, *affect)) + ("\n" + " " * (wide + 2) + "".join(f"{u:>7}" for u in units)) * bool(units))
    for k, (sample, inputs) in enumerate(zip(samples, shown)):
        p = torch.tensor([rows[f"p_{name}"][k].item() for name in (*classes, *units)])    # (C,) or (N,)
        if units:
            print(f"{sample.id:{wide}}  " + "".join(f"{v:6.2f}{'*' if rows[f'predicted_{u}'][k] else ' '}" for u, v in zip(units, p.tolist())))
        else:
            numbers = [*p.tolist(), *(rows[f"predicted_{name}"][k].item() for name in affect)]
            print(f"{sample.id:{wide}}  {classes[rows['predicted'][k]] if classes else '':9}" + "".join(f"{v:11.3f}" for v in numbers))
        for name, picture in draw.of_own(model, sample, tuple(x.to(device) for x in inputs), p).items():
            write_picture(picture, folder / f"{k + 1:03d}-{Path(sample.id).name.split('.')[0]}-{name}.png")
    for name, picture in draw.of_model(model).items():
        write_picture(picture, folder / f"{name}.png")
    if units:
        runs.write_units(folder / "action_units.csv", rows, units)
        print(f"\nthe table in {folder / 'action_units.csv'}")
    print(f"\npictures in {folder}")


def checkpoints_of(run: Path) -> list[Path]:
    """The best.pt of a run, of each of its folds, or the one that was named."""
    if run.is_file() or not run.exists():
        return [run]
    files = [run / "best.pt"] if (run / "best.pt").exists() else sorted(run.glob("fold-*/best.pt"))
    if not files:
        raise CheckpointError(run, "no best.pt in this folder", "Name a run folder; training prints its path in the last line")
    return files


def carry_out(args: argparse.Namespace) -> None:
    """Either of the two."""
    try:
        device = distributed.start(args.device).device
    except ValueError as error:
        raise runs.UsageError(str(error)) from error
    if args.output_dir is not None and (args.output_dir == "" or Path(args.output_dir).is_file()):
        raise runs.UsageError(f"--output-dir {args.output_dir!r} is not a folder; name one, or leave it out")
    if args.beside and args.paths:
        raise runs.UsageError("--beside compares runs on the samples they test; leave it out for pictures of one's own")
    run = Path(args.run)
    files = checkpoints_of(run)
    if not args.paths:
        evaluate_run(run if run.is_dir() else run.parent, files, args, device)
    elif len(files) > 1:
        raise runs.UsageError(f"{run} has {len(files)} folds, each with a model; name one, such as {files[0]}")
    else:
        evaluate_own(files[0], args, device)


def main(argv: list[str]) -> int:
    """Read the command line, do it, and turn what goes wrong into one line and a status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")                 # a console without § shows ?
    p = argparse.ArgumentParser(prog="evaluate.py", description=__doc__, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", metavar="RUN", help="a run folder, or a best.pt or last.pt in one")
    p.add_argument("paths", nargs="*", metavar="PICTURE", help="pictures, frame folders, animations, videos of one's own")
    p.add_argument("--data", metavar="DIR", help="where the data set lies now, if it has moved")
    p.add_argument("--landmarks", metavar="FILE",
                   help="of one's own pictures: csv, pts or npy, a row a frame, in the order given; of a run's data set, where it has "
                        "files of landmarks: the folder they lie in now")
    p.add_argument("--beside", metavar="RUN", nargs="+", default=[],
                   help="other runs of the same paper, tested on the same samples: their scores, and figures of all side by side")
    p.add_argument("--output-dir", metavar="DIR", help="write here; without it into the run folder")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    p.add_argument("--workers", type=config.number(0), help="processes that read pictures")
    args, unknown = p.parse_known_args(argv)
    config.refuse_unknown(p, unknown)
    try:
        with torch.no_grad():
            carry_out(args)
        return 0
    except (runs.UsageError, DataError, PictureError, CheckpointError) as error:
        kind = {runs.UsageError: 2, CheckpointError: 4}.get(type(error), 3)
        print(" ".join(f"evaluate.py: {error}".split()), file=sys.stderr)
        return kind
    except RunError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"evaluate.py: {error.filename}: {error.strerror}; look at its permissions and the disk", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
