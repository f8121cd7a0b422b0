from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from anygpt.pack import open_pack
from anygpt_models.lora import LanguageAdapter, LoRA, LowRank
from anygpt_models.part import WEIGHTS
from anygpt_models.projection import InputProjection, OutputProjection
from services.trainer.alignment_setup import input_projection, output_projection

PUBLISHED_INPUT_PROJECTION = 28_000_000
PUBLISHED_FROZEN = 12_275_000_000
BASE_OF_MINI = 134_515_008


def parameters(*modules: nn.Module) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=4, tie_word_embeddings=True,
    )  # fmt: skip
    model: LlamaForCausalLM = LlamaForCausalLM(config).eval()
    return model


def embeddings(model: LlamaForCausalLM) -> Tensor:
    """Its table of input embeddings."""
    return cast(Tensor, model.get_input_embeddings().weight).detach()


def test_a_part_that_a_kill_left_half_written_is_begun_anew(tmp_path: Path) -> None:
    input_projection("image", tmp_path, 16).save_pretrained(tmp_path / "image_input_projection")
    output_projection("image", tmp_path, 16).save_pretrained(tmp_path / "image_output_projection")
    for projection in (input_projection, output_projection):
        kept, again = (projection("image", tmp_path, 16) for _ in range(2))
        assert all(map(torch.equal, kept.parameters(), again.parameters()))
        (tmp_path / f"image_{projection.__name__}" / WEIGHTS).unlink()
        new = projection("image", tmp_path, 16)
        assert not all(map(torch.equal, kept.parameters(), new.parameters()))


@pytest.mark.parametrize(
    ("queries", "width", "published"), [(77, 768, 31_958_784), (77, 1024, 32_090_112), (1, 512, 31_788_544)]
)
def test_an_output_projection_of_next_gpt_has_its_published_size(
    queries: int, width: int, published: int
) -> None:
    with torch.device("meta"):
        assert parameters(OutputProjection(4096, width, queries)) == published


def test_lora_of_next_gpt_has_its_published_size() -> None:
    with torch.device("meta"):
        assert parameters(LoRA(32, 4096, 4096, 32, 32.0)) == 33_554_432


def test_the_linear_input_projection_of_next_gpt_has_its_published_size() -> None:
    with torch.device("meta"):
        assert parameters(InputProjection(1024, 4096)) == 4_198_400


def test_the_trainable_share_of_next_gpt_is_about_one_and_a_quarter_percent() -> None:
    with torch.device("meta"):
        projections = [OutputProjection(4096, *sizes) for sizes in ((768, 77), (1024, 77), (512, 1))]
        trained = PUBLISHED_INPUT_PROJECTION + parameters(LoRA(32, 4096, 4096, 32, 32.0), *projections)
    share = trained / (trained + PUBLISHED_FROZEN)
    print(f"NExT-GPT: {trained:,} trainable parameters, {share:.3%}")
    assert share == pytest.approx(0.0125, abs=0.0003)


def test_the_trainable_share_of_mini_is_a_few_percent_of_its_language_model() -> None:
    entries = open_pack("mini").manifest.parts.items()
    trained = sum(entry.parameters for name, entry in entries if name.endswith(("adapter", "projection")))
    share = trained / (trained + BASE_OF_MINI)
    print(f"mini: {trained:,} trainable parameters, {share:.3%}")
    assert 0.01 < share < 0.05


def test_a_linear_input_projection_keeps_the_number_of_vectors() -> None:
    assert InputProjection(8, 16)(torch.zeros(2, 3, 8)).shape == (2, 3, 16)


def test_queries_set_the_number_of_embeddings() -> None:
    assert InputProjection(8, 16, queries=5, hidden_width=8)(torch.zeros(2, 3, 8)).shape == (2, 5, 16)


def test_queries_read_no_more_features_than_they_have_places_for() -> None:
    with pytest.raises(ValueError, match="3 feature vectors"):
        InputProjection(8, 16, queries=2, hidden_width=8)(torch.zeros(1, 3, 8))


def test_signals_become_a_condition() -> None:
    projection = OutputProjection(16, 6, queries=8, width=32, layers=1, feed_forward=64)
    assert projection(torch.zeros(2, 4, 16)).shape == (2, 8, 6)


def test_a_new_adapter_changes_nothing_of_the_base_rows() -> None:
    model, adapter = tiny_llama(), LanguageAdapter(5, 16, 8, 2, rank=2)
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    adapter.install(model)
    after = model(ids).logits
    assert after.shape == (1, 3, 25)
    assert torch.allclose(before, after[..., :20], atol=1e-5)


def test_codes_begin_as_the_tokens_that_they_are_like_and_stand_in_their_place() -> None:
    model = tiny_llama()
    adapter = LanguageAdapter(5, 16, 8, 2, rank=2, codes=3, codes_after=1, codes_rank=4)
    adapter.codes_like.copy_(torch.tensor([7, 3, 7]))
    base = embeddings(model).clone()
    assert torch.equal(adapter.rows("input", base)[1:4], base[[7, 3, 7]])
    nn.init.normal_(adapter.codes_output.a)
    adapter.codes_output.shift.data += 1
    adapter.install(model)
    rows = model.lm_head.weight[20:]
    steps = rows[1:4] - base[[7, 3, 7]] - 1
    assert torch.allclose(steps, adapter.codes_output.a @ adapter.codes_output.b, atol=1e-5)
    assert torch.equal(rows[[0, 4]], adapter.rows_output)
    assert torch.equal(embeddings(model)[21:24], base[[7, 3, 7]])


def test_an_adapter_with_codes_is_kept_and_opened(tmp_path: Path) -> None:
    adapter = LanguageAdapter(5, 16, 8, 2, rank=2, codes=3, codes_after=1)
    adapter.codes_like.copy_(torch.tensor([7, 40_000, 7]))
    adapter.half().save_pretrained(tmp_path)
    again = LanguageAdapter.open(tmp_path)
    assert again.codes_like.tolist() == [7, 40_000, 7]
    assert again.places == {1: "codes"}


def test_merged_updates_equal_attached_ones() -> None:
    model, lora = tiny_llama(), LoRA(2, 16, 8, 4, 8.0)
    for update in lora.modules():
        if isinstance(update, LowRank):
            nn.init.normal_(update.b, std=0.1)
    ids = torch.tensor([[1, 2, 3]])
    plain = model(ids).logits
    handles = lora.attach(model)
    attached = model(ids).logits
    for handle in handles:
        handle.remove()
    lora.merge(model)
    assert torch.allclose(model(ids).logits, attached, atol=1e-5)
    assert not torch.allclose(plain, attached, atol=1e-3)


def test_a_projection_that_learns_to_read_layouts_reads_single_pictures_as_before() -> None:
    torch.manual_seed(0)
    before = InputProjection(16, 24, queries=4, hidden_width=8, heads=2)
    wider = before.with_layout(3)
    picture, scene = torch.randn(2, 4, 16), torch.randn(2, 10, 16)
    assert torch.equal(wider(picture), before(picture))
    read = wider(scene)
    assert read.shape == (2, 2 * (4 + 3), 24)
    assert torch.allclose(read[:, 7:11], before(scene[:, 5:9]), atol=1e-6)


@pytest.mark.parametrize("count", [6, 7, 9, 11])
def test_features_that_are_not_those_of_whole_things_are_refused(count: int) -> None:
    projection = InputProjection(16, 24, queries=4, hidden_width=8, heads=2, layout=3)
    with pytest.raises(ValueError, match="whole things"):
        projection(torch.randn(1, count, 16))


def test_a_projection_with_more_queries_begins_with_its_own_near_to_what_it_was() -> None:
    torch.manual_seed(0)
    before = OutputProjection(16, 24, 8, 16, 1, 32)
    wider = before.with_queries(27)
    assert torch.equal(wider.learned_queries[:, :8], before.learned_queries)
    assert wider(torch.randn(2, 4, 16)).shape == (2, 27, 24)
    assert not torch.equal(wider.learned_queries[:, 8:16], before.learned_queries)
