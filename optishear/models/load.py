"""Load a model with its tokenizer, ready for forward passes."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.utils import GENERATION_CONFIG_NAME

from optishear.errors import InputError, first_line
from optishear.extras import require
from optishear.formats.stored import open_checkpoint, stored_format
from optishear.models.devices import DISK, resolve_devices
from optishear.models.finite import check_float16, check_outputs, check_weights
from optishear.models.folder import checkpoint_folder, local_source
from optishear.models.loading_report import check_loading
from optishear.models.memory import check_memory
from optishear.models.precision import Precision, announce, check_dtype, choose_precision, warn_if_emulated
from optishear.models.quiet import quiet_transformers
from optishear.models.shards import device_map, weights_by_place
from optishear.models.source import ModelSource, resolve_model
from optishear.models.stored_dtype import check_stored_numbers, remember_origin

# Any text that every tokenizer has tokens for.
_SAMPLE = "a b"
# Beyond any model.
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes:
        model: in eval mode, without gradients, and without a key-value cache in its forward passes (generation
            has its own setting).
        tokenizer: its tokenizer.
        source: where it came from.
        precision: what it is computed in, and why.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: ModelSource
    precision: Precision


def load_model(
    model: str,
    *,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    device: str = "auto",
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a causal language model and its tokenizer.

    >>> loaded = optishear.load_model("tiny-llama", dtype="float32", device="cpu")
    >>> loaded.model.dtype
    torch.float32

    Args:
        model: a hub id, a folder, a ``.gguf`` file (converted on its first use) or ``package:NAME``.
        dtype: what to compute in: auto (what is fast on the device), float32, bfloat16 or float16. It is not what
            ``save_checkpoint`` writes, which is the dtype that the checkpoint is stored in.
        device: auto (a GPU where there is one), cpu, cuda, cuda:N, or shard (the blocks over all GPUs).
        trust_remote_code: run model code that comes with the checkpoint.

    Raises:
        InputError: if the model, the dtype or the device cannot be used, or the memory is too small; as much as
            possible before the weights are read. Weights that are not finite are named; a model that overflows in
            float16, or whose configuration makes it give no numbers, is found by a pass over a few tokens.
        HubError: if the hub answers, but failed to give a file, also at further tries.
    """
    check_dtype(dtype)
    if device == DISK:
        raise InputError(
            f"The device {DISK!r} is for the statistics, masks and reconstruction of a model, with a calibration text "
            "other than self; give another device."
        )
    devices = resolve_devices(device)
    found = resolve_model(model)
    source = local_source(found, weights=False)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with quiet_transformers():
        config = _causal_config(source, options)
        tokenizer = _tokenizer(source, options)
        precision = choose_precision(dtype, devices[0])
        check_float16(source.name, config, precision.dtype)
        empty = _without_weights(source, config, options)
        if empty is not None:
            check_memory(source.name, weights_by_place(source.name, empty, devices), precision.dtype)
        announce(precision)
        warn_if_emulated(precision.dtype, devices[0])
        shards = _shards(source, empty, devices)
        folder = checkpoint_folder(found)
        loaded = _weights(source, config, precision.torch_dtype, {**options, **shards})
    check_stored_numbers(source.name, loaded, folder)
    remember_origin(loaded, lambda: checkpoint_folder(found), lambda wider: _weights(source, config, wider, options))
    check_weights(loaded)
    frozen = loaded.requires_grad_(False).train(False)
    if not shards:
        frozen.to(devices[0])
    loaded.config.get_text_config().use_cache = False
    check_outputs(loaded, tokenizer.bos_token_id or 0)
    return LoadedModel(loaded, tokenizer, found, precision)


def load_without_weights(
    model: str, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model's structure on the meta device, and its tokenizer.

    Args:
        model: as for ``load_model``.
        trust_remote_code: as for ``load_model``.

    Raises:
        InputError: as ``load_model``; or if the structure cannot be built without weights.
    """
    source = local_source(resolve_model(model), weights=False)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with quiet_transformers():
        config = _causal_config(source, options)
        tokenizer = _tokenizer(source, options)
        empty = _without_weights(source, config, options)
    if empty is None:
        raise InputError(
            f"The model {source.name!r} cannot be built from its configuration; check its config.json, or the version "
            "of transformers."
        )
    return empty, tokenizer


def model_without_weights(source: ModelSource, trust_remote_code: bool) -> PreTrainedModel | None:
    """The model's structure on the meta device; ``None`` where code of the checkpoint's own does not build there.

    Raises:
        InputError: if a GGUF file cannot be converted, or the configuration is not that of a model that can be built.
    """
    source = local_source(source, weights=False)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with quiet_transformers():
        return _without_weights(source, _causal_config(source, options), options)


def _without_weights(source: ModelSource, config: PreTrainedConfig, options: dict[str, Any]) -> PreTrainedModel | None:
    try:
        layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
        if isinstance(layers, int) and layers > _MOST_LAYERS:  # each takes time, also without weights
            raise ValueError(f"num_hidden_layers is {layers}, more than {_MOST_LAYERS}")
        with quiet_transformers(), torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, trust_remote_code=options["trust_remote_code"]
            )
    except Exception as error:  # the library's models divide, allocate and import as the configuration says
        # A checkpoint's own code may raise anything on the meta device, and load all the same.
        if _has_own_code(config, options):
            return None
        raise _unreadable(source, "configuration", error) from error
    return model


def _has_own_code(config: PreTrainedConfig, options: dict[str, Any]) -> bool:
    """Whether the model is built by code of its checkpoint, which the user trusts."""
    auto_map = getattr(config, "auto_map", None)
    return bool(options["trust_remote_code"]) and isinstance(auto_map, dict) and "AutoModelForCausalLM" in auto_map


def _shards(
    source: ModelSource, empty: PreTrainedModel | None, devices: tuple[torch.device, ...]
) -> dict[str, dict[str, torch.device]]:
    """The argument that transformers loads a model onto several devices with; nothing for one device."""
    if len(devices) == 1:
        return {}
    if empty is None:
        raise InputError(
            f"The model {source.name!r} cannot be on several GPUs: its own code does not build it without weights; "
            "give device cuda."
        )
    return {"device_map": device_map(source.name, empty, devices)}


def _causal_config(source: ModelSource, options: dict[str, Any]) -> PreTrainedConfig:
    """The model's configuration, once it is sure to be that of an unquantized causal language model."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source.location, **options)
    except Exception as error:  # values are checked by dataclasses, tables and code of the checkpoint's own
        raise _unreadable(source, "configuration", error) from error
    if _has_own_code(config, options):
        return config
    architectures = config.architectures or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise _unreadable(
            source, "configuration", ValueError(f"architectures is {architectures!r}, not a list of names")
        )
    key = _not_a_number(config.to_dict())
    if key is not None:
        raise _unreadable(source, "configuration", ValueError(f"{key} is NaN"))
    headless = next((name for name in architectures if name.endswith("Model") and not _is_causal(name)), None)
    if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and headless is not None:
        raise InputError(
            f"The model {source.name!r} was saved as {headless}, without the head that predicts the next token; "
            f"save it as {MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]}, or correct its architectures."
        )
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (
        architectures and not any(_is_causal(name) for name in architectures)
    ):
        raise InputError(
            f"The model {source.name!r} ({', '.join(architectures) or config.model_type}) is not a causal language "
            "model; give a decoder-only one, such as Llama, Qwen2, Gemma, OPT or Mistral."
        )
    quantization = getattr(config, "quantization_config", None) or getattr(config, "compression_config", None)
    if quantization:
        method = (
            quantization.get("quant_method")
            if isinstance(quantization, dict)
            else getattr(quantization, "quant_method", None)
        ) or "unknown method"
        raise InputError(
            f"The model {source.name!r} is quantized ({getattr(method, 'value', method)}), and pruning needs plain "
            "weights; give the checkpoint that it was quantized from."
        )
    return config


def _not_a_number(values: Any, key: str = "") -> str | None:
    """The key of a number in a configuration that is NaN. Infinity is a limit that some families have."""
    if isinstance(values, dict):
        found = (_not_a_number(value, f"{key}.{name}" if key else str(name)) for name, value in values.items())
        return next((each for each in found if each is not None), None)
    return key if isinstance(values, float) and math.isnan(values) else None


def _is_causal(architecture: str) -> bool:
    known = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    return architecture in known or architecture.endswith(("ForCausalLM", "LMHeadModel"))


def _tokenizer(source: ModelSource, options: dict[str, Any]) -> PreTrainedTokenizerBase:
    hint = "put its tokenizer files, such as tokenizer.json and tokenizer_config.json, beside its weights"
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.location, **options)
    except Exception as error:  # the library tokenizers raises no other class
        if _is_sentencepiece(source, error):
            require(["sentencepiece", "google.protobuf"], f"The tokenizer of the model {source.name!r}")
        reason = first_line(error)
        raise InputError(
            f"The model {source.name!r} has no tokenizer that can be loaded ({reason}); {hint}."
        ) from error
    # Where the files are missing, some families give an empty tokenizer instead of an error.
    if len(tokenizer) < 64 and set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise InputError(f"The model {source.name!r} has no tokenizer; {hint}.")
    _check_tokenizer(source, tokenizer)
    return tokenizer


def _check_tokenizer(source: ModelSource, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that loads but does not work: its files are read without a look at their values."""
    try:
        length = tokenizer.model_max_length
        if isinstance(length, bool) or not isinstance(length, int | float) or length < 1:
            raise ValueError(f"model_max_length is {length!r}")
        tokenizer(_SAMPLE, verbose=False)
        tokenizer.decode(tokenizer(_SAMPLE, add_special_tokens=False, verbose=False)["input_ids"])
    except Exception as error:
        raise InputError(
            f"The tokenizer of the model {source.name!r} cannot be used ({first_line(error)}); download its files, "
            "such as tokenizer.json and tokenizer_config.json, again."
        ) from error


def _is_sentencepiece(source: ModelSource, error: Exception) -> bool:
    """Whether a tokenizer is SentencePiece's. Without that package transformers takes the file for tiktoken's."""
    reason = str(error).lower()
    return (
        any(word in reason for word in ("sentencepiece", "tiktoken", "protobuf"))
        or (Path(source.location) / "tokenizer.model").is_file()
    )


def _weights(
    source: ModelSource, config: PreTrainedConfig, dtype: torch.dtype, options: dict[str, Any]
) -> PreTrainedModel:
    try:
        # check_loading refuses them with the name of the weight.
        settings: dict[str, Any] = {"dtype": dtype, "ignore_mismatched_sizes": True, "output_loading_info": True}
        if stored_format(source.location) == "bitmask":
            loaded: Any = _packed_weights(source, config, settings, options)
        else:
            loaded = AutoModelForCausalLM.from_pretrained(
                source.location, config=config, use_safetensors=True, **settings, **options
            )
    except (torch.OutOfMemoryError, MemoryError, InputError):
        raise
    except Exception as error:  # files beside the weights are read here, too, without a look at their values
        raise _unreadable(source, "weights", error) from error
    model: PreTrainedModel = loaded[0]
    loading: dict[str, Any] = loaded[1]
    check_loading(source.name, model, loading)
    return model


def _packed_weights(
    source: ModelSource, config: PreTrainedConfig, settings: dict[str, Any], options: dict[str, Any]
) -> Any:
    """Model and loading report; each tensor is unpacked when transformers puts it in its place."""
    tensors = open_checkpoint(source.location).tensors
    with torch.device("meta"):
        family = type(AutoModelForCausalLM.from_config(config, trust_remote_code=options["trust_remote_code"]))
    shards = {"device_map": options["device_map"]} if "device_map" in options else {}
    model, loading = family.from_pretrained(None, config=config, state_dict=tensors, **settings, **shards)
    if (Path(source.location) / GENERATION_CONFIG_NAME).is_file():
        model.generation_config = GenerationConfig.from_pretrained(source.location)
    return model, loading


def _unreadable(source: ModelSource, part: str, error: Exception) -> InputError:
    if "trust_remote_code" in str(error):
        return InputError(
            f"The model {source.name!r} needs code from its checkpoint; if you trust that code, set trust_remote_code."
        )
    fix = "check the checkpoint's files"
    if isinstance(error, ImportError):
        fix = "install what it needs, or remove attn_implementation from config.json"
    return InputError(f"The {part} of the model {source.name!r} cannot be read ({first_line(error)}); {fix}.")
