"""Tiny random models of many families of transformers, by the name of the model type."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.modeling_utils import PreTrainedModel

VOCABULARY = 128
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
    "num_key_value_heads": 4,
}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_MAMBA = {"state_size": 8, "expand": 2, "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": VOCABULARY}

# What differs from the common sizes; a family that names its sizes otherwise has them all here.
MIXTURES: Mapping[str, Mapping[str, Any]] = {
    "mixtral": _LOCAL,
    "qwen2_moe": {**_ROUTED, "shared_expert_intermediate_size": 24, "decoder_sparse_step": 1},
    "qwen3_moe": {**_ROUTED, "head_dim": 8, "decoder_sparse_step": 1},
    "qwen3_next": {
        **_ROUTED,
        "head_dim": 8,
        "shared_expert_intermediate_size": 24,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "olmoe": {**_ROUTED},
    "phimoe": _LOCAL,
    "gpt_oss": {**_LOCAL, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "dbrx": {
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 256,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "granitemoe": _LOCAL,
    "granitemoehybrid": {
        **_LOCAL,
        "shared_intermediate_size": 24,
        "mamba_n_heads": 8,
        "mamba_d_state": 8,
        "mamba_d_head": 8,
        "layer_types": ["mamba", "attention"],
    },
    "deepseek_v2": {**_LATENT, "topk_method": "greedy"},
    "deepseek_v3": _LATENT,
    "glm4_moe": {**_LATENT, "num_key_value_heads": 2},
    "ernie4_5_moe": {
        **_LOCAL,
        "moe_num_experts": 4,
        "moe_k": 2,
        "moe_intermediate_size": 24,
        "moe_layer_start_index": 0,
    },
    "minimax": {**_LOCAL, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "block_size": 16},
    "llama4_text": {**_LOCAL, "head_dim": 8, "intermediate_size_mlp": 48, "num_experts_per_tok": 1},
    "jetmoe": {**_LOCAL, "num_attention_heads": None, "kv_channels": 8},
    "longcat_flash": {
        **_LATENT,
        "num_layers": 1,
        "num_hidden_layers": 2,
        "num_key_value_heads": 4,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 24,
        "moe_topk": 2,
        "zero_expert_num": 2,
    },
    "jamba": {
        **_LOCAL,
        "num_experts": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
}
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 256},
    "openai-gpt": {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 256},
    "mamba": {**_MAMBA, "time_step_rank": 4},
    "mamba2": {**_MAMBA, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "falcon_mamba": {**_MAMBA, "time_step_rank": 4},
    "rwkv": {"attention_hidden_size": 32, "context_length": 256},
    "recurrent_gemma": {
        "lru_width": 32,
        "attention_window_size": 16,
        "block_types": ["recurrent", "attention"],
        "head_dim": 8,
    },
    "zamba2": {
        "mamba_d_state": 8,
        "mamba_headdim": 8,
        "n_mamba_heads": 8,
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "hybrid_layer_ids": [1, 3],
        "num_mem_blocks": 1,
        "adapter_rank": 4,
        "use_mem_rope": False,
    },
    "gemma3n_text": {
        "head_dim": 8,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": VOCABULARY,
        "laurel_rank": 4,
        "intermediate_size": [48, 48],
        "layer_types": ["sliding_attention", "full_attention"],
        "num_kv_shared_layers": 0,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "nemotron_h": {
        "layers_block_type": ["mamba", "attention", "moe", "mlp"],
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "ssm_state_size": 8,
        "n_groups": 1,
        "head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "moe_shared_expert_intermediate_size": 24,
    },
}
DENSE: Mapping[str, Mapping[str, Any]] = {
    name: {}
    for name in (
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt_neox", "gptj",
        "gpt_bigcode", "bloom", "falcon", "stablelm", "starcoder2", "olmo", "olmo2", "cohere", "cohere2",
        "granite", "glm", "glm4", "smollm3", "mpt", "xglm", "biogpt", "codegen", "persimmon", "nemotron",
        "helium", "ernie4_5", "apertus", "seed_oss", "exaone4", "lfm2", "arcee", "opt",
    )
} | {
    "gptj": {"rotary_dim": 8},
    "codegen": {"rotary_dim": 8},
    "helium": {"head_dim": 8},
    "gpt_neo": {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": 8},
}  # fmt: skip
FAMILIES: Mapping[str, Mapping[str, Any]] = {**MIXTURES, **OTHERS, **DENSE}


def family_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A tiny random model of a family, whose outputs depend on all of its weights."""
    torch.manual_seed(seed)
    values = {**_COMMON, **FAMILIES[name]}
    config = AutoConfig.for_model(name, **values)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim in (2, 3) and parameter.shape[-1] > 4:
                parameter.normal_(std=0.2)
    return model.eval()
