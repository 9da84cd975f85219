"""Version 1 of the API: messages in ``review_analysis_pb2``."""
