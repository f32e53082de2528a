"""Train a paper.

    python train.py --paper arpgnet                               built-in drawn faces, reduced size, about two minutes
    python train.py --paper arpgnet --data DIR --dataset afew     the paper's own settings and protocol
    python train.py --paper arpgnet --help                        its settings, each with its source
    python train.py --paper arpgnet --resume                      go on where the newest run stopped
    torchrun --nproc_per_node=2 train.py --paper arpgnet          several processes

Exit status: 0 good, 1 the run failed, 2 usage, 3 data, 4 checkpoint, 130 interrupted.
"""
import argparse
import shlex
import sys
import time

import torch

from refnet import config, models
from refnet.backbones.weights import WeightsError
from refnet.data.samples import DataError
from refnet.pictures import PictureError
from refnet.training import checkpoint, distributed, experiment, plan, runs, together
from refnet.training.job import Interrupted, RunError, Stop, no_memory


def parser_for(paper, key: str) -> argparse.ArgumentParser:
    """The flags that every paper shares, then the paper's own settings."""
    usage = f"python train.py --paper {key} [--data DIR --dataset NAME] [flags; --help lists them]"
    p = argparse.ArgumentParser(prog="train.py", usage=usage, description=paper.__doc__, allow_abbrev=False,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--paper", help=", ".join(models.PAPERS))
    p.add_argument("--data", metavar="DIR", help="the data set's folder; without it, drawn faces")
    p.add_argument("--dataset", type=config.one_of("data set", paper.DATASETS), help=", ".join(paper.DATASETS))
    p.add_argument("--preset", type=config.one_of("preset", paper.PRESETS), help="demo without --data, paper with it")
    p.add_argument("--ablation", type=config.one_of("row", paper.ABLATIONS), help=", ".join(paper.ABLATIONS))
    p.add_argument("--table", metavar="N", help="run every row of a table, a run each")
    p.add_argument("--repeat", type=config.number(1), default=1, metavar="N",
                   help="this many seeds, from --seed on; mean ± deviation")
    p.add_argument("--resume", nargs="?", const="", metavar="RUN",
                   help="go on: a run folder or its last.pt; nothing for the newest run")
    p.add_argument("--output-dir", metavar="DIR", help="put the run exactly here, not in runs/")
    p.add_argument("--seed", type=config.number(0), default=0)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    p.add_argument("--workers", type=config.number(0), help="processes that read pictures; 0 for drawn faces, else up to 4; one a core for what is prepared before training")
    p.add_argument("--together", type=config.number(1), metavar="N",
                   help="folds that train side by side on a CPU, a core each; 1, or as many as there are cores for small networks")
    p.add_argument("--amp", action="store_true", help="bfloat16 where it is safe")
    p.add_argument("--compile", action="store_true", help="torch.compile the network")
    p.add_argument("--accumulate", type=config.number(1), default=1, metavar="N",
                   help="N batches a step; class-weighted losses and batch normalisation still see one batch at a time")
    p.add_argument("--clip", type=config.number(0, float), default=0.0, metavar="NORM", help="largest gradient norm; 0 is off")
    p.add_argument("--select", type=config.number(0, float), metavar="SHARE",
                   help="cut from train to choose the epoch, where the data set has no such part; 0 takes the last epoch; "
                        + ", ".join(f"{d.select:g} for {name}" for name, d in paper.DATASETS.items()))
    p.add_argument("--patience", type=config.number(0), default=0, metavar="EPOCHS",
                   help="end after so many epochs without a better one; 0 is off")
    p.add_argument("--steps", type=config.number(0), default=0, metavar="N",
                   help="stop each stage after N steps, and still do the rest")
    p.add_argument("--save-every", type=config.number(0), default=0, metavar="N",
                   help="save last.pt every N steps too, not only every epoch")
    p.add_argument("--weights", default="", metavar="FILE", help="published weights to start from")
    p.add_argument("--count", action="store_true", help="print parameters and multiply-adds, train nothing")
    p.add_argument("--check", action="store_true", help="read and decode the whole data set, train nothing")
    config.add_flags(p, paper.Config)
    return p


def main(argv: list[str]) -> int:
    """Read the command line, do it, and turn what goes wrong into one line and a status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")                 # a console without § shows ?
    command = ["python", "train.py", *argv]
    first = argparse.ArgumentParser(prog="train.py", add_help=False, allow_abbrev=False)
    first.add_argument("--paper", type=config.one_of("paper", models.PAPERS))
    key = first.parse_known_args(argv)[0].paper
    if key is None:
        if {"-h", "--help"} & set(argv):
            print(f"{__doc__.strip()}\n\nPapers: {', '.join(models.PAPERS)}.")
            return 0
        first.error(f"--paper is needed: {', '.join(models.PAPERS)}")
    paper = models.load(key)
    parser = parser_for(paper, key)
    args, unknown = parser.parse_known_args(argv)
    config.refuse_unknown(parser, unknown)
    try:
        return carry_out(paper, key, args, command)
    except runs.UsageError as error:
        return fail(2, f"train.py: {error}")
    except (DataError, PictureError) as error:
        return fail(3, f"data: {error}")
    except (checkpoint.CheckpointError, WeightsError) as error:
        return fail(4, f"checkpoint: {error}")
    except RunError as error:
        return fail(1, f"the run failed: {error}")
    except torch.OutOfMemoryError as error:
        return fail(1, f"the run failed: no memory left on the device ({str(error).splitlines()[0]}); "
                       "a smaller --batch-size with --accumulate, or --amp, may help")
    except OSError as error:
        return fail(1, f"the run failed: {error.filename or 'a file'}: {error.strerror or error}")
    except (RuntimeError, ValueError) as error:
        if no_memory(error):
            return fail(1, f"the run failed: {no_memory(error)}")
        if "DataLoader worker" in str(error):
            return fail(1, "the run failed: a process that reads pictures was killed, often for want of memory; "
                           "try a smaller --workers")
        if "more than 1 value per channel" in str(error):
            return fail(2, "train.py: batch normalisation needs two samples at a time; give a larger --batch-size")
        raise
    except KeyboardInterrupt:
        return fail(130, "interrupted")
    finally:
        distributed.finish()


def carry_out(paper, key: str, args: argparse.Namespace, command: list[str]) -> int:
    """One run, or the runs of a table."""
    options = plan.options_of(args)
    try:
        place = distributed.start(args.device)
    except ValueError as error:
        raise runs.UsageError(str(error)) from error
    say = print if place.rank == 0 else lambda text: None
    if args.resume is None:
        now = torch.tensor([time.time_ns() // 10 ** 6], device=place.device)
        moment = int(distributed.everyones(now, place)[0])       # one folder for all, even where their clocks tick apart
        jobs, saved = plan.planned(paper, key, args, options, moment), {}
    else:
        folder, saved = runs.to_resume(args.resume, key)
        last = checkpoint.load(next(iter(saved.values())), key, going_on=True)
        job = plan.resumed(paper, last, args, options)
        jobs = {(job.ablation, job.options.seed): (job, folder)}
    (row, seed), (job, folder) = next(iter(jobs.items()))
    found = experiment.read(job)
    if args.check or args.count:
        (experiment.check if args.check else experiment.count)(experiment.with_classes(job, found), found, say)
        return 0
    have = {looked_at(job): found}                               # rows of a table may read the data in another way
    for other, _ in jobs.values():
        if looked_at(other) not in have:
            have[looked_at(other)] = experiment.read(other)
    scores: dict[str, list[dict[str, float]]] = {}
    with Stop() as stop:
        for (row, seed), (job, folder) in jobs.items():
            found = have[looked_at(job)]
            job = experiment.with_classes(job, found)
            job = job._replace(options=job.options._replace(workers=experiment.workers_for(found, args.workers)))
            try:
                at_once = folds_at_once(args.together, job, place)
                scores.setdefault(row, []).append(experiment.run(job, found, folder, place, stop, command, saved, at_once,
                                                                      args.workers))
            except Interrupted:
                say(f"saved; go on with\npython train.py --paper {key} --resume {shlex.quote(str(folder))}")
                return 130
    if len(jobs) > 1 or args.table:
        text = plan.table({row: job for (row, _), (job, _) in jobs.items()}, scores)
        say(text)
        if place.rank == 0:
            runs.write_text((folder.parent if len(jobs) > 1 else folder) / "table.txt", text + "\n")
    say(f"python evaluate.py {shlex.quote(str(folder))}")
    distributed.wait(place)                                     # all leave together
    return 0


def folds_at_once(asked: int | None, job, place) -> int:
    """As asked; else as many as there are cores where a data set's networks are small, and one where they are not."""
    if asked is not None and asked > 1 and not together.possible(place):
        raise runs.UsageError(f"--together {asked}: folds train side by side on a CPU only, in one process, and not on this system; "
                              "leave --together out")
    if asked is not None:
        return asked
    return torch.multiprocessing.cpu_count() if job.paper.DATASETS[job.dataset].small and together.possible(place) else 1


def looked_at(job) -> tuple:
    """The settings that the reading of the job's data depends on."""
    return tuple(getattr(job.cfg, name) for name in job.paper.DATASETS[job.dataset].looks_at)


def fail(status: int, text: str) -> int:
    """Say what went wrong on one line of stderr."""
    print(" ".join(text.split()), file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
