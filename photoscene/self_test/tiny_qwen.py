"""A tiny Qwen-Image-Edit pipeline with random weights, of the official classes, saved by them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.complete.qwen_edit.pipeline import diffusers_class
from stages.pretrained import prepare_torchvision, quiet_transformers

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
    with quiet_transformers():
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


def edition_of_december(folder: Path, to: Path) -> Path:
    """A copy whose transformer is of the edition of December 2025."""
    config = copied(folder, to) / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "zero_cond_t": True}))
    return to


def write_gguf(file: Path, weights: Mapping[str, Any], lacking: str = "") -> Path:
    """Weights as GGUF: matrices in eight bits (Q8_0), the rest in 32."""
    import gguf

    writer = gguf.GGUFWriter(str(file), "qwen_image")
    for name, value in weights.items():
        array = value.float().numpy()
        if name == lacking:
            continue
        if array.ndim == 2 and array.shape[1] % 32 == 0:
            packed = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def write_lora(file: Path, prefix: str = "transformer_blocks") -> Path:
    """A LoRA in the names of the Lightning files: lora_down, lora_up and alpha per layer."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(1)
    weights = {}
    for block in range(2):
        for layer in ("attn.to_q", "attn.add_k_proj"):
            name = f"{prefix}.{block}.{layer}"
            weights[f"{name}.lora_down.weight"] = torch.randn(4, 32, generator=generator)
            weights[f"{name}.lora_up.weight"] = torch.randn(32, 4, generator=generator)
            weights[f"{name}.alpha"] = torch.tensor(4.0)
    save_file(weights, file)
    return file


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
