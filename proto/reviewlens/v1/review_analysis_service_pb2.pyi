import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from reviewlens.v1 import review_analysis_pb2 as _review_analysis_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HighlightMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HIGHLIGHT_MODE_UNSPECIFIED: _ClassVar[HighlightMode]
    HIGHLIGHT_MODE_EXACT: _ClassVar[HighlightMode]
    HIGHLIGHT_MODE_FAST: _ClassVar[HighlightMode]
    HIGHLIGHT_MODE_OFF: _ClassVar[HighlightMode]
HIGHLIGHT_MODE_UNSPECIFIED: HighlightMode
HIGHLIGHT_MODE_EXACT: HighlightMode
HIGHLIGHT_MODE_FAST: HighlightMode
HIGHLIGHT_MODE_OFF: HighlightMode

class Review(_message.Message):
    __slots__ = ("id", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class AnalysisOptions(_message.Message):
    __slots__ = ("highlight_mode", "highlights_per_keyword", "keywords", "thresholds")
    class ThresholdsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    HIGHLIGHT_MODE_FIELD_NUMBER: _ClassVar[int]
    HIGHLIGHTS_PER_KEYWORD_FIELD_NUMBER: _ClassVar[int]
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    highlight_mode: HighlightMode
    highlights_per_keyword: int
    keywords: _containers.RepeatedScalarFieldContainer[str]
    thresholds: _containers.ScalarMap[str, float]
    def __init__(self, highlight_mode: _Optional[_Union[HighlightMode, str]] = ..., highlights_per_keyword: _Optional[int] = ..., keywords: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Mapping[str, float]] = ...) -> None: ...

class AnalyzeRequest(_message.Message):
    __slots__ = ("reviews", "options")
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    options: AnalysisOptions
    def __init__(self, reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., options: _Optional[_Union[AnalysisOptions, _Mapping]] = ...) -> None: ...

class AnalyzeResponse(_message.Message):
    __slots__ = ("analyses", "timings", "model_version")
    ANALYSES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    analyses: _containers.RepeatedCompositeFieldContainer[_review_analysis_pb2.ReviewAnalysis]
    timings: AnalysisTimings
    model_version: str
    def __init__(self, analyses: _Optional[_Iterable[_Union[_review_analysis_pb2.ReviewAnalysis, _Mapping]]] = ..., timings: _Optional[_Union[AnalysisTimings, _Mapping]] = ..., model_version: _Optional[str] = ...) -> None: ...

class AnalyzeStreamRequest(_message.Message):
    __slots__ = ("review", "options")
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    review: Review
    options: AnalysisOptions
    def __init__(self, review: _Optional[_Union[Review, _Mapping]] = ..., options: _Optional[_Union[AnalysisOptions, _Mapping]] = ...) -> None: ...

class AnalyzeStreamResponse(_message.Message):
    __slots__ = ("analysis", "timings")
    ANALYSIS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    analysis: _review_analysis_pb2.ReviewAnalysis
    timings: AnalysisTimings
    def __init__(self, analysis: _Optional[_Union[_review_analysis_pb2.ReviewAnalysis, _Mapping]] = ..., timings: _Optional[_Union[AnalysisTimings, _Mapping]] = ...) -> None: ...

class AnalysisTimings(_message.Message):
    __slots__ = ("tokenization", "queue", "keyword", "sentiment", "highlight")
    TOKENIZATION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    KEYWORD_FIELD_NUMBER: _ClassVar[int]
    SENTIMENT_FIELD_NUMBER: _ClassVar[int]
    HIGHLIGHT_FIELD_NUMBER: _ClassVar[int]
    tokenization: _duration_pb2.Duration
    queue: _duration_pb2.Duration
    keyword: _duration_pb2.Duration
    sentiment: _duration_pb2.Duration
    highlight: _duration_pb2.Duration
    def __init__(self, tokenization: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., queue: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., keyword: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sentiment: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., highlight: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("models", "limits", "server_version")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ServedModel]
    limits: Limits
    server_version: str
    def __init__(self, models: _Optional[_Iterable[_Union[ServedModel, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., server_version: _Optional[str] = ...) -> None: ...

class ServedModel(_message.Message):
    __slots__ = ("model_version", "traffic_share", "keywords", "overall", "sentiments", "tokenizer_sha256", "labels_sha256", "max_tokens")
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_SHARE_FIELD_NUMBER: _ClassVar[int]
    KEYWORDS_FIELD_NUMBER: _ClassVar[int]
    OVERALL_FIELD_NUMBER: _ClassVar[int]
    SENTIMENTS_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_SHA256_FIELD_NUMBER: _ClassVar[int]
    LABELS_SHA256_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model_version: str
    traffic_share: float
    keywords: _containers.RepeatedCompositeFieldContainer[KeywordLabel]
    overall: str
    sentiments: _containers.RepeatedCompositeFieldContainer[SentimentLabel]
    tokenizer_sha256: str
    labels_sha256: str
    max_tokens: int
    def __init__(self, model_version: _Optional[str] = ..., traffic_share: _Optional[float] = ..., keywords: _Optional[_Iterable[_Union[KeywordLabel, _Mapping]]] = ..., overall: _Optional[str] = ..., sentiments: _Optional[_Iterable[_Union[SentimentLabel, _Mapping]]] = ..., tokenizer_sha256: _Optional[str] = ..., labels_sha256: _Optional[str] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class KeywordLabel(_message.Message):
    __slots__ = ("name", "threshold")
    NAME_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    name: str
    threshold: float
    def __init__(self, name: _Optional[str] = ..., threshold: _Optional[float] = ...) -> None: ...

class SentimentLabel(_message.Message):
    __slots__ = ("name", "score")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    score: int
    def __init__(self, name: _Optional[str] = ..., score: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_reviews", "max_characters", "max_calls_per_client", "max_stream_reviews", "default_deadline", "max_deadline", "max_highlights_per_keyword")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_REVIEWS_FIELD_NUMBER: _ClassVar[int]
    MAX_CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    MAX_CALLS_PER_CLIENT_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAM_REVIEWS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    MAX_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    MAX_HIGHLIGHTS_PER_KEYWORD_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_reviews: int
    max_characters: int
    max_calls_per_client: int
    max_stream_reviews: int
    default_deadline: _duration_pb2.Duration
    max_deadline: _duration_pb2.Duration
    max_highlights_per_keyword: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_reviews: _Optional[int] = ..., max_characters: _Optional[int] = ..., max_calls_per_client: _Optional[int] = ..., max_stream_reviews: _Optional[int] = ..., default_deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_highlights_per_keyword: _Optional[int] = ...) -> None: ...
