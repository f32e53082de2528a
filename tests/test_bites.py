"""Do the golden tests bite? One planted bug at a time, and the test that must go red for it.

A bite changes one token of one file and keeps shapes, dtypes and finiteness: what survives it would survive a slip.
"""
import importlib
import inspect
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from refnet.pictures import write_picture

ROOT = Path(__file__).parent.parent


class Bite(NamedTuple):
    """A planted bug."""
    file: str              # below refnet/
    right: str             # stands in the file exactly once
    wrong: str
    tests: str             # a test file
    caught_by: str         # a test in it
    given: dict = {}       # its arguments, but for the device


BOX = tempfile.TemporaryDirectory()                              # for readers' tests, a folder each; gone when Python ends
FOLDER = Path(BOX.name)
PAIRS = {"B": 2, "N": 3, "dtype": torch.float64, "atol": 1e-10}
SHIFTED = {"H": 5, "W": 7, "shift": (1, 1)}
WHOLE = {"RG": True, "groups": 4, "itself": True, "unit": False, "training": False}


def three(name: str) -> dict:
    """Three pictures in a folder, and the folder around it: what tests of packed pictures ask for."""
    for k in range(3):
        write_picture(torch.full((3, 5, 5), 80 * k, dtype=torch.uint8), FOLDER / name / "set" / f"{k}.png")
    return {"pictures": FOLDER / name / "set", "tmp_path": FOLDER / name}


BITES = {
    # arpgnet (1)
    "eight neighbours":      Bite("graphs/face_grid.py", "near = down + across <= 1", "near = torch.maximum(down, across) <= 1",
                                  "test_arpgnet", "test_eq1_figure_2"),
    "no self-loop":          Bite("graphs/face_grid.py", "near = down + across <= 1", "near = down + across == 1",
                                  "test_arpgnet", "test_eq1_section_4_6_2"),
    "mirror top to bottom":  Bite("graphs/face_grid.py", "(down == 0) & (column[:, None] + column", "(across == 0) & (row[:, None] + row",
                                  "test_arpgnet", "test_eq1_figure_2"),
    "mirror off by one":     Bite("graphs/face_grid.py", "== P - 1", "== P", "test_arpgnet", "test_eq1_figure_2"),
    # arpgnet (2)
    "sender for receiver":   Bite("ops/attention.py", "u[..., :, None] + v[..., None, :], slope", "u[..., None, :] + v[..., :, None], slope",
                                  "test_arpgnet", "test_eq2_two_nodes"),
    "att halves swapped":    Bite("ops/attention.py", "att_1, att_2 = att.chunk(2, dim=-1)", "att_2, att_1 = att.chunk(2, dim=-1)",
                                  "test_arpgnet", "test_eq2_two_nodes"),
    "ReLU, not leaky":       Bite("ops/attention.py", "v[..., None, :], slope)", "v[..., None, :], 0.0)", "test_arpgnet", "test_eq2_two_nodes"),
    "another head's scores": Bite("ops/attention.py", "self.scores(), self.slope)", "self.scores().flip(0), self.slope)",
                                  "test_arpgnet", "test_eq2_folded_scores_are_the_projected_ones"),
    # arpgnet (3), (9)
    "softmax over columns":  Bite("ops/attention.py", ".softmax(-1)", ".softmax(-2).nan_to_num()", "test_arpgnet", "test_eq3_a_quarter_and_three_quarters"),
    "mask with zero":        Bite("ops/attention.py", 'float("-inf")', "0.0", "test_arpgnet", "test_eq3_a_quarter_and_three_quarters"),
    "attention transposed":  Bite("ops/attention.py", "(beta.flatten(-3, -2) @ x)", "(beta.mT.flatten(-3, -2) @ x)",
                                  "test_arpgnet", "test_eq234_the_loop_twin", {"heads": 3}),
    "scope not passed on":   Bite("models/arpgnet.py", "cfg.TRS if cfg.scope else T", "T", "test_arpgnet", "test_eq9_nothing_beyond_the_scope_is_heard"),
    # arpgnet (4), (8)
    "σ outside the average": Bite("ops/attention.py", "return F.elu(out).mean(-3)", "return F.elu(out.mean(-3))",
                                  "test_arpgnet", "test_eq4_sigma_inside_the_head_average"),
    "heads summed":          Bite("ops/attention.py", "return F.elu(out).mean(-3)", "return F.elu(out).sum(-3)",
                                  "test_arpgnet", "test_eq4_sigma_inside_the_head_average"),
    "ReLU for ELU":          Bite("ops/attention.py", "return F.elu(out).mean(-3)", "return F.relu(out).mean(-3)",
                                  "test_arpgnet", "test_eq4_sigma_inside_the_head_average"),
    "edges: wrong end":      Bite("ops/attention.py", "i, j = edges", "j, i = edges", "test_arpgnet", "test_eq4_an_edge_list_gives_the_same"),
    "positions on one stream":   Bite("models/arpgnet.py", "[s + PE for s in streams]", "[s + n * PE for n, s in enumerate(streams)]",
                                  "test_arpgnet", "test_eq8_one_map_for_both_sequences"),
    # arpgnet (5), (6)
    "exponent k/d":          Bite("ops/position.py", "(2 * k / d)", "(k / d)", "test_arpgnet", "test_eq56_two_positions_four_wide"),
    "positions from one":    Bite("ops/position.py", "torch.arange(T, dtype", "1 + torch.arange(T, dtype", "test_arpgnet", "test_eq56_two_positions_four_wide"),
    "cosine first":          Bite("ops/position.py", "[angle.sin(), angle.cos()]", "[angle.cos(), angle.sin()]",
                                  "test_arpgnet", "test_eq56_two_positions_four_wide"),
    "halves, not pairs":     Bite("ops/position.py", "dim=-1).flatten(1)", "dim=1).flatten(1)", "test_arpgnet", "test_eq56_two_positions_four_wide"),
    # arpgnet (7)
    "< for ≤":               Bite("graphs/temporal.py", "<= TRS", "< TRS", "test_arpgnet", "test_eq7_three_moments"),
    "own sequence only":     Bite("graphs/temporal.py", "% T  ", "* 1  ", "test_arpgnet", "test_eq7_three_moments"),
    # arpgnet (10) and the losses
    "weights swapped":       Bite("ops/metrics.py", "0.33 * accuracy(counts) + 0.67", "0.67 * accuracy(counts) + 0.33", "test_arpgnet", "test_eq10_ten_frames"),
    "mean class accuracy":   Bite("ops/metrics.py", "0.33 * accuracy(counts)", "0.33 * recall_per_class(counts).mean()", "test_arpgnet", "test_eq10_ten_frames"),
    "F1 without the 2":      Bite("ops/metrics.py", "2 * hit / (counts", "hit / (counts", "test_arpgnet", "test_eq10_ten_frames"),
    "p_t for 1 − p_t":       Bite("ops/losses.py", "(1 - log_p.exp()).clamp", "log_p.exp().clamp", "test_arpgnet", "test_focal_by_hand"),
    "unknown counted":       Bite("ops/losses.py", "(each * known).sum() / known.sum().clamp(min=1)", "(each * known).sum() / len(target)", "test_arpgnet", "test_focal_by_hand"),
    # the sections around them
    "testing at the start":  Bite("models/arpgnet.py", "torch.full((T,), 0.5)", "torch.full((T,), 0.0)", "test_arpgnet", "test_sampling_one_frame_of_every_stretch"),
    "padding is heard":      Bite("models/arpgnet.py", "A * (heard | torch.eye", "A * (heard | torch.ones_like(A).bool() | torch.eye",
                                  "test_arpgnet", "test_padding_changes_nothing"),
    "padding is averaged":   Bite("models/arpgnet.py", "real.sum(1, keepdim=True)", "real.shape[1]", "test_arpgnet", "test_padding_changes_nothing"),
    "one learning rate":     Bite("models/arpgnet.py", '"lr": cfg.lr_trunk', '"lr": cfg.lr', "test_arpgnet", "test_two_learning_rates"),
    "positions forgotten":   Bite("models/arpgnet.py", "[s + PE for s in streams]", "[s + 0 * PE for s in streams]",
                                  "test_arpgnet", "test_figure_1_the_forward_twin", {"switches": {}}),
    "largest over time":     Bite("models/arpgnet.py", "(x * real[..., None]).sum(1) / real.sum(1, keepdim=True)", "x.amax(1)",
                                  "test_arpgnet", "test_figure_1_the_forward_twin", {"switches": {}}),
    "largest over patches":  Bite("models/arpgnet.py", "x.mean(1).unflatten(0, BT)", "x.amax(1).unflatten(0, BT)",
                                  "test_arpgnet", "test_figure_1_the_forward_twin", {"switches": {}}),
    "largest of a patch":    Bite("models/arpgnet.py", "adaptive_avg_pool2d", "adaptive_max_pool2d",
                                  "test_arpgnet", "test_figure_1_the_forward_twin", {"switches": {}}),
    "pixels as they are":    Bite("models/arpgnet.py", "normalise(clip.flatten(0, 1))", "clip.flatten(0, 1)",
                                  "test_arpgnet", "test_figure_1_the_forward_twin", {"switches": {"share": True}}),
    "labelled frame last":   Bite("data/affwild2.py", "T // 2", "T", "test_readers", "test_affwild2_offsets_are_the_two_readings"),
    # motion: the parabola and the step
    "edge trusted twice":    Bite("flow/expansion.py", "(i ** 2 - a) / (b - a * a)", "(i ** 2 - a) / (b + a * a)", "test_farneback", "test_the_fit_by_hand"),
    "x for y":               Bite("flow/expansion.py", "(((1, 0), (0, 1), (2, 0)", "(((0, 1), (1, 0), (2, 0)",
                                  "test_farneback", "test_a_parabola_is_found"),
    "its x and y swapped":   Bite("flow/expansion.py", "sigma)\n    r = slope", "sigma)[:, [0, 2, 1, 3, 4, 5]]\n    r = slope", "test_farneback", "test_the_least_squares_twin",
                                  {"n": 2, "sigma": .9, "certainty": True}),
    "the second A alone":    Bite("flow/farneback.py", ".add_(1).mul_(.5)", ".add_(1).mul_(1.)",
                                  "test_farneback", "test_equations_average_the_two_pictures"),
    "the last column counts": Bite("flow/farneback.py", "(at >= last)", "(at > last)", "test_farneback", "test_equations_average_the_two_pictures"),
    "A12 not halved":        Bite("flow/farneback.py", "A[:, 2:].mul_(.5)", "A[:, 2:].mul_(1.)", "test_farneback", "test_equations_by_hand"),
    "A d forgotten":         Bite("flow/farneback.py", "alpha=.5).addcmul_(A, d)", "alpha=.5).addcmul_(A, 0 * d)", "test_farneback", "test_equations_by_hand"),
    "never rounded":         Bite("flow/farneback.py", "(x + d.round())", "(x + d)", "test_farneback", "test_reading_between_pixels_or_rounded"),
    "guard taken away":      Bite("flow/farneback.py", "det.add_(guard)", "det.sub_(guard)", "test_farneback", "test_solve_by_hand"),
    "levels as documented":  Bite("flow/farneback.py", "while len(found) <= levels", "while len(found) < levels", "test_farneback", "test_scales_by_hand"),
    "the edge twice":        Bite("flow/pyramid.py", "at % max(2 * n - 2, 1)", "at % (2 * n)", "test_pyramid", "test_mirror_goes_on_beyond_the_other_edge"),
    "corners aligned":       Bite("flow/pyramid.py", "dtype=torch.float64) + .5) * n / m - .5", "dtype=torch.float64)) * (n - 1) / max(m - 1, 1)",
                                  "test_pyramid", "test_resize_by_hand"),
    "up is down":            Bite("flow/wheel.py", "torch.atan2(dy, dx)", "torch.atan2(-dy, dx)", "test_wheel", "test_directions_by_hand"),
    # strain, intensity, registration
    "shear counted once":    Bite("flow/strain.py", "torch.stack([exx, eyy, exy, exy], 1), dim=1", "torch.stack([exx, eyy, exy], 1), dim=1",
                                  "test_strain", "test_shear_counts_twice"),
    "axes swapped":          Bite("flow/strain.py", "torch.gradient(flow, dim=-1)[0]", "torch.gradient(flow, dim=-2)[0]", "test_strain", "test_u_grows_along_x"),
    "a sample's sd":         Bite("flow/intensity.py", "above.std(correction=0)", "above.std(correction=1)", "test_intensity", "test_sd_is_the_population_s"),
    "halves to even":        Bite("flow/intensity.py", "(points + 0.5).floor()", "points.round()", "test_intensity", "test_halves_are_rounded_up"),
    "the weakest between":   Bite("flow/intensity.py", "return first, max(between, key", "return first, min(between, key", "test_intensity", "test_first_strongest_last"),
    "the mean is not enough": Bite("flow/intensity.py", "strong = above >= above", "strong = above > above", "test_intensity", "test_reaching_the_mean_is_enough"),
    "turned the other way":  Bite("flow/affine.py", "torch.stack([a, -b, b, a], 1)", "torch.stack([a, b, -b, a], 1)",
                                  "test_registration", "test_similarity_of_three_points_that_do_not_fit"),
    "phase conjugated":      Bite("flow/registration.py", "X = F2 * F1.conj()", "X = F1 * F2.conj()", "test_registration", "test_phase_correlation_of_whole_steps_round"),
    "forward, not inverse":  Bite("flow/registration.py", "found = after(found, inverse(D))", "found = after(found, D)", "test_registration", "test_lucas_kanade_from_a_start"),
    "places from the corner": Bite("flow/registration.py", "(places * size - 0.5)", "(places * size)", "test_registration", "test_eyes_come_to_their_places"),
    "affine by default":     Bite("flow/registration.py", 'model: str = "similarity", onset', 'model: str = "affine", onset',
                                  "test_registration", "test_a_similarity_leaves_the_stretch"),
    # drawn motion
    "one step for all":      Bite("data/drawn_motion.py", "second, points + moved, REACH", "second, points, REACH",
                                  "test_drawn_motion", "test_strong_expressions_move_brows_and_nose_alike"),
    "rolled the other way":  Bite("data/drawn_motion.py", "two.matrix - one.matrix", "one.matrix - two.matrix",
                                  "test_drawn_motion", "test_a_roll_turns_about_the_middle_of_the_head"),
    "the patch in both":     Bite("data/drawn_motion.py", "torch.minimum(outside_box(", "torch.maximum(outside_box(",
                                  "test_drawn_motion", "test_nothing_is_valid_under_the_patch_in_either_frame"),
    "offset from the onset": Bite("data/drawn_micro.py", "(1 - over(top, offset))", "(1 - over(onset, offset))", "test_drawn_motion", "test_the_sheet_is_true"),
    # magnification
    "half a turn":           Bite("flow/eulerian.py", "math.exp(-2 * math.pi", "math.exp(-1 * math.pi", "test_eulerian", "test_iir_by_hand"),
    "cut-offs halved":       Bite("flow/eulerian.py", "f / 2 if as_code else f", "f / 2 if as_code else f / 2", "test_eulerian", "test_known_gain_of_the_butterworth_band"),
    "one-sided band":        Bite("flow/eulerian.py", "torch.minimum(k, T - k)", "torch.minimum(k, T + k)", "test_eulerian", "test_reading_the_ideal_band_is_two_sided",
                                  {"as_code": False, "gain": 1.0}),
    "not exaggerated":       Bite("flow/eulerian.py", "2 * (wavelength", "1 * (wavelength", "test_eulerian", "test_band_gains_by_hand"),
    "gains below zero":      Bite("flow/eulerian.py", "max(gain, 0.0)", "min(gain, 9e9)", "test_eulerian", "test_reading_no_gain_below_zero"),
    "colour moves":          Bite("flow/eulerian.py", "- .5 if as_code", "- .5 if not as_code", "test_eulerian", "test_reading_colour_stays_where_it_is"),
    "band upside down":      Bite("flow/eulerian.py", "return high - low", "return low - high", "test_eulerian", "test_iir_on_a_step"),
    # engat (1) to (4)
    "sender asks":           Bite("ops/edge_attention.py", "(Wh @ a_1)[..., :, None] + (Wh @ a_2)[..., None, :]",
                                  "(Wh @ a_1)[..., None, :] + (Wh @ a_2)[..., :, None]", "test_engat", "test_eq1_two_nodes"),
    "edges not heard":       Bite("ops/edge_attention.py", "e + f @ (W_e.mT @ a_3[0])", "e + 0 * f @ (W_e.mT @ a_3[0])", "test_engat", "test_eq1_two_nodes"),
    "edges turned round":    Bite("ops/edge_attention.py", "return e if f is None else e + f @", "return e if f is None else e + f.transpose(-2, -3) @",
                                  "test_engat", "test_eq1_two_nodes"),
    "leaky after softmax":   Bite("ops/edge_attention.py", "F.leaky_relu(edge_logits(h @ self.W.mT, f, self.W_e, self.a), self.slope)",
                                  "edge_logits(h @ self.W.mT, f, self.W_e, self.a)", "test_engat", "test_eq3_leaky_before_the_softmax"),
    "weights transposed":    Bite("ops/edge_attention.py", "self.attention(h, A, f) @ (h", "self.attention(h, A, f).mT @ (h", "test_engat", "test_eq134_the_loop_twin",
                                  {"edges": True}),
    "no σ":                  Bite("ops/edge_attention.py", "return F.relu(self.mix(h, A, f))", "return self.mix(h, A, f)", "test_engat", "test_eq4_sigma_outside_the_sum"),
    "receiver for sender":   Bite("ops/edge_attention.py", "take(Wh, edges[1], -2)  ", "take(Wh, edges[0], -2)  ", "test_engat", "test_eq4_an_edge_list_gives_the_same"),
    # engat (5) to (7), the graph
    "the union too large":   Bite("graphs/landmarks.py", "size[..., None, :] - common  ", "size[..., None, :] - 0 * common  ", "test_engat", "test_eq6_a_path_of_three"),
    "who hears me":          Bite("graphs/landmarks.py", "common = member @ member.mT", "common = member.mT @ member", "test_engat", "test_eq6_sets_of_a_random_graph"),
    "no sigmoid":            Bite("graphs/landmarks.py", "return torch.sigmoid(common / union.clamp(min=1))", "return common / union.clamp(min=1)", "test_engat", "test_eq6_a_path_of_three"),
    "γ for γ²":              Bite("graphs/landmarks.py", "(gamma.square() + 1e-6)", "(gamma.abs() + 1e-6)", "test_engat", "test_eq7_by_hand"),
    "without the 2":         Bite("graphs/landmarks.py", "-distance / (2 *", "-distance / (1 *", "test_engat", "test_eq7_by_hand"),
    "local first":           Bite("graphs/landmarks.py", "torch.stack([global_similarity(A).expand_as(local), local], -1)",
                                  "torch.stack([local, global_similarity(A).expand_as(local)], -1)", "test_engat", "test_eq5_both_similarities_and_a_gamma_that_learns"),
    "every pair of frames":  Bite("graphs/landmarks.py", ".abs() == 1)", ".abs() >= 1)", "test_engat", "test_three_frames"),
    "rings left open":       Bite("graphs/landmarks.py", "for k in range(len(ring))]", "for k in range(len(ring) - 1)]", "test_engat", "test_the_contours"),
    # engat §3.2, (8) to (10)
    "rounded down":          Bite("ops/pooling.py", "math.ceil(ratio", "math.floor(ratio", "test_engat", "test_top_k_counts"),
    "the lowest stay":       Bite("ops/pooling.py", "descending=True", "descending=False", "test_engat", "test_top_k_with_ties"),
    "no gate":               Bite("ops/pooling.py", "torch.tanh(score[b, kept])[..., None]", "torch.ones_like(score[b, kept])[..., None]", "test_engat", "test_pool_by_hand"),
    "compared after tanh":   Bite("ops/pooling.py", "kept = top_k(score, self.ratio)", "kept = top_k(torch.tanh(score), self.ratio)", "test_engat", "test_sagpool_compares_before_the_gate"),
    "score through ReLU":    Bite("ops/pooling.py", "mix_edges(h, edges, f, self.score)[..., 0]", "mix_edges(h, edges, f, self.score)[..., 0].relu()", "test_engat", "test_sagpool_scores_may_be_negative"),
    "score deaf to edges":   Bite("ops/pooling.py", "mix_edges(h, edges, f, self.score)", "mix_edges(h, edges, None, self.score)", "test_engat", "test_sagpool_reads_the_edges"),
    "senders' degree alone":  Bite("graphs/landmarks.py", "return root[:, None] * A * root", "return A * root.square()", "test_ops", "test_graph_conv_by_hand"),
    "no bias":               Bite("ops/graph_conv.py", "(h @ self.W.mT) + self.bias", "(h @ self.W.mT) + 0 * self.bias", "test_ops", "test_graph_conv_by_hand"),
    "sum for mean":          Bite("ops/pooling.py", "h.mean(-2)", "h.sum(-2)", "test_engat", "test_readout_by_hand"),
    "only classes there":    Bite("ops/metrics.py", "return f1_per_class(counts).mean()", "return f1_macro(counts)", "test_engat", "test_eq9_a_class_that_is_nowhere_counts"),
    # from a clip to its graphs, and the network
    "α for 1 + α":           Bite("data/micro_graphs.py", "rest + (1 + how.gain * alpha) * (points - rest)", "rest + how.gain * alpha * (points - rest)", "test_micro_graphs", "test_scaled_by_what_the_filters_let_through"),
    "every step from rest":  Bite("data/micro_graphs.py", "sample(step[None], path[-1][None])", "sample(step[None], rest[None])", "test_micro_graphs", "test_flow_carries_landmarks"),
    "corners for centres":   Bite("data/micro_graphs.py", "(.5 - left) * sx - .5", "(.0 - left) * sx - .0", "test_micro_graphs", "test_a_whole_picture_is_resized_whatever_its_proportions"),
    "time backwards":        Bite("data/micro.py", "torch.lerp(points[last], points[after]", "torch.lerp(points[after], points[last]", "test_micro_graphs", "test_between_by_hand"),
    "padding votes":         Bite("models/engat.py", "(real / real.sum(1, keepdim=True))", "(real / real.shape[1])", "test_engat_model", "test_forward_is_the_page", {"edges": True}),
    "copies rounded down":   Bite("models/engat.py", "int(max(number.values()) / n + .5)", "int(max(number.values()) / n)", "test_engat_model", "test_augment_fills_up_smaller_classes",
                                  {"numbers": (88, 32, 25), "factors": ([4], [4, 5, 3], [4, 5, 3, 2])}),
    "streams swapped":       Bite("models/engat.py", "((self.first, x), (self.second, p))", "((self.second, p), (self.first, x))", "test_engat_model", "test_forward_is_the_page", {"edges": True}),
    # the operators below
    "max without its sign":  Bite("ops/scatter.py", "include_self=False", "include_self=True", "test_ops", "test_scatter_by_hand"),
    "sender's part at i":    Bite("ops/edge_attention.py", "take(Wh @ a_2, j, -1)", "take(Wh @ a_2, i, -1)", "test_engat", "test_eq4_an_edge_list_gives_the_same"),
    "list without LeakyReLU": Bite("ops/edge_attention.py", "scatter_softmax(F.leaky_relu(e, layer.slope), i,", "scatter_softmax(e, i,", "test_engat", "test_eq4_an_edge_list_gives_the_same"),
    "over the senders":      Bite("ops/edge_attention.py", "layer.slope), i, Wh.shape[-2], -1)", "layer.slope), j, Wh.shape[-2], -1)", "test_engat", "test_eq4_an_edge_list_gives_the_same"),
    "mean over all edges":   Bite("ops/scatter.py", "/ _along(degree, value, dim)", "/ len(index)", "test_ops", "test_scatter_by_hand"),
    "rows are predictions":  Bite("ops/metrics.py", "target[known] * C + predicted[known]", "predicted[known] * C + target[known]",
                                  "test_ops", "test_confusion_by_hand"),
    # megraphau (§2.1), (1)
    "K + 1 neighbours":      Bite("graphs/nearest.py", "best.indices[..., :K]", "best.indices[..., :K + 1]",
                                  "test_megraphau", "test_section_21_nearest_by_hand"),
    "of equals the last":    Bite("graphs/nearest.py", "likeness = v @ v.mT", "likeness = v @ v.mT + 1e-4 * torch.arange(N, device=v.device)",
                                  "test_megraphau", "test_section_21_nearest_of_equals"),
    "never oneself":         Bite("graphs/nearest.py", "likeness = v @ v.mT", "likeness = v @ v.mT - 1e9 * torch.eye(N, device=v.device)",
                                  "test_megraphau", "test_section_21_nearest_by_hand"),
    "A for A / K":           Bite("graphs/nearest.py", "return root[..., :, None] * A * root[..., None, :]", "return A",
                                  "test_megraphau", "test_section_21_scaled_by_hand"),
    "who listens to i":      Bite("ops/graph_conv.py", "A_hat @ self.V(v) + self.U(v)", "A_hat.mT @ self.V(v) + self.U(v)",
                                  "test_megraphau", "test_eq1_by_hand"),
    "a mean for each channel": Bite("ops/graph_conv.py", "self.bn(A_hat @ self.V(v) + self.U(v))", "self.bn((A_hat @ self.V(v) + self.U(v)).mT).mT",
                                    "test_megraphau", "test_eq1_one_mean_for_each_unit"),
    # megraphau (2)
    "cosine below zero":     Bite("ops/similarity.py", "F.normalize(F.relu(v), dim=-1)", "F.normalize(v, dim=-1)",
                                  "test_megraphau", "test_eq2_by_hand"),
    "s as long as it is":    Bite("ops/similarity.py", "F.normalize(F.relu(s), dim=-1)", "F.relu(s)",
                                  "test_megraphau", "test_eq2_by_hand"),
    # megraphau (3), (4)
    "units ask themselves":  Bite("ops/cross_attention.py", "attend(U.flatten(1, 2), X)", "attend(U.flatten(1, 2), U.flatten(1, 2))",
                                  "test_megraphau", "test_eq3_by_hand"),
    "tokens before units":   Bite("ops/cross_attention.py", "attend(U.flatten(1, 2), X)", "attend(U.transpose(1, 2).flatten(1, 2), X)",
                                  "test_megraphau", "test_eq3_by_hand"),
    "B asks A":              Bite("ops/cross_attention.py", "return self.weights(A, B) @ self.value(B)", "return self.weights(B, A).mT @ self.value(B)",
                                  "test_megraphau", "test_eq4_by_hand"),
    "√C for √d_k":           Bite("ops/cross_attention.py", "math.sqrt(self.key.out_features)", "math.sqrt(self.key.in_features)",
                                  "test_megraphau", "test_eq4_by_hand"),
    # megraphau (5)
    "query and key swapped": Bite("ops/cross_attention.py", "scores = (q @ k.mT)", "scores = (k @ q.mT)",
                                  "test_megraphau", "test_eq5_the_loop_twin", {**PAIRS, "training": False}),
    "e_ji for e_ij":         Bite("ops/cross_attention.py", "e = P.mean(-2) @ V ", "e = (P.mean(-2) @ V).transpose(1, 2) ",
                                  "test_megraphau", "test_eq5_by_hand"),
    "running variance biased": Bite("ops/cross_attention.py", "(n / (n - 1).clamp(min=1))", "1",
                                    "test_megraphau", "test_eq5_the_loop_twin", {**PAIRS, "training": True}),
    "squares from zero":     Bite("ops/cross_attention.py", "self.everywhere(squares) / n - mean.square()", "self.everywhere(squares) / n",
                                  "test_megraphau", "test_eq5_the_loop_twin", {**PAIRS, "training": True}),
    # megraphau (§2.2)
    "gates over receivers":  Bite("ops/gated_graph_conv.py", "eta = e.sigmoid().softmax(2)", "eta = e.sigmoid().softmax(1)",
                                  "test_megraphau", "test_gated_nodes_by_hand"),
    "1/N forgotten":         Bite("ops/gated_graph_conv.py", "(eta * self.V(x)[:, None]).mean(2)", "(eta * self.V(x)[:, None]).sum(2)",
                                  "test_megraphau", "test_gated_nodes_by_hand"),
    # megraphau (6)
    "r for 1/r":             Bite("ops/losses.py", "total * (1 / r) / (1 / r).sum()", "total * r / r.sum()",
                                  "test_megraphau", "test_section_23_weights_by_hand"),
    "no p in the middle":    Bite("ops/losses.py", "(1 - y) * middle * _log(1 - p)", "(1 - y) * _log(1 - p)",
                                  "test_megraphau", "test_eq6_by_hand"),
    "p in the middle held":  Bite("ops/losses.py", "middle = p.detach() if detach else p", "middle = p.detach()",
                                  "test_megraphau", "test_eq6_slopes_by_hand"),
    "mean over unknown too": Bite("ops/losses.py", "w * each, 0.0).sum() / known.sum().clamp(min=1)", "w * each, 0.0).mean()",
                                  "test_megraphau", "test_eq6_the_loop_twin"),
    # megraphau (7), (8), §3.1
    "2 y_j + y_i":           Bite("ops/losses.py", "2 * i + j, -1)", "2 * j + i, -1)",
                                  "test_megraphau", "test_section_23_pairs_by_hand"),
    "softmax over the edges": Bite("ops/losses.py", "logits.flatten(0, 2).log_softmax(-1)", "logits.flatten(0, 2).log_softmax(0)",
                                   "test_megraphau", "test_eq7_by_hand"),
    "λ on the nodes":        Bite("ops/losses.py", "return L_WA + lam * L_E", "return lam * L_WA + L_E",
                                  "test_megraphau", "test_eq8"),
    "λ and 1 − λ":           Bite("ops/losses.py", "return L_WA + lam * L_E", "return (1 - lam) * L_WA + lam * L_E",
                                  "test_megraphau", "test_eq8"),
    "calls of the unknown":  Bite("ops/metrics.py", "(known & (predicted == 1)).sum(0)", "(predicted == 1).sum(0)",
                                  "test_megraphau", "test_f1_per_unit_by_hand"),
    # megraphau: the backbones and the readers
    "stride in the first 1 × 1": Bite("backbones/resnet.py",
                                      "conv(c_in, width, 1), nn.BatchNorm2d(width)\n        self.conv2, self.bn2 = conv(width, width, 3, stride)",
                                      "conv(c_in, width, 1, stride), nn.BatchNorm2d(width)\n        self.conv2, self.bn2 = conv(width, width, 3)",
                                      "test_resnet", "test_numbers_of_torchvision", {"name": "resnet50", "total": 11820.828438317249, "values": {}}),
    "shifted the other way": Bite("backbones/swin.py", "x.roll((-shift[0], -shift[1]), (1, 2))", "x.roll(shift, (1, 2))",
                                  "test_swin", "test_block_agrees_with_a_slow_twin", SHIFTED),
    "mask left out":         Bite("backbones/swin.py", "self.attn(windows(x, self.w), mask)", "self.attn(windows(x, self.w), None)",
                                  "test_swin", "test_block_agrees_with_a_slow_twin", SHIFTED),
    "bias transposed":       Bite("backbones/swin.py", "d = i[:, None] - i + w - 1", "d = i - i[:, None] + w - 1",
                                  "test_swin", "test_relative_position_bias_by_hand"),
    "merged row by row":     Bite("backbones/swin.py", "for c in (0, 1) for r in (0, 1)", "for r in (0, 1) for c in (0, 1)",
                                  "test_swin", "test_patch_merging_order_by_hand"),
    "9 is absent":           Bite("data/bp4d.py", '"9": -1}', '"9": 0}',
                                  "test_au_readers", "test_bp4d_codes_pictures_and_counts", {"tmp_path": FOLDER / "9"}),
    "folds from the first part": Bite("data/au_frames.py", "return str(3 - k)", "return str(1 + k)",
                                      "test_au_readers", "test_bp4d_folds_as_published", {"tmp_path": FOLDER / "folds"}),
    "> for ≥":               Bite("data/disfa.py", "level >= cfg.threshold", "level > cfg.threshold",
                                  "test_au_readers", "test_disfa_threshold_and_order_of_units", {"tmp_path": FOLDER / "level"}),
    "picture t is frame t":  Bite("data/disfa.py", "coded[t - 1] =", "coded[t] =",
                                  "test_au_readers", "test_disfa_lines_count_from_1_and_pictures_from_0", {"tmp_path": FOLDER / "frame"}),
    # face2nodes (1) to (4)
    "patches by the largest": Bite("models/face2nodes.py", "F.adaptive_avg_pool2d(X, self.side)", "F.adaptive_max_pool2d(X, self.side)",
                                   "test_face2nodes", "test_eq1_to_4_by_hand"),
    "the nearest pixel":     Bite("models/face2nodes.py", '(self.side, self.side), mode="bilinear")', '(self.side, self.side), mode="nearest")',
                                  "test_face2nodes", "test_eq1_smaller_maps_are_enlarged_by_hand"),
    "the last map without bias": Bite("models/face2nodes.py", "return conv(X) if X.shape[-1] == self.side", "return F.conv2d(X, conv.weight) if X.shape[-1] == self.side",
                                      "test_face2nodes", "test_eq1_to_4_by_hand"),
    "the deepest first":     Bite("models/face2nodes.py", "zip(self.conv, maps, strict=True)], 1)", "zip(self.conv, maps, strict=True)][::-1], 1)",
                                  "test_face2nodes", "test_eq1_to_4_by_hand"),
    "φ without GELU":        Bite("models/face2nodes.py", "return F.gelu(self.bn(self.fuse(X_c)))", "return self.bn(self.fuse(X_c))",
                                  "test_face2nodes", "test_eq1_to_4_the_loop_twin", {"training": True}),
    "a stride too many":     Bite("models/face2nodes.py", "2 if n < halvings else 1", "2 if n <= halvings else 1", "test_face2nodes", "test_table_3_the_stem_of_ViG"),
    "GELU behind the stem":  Bite("models/face2nodes.py", "super().__init__(*layers[:-1])", "super().__init__(*layers)",
                                  "test_face2nodes", "test_table_3_the_stem_of_ViG"),
    "column by column":      Bite("models/face2nodes.py", "return X_f.flatten(2).mT", "return X_f.mT.flatten(2).mT",
                                  "test_face2nodes", "test_the_whole_the_loop_twin", WHOLE),
    "faces as they are":     Bite("models/face2nodes.py", "x = resnet.normalise(x)", "x = 1 * x", "test_face2nodes", "test_the_whole_the_loop_twin", WHOLE),
    # face2nodes (5)
    "product once":          Bite("ops/neighbours.py", "alpha=-2)", "alpha=-1)", "test_face2nodes", "test_eq5_squared_distance_by_hand"),
    "squares below zero":    Bite("ops/neighbours.py", ".clamp_(min=0)", ".clamp_(min=-9e9)", "test_face2nodes", "test_eq5_squared_distance_far_from_the_origin"),
    "of equals the highest": Bite("ops/neighbours.py", "order.topk(K, largest=False).values % 2 ** 32", "N - 1 - far.flip(-1).sort(stable=True).indices[..., :K]",
                                  "test_face2nodes", "test_eq5_of_equals_the_lowest_index"),
    "itself among equals":   Bite("ops/neighbours.py", "fill_(-1.0 if itself", "fill_(0.0 if itself", "test_face2nodes", "test_eq5_itself_among_duplicates"),
    "itself all the same":   Bite("ops/neighbours.py", "else torch.inf)", "else -1.0)", "test_face2nodes", "test_eq5_knn_without_itself_by_hand"),
    "by the angle":          Bite("ops/neighbours.py", "dim=-1) if normalised else", "dim=-1) if not normalised else",
                                  "test_face2nodes", "test_eq5_raw_against_normalised_by_hand"),
    "length of a feature":   Bite("ops/neighbours.py", "F.normalize(x.float(), dim=-1)", "F.normalize(x.float(), dim=-2)",
                                  "test_face2nodes", "test_eq5_raw_against_normalised_by_hand"),
    "n_d for n_1":           Bite("ops/neighbours.py", "knn(x, (k - 1) * d + 1, itself, normalised)[..., ::d]", "knn(x, k * d, itself, normalised)[..., d - 1::d]",
                                  "test_face2nodes", "test_eq5_dilated_by_hand"),
    "the k nearest":         Bite("ops/neighbours.py", "[..., ::d]", "[..., :k]", "test_face2nodes", "test_eq5_dilated_by_hand"),
    "wider a block early":   Bite("models/face2nodes.py", "-(-l // self.slower)", "l // self.slower + 1", "test_face2nodes", "test_eq5_dilations_of_the_blocks"),
    "dilation not passed on": Bite("models/face2nodes.py", "dilated_knn(X, self.k, self.d,", "dilated_knn(X, self.k, 1,",
                                   "test_face2nodes", "test_eq9_settings_reach_the_graph"),
    # face2nodes (6), (7)
    "x and g swapped":       Bite("ops/relation_conv.py", "self.f(x, relation(x, index, self.gates(x, index)))", "self.f(relation(x, index, self.gates(x, index)), x)",
                                  "test_face2nodes", "test_eq8_by_hand"),
    "x_i − x_j":             Bite("ops/relation_conv.py", "torch.sigmoid(s_j - s[..., None] + b)", "torch.sigmoid(s[..., None] - s_j + b)",
                                  "test_face2nodes", "test_eq7_gates_by_hand"),
    "gate of x_j alone":     Bite("ops/relation_conv.py", "torch.sigmoid(s_j - s[..., None] + b)", "torch.sigmoid(s_j - 0 * s[..., None] + b)",
                                  "test_face2nodes", "test_eq7_gates_by_hand"),
    "gates share one":       Bite("ops/relation_conv.py", "torch.sigmoid(s_j - s[..., None] + b)", "torch.softmax(s_j - s[..., None] + b, -1)",
                                  "test_face2nodes", "test_eq7_gates_by_hand"),
    "gate without b":        Bite("ops/relation_conv.py", "s[..., None] + b)", "s[..., None] + 0 * b)", "test_face2nodes", "test_eq7_gates_by_hand"),
    "mean of relations":     Bite("ops/relation_conv.py", "x, value=-1).to(kind)", "x, value=-1).to(kind) / index.shape[-1]", "test_face2nodes", "test_eq7_relation_by_hand"),
    "x_j for x_j − x_i":     Bite("ops/relation_conv.py", "x, value=-1)", "x, value=0)", "test_face2nodes", "test_eq7_relation_by_hand"),
    "the first sample's nodes": Bite("ops/relation_conv.py", "first = N * torch.arange(B", "first = 0 * torch.arange(B",
                                     "test_face2nodes", "test_eq7_the_loop_twin"),
    "the largest x_j":       Bite("ops/relation_conv.py", 'mode="max").view_as(x) - x', 'mode="max").view_as(x)', "test_face2nodes", "test_eq7_max_relative_by_hand"),
    # face2nodes (8)
    "W_x and W_g swapped":   Bite("ops/relation_conv.py", "of_x, of_g = self.weight", "of_g, of_x = self.weight", "test_face2nodes", "test_eq8_by_hand"),
    "groups shuffled":       Bite("ops/normalised_gelu.py", "F.gelu(bn(z.transpose(0, 1).flatten(1)))", "F.gelu(bn(z.permute(1, 2, 0).flatten(1)))",
                                  "test_face2nodes", "test_eq8_normalised_gelu_elsewhere_is_torch_s"),
    "GELU by tanh":          Bite("ops/normalised_gelu.py", "F.gelu(torch.addcmul(β[q], centred, γ[q] * (σ2[q] + ε).rsqrt()))",
                                  'F.gelu(torch.addcmul(β[q], centred, γ[q] * (σ2[q] + ε).rsqrt()), approximate="tanh")',
                                  "test_face2nodes", "test_eq8_normalised_gelu_by_hand"),
    "a variance kept with bias": Bite("ops/normalised_gelu.py", "σ2.flatten() * (rows / (rows - 1))", "σ2.flatten()",
                                      "test_face2nodes", "test_eq8_normalised_gelu_by_hand"),
    "the mean's gradient":   Bite("ops/normalised_gelu.py", ".sub_(to_β[q] / rows)", "", "test_face2nodes",
                                  "test_eq8_normalised_gelu_is_torch_s", {"groups": 4}),
    "a gradient written over": Bite("ops/normalised_gelu.py", ".clone(memory_format=torch.contiguous_format)", ".contiguous()", "test_face2nodes",
                                    "test_eq8_normalised_gelu_is_torch_s", {"groups": 1}),
    # face2nodes (9), (10)
    "the graph of X":        Bite("models/face2nodes.py", "X = self.F_in(X)\n        return X, dilated_knn(X,", "Y, X = X, self.F_in(X)\n        return X, dilated_knn(Y,",
                                  "test_face2nodes", "test_eq9_the_graph_of_what_F_in_gives"),
    "Z without X":           Bite("models/face2nodes.py", "self.F_out(self.conv(*self.graph(X))) + X", "self.F_out(self.conv(*self.graph(X)))",
                                  "test_face2nodes", "test_eq9_10_by_hand"),
    "FC not normalised":     Bite("models/face2nodes.py", "self.bn(self.fc(x.flatten(0, 1)))", "self.fc(x.flatten(0, 1))",
                                  "test_face2nodes", "test_eq9_fully_connected_by_hand"),
    "around both":           Bite("models/face2nodes.py", "return self.M(Z) + Z", "return self.M(Z) + X", "test_face2nodes", "test_eq9_10_by_hand"),
    "ReLU in M":             Bite("models/face2nodes.py", "nn.GELU(), FC(wider * D, D)", "nn.ReLU(), FC(wider * D, D)",
                                  "test_face2nodes", "test_eq9_10_one_node_one_sample"),
    "the strongest node":    Bite("models/face2nodes.py", "self.head(X.mean(1))", "self.head(X.amax(1))", "test_face2nodes", "test_head_by_hand"),
    "gates before F_in":     Bite("models/face2nodes.py", "block.conv.gates(inside, index)", "block.conv.gates(X, index)",
                                  "test_face2nodes", "test_graphs_are_those_of_the_blocks"),
    "every graph the first": Bite("models/face2nodes.py", "            X = block(X)\n        return tuple(", "            X = 1 * X\n        return tuple(",
                                  "test_face2nodes", "test_graphs_are_those_of_the_blocks"),
    "as if one group":       Bite("ops/relation_conv.py", "std=(groups / D) ** 0.5", "std=(1 / D) ** 0.5", "test_face2nodes", "test_first_weights"),
    # face2nodes (11), (12)
    "the true class alone":  Bite("ops/losses.py", "-(q * logits.log_softmax(-1)).sum()", "-(q * logits.log_softmax(-1))[q > .5].sum()",
                                  "test_face2nodes", "test_eq11_all_classes_count"),
    "softmax over the faces": Bite("ops/losses.py", "q * logits.log_softmax(-1)", "q * logits.log_softmax(0)", "test_face2nodes", "test_eq11_by_hand"),
    "N with the unknown":    Bite("ops/losses.py", "(q * logits.log_softmax(-1)).sum() / known.sum().clamp(min=1)", "(q * logits.log_softmax(-1)).sum() / len(q)",
                                  "test_face2nodes", "test_eq11_by_hand"),
    "ξ among the others":    Bite("ops/losses.py", "keepdim=True) / pi.shape[-1]", "keepdim=True) / (pi.shape[-1] - 1)", "test_face2nodes", "test_eq12_by_hand"),
    "the unknown smoothed":  Bite("ops/losses.py", "xi * pi.sum(-1, keepdim=True) / pi.shape[-1]", "xi / pi.shape[-1]", "test_face2nodes", "test_eq12_by_hand"),
    "unknown is the first":  Bite("models/face2nodes.py", "(y >= 0)[:, None]", "(y >= -1)[:, None]", "test_face2nodes", "test_eq11_12_in_training"),
    # face2nodes: readers, kept pictures, augmentation
    "unknown may win":       Bite("data/ferplus.py", "votes = votes[:len(NAMES)]", "votes = votes[:len(COLUMNS)]", "test_picture_readers", "test_votes_by_hand",
                                  {"votes": "0,0,0,0,0,0,4,0,6,0", "argmax": 6, "unique": None, "majority": None}),
    "the first of a tie":    Bite("data/ferplus.py", "votes.count(max(votes)) == 1", "votes.count(max(votes)) >= 1", "test_picture_readers", "test_votes_by_hand",
                                  {"votes": "0,5,0,5,0,0,0,0,0,0", "argmax": 1, "unique": None, "majority": None}),
    "half is enough":        Bite("data/ferplus.py", "2 * max(votes) > sum(votes)", "2 * max(votes) >= sum(votes)", "test_picture_readers", "test_votes_by_hand",
                                  {"votes": "0,5,0,5,0,0,0,0,0,0", "argmax": 1, "unique": None, "majority": None}),
    "single votes count":    Bite("data/ferplus.py", "tuple(0 if v == 1 else v for v", "tuple(v if v == 1 else v for v", "test_picture_readers", "test_votes_by_hand",
                                  {"votes": "5,1,1,1,1,1,0,0,0,0", "argmax": 0, "unique": 0, "majority": 0}),
    "votes in FERPlus's order": Bite("data/ferplus.py", "tuple(votes[j] for j in order)", "votes[:len(order)]",
                                     "test_picture_readers", "test_ferplus_votes_follow_the_order_of_the_classes", {"tmp_path": FOLDER / "order"}),
    "AffectNet's columns":   Bite("data/ferplus.py", '"surprise", "sadness", "anger"', '"sadness", "surprise", "anger"',
                                  "test_picture_readers", "test_ferplus_both_forms_are_one_data_set", {"tmp_path": FOLDER / "columns"}),
    "public is reported":    Bite("data/ferplus.py", '"PublicTest": "select", "PrivateTest": "report"', '"PublicTest": "report", "PrivateTest": "select"',
                                  "test_picture_readers", "test_ferplus_tables", {"tmp_path": FOLDER / "public"}),
    "1 is fear":             Bite("data/rafdb.py", 'NAMES = ("surprise", "fear"', 'NAMES = ("fear", "surprise"',
                                  "test_picture_readers", "test_rafdb_both_forms_are_one_data_set", {"tmp_path": FOLDER / "raf"}),
    "2 is surprise":         Bite("data/affectnet.py", '"sadness", "surprise", "fear"', '"surprise", "sadness", "fear"',
                                  "test_picture_readers", "test_affectnet_old_layout", {"tmp_path": FOLDER / "affect"}),
    "named by its id":       Bite("data/packed.py", "blake2b(raw(sample.clip),", "blake2b(sample.id.encode(),",
                                  "test_packed", "test_the_name_is_the_content", three("content")),
    "every size one name":   Bite("data/packed.py", "repr((VERSION, size, grey))", "repr((VERSION, grey))",
                                  "test_packed", "test_the_name_is_the_content", three("size")),
    "counted with the drawn": Bite("data/packed.py", "clip=Row(str(path), n))", "clip=Row(str(path), k))",
                                   "test_packed", "test_only_single_pictures_from_elsewhere", three("drawn")),
    "half for twice":        Bite("data/augmentation.py", "(u / scale).expand(B, H, W), (v[:, None] / scale)", "(u * scale).expand(B, H, W), (v[:, None] * scale)",
                                  "test_augmentation", "test_zoom_of_two_by_hand"),
    "black around it":       Bite("data/augmentation.py", 'padding_mode="border"', 'padding_mode="zeros"', "test_augmentation", "test_zoom_of_two_by_hand"),
    "head over heels":       Bite("data/augmentation.py", "torch.lerp(x, x.flip(-1), mirror)", "torch.lerp(x, x.flip(-2), mirror)",
                                  "test_augmentation", "test_zoom_of_two_by_hand"),
    "contrast first":        Bite("data/augmentation.py", "brightness, contrast, saturation = factors", "contrast, brightness, saturation = factors",
                                  "test_augmentation", "test_factors_by_hand", {"factors": (1., 2., 1.), "wanted": ((.069, .469, .669), (1., 0., 0.))}),
    "blue for red":          Bite("data/augmentation.py", "red, green, blue = x.split", "blue, green, red = x.split",
                                  "test_augmentation", "test_factors_by_hand", {"factors": (1., 1., 0.), "wanted": ((.3516,) * 3, (.3104,) * 3)}),
    "the batch's mean grey": Bite("data/augmentation.py", "_grey(x).mean((-2, -1), keepdim=True)", "_grey(x).mean()",
                                  "test_augmentation", "test_a_sample_does_not_depend_on_its_neighbours"),
    "never smaller":         Bite("data/augmentation.py", "(2 * u[1:] - 1)", "(2 * u[1:] - 0)", "test_augmentation", "test_draws_lie_where_they_should"),
    # face2nodes: its figures, its size
    "uphill":                Bite("figures/tsne.py", "4 * (my[:, 2:] * y - my[:, :2])", "4 * (my[:, :2] - my[:, 2:] * y)",
                                  "test_tsne", "test_gradient_of_three_points_by_hand"),
    "pairs once":            Bite("figures/tsne.py", "(p + p.mT) / (2 * len(x))", "(p + p.mT) / len(x)", "test_tsne", "test_probabilities_of_three_points_by_hand"),
    "one's own neighbour":   Bite("figures/tsne.py", "d.fill_diagonal_(torch.inf)", "d.fill_diagonal_(0)", "test_tsne", "test_probabilities_of_three_points_by_hand"),
    "against it too":        Bite("figures/maps.py", "X.detach()).relu()", "X.detach()).abs()", "test_figures_face2nodes", "test_grad_cam_by_hand"),
    "over all faces' most":  Bite("figures/maps.py", "most = seen.amax(1, keepdim=True)", "most = seen.amax()", "test_figures_face2nodes", "test_grad_cam_by_hand"),
    "below zero is weak":    Bite("figures/maps.py", ".abs().mean(-1)", ".mean(-1)", "test_figures_face2nodes", "test_feature_map_by_hand"),
    "right or not":          Bite("figures/face2nodes.py", "(1 + (predicted == target).int())", "(1 + 0 * (predicted == target).int())",
                                  "test_figures_face2nodes", "test_one_of_each_class"),
    "never called, nothing": Bite("training/count.py", "if name in flops else sum(of(", "if name in flops else 0 * sum(of(",
                                  "test_face2nodes", "test_multiply_adds_by_hand"),
}


@pytest.mark.parametrize("name", BITES)
def test_the_bug_is_caught(name, tmp_path, monkeypatch):
    """Plant one bug in a copy; its golden test fails, by an assertion and nothing else."""
    bite = BITES[name]
    source = (ROOT / "refnet" / bite.file).read_text(encoding="utf-8")
    assert source.count(bite.right) == 1, f"{bite.right!r} stands {source.count(bite.right)} times in {bite.file}"
    shutil.copytree(ROOT / "refnet", tmp_path / "refnet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests" / f"{bite.tests}.py", tmp_path / f"bitten_{bite.tests}.py")     # no test by its name: pytest would rewrite it
    (tmp_path / "refnet" / bite.file).write_text(source.replace(bite.right, bite.wrong), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [m for m in sys.modules if m.split(".")[0] == "refnet"]:
        monkeypatch.delitem(sys.modules, module)
    before = set(sys.modules)
    try:
        test = getattr(importlib.import_module(f"bitten_{bite.tests}"), bite.caught_by)
        assert str(tmp_path) in sys.modules["refnet"].__file__
        device = {"device": torch.device("cpu")} if "device" in inspect.signature(test).parameters else {}
        with pytest.raises(AssertionError):
            test(**bite.given, **device)
    finally:
        for module in [m for m in set(sys.modules) - before if m.split(".")[0] == "refnet" or m.startswith(("bitten_", "test_"))]:
            del sys.modules[module]
