"""Invented reviews: what the tiny tokenizer learns from, and what the tests analyze."""

from __future__ import annotations

REVIEWS = (
    "배송은 빠른데 핏이 아쉬워요",
    "가격 대비 디자인이 정말 예쁘고 색감도 화면이랑 똑같아요",
    "사이즈가 작아서 한 치수 크게 다시 주문했습니다",
    "기장이 길어서 수선을 맡겼지만 그래도 마음에 들어요",
    "원단이 얇고 박음질이 엉성해서 한 번 빨고 실밥이 터졌어요",
    "어깨가 넓은 편인데 딱 맞고 움직이기 편해요 😀",
    "그냥 그래요",
    "최고예요!!! 재구매 의사 있습니다 ㅎㅎ",
    "두 벌 샀는데 하나는 괜찮고 하나는 불량이라 교환 신청했어요 하나는",
    "신축성이 좋아서 하루 종일 입어도 불편하지 않네요",
    "포장이 찢어져서 왔는데 옷은 멀쩡했어요, 다행이죠",
    "키 170에 몸무게 60인데 M사이즈가 헐렁합니다",
)

# Several windows of the tiny model, and every word of it stands somewhere else again.
LONG_REVIEW = " ".join(f"{review} {number}번째" for number, review in enumerate(REVIEWS, 1))
