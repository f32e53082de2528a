"""SAMM: micro-expressions at 200 frames a second, grey, coded frame by frame.

    SAMM_Micro_FACS_Codes_v2.xlsx        or its export as .csv; free text stands above the header
    006/006_1_2/006_05562.jpg            the whole head, from which the face is cut out

A clip goes from the onset to the offset of its row, both included; the numbers in the frames' names are the sheet's.
"""
import re
from collections import Counter
from pathlib import Path
from typing import Any

from refnet.data.folder import code_order, listing, opened, tally
from refnet.data.samples import Collection, DataError, Sample, counts
from refnet.data.sheets import coded_clip, coded_once, one_clip_each, place, read_sheet, same, sheet_in

THREE = {"anger": "negative", "contempt": "negative", "disgust": "negative", "fear": "negative", "sadness": "negative",
         "happiness": "positive", "surprise": "surprise"}
FIVE = {"disgust": "disgust", "happiness": "happiness", "surprise": "surprise", "other": "others"}
EMOTIONS = (*THREE, "other")
NONE_HERE = "repression"                                         # CASME II's; SAMM only adds to its training
SHEET, FPS = "SAMM_Micro_FACS_Codes", 200.0
COLUMNS = ("Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Estimated Emotion")
LAYOUT = f"expected {SHEET}_v2.xlsx (or .csv) with 006/006_1_2/006_05562.jpg"


def find(root: str | Path) -> Path | None:
    """The folder of SAMM: the root, or one right below it; None where it is not there."""
    return place(root, lambda p: bool(sheet_in(p, SHEET)))


def read(root: Path, cfg: Any) -> Collection:
    """Find the frames of each row of the coding sheet; cfg.classes are CASME II's three or five, cfg.landmarks a folder or "".

    Raises DataError for a sheet, folder, frame or landmark that is missing, a row that cannot be, and a class without clips;
    of the five, repression has none here.
    """
    root = find(opened(root, LAYOUT)) or Path(root)
    asked = len(getattr(cfg, "classes", ()) or set(THREE.values()))
    of = FIVE if asked == 5 else THREE
    classes = code_order(cfg, (*dict.fromkeys(of.values()), *([NONE_HERE] if of is FIVE else [])), "SAMM")
    sheet, top = sheet_in(root, SHEET), _top(root)
    if not sheet or not top:
        raise DataError(f"{root}: no {'folder such as 006' if sheet else 'coding sheet'}; found "
                        f"{', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; check --data")
    samples, seen, lost, no_apex = [], {}, Counter(), []
    rows = read_sheet(sheet, needed=COLUMNS)
    for row in rows:
        number, name, emotion = row.text("Subject"), row.text("Filename"), same(row.text("Estimated Emotion"))
        if not re.fullmatch("[0-9]{1,3}", number):
            raise DataError(f"{row}: Subject is {number!r}; expected a number such as 006")
        id = f"samm-{int(number):03d}/{name}"
        coded_once(row, id, emotion, EMOTIONS, seen)
        if emotion not in of:
            lost[emotion] += 1
            continue
        folder = top / f"{int(number):03d}" / name
        clip, why = coded_clip(row, folder, COLUMNS[2:5], FPS, True, root, getattr(cfg, "landmarks", ""))
        no_apex += [f"{id} ({why})"] if why else []
        samples.append(Sample(id, clip, {"expression": classes.index(of[emotion])}, subject=id.split("/")[0]))
    seen_of = counts(samples, classes)
    if empty := [name for name, n in seen_of.items() if n == 0 and name != NONE_HERE]:
        raise DataError(f"SAMM: no clips of {', '.join(empty)}; found {tally(seen_of)}; expected every class"
                        f"{f' but {NONE_HERE}' if of is FIVE else ''}; is the sheet whole?")
    found = [f"SAMM: {len(samples)} clips; {tally(seen_of)}",
             f"SAMM: {sheet.name}: {len(rows)} rows; whole pictures, the face is cut out along the landmarks"]
    if lost:
        found.append(f"SAMM: left out, no class here: {tally(lost)}")
    if no_apex:
        found.append(f"SAMM: without an apex: {', '.join(no_apex)}")
    return Collection(one_clip_each(samples), classes, found)


def _top(root: Path) -> Path | None:
    """The folder of the subjects' folders, 006 and so on: the root, or one below it."""
    for top in [root] + [p for p in listing(root) if p.is_dir()]:
        if any(p.is_dir() and re.fullmatch("[0-9]{3}", p.name) for p in listing(top)):
            return top
    return None
