"""What the trainer overrides in TRL.

If this fails, TRL has changed under us: read its release notes before touching the pin.
"""

from __future__ import annotations

import inspect

import pytest
from trl import GRPOTrainer

SIGNATURES = {
    "_tokenize_prompts": ["self", "prompts"],
    "_generate": ["self", "prompts"],
    "_generate_single_turn": [
        "self",
        "prompt_ids",
        "images",
        "multimodal_fields",
        "num_generations",
        "has_tool_images",
    ],
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_prepare_inputs": ["self", "generation_batch"],
    "_get_per_token_logps_and_entropies": [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
        "compute_aux_loss",
        "pixel_values",
        "image_grid_thw",
        "num_images",
        "pixel_attention_mask",
        "spatial_shapes",
        "num_tiles",
        "image_sizes",
        "token_type_ids",
        "mm_token_type_ids",
        "image_position_ids",
    ],
    "_compute_loss": ["self", "model", "inputs"],
    "training_step": ["self", "model", "inputs", "num_items_in_batch"],
    "log": ["self", "logs", "start_time"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_trl_still_has_what_is_overridden(name: str) -> None:
    assert list(inspect.signature(getattr(GRPOTrainer, name)).parameters) == SIGNATURES[name]
