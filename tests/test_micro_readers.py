"""Readers of micro-expressions and their coding sheets: tiny copies of each layout, drawn and zipped here."""
import re
import zipfile
from types import SimpleNamespace
from xml.sax.saxutils import escape

import numpy as np
import pytest
import torch
from PIL import Image

from refnet.data import casme2, samm, smic
from refnet.data.protocols import leave_one_subject_out
from refnet.data.samples import DataError
from refnet.data.sheets import read_sheet

THREE = ("negative", "positive", "surprise")
FIVE = ("disgust", "happiness", "repression", "surprise", "others")
CASME2 = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units", "Estimated Emotion"]
SMIC_E = ["Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", "Onset3F", "Offset3F", None, "FirstF", "LastF",
          "TotalMF1", "TotalVL", "Emotion"]
SAMM = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro", "Action Units",
        "Estimated Emotion", "Objective Classes", "Notes"]
MAIN, TIES = "http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://schemas.openxmlformats.org/"


def settings(classes=THREE, landmarks=""):
    return SimpleNamespace(classes=classes, landmarks=str(landmarks))


def refused(*words):
    """A DataError of one line that has all these words in it."""
    return pytest.raises(DataError, match="(?s)^(?!.*\n)" + "".join(f"(?=.*{re.escape(w)})" for w in words))


# A workbook by hand

def letters(k):
    return (chr(64 + k // 26) if k >= 26 else "") + chr(65 + k % 26)


def xlsx(path, rows, name="Sheet1", others=(), parts=None):
    """Texts are shared, ("in", text) stands in its cell, ("rich", a, b) is in two fonts, ("xml", ...) is as it is written.

    others   names of empty sheets in front     parts   files of the zip to replace; None removes one
    """
    shared, body = [], []
    for n, row in enumerate(rows, start=1):
        cells = []
        for k, cell in enumerate(row):
            where = f'r="{letters(k)}{n}"'
            if cell is None:
                cells.append(f"<c {where}/>" if k % 2 else "")                       # blank: an empty cell, or no cell at all
            elif isinstance(cell, int | float):
                cells.append(f"<c {where}><v>{cell}</v></c>")
            elif isinstance(cell, tuple) and cell[0] == "in":
                cells.append(f'<c {where} t="inlineStr"><is><t>{escape(cell[1])}</t></is></c>')
            elif isinstance(cell, tuple) and cell[0] == "xml":
                cells.append(cell[1])
            else:
                runs = cell[1:] if isinstance(cell, tuple) else ()
                fonts = "".join(f"<r><rPr><b/></rPr><t>{escape(run)}</t></r>" for run in runs) + '<rPh sb="0" eb="1"><t>aid</t></rPh>'
                shared.append(fonts if runs else f'<t xml:space="preserve">{escape(cell)}</t>')
                cells.append(f'<c {where} t="s"><v>{len(shared) - 1}</v></c>')
        if any(cells):
            body.append(f'<row r="{n}">{"".join(cells)}</row>')
    sheets = [*others, name]
    empty = f'<worksheet xmlns="{MAIN}"><sheetData/></worksheet>'
    files = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "xl/workbook.xml": '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\r\n'
        f'<workbook xmlns="{MAIN}" xmlns:r="{TIES}r"><sheets>' + "".join(
            f'<sheet name="{s}" sheetId="{k}" r:id="rId{k}"/>' for k, s in enumerate(sheets, start=1)) + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{TIES}p">' + "".join(
            f'<Relationship Id="rId{k}" Type="{TIES}worksheet" Target="{"/xl/" if k % 2 else ""}worksheets/sheet{k}.xml"/>'
            for k in range(1, len(sheets) + 1)) +
        f'<Relationship Id="rId99" Type="{TIES}sharedStrings" Target="sharedStrings.xml"/></Relationships>',
        "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}">' + "".join(f"<si>{text}</si>" for text in shared) + "</sst>",
        **{f"xl/worksheets/sheet{k}.xml": empty for k in range(1, len(sheets))},
        f"xl/worksheets/sheet{len(sheets)}.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(body)}</sheetData></worksheet>',
        **(parts or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as whole:
        for part, text in files.items():
            if text is not None:
                whole.writestr(part, text)
    return path


def table(path, rows, mark=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\r\n".join(mark.join("" if cell is None else str(cell) for cell in row) for row in rows), encoding="utf-8-sig")
    return path


# Frames and landmarks

def frames(folder, pattern, numbers, grey=lambda n: n % 256):
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        Image.new("RGB", (8, 6), (grey(n),) * 3).save(folder / pattern.format(n))


def points(numbers):
    """Point k of frame n is (n + k, 2k): every number says which it is."""
    k = np.arange(68)
    return np.stack([np.stack([n + k, 2. * k], 1) for n in numbers]).astype(np.float32)


def landmarks(path, numbers):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, points(numbers))
    else:
        path.write_text("\n".join(",".join(map(str, face.flatten())) for face in points(numbers)))


# The sheet

def cells(rows):
    return [(row.number, row.cells) for row in rows]


def test_sheet_by_names_not_by_places(tmp_path):
    """Free text above, blank columns, numbers as text and text as numbers, runs of fonts, a text in its cell, blank rows."""
    path = xlsx(tmp_path / "a.xlsx", [
        ["Codes of SAMM", None, "Subject to change"], [],
        [None, " Subject ", ("rich", "On", "set  Frame"), None, ("in", "FILENAME\n"), "X_1"],
        [None, "01", 46.0, "lost", ("in", " EP02_01f "), 0.5],
        [], [None, None, None, "only outside the columns"],
        [None, 2, "59", None, ("rich", "EP", "03"), "1E2"],
        [None, "3", ("xml", '<c r="C8"><v>1E2</v></c>'), None, "a < b", ("xml", "<c><v>7</v></c>")]])
    assert cells(read_sheet(path, needed=("Subject", "Filename", "onset frame"))) == [
        (4, {"subject": "01", "onset frame": "46", "filename": "EP02_01f", "x_1": "0.5"}),
        (7, {"subject": "2", "onset frame": "59", "filename": "EP03", "x_1": "1E2"}),
        (8, {"subject": "3", "onset frame": "100", "filename": "a < b", "x_1": "7"})]


@pytest.mark.parametrize("mark", [",", ";"])
def test_sheet_export(tmp_path, mark):
    rows = [["Codes", None, None], ["Subject", None, "Filename"], ["01", "x", "EP02_01f"], [None, None, None], [2, None, " EP03 "]]
    assert cells(read_sheet(table(tmp_path / "a.csv", rows, mark))) == [
        (3, {"subject": "01", "filename": "EP02_01f"}), (5, {"subject": "2", "filename": "EP03"})]


def test_sheet_cells_without_references_and_columns_beyond_z(tmp_path):
    wide = [f"c{k}" for k in range(27)] + ["Subject", "Filename"]                     # AB and AC
    path = xlsx(tmp_path / "a.xlsx", [wide, [None] * 27 + ["01", "EP02_01f"]])
    row, = read_sheet(path)
    assert row.cells == {**{f"c{k}": "" for k in range(27)}, "subject": "01", "filename": "EP02_01f"}
    bare = (f'<worksheet xmlns="{MAIN}"><sheetData><row><c t="str"><v>Subject</v></c><c t="str"><v>Filename</v></c></row>'
            '<row><c><v>1.0</v></c><c t="str"><v>EP</v></c></row></sheetData></worksheet>')
    path = xlsx(tmp_path / "b.xlsx", [], parts={"xl/worksheets/sheet1.xml": bare, "xl/sharedStrings.xml": "<sst/>"})
    assert cells(read_sheet(path)) == [(2, {"subject": "1", "filename": "EP"})]


def test_sheet_by_its_name_or_the_first(tmp_path):
    path = xlsx(tmp_path / "a.xlsx", [["Subject", "Filename"], ["20", "s20_ne_01"]], name="HS", others=("VIS",))
    assert [row.text("Filename") for row in read_sheet(path, sheet="hs")] == ["s20_ne_01"]
    with refused("a.xlsx: no row with a cell 'Subject' in 0 rows"):
        read_sheet(path)
    with refused("no sheet NIR", "found VIS, HS"):
        read_sheet(path, sheet="NIR")


def test_sheet_prefers_the_row_that_has_the_columns(tmp_path):
    rows = [["Subject", "the participant's number"], ["Filename", "the clip"], ["Subject", "Filename"], ["01", "EP"]]
    assert cells(read_sheet(table(tmp_path / "a.csv", rows))) == [(4, {"subject": "01", "filename": "EP"})]


def test_sheet_refusals(tmp_path):
    def book(**parts):
        return xlsx(tmp_path / "a.xlsx", [["Subject", "Filename"], ["01", "EP"]],
                    parts={k.replace("__", "/") + ".xml": v for k, v in parts.items()})

    with refused("a.xlsx: no such file"):
        read_sheet(tmp_path / "a.xlsx")
    (tmp_path / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with refused("a.xls: ", "'.xls'", "save it"):
        read_sheet(tmp_path / "a.xls")
    (tmp_path / "a.xlsx").write_bytes(b"\xd0\xcf\x11\xe0" * 100)
    with refused("a.xlsx: not a whole .xlsx", "password"):
        read_sheet(tmp_path / "a.xlsx")
    whole = book().read_bytes()
    (tmp_path / "a.xlsx").write_bytes(whole[:-40])
    with refused("a.xlsx: not a whole .xlsx"):
        read_sheet(tmp_path / "a.xlsx")
    flipped = bytearray(whole)
    flipped[whole.index(b"xl/workbook.xml") + 40] ^= 0xff
    (tmp_path / "a.xlsx").write_bytes(flipped)
    with refused("a.xlsx: not a whole .xlsx"):
        read_sheet(tmp_path / "a.xlsx")
    with refused("no part 'xl/workbook.xml'"):
        read_sheet(book(xl__workbook=None))
    with refused("xl/workbook.xml is not XML"):
        read_sheet(book(xl__workbook="<workbook>"))
    with refused("xl/workbook.xml is not XML in UTF-8"):
        read_sheet(book(xl__workbook="<workbook/>".encode("utf-16")))
    with refused("asks for shared text '1' of 1"):
        read_sheet(book(xl__sharedStrings="<sst><si><t>Subject</t></si></sst>"))
    with refused("no row with a cell 'Subject'", "the first has Person, Filename", "expected a header"):
        read_sheet(xlsx(tmp_path / "b.xlsx", [["Person", "Filename"]]))
    with refused("xl/sharedStrings.xml declares a document type"):
        read_sheet(book(xl__sharedStrings='<!DOCTYPE sst SYSTEM "sst.dtd"><sst/>'))
    with refused("b.xlsx: row 2, the header", "no column 'OnsetFrame'", "found Subject, Filename, Onset Frame", "did you mean Onset F"):
        read_sheet(xlsx(tmp_path / "b.xlsx", [["x"], ["Subject", "Filename", "Onset Frame"]]), needed=("Subject", "OnsetFrame"))
    with refused("row 1, the header", "two columns 'Filename'"):
        read_sheet(xlsx(tmp_path / "b.xlsx", [["Subject", "Filename", "filename "]]))
    with refused("c.csv: no row with a cell 'Subject'", "nothing"):
        read_sheet(table(tmp_path / "c.csv", []))


def test_sheet_does_not_unpack_a_bomb(tmp_path):
    path = xlsx(tmp_path / "a.xlsx", [["Subject"]], parts={"xl/sharedStrings.xml": " " * 51_000_000})
    assert path.stat().st_size < 100_000
    with refused("a.xlsx: its part xl/sharedStrings.xml unpacks to more than 50 MB"):
        read_sheet(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp037"])
def test_sheet_does_not_multiply_entities(tmp_path, encoding):
    """A text of entities that grow tenfold each, whatever its encoding is said to be."""
    ten = "".join(f'<!ENTITY {name} "{part * 10}">' for name, part in (("b", "&a;"), ("c", "&b;"), ("d", "&c;")))
    lol = f'<!DOCTYPE sst [<!ENTITY a "ha">{ten}]>'
    text = f'<?xml version="1.0" encoding="{encoding}"?>'
    text = text.encode() + (lol + "<sst><si><t>&d;</t></si></sst>").encode(encoding) if encoding == "cp037" else (
        text + lol + "<sst><si><t>&d;</t></si></sst>").encode(encoding)
    with refused("a.xlsx: its part xl/sharedStrings.xml", "declares" if encoding == "utf-8" else "is not XML in UTF-8"):
        read_sheet(xlsx(tmp_path / "a.xlsx", [["Subject"]], parts={"xl/sharedStrings.xml": text}))


# CASME II

def casme2_rows():
    return [CASME2,
            ["01", "EP02_01f", None, 8, 10, 12, None, 12, "happiness"],
            ["01", "EP19_05f", None, "46", "59", "49", None, "4+L10", "disgust"],     # numbers as text; the apex lies outside
            ["02", "EP01_11f", None, 46.0, 46.0, 48.0, None, "1+L2", "surprise"],
            ["02", "EP06_01f", None, 100, 102, 102, None, "12+15", "repression"],
            ["04", "EP12_01f", None, 3, "/", 5, None, 4, "disgust"],
            ["05", "EP09_05f", None, 3, 4, 5, None, 4, "disgust"],
            ["26", "EP18_50", None, 1, 2, 3, None, 4, "others"],
            ["17", "EP08_03", None, 1, 2, 3, None, 4, "sadness"],
            ["17", "EP08_04", None, 1, 2, 3, None, 4, "fear"]]


CLIPS = {"sub01/EP02_01f": range(8, 13), "sub01/EP19_05f": range(46, 50), "sub02/EP01_11f": range(46, 49),
         "sub02/EP06_01f": range(100, 103), "sub04/EP12_01f": range(3, 6), "sub05/EP09_05f": range(3, 6),
         "sub26/EP18_50": range(1, 4)}


def casme2_tree(root, rows=None, where="Cropped", pattern="reg_img{}.jpg", around=0):
    """No frames of sadness and fear, which are no class; landmarks beside each clip's folder."""
    xlsx(root / "CASME2-coding-20140508.xlsx", rows or casme2_rows())
    for clip, numbers in CLIPS.items():
        numbers = range(max(1, numbers[0] - around), numbers[-1] + 1 + around)
        frames(root / where / clip, pattern, numbers)
        landmarks(root / where / f"{clip}.csv", numbers)
    return root


def test_casme2_three_classes_leave_two_clips_out_by_name(tmp_path):
    got = casme2.read(casme2_tree(tmp_path), settings())
    assert got.classes == THREE
    assert [(s.id, s.subject, s.part, THREE[s.target["expression"]], len(s.clip), s.clip.apex, s.clip.scene, s.clip.fps)
            for s in got.samples] == [
        ("sub01/EP02_01f", "sub01", "", "positive", 5, 2, False, 200),
        ("sub01/EP19_05f", "sub01", "", "negative", 4, None, False, 200),
        ("sub02/EP01_11f", "sub02", "", "surprise", 3, 0, False, 200),
        ("sub02/EP06_01f", "sub02", "", "negative", 3, 2, False, 200)]
    assert got.found == [
        "CASME II: 4 clips of 145 expected; negative 2 of 88, positive 1 of 32, surprise 1 of 25",
        "CASME II: CASME2-coding-20140508.xlsx: 9 rows of 255 expected; frames from Cropped, cropped",
        "CASME II: left out, no class here: others 1, sadness 1, fear 1",
        "CASME II: left out sub04/EP12_01f (row 6, disgust) and sub05/EP09_05f (row 7, disgust): not in MEGC's list, whose 88 "
        "negatives are the paper's",
        "CASME II: without an apex: sub01/EP19_05f (row 3: 59 is outside 46 to 49)"]
    assert [fold.id for fold in leave_one_subject_out(got.samples, select=0)] == ["sub01", "sub02"]


def test_casme2_five_classes_keep_both(tmp_path):
    """engat (§4.2): 63 of disgust are all of the sheet's; the codes follow the settings."""
    order = ("others", "surprise", "disgust", "happiness", "repression")
    got = casme2.read(casme2_tree(tmp_path), settings(order))
    assert [(s.id, order[s.target["expression"]]) for s in got.samples][4:] == [
        ("sub04/EP12_01f", "disgust"), ("sub05/EP09_05f", "disgust"), ("sub26/EP18_50", "others")]
    assert got.found[0] == ("CASME II: 7 clips of 246 expected; others 1 of 99, surprise 1 of 25, disgust 3 of 63, "
                            "happiness 1 of 32, repression 1 of 27")
    assert got.found[2:] == ["CASME II: left out, no class here: sadness 1, fear 1",
                             "CASME II: without an apex: sub01/EP19_05f (row 3: 59 is outside 46 to 49), sub04/EP12_01f (row 6: /)"]


@pytest.mark.parametrize("where", ["CASME2-RAW", "CASME2_RAW_selected"])
def test_casme2_whole_pictures_are_cut_at_onset_and_offset(tmp_path, device, where):
    """Frames 6 to 14 lie there, img9 before img10; the expression is 8 to 12, and so are its landmarks."""
    got = casme2.read(casme2_tree(tmp_path, where=where, pattern="img{}.jpg", around=2), settings())
    clip = got.samples[0].clip
    assert len(clip) == 5 and clip.apex == 2 and all(s.clip.scene for s in got.samples)
    assert got.found[1].endswith(f"frames from {where}, the face is cut out along the landmarks")
    grey = clip.read([0, 1, 2, 4]).to(device).float().mean((1, 2, 3))
    torch.testing.assert_close(grey, torch.tensor([8., 9., 10., 12.], device=device), atol=0.6, rtol=0)
    torch.testing.assert_close(clip.source.points().to(device), torch.from_numpy(points(range(8, 13))[:, 17:]).to(device))


def test_casme2_faces_are_preferred_and_the_root_may_lie_above(tmp_path):
    root = casme2_tree(tmp_path / "CASME2")
    casme2_tree(root, where="CASME2-RAW", pattern="img{}.jpg")
    (tmp_path / "other").mkdir()
    assert casme2.find(root) == casme2.find(tmp_path) == root
    assert casme2.find(tmp_path / "other") is None and casme2.find(tmp_path / "nowhere") is None
    got = casme2.read(tmp_path, settings())
    assert not any(s.clip.scene for s in got.samples) and got.found[1].endswith("frames from Cropped, cropped")
    (root / "Cropped").rename(tmp_path / "other" / "Cropped")
    with refused("the same data set 2 times, in CASME2, other"):
        casme2.find(tmp_path)


@pytest.mark.parametrize("mark", [",", ";"])
def test_casme2_compact_export(tmp_path, mark):
    """No blank columns, 01 became 1, the emotion's case differs, sub04's apex is filled with 300."""
    root = casme2_tree(tmp_path)
    (root / "CASME2-coding-20140508.xlsx").unlink()
    rows = [[cell for k, cell in enumerate(row) if k not in (2, 6)] for row in casme2_rows()]
    rows = [rows[0]] + [[int(row[0]), *row[1:-1], row[-1].title()] for row in rows[1:]]
    rows[5][3] = 300
    table(root / "CASME2-coding-20140508.csv", rows, mark)
    got = casme2.read(root, settings(FIVE))
    assert [s.id for s in got.samples] == list(CLIPS)
    assert got.found[-1].endswith("sub04/EP12_01f (row 6: 300 is outside 3 to 5)")
    xlsx(root / "CASME2-coding-20140508.xlsx", casme2_rows())
    assert "CASME2-coding-20140508.xlsx" in casme2.read(root, settings(FIVE)).found[1]           # the workbook is preferred
    xlsx(root / "CASME2-coding-20190701.xlsx", casme2_rows())
    with refused("2 coding sheets, CASME2-coding-20140508.xlsx, CASME2-coding-20190701.xlsx", "keep one"):
        casme2.read(root, settings(FIVE))


@pytest.mark.parametrize("row, words", [
    (["01", "EP02_01f", None, 8, 10, 12, None, 12, "joy"], ("row 2", "sub01/EP02_01f", "'joy'", "happiness, repression")),
    (["01", "EP02_01f", None, 8, 10, 14, None, 12, "happiness"], ("row 2", "frames 8 to 14", "found 5 of 7", "first missing is 13",
                                                                 "5 from reg_img8.jpg to reg_img12.jpg")),
    (["01", "EP02_02f", None, 8, 10, 12, None, 12, "happiness"], ("row 2", "no folder", "sub01/EP02_02f")),
    (["x1", "EP02_01f", None, 8, 10, 12, None, 12, "happiness"], ("row 2", "Subject is 'x1'", "such as 01")),
    (["01", None, None, 8, 10, 12, None, 12, "happiness"], ("row 2", "Filename is blank")),
    (["01", "EP02_01f", None, None, 10, 12, None, 12, "happiness"], ("row 2", "OnsetFrame is blank")),
    (["01", "EP02_01f", None, 8, 10, "/", None, 12, "happiness"], ("row 2", "OffsetFrame is blank")),
    (["01", "EP02_01f", None, 8, "ten", 12, None, 12, "happiness"], ("row 2", "ApexFrame is 'ten'", "the number of a frame")),
    (["01", "EP02_01f", None, 8, 10, 9.5, None, 12, "happiness"], ("row 2", "OffsetFrame is '9.5'")),
    (["01", "EP02_01f", None, 8, 9, 9, None, 12, "happiness"], ("row 2", "from OnsetFrame 8 to OffsetFrame 9", "3 frames or more")),
    (["01", "EP02_01f", None, 12, 9, 8, None, 12, "happiness"], ("row 2", "from OnsetFrame 12 to OffsetFrame 8")),
    (["01", "EP19_05f", None, 46, 47, 49, None, 12, "disgust"], ("row 3", "sub01/EP19_05f stands twice, also in row 2"))])
def test_casme2_rows_that_cannot_be(tmp_path, row, words):
    rows = casme2_rows()
    rows[1] = row
    with refused("CASME2-coding-20140508.xlsx: ", *words):
        casme2.read(casme2_tree(tmp_path, rows), settings())


def test_casme2_refusals(tmp_path):
    root = casme2_tree(tmp_path / "set")
    clip = root / "Cropped" / "sub01" / "EP02_01f"
    with refused("nowhere: no such folder", "CASME2-coding"):
        casme2.read(tmp_path / "nowhere", settings())
    with refused("the classes are negative, positive, surprise", "the settings ask for disgust, joy", "--classes"):
        casme2.read(root, settings(("disgust", "joy")))
    with refused("the classes are disgust, happiness, repression, surprise, others"):
        casme2.read(root, settings((*FIVE[:4], "sadness")))
    (clip / "reg_img10.jpg").rename(clip / "last.jpg")
    with refused("last.jpg: no number at the end of its name", "img46.jpg"):
        casme2.read(root, settings())
    (clip / "last.jpg").rename(clip / "reg_img010.png")
    Image.new("RGB", (8, 6)).save(clip / "img10.jpg")
    with refused("frame 10 stands twice", "img10.jpg", "reg_img010.png"):
        casme2.read(root, settings())
    (clip / "reg_img010.png").unlink()
    (clip / "img10.jpg").unlink()
    with refused("row 2", "found 4 of 5, the first missing is 10"):
        casme2.read(root, settings())
    for path in clip.iterdir():
        path.unlink()
    (clip / "notes.txt").write_text("")
    with refused("EP02_01f: a clip without frames; found notes.txt"):
        casme2.read(root, settings())
    xlsx(root / "CASME2-coding-20140508.xlsx", casme2_rows()[:1] + casme2_rows()[2:])
    with refused("no clips of positive", "negative 2, positive 0, surprise 1"):
        casme2.read(root, settings())
    xlsx(root / "CASME2-coding-20140508.xlsx", [CASME2[:3] + CASME2[4:]])
    with refused("no column 'OnsetFrame'", "did you mean OffsetFrame?"):
        casme2.read(root, settings())
    (root / "CASME2-coding-20140508.xlsx").unlink()
    with refused("no coding sheet; found Cropped"):
        casme2.read(root, settings())
    xlsx(root / "CASME2-coding-20140508.xlsx", casme2_rows())
    (root / "Cropped").rename(root / "Faces")
    with refused("no folder of frames; found CASME2-coding-20140508.xlsx, Faces", "CASME2-RAW/sub01"):
        casme2.read(root, settings())


# Landmarks

@pytest.mark.parametrize("place, given", [
    ("Cropped/sub01/EP02_01f.npy", ""), ("Cropped/sub01/EP02_01f/EP02_01f.csv", ""), ("Cropped/sub01/EP02_01f/landmarks.csv", ""),
    ("points/sub01/EP02_01f.csv", "points"), ("points/EP02_01f.csv", "points")])
def test_landmarks_where_they_may_lie(tmp_path, device, place, given):
    root = casme2_tree(tmp_path)
    (root / "Cropped" / "sub01" / "EP02_01f.csv").unlink()
    landmarks(root / place, range(8, 13))
    got = casme2.read(root, settings(landmarks=root / given if given else ""))
    wanted = torch.from_numpy(points(range(8, 13))[:, 17:]).to(device)                          # the inner 51
    torch.testing.assert_close(got.samples[0].clip.source.points().to(device), wanted)


def test_landmarks_a_file_a_frame(tmp_path, device):
    """A .pts counts pixels from 1."""
    root = casme2_tree(tmp_path, where="CASME2-RAW", pattern="img{}.jpg", around=2)
    folder = root / "CASME2-RAW" / "sub01" / "EP02_01f"
    folder.with_suffix(".csv").unlink()
    for n, face in zip(range(6, 15), points(range(6, 15)), strict=True):
        body = "\n".join(f"{x + 1} {y + 1}" for x, y in face)
        (folder / f"img{n}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}\n}}\n")
    clip = casme2.read(root, settings()).samples[0].clip
    torch.testing.assert_close(clip.source.points().to(device), torch.from_numpy(points(range(8, 13))[:, 17:]).to(device))
    (folder / "img10.pts").unlink()
    with refused("img10.pts: no such file", "img8.pts"):
        casme2.read(root, settings())


def test_landmarks_missing_or_too_few(tmp_path):
    root = casme2_tree(tmp_path)
    landmarks(root / "Cropped" / "sub01" / "EP02_01f.csv", range(8, 12))
    with refused("4 rows of landmarks; expected 5"):
        casme2.read(root, settings()).samples[0].clip.source.points()
    (root / "Cropped" / "sub01" / "EP02_01f.csv").unlink()
    with refused("EP02_01f: no landmarks for this clip", "--landmarks DIR", "5 frames", "OpenFace"):
        casme2.read(root, settings())


def test_landmarks_of_a_name_that_two_subjects_share(tmp_path):
    """DIR/EP02_01f.csv cannot be sub01's and sub02's; below their own folders both are found."""
    rows = casme2_rows()
    rows[3][1] = "EP02_01f"
    root = casme2_tree(tmp_path / "set", rows)
    frames(root / "Cropped" / "sub02" / "EP02_01f", "reg_img{}.jpg", range(46, 49))
    landmarks(tmp_path / "points" / "EP02_01f.csv", range(3))
    with refused("EP02_01f.csv: landmarks of two clips", "sub01/EP02_01f and", "sub02/EP02_01f.csv", "--landmarks DIR"):
        casme2.read(root, settings(landmarks=tmp_path / "points"))
    landmarks(tmp_path / "points" / "sub02" / "EP02_01f.csv", range(3))
    casme2.read(root, settings(landmarks=tmp_path / "points"))


# SMIC

SMIC_CLIPS = {"s1/micro/negative/s1_ne_01": 4, "s1/micro/positive/s1_po_01": 3,
              "s3/micro/surprise/s3_sur_02": 5, "s3/micro/negative/s3_ne_10": 3}


def smic_tree(hs, pattern="reg_image{:03d}.bmp", first=9):
    for clip, n in SMIC_CLIPS.items():
        frames(hs / clip, pattern, range(first, first + n))
        landmarks(hs / f"{clip}.csv", range(first, first + n))
    frames(hs / "s1" / "non_micro" / "s1_n1", pattern, (1, 2, 3))
    return hs


@pytest.mark.parametrize("pattern, scene", [("reg_image{}.bmp", False), ("image{}.bmp", True), ("image{}.jpg", True)])
@pytest.mark.parametrize("given", ["", "SMIC_all", "SMIC_all/HS"])
def test_smic_a_clip_is_a_folder(tmp_path, device, pattern, scene, given):
    top = "SMIC_all_raw" if scene else "SMIC_all_cropped"
    smic_tree(tmp_path / "set" / top / "HS", pattern)
    frames(tmp_path / "set" / top / "VIS" / "s9" / "micro" / "negative" / "s9_ne_01", "image{}.bmp", (1, 2, 3))
    frames(tmp_path / "set" / top / "NIR" / "s9" / "micro" / "negative" / "s9_ne_01", "image{}.bmp", (1, 2, 3))
    root = tmp_path / "set" / given.replace("SMIC_all", top)
    order = ("surprise", "negative", "positive")
    got = smic.read(root, settings(order))
    assert got.classes == order
    assert [(s.id, s.subject, order[s.target["expression"]], len(s.clip)) for s in got.samples] == [
        ("smic-s1/s1_ne_01", "smic-s1", "negative", 4), ("smic-s1/s1_po_01", "smic-s1", "positive", 3),
        ("smic-s3/s3_ne_10", "smic-s3", "negative", 3), ("smic-s3/s3_sur_02", "smic-s3", "surprise", 5)]
    assert {(s.clip.apex, s.clip.scene, s.clip.fps) for s in got.samples} == {(None, scene, 100)}
    assert got.found[0] == "SMIC: 4 clips of 164 expected; surprise 1 of 43, negative 2 of 70, positive 1 of 51"
    assert "HS: 2 subjects of 16 expected; frames " + ("whole pictures" if scene else "cropped") in got.found[1]
    assert len(got.found) == 2
    grey = got.samples[3].clip.read([0, 1, 4]).to(device).float().mean((1, 2, 3))                # 9, 10, ... 13
    torch.testing.assert_close(grey, torch.tensor([9., 10., 13.], device=device), atol=0.6, rtol=0)
    torch.testing.assert_close(got.samples[3].clip.source.points()[:, 0, 0].to(device), torch.arange(26., 31., device=device))


def test_smic_faces_are_preferred_and_gaps_are_said(tmp_path):
    hs = smic_tree(tmp_path / "SMIC" / "SMIC_all_cropped" / "HS")
    smic_tree(tmp_path / "SMIC" / "SMIC_all_raw" / "HS", "image{}.jpg")
    (hs / "s3" / "micro" / "surprise" / "s3_sur_02" / "reg_image011.bmp").unlink()
    landmarks(hs / "s3" / "micro" / "surprise" / "s3_sur_02.csv", (9, 10, 12, 13))
    for stray in ("readme.txt", "s1/micro/negative/s1.bmp"):
        (hs / stray).write_text("")
    assert smic.find(tmp_path) == smic.find(tmp_path / "SMIC") == tmp_path / "SMIC" and smic.find(hs / "s1") is None
    got = smic.read(tmp_path, settings())
    assert not any(s.clip.scene for s in got.samples)
    assert got.found[2:] == ["SMIC: numbers missing between the first frame and the last: smic-s3/s3_sur_02 (1)",
                             "SMIC: left out, no clip: readme.txt, s1/micro/negative/s1.bmp"]


def test_smic_names_that_do_not_say_the_subject(tmp_path):
    """Allowed, but then DIR/ne_01.csv could be s1's or s3's."""
    hs = smic_tree(tmp_path / "HS")
    for person, clip in (("s1", "s1_ne_01"), ("s3", "s3_ne_10")):
        folder = hs / person / "micro" / "negative" / clip
        folder.rename(folder.with_name("ne_01"))
        folder.with_name(f"{clip}.csv").rename(folder.with_name("ne_01.csv"))
    assert [s.id for s in smic.read(tmp_path, settings()).samples][::2] == ["smic-s1/ne_01", "smic-s3/ne_01"]
    landmarks(tmp_path / "points" / "ne_01.csv", range(9, 13))
    with refused("ne_01.csv: landmarks of two clips"):
        smic.read(tmp_path, settings(landmarks=tmp_path / "points"))


def smic_e_rows():
    long = 17581039
    return [SMIC_E, [20, "s20_ne_01", None, long, long + 4, None, None, None, None, None, long - 2, long + 9, 5, 12, "negative"],
            ["3", "s3_po_05", None, 9, 11, 12, 14, 13, 16, None, 7, 20, 3, 14, "positive"],
            ["03", "s3_sur_1", None, 98, 101, None, None, None, None, None, 98, 101, 4, 4, "surprise"]]


def smic_e_tree(root, rows=None, where="SMIC-E_raw image/SMIC_HS_E"):
    xlsx(root / "SMIC-HS-E_annotation.xlsx", rows or smic_e_rows(), name="HS", others=("VIS",))
    clips = {"s20/s20_ne_01": range(17581037, 17581049), "s3/s3_po_05": range(7, 21), "s3/s3_sur_1": range(98, 102)}
    for clip, numbers in clips.items():
        frames(root / where / clip, "image{}.jpg", numbers, grey=lambda n: n % 200)
        landmarks(root / where / f"{clip}.npy", [n % 1000 for n in numbers])
    return root


@pytest.mark.parametrize("where", ["SMIC_HS_E", "SMIC-E_raw image/HS_long/SMIC_HS_E"])
def test_smic_e_cuts_and_makes_a_clip_of_each_expression(tmp_path, device, where):
    got = smic.read(smic_e_tree(tmp_path, where=where), settings())
    assert [(s.id, s.subject, THREE[s.target["expression"]], len(s.clip), s.clip.apex, s.clip.scene) for s in got.samples] == [
        ("smic-s20/s20_ne_01", "smic-s20", "negative", 5, None, True), ("smic-s3/s3_po_05", "smic-s3", "positive", 3, None, True),
        ("smic-s3/s3_po_05/2", "smic-s3", "positive", 3, None, True), ("smic-s3/s3_po_05/3", "smic-s3", "positive", 4, None, True),
        ("smic-s3/s3_sur_1", "smic-s3", "surprise", 4, None, True)]
    assert got.found[0] == "SMIC: 5 clips of 164 expected; negative 1 of 70, positive 3 of 51, surprise 1 of 43"
    assert got.found[2] == "SMIC: 3 rows of 157 expected, 5 expressions"
    first = torch.stack([s.clip.source.points()[0, 0, 0] for s in got.samples]).to(device)       # point 17 of the onset
    torch.testing.assert_close(first, 17 + torch.tensor([39., 9., 12., 13., 98.], device=device))
    grey = got.samples[0].clip.read([0, 4]).to(device).float().mean((1, 2, 3))
    torch.testing.assert_close(grey, torch.tensor([39., 43.], device=device), atol=0.6, rtol=0)


@pytest.mark.parametrize("change, words", [
    ({14: "positive"}, ("row 2", "s20_ne_01 is positive here, but its name says negative (ne)")),
    ({14: "happy"}, ("row 2", "'happy'", "negative, positive, surprise")),
    ({0: 3}, ("row 2", "s20_ne_01 belongs to s3 here, but its name says s20")),
    ({0: "x"}, ("row 2", "Subject is 'x'")),
    ({1: "s20_ne_02"}, ("row 2", "no folder", "s20/s20_ne_02")),
    ({5: 17581045}, ("row 2", "Offset2F is blank")),
    ({8: 17581045}, ("row 2", "Onset3F is blank")),
    ({4: 17581099}, ("row 2", "found 10 of 61", "first missing is 17581049")),
    ({4: 17581040}, ("row 2", "expected 3 frames"))])
def test_smic_e_rows_that_cannot_be(tmp_path, change, words):
    rows = smic_e_rows()
    for k, cell in change.items():
        rows[1][k] = cell
    with refused("SMIC-HS-E_annotation.xlsx: ", *words):
        smic.read(smic_e_tree(tmp_path, rows), settings())


def test_smic_refusals(tmp_path):
    hs = smic_tree(tmp_path / "SMIC_all_cropped" / "HS")
    with refused("SMIC: the classes are negative, positive, surprise", "ask for disgust", "--classes negative positive surprise"):
        smic.read(tmp_path, settings(FIVE))
    clip = hs / "s1" / "micro" / "negative" / "s1_ne_01"
    clip.rename(clip.with_name("s1_po_09"))
    with refused("s1_po_09 is negative here, but its name says positive (po)"):
        smic.read(tmp_path, settings())
    clip.with_name("s1_po_09").rename(clip.with_name("s4_ne_01"))
    with refused("s4_ne_01 belongs to s1 here, but its name says s4"):
        smic.read(tmp_path, settings())
    clip.with_name("s4_ne_01").rename(clip)
    (hs / "s1" / "micro" / "happy").mkdir()
    with refused("happy: no class of SMIC", "negative, positive, surprise"):
        smic.read(tmp_path, settings())
    (hs / "s1" / "micro" / "happy").rmdir()
    for n in (9, 10):
        (clip / f"reg_image{n:03d}.bmp").unlink()
    with refused("s1_ne_01: 2 frames; expected 3 or more"):
        smic.read(tmp_path, settings())
    (hs / "s3" / "micro" / "surprise").rename(tmp_path / "away")
    clip.rename(tmp_path / "away" / "s1_ne_01")
    with refused("SMIC: no clips of surprise", "negative 1, positive 1, surprise 0"):
        smic.read(tmp_path, settings())
    hs.rename(hs.with_name("VIS"))
    with refused("no SMIC HS here; found SMIC_all_cropped", "SMIC_HS_E"):
        smic.read(tmp_path, settings())
    smic_e_tree(tmp_path / "E", where="elsewhere")
    with refused("no folder SMIC_HS_E beside SMIC-HS-E_annotation.xlsx"):
        smic.read(tmp_path / "E", settings())
    smic_e_tree(tmp_path / "E", smic_e_rows() + smic_e_rows()[1:2])
    with refused("row 5", "s20_ne_01 stands twice"):
        smic.read(tmp_path / "E", settings())


# SAMM

def samm_rows():
    return [["Micro-expressions of SAMM", "see the paper"], ["Estimated Emotion: what the coders read"], SAMM,
            ["006", "006_1_2", 1, 5562, 5564, 5566, 5, "Micro - 1/2", "4+7", "Anger", 3],
            ["006", "006_1_3", 1, 99998, 100000, 100001, 4, "Micro - 1/2", "12", "Happiness", 1],
            [7, "007_3_1", 3, 10, "/", 12, 3, "Micro", "1+2", "Surprise", 2],
            ["007", "007_4_1", 3, 10, 11, 12, 3, "Micro", "9", "Disgust", 4],
            ["007", "007_5_1", 3, 10, 11, 12, 3, "Micro", "9", "Other", 7],
            *(["007", f"007_6_{k}", 3, 10, 11, 12, 3, "Micro", "9", emotion, 7]
              for k, emotion in enumerate(("Contempt", "Fear", "Sadness")))]


def samm_tree(root, rows=None, below=""):
    rows = rows or samm_rows()
    xlsx(root / "SAMM_Micro_FACS_Codes_v2.xlsx", rows)
    for row in samm_rows()[3:]:
        numbers = range(row[3] - 1, row[5] + 1)
        folder = root / below / f"{int(row[0]):03d}" / row[1]
        folder.mkdir(parents=True, exist_ok=True)
        for n in numbers:
            Image.new("L", (8, 6), n % 200).save(folder / f"{int(row[0]):03d}_{n:05d}.jpg")
        landmarks(folder.with_suffix(".csv"), [n % 1000 for n in numbers])
    return root


@pytest.mark.parametrize("below", ["", "SAMM"])
def test_samm_three_classes(tmp_path, device, below):
    root = samm_tree(tmp_path / "set", below=below)
    assert samm.find(tmp_path) == samm.find(root) == root and samm.find(root / "006") is None
    got = samm.read(tmp_path, settings())
    assert [(s.id, s.subject, THREE[s.target["expression"]], len(s.clip), s.clip.apex) for s in got.samples] == [
        ("samm-006/006_1_2", "samm-006", "negative", 5, 2), ("samm-006/006_1_3", "samm-006", "positive", 4, 2),
        ("samm-007/007_3_1", "samm-007", "surprise", 3, None), ("samm-007/007_4_1", "samm-007", "negative", 3, 1),
        *((f"samm-007/007_6_{k}", "samm-007", "negative", 3, 1) for k in range(3))]
    assert {(s.clip.scene, s.clip.fps) for s in got.samples} == {(True, 200)}
    assert got.found == ["SAMM: 7 clips; negative 5, positive 1, surprise 1",
                         "SAMM: SAMM_Micro_FACS_Codes_v2.xlsx: 8 rows; whole pictures, the face is cut out along the landmarks",
                         "SAMM: left out, no class here: other 1", "SAMM: without an apex: samm-007/007_3_1 (row 6: /)"]
    grey = got.samples[1].clip.read([0, 2, 3]).to(device).float()                  # (3, 3, 6, 8), the channels alike
    wanted = torch.tensor([198., 0., 1.], device=device)[:, None].expand(3, 3)
    torch.testing.assert_close(grey.mean((2, 3)), wanted, atol=0.6, rtol=0)
    left = got.samples[0].clip.source.points()[:, 0, 0].to(device)
    torch.testing.assert_close(left, 17 + torch.arange(562., 567., device=device))


def test_samm_five_classes_lack_repression(tmp_path):
    got = samm.read(samm_tree(tmp_path), settings(FIVE))
    assert [(s.id, FIVE[s.target["expression"]]) for s in got.samples] == [
        ("samm-006/006_1_3", "happiness"), ("samm-007/007_3_1", "surprise"), ("samm-007/007_4_1", "disgust"),
        ("samm-007/007_5_1", "others")]
    assert got.found[0] == "SAMM: 4 clips; disgust 1, happiness 1, repression 0, surprise 1, others 1"
    assert got.found[2] == "SAMM: left out, no class here: anger 1, contempt 1, fear 1, sadness 1"


@pytest.mark.parametrize("change, words", [
    ({0: "six"}, ("row 4", "Subject is 'six'", "such as 006")),
    ({9: "Joy"}, ("row 4", "samm-006/006_1_2 is coded 'joy'", "anger, contempt")),
    ({1: "006_1_3"}, ("row 5", "samm-006/006_1_3 stands twice, also in row 4")),
    ({1: "006_9_9"}, ("row 4", "no folder", "006_9_9")),
    ({3: 5560}, ("row 4", "frames 5560 to 5566", "found 6 of 7", "first missing is 5560")),
    ({5: None}, ("row 4", "Offset Frame is blank"))])
def test_samm_rows_that_cannot_be(tmp_path, change, words):
    rows = samm_rows()
    for k, cell in change.items():
        rows[3][k] = cell
    if change.get(1) == "006_1_3":
        rows[3][3:6] = rows[4][3:6]
    with refused("SAMM_Micro_FACS_Codes_v2.xlsx: ", *words):
        samm.read(samm_tree(tmp_path, rows), settings())


def test_samm_refusals(tmp_path):
    root = samm_tree(tmp_path, samm_rows()[:6])
    with refused("SAMM: no clips of disgust, others", "every class but repression"):
        samm.read(root, settings(FIVE))
    with refused("SAMM: the classes are negative, positive, surprise", "ask for anger"):
        samm.read(root, settings(("anger",)))
    for folder in ("006", "007"):
        (root / folder).rename(root / f"person{folder}")
    with refused("no folder such as 006; found SAMM_Micro_FACS_Codes_v2.xlsx, person006", "006/006_1_2/006_05562.jpg"):
        samm.read(root, settings())
    (root / "SAMM_Micro_FACS_Codes_v2.xlsx").rename(root / "codes.xlsx")
    with refused("no coding sheet; found codes.xlsx"):
        samm.read(root, settings())


@pytest.mark.parametrize("reader", [smic, samm])
def test_landmarks_given_apart_also_in_the_other_two(tmp_path, device, reader):
    tree, name, n = (smic_e_tree, "s20_ne_01", 12) if reader is smic else (samm_tree, "006_1_2", 6)
    root = tree(tmp_path / "set")
    landmarks(tmp_path / "points" / f"{name}.csv", range(500, 500 + n))
    first = reader.read(root, settings(landmarks=tmp_path / "points")).samples[0]
    assert first.id.endswith(name)
    begins = 502 if reader is smic else 501                                          # frames before the onset: two, and one
    wanted = torch.from_numpy(points([begins])[0, 17:]).to(device)
    torch.testing.assert_close(first.clip.source.points()[0].to(device), wanted)


def test_subjects_of_the_three_never_meet(tmp_path):
    """Extra training data must not look like a tested person: sub03, s3 and 003 are three people."""
    sets = (casme2.read(casme2_tree(tmp_path / "c"), settings()), samm.read(samm_tree(tmp_path / "a"), settings()),
            smic.read(smic_e_tree(tmp_path / "e"), settings()))
    people = [{s.subject for s in got.samples} for got in sets]
    ids = [s.id for got in sets for s in got.samples]
    assert not (people[0] & people[1] or people[1] & people[2] or people[0] & people[2]) and len(ids) == len(set(ids))
