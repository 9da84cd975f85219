"""A tiny tokenizer and artifact, trained here on invented reviews: unit tests need no model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from client.artifact import LABELS_FILE, TOKENIZER_FILE, Artifact, Labels, sha256_of
from client.encoding import Encoder
from training.tokenizer import train_tokenizer

# The first call that a property test makes may build a fixture or warm a cache: no deadline per example.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

REVIEWS = (
    "디자인은 예쁜데 사이즈가 너무 작아요",
    "가격 대비 품질이 좋아서 만족합니다",
    "배송이 빨라서 좋았고 포장도 깔끔했어요",
    "색상이 화면이랑 달라요, 생각보다 어두워요",
    "소재가 부드럽고 착용감이 편해요!",
    "기장이 조금 길어서 수선해야 할 것 같아요",
    "마감처리가 별로예요... 실밥이 너무 많아요",
    "핏이 예쁘고 신축성도 좋아요 ㅎㅎ",
    "사이즈는 정사이즈로 사시면 돼요",
    "허리가 커서 반품했어요 ㅠㅠ",
    "재질이 얇아서 여름에 입기 좋아요",
    "이 가격에 이 정도 품질이면 훌륭하죠",
    "단추가 하루 만에 떨어졌어요",
    "키 160cm인데 길이가 딱 맞아요",
    "방수가 된다더니 비 오는 날 다 젖었어요",
    "스타일이 세련돼서 자주 입게 돼요",
    "두 번째 구매인데 역시 좋아요",
    "보풀이 금방 생겨서 아쉬워요",
    "어깨선이 안 맞고 소매가 짧아요",
    "배송은 느렸지만 옷은 마음에 들어요",
    "A/S 문의했더니 답이 없네요",
    "https://example.com/size?top=95 표를 보고 샀어요",
    "흰색은 비침이 있어요~ 속옷을 신경 써야 해요",
    "생각보다 무겁고 움직이기 불편해요",
    "가성비 최고! 색깔별로 샀어요",
    "지퍼가 뻑뻑해서 잘 안 올라가요",
    "엄마 선물로 드렸는데 좋아하세요",
    "세탁 후에 줄어들어서 못 입어요",
    "사진과 똑같고 원단도 탄탄해요",
    "그냥 그래요, 무난합니다",
)


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A folder as training writes it: four keywords, five sentiments, windows of 32 tokens."""
    folder: Path = tmp_path_factory.mktemp("artifact")
    tokenizer_file = folder / TOKENIZER_FILE
    # Three times: the trainer joins only pieces that it saw three times.
    train_tokenizer(REVIEWS * 3, vocab_size=600).save(str(tokenizer_file))
    labels = Labels(
        name="tiny",
        keywords=("가격", "디자인", "배송", "사이즈"),
        overall="만족도",
        sentiments=("매우부정", "부정", "중립", "긍정", "매우긍정"),
        sentiment_scores=(-2, -1, 0, 1, 2),
        thresholds=(0.5, 0.5, 0.5, 0.5),
        max_length=32,
        tokenizer_sha256=sha256_of(tokenizer_file.read_bytes()),
        model_version="1",
    )
    (folder / LABELS_FILE).write_text(labels.to_json(), encoding="utf-8")
    return Artifact.load(folder)


@pytest.fixture(scope="session")
def encoder(artifact: Artifact) -> Encoder:
    return Encoder(artifact)
