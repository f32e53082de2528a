"""A run, carried out: data read and proven, folds trained, predictions pooled, scores said."""
import dataclasses
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from refnet import config
from refnet.data.protocols import Fold
from refnet.data.samples import Collection, DataError, Sample
from refnet.pictures import PictureError
from refnet.training import checkpoint, plan, runs
from refnet.training.batches import Prepared, collate, loader, shard, to_device
from refnet.training.count import report as size_report
from refnet.training.distributed import Place, wait
from refnet.training.job import Job, Stop
from refnet.training.loop import train, weights_for
from refnet.training.predictions import stacked
from refnet.training.progress import Progress, clock
from refnet.training.together import Task, one_core, train_together


def read(job: Job) -> Collection:
    """Read the job's data set."""
    return job.paper.DATASETS[job.dataset].read(Path(job.root) if job.root else None, job.cfg)


def with_classes(job: Job, found: Collection) -> Job:
    """The job with the classes that were found, where they are not the settings' own."""
    if not found.classes or tuple(found.classes) == getattr(job.cfg, "classes", found.classes):
        return job
    return job._replace(cfg=dataclasses.replace(job.cfg, classes=tuple(found.classes)),
                        sources=job.sources | {"classes": f"found in {job.root or 'the drawn faces'}"})


def folds_of(job: Job, found: Collection) -> list[Fold]:
    """The protocol's folds, proven good.

    Raises DataError for a target out of range, a class with nothing to train on, a fold with nothing to report.
    """
    prove(found.samples, job.cfg)
    folds = job.paper.DATASETS[job.dataset].protocol(found.samples, job.options.select, job.options.seed)
    folds = [fold._replace(train=job.paper.augment(fold.train, job.cfg)) for fold in folds]
    for fold in folds:
        if not fold.report:
            raise DataError(f"fold {fold.id}: no samples of the part `report`; found {len(fold.train)} to train, "
                            f"{len(fold.select)} to select")
        if len(fold.train) < 2:
            raise DataError(f"fold {fold.id}: one sample to train on; expected two or more")
        for k, unit in enumerate(getattr(job.cfg, "aus", ())):
            if not any(s.target["au"][k] == 1 for s in fold.train):
                raise DataError(f"fold {fold.id}: action unit {unit} is there in none of {len(fold.train)} training samples; expected some, "
                                "as its weight is one over its rate; leave it out with --aus, or give more data")
        seen = {s.target.get("expression", -1) for s in fold.train}
        if seen != {-1} and (absent := [name for k, name in enumerate(job.cfg.classes) if k not in seen]):
            raise DataError(f"fold {fold.id}: nothing to train on for {', '.join(absent)}, among {len(fold.train)} "
                            f"samples; expected every one of {', '.join(job.cfg.classes)}; a smaller --select, "
                            f"now {job.options.select}, leaves more")
    return folds


def prove(samples: list[Sample], cfg: Any) -> None:
    """Look at every target. Raises DataError for the first that is not what it should be."""
    if not samples:
        raise DataError("the data set is empty")
    C = len(getattr(cfg, "classes", ()))
    for s in samples:
        if s.target.keys() != samples[0].target.keys():
            raise DataError(f"sample {s.id}: labelled with {sorted(s.target)}; "
                            f"sample {samples[0].id} with {sorted(samples[0].target)}")
        if "expression" in s.target and not -1 <= s.target["expression"] < C:
            raise DataError(f"sample {s.id}: expression {s.target['expression']}; "
                            f"expected 0 to {C - 1}, or -1 for unknown")
        units = len(samples[0].target.get("au", ()))
        if "au" in s.target and (len(s.target["au"]) != units or set(s.target["au"]) - {-1, 0, 1}):
            raise DataError(f"sample {s.id}: action units {s.target['au']}; expected {units} of 0, 1, or -1 for unknown")
        if "va" in s.target and (len(s.target["va"]) != 2 or any(v != v for v in s.target["va"])):
            raise DataError(f"sample {s.id}: valence and arousal {s.target['va']}; expected two numbers")


def describe(job: Job, found: Collection, folds: list[Fold], place: Place) -> str:
    """What a run says before it trains."""
    first = folds[0]
    parts = (f"train {len(first.train)}, select {len(first.select)}, report {len(first.report)}" if len(folds) == 1 else
             f"{len(folds)} folds: {', '.join(f.id for f in folds[:6])}{', ...' if len(folds) > 6 else ''}")
    choice = "the epoch is chosen on the part `select`" if first.select else "no part `select`: the last epoch is taken"
    row = f", row {job.ablation}" if job.ablation else ""
    several = f", {place.world} processes" if place.world > 1 else ""
    if place.world > 1 and place.device.type == "cpu":
        several += "; batch normalisation keeps statistics per process on the CPU"
    head = f"{job.key} on {data_name(job)}, preset {job.preset}{row}, seed {job.options.seed}, on {machine(place)}{several}"
    return "\n".join([head, *(f"  {line}" for line in found.found), f"  {parts}; {choice}",
                      "settings", config.table(job.cfg, job.sources)])


def run(job: Job, found: Collection, folder: Path, place: Place, stop: Stop, command: list[str],
        saved: dict[Path, Path] | None = None, at_once: int = 1, workers: int | None = None) -> dict[str, float]:
    """Train every fold, pool what they report, write it down.

    saved    the folds' folders that were begun before, and the checkpoints to go on from
    at_once  folds that train side by side, see together.py
    workers  processes that prepare what is kept on disk; one a core where nothing is said
    →       the scores of the report part
    """
    def say(text: str) -> None:
        if place.rank == 0:
            print(text, flush=True)

    began, saved = time.monotonic(), saved or {}
    folds = folds_of(job, found)
    classes = getattr(job.cfg, "classes", ())
    say(describe(job, found, folds, place))

    for fold in folds if job.options.weights and not saved else ():
        weights_for(fold, job.options.weights, job.cfg)                  # raises where one is missing, or has seen what the fold tests
    ready(job, folds, place, stop, workers)
    if job.paper.DATASETS[job.dataset].small:                   # what is trained on lies in memory then
        job = job._replace(options=job.options._replace(workers=0))

    def opened() -> None:
        if place.rank == 0 and not (folder / "config.json").exists():
            runs.write_config(folder, record(job, found, folds, place, command))

    homes = [runs.fold_folder(folder, fold.id, len(folds)) for fold in folds]
    to_do, done, end = [], {}, job.paper.stages(job.cfg)[-1]
    for n, (fold, home) in enumerate(zip(folds, homes)):
        title = "" if len(folds) == 1 else f"fold {fold.id} ({n + 1} of {len(folds)})  "
        last = checkpoint.load(saved[home], job.key, going_on=True) if home in saved else None
        if last and (home / "predictions.csv").exists() and (last["stage"], last["epoch"]) == (end.name, end.epochs):
            say(f"{title}is done already")
        else:
            to_do.append(Task(fold, home, saved.get(home), title))
    if at_once > 1 and len(to_do) > 1:
        folder.mkdir(parents=True, exist_ok=True)
        opened()
        say(f"{at_once} folds at a time, a core each")
        train_together(job, to_do, at_once, stop)
    else:
        with one_core(job.paper.DATASETS[job.dataset].small and place.device.type == "cpu"):
            for task in to_do:
                last = checkpoint.load(task.last, job.key, going_on=True) if task.last else None
                done[task.home] = train(job, task.fold, task.home, place, stop, last, task.title, opened)
    rows = runs.pooled([done.get(home) or runs.read_predictions(home / "predictions.csv", classes) for home in homes])
    scores = job.paper.score(runs.averaged(rows, classes), checkpoint.laid_over(job.cfg, job.paper.stages(job.cfg)[-1]))
    if place.rank == 0:
        if len(folds) > 1:
            runs.write_predictions(folder / "predictions.csv", rows, classes)
        title = f"{job.key}, {data_name(job)}, seed {job.options.seed}"
        runs.draw_confusion(folder, runs.averaged(rows, classes), classes, title)
    row = f", {job.ablation}" if job.ablation else ""
    say(f"report  {spelt(scores)}   ({data_name(job)}, seed {job.options.seed}{row})")
    say(f"{clock(time.monotonic() - began)} on {machine(place)}")
    return scores


def ready(job: Job, folds: list[Fold], place: Place, stop: Stop, workers: int | None = None) -> None:
    """Prepare what the paper keeps on disk and is not there yet, before training begins: one process a core, or so many."""
    waiting = job.paper.waiting([s for fold in folds for s in (*fold.train, *fold.select, *fold.report)], job.cfg)
    mine = shard(list(range(len(waiting))), place.rank, place.world)
    progress = Progress(len(mine), quiet=place.rank > 0)
    workers = torch.multiprocessing.cpu_count() if workers is None else workers
    workers = min(workers, len(mine)) if len(mine) > 1 else 0
    began = time.monotonic()
    prepared = Prepared(waiting, job.paper.prepare, job.cfg, job.options.seed)
    for n, item in enumerate(loader(prepared, [[(None, i)] for i in mine], workers, False), 1):
        to_device(item, torch.device("cpu"))                    # raises what went wrong
        progress.step()
        if progress.due():
            progress.tell(f"preparing samples {n}/{len(mine)}")
        if stop.asked:
            progress.say(f"{n} of {len(mine)} samples are prepared and kept; the same command goes on from there")
            raise KeyboardInterrupt
    if mine:
        progress.say(f"{len(waiting)} samples prepared in {clock(time.monotonic() - began)}, and kept")
    wait(place)


def check(job: Job, found: Collection, say: Callable[[str], None]) -> None:
    """Decode every frame of every sample and prepare it once. Raises DataError with the first ten that fail."""
    bad, began, frames = [], time.monotonic(), 0
    for line in found.found:
        say(f"  {line}")
    folds_of(job, found)
    for n, s in enumerate(found.samples, 1):
        try:
            if hasattr(s.clip, "read"):
                for k in range(0, len(s.clip), 64):
                    frames += len(s.clip.read(list(range(k, min(k + 64, len(s.clip))))))
            job.paper.prepare(s, job.cfg, None)
        except (DataError, PictureError) as error:
            bad.append(str(error))
        if n % 1000 == 0:
            say(f"  {n} of {len(found.samples)} samples, {len(bad)} bad")
    if bad:
        raise DataError(f"{len(bad)} of {len(found.samples)} samples cannot be read; " + "; ".join(bad[:10])
                        + (f"; and {len(bad) - 10} more" if len(bad) > 10 else ""))
    say(f"checked: {len(found.samples)} samples, {frames} frames, all good, {clock(time.monotonic() - began)}")


def count(job: Job, found: Collection, say: Callable[[str], None]) -> None:
    """Say how large each stage's network is: parameters and multiply-adds; beside what a table of the paper prints, of its own settings."""
    printed = plan.printed_size(job)
    fold = folds_of(job, found)[0]
    for stage in job.paper.stages(job.cfg):
        cfg = checkpoint.laid_over(job.cfg, stage)
        model = job.paper.network(cfg, job.paper.statistics(stacked(fold.train), job.cfg), stage)
        batch = collate([Prepared(fold.train, job.paper.prepare, cfg, 0)[None, 0]])
        inputs = job.paper.batched(to_device(batch, torch.device("cpu"))[0], cfg)
        say(f"{job.key}, {stage.name}\n{size_report(model, inputs, printed)}")


def record(job: Job, found: Collection, folds: list[Fold], place: Place, command: list[str]) -> dict[str, Any]:
    """What config.json holds."""
    return {"paper": job.key, "dataset": job.dataset, "preset": job.preset, "ablation": job.ablation, "data": job.root,
            "seed": job.options.seed, "cfg": dataclasses.asdict(job.cfg), "sources": job.sources,
            "options": job.options._asdict(), "command": shlex.join(command),
            "python": platform.python_version(), "torch": torch.__version__, "device": machine(place), "processes": place.world, "found": found.found,
            "folds": {f.id: {"train": len(f.train), "select": len(f.select), "report": len(f.report)} for f in folds}}


def workers_for(found: Collection, asked: int | None) -> int:
    """As asked; else none for clips in memory, up to four for files."""
    if asked is not None:
        return asked
    return 0 if getattr(found.samples[0].clip, "in_memory", False) else min(4, torch.multiprocessing.cpu_count())


def data_name(job: Job) -> str:
    """How a data set is called in print."""
    return "drawn faces" if job.dataset == "drawn" else job.dataset


def machine(place: Place) -> str:
    """What the run runs on."""
    if place.device.type == "cuda":
        return torch.cuda.get_device_name(place.device)
    return f"{place.device.type.upper()} ({torch.get_num_threads()} threads), torch {torch.__version__}, {sys.platform}"


def spelt(scores: dict[str, float]) -> str:
    """Acc 0.4123  F1 0.3987"""
    return "  ".join(f"{name} {value:.4f}" for name, value in runs.headline(scores).items())
