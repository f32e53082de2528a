"""The loop that every paper shares: a fold in, the predictions of its report part out.

    for each stage:  network, optimizer → for each epoch:  train, evaluate on `select`, keep the best
    then             predict `report` with the best; nothing was ever chosen by it

Stopping and going on is bit-equal to never having stopped: every random choice comes from (seed, epoch, sample) or from
torch's own generators, whose states are in last.pt.
"""
import contextlib
import dataclasses
import math
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refnet.backbones.weights import load_weights
from refnet.config import Stage, show
from refnet.data.protocols import Fold
from refnet.data.samples import DataError, Sample, fingerprint
from refnet.data.weight_files import is_of_a_run
from refnet.training import checkpoint, distributed, runs
from refnet.training.batches import Prepared, in_batches, loader, mixed, order, shard, to_device
from refnet.training.count import parameters
from refnet.training.distributed import Place
from refnet.training.job import At, Interrupted, Job, Options, RunError, Stop
from refnet.training.predictions import full, predict, stacked
from refnet.training.progress import Progress

LOOK = 50                                                       # batches between looks at the losses: a look waits
SAVE = 10.0                                                     # seconds of short epochs between checkpoints


def train(job: Job, fold: Fold, folder: Path, place: Place, stop: Stop, saved: dict[str, Any] | None = None,
          title: str = "", opened: Callable[[], None] = lambda: None, progress: Any = None) -> runs.Rows:
    """Train a fold through all stages; best.pt, last.pt, log.csv and the predictions of its report part are written.

    folder   where they go; made here, once the networks, the weights and the first sample have proven good
    saved    the last.pt to go on from
    title    what its lines begin with, where there are several folds
    opened   called once the folder is there
    progress what it tells how far it is; its own where none is given
    →        the predictions, a row a sample of `report`

    Raises RunError, Interrupted, DataError, CheckpointError.
    """
    paper, options = job.paper, job.options
    stages = paper.stages(job.cfg)
    same = fingerprint(fold.train)
    if saved and saved["data"] != same:
        raise DataError(f"fold {fold.id}: the training samples are not those that the run began with; "
                        "give --data where those lie")
    stat = saved["stat"] if saved else paper.statistics(stacked(fold.train), job.cfg)
    at = At(**saved["at"]) if saved else At()
    fixed = {"paper": job.key, "dataset": job.dataset, "preset": job.preset, "ablation": job.ablation, "root": job.root,
             "cfg": dataclasses.asdict(job.cfg), "sources": job.sources, "options": options._asdict(),
             "seed": options.seed, "fold": fold.id, "stat": stat, "data": same}
    progress = progress or Progress(steps_to_go(job, fold, place, at.stage) - at.step, quiet=place.rank > 0)
    for number in range(at.stage, len(stages)):
        if number > at.stage:
            at = At(stage=number, cut=at.cut, log=at.log)
        run = _Stage(job, fold, folder, place, stop, progress, fixed, at, title)
        run.begin(saved if saved and saved["at"]["stage"] == number else None)
        opened()
        if place.rank == 0:
            (folder / "predictions.csv").unlink(missing_ok=True)                  # those of a run that --steps had ended
        run.all_epochs()
    best = checkpoint.load(folder / "best.pt", job.key)
    run.model.load_state_dict(best["model"])
    progress.say(f"{title}best.pt: {best['chosen']}")
    rows = run.predict(fold.report, run.leave)
    if place.rank == 0:
        runs.write_predictions(folder / "predictions.csv", rows, getattr(job.cfg, "classes", ()))
        runs.draw_log(folder, runs.read_log(folder))
    return rows


def steps_to_go(job: Job, fold: Fold, place: Place, stage: int = 0) -> int:
    """Optimizer steps of a fold, from a stage's first one on."""
    steps = [s.epochs * _steps(len(fold.train), checkpoint.laid_over(job.cfg, s), job.options, place)
             for s in job.paper.stages(job.cfg)[stage:]]
    return sum(min(n, job.options.steps or sys.maxsize) for n in steps)


def weights_for(fold: Fold, path: str, cfg: Any) -> str:
    """The file of --weights for a fold: itself; in a run's folder, the best.pt of that fold; else the one file named ...fold<id>...

    Raises CheckpointError for a file or folder without them, for a file named after another fold, and for a run's weights that
    were trained on other samples than this fold's, as those could be its test part, or for other classes or units.
    """
    where = Path(path)
    if not where.exists():
        raise checkpoint.CheckpointError(where, "there is no such file", "Check the path; nothing is ever downloaded")
    if where.is_dir():
        found = [p for p in (where / "best.pt", where / f"fold-{fold.id}" / "best.pt") if p.exists()]
        found = found or [p for p in sorted(where.iterdir()) if re.search(rf"fold[-_]?{re.escape(fold.id)}(?![0-9])", p.name) and p.is_file()]
        if len(found) != 1:
            raise checkpoint.CheckpointError(where, f"{len(found)} weights for fold {fold.id} in this folder; expected best.pt, "
                                             f"fold-{fold.id}/best.pt, or one file named ...fold{fold.id}...", "Name the file")
        where = found[0]
    other = re.search(r"fold[-_]?([A-Za-z0-9]+)$", where.stem)
    if other and other[1] != fold.id:
        raise checkpoint.CheckpointError(where, f"its name says fold {other[1]}, this is fold {fold.id}: it may have been trained on what "
                                         "is tested here", "Give the folder that holds a file for each fold")
    if is_of_a_run(where):
        saved = checkpoint.load(where)
        for name in ("classes", "aus"):
            if name in saved["cfg"] and tuple(saved["cfg"][name]) != getattr(cfg, name, tuple(saved["cfg"][name])):
                raise checkpoint.CheckpointError(where, f"it was trained with --{name} {show(saved['cfg'][name])}; now they are "
                                                 f"{show(getattr(cfg, name))}", "Take the same, in the same order")
        if saved["data"] != fingerprint(fold.train):
            raise checkpoint.CheckpointError(where, f"it is of fold {saved['fold']} of {saved['dataset']} and was trained on other samples "
                                             f"than fold {fold.id} here trains on, perhaps on those that it tests", "Take the weights of this "
                                             "fold; a run's folder gives each fold its own")
    return str(where)


class _Stage:
    """One stage of one fold: its network, its optimizer, and the epochs."""

    def __init__(self, job: Job, fold: Fold, folder: Path, place: Place, stop: Stop, progress: Progress,
                 fixed: dict[str, Any], at: At, title: str):
        stages, number = job.paper.stages(job.cfg), at.stage
        self.job, self.fold, self.folder, self.place, self.stop, self.progress = job, fold, folder, place, stop, progress
        self.fixed, self.at, self.title, self.stage = fixed, at, title, stages[number]
        self.before = _best(folder, stages, number - 1) if number else None
        self.best = _best(folder, stages, number)
        self.cfg = checkpoint.laid_over(job.cfg, self.stage)
        self.stat = {name: t.to(place.device) for name, t in fixed["stat"].items()}
        self.kept, self.saved = True, time.monotonic()                            # is the last epoch on disk; when was one

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Build network and optimizer; start afresh, from the stage before, or where `saved` stands."""
        job, cfg, place, options = self.job, self.cfg, self.place, self.job.options
        torch.manual_seed(mixed(options.seed, "network", self.fold.id, self.stage.name))
        model = job.paper.network(cfg, self.fixed["stat"], self.stage)
        if saved:
            model.load_state_dict(saved["model"])
        elif self.before:
            report = load_weights(model, checkpoint.load(self.before)["model"], needed=0.0, source=self.before)
            carried = self.stage.carried or "every weight that has its name and shape"
            self.progress.say(f"{self.title}{self.stage.name} starts from {self.before.name}: {carried}\n{report}")
        elif options.weights:
            self.progress.say(job.paper.load_weights(model, weights_for(self.fold, options.weights, cfg), cfg))
        elif self.stage.carried or job.preset == "paper" and job.root:
            self.progress.say(f"{self.title}{self.stage.name}: no --weights, so every weight is drawn at random")
        self.model = distributed.synchronised(model.to(place.device), place)
        if not saved:
            self.progress.say(f"{self.title}{self.stage.name}: a network of "
                              f"{parameters(model)[0]:,} parameters, {parameters(model)[1]:,} trainable")
            if told := getattr(model, "told", ""):
                self.progress.say(f"{self.title}{told}")
        self.fast = torch.compile(self.model) if options.compile else self.model
        self.net = distributed.spread(self.fast, place)
        self.steps = _steps(len(self.fold.train), cfg, options, place)
        self.optimizer, self.schedule = job.paper.optimizer(self.model, cfg, self.stage.epochs * self.steps)
        self.prepared = Prepared(self.fold.train, job.paper.prepare, cfg, options.seed)
        if saved:
            self.optimizer.load_state_dict(saved["optimizer"])
            self.schedule.load_state_dict(saved["schedule"])
            self.at.sums = {name: t.to(place.device) for name, t in self.at.sums.items()}
        else:
            to_device(self.prepared[None, 0], place.device)                       # raises before the folder is made
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(mixed(options.seed, "training", self.fold.id, self.stage.name, place.rank))
        if saved and not distributed.set_generators(saved["rng"], place):
            self.progress.say(f"begun with {len(saved['rng'])} processes, now {place.world}: "
                              "dropout goes on from another seed")
        if saved and place.rank == 0:
            runs.write_log(self.folder, self.at.log)

    def all_epochs(self) -> None:
        """Train to the stage's end, or to --steps, or until patience ends."""
        at, options = self.at, self.job.options
        while at.epoch < self.stage.epochs:
            if options.patience and self.fold.select and at.epoch - at.best_epoch >= options.patience:
                self.progress.say(f"{self.title}no better for {options.patience} epochs: {self.stage.name} ends")
                break
            if options.steps and at.step >= options.steps:
                if not self.kept:
                    self.keep()
                at.cut = True
                break
            whole = self.one_epoch()
            self.close_epoch(whole)
        if not self.kept:
            self.keep()
        if not self.stage.epochs:
            self.keep()
            self.save_best("the weights as they were given: no epochs were asked for")
        elif at.best is None and self.fold.select:
            self.save_best("--steps ended before an epoch was done" if at.cut else
                           "the last epoch: no score on the select part was a number")
        distributed.wait(self.place)

    def one_epoch(self) -> bool:
        """Train the batches of an epoch that are still to do; False where --steps ends it before its time."""
        at, options, place, cfg = self.at, self.job.options, self.place, self.cfg
        batches = in_batches(order(len(self.fold.train), options.seed, at.epoch), cfg.batch_size, _least(cfg, place))
        keys = [[(at.epoch, i) for i in shard(batch, place.rank, place.world)] for batch in batches]
        watch: list[tuple[int, list[int], Tensor]] = []                          # losses not looked at yet
        self.model.train()
        coming = loader(self.prepared, keys[at.batch:], options.workers, place.device.type == "cuda")
        for b, batch in enumerate(coming, at.batch):
            inputs, target = to_device(batch, place.device)
            inputs = self.job.paper.batched(inputs, cfg)
            group = batches[b - b % options.accumulate:][:options.accumulate]    # the batches that share a step
            share, last = len(batches[b]) / sum(map(len, group)), b % options.accumulate == len(group) - 1
            sizes = [len(shard(batches[b], rank, place.world)) for rank in range(place.world)]
            with contextlib.nullcontext() if last or place.world == 1 else self.net.no_sync():
                with torch.autocast(place.device.type, torch.bfloat16, enabled=options.amp):
                    out = self.net(*inputs)
                out, target = distributed.gathered((full(out), target), sizes, place)
                terms = self.job.paper.loss(out, target, self.stat, cfg, self.stage)
                (terms["total"] * share).backward()
            n = len(batches[b])
            at.seen += n
            at.sums = {name: at.sums.get(name, 0) + n * term.detach() for name, term in terms.items()}
            watch.append((at.step + 1, batches[b], terms["total"].detach()))
            if not last:
                continue
            if options.clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), options.clip)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad(set_to_none=True)
            at.batch, at.step = b + 1, at.step + 1
            self.progress.step()
            saves = options.save_every and at.step % options.save_every == 0
            if len(watch) >= LOOK or saves or self.progress.due():
                self.look(watch)
                if self.progress.due():
                    done, mean = -(-at.batch // options.accumulate), at.sums["total"].item() / at.seen
                    self.progress.tell(f"{self._where()}  step {done}/{self.steps}  loss {mean:.4f}")
            self.answer(watch, often=place.world == 1 or at.step % 10 == 0)
            if saves:
                self.save_last()
            if options.steps and at.step >= options.steps and at.batch < len(batches):
                self.look(watch)
                self.save_last()
                return False
        self.look(watch)
        return True

    def close_epoch(self, whole: bool) -> None:
        """Evaluate, log, keep the best, save. An epoch cut short by --steps is logged; resuming takes up its middle."""
        at, select = self.at, self.fold.select
        self.sound()
        row = {"stage": self.stage.name, "epoch": at.epoch + 1, "step": at.step,
               "lr": float(self.optimizer.param_groups[0]["lr"])}
        row |= {name: float(value) / at.seen for name, value in at.sums.items()}
        scores = {}
        if select:
            rows = self.predict(select, self.answer)
            scores = self.job.paper.score(runs.averaged(rows, getattr(self.cfg, "classes", ())), self.cfg)
            row |= {f"select_{name}": float(value) for name, value in scores.items()}
        first = next(iter(scores), None)
        better = first is not None and math.isfinite(scores[first]) and (at.best is None or scores[first] > at.best)
        numbers = "  ".join(f"{name} {row[name]:.4g}" for name in runs.headline(row) if name not in ("stage", "epoch", "step"))
        note = "  (cut short by --steps)" if not whole else "  best" if better else ""
        line, last = f"{self._where()}  {numbers}{note}", at.epoch + 1 == self.stage.epochs
        if last or not (whole and self.title):                                    # of many folds, the last epochs alone
            self.progress.say(line)
        elif self.progress.due():
            self.progress.tell(line)
        if whole:
            at.epoch, at.batch, at.seen, at.sums = at.epoch + 1, 0, 0, {}
            at.log.append(row)
            if better:
                at.best, at.best_epoch = float(scores[first]), at.epoch
        if whole and better:
            self.save_best(f"epoch {at.epoch}, the highest {first} on the select part, {scores[first]:.4f}")
        if not whole and not select:
            self.save_best("the last epoch: there is no select part")
        self.kept = not whole
        if whole and (better or last or time.monotonic() - self.saved > SAVE):
            self.keep()
        if self.place.rank == 0 and not whole:
            runs.write_log(self.folder, at.log + [row])

    def keep(self) -> None:
        """Put the epochs that are done on disk; where they are short, not each of them."""
        if not self.fold.select:
            self.save_best("the last epoch: there is no select part")
        self.save_last()
        if self.place.rank == 0:
            runs.write_log(self.folder, self.at.log)
        self.kept, self.saved = True, time.monotonic()

    def predict(self, samples: list[Sample], between: Callable) -> runs.Rows:
        """Predictions for samples, on every process alike; Ctrl-C is answered between batches."""
        distributed.same_buffers(self.model, self.place)
        return predict(self.job.paper, self.fast, samples, self.cfg, self.place, self.fold.id, self.job.options,
                       between if self.place.world == 1 else None)

    def look(self, watch: list[tuple[int, list[int], Tensor]]) -> None:
        """Look at the losses since the last look. Raises RunError for the first that is no number."""
        if watch and not torch.stack([loss for *_, loss in watch]).isfinite().all():
            step, batch, loss = next(entry for entry in watch if not entry[-1].isfinite())
            names = ", ".join(self.fold.train[i].id for i in batch[:8]) + (", ..." if len(batch) > 8 else "")
            raise RunError(f"{self._where()}, step {step}: the loss is {loss.item()}, with samples {names}; "
                           "a smaller --lr, or --clip 1, may help; nothing of this epoch was kept")
        watch.clear()

    def sound(self) -> None:
        """Raises RunError where a weight is no number."""
        if bad := checkpoint.not_finite(self.model.state_dict()):
            raise RunError(f"{self._where()}: after step {self.at.step} not every weight is a number, in {bad[0]}; "
                           f"a smaller --lr, or --clip 1, may help; nothing of this epoch was kept")

    def answer(self, watch=(), often: bool = True) -> None:
        """Save and raise Interrupted where the run was asked to stop."""
        if often and distributed.agreed(self.stop.asked, self.place):
            if watch:
                self.look(watch)
            if not self.kept and self.place.rank == 0:
                runs.write_log(self.folder, self.at.log)
            self.save_last()
            raise Interrupted()

    def leave(self) -> None:
        """Raise Interrupted where the run was asked to stop; last.pt is as it should be."""
        if self.stop.asked:
            raise Interrupted()

    def save_last(self) -> None:
        """Write last.pt: the run as it stands after a step."""
        self.sound()
        rng = distributed.generators(self.place)
        if self.place.rank == 0 and not self.at.cut:
            checkpoint.save(self.folder / "last.pt", self.fixed | {
                "stage": self.stage.name, "epoch": self.at.epoch, "step": self.at.step, "at": vars(self.at), "rng": rng,
                "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict()})

    def save_best(self, chosen: str) -> None:
        """Write best.pt: the weights as they stand, and why they were chosen."""
        if self.place.rank == 0:
            checkpoint.save(self.best, self.fixed | {
                "stage": self.stage.name, "epoch": self.at.epoch, "step": self.at.step, "best": self.at.best,
                "chosen": chosen, "model": self.model.state_dict()})

    def _where(self) -> str:
        name = "" if len(self.job.paper.stages(self.job.cfg)) == 1 else f"{self.stage.name}  "
        return f"{self.title}{name}epoch {min(self.at.epoch + 1, self.stage.epochs)}/{self.stage.epochs}"


def _least(cfg: Any, place: Place) -> int:
    """The smallest last batch: two samples for each process, which batch normalisation needs."""
    return place.world * min(2, max(cfg.batch_size // place.world, 1))


def _steps(n: int, cfg: Any, options: Options, place: Place) -> int:
    """Optimizer steps of an epoch over n samples."""
    return -(-len(in_batches(list(range(n)), cfg.batch_size, _least(cfg, place))) // options.accumulate)


def _best(folder: Path, stages: tuple[Stage, ...], number: int) -> Path:
    """The chosen weights of a stage; those of the last one are simply best.pt."""
    return folder / ("best.pt" if number == len(stages) - 1 else f"best-{stages[number].name.replace(' ', '-')}.pt")
