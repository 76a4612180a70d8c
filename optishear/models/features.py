"""A model seen as features followed by a head, so that logits need never be held for a whole batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.modeling_utils import PreTrainedModel


@dataclass(frozen=True)
class FeatureModel:
    """A causal language model split at its last hidden state.

    Attributes:
        features: token ids [sequences, length] to the final hidden states [sequences, length, width].
        logits: final hidden states [n, width] to logits [n, vocabulary].
        head: weight of the linear head [vocabulary, width]; ``None`` where the logits are not linear in the
            hidden states (soft-capping, scaling, a bias), in which case the features are the logits themselves.
    """

    features: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]
    head: Tensor | None


def backbone(model: PreTrainedModel) -> nn.Module:
    """The part of a model that ends in the last hidden states.

    The class of Llama 4's text model gives the name that this part has in the multimodal model, so that
    ``base_model`` is the whole; then it is the part named ``model``.
    """
    base: nn.Module = model.base_model
    inner = getattr(model, "model", None)
    return inner if base is model and isinstance(inner, nn.Module) else base


@torch.no_grad()
def split_at_head(model: PreTrainedModel | FeatureModel) -> FeatureModel:
    """Split a model at its head, after checking on a few tokens that the parts give the whole's logits.

    A model that is split already is given back, so that callers that need it often split it once.
    """
    if isinstance(model, FeatureModel):
        return model
    device = next(model.parameters()).device
    head: nn.Module | None = model.get_output_embeddings()

    def hidden(tokens: Tensor) -> Tensor:
        state: Tensor = backbone(model)(input_ids=tokens.to(device), use_cache=False).last_hidden_state
        # Of a model on several devices, the last block may be on another one than a tied head.
        return state.to(head.weight.device) if isinstance(head, nn.Linear) else state

    def whole(tokens: Tensor) -> Tensor:
        logits: Tensor = model(input_ids=tokens.to(device), use_cache=False).logits
        return logits

    if isinstance(head, nn.Linear) and getattr(head, "bias", None) is None:
        probe = torch.arange(8).remainder(head.out_features).reshape(1, 8)
        if torch.equal(head(hidden(probe)), whole(probe).to(head.weight.device)):
            return FeatureModel(hidden, head, head.weight)
    return FeatureModel(whole, lambda logits: logits, None)
