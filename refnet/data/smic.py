"""SMIC, its high-speed part (HS): micro-expressions at 100 frames a second, of three classes.

    SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/reg_image1.bmp      faces, cropped; preferred
    SMIC_all_raw/HS/s1/micro/negative/s1_ne_01/image1.bmp              or .jpg: the whole picture
    SMIC-HS-E_annotation.xlsx (sheet HS) and SMIC_HS_E/s20/s20_ne_01/image17581039.jpg        SMIC-E, longer clips

In the first two a clip is its whole folder. SMIC-E's sheet says from where to where; up to three expressions in a clip are
clips of their own. SMIC names no apex. VIS, NIR and non_micro are passed over.
"""
import re
from pathlib import Path
from typing import Any

from refnet.data.folder import code_order, listing, opened, part_lines
from refnet.data.micro import ROWS, MicroClip, filmed
from refnet.data.samples import Collection, DataError, Sample
from refnet.data.sheets import LEAST, Row, expression, numbered, one_clip_each, place, read_sheet, same, sheet_in

LETTERS = {"ne": "negative", "po": "positive", "sur": "surprise"}
CLASSES = tuple(LETTERS.values())
EXPECTED = {"all": 164, "negative": 70, "positive": 51, "surprise": 43}                            # engat §4.2
SUBJECTS = 16
FOLDERS = ("SMIC_all_cropped", "SMIC_all_raw")
SHEET, LONG, FPS = "SMIC-HS-E_annotation", "SMIC_HS_E", 100.0
COLUMNS = ("Subject", "Filename", "OnsetF", "OffsetF", "Emotion")
SPANS = (("OnsetF", "OffsetF"), ("Onset2F", "Offset2F"), ("Onset3F", "Offset3F"))
LAYOUT = (f"expected SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/reg_image1.bmp, the same in SMIC_all_raw, or {SHEET}.xlsx "
          f"with {LONG}/s20/s20_ne_01/image17581039.jpg")


def find(root: str | Path) -> Path | None:
    """The folder of SMIC: the root, or one right below it; None where it is not there."""
    return place(root, lambda p: bool(_short(p)) or bool(sheet_in(p, SHEET)))


def read(root: Path, cfg: Any) -> Collection:
    """Find the clips of HS; cfg.classes are the three in any order, cfg.landmarks a folder or "".

    Raises DataError for other classes, a clip whose name and folder or row disagree, one too short, frames or landmarks
    that are missing, and a class without clips.
    """
    root = find(opened(root, LAYOUT)) or Path(root)
    classes = code_order(cfg, CLASSES, "SMIC")
    short, sheet = _short(root), sheet_in(root, SHEET)
    if not short and not sheet:
        raise DataError(f"{root}: no SMIC HS here; found {', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; check --data")
    found, notes = _folders(short) if short else _rows(sheet)
    samples = []
    for id, (name, folder, frames, first, last) in found.items():
        every = list(frames.values())
        cropped = every[0].name.lower().startswith("reg_")
        source = filmed(folder, every, first, last, root, getattr(cfg, "landmarks", ""))
        samples.append(Sample(id, MicroClip(source, FPS, scene=not cropped), {"expression": classes.index(name)},
                              subject=id.split("/")[0]))
    whole = sum(s.clip.scene for s in samples)
    kind = "cropped" if whole == 0 else "whole pictures, the face is cut out along the landmarks"
    if 0 < whole < len(samples):
        kind = f"of {len(samples) - whole} clips cropped, of {whole} {kind}"
    lines = part_lines("SMIC", samples, classes, {"": EXPECTED})
    lines.append(f"SMIC: {(short or sheet).relative_to(root.parent).as_posix()}: {len({s.subject for s in samples})} subjects of "
                 f"{SUBJECTS} expected; frames {kind}")
    return Collection(one_clip_each(samples), classes, lines + notes)


def _short(root: Path) -> Path | None:
    """The folder HS, from the root above it, SMIC_all_cropped, or HS itself."""
    for hs in (*(root / name / "HS" for name in FOLDERS), root / "HS", root):
        if hs.is_dir() and any((p / "micro").is_dir() for p in listing(hs) if _subject(p.name)):
            return hs
    return None


def _subject(name: str) -> str:
    """smic-s3, from s3, s03 or 3; "" for anything else."""
    digits = re.fullmatch("s?([0-9]{1,3})", same(name))
    return f"smic-s{int(digits[1])}" if digits else ""


def _agrees(what: Any, clip: str, name: str, subject: str) -> None:
    """The clip's name, s1_ne_01, must say the class and the subject that its folder or row says, if it says one."""
    parts = clip.lower().split("_")
    letters = next((part for part in parts if part in LETTERS), None)
    if letters and LETTERS[letters] != name:
        raise DataError(f"{what}: {clip} is {name} here, but its name says {LETTERS[letters]} ({letters}); correct one of them")
    if parts[0].startswith("s") and _subject(parts[0]) not in ("", subject):
        raise DataError(f"{what}: {clip} belongs to {subject.removeprefix('smic-')} here, but its name says {parts[0]}; correct "
                        f"one of them")


def _folders(hs: Path) -> tuple[dict, list[str]]:
    """Every clip below s1/micro/<class>: {id: (class, folder, frames, first, last)}, and what is to be said."""
    found, gaps, strange = {}, [], []
    for person in listing(hs):
        subject = _subject(person.name)
        if not subject or not (person / "micro").is_dir():
            strange.append(person.name)
            continue
        for kind in listing(person / "micro"):
            if kind.name not in CLASSES or not kind.is_dir():
                raise DataError(f"{kind}: no class of SMIC; expected folders {', '.join(CLASSES)}; rename or remove it")
            for folder in listing(kind):
                if not folder.is_dir():
                    strange += [] if folder.suffix.lower() in ROWS else [folder.relative_to(hs).as_posix()]
                    continue
                _agrees(folder.parent, folder.name, kind.name, subject)
                id, frames = f"{subject}/{folder.name}", numbered(folder)
                if id in found:
                    raise DataError(f"{folder}: {id} stands twice, also as {found[id][1]}; remove one")
                if len(frames) < LEAST:
                    raise DataError(f"{folder}: {len(frames)} frames; expected {LEAST} or more; unpack it again")
                if missing := max(frames) - min(frames) + 1 - len(frames):
                    gaps.append(f"{id} ({missing})")
                found[id] = kind.name, folder, frames, 0, len(frames) - 1
    notes = [f"SMIC: numbers missing between the first frame and the last: {', '.join(gaps)}"] if gaps else []
    if strange:
        more = f" and {len(strange) - 8} more" if len(strange) > 8 else ""
        notes.append(f"SMIC: left out, no clip: {', '.join(strange[:8])}{more}")
    return found, notes


def _rows(sheet: Path) -> tuple[dict, list[str]]:
    """Every expression of SMIC-E's sheet, as in `_folders`."""
    top = next((p for above in ("", "*/", "*/*/") for p in sorted(sheet.parent.glob(above + LONG)) if p.is_dir()), None)
    if not top:
        raise DataError(f"{sheet.parent}: no folder {LONG} beside {sheet.name}, nor one or two folders down; {LAYOUT}")
    people = [p for p in listing(top) if p.is_dir()]
    clips = {(_subject(person.name), p.name): p for person in people for p in listing(person) if p.is_dir()}
    found, rows = {}, read_sheet(sheet, needed=COLUMNS, sheet="HS")
    for row in rows:
        clip, name, subject = row.text("Filename"), same(row.text("Emotion")), _subject(row.text("Subject"))
        if not subject:
            raise DataError(f"{row}: Subject is {row.text('Subject')!r}; expected a number such as 20")
        if name not in CLASSES:
            raise DataError(f"{row}: {clip} is coded {name!r}; expected one of {', '.join(CLASSES)}; correct the row")
        _agrees(row, clip, name, subject)
        if f"{subject}/{clip}" in found:
            raise DataError(f"{row}: {clip} stands twice; remove one row")
        if (subject, clip) not in clips:
            raise DataError(f"{row}: no folder {top / subject.removeprefix('smic-') / clip}; expected the frames of this clip; "
                            f"unpack them, or remove the row")
        folder = clips[subject, clip]
        frames = numbered(folder)
        for k, columns in enumerate(_filled(row), start=1):
            id = f"{subject}/{clip}" + (f"/{k}" if k > 1 else "")
            found[id] = name, folder, frames, *expression(row, folder, frames, columns)
    return found, [f"SMIC: {len(rows)} rows of 157 expected, {len(found)} expressions"]


def _filled(row: Row) -> list[tuple[str, str]]:
    """The columns of the row's expressions: the first, and the second and third where they are filled."""
    return [SPANS[0]] + [span for span in SPANS[1:] if any(row.frame(column) is not None for column in span)]
