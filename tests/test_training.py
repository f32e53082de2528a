"""The loop that all papers share: resume, damage, several processes, predictions, selection, usage.

A toy paper stands here, with the names that every paper file has; the last lines make this file a command,
for the tests that need a process to kill.
"""
import csv
import dataclasses
import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn, tensor
from torch.testing import assert_close

import train
from refnet import models
from refnet.config import Row, Stage, ours, said
from refnet.data.protocols import as_delivered, k_folds
from refnet.data.samples import Collection, DataError, DataSet, Drawn, Sample
from refnet.training import checkpoint, count, distributed, experiment, plan, runs
from refnet.training.batches import Prepared, collate, in_batches, order, shard
from refnet.training.checkpoint import CheckpointError
from refnet.training.distributed import Place
from refnet.training.job import Job, Options, RunError, Stop
from refnet.training.loop import train as train_fold
from refnet.training.predictions import predict as predict_samples, target_columns

ROOT = Path(train.__file__).parent
ME = sys.modules[__name__]

# ---- the toy paper ---------------------------------------------------------------------------------------------------

NAMES = ("calm", "glad", "wild")


@dataclasses.dataclass(frozen=True)
class Config:
    classes:    tuple = said(NAMES, "§1")
    width:      int   = said(5, "§2")
    norm:       bool  = said(True, "§2, batch normalisation")
    dropout:    float = said(0.3, "§2")
    double:     bool  = ours(False, "float64")
    poison:     int   = ours(0, "the sample whose pictures become NaN")
    pause:      float = ours(0.0, "seconds a sample takes")
    two:        bool  = ours(False, "two stages")
    adam:       bool  = ours(True, "plain descent shows the gradient's size")
    lr:         float = said(0.05, "§3")
    epochs:     int   = said(3, "§3")
    batch_size: int   = said(4, "§3")


def drawings(root, cfg, n=26, parts=("train",) * 7 + ("select", "report")):
    rng = torch.Generator().manual_seed(4)
    samples = []
    for k in range(n):
        y = k % 3
        frames = torch.rand(2 + k % 4, 3, 4, 4, generator=rng) * 120 + 60 * y              # (T, 3, 4, 4), T = 2 to 5
        samples.append(Sample(f"clip {k}", Drawn(frames.to(torch.uint8)), {"expression": y}, f"s{k}",
                              parts[k % len(parts)] if parts else ""))
    return Collection(samples, NAMES, [f"toy: {n} clips of {n} expected"])


def from_folder(root, cfg):
    if not (root / "labels.txt").is_file():
        raise DataError(f"{root / 'labels.txt'}: no such file; expected a label a line")
    found = drawings(root, cfg)
    return Collection([dataclasses.replace(s, target={"expression": 7}) for s in found.samples], ("p", "q"), [])


PRESETS = {"paper": {}, "demo": {"width": ours(4, "demo")}}
DATASETS = {"drawn": DataSet(drawings, as_delivered), "folder": DataSet(from_folder, as_delivered),
            "real": DataSet(lambda root, cfg: drawings(root, cfg), as_delivered, {"lr": said(0.04, "§3, real")}),
            "folds": DataSet(lambda root, cfg: drawings(root, cfg, parts=()), partial(k_folds, k=3))}
ABLATIONS = {"table2.1": Row({"norm": False, "width": 3}, printed={"Acc": 41.5}),
             "table2.2": Row({"norm": True, "width": 6}, printed={"Acc": 52.25}),
             "as_code": Row({"dropout": 0.0})}


def stages(cfg):
    if cfg.two:
        return (Stage("first", cfg.epochs, {"dropout": 0.0}), Stage("second", cfg.epochs, {"lr": ours(0.01, "later")}, "all but `head`"))
    return (Stage("train", cfg.epochs),)


def prepare(sample, cfg, rng):
    time.sleep(cfg.pause)
    clip = sample.clip.read(list(range(len(sample.clip))))
    if rng is not None:
        clip = clip[torch.rand((), generator=rng) < 0.5:]                      # sometimes without the first frame
    if cfg.double:
        clip = clip.double() / 255
    if cfg.poison and sample.id == f"clip {cfg.poison}":
        clip = clip.float() / 255 * math.nan
    return clip, torch.ones(len(clip), dtype=torch.bool)


def augment(samples, cfg):
    return samples


def waiting(samples, cfg):
    return []


def batched(inputs, cfg):
    return inputs


def statistics(targets, cfg):
    n = torch.bincount(targets["expression"], minlength=len(cfg.classes))
    return {"weight": (n.sum() / n).to(torch.float64 if cfg.double else torch.float32)}


class Toy(nn.Module):
    def __init__(self, cfg, wide):
        super().__init__()
        self.body = nn.Linear(48, cfg.width)
        self.norm = nn.BatchNorm1d(cfg.width) if cfg.norm else nn.Identity()
        self.drop = nn.Dropout(cfg.dropout)
        self.head = nn.Linear(cfg.width, len(cfg.classes), bias=wide)

    def forward(self, clip, real):
        x = (clip.flatten(2) * real[..., None]).sum(1) / real.sum(1, keepdim=True)         # (B, 48)
        return self.head(self.drop(self.norm(self.body(x)).relu()))


def network(cfg, stat, stage):
    model = Toy(cfg, stage.name != "first")
    return model.double() if cfg.double else model


def loss(out, target, stat, cfg, stage):
    entropy = F.cross_entropy(out, target["expression"], stat["weight"])
    size = out.square().mean()
    return {"total": entropy + 0.01 * size, "size": size}


def optimizer(model, cfg, steps):
    way = (torch.optim.AdamW(model.parameters(), lr=cfg.lr) if cfg.adam else
           torch.optim.SGD(model.parameters(), lr=cfg.lr, momentum=0.5))
    return way, torch.optim.lr_scheduler.CosineAnnealingLR(way, steps)


def predict(out, cfg):
    p = out.softmax(-1)
    return {"predicted": p.argmax(-1)} | {f"p_{name}": p[:, k] for k, name in enumerate(cfg.classes)}


def score(rows, cfg):
    p = torch.stack([rows[f"p_{name}"] for name in cfg.classes], 1)
    return {"sure": p.gather(1, rows["target"][:, None]).double().mean().item(),
            "Acc": (rows["target"] == rows["predicted"]).double().mean().item()}


def load_weights(model, path, cfg):
    return f"read {path}"


# ---- how the tests use it --------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The command line, with the toy as its only paper, in an empty folder."""
    monkeypatch.setattr(models, "PAPERS", ("toy",))
    monkeypatch.setattr(models, "load", lambda key: ME)
    monkeypatch.chdir(tmp_path)
    return lambda *words: train.main(["--paper", "toy", *map(str, words)])


def job(**settings) -> Job:
    options = Options(**{k: settings.pop(k) for k in list(settings) if k in Options._fields})
    return plan.settle(ME, "toy", "drawn", "paper", "", settings, "", options)


def trained(folder: Path, device, **settings) -> dict:
    """Train the toy in this process; the checkpoint of its last epoch."""
    this = job(**settings)
    [fold] = experiment.folds_of(this, drawings(None, this.cfg))
    train_fold(this, fold, folder, Place(device), Stop())
    return checkpoint.load(folder / "last.pt")


def equal_runs(a: Path, b: Path) -> None:
    """Weights, buffers, optimizer, log and predictions, bit for bit."""
    for name in ("last.pt", "best.pt"):
        one, two = checkpoint.load(a / name), checkpoint.load(b / name)
        for key in ("model", "optimizer", "schedule", "epoch", "best"):
            assert_close(one.get(key), two.get(key), rtol=0, atol=0, equal_nan=True)
    for name in ("log.csv", "predictions.csv"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def same_rows(a: dict, b: dict) -> None:
    """Words equal, tensors equal bit for bit, columns in the same order."""
    assert list(a) == list(b)
    for name in a:
        if isinstance(a[name], list):
            assert a[name] == b[name]
        else:
            assert_close(a[name], b[name], rtol=0, atol=0)


# ---- resume ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flags", [(), ("--two",), ("--accumulate", 2, "--batch-size", 3),
                                   ("--select", 0, "--dataset", "folds", "--data", ".")])
def test_stopping_in_the_middle_of_an_epoch_changes_nothing(toy, device, flags):
    """21 samples in batches of 4 are 5 steps an epoch, in pairs of batches of 3 they are 4: --steps 7 ends in the second."""
    flags = ("--device", device, *flags)
    assert toy("--output-dir", "whole", *flags) == 0
    assert toy("--output-dir", "parts", *flags, "--steps", 7) == 0
    for part in Path("parts").glob("**/last.pt"):
        assert checkpoint.load(part)["at"]["batch"] > 0
    assert toy("--resume", "parts", "--device", device) == 0
    for home in [p.parent for p in Path("whole").glob("**/last.pt")]:
        equal_runs(home, Path("parts") / home.relative_to("whole"))


def test_a_request_to_end_saves_and_says_how_to_go_on(toy, device, monkeypatch, capsys):
    """SIGTERM comes while the third batch of the second epoch is made ready, and again while `select` is evaluated."""
    assert toy("--output-dir", "whole", "--device", device) == 0
    made, real = iter(range(10_000)), prepare

    def interrupting(sample, cfg, rng):
        if next(made) in (1 + 21 + 3 + 9, 1 + 21 + 3 + 21 + 1):            # 1 at the start, 21 to train on, 3 to select
            signal.raise_signal(signal.SIGTERM)
        return real(sample, cfg, rng)

    monkeypatch.setattr(ME, "prepare", interrupting)
    assert toy("--output-dir", "parts", "--device", device) == 130
    assert "--resume parts" in capsys.readouterr().out
    assert not Path("parts/predictions.csv").exists()
    assert toy("--resume", "--device", device) == 4                                  # nothing under runs/
    assert checkpoint.load("parts/last.pt")["at"]["batch"] == 3
    assert toy("--resume", "parts", "--device", device) == 130
    assert checkpoint.load("parts/last.pt")["at"]["batch"] == 5
    assert toy("--resume", "parts", "--device", device) == 0
    equal_runs(Path("whole"), Path("parts"))


def killed(words: list, when, number: int) -> int:
    """Start the toy's command, send it a signal when `when()` is true; its exit status."""
    process = subprocess.Popen([sys.executable, "-m", "tests.test_training", *map(str, words)], cwd=ROOT,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while not when() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, number)                                               # workers too, as a terminal does
        error = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert "Traceback" not in error
    return process.returncode


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_killed_and_taken_up_again(toy, device, tmp_path, number, status):
    """A process of its own is stopped in its second epoch, by Ctrl-C or by kill -9; it goes on as if nothing had been."""
    flags = ("--device", device, "--workers", 1, "--save-every", 2)
    assert toy("--output-dir", "whole", *flags[:2]) == 0
    home = tmp_path / "parts"

    def second_epoch():
        return (home / "log.csv").exists()

    assert killed([*flags, "--output-dir", home, "--pause", 0.02], second_epoch, number) == status
    assert not (home / "predictions.csv").exists()
    found = checkpoint.load(home / "last.pt")
    assert found["epoch"] >= 1
    assert toy("--resume", home, "--device", device) == 0
    equal_runs(Path("whole"), home)


def test_the_number_of_workers_changes_nothing(toy, device):
    for workers in (0, 2):
        assert toy("--output-dir", f"w{workers}", "--workers", workers, "--epochs", 1, "--device", device) == 0
    equal_runs(Path("w0"), Path("w2"))


def test_the_seed_changes_something(toy, device):
    for seed in (0, 1):
        assert toy("--output-dir", f"s{seed}", "--seed", seed, "--epochs", 1, "--device", device) == 0
    assert Path("s0/log.csv").read_text() != Path("s1/log.csv").read_text()


def test_a_run_that_goes_on_keeps_its_settings(toy, capsys):
    assert toy("--output-dir", "a", "--steps", 2) == 0
    for flag, value in (("--lr", 0.3), ("--seed", 1), ("--accumulate", 2), ("--preset", "paper"), ("--ablation", "as_code")):
        assert toy("--resume", "a", flag, value) == 2
        assert f"{flag} {value}: a run that goes on" in capsys.readouterr().err
    assert toy("--resume", "a", "--lr", 0.05, "--preset", "demo") == 0               # said again, not changed


def test_predictions_of_a_shortened_run_do_not_outlive_it(toy, monkeypatch):
    """--steps leaves predictions; the rest is trained, and dies before it predicts: going on predicts anew."""
    assert toy("--output-dir", "whole") == 0
    assert toy("--output-dir", "parts", "--steps", 7) == 0
    with monkeypatch.context() as m:
        m.setattr(runs, "write_predictions", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        assert toy("--resume", "parts") == 130
    assert checkpoint.load("parts/last.pt")["epoch"] == 3
    assert toy("--resume", "parts") == 0
    equal_runs(Path("whole"), Path("parts"))


def test_resume_refuses_other_samples(toy, monkeypatch, capsys):
    assert toy("--output-dir", "a", "--steps", 2) == 0
    monkeypatch.setitem(DATASETS, "drawn", DataSet(partial(drawings, n=31), as_delivered))
    assert toy("--resume", "a") == 3
    assert "not those that the run began with" in capsys.readouterr().err


def test_the_newest_run_is_the_one_that_goes_on(toy, capsys):
    for seed in (3, 4):
        assert toy("--seed", seed, "--steps", 2) == 0
        time.sleep(0.02)
    assert toy("--resume") == 0
    assert "-seed4" in capsys.readouterr().out.splitlines()[-1]


def test_best_pt_cannot_go_on(toy, capsys):
    assert toy("--output-dir", "a", "--steps", 2) == 0
    assert toy("--resume", "a/best.pt") == 4
    assert "last.pt" in capsys.readouterr().err


# ---- checkpoints -----------------------------------------------------------------------------------------------------

GOOD = {"paper": "toy", "dataset": "drawn", "preset": "demo", "ablation": "", "root": "", "cfg": {}, "sources": {}, "options": {},
        "seed": 0, "fold": "0", "data": "", "stat": {}, "stage": "train", "model": {"w": torch.arange(600.0)}}


def flip(path: Path) -> None:
    """One bit inside the weights."""
    data = bytearray(path.read_bytes())
    at = data.find(torch.arange(600.0).numpy().tobytes()) + 1003
    data[at] ^= 0x40
    path.write_bytes(data)


DAMAGE = {
    "no such file": lambda p: p.unlink(),
    "a folder": lambda p: (p.unlink(), p.mkdir()),
    "empty": lambda p: p.write_bytes(b""),
    "not a file that torch.save wrote": lambda p: p.write_text("weights, honestly"),
    "web page": lambda p: p.write_text("<!DOCTYPE html><html></html>"),
    "LFS pointer": lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "cut short": lambda p: p.write_bytes(p.read_bytes()[:-900]),
    "checksum": flip,
    "not every weight is finite": lambda p: checkpoint.save(p, GOOD | {"model": {"w": tensor([1.0, math.nan])}}),
    "not a checkpoint of a run": lambda p: (torch.save({"w": torch.ones(2)}, p), p.with_name("a.pt.sha256").unlink()),
    "--paper toy": lambda p: checkpoint.save(p, GOOD | {"paper": "arpgnet"}),
}


@pytest.mark.parametrize("reason", DAMAGE)
def test_a_damaged_checkpoint_is_refused(tmp_path, reason):
    path = tmp_path / "a.pt"
    checkpoint.save(path, GOOD)
    assert_close(checkpoint.load(path, "toy")["model"]["w"], torch.arange(600.0))
    DAMAGE[reason](path)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(path, "toy")
    assert reason in str(error.value).replace("not toy", "--paper toy") and str(path) in str(error.value)


def test_a_flipped_bit_is_found_without_the_sidecar(tmp_path):
    """torch.load gives the wrong weights without a word; the archive's own checksum knows."""
    path = tmp_path / "a.pt"
    checkpoint.save(path, GOOD)
    (tmp_path / "a.pt.sha256").unlink()
    checkpoint.load(path)
    flip(path)
    assert (torch.load(path, weights_only=True)["model"]["w"] != torch.arange(600.0)).sum() == 1
    with pytest.raises(CheckpointError, match="checksum"):
        checkpoint.load(path)


def test_the_sidecar_is_what_sha256sum_reads(tmp_path):
    checkpoint.save(tmp_path / "a.pt", GOOD)
    if shutil.which("sha256sum"):
        assert subprocess.run(["sha256sum", "-c", "a.pt.sha256"], cwd=tmp_path, capture_output=True).returncode == 0
    assert (tmp_path / "a.pt.sha256").read_text().endswith("  a.pt\n")


@pytest.mark.parametrize("moment", range(4))
def test_killed_between_any_two_renames(tmp_path, monkeypatch, moment):
    """Three renames a save: sidecar, file, sidecar. Dying before any of them leaves a checkpoint that loads, twice over."""
    path, renames, real = tmp_path / "a.pt", [], os.replace
    checkpoint.save(path, GOOD)

    def dying(a, b):
        if len(renames) == moment:
            raise KeyboardInterrupt
        renames.append(real(a, b))

    for version in (1, 2):
        renames.clear()
        monkeypatch.setattr(os, "replace", dying)
        if moment < 3:
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(path, GOOD | {"version": version})
        else:
            checkpoint.save(path, GOOD | {"version": version})
        monkeypatch.setattr(os, "replace", real)
        assert checkpoint.load(path).get("version", 0) == (version if moment > 1 else 0)
    checkpoint.save(path, GOOD | {"version": 3})
    assert checkpoint.load(path)["version"] == 3


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("unexpected pos 704 vs 598")])
def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, error):
    checkpoint.save(tmp_path / "a.pt", GOOD)
    monkeypatch.setattr(torch, "save", lambda *a: (_ for _ in ()).throw(error))
    with pytest.raises(CheckpointError, match="disk full"):
        checkpoint.save(tmp_path / "a.pt", GOOD | {"paper": "other"})
    assert checkpoint.load(tmp_path / "a.pt")["paper"] == "toy"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "a.pt.sha256"]


def test_restore_needs_the_checkpoint_alone(toy, tmp_path, device):
    """best.pt rebuilt gives the probabilities that predictions.csv holds, in the run's settings."""
    assert toy("--output-dir", "a", "--width", 7, "--epochs", 1, "--device", device) == 0
    paper, cfg, model, found = checkpoint.restore("a")
    assert (cfg.width, model.training, found["dataset"]) == (7, False, "drawn")
    report = [s for s in drawings(None, cfg).samples if s.part == "report"]
    rows = predict_samples(paper, model.to(device), report, cfg, Place(device))
    same_rows(rows, runs.read_predictions("a/predictions.csv", cfg.classes))


def test_restore_says_when_the_network_has_changed(toy, monkeypatch):
    assert toy("--output-dir", "a", "--steps", 1) == 0
    monkeypatch.setattr(ME, "network", lambda cfg, stat, stage: nn.Linear(2, 3))
    with pytest.raises(CheckpointError, match="does not fit today's toy"):
        checkpoint.restore("a")


# ---- several processes -----------------------------------------------------------------------------------------------

SEVERAL = dict(double=True, adam=False, dropout=0.0, norm=False, batch_size=5, epochs=2)    # 21 samples: 5, 5, 5, 6


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    this = job(**SEVERAL)
    [fold] = experiment.folds_of(this, drawings(None, this.cfg))
    rows = train_fold(this, fold, Path(folder) / "two", Place(torch.device("cpu"), rank, 2), Stop())
    torch.save(rows, f"{folder}/rows{rank}.pt")
    distributed.finish()


def test_two_processes_equal_one(tmp_path):
    """A class-weighted cross-entropy over the global batch, shards of 2 and 3: losses, weights and predictions agree.

    With gradients averaged instead of gathered the weights would differ by about 7e-2.
    """
    torch.multiprocessing.start_processes(one_of_two, (str(tmp_path),), 2, start_method="spawn")
    one, two = trained(tmp_path / "one", torch.device("cpu"), **SEVERAL), checkpoint.load(tmp_path / "two" / "last.pt")
    assert_close(two["model"], one["model"], rtol=1e-10, atol=1e-12)
    log = [runs.read_log(tmp_path / name) for name in ("one", "two")]
    assert_close([row["total"] for row in log[1]], [row["total"] for row in log[0]], rtol=1e-10, atol=1e-12)
    rows = [torch.load(tmp_path / f"rows{rank}.pt", weights_only=True) for rank in (0, 1)]
    same_rows(rows[0], rows[1])
    alone = runs.read_predictions(tmp_path / "one" / "predictions.csv", NAMES)
    assert_close(rows[0]["p_calm"], alone["p_calm"].double(), rtol=1e-6, atol=1e-6)


def test_a_batch_is_shared_out_whole():
    """7 for 3: two, two, three; nobody twice, order kept."""
    assert [shard(list("abcdefg"), rank, 3) for rank in range(3)] == [["a", "b"], ["c", "d"], ["e", "f", "g"]]


# ---- batches ---------------------------------------------------------------------------------------------------------

def test_the_last_sample_joins_the_batch_before():
    assert in_batches(list(range(9)), 4, least=2) == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert in_batches(list(range(10)), 4, least=2) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert in_batches([0], 4, least=2) == [[0]]


def test_fewer_samples_than_a_batch(toy, device):
    assert toy("--batch-size", 64, "--epochs", 1, "--output-dir", "a", "--device", device) == 0
    assert runs.read_log(Path("a"))[0]["step"] == 1


def test_padding():
    """Clips of 2 frames and of 1: the shorter one's last frame is repeated, and `real` says so."""
    long, short = torch.full((2, 3, 1, 1), 7, dtype=torch.uint8), torch.full((1, 3, 1, 1), 9, dtype=torch.uint8)
    (clip, real), target = collate([((long, torch.ones(2, dtype=torch.bool)), {"expression": tensor(2)}),
                                    ((short, torch.ones(1, dtype=torch.bool)), {"expression": tensor(0)})])
    assert clip[:, :, 0, 0, 0].tolist() == [[7, 7], [9, 9]]
    assert real.tolist() == [[True, True], [True, False]]
    assert target["expression"].tolist() == [2, 0]


def test_every_epoch_has_its_own_order():
    assert sorted(order(9, 0, 1)) == list(range(9))
    assert order(9, 0, 1) == order(9, 0, 1) != order(9, 0, 2)
    assert order(9, 0, 1) != order(9, 1, 1)


def test_preparing_depends_on_seed_epoch_and_sample_alone():
    """Of 20 samples the first frame of some is dropped, of others in the next epoch or under another seed."""
    samples = drawings(None, Config()).samples

    def lengths(seed, epoch):
        made = Prepared(samples, prepare, Config(), seed)
        return [len(made[epoch, i][0][0]) for i in range(20)]

    assert lengths(0, 0) == lengths(0, 0)
    assert lengths(0, 0) != lengths(0, 1)
    assert lengths(0, 0) != lengths(1, 0)
    assert lengths(0, None) == [2 + k % 4 for k in range(20)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_stops_the_run_with_its_name(toy, capsys, monkeypatch, workers):
    class Broken(Drawn):
        def read(self, indices, size=None):
            raise DataError("s7/clip.avi: cut short after 3 frames")

    def one_broken(root, cfg):
        found = drawings(root, cfg)
        bad = dataclasses.replace(found.samples[12], clip=Broken(torch.zeros(2, 3, 4, 4)))
        return found._replace(samples=[*found.samples[:12], bad, *found.samples[13:]])

    monkeypatch.setitem(DATASETS, "drawn", DataSet(one_broken, as_delivered))
    assert toy("--output-dir", "a", "--workers", workers) == 3
    said = capsys.readouterr().err.strip()
    assert said == "data: s7/clip.avi: cut short after 3 frames"
    assert toy("--check") == 3
    assert "1 of 26 samples" in capsys.readouterr().err


# ---- the loop --------------------------------------------------------------------------------------------------------

def test_accumulating_equals_a_larger_batch(tmp_path, device, monkeypatch):
    """Two batches of 4 a step are one of 8, to rounding: the loss is a mean over samples; the last of 21 are one of 5."""
    monkeypatch.setattr(ME, "statistics", lambda targets, cfg: {"weight": torch.ones(3, dtype=torch.float64)})
    same = dict(double=True, adam=False, norm=False, dropout=0.0)
    a = trained(tmp_path / "a", device, batch_size=4, accumulate=2, **same)
    b = trained(tmp_path / "b", device, batch_size=8, **same)
    assert_close(a["model"], b["model"], rtol=1e-9, atol=1e-11)
    assert a["step"] == b["step"] == 9


def test_clipping_bounds_the_gradient(tmp_path, device, monkeypatch):
    """Under plain descent with rate 1, one step moves all weights together by the clipped norm, 0.01."""
    monkeypatch.setattr(ME, "optimizer", lambda model, cfg, steps: (o := torch.optim.SGD(model.parameters(), lr=1.0),
                                                                   torch.optim.lr_scheduler.ConstantLR(o, 1.0)))
    same = dict(epochs=1, batch_size=64, norm=False, dropout=0.0)
    at = {clip: trained(tmp_path / f"{clip}", device, clip=clip, **same)["model"] for clip in (0.01, 0.02)}
    moved = math.sqrt(sum((at[0.02][name] - at[0.01][name]).square().sum().item() for name in at[0.01]))
    assert_close(moved, 0.01, rtol=1e-3, atol=0.0)


def test_amp_is_bfloat16_in_the_network_alone(toy, device):
    """The probabilities of a row still sum to 1 within float32; in bfloat16 they would miss by up to a hundredth."""
    assert toy("--output-dir", "a", "--amp", "--epochs", 1, "--device", device) == 0
    assert toy("--output-dir", "b", "--epochs", 1, "--device", device) == 0
    a, b = (runs.read_predictions(f"{name}/predictions.csv", NAMES) for name in "ab")
    p, q = (torch.stack([rows[f"p_{name}"] for name in NAMES], 1) for rows in (a, b))
    assert_close(p.sum(1), torch.ones(len(p)), rtol=0, atol=1e-6)
    assert (p - q).abs().max() > 0                                                   # and the flag does something


def test_one_sample_at_a_time_is_refused_where_it_cannot_be(toy, capsys):
    assert toy("--batch-size", 1) == 2
    assert "larger --batch-size" in capsys.readouterr().err
    assert toy("--batch-size", 1, "--no-norm", "--epochs", 1) == 0


def test_nan_stops_the_run_and_is_never_best(tmp_path, device):
    """Sample 5 has NaN pictures: the first epoch names epoch, step and sample; neither best.pt nor last.pt is left."""
    with pytest.raises(RunError, match=r"epoch 1/3, step \d: the loss is nan.*clip 5"):
        trained(tmp_path / "a", device, poison=5, norm=False)
    assert not list((tmp_path / "a").glob("*.pt"))


def test_nan_weights_are_found_after_the_last_step(tmp_path, device, monkeypatch):
    """The loss of the last step is good, the step itself is not."""
    class Wild(torch.optim.SGD):
        def step(self, closure=None):
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(math.inf)

    monkeypatch.setattr(ME, "optimizer", lambda model, cfg, steps: (o := Wild(model.parameters(), lr=1.0),
                                                                   torch.optim.lr_scheduler.ConstantLR(o, 1.0)))
    this = job(batch_size=64)
    [fold] = experiment.folds_of(this, drawings(None, this.cfg))
    for part in (fold, fold._replace(select=[])):
        with pytest.raises(RunError, match="not every weight is a number, in body.weight"):
            train_fold(this, part, tmp_path / "a", Place(device), Stop())
        assert not list((tmp_path / "a").glob("*.pt"))


def test_the_run_that_failed_has_status_1(toy, capsys):
    assert toy("--poison", 5, "--output-dir", "a") == 1
    assert capsys.readouterr().err.startswith("the run failed: epoch 1/3, step")


def test_selection_never_sees_the_report_part(tmp_path, device):
    """Other pictures and other labels in `report`: the same epoch is chosen, the same weights are kept."""
    this = job(epochs=4)
    [fold] = experiment.folds_of(this, drawings(None, this.cfg))
    strange = [dataclasses.replace(s, clip=Drawn(255 - s.clip.frames), target={"expression": 0}) for s in fold.report]
    rows = [train_fold(this, f, tmp_path / name, Place(device), Stop())
            for name, f in (("a", fold), ("b", fold._replace(report=strange)))]
    a, b = (checkpoint.load(tmp_path / name / "best.pt") for name in "ab")
    assert_close(a["model"], b["model"], rtol=0, atol=0)
    assert a["epoch"] == b["epoch"]
    assert (rows[0]["p_calm"] != rows[1]["p_calm"]).any()


def test_best_is_the_epoch_with_the_highest_first_score(tmp_path, device, monkeypatch):
    """Scores NaN, 0.2, 0.7, 0.7, 0.1: epoch 3, the first of equals; the report part is scored by nobody here."""
    given = iter([math.nan, 0.2, 0.7, 0.7, 0.1])
    monkeypatch.setattr(ME, "score", lambda rows, cfg: {"sure": next(given), "Acc": 9.0})
    last = trained(tmp_path / "a", device, epochs=5)
    best = checkpoint.load(tmp_path / "a" / "best.pt")
    assert (best["epoch"], best["best"], last["epoch"]) == (3, 0.7, 5)
    assert (best["model"]["body.weight"] != last["model"]["body.weight"]).any()


def test_patience(tmp_path, device, monkeypatch):
    """Best at epoch 2, patience 2: epoch 4 is the last one."""
    given = iter([0.1, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(ME, "score", lambda rows, cfg: {"sure": next(given)})
    assert trained(tmp_path / "a", device, epochs=5, patience=2)["epoch"] == 4


def test_without_a_select_part_the_last_epoch_is_taken(toy, device, capsys, monkeypatch):
    parts = ("train", "train", "report", "train")
    monkeypatch.setitem(DATASETS, "drawn", DataSet(partial(drawings, parts=parts), as_delivered))
    assert toy("--output-dir", "a", "--select", 0, "--device", device) == 0
    said = capsys.readouterr().out
    assert "no part `select`: the last epoch is taken" in said
    assert_close(checkpoint.load("a/best.pt")["model"], checkpoint.load("a/last.pt")["model"], rtol=0, atol=0)


def test_the_second_stage_starts_from_the_first(toy, device, capsys):
    """`head` has a bias in stage two alone: it is not carried; everything else is, and the words say so."""
    assert toy("--output-dir", "a", "--two", "--epochs", 1, "--device", device) == 0
    said = capsys.readouterr().out
    assert "second starts from best-first.pt: all but `head`" in said and "head (1)" in said
    assert [row["stage"] for row in runs.read_log(Path("a"))] == ["first", "second"]
    assert checkpoint.restore("a/best-first.pt")[1].dropout == 0.0


def test_count(device):
    """Toy of width 5: 48·5 + 5 in body, 10 in norm, 5·3 + 3 in head; multiply-adds 240 and 15 for one sample."""
    model = Toy(Config(), True).to(device)
    model.body.bias.requires_grad_(False)
    assert count.parameters(model) == (273, 268)
    clip, real = torch.rand(1, 2, 3, 4, 4, device=device), torch.ones(1, 2, dtype=torch.bool, device=device)
    macs = count.multiply_adds(model, (clip, real))
    assert macs == {"": 255, "body": 240, "norm": 0, "drop": 0, "head": 15}
    assert model.training


# ---- predictions -----------------------------------------------------------------------------------------------------

def test_predictions_come_back_as_they_were(tmp_path):
    rows = {"sample": ["a,1", 'b "2"', "ü"], "subject": ["s1", "", "s3"], "fold": ["0", "0", "1"],
            "target": tensor([2, -1, 0]), "predicted": tensor([2, 1, 1]), "p_calm": tensor([0.1, 1 / 3, 1e-9]),
            "p_glad": tensor([0.2, 0.5, 1.0]), "p_wild": tensor([0.7, 1 / 7, 0.0])}
    runs.write_predictions(tmp_path / "p.csv", rows, NAMES)
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as f:
        assert next(csv.reader(f)) == "sample subject fold target predicted p_calm p_glad p_wild".split()
        assert next(csv.reader(f))[:5] == ["a,1", "s1", "0", "wild", "wild"]
    same_rows(runs.read_predictions(tmp_path / "p.csv", NAMES), rows)


def test_predictions_of_action_units_and_of_valence(tmp_path):
    rows = {"sample": ["a", "b"], "subject": ["", ""], "fold": ["1", "1"], "target_AU01": tensor([1, -1]),
            "target_valence": tensor([0.25, -0.1]), "predicted_AU01": tensor([0, 1]), "p_AU01": tensor([0.3, 0.6]), "predicted_valence": tensor([0.1, 0.2])}
    runs.write_predictions(tmp_path / "p.csv", rows, ())
    same_rows(runs.read_predictions(tmp_path / "p.csv", ()), rows)


@pytest.mark.parametrize("text, said", [
    ("sample,subject\na,b\n", "no column 'fold'"), ("sample,subject,fold,p_a\na,b,0,x\n", "column 'p_a'"),
    ("sample,subject,fold,target\na,b,0,sad\n", "column 'target'"), ("", "no column 'sample'")])
def test_foreign_predictions_are_refused(tmp_path, text, said):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(runs.UsageError, match=said):
        runs.read_predictions(tmp_path / "p.csv", NAMES)


def test_rows_of_a_sample_are_averaged():
    """b three times: calm (0.9 + 0.2 + 0.1) / 3 = 0.4, glad (0.1 + 0.8 + 0.9) / 3 = 0.6, though its first row said calm."""
    rows = {"sample": ["a", "b", "b", "c", "b"], "subject": ["x", "y", "y", "z", "y"], "fold": list("00000"),
            "target": tensor([0, 1, 1, 0, 1]), "predicted": tensor([0, 0, 1, 1, 1]),
            "p_calm": tensor([0.8, 0.9, 0.2, 0.3, 0.1]), "p_glad": tensor([0.2, 0.1, 0.8, 0.7, 0.9]),
            "predicted_AU01": tensor([1, 0, 1, 0, 1]), "predicted_valence": tensor([0.5, 0.1, 0.2, -1.0, 0.6])}
    out = runs.averaged(rows, ("calm", "glad"))
    assert (out["sample"], out["subject"]) == (["a", "b", "c"], ["x", "y", "z"])
    assert_close(out["p_calm"], tensor([0.8, 0.4, 0.3]))
    assert out["predicted"].tolist() == [0, 1, 1]
    assert out["target"].tolist() == [0, 1, 0]
    assert out["predicted_AU01"].tolist() == [1, 1, 0]                               # two of three
    assert_close(out["predicted_valence"], tensor([0.5, 0.3, -1.0]))


def test_target_columns():
    """Two samples, units 1 and 12 in the order of the predictions' columns, one unknown."""
    names = "predicted_AU01 p_AU01 predicted_AU12 p_AU12 predicted_valence predicted_arousal".split()
    columns = dict.fromkeys(names, tensor([0, 0]))
    found = target_columns({"au": tensor([[1, 0], [-1, 1]]), "va": tensor([[0.1, 0.2], [0.3, 0.4]])}, columns)
    assert list(found) == ["target_AU01", "target_AU12", "target_valence", "target_arousal"]
    assert (found["target_AU01"].tolist(), found["target_AU12"].tolist()) == ([1, -1], [0, 1])
    assert_close(found["target_arousal"], tensor([0.2, 0.4]))


def test_folds_are_pooled(toy, device):
    """Every sample is reported once, in the fold that did not train on it."""
    assert toy("--dataset", "folds", "--data", ".", "--output-dir", "a", "--epochs", 1, "--device", device) == 0
    rows = runs.read_predictions("a/predictions.csv", NAMES)
    assert sorted(rows["sample"]) == sorted(s.id for s in drawings(None, Config()).samples)
    assert sorted(p.name for p in Path("a").glob("fold-*")) == ["fold-0", "fold-1", "fold-2"]
    assert rows["fold"].count("1") == len(runs.read_predictions("a/fold-1/predictions.csv", NAMES)["sample"])


# ---- the command -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, said", [
    (["--epoch", "3"], "did you mean --epochs?"),
    (["--presett", "demo"], "did you mean --preset?"),
    (["--preset", "dem"], "did you mean demo?"),
    (["--ablation", "table2.3"], "did you mean table2."),
    (["--dataset", "foldr"], "did you mean fold"),
    (["--data", "x"], "one of folder, real, folds"),
    (["--dataset", "folder"], "needs --data DIR"),
    (["--table", "7"], "there are 2"),
    (["--repeat", "0"], "expected 1 or more"),
    (["--lr", "fast"], "--lr"),
    (["--select", "1.0"], "a share below 1"),
    (["--device", "abacus"], "no device 'abacus'"),
    (["--device", "cuda:77"], "no device 'cuda:77'"),
    (["--resume", "x", "--repeat", "2"], "--resume"),
    (["--table", "2", "--ablation", "as_code"], "one of them"),
])
def test_usage(toy, capsys, words, said):
    """Status 2, the nearest name where one is near, no traceback, no folder made."""
    try:
        status = toy(*words)
    except SystemExit as end:
        status = end.code
    error = capsys.readouterr().err
    assert status == 2
    assert said in error and "Traceback" not in error
    assert list(Path().iterdir()) == []


def test_paper_is_needed(toy, capsys):
    with pytest.raises(SystemExit) as end:
        train.main(["--epochs", "3"])
    assert end.value.code == 2 and "--paper is needed: toy" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        train.main(["--paper", "toi"])
    assert end.value.code == 2 and "did you mean toy?" in capsys.readouterr().err


def test_what_a_run_says_and_leaves(toy, device, capsys):
    """Preset and data first, every setting with its source, the report in the words of drawn faces, evaluate.py last."""
    assert toy("--width", 6, "--device", device) == 0
    lines = capsys.readouterr().out.splitlines()
    [folder] = Path("runs/toy").iterdir()
    assert "toy on drawn faces, preset demo, seed 0" in lines[0]
    assert any(line.split() == ["width", "6", "yours", "(was", "4:", "ours:", "demo)"] for line in lines)
    assert any("toy: 26 clips of 26 expected" in line for line in lines)
    assert any(line.startswith("report  sure 0.") and "(drawn faces, seed 0)" in line for line in lines)
    assert lines[-1] == f"python evaluate.py {folder}"
    names = "best.pt best.pt.sha256 config.json confusion.png curves.png last.pt last.pt.sha256 log.csv predictions.csv"
    assert sorted(p.name for p in folder.iterdir()) == names.split()
    for name in ("curves.png", "confusion.png"):
        with Image.open(folder / name) as picture:
            assert picture.size[0] > 100
    assert len(runs.read_log(folder)) == 3


def test_a_folder_that_holds_a_run_is_left_alone(toy, capsys):
    assert toy("--output-dir", "a", "--steps", 1) == 0
    before = Path("a/log.csv").read_bytes()
    assert toy("--output-dir", "a", "--steps", 2) == 2
    assert "holds a run already" in capsys.readouterr().err and Path("a/log.csv").read_bytes() == before


def test_bad_data_leaves_no_folder(toy, capsys):
    """A missing file, then labels out of range: status 3, one line, nothing half-written."""
    Path("d").mkdir()
    assert toy("--data", "d", "--dataset", "folder", "--output-dir", "a") == 3
    assert capsys.readouterr().err.startswith("data: d/labels.txt: no such file")
    Path("d/labels.txt").touch()
    assert toy("--data", "d", "--dataset", "folder", "--output-dir", "a") == 3
    assert "clip 0: expression 7; expected 0 to 1" in capsys.readouterr().err
    assert not Path("a").exists()


def test_an_absent_class_stops_before_training(toy, capsys, monkeypatch):
    def without_wild(root, cfg):
        found = drawings(root, cfg)
        return found._replace(samples=[s for s in found.samples if s.part == "report" or s.target["expression"] != 2])

    monkeypatch.setitem(DATASETS, "drawn", DataSet(without_wild, as_delivered))
    assert toy("--output-dir", "a") == 3
    assert "nothing to train on for wild" in capsys.readouterr().err and not Path("a").exists()


def test_a_table_in_the_papers_layout(toy, device, capsys):
    """Two rows, two seeds: switches as ✓ and -, other settings as values; on drawn faces no printed score anywhere."""
    assert toy("--table", 2, "--repeat", 2, "--epochs", 1, "--output-dir", "t", "--device", device) == 0
    said = capsys.readouterr().out
    text = Path("t/table.txt").read_text().splitlines()
    assert text[0].split() == ["row", "norm", "width", "Acc,", "ours"]
    assert text[1].split()[:3] == ["table2.1", "-", "3"] and text[2].split()[:3] == ["table2.2", "✓", "6"]
    assert text[1].split()[4] == "±"
    assert "41.5" not in said and "52.25" not in said
    names = "table.txt table2.1-seed0 table2.1-seed1 table2.2-seed0 table2.2-seed1"
    assert sorted(p.name for p in Path("t").iterdir()) == names.split()
    assert toy("--table", 2, "--output-dir", "t") == 2


def test_printed_scores_stand_beside_real_faces_only():
    """Acc 0.5 and 0.6 are 55.00 ± 7.07 in percent, as the page prints it."""
    jobs = {row: plan.settle(ME, "toy", "real", "paper", row, {}, "d", Options()) for row in ("table2.1", "table2.2")}
    scores = {"table2.1": [{"Acc": 0.5}, {"Acc": 0.6}], "table2.2": [{"Acc": 0.25}, {"Acc": 0.25}]}
    lines = plan.table(jobs, scores).splitlines()
    assert lines[0].split() == ["row", "norm", "width", "Acc,", "ours", "Acc,", "printed"]
    assert lines[1].split() == ["table2.1", "-", "3", "55.00", "±", "7.07", "41.50"]
    demo = {row: j._replace(preset="demo") for row, j in jobs.items()}
    assert "printed" not in plan.table(demo, scores) and "41.50" not in plan.table(demo, scores)
    for yours, options in (({"epochs": 99}, Options()), ({}, Options(steps=1))):               # nor beside another training than the paper's
        other = {row: plan.settle(ME, "toy", "real", "paper", row, yours, "d", options) for row in jobs}
        assert "printed" not in plan.table(other, scores)


def test_settings_win_in_order():
    """Config 0.05 < data set 0.04 < preset < row < flag 0.5; the winner's source is named."""
    at = plan.settle(ME, "toy", "real", "demo", "table2.1", {"lr": 0.5}, "d", Options())
    assert (at.cfg.lr, at.cfg.width, at.cfg.norm) == (0.5, 3, False)
    assert at.sources["lr"] == "yours (was 0.04: §3, real)" and at.sources["width"] == "table2.1"


def test_check_and_count_train_nothing(toy, capsys):
    assert toy("--check") == 0
    assert "checked: 26 samples, 89 frames, all good" in capsys.readouterr().out     # 6 · (2 + 3 + 4 + 5) + 2 + 3
    assert toy("--count") == 0
    assert "total" in capsys.readouterr().out
    assert list(Path().iterdir()) == []


if __name__ == "__main__":
    torch.set_num_threads(1)
    models.PAPERS, models.load = ("toy",), lambda key: ME
    sys.exit(train.main(["--paper", "toy", *sys.argv[1:]]))
