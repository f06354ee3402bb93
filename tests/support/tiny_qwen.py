"""A tiny Qwen-Image-Edit pipeline with random weights, of the official classes, saved by them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from stages.complete.qwen_edit.pipeline import diffusers_class
from stages.pretrained import prepare_torchvision

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")  # fmt: skip
LATENTS = 4


def save_tiny_qwen(folder: Path, pipeline: str = "QwenImageEditPlusPipeline") -> Path:
    """Write a pipeline's folder as the hub has it: 0.7 M parameters, float32."""
    prepare_torchvision()
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    tokenizer = _tokenizer()
    torch.manual_seed(0)
    parts = {
        "text_encoder": Qwen2_5_VLForConditionalGeneration(_text_config(tokenizer)).eval(),
        "vae": diffusers_class("AutoencoderKLQwenImage")(
            base_dim=8, z_dim=LATENTS, dim_mult=[1, 2, 4], num_res_blocks=1,
            temperal_downsample=[False, True], latents_mean=[0.0] * LATENTS,
            latents_std=[1.0] * LATENTS,
        ),
        "transformer": tiny_transformer(),
        "scheduler": diffusers_class("FlowMatchEulerDiscreteScheduler")(
            base_shift=0.5, max_shift=0.9, base_image_seq_len=256, max_image_seq_len=8192,
            use_dynamic_shifting=True, shift_terminal=0.02, time_shift_type="exponential",
        ),
        "tokenizer": tokenizer,
    }  # fmt: skip
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    _save_processor(folder, tokenizer)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return folder


def tiny_transformer() -> Any:
    """The denoiser; its last layer is zero in no release, and random here."""
    return diffusers_class("QwenImageTransformer2DModel")(
        patch_size=2, in_channels=4 * LATENTS, out_channels=LATENTS, num_layers=2,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        axes_dims_rope=(8, 4, 4),
    ).eval()  # fmt: skip


def copied(folder: Path, to: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, to))


def _tokenizer() -> Any:
    """Bytes and the special tokens; no merges."""
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    vocabulary = {c: i for i, c in enumerate(bytes_to_unicode().values())}
    for token in SPECIAL:
        vocabulary[token] = len(vocabulary)
    return Qwen2Tokenizer(
        vocab=vocabulary, merges=[], unk_token=SPECIAL[0], eos_token=SPECIAL[0],
        pad_token=SPECIAL[0], additional_special_tokens=list(SPECIAL),
    )  # fmt: skip


def _save_processor(folder: Path, tokenizer: Any) -> None:
    """The processor's folder in the layout of the release: preprocessor_config.json and tokens."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(
        patch_size=14, temporal_patch_size=2, merge_size=2, min_pixels=28 * 28, max_pixels=56 * 56
    )
    processor.save_pretrained(folder / "processor")
    tokenizer.save_pretrained(folder / "processor")


def _text_config(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL}
    end = ids["<|endoftext|>"]
    text = dict(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=len(tokenizer), max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    vision = dict(
        depth=2, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=32,
        patch_size=14, temporal_patch_size=2, spatial_merge_size=2, window_size=56,
        fullatt_block_indexes=[1],
    )  # fmt: skip
    return Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
