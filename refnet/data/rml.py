"""RML: eight people, six expressions, 720 short videos; each person is tested once.

    s1/an1.avi, s3/f2per/sa3.avi         a video; its first two letters are the expression
    s1/an1/<frame>.jpg, s1/an1_aligned/  its frames, for instance cropped and aligned by OpenFace; preferred to the video

s1 to s8 may stand in rml-1 and rml-2, as they are delivered.
"""
import re
from pathlib import Path
from typing import Any

from refnet.data.folder import clips_in, code_order, listing, open_clip, opened, tally
from refnet.data.samples import Collection, DataError, Sample, counts
from refnet.pictures import PICTURES

LETTERS = {"an": "anger", "di": "disgust", "fe": "fear", "ha": "happiness", "sa": "sadness", "su": "surprise"}
SUBJECTS = tuple(f"s{k}" for k in range(1, 9))
EXPECTED = {"s1": 25, "s2": 25, "s4": 182}                       # clips of a subject, as far as known; 120 of each class
LAYOUT = "expected s1/an1.avi ... s8/, perhaps in rml-1 and rml-2"


def read(root: Path, cfg: Any) -> Collection:
    """Find the clips below s1 to s8; the subject is that folder, the class the clip's first two letters.

    Raises DataError for a subject, letters or a folder that RML does not have, a clip twice, and a class without clips.
    """
    root = opened(root, LAYOUT)
    classes = code_order(cfg, tuple(LETTERS.values()), "RML")
    tops = [root] + [p for p in listing(root) if p.is_dir() and re.fullmatch(r"rml-?[12]", p.name.lower())]
    people = [p for top in tops for p in listing(top) if p.is_dir() and re.fullmatch(r"s\d+", p.name.lower())]
    if not people:
        raise DataError(f"{root}: no folder s1 to s8 among {', '.join(p.name for p in listing(root)[:5])}; "
                        f"{LAYOUT}; check --data")
    samples, videos, strange = {}, 0, 0
    for person in people:
        subject = person.name.lower()
        if subject not in SUBJECTS:
            raise DataError(f"{person}: no such subject; RML has s1 to s8; rename or remove the folder")
        clips, strangers = _clips(person)
        strange += strangers
        for clip, path in clips.items():
            id, letters = f"{subject}/{clip}", clip.split("/")[-1][:2].lower()
            if letters not in LETTERS:
                raise DataError(f"{path}: begins with {letters!r}, which is no class; expected {', '.join(LETTERS)}; "
                                f"rename or remove it")
            if id in samples:
                raise DataError(f"{path}: clip {id} stands twice, here and in {samples[id].clip.path}; keep one")
            samples[id] = Sample(id, open_clip(path), {"expression": classes.index(LETTERS[letters])}, subject=subject)
            videos += not path.is_dir()
    seen = counts(list(samples.values()), classes)
    if empty := [name for name, n in seen.items() if n == 0]:
        raise DataError(f"{root}: no clip of {', '.join(empty)}; found {tally(seen)}, expected 120 of each; {LAYOUT}")
    each = {s: sum(x.subject == s for x in samples.values()) for s in SUBJECTS}
    found = [f"RML: {len(samples)} clips of 720 expected; {tally(seen, dict.fromkeys(classes, 120))}; "
             f"{tally(each, EXPECTED)}",
             f"RML: {len(samples) - videos} clips as folders of frames, {videos} as videos"
             + (" (whole pictures: their centre square is taken, no face is cropped)" if videos else "")]
    if strange:
        found.append(f"RML: {strange} files beside the clips left out, neither video nor folder of frames")
    return Collection(list(samples.values()), classes, found)


def _clips(folder: Path) -> tuple[dict[str, Path], int]:
    """A subject's clips, {"an1": path, "f2per/sa3": path}, those in a language's folder too; how many other files."""
    paths, rest, _ = clips_in(folder)
    clips, strange = {}, len(rest)
    for path in sorted(paths, key=lambda p: (not p.is_dir(), not p.name.endswith("_aligned"))):     # aligned frames first
        name = path.name.removesuffix("_aligned") if path.is_dir() else path.stem
        inside = [p.suffix.lower() in PICTURES for p in listing(path)] if path.is_dir() else []
        if inside and not any(inside):                             # a language's folder
            inner, more = _clips(path)
            if not inner:
                raise DataError(f"{path}: no clip in this folder; expected pictures, or videos and folders of frames named "
                                f"an1, di2, ...; extract it again, or remove it")
            clips |= {f"{name}/{clip}": p for clip, p in inner.items()}
            strange += more
        elif not path.is_dir() and path.suffix.lower() in PICTURES:
            strange += 1                                           # a picture alone is no clip here
        else:
            clips.setdefault(name, path)
    return clips, strange
