"""Every setting does something: turned, it changes outputs, batches, scores, targets or the optimizer's state."""
import dataclasses
from pathlib import Path

import pytest
import torch
from PIL import Image

from refnet.config import Stage
from refnet.data import affwild2
from refnet.data.samples import Drawn, Sample
from refnet.models import arpgnet

SMALL = arpgnet.Config(T=5, size=24, layout=(1, 1, 1, 1), widths=(4, 6, 8, 10), d=12, hidden=14, heads=2, P=3, TRS=1,
                       epochs=3, batch_size=4, gamma=1.0, shown=5)
TURNED = dict(shown=3, random=False, flip=True, stills=2, classes=("a", "b"), T=4, dilation=2, size=48, layout=(1, 1, 2, 1), widths=(4, 6, 8, 12), d=10, share=True, P=1,
              layers=2, heads=3, slope=0.3, TRS=2, hidden=15, dropout=0.6, appearance=False, relation=False, fusion=False,
              scope=False, gamma=2.0, measure="M", lr=1e-2, lr_trunk=1e-2, beta1=0.5, beta2=0.9, eps=1e-2, cosine=True,
              epochs=5, batch_size=3)


def evidence(cfg: arpgnet.Config, root: Path) -> list[torch.Tensor]:
    """All that a setting can reach: batches, the trained weights and logits, the score's name, the plan, what is read."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    samples = [Sample(str(k), Drawn(torch.randint(0, 256, (9, 3, cfg.size, cfg.size), dtype=torch.uint8, generator=rng)),
                      {"expression": k % 2}) for k in range(7)]
    model = arpgnet.network(cfg, {}, arpgnet.stages(cfg)[0])
    adam, schedule = arpgnet.optimizer(model, cfg, steps=20)
    out = []
    for at in range(0, 6, cfg.batch_size):
        batch = [arpgnet.prepare(s, cfg, rng) for s in samples[at:at + cfg.batch_size]]
        clip, real = (torch.stack(part) for part in zip(*batch))
        target = {"expression": torch.tensor([s.target["expression"] for s in samples[at:at + cfg.batch_size]])}
        logits = model(clip.float() / 255, real)
        adam.zero_grad()
        arpgnet.loss(logits, target, {}, cfg, Stage("train", 1))["total"].backward()
        adam.step(), schedule.step()
        out += [clip.float(), logits.detach()]
    rows = {"fold": ["0"] * 3, "target": torch.tensor([0, 1, 1]), "predicted": torch.tensor([0, 1, 0])}
    words = [*arpgnet.score(rows, cfg)][:1] + [*arpgnet.predict(logits, cfg)]
    words += frames_shown(cfg, root)
    return out + [p.detach().clone() for p in model.parameters()] + [
        torch.tensor([*map(hash, words)]), torch.tensor([s.epochs for s in arpgnet.stages(cfg)])]


def frames_shown(cfg: arpgnet.Config, root: Path) -> list[str]:
    """Which frames the clip around frame 20 of an Aff-Wild2 video shows: that is where `dilation` is read."""
    names = arpgnet.DATASETS["affwild2"].settings["classes"].default
    samples = affwild2.read(root, dataclasses.replace(cfg, classes=names)).samples
    clip = next(s.clip for s in samples if s.id.endswith("00020"))
    return [str(int(v)) for v in clip.read(list(range(len(clip))), 4)[:, 0, 0, 0]]


@pytest.fixture(scope="module")
def affwild2_root(tmp_path_factory) -> Path:
    """One video of 40 frames in each part; frame k is grey k."""
    root = tmp_path_factory.mktemp("affwild2")
    for part in ("Train_Set", "Validation_Set"):
        labels = root / "annotations" / "EXPR_Set" / part / f"{part}.txt"
        labels.parent.mkdir(parents=True)
        labels.write_text("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n" + "".join(f"{k % 7}\n" for k in range(40)))
        faces = root / "cropped_aligned" / part
        faces.mkdir(parents=True)
        for k in range(1, 41):
            Image.new("RGB", (4, 4), (k, k, k)).save(faces / f"{k:05d}.jpg", quality=100)
    return root


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(arpgnet.Config)])
def test_the_knob_turns_something(name, affwild2_root):
    """One setting turned, everything else and every seed as before."""
    turned = dataclasses.replace(SMALL, **{name: TURNED[name]})
    assert getattr(SMALL, name) != getattr(turned, name)
    before, after = evidence(SMALL, affwild2_root), evidence(turned, affwild2_root)
    assert len(before) != len(after) or any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(before, after))


def test_a_knob_at_rest_changes_nothing(affwild2_root):
    """The same settings twice give the same evidence: what the test above sees is the knob."""
    assert all(torch.equal(a, b) for a, b in zip(evidence(SMALL, affwild2_root), evidence(SMALL, affwild2_root)))
