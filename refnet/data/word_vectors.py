"""Word vectors: a row of numbers for each node of Emotion-GCN's graph.

    word_vectors(("neutral", "happiness", "valence"))            →  (3, 50), built in
    word_vectors(nodes, "glove.6B.300d.txt")                     →  (9, 300), as the paper has them

A file of GloVe has a line a word: the word, then d numbers, separated by blanks. The nine built in are those of glove.6B.50d.txt,
in the public domain (PDDL 1.0).
"""
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from refnet.data.samples import DataError
from refnet.data.weight_files import why_unreadable

WORDS = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "surprise": "surprise", "fear": "fear", "disgust": "disgust",
         "anger": "anger", "valence": "valence", "arousal": "arousal"}
BUILT_IN = Path(__file__).with_name("glove_6B_50d_emotion9.txt")
BOM = b"\xef\xbb\xbf"
STORED = (".pt", ".pth", ".pkl")
LINES = "expected lines of a word and its numbers, such as those of glove.6B.300d.txt"


def word_vectors(words: Sequence[str], path: str | Path = "") -> Tensor:
    """Find the vector of each node's word: Z, from which the graph starts.

    words   names of nodes; WORDS says by which word one is looked up, any other as it is, in lower case
    path    a glove.*.txt, or a .pt, .pth or .pkl with a tensor (n, d) whose rows are in the order of `words`; "": the nine built in
    →       (n, d)   float32; d is the file's

    Raises DataError for words that are not there, a line of another length, what is not a number, and a file of another kind.

    Reading: which words? §III.B.1 calls the nodes Neutral, Happy, Sad, Surprise, ...; these names, so happiness is looked up as happy.
    """
    path, looked_up = Path(path or BUILT_IN), [WORDS.get(word, word).lower() for word in words]
    if path.suffix.lower() in STORED:
        return _stored(path, looked_up)
    wanted = set(looked_up)
    found, lines = _lines(path, wanted)
    if missing := [word for word in dict.fromkeys(looked_up) if word not in found]:
        there = (f"the built-in file has {', '.join(WORDS.values())}; name a file of more words, such as glove.6B.300d.txt, "
                 f"with --glove" if path == BUILT_IN else f"{lines} lines were read; a whole glove.6B file has 400,000; unpack it again")
        raise DataError(f"{path}: no vector of {', '.join(missing)}; {there}")
    return torch.tensor([found[word] for word in looked_up])                             # (n, d)


def width(path: str | Path) -> int:
    """How many numbers the vectors of a file have, as its first line says; 50 built in, 0 where none can be read."""
    try:
        if Path(path).suffix.lower() in STORED:
            return torch.load(path, map_location="cpu", weights_only=True).shape[-1]
        with Path(path or BUILT_IN).open("rb") as file:
            return _width(Path(path), file.read(1 << 16))
    except Exception:               # damaged bytes raise whatever they happen to hit; who reads the whole file says what
        return 0


def _lines(path: Path, wanted: set[str]) -> tuple[dict[str, list[float]], int]:
    """The numbers of each word wanted, and how many lines it took; no line after the last of them is read.

    Of a line of 300 numbers only the head is looked at, and parsed only where it is a word wanted: a file of 1 GB takes a second.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {what}; {LINES}; name it with --glove, or leave --glove out for vectors of 50 numbers; nothing is "
                        f"ever downloaded")
    left = {word.encode() for word in wanted}
    head, found, d, n = max(map(len, left)) + 1, {}, 0, 0
    try:
        with path.open("rb") as file:
            start = 3 if file.read(3) == BOM else 0
            file.seek(start)
            d = _width(path, file.read(1 << 16))
            file.seek(start)
            for n, line in enumerate(file, start=1):
                word = line[:head].split(None, 1)[:1]
                if word and word[0] in left:
                    left.remove(word[0])
                    found[word[0].decode()] = _parsed(line, d, f"{path}: line {n}")
                    if not left:
                        break
    except OSError as e:
        raise DataError(f"{path}: cannot be read ({e.strerror or e}); check its rights, or copy it again") from e
    return found, n


def _width(path: Path, begin: bytes) -> int:
    """How many numbers a word has, from the first line; a head of two whole numbers, words and width, is none."""
    first = begin.split(b"\n", 1)[0].split()
    if b"\0" in begin or not begin.strip() or len(first) < 2 or len(begin) == 1 << 16 and b"\n" not in begin:
        raise DataError(f"{path}: not a text of word vectors, it begins with {begin[:12]!r}; {LINES}; unpack it if it is packed")
    return int(first[1]) if len(first) == 2 and all(cell.isdigit() for cell in first) else len(first) - 1


def _parsed(line: bytes, d: int, where: str) -> list[float]:
    word, *cells = line.split()
    if len(cells) != d:
        raise DataError(f"{where}: {word.decode()} has {len(cells)} numbers; expected {d}, as the first line has; copy the file again")
    if bad := [cell for cell in cells if not _finite(cell)]:
        raise DataError(f"{where}: {word.decode()} has {bad[0].decode(errors='replace')!r} among its numbers; expected {d} finite "
                        f"numbers; copy the file again")
    return [float(cell) for cell in cells]


def _finite(cell: bytes) -> bool:
    try:
        return abs(float(cell)) < 3e38                             # of float32
    except ValueError:
        return False


def _stored(path: Path, words: list[str]) -> Tensor:
    """A tensor that torch.save wrote, a row a word."""
    again = f"expected a tensor ({len(words)}, d), a row each of {', '.join(words)}; save it anew with torch.save, or name a glove.*.txt"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # damaged bytes raise whatever they happen to hit: EOFError, KeyError, RuntimeError, ...
        raise DataError(f"{path}: {why_unreadable(path, error)[0]}; {again}") from error
    if not isinstance(found, Tensor):
        raise DataError(f"{path}: holds a {type(found).__name__}; {again}")
    if found.dim() != 2 or len(found) != len(words) or not found.shape[1] or not found.is_floating_point():
        raise DataError(f"{path}: holds {str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}; {again}")
    found = found.detach().float()
    if not found.isfinite().all():
        raise DataError(f"{path}: not every number is finite; {again}")
    return found.contiguous()                                                            # (n, d)
