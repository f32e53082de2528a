"""CASME II: micro-expressions at 200 frames a second, coded frame by frame.

    CASME2-coding-20140508.xlsx                  or its export as .csv
    Cropped/sub01/EP02_01f/reg_img46.jpg         faces, cropped and aligned; preferred
    CASME2-RAW/sub01/EP02_01f/img46.jpg          or CASME2_RAW_selected: the whole picture

A clip goes from the onset to the offset of its row, both included; the numbers in the frames' names are the sheet's.
"""
import re
from collections import Counter
from pathlib import Path
from typing import Any

from refnet.data.folder import code_order, listing, opened, part_lines, tally
from refnet.data.samples import Collection, DataError, Sample
from refnet.data.sheets import Row, coded_clip, coded_once, one_clip_each, place, read_sheet, same, sheet_in

THREE = {"disgust": "negative", "repression": "negative", "happiness": "positive", "surprise": "surprise"}
FIVE = {name: name for name in ("disgust", "happiness", "repression", "surprise", "others")}
EMOTIONS = (*FIVE, "sadness", "fear")
EXPECTED = {3: {"all": 145, "negative": 88, "positive": 32, "surprise": 25},                       # engat §4.2
            5: {"all": 246, "disgust": 63, "happiness": 32, "repression": 27, "surprise": 25, "others": 99}}
ROWS = 255
NOT_IN_MEGC = ("sub04/EP12_01f", "sub05/EP09_05f")               # disgust; with both there would be 90 negatives
FRAMES = {"Cropped": False, "CASME2-RAW": True, "CASME2_RAW_selected": True}          # True: more than a face is seen
SHEET, FPS = "CASME2-coding", 200.0
COLUMNS = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion")
LAYOUT = (f"expected {SHEET}-20140508.xlsx (or .csv) with Cropped/sub01/EP02_01f/reg_img46.jpg or "
          f"CASME2-RAW/sub01/EP02_01f/img46.jpg")


def find(root: str | Path) -> Path | None:
    """The folder of CASME II: the root, or one right below it; None where it is not there."""
    return place(root, lambda p: bool(sheet_in(p, SHEET)) or any((p / name).is_dir() for name in FRAMES))


def read(root: Path, cfg: Any) -> Collection:
    """Find the frames of each row of the coding sheet; cfg.classes are the three or the five, cfg.landmarks a folder or "".

    Left out and said: emotions that are no class, and with three classes the two clips that MEGC's list does not have.
    Raises DataError for a sheet, folder, frame or landmark that is missing, a row that cannot be, and a class without clips.
    """
    root = find(opened(root, LAYOUT)) or Path(root)
    asked = len(getattr(cfg, "classes", ()) or THREE)
    of = FIVE if asked == 5 else THREE
    classes = code_order(cfg, tuple(dict.fromkeys(of.values())), "CASME II")
    sheet, top = sheet_in(root, SHEET), next((root / name for name in FRAMES if (root / name).is_dir()), None)
    if not sheet or not top:
        raise DataError(f"{root}: no {'folder of frames' if sheet else 'coding sheet'}; found "
                        f"{', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; check --data")
    samples, seen, lost, left, no_apex = [], {}, Counter(), [], []
    rows = read_sheet(sheet, needed=COLUMNS)
    for row in rows:
        id, emotion = f"{_subject(row)}/{row.text('Filename')}", same(row.text("Estimated Emotion"))
        coded_once(row, id, emotion, EMOTIONS, seen)
        if emotion not in of:
            lost[emotion] += 1
        elif of is THREE and id in NOT_IN_MEGC:
            left.append(f"{id} (row {row.number}, {emotion})")
        else:
            clip, why = coded_clip(row, top / id, COLUMNS[2:5], FPS, FRAMES[top.name], root, getattr(cfg, "landmarks", ""))
            no_apex += [f"{id} ({why})"] if why else []
            samples.append(Sample(id, clip, {"expression": classes.index(of[emotion])}, subject=id.split("/")[0]))
    found = part_lines("CASME II", samples, classes, {"": EXPECTED[len(classes)]})
    found.append(f"CASME II: {sheet.name}: {len(rows)} rows of {ROWS} expected; frames from {top.name}"
                 + (", the face is cut out along the landmarks" if FRAMES[top.name] else ", cropped"))
    if lost:
        found.append(f"CASME II: left out, no class here: {tally(lost)}")
    if left:
        found.append(f"CASME II: left out {' and '.join(left)}: not in MEGC's list, whose {EXPECTED[3]['negative']} negatives "
                     f"are the paper's")
    if no_apex:
        found.append(f"CASME II: without an apex: {', '.join(no_apex)}")
    return Collection(one_clip_each(samples), classes, found)


def _subject(row: Row) -> str:
    """sub01, from 01, 1 or sub01"""
    digits = re.fullmatch("(?:sub)?([0-9]{1,4})", same(row.text("Subject")))
    if not digits:
        raise DataError(f"{row}: Subject is {row.text('Subject')!r}; expected a number such as 01")
    return f"sub{int(digits[1]):02d}"
