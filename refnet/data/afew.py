"""AFEW: scenes from films, seven expressions; the test part's labels are not public, so the validation part is reported.

    Train_AFEW/<Emotion>/<id>.avi, Val_AFEW/<Emotion>/<id>.avi
    Train_AFEW/AlignedFaces_LBPTOP_Points/Faces/<id>/<frame>.jpg          preferred to the video where they are
    Val_AFEW/AlignedFaces_LBPTOP_Points_Val/Faces/<id>/<frame>.jpg
"""
from pathlib import Path
from typing import Any

from refnet.data.folder import clips_in, code_order, listing, open_clip, opened, part_lines
from refnet.data.samples import Collection, DataError, Sample
from refnet.pictures import PICTURES

EMOTIONS = {"Angry": "anger", "Disgust": "disgust", "Fear": "fear", "Happy": "happiness", "Sad": "sadness",
            "Surprise": "surprise", "Neutral": "neutral"}        # the order of arpgnet §4.1.2
SPLITS = {"Train_AFEW": ("train", "AlignedFaces_LBPTOP_Points"), "Val_AFEW": ("report", "AlignedFaces_LBPTOP_Points_Val")}
EXPECTED = {"train": {"all": 773, "anger": 135, "disgust": 74, "fear": 81, "happiness": 150, "sadness": 117,
                      "surprise": 74, "neutral": 142}, "report": {"all": 383}}
LAYOUT = "expected Train_AFEW/<Emotion>/<id>.avi and Val_AFEW/<Emotion>/<id>.avi, Emotion one of " + " ".join(EMOTIONS)


def read(root: Path, cfg: Any) -> Collection:
    """Find each split's clips by the folder of their emotion; the same id in both splits is two clips.

    Raises DataError for a missing split or emotion, an emotion that AFEW does not have, and an id under two emotions.
    """
    root = opened(root, LAYOUT)
    classes = code_order(cfg, tuple(EMOTIONS.values()), "AFEW")
    samples, notes = [], []
    for split, (part, faces) in SPLITS.items():
        if not (root / split).is_dir():
            raise DataError(f"{root / split}: no such folder; found {', '.join(p.name for p in listing(root)[:5])}; "
                            f"{LAYOUT}; check --data")
        aligned = root / split / faces / "Faces"
        cropped = {p.name: p for p in listing(aligned) if p.is_dir()} if aligned.is_dir() else {}
        clips, strange = {}, 0
        for folder in listing(root / split):
            if folder.name.startswith("AlignedFaces"):
                continue
            if not folder.is_dir():
                strange += 1
                continue
            if folder.name not in EMOTIONS:
                raise DataError(f"{folder}: no emotion of AFEW; {LAYOUT}; rename or remove it")
            paths, rest, _ = clips_in(folder)
            strange += len(rest)
            for path in paths:
                id = path.name if path.is_dir() else path.stem
                if not path.is_dir() and path.suffix.lower() in PICTURES:
                    strange += 1                                   # a picture alone is no clip here
                    continue
                if id in clips:
                    raise DataError(f"{path}: id {id} stands twice in {split}, also as {clips[id][0]}; keep the right one")
                clips[id] = path, EMOTIONS[folder.name]
            if not any(name == EMOTIONS[folder.name] for _, name in clips.values()):
                raise DataError(f"{folder}: no clip in it; {LAYOUT}")
        if missing := [e for e, name in EMOTIONS.items() if not (root / split / e).is_dir()]:
            raise DataError(f"{root / split}: no folder {', '.join(missing)}; {LAYOUT}")
        with_faces = {id for id in clips.keys() & cropped.keys()
                      if any(p.suffix.lower() in PICTURES for p in cropped[id].iterdir())}
        for id, (path, name) in clips.items():
            clip = open_clip(cropped[id] if id in with_faces else path)
            samples.append(Sample(f"{split}/{id}", clip, {"expression": classes.index(name)}, part=part))
        notes.append(f"AFEW: {split}: {len(with_faces)} of {len(clips)} clips with aligned faces"
                     + ("" if len(with_faces) == len(clips) else "; of the others the picture's centre square is taken")
                     + (f"; {n} folders of faces without a clip left out" if (n := len(cropped.keys() - clips)) else "")
                     + (f"; {strange} other files left out" if strange else ""))
    return Collection(samples, classes, part_lines("AFEW", samples, classes, EXPECTED) + notes)
