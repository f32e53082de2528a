"""The commands of the README, with few steps."""
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train
from refnet import models
from refnet.data import drawn
from refnet.data.protocols import as_delivered
from refnet.data.samples import DataSet
from refnet.pictures import write_picture
from refnet.training import checkpoint, runs

ROOT = Path(train.__file__).parent
FEW = {"train": (14, 7), "select": (7, 3), "report": (7, 3)}                          # clips, subjects
TINY = ["--widths", "4", "8", "8", "8", "--d", "8", "--hidden", "8", "--T", "4"]


@pytest.fixture(autouse=True)
def one_thread():
    """The networks are too small here to share out."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.fixture(scope="module")
def few_faces():
    """The drawn faces, few of them, drawn once."""
    found = drawn.read(None, models.load("arpgnet").Config(size=48), FEW)
    return DataSet(lambda root, cfg: found, as_delivered)


@pytest.fixture
def faces(tmp_path) -> Path:
    """A folder of one's own: two classes, three clips of three frames each."""
    for name, shade in (("joy", 200), ("woe", 60)):
        for clip in range(5):
            for frame in range(3):
                path = tmp_path / "faces" / name / f"c{clip}" / f"{frame:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_picture(torch.full((3, 60, 50), shade + 5 * frame + clip, dtype=torch.uint8), path)
    return tmp_path / "faces"


def said_by(*words, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(ROOT / "train.py"), *map(str, words)], cwd=cwd, capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("paper", ["arpgnet"])
def test_train_on_drawn_faces(paper, few_faces, device, tmp_path, monkeypatch, capsys):
    """python train.py --paper KEY: three steps, then evaluation, a whole run folder, and the command to go on with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(models.load(paper).DATASETS, "drawn", few_faces)
    assert train.main(["--paper", paper, "--steps", "3", "--batch-size", "4", "--device", str(device)]) == 0
    out = capsys.readouterr().out
    [folder] = (Path("runs") / paper).iterdir()
    assert f"{paper} on drawn faces, preset demo, seed 0" in out and "drawn faces, seed 0)" in out
    assert out.splitlines()[-1] == f"python evaluate.py {folder}"
    found = checkpoint.load(folder / "last.pt", paper)
    assert found["step"] == 3 * len({row["stage"] for row in runs.read_log(folder)})
    rows = runs.read_predictions(folder / "predictions.csv", found["cfg"]["classes"])
    assert len(rows["sample"]) == FEW["report"][0]


def test_train_stops_and_goes_on(few_faces, device, tmp_path, monkeypatch):
    """A real network, dropout and batch statistics included: two steps and then the rest are the same as all at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(models.load("arpgnet").DATASETS, "drawn", few_faces)
    flags = ["--paper", "arpgnet", "--device", str(device)]
    few = [*TINY, "--epochs", "1", "--batch-size", "4"]
    assert train.main([*flags, *few, "--output-dir", "whole"]) == 0
    assert train.main([*flags, *few, "--output-dir", "parts", "--steps", "2"]) == 0
    assert train.main([*flags, "--resume", "parts"]) == 0
    for name in ("log.csv", "predictions.csv"):
        assert Path("whole", name).read_bytes() == Path("parts", name).read_bytes()
    for a, b in zip(*(checkpoint.load(f"{run}/last.pt")["model"].values() for run in ("whole", "parts"))):
        assert torch.equal(a, b)


def test_train_on_ones_own_folder(faces, tmp_path):
    """The real command in a process of its own, with workers that read pictures; the folder's classes are taken over."""
    done = said_by("--paper", "arpgnet", "--data", faces, "--dataset", "folder", "--preset", "demo", *TINY, "--steps", 2,
                   "--batch-size", 3, "--select", 0, "--workers", 1, "--output-dir", tmp_path / "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "found in" in done.stdout and "arpgnet on folder, preset demo" in done.stdout
    assert checkpoint.restore(tmp_path / "run")[1].classes == ("joy", "woe")


def test_train_refuses_a_cut_picture(faces, tmp_path):
    """Status 3, one line with the file's name, no run folder."""
    bad = faces / "joy" / "c1" / "01.png"
    bad.write_bytes(bad.read_bytes()[:60])
    done = said_by("--paper", "arpgnet", "--data", faces, "--dataset", "folder", "--check", cwd=tmp_path)
    assert done.returncode == 3
    assert str(bad) in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("words, said", [
    (["--paper", "arpgnet", "--TSR", "2"], "did you mean --TRS?"), (["--paper", "arpnet"], "did you mean arpgnet?"),
    (["--paper", "arpgnet", "--dataset", "afw"], "did you mean afew?"),
    (["--paper", "arpgnet", "--dropout", "1.5"], "dropout in [0, 1)")])
def test_train_usage(words, said, capsys):
    try:
        status = train.main(words)
    except SystemExit as end:
        status = end.code
    assert status == 2 and said in capsys.readouterr().err


def test_train_help_is_the_settings_table(capsys):
    with pytest.raises(SystemExit) as end:
        train.main(["--paper", "arpgnet", "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--TRS" in text and "3 ours: §3.4.2 defines it, no value is printed" in text
