"""The commands of the README, with few steps."""
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import evaluate
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


pytestmark = pytest.mark.usefixtures("one_thread")


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
    (["--paper", "arpgnet", "--dropout", "1.5"], "dropout must be 0 or more and below 1")])
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


# ---------------------------------------------------------------- evaluate.py

@pytest.fixture(scope="module")
def a_run(tmp_path_factory) -> Path:
    """A tiny network trained for three steps on a folder of one's own."""
    home = tmp_path_factory.mktemp("run")
    for name, shade in (("joy", 200), ("woe", 60)):
        for clip in range(5):
            for frame in range(3):
                path = home / "faces" / name / f"c{clip}" / f"{frame:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (50, 60), (shade + 5 * frame, shade, shade - clip)).save(path)
    words = ["--paper", "arpgnet", "--data", str(home / "faces"), "--dataset", "folder", "--preset", "demo", "--steps", "3",
             "--batch-size", "4", "--workers", "0", "--output-dir", str(home / "run"), *TINY]
    assert train.main(words) == 0
    return home / "run"


def test_evaluate_a_run(a_run, tmp_path, capsys):
    """The same scores and the same rows as training reported, and the paper's figures."""
    before = (a_run / "predictions.csv").read_text()
    assert evaluate.main([str(a_run), "--output-dir", str(tmp_path / "out"), "--workers", "0", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    rows = runs.read_predictions(a_run / "predictions.csv", ("joy", "woe"))
    right = (rows["target"] == rows["predicted"]).float().mean().item()
    assert f"Acc {right:.4f}" in out and "rows: target, columns: predicted" in out and "folder, seed 0" in out
    assert (tmp_path / "out" / "predictions.csv").read_text() == before
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"confusion.png", "figure5.png", "figure6.png", "figure7.png", "figure8.png"}


def test_evaluate_ones_own(a_run, tmp_path, capsys):
    """A still, a folder of frames and an animation: a row each, a picture each; attention over time where there is time."""
    Image.new("RGB", (40, 30), (220, 200, 190)).save(tmp_path / "still.png")
    frames = [Image.new("RGB", (40, 40), (60 * k, 90, 90)) for k in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    clip = a_run.parent / "faces" / "joy" / "c0"
    paths = [str(tmp_path / "still.png"), str(clip), str(tmp_path / "moving.gif")]
    assert evaluate.main([str(a_run / "best.pt"), *paths, "--output-dir", str(tmp_path / "out"), "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(any(line.startswith(path) and ("joy" in line or "woe" in line) for line in lines) for path in paths)
    assert any("no --landmarks" in line for line in lines)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert "001-still-prediction.png" in names and "001-still-figure5.png" not in names and "002-c0-figure5.png" in names
    assert "003-moving-figure6.png" in names and "001-still-figure7.png" in names


def test_evaluate_aligns_by_landmarks(a_run, tmp_path, capsys):
    """The same picture turned by a right angle, its landmarks turned too: the aligned crops, and so the rows, are the same."""
    picture = Image.new("RGB", (64, 64), (200, 160, 140))
    picture.paste((20, 20, 20), (16, 20, 22, 26)), picture.paste((20, 20, 20), (42, 20, 48, 26))
    picture.paste((180, 40, 40), (24, 44, 40, 50))
    xy = torch.full((68, 2), 32.0)
    xy[36:42], xy[42:48] = torch.tensor([19.0, 23.0]), torch.tensor([45.0, 23.0])
    said = []
    for name, image, points in (("up", picture, xy), ("turned", picture.transpose(Image.Transpose.ROTATE_270),
                                                        torch.stack([63 - xy[:, 1], xy[:, 0]], 1))):
        image.save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.csv").write_text(",".join(str(v) for v in points.flatten().tolist()) + "\n")
        assert evaluate.main([str(a_run), str(tmp_path / f"{name}.png"), "--landmarks", str(tmp_path / f"{name}.csv"),
                              "--output-dir", str(tmp_path / name), "--device", "cpu"]) == 0
        row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(str(tmp_path)))
        said.append([float(v) for v in row.split()[-2:]])
    assert said[0] == pytest.approx(said[1], abs=0.02)


@pytest.mark.parametrize("words, status, said", [
    (["nowhere"], 4, "there is no such file"),
    (["RUN", "missing.jpg"], 3, "does not exist"),
    (["RUN", "PICTURE", "--landmarks", "two.csv"], 3, "2 rows, but 1 frames"),
    (["RUN", "--devise", "cpu"], 2, "did you mean --device?"),
    (["RUN", "--device", "cuda:7"], 2, "cuda:7"),
    (["EMPTY"], 4, "no best.pt"),
])
def test_evaluate_says_what_is_wrong(words, status, said, a_run, tmp_path, monkeypatch, capsys):
    """One line, and the status that goes with it."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30)).save("still.png")
    Path("two.csv").write_text((",".join(["5"] * 136) + "\n") * 2)
    Path("empty").mkdir()
    words = [{"RUN": str(a_run), "PICTURE": "still.png", "EMPTY": "empty"}.get(w, w) for w in words]
    try:
        found = evaluate.main(words if "--device" in words else [*words, "--device", "cpu"])
    except SystemExit as left:                                               # argparse leaves by itself
        found = left.code
    assert found == status
    assert said in capsys.readouterr().err


def test_evaluate_refuses_data_it_was_not_trained_on(a_run, tmp_path, capsys):
    """A file more, and the parts are cut anew: what would be tested could have been trained on."""
    shutil.copytree(a_run.parent / "faces", tmp_path / "faces")
    shutil.copytree(tmp_path / "faces" / "joy" / "c0", tmp_path / "faces" / "joy" / "c9")
    assert evaluate.main([str(a_run), "--data", str(tmp_path / "faces"), "--output-dir", str(tmp_path / "out"), "--device", "cpu"]) == 3
    assert "was not trained on these data" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_evaluate_the_last_state_of_a_run(a_run, tmp_path, capsys):
    """last.pt has no reason for being chosen; it is evaluated all the same, and says where it stood."""
    assert evaluate.main([str(a_run / "last.pt"), "--output-dir", str(tmp_path), "--workers", "0", "--device", "cpu"]) == 0
    assert "as it stood after step" in capsys.readouterr().out


def test_runs_of_one_moment_have_folders_of_their_own(tmp_path, monkeypatch):
    """The time is in milliseconds, the same on every process; a folder that is there already gives way."""
    monkeypatch.chdir(tmp_path)
    first = runs.new_folder(None, "arpgnet", "seed0", 1_700_000_000_123)
    assert first == runs.new_folder(None, "arpgnet", "seed0", 1_700_000_000_123) and first.name.endswith("-123-seed0")
    first.mkdir(parents=True)
    assert runs.new_folder(None, "arpgnet", "seed0", 1_700_000_000_123).name == f"{first.name}-2"


def test_the_readmes_command(tmp_path):
    """python train.py --paper arpgnet as a newcomer types it, three steps a stage; then the line it prints last."""
    first = subprocess.run([sys.executable, str(ROOT / "train.py"), "--paper", "arpgnet", "--steps", "3"], cwd=tmp_path,
                           capture_output=True, text=True, timeout=300)
    assert first.returncode == 0, first.stderr
    python, script, run = first.stdout.splitlines()[-1].split()
    assert (python, script) == ("python", "evaluate.py") and (tmp_path / run / "predictions.csv").exists()
    second = subprocess.run([sys.executable, str(ROOT / "evaluate.py"), run], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert second.returncode == 0, second.stderr
    assert "210 samples of the tested part, drawn faces, seed 0" in second.stdout
