"""The table of families: what is fast, what falls back, what is refused."""

from __future__ import annotations

import pytest

from benchmarks import families


@pytest.mark.parametrize(
    ("name", "sampling", "scoring", "judging"),
    [
        ("Qwen3-MoE", "yes", "shared", "yes"),
        ("Mistral (window)", "refused: has sliding_window=8", "plain", "yes"),
        ("Cohere", "yes", "TRL's", "none in transformers"),
        ("DeepSeek-V3", "refused: has latent attention (kv_lora_rank)", "shared", "yes"),
        (
            "Llama 4 (chunks)",
            "refused: has layers of chunked_attention",
            "refused: TRL cannot train it",
            "none in transformers",
        ),
    ],
)
def test_a_family_runs_where_the_page_says(
    name: str, sampling: str, scoring: str, judging: str
) -> None:
    found = families.sampling(name), families.scoring(name), families.judging(name)
    assert tuple(each.path for each in found) == (sampling, scoring, judging)
    assert all(each.off is None or each.off < 1e-4 for each in found)
