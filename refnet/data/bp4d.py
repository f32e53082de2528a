"""BP4D: 41 people, 8 tasks each, 328 videos; 146,847 frames coded for action units.

    AUCoding/AU_OCC/F001_T1.csv      header 0,1,2,...,99: column 0 is the frame's number, column k is unit k;
                                     0 absent, 1 present, 9 unknown
    F001/T1/2440.jpg                 the pictures, below the root, its img or one other folder; also 02440.jpg and .png

Without AUCoding, the authors' lists are read (au_lists.py).
"""
import re
from pathlib import Path
from typing import Any

from refnet.data.au_frames import AUSet, Session, collect, fold_of, lines, units, whole
from refnet.data.au_lists import find, read_lists
from refnet.data.folder import listing, opened
from refnet.data.samples import Collection, DataError
from refnet.data.sheets import place

BP4D = AUSet(
    name="BP4D", picture="F001/T1/2440.jpg", aus=(1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24),
    parts=("F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008",
           "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005",
           "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014"),
    expected={"1": 46034, "2": 50182, "3": 50631},
    weights=(1.343, 1.690, 1.248, 0.561, 0.433, 0.436, 0.457, 0.541, 1.408, 0.723, 1.493, 1.667))
CODES = {"0": 0, "1": 1, "9": -1}
LAYOUT = ("expected AUCoding/AU_OCC/F001_T1.csv and pictures F001/T1/2440.jpg, perhaps in img; or the authors' "
          "list/BP4D_test_img_path_fold1.txt, list/BP4D_test_label_fold1.txt and so on with pictures in img")


def read(root: Path, cfg: Any) -> Collection:
    """Join the codes of each video with its pictures; cfg.aus are the units, in the order of the target.

    Left out and counted: coded frames without a picture, pictures without a code; 9 becomes −1. Raises DataError for a
    missing column, another code than 0, 1 and 9, a row of another length, a frame twice, a subject that is in no part, and
    a video without pictures.
    """
    root, aus = opened(root, LAYOUT), units(cfg.aus)
    here, listed = place(root, lambda p: (p / "AUCoding").is_dir()), find(root, BP4D.name)
    if here is None and listed is None:
        raise DataError(f"{root}: neither AUCoding nor lists; found {', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; "
                        f"check --data")
    if here is None:
        return read_lists(listed, BP4D, aus)
    where = here / "AUCoding" / "AU_OCC"
    files = [p for p in listing(where) if p.suffix.lower() == ".csv"] if where.is_dir() else []
    if not files:
        raise DataError(f"{where}: no .csv in it; {LAYOUT}; check --data")
    sessions, targets = {}, {}
    for file in files:
        named = re.fullmatch("([A-Z][0-9]{3})_(T[1-8])", file.stem)
        if not named:
            raise DataError(f"{file}: expected a name such as F001_T1.csv, subject and task T1 to T8; rename or remove it")
        part = fold_of(BP4D, named[1], file)
        sessions[f"{named[1]}/{named[2]}"] = Session(file, part, _coded(file, aus, targets))
    notes = [f"BP4D: read from AUCoding; the lists in {listed / 'list'} are not used"] if listed else []
    return collect(BP4D, aus, sessions, (here, root), notes)


def _coded(file: Path, aus: tuple[int, ...], targets: dict[tuple[str, ...], dict]) -> dict[int, dict]:
    """The target of each coded frame; `targets` keeps those met so far, by what the cells say."""
    head, *rows = lines(file)
    names = [name.strip() for name in head.split(",")]
    for name in ("0", *map(str, aus)):
        if names.count(name) != 1:
            raise DataError(f"{file}: line 1, the header, has {names.count(name)} columns {name!r} "
                            f"({'the frame' if name == '0' else f'unit {name}'}); found {head[:60]!r}; expected 0,1,2,...,99; "
                            f"correct it, or --aus")
    if not rows:
        raise DataError(f"{file}: nothing under the header; expected a row for each coded frame; copy the file again")
    frame, columns, found = names.index("0"), [names.index(str(au)) for au in aus], {}
    for n, row in enumerate(rows, start=2):
        cells = row.split(",")
        if len(cells) != len(names):
            raise DataError(f"{file}: line {n} has {len(cells)} columns; expected {len(names)} as in the header; copy the file "
                            f"again")
        if (number := whole(cells[frame])) is None:
            raise DataError(f"{file}: line {n}: the frame is {cells[frame][:20]!r}; expected a number; correct it")
        if number in found:
            raise DataError(f"{file}: line {n}: frame {number} is coded twice; expected each once; remove one row")
        codes = tuple([cells[k] for k in columns])
        if codes not in targets:
            if bad := [(au, code) for au, code in zip(aus, codes, strict=True) if code.strip() not in CODES]:
                raise DataError(f"{file}: line {n}: unit {bad[0][0]} is {bad[0][1][:20]!r}; expected 0, 1, or 9 for unknown; "
                                f"correct it")
            targets[codes] = {"au": tuple(CODES[code.strip()] for code in codes)}
        found[number] = targets[codes]
    return found
