"""Upstream's own class with random weights -> file -> our loader: the same outputs, at the published sizes.

python -m benchmarks.checkpoint_equality                                  # all models, one after the other; an hour
python -m benchmarks.checkpoint_equality --models micro vit_b "tiny 2.1"
python -m benchmarks.checkpoint_equality --models vit_b --muggled-sam PATH   # also against that project's own class

Each line: largest absolute difference over all outputs in 32 bits, and the largest absolute output. A file of every
other layout is converted, converted back, and compared bit for bit; transformers' own file is loaded by ours.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    import torch

Answer = Mapping[str, "torch.Tensor"]
SAM1_SIZES = ("vit_b", "vit_l", "vit_h")
SAM2_SIZES = tuple(f"{size} {v}" for v in ("2.1", "2.0") for size in ("tiny", "small", "base_plus", "large"))
POINT = (307.0, 614.0)
"""Prompt in pixels of the model's input, from the left and from the top."""


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random values for every weight, also for those that upstream starts with zeros; outputs are of the size of 1."""
    import torch

    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            inputs = tensor[0].numel() if tensor.ndim > 1 and "embed" not in name else 4
            tensor.copy_(torch.randn(tensor.shape, generator=g) / inputs**0.5)
            if name.startswith("sam_mask_decoder.output_hypernetworks_mlps") and ".layers.2." in name:
                tensor /= 32.0  # SAM 2 adds its fine features to what a mask is made of, which are large
    return model.eval()


def picture(side: int) -> torch.Tensor:
    """Noise [1 3 h w], normalised as both families want it."""
    import torch

    return torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))


def compare(name: str, ours: Answer, theirs: Answer) -> None:
    """Print one line of the table."""
    difference = max((ours[k] - theirs[k]).abs().max().item() for k in theirs)
    largest = ", ".join(f"{k} {v.abs().max().item():.1f}" for k, v in theirs.items())
    print(f"| {name} | {difference:.1e} | {largest} |", flush=True)


def same_bits(path: Path, state: Answer) -> bool:
    """Whether a file holds these tensors and no others."""
    import torch

    from voxlang.checkpoints.reading import read_weights_file

    read = read_weights_file(path).state
    return read.keys() == state.keys() and all(torch.equal(v, read[k]) for k, v in state.items())


def there_and_back(source: Path, state: Answer, hub: str, layout: str, folder: Path) -> None:
    """Convert to a layout and back, and print whether the bits are the same; the converted file is left at `folder`."""
    from voxlang.checkpoints.convert import convert_file

    convert_file(source, folder, to=layout)
    back = source.with_name("back.pt")
    convert_file(folder, back, to=hub, partial=layout == "hf-sam2")
    kept = state
    if layout == "hf-sam2":
        kept = without_memory(state)
    print(f"  {hub} -> {layout} -> {hub}: the same to the bit: {same_bits(back, kept)}", flush=True)
    back.unlink()


def without_memory(state: Answer) -> Answer:
    """What a model for still pictures has of SAM 2."""
    from voxlang.checkpoints.patterns import KeyPattern
    from voxlang.checkpoints.sam2_layouts import MEMORY_PARTS

    patterns = [KeyPattern(part) for part in MEMORY_PARTS]
    return {k: v for k, v in state.items() if all(pattern.match(k) is None for pattern in patterns)}


def loads_to(source: Path, state: Answer) -> bool:
    """Whether our loader makes exactly these weights of a file."""
    import torch

    from voxlang.masks.load import load_sam

    own = load_sam(source).state_dict()
    return all(torch.equal(own[k], v) for k, v in state.items())


def sam1(size: str, folder: Path, muggled: Path | None) -> None:
    """SAM 1 of one size against segment-anything, transformers and MuggledSAM."""
    import torch
    from segment_anything import sam_model_registry
    from transformers import SamModel

    from voxlang.checkpoints.convert import convert_file
    from voxlang.masks.load import load_sam

    upstream = randomise(sam_model_registry[size]())
    state = {k: v.clone() for k, v in upstream.state_dict().items()}
    file, x = folder / "a.pth", picture(1024)
    torch.save(state, file)
    truth = sam1_answer(upstream, x)
    del upstream
    compare(f"{size}, segment-anything", sam1_answer(load_sam(file), x), truth)
    there_and_back(file, state, "sam1", "sam1-stages", folder / "stages.pt")
    if muggled:
        compare(f"{size}, MuggledSAM", muggled_answer(folder / "stages.pt", muggled, x), truth)
    (folder / "stages.pt").unlink()

    there_and_back(file, state, "sam1", "hf-sam", folder / "hf")
    theirs = _from_pretrained(SamModel, folder / "hf")
    answer = theirs(pixel_values=x, input_points=torch.tensor([[[POINT]]]), multimask_output=True)
    compare(f"{size}, transformers' SamModel", {"logits": answer.pred_masks[0], "iou": answer.iou_scores[0]}, truth)
    del answer
    theirs.save_pretrained(folder / "theirs")
    print(f"  transformers' own file loads to the same weights: {loads_to(folder / 'theirs', state)}", flush=True)
    convert_file(folder / "theirs", folder / "b.pth", to="sam1")
    print(f"  and converts to the same bits: {same_bits(folder / 'b.pth', state)}", flush=True)


def sam1_answer(model: torch.nn.Module, x: torch.Tensor) -> Answer:
    """Logits and predicted IoU of the three masks at the point."""
    import torch

    point = torch.tensor([[POINT]]), torch.ones(1, 1)
    sparse, dense = model.prompt_encoder(points=point, boxes=None, masks=None)
    logits, iou = model.mask_decoder(
        model.image_encoder(x), model.prompt_encoder.get_dense_pe(), sparse, dense, multimask_output=True
    )
    return {"logits": logits, "iou": iou}


def muggled_answer(file: Path, project: Path, x: torch.Tensor) -> Answer:
    """The same of MuggledSAM's model of a file in its own layout, loaded strictly by its own code."""
    sys.path.insert(0, str(project))
    from muggled_sam.v1_sam.make_sam_v1 import make_samv1_from_state_dict

    model = make_samv1_from_state_dict(str(file), strict_load=True).eval()
    interactive = model.get_interactive_context()
    prompts = interactive.encode_prompts(None, [tuple((p + 0.5) / x.shape[-1] for p in POINT)], None)
    logits, iou = interactive.generate_masks([model.image_encoder(x)], prompts)
    return {"logits": logits[:, -3:], "iou": iou[:, -3:]}


def sam2(name: str, folder: Path) -> None:
    """SAM 2 of one size and version against sam2 and transformers; "micro" has no form in transformers."""
    import torch
    from transformers import Sam2Model, Sam2VideoModel

    from voxlang.masks.build import build_sam2_model
    from voxlang.masks.load import load_sam
    from voxlang.masks.models import RELEASES

    configs = {f"{r.size} {r.version}": r.config_name for r in RELEASES}
    upstream = randomise(build_sam2_model(configs.get(name, name)))
    if upstream.pred_obj_scores:
        upstream.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data.fill_(5.0)  # the object is there
    state = {k: v.clone() for k, v in upstream.state_dict().items()}
    file, x = folder / "a.pt", picture(upstream.image_size)
    torch.save({"model": state}, file)
    has_memory = name != "micro"
    truth = sam2_answer(upstream, x, has_memory=has_memory)
    del upstream
    compare(f"{name}, sam2", sam2_answer(load_sam(file), x, has_memory=has_memory), truth)
    if not has_memory:
        return

    for layout, kind, title in (
        ("hf-sam2", Sam2Model, "Sam2Model"),
        ("hf-sam2-video", Sam2VideoModel, "Sam2VideoModel, two frames"),
    ):
        there_and_back(file, state, "sam2", layout, folder / layout)
        theirs = _from_pretrained(kind, folder / layout)
        if layout == "hf-sam2":
            answer = theirs(pixel_values=x, input_points=torch.tensor([[[POINT]]]))
            found = {"logits": answer.pred_masks[0], "iou": answer.iou_scores[0]}
        else:
            found = video_answer(theirs, x)
        compare(f"{name}, transformers' {title}", found, {k: v for k, v in truth.items() if k in found})
        theirs.save_pretrained(folder / "theirs")
        own = state if layout == "hf-sam2-video" else without_memory(state)
        print(f"  transformers' own file loads to the same weights: {loads_to(folder / 'theirs', own)}", flush=True)


def sam2_answer(model: torch.nn.Module, x: torch.Tensor, *, has_memory: bool) -> Answer:
    """Three masks at the point on a still picture; then the track of an object over two equal frames."""
    import torch

    model.binarize_mask_from_pts_for_mem_enc = True  # as sam2's own video predictor sets it, and transformers always
    point = {"point_coords": torch.tensor([[POINT]]) * model.image_size / 1024, "point_labels": torch.ones(1, 1).int()}
    _, features, positions, sizes = model._prepare_backbone_features(model.forward_image(x))
    output: dict[str, dict[int, dict[str, torch.Tensor]]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    finest = [f.permute(1, 2, 0).reshape(1, -1, *size) for f, size in zip(features, sizes, strict=True)]
    still = finest[-1] + (model.no_mem_embed.reshape(1, -1, 1, 1) if model.directly_add_no_mem_embed else 0)
    logits, _, iou, *_ = model._forward_sam_heads(
        backbone_features=still, point_inputs=point, high_res_features=finest[:-1], multimask_output=True
    )
    answer = {"logits": logits, "iou": iou}
    if not has_memory:
        return answer
    for frame in range(2):
        step = model.track_step(
            frame_idx=frame,
            is_init_cond_frame=frame == 0,
            current_vision_feats=features,
            current_vision_pos_embeds=positions,
            feat_sizes=sizes,
            point_inputs=point if frame == 0 else None,
            mask_inputs=None,
            output_dict=output,
            num_frames=2,
        )
        step["maskmem_features"] = step["maskmem_features"].bfloat16()  # as both video predictors keep it
        output["non_cond_frame_outputs" if frame else "cond_frame_outputs"][frame] = step
        answer[f"frame {frame}"] = step["pred_masks"]
    return answer


def video_answer(model: torch.nn.Module, x: torch.Tensor) -> Answer:
    """The same track by transformers."""
    import torch
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    side = x.shape[-1]
    session = Sam2VideoInferenceSession(x.repeat(2, 1, 1, 1), video_height=side, video_width=side, dtype=torch.float32)
    index = session.obj_id_to_idx(1)
    point = {"point_coords": torch.tensor([[[POINT]]]), "point_labels": torch.ones(1, 1, 1).int()}
    session.add_point_inputs(index, 0, point)
    session.obj_with_new_inputs = [1]
    answer = {}
    for frame in range(2):
        answer[f"frame {frame}"] = model(inference_session=session, frame_idx=frame).pred_masks
        session.cache.cache_vision_features(1, session.cache.get_vision_features(frame))  # the frames are equal
    return answer


def _from_pretrained(kind: Callable, folder: Path) -> torch.nn.Module:
    model, found = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    if found["missing_keys"] or found["unexpected_keys"]:
        raise SystemExit(f"{kind.__name__} does not find its keys in {folder}: {found}")
    return model.eval()


def main(
    models: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL")] = ("micro", *SAM1_SIZES, *SAM2_SIZES),
    muggled_sam: Path | None = None,
    folder: Path | None = None,
) -> None:
    """Compare models one after the other; every file is deleted again.

    Args:
        models: "micro", a SAM 1 size, or a SAM 2 size with its version.
        muggled_sam: a checkout of that project, for the SAM 1 sizes; it needs cv2, which .venv-mmseg has.
        folder: where temporary files of up to 8 GB may lie.
    """
    import torch

    print("| model, class of | largest difference | largest outputs |\n|---|---|---|")
    for name in models:
        with tempfile.TemporaryDirectory(dir=folder) as place, torch.inference_mode():
            if name in SAM1_SIZES:
                sam1(name, Path(place), muggled_sam)
            else:
                sam2(name, Path(place))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
