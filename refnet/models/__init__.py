"""The papers, one file each, with the same names in the same order."""
import importlib
from types import ModuleType

PAPERS = ("arpgnet", "engat", "megraphau", "face2nodes", "emotiongcn")


def load(key: str, folder: str = "models") -> ModuleType:
    """The file of a paper: load("arpgnet") is refnet.models.arpgnet, load("arpgnet", "figures") draws its pictures."""
    if key not in PAPERS:
        raise ValueError(f"no paper {key!r}; there are {', '.join(PAPERS)}")
    return importlib.import_module(f"refnet.{folder}.{key}")
