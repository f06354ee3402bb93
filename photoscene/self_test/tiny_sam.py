"""Tiny SAM 3 and SAM 2 checkpoints with random weights, saved by the official classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.pretrained import prepare_torchvision, quiet_transformers

SIDE, PATCH, WIDTH = 112, 14, 32  # an 8 x 8 grid of tokens
GRID = SIDE // PATCH
WORDS = ("cup", "chair", "red", "visual")


def save_sam3(folder: Path, seed: int = 3) -> Path:
    """A folder as facebook/sam3 has it: a video model with detector and tracker, a tokenizer and a
    processor's settings."""
    import torch

    prepare_torchvision()
    from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = save_tokenizer(folder)
    config = Sam3VideoConfig(
        detector_config=_detector(tokenizer), tracker_config=_tracker(), low_res_mask_size=4 * GRID
    )
    model = Sam3VideoModel(config).eval()
    _make_lively(model)
    with quiet_transformers():
        model.save_pretrained(folder, save_original_format=False)
    processor = {
        "processor_class": "Sam3VideoProcessor",
        "image_processor": {"image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    }
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return folder


def save_sam2(folder: Path, seed: int = 3) -> Path:
    """A folder as facebook/sam2.1-hiera-tiny has it: a video model with its memory."""
    import torch

    prepare_torchvision()
    from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoConfig
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel

    torch.manual_seed(seed)
    backbone = {
        "model_type": "sam2_hiera_det_model", "image_size": [128, 128], "hidden_size": 8,
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2],
        "blocks_per_stage": [1, 1, 2, 1], "global_attention_blocks": [3],
        "window_size_per_stage": [8, 4, 4, 4],
    }  # fmt: skip
    vision = {
        "model_type": "sam2_vision_model", "backbone_config": backbone, "fpn_hidden_size": WIDTH,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    }  # fmt: skip
    config = Sam2VideoConfig(
        vision_config=vision, mask_decoder_config=_mask_decoder(),
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": 128, "mask_input_channels": 4},
        memory_attention_hidden_size=WIDTH, memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=WIDTH, memory_encoder_hidden_size=WIDTH,
        memory_encoder_output_channels=8, mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH, memory_fuser_intermediate_dim=WIDTH,
    )  # fmt: skip
    model = Sam2VideoModel(config).eval()
    _make_lively(model)
    with quiet_transformers():
        model.save_pretrained(folder, save_original_format=False)
    processor = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def save_tokenizer(folder: Path) -> Any:
    """A byte-level CLIP tokenizer that knows a few words whole, saved as tokenizer.json."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode
    from transformers.models.clip.tokenization_clip import CLIPTokenizer

    letters = list(bytes_to_unicode().values())
    vocabulary, merges = letters + [letter + "</w>" for letter in letters], []
    for word in WORDS:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = ["".join(parts[:2]), *parts[2:]]
            if parts[0] not in vocabulary:
                vocabulary.append(parts[0])
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocabulary)},
        merges=list(dict.fromkeys(merges)),
        model_max_length=32,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _detector(tokenizer: Any) -> dict[str, Any]:
    part = {"hidden_size": WIDTH, "num_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 64}  # fmt: skip
    text = {
        "model_type": "clip_text_model", "vocab_size": len(tokenizer), "hidden_size": WIDTH,
        "intermediate_size": 64, "projection_dim": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 32, "hidden_act": "gelu",
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    return {
        "model_type": "sam3", "vision_config": _vision(), "text_config": text,
        "geometry_encoder_config": dict(part), "detr_encoder_config": dict(part),
        "detr_decoder_config": dict(part, num_queries=10),
        "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": 2},
    }  # fmt: skip


def _vision() -> dict[str, Any]:
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
        "window_size": 4, "global_attn_indexes": [1], "pretrain_image_size": SIDE,
    }  # fmt: skip
    sizes = [[GRID * 4] * 2, [GRID * 2] * 2, [GRID] * 2]
    return {
        "model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": sizes,
    }  # fmt: skip


def _tracker() -> dict[str, Any]:
    return {
        "model_type": "sam3_tracker_video", "vision_config": _vision(),
        "mask_decoder_config": _mask_decoder(),
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH,
                                  "mask_input_channels": 4},
        "image_size": SIDE, "memory_attention_hidden_size": WIDTH, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": WIDTH,
        "memory_attention_rope_feat_sizes": [GRID, GRID], "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 8, "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH, "memory_fuser_intermediate_dim": WIDTH,
    }  # fmt: skip


def _mask_decoder() -> dict[str, Any]:
    return {"hidden_size": WIDTH, "mlp_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
            "iou_head_hidden_dim": 32}  # fmt: skip


def _make_lively(model: Any) -> None:
    """Weights large enough that what is asked decides what comes out, and no zero that would hide
    a part that is left out."""
    import torch

    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() > 1 and "norm" not in name:
                value.normal_(0, 1.5 / max(value[0].numel(), 1) ** 0.5)
            elif name.endswith("bias"):
                value.normal_(0, 0.1)
