"""What each choice trains, and what is left of it: a random RoBERTa of one layer, one step."""

from __future__ import annotations

import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from training.tuning import TUNE_CHOICES, Tune, is_plain, prepare

IDS = torch.tensor([[0, 7, 8, 9, 2], [0, 11, 12, 13, 2]])


def tiny_model() -> RobertaForSequenceClassification:
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=3,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    return RobertaForSequenceClassification(config)


@pytest.mark.parametrize("tune", TUNE_CHOICES)
def test_a_step_changes_what_the_choice_says(tune: Tune) -> None:
    before = {name: value.clone() for name, value in tiny_model().state_dict().items()}
    tuned = prepare(tiny_model(), tune)
    trained, total = tuned.parameters
    assert trained == total if tune == "all" else trained < total
    optimizer = torch.optim.SGD([p for p in tuned.model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):  # lora's first matrix moves only once the second is no longer zero
        tuned.model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    answer = tuned.model.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    finished = tuned.finish()
    again = finished.eval()(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    torch.testing.assert_close(again, answer, atol=1e-5, rtol=1e-4)
    assert is_plain(finished) == (tune not in ("prefix", "p-tuning"))
    if not is_plain(finished):
        base = finished.get_base_model().state_dict()
        assert all(torch.equal(base[name], value) for name, value in before.items() if "encoder" in name)
        return
    after = finished.state_dict()
    assert after.keys() == before.keys(), "an ordinary checkpoint"
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    parts = {name.split(".")[1] if name.startswith("roberta") else "head" for name in changed}
    assert (
        parts
        == {
            "all": {"embeddings", "encoder", "head"},
            "embeddings": {"embeddings", "head"},
            "head": {"head"},
            "lora": {"encoder", "head"},
            "ia3": {"encoder", "head"},
        }[tune]
    )
