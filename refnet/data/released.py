"""Checkpoints that the papers' authors released: their tensors under our names."""
import re

import torch

from refnet.backbones.weights import State

ME_GRAPH_AU = (  # github.com/CVI-SZU/ME-GraphAU: model/ANFL.py, model/MEFL.py, model/graph_edge_model.py
    (r"^head\.sc$", "s"), (r"^head\.edge_fc\.", "edge_fc."),
    (r"^head\.edge_extractor\.FAM\.linear_", "FAM."), (r"^head\.edge_extractor\.ARM\.linear_", "ARM.attend."),
    (r"^(FAM|ARM\.attend)\.q\.", r"\1.query."), (r"^(FAM|ARM\.attend)\.k\.", r"\1.key."), (r"^(FAM|ARM\.attend)\.v\.", r"\1.value."),
    (r"^head\.edge_extractor\.edge_proj\.", "ARM.project."), (r"^head\.edge_extractor\.bn\.", "ARM.bn."),
    (r"^head\.gnn\.([UV])\.", r"FGG.\1."), (r"^head\.gnn\.bnv\.", "FGG.bn."),
    (r"^head\.gnn\.([UVABE])1\.", r"gcn.0.\1."), (r"^head\.gnn\.bn([ve])1\.", r"gcn.0.bn_\1."),
    (r"^head\.gnn\.([UVABE])2\.", r"gcn.1.\1."), (r"^head\.gnn\.bn([ve])2\.", r"gcn.1.bn_\1."),
)


def me_graph_au(state: State) -> State:
    """The tensors of ME-GraphAU's checkpoints, of either stage, under our names; all others as they are.

    The layers of AFG, one for each unit there, stand one behind the other in one layer here.
    """
    state = {name.removeprefix("module."): t for name, t in state.items()}
    units = [name for name in state if name.startswith("head.class_linears.")]
    out = {name: t for name, t in state.items() if name not in units}
    for part in dict.fromkeys(name.split(".", 3)[3] for name in units):
        each = [t for i in range(len(units)) if (t := state.get(f"head.class_linears.{i}.{part}")) is not None]
        out[f"AFG.{part}"] = torch.cat(each) if each[0].dim() else each[0]
    for theirs, ours in ME_GRAPH_AU:
        out = {re.sub(theirs, ours, name): t for name, t in out.items()}
    return out


def emotion_gcn(state: State) -> State:
    """The tensors of Emotion-GCN's checkpoints (github.com/PanosAntoniadis/emotion-gcn, models.py, gcn.py) under our names; others as they are.

    Its graph layers keep W^l as it stands in (2), ours keep its transpose; A is A'' of (6), in both.
    """
    state = {name.removeprefix("module."): t for name, t in state.items()}
    return {re.sub(r"^gc([12])\.weight$", lambda found: f"gcn.{int(found[1]) - 1}.W", name): t.mT.contiguous() if re.match(r"gc[12]\.weight$", name) and t.dim() == 2 else t
            for name, t in state.items()}
