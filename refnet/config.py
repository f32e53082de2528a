"""Settings: every number says where it comes from.

A paper's `Config` is a frozen dataclass whose fields are `said(value, "§4.2.1")`, where the paper prints the
value, or `ours(value, "why")`, where it does not. Flags and the printed table are made from those fields.
Settings win in this order: Config < data set < preset < ablation row < flag.
"""
import argparse
import dataclasses
import difflib
from typing import Any, NamedTuple


def said(value: Any, where: str) -> Any:
    """A setting that the paper prints, and the place where it prints it."""
    return dataclasses.field(default=value, metadata={"source": where})


def ours(value: Any, why: str) -> Any:
    """A setting that the paper does not print, and why we chose it."""
    return dataclasses.field(default=value, metadata={"source": f"ours: {why}"})


class Row(NamedTuple):
    """One row of a paper's ablation table: what it changes, and what the paper measured."""
    settings: dict[str, Any]
    printed: dict[str, Any] = {}   # measure → number; or data set → such a dict, where the table has several
    note: str = ""                 # what one must know of the printed numbers
    here: dict[str, dict[str, Any]] = {}   # data set → settings that the row has there only
    pretrained: bool | None = None         # whether the printed score is of weights learned elsewhere, or of random ones; None: not asked

    def on(self, dataset: str) -> dict[str, Any]:
        """The row's settings on a data set."""
        return self.settings | self.here.get(dataset, {})

    def scores(self, dataset: str) -> dict[str, float]:
        """What is printed of this row for a data set; nothing where the table leaves it out."""
        if any(isinstance(v, dict) for v in self.printed.values()):
            return self.printed.get(dataset, {})
        return self.printed


class Stage(NamedTuple):
    """One stage of a paper's training; `carried` says what it takes over from the stage before."""
    name: str
    epochs: int
    settings: dict[str, Any] = {}
    carried: str = ""


def merge(Config: type, *layers: tuple[str, dict[str, Any]]) -> tuple[Any, dict[str, str]]:
    """Lay settings over a paper's own, the later layer on top.

    layers   (name, settings) pairs; a setting is a plain value, or said(...) / ours(...) with its own source
    →        the Config, and for every field the source of the value that won

    Raises ValueError for a name that the Config does not have.
    """
    fields = {f.name: f for f in dataclasses.fields(Config)}
    values = {name: f.default for name, f in fields.items()}
    sources = {name: f.metadata["source"] for name, f in fields.items()}
    for layer, settings in layers:
        for name, value in settings.items():
            if name not in fields:
                raise ValueError(f"{layer}: no setting {name!r}{nearest(name, fields)}")
            source = layer
            if isinstance(value, dataclasses.Field):
                value, source = value.default, value.metadata["source"]
            if value == values[name] and type(value) is type(values[name]) and layer != "yours":
                continue                                       # said again, not changed: the first source stands
            if layer == "yours":
                source = f"yours (was {show(values[name])}: {sources[name]})" if value != values[name] else sources[name]
            values[name], sources[name] = value, source
    return Config(**values), sources


def table(cfg: Any, sources: dict[str, str]) -> str:
    """The settings as a run prints them: name, value, and who says so."""
    rows = [(name, show(value), sources[name]) for name, value in dataclasses.asdict(cfg).items()]
    wide = [max(len(row[k]) for row in rows) for k in (0, 1)]
    wide[1] = min(wide[1], 28)
    return "\n".join(f"  {name:{wide[0]}}  {value:{wide[1]}}  {source}" for name, value, source in rows)


def show(value: Any) -> str:
    """A value as one would type it after its flag."""
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def add_flags(parser: argparse.ArgumentParser, Config: type) -> None:
    """One flag per setting, in the paper's spelling; what is not given is absent from the result."""
    group = parser.add_argument_group("the paper's settings")
    for f in dataclasses.fields(Config):
        flag, kind = "--" + f.name.replace("_", "-"), type(f.default)
        text = f"{show(f.default)}   {f.metadata['source']}".replace("%", "%%")
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        elif kind is tuple:
            group.add_argument(flag, nargs="+", type=type(f.default[0]), default=argparse.SUPPRESS, help=text,
                               metavar=f.name)
        else:
            group.add_argument(flag, type=kind, default=argparse.SUPPRESS, help=text, metavar=f.name)


def given(args: argparse.Namespace, Config: type) -> dict[str, Any]:
    """The settings that stand on the command line."""
    names = [f.name for f in dataclasses.fields(Config) if hasattr(args, f.name)]
    return {n: tuple(v) if isinstance(v := getattr(args, n), list) else v for n in names}


def refuse_unknown(parser: argparse.ArgumentParser, unknown: list[str]) -> None:
    """Leave with status 2, naming the nearest flag, when something on the command line means nothing."""
    if unknown:
        flags = [s for action in parser._actions for s in action.option_strings]
        word = next((u for u in unknown if u.startswith("-")), unknown[0])
        parser.error(f"unknown argument {word!r}{nearest(word.split('=')[0], flags)}")


def one_of(what: str, names) -> Any:
    """An argparse type: one of these names, and the nearest one named when it is none of them."""
    def check(word: str) -> str:
        if word not in names:
            raise argparse.ArgumentTypeError(f"no {what} {word!r}{nearest(word, names)}; there are {', '.join(names)}")
        return word
    return check


def number(least: float, kind: type = int) -> Any:
    """An argparse type: a number of at least so much."""
    def check(word: str):
        try:
            value = kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number, got {word!r}") from None
        if not value >= least:
            raise argparse.ArgumentTypeError(f"expected {least} or more, got {word}")
        return value
    return check


def nearest(word: str, names) -> str:
    """`; did you mean X?` where a name is near enough, otherwise nothing."""
    close = difflib.get_close_matches(word, list(names), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
