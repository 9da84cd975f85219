from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReviewAnalysis(_message.Message):
    __slots__ = ("id", "text", "keywords", "truncated", "model_version", "error")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    keywords: _containers.RepeatedCompositeFieldContainer[KeywordAnalysis]
    truncated: bool
    model_version: str
    error: ReviewError
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., keywords: _Optional[_Iterable[_Union[KeywordAnalysis, _Mapping]]] = ..., truncated: _Optional[bool] = ..., model_version: _Optional[str] = ..., error: _Optional[_Union[ReviewError, _Mapping]] = ...) -> None: ...

class KeywordAnalysis(_message.Message):
    __slots__ = ("keyword", "probability", "sentiment", "score", "sentiment_probabilities", "highlights")
    KEYWORD_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    SENTIMENT_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SENTIMENT_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    HIGHLIGHTS_FIELD_NUMBER: _ClassVar[int]
    keyword: str
    probability: float
    sentiment: str
    score: int
    sentiment_probabilities: _containers.RepeatedScalarFieldContainer[float]
    highlights: _containers.RepeatedCompositeFieldContainer[Highlight]
    def __init__(self, keyword: _Optional[str] = ..., probability: _Optional[float] = ..., sentiment: _Optional[str] = ..., score: _Optional[int] = ..., sentiment_probabilities: _Optional[_Iterable[float]] = ..., highlights: _Optional[_Iterable[_Union[Highlight, _Mapping]]] = ...) -> None: ...

class Highlight(_message.Message):
    __slots__ = ("text", "start", "end", "probability", "masked_probability")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MASKED_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    text: str
    start: int
    end: int
    probability: float
    masked_probability: float
    def __init__(self, text: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ..., probability: _Optional[float] = ..., masked_probability: _Optional[float] = ...) -> None: ...

class ReviewError(_message.Message):
    __slots__ = ("code", "message", "line")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    line: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...
