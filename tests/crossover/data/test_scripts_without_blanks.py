"""Chinese, Japanese and Thai text, which has no blanks: near-duplicates and contamination find it like English."""

import hashlib
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossover.data.deduplication.near_duplicates import NearDuplicates
from crossover.data.deduplication.shingles import unit_hashes
from crossover.data.overlap_counts import HELD_OUT
from crossover.study.deduplication_config import DeduplicationConfig
from tests.crossover.data.test_contamination import check

CHINESE = (
    "茶叶在山坡上生长，清晨的雾气让叶子保持湿润。采茶的人天不亮就上山，把最嫩的芽尖放进竹篓里。回到村里以后，叶子先摊开晾干，"
    "再放进铁锅里翻炒，火候全凭手上的感觉。老人说，好茶不怕等，怕的是急。到了傍晚，整个院子都是茶香，孩子们坐在门槛上写作业。"
)
JAPANESE = (
    "駅前の古い本屋は、雨の日になると不思議と客が増える。店主は窓際の椅子に腰かけ、湯気の立つコーヒーを飲みながら、"
    "入ってくる人の靴音を聞いている。ある夕方、ずぶぬれの少年がやって来て、星座の図鑑はありますかと尋ねた。"
    "店主は黙って奥の棚から一冊を取り出し、表紙のほこりを袖で払った。"
)
THAI = (
    "ตลาดน้ำเปิดตั้งแต่เช้ามืด แม่ค้าพายเรือมาจอดเรียงกันริมคลองเพื่อขายผลไม้และขนมที่ทำเองเมื่อคืนก่อน "
    "เด็กชายคนหนึ่งนั่งอยู่บนท่าน้ำมองดูเรือผ่านไปอย่างเงียบๆ ยายของเขาบอกว่าเมื่อก่อนคลองนี้ใสจนเห็นตัวปลา"
)
OTHERS = {
    "zh": "城市的地铁在早上七点最为拥挤，每个人都低头看着手机，很少有人注意到车窗外的广告。"
    "到了换乘站，人群像潮水一样涌出去，只剩下几份被遗忘的报纸。",
    "ja": "山の中の小さな郵便局には、一日に数通しか手紙が届かない。"
    "局員はそれを自転車に積み、曲がりくねった坂道をゆっくり登っていく。",
    "th": "รถไฟขบวนสุดท้ายออกจากสถานีตอนเที่ยงคืน ผู้โดยสารส่วนใหญ่หลับไปแล้วก่อนที่เมืองจะหายไปจากหน้าต่าง",
}
TEXTS = {"zh": CHINESE, "ja": JAPANESE, "th": THAI}
ENGLISH = (
    "The harbour was quiet that winter, and the few boats that went out came back before noon with their holds half "
    "empty. In the evenings the crews sat by the stove and argued about the weather, about prices, and about nothing."
)


def hashes(text: str) -> list[int]:
    return [int(unit) for unit in unit_hashes([text], "words")[0]]


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("around", ["", ENGLISH])
def test_a_held_out_passage_is_found_in_a_training_document(language: str, around: str) -> None:
    text = TEXTS[language]
    training = [f"{around} {OTHERS[language]}", f"{around}\n{text[: 2 * len(text) // 3]}{OTHERS[language]}{around}"]
    dropped, counts = check(training, [f"{text} {around}"[: len(text) + 40], OTHERS["ja"][::-1]], "drop")
    assert dropped[1] and not dropped[0]
    assert counts[HELD_OUT].short_texts == 0
    _, counts = check(training[:1], [text])
    assert counts[HELD_OUT].ngrams_in_training == counts[HELD_OUT].texts_in_training == 0
    assert counts[HELD_OUT].ngrams > len(text) / 2


@pytest.mark.parametrize("language", TEXTS)
def test_an_edited_copy_is_a_near_duplicate(language: str, tmp_path: Path) -> None:
    text = TEXTS[language]
    texts = [text, text[:50] + text[51:], OTHERS[language], ENGLISH]
    with NearDuplicates(DeduplicationConfig(), tmp_path, threads=1) as near:
        for one in texts:
            near.add(hashlib.sha256(one.encode()).digest(), one)
        first = near.first_of_cluster().tolist()
    assert first[0] == first[1]
    assert first[2:] == [2, 3]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("你好，世界！", "你好 世界"),  # full-width punctuation is what is tested
        ("「駅前」の本屋…", "駅前の本屋"),
        ("GPT－４　の ﾓﾃﾞﾙ", "gpt-4 の モデル"),  # full-width letters are what is tested
        ("ﬁne print №1", "fine print no1"),
        ("Déjà vu", unicodedata.normalize("NFD", "déjà VU")),
        ("“a” · b † c → d ≥ e ¿f? 💡", "a b c d e f"),
        ("人々〇", "人 々 〇"),
        ("𠮷野家", "𠮷 野 家"),
    ],
)
def test_punctuation_symbols_and_widths_make_no_difference(one: str, other: str) -> None:
    assert hashes(one) == hashes(other)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("新しい book を読む", 7),
        ("한국어 문장 은", 3),
        ("हिन्दी भाषा", 2),
        ("Привет, мир", 2),
        ("ภาษาไทย", 7),
        ("x_1＿y", 1),  # a full-width underscore
        ("、。！？", 0),  # full-width punctuation is what is tested
    ],
)
def test_only_scripts_without_blanks_are_cut_into_characters(text: str, units: int) -> None:
    assert len(hashes(text)) == units


@given(st.lists(st.text(st.sampled_from("aB_1 ,.\n中あก！é—𠮷")), min_size=1, max_size=5))  # as above
def test_a_text_has_the_same_words_alone_and_among_others(texts: list[str]) -> None:
    joined, owners = unit_hashes(texts, "words")
    alone = [unit_hashes([text], "words")[0] for text in texts]
    np.testing.assert_array_equal(joined, np.concatenate(alone))
    np.testing.assert_array_equal(owners, np.repeat(np.arange(len(texts)), [len(part) for part in alone]))
