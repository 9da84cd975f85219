"""The typed gRPC front door: what stands between callers and Triton.

| about | modules |
|---|---|
| a call | `service`, `streams` (what methods do), `requests`, `status` (messages, errors), `admission`, `cache` |
| the models behind it | `models`, `deployment`, `triton`, `pinned_repository`, `readiness` |
| two versions side by side | `answering`, `rollout/` |
| who may call | `security`, `certificates`, `tokens` |
| what is seen of it | `observer` (around every call), `metrics`, `tracing`, `logs` |
| the process | `__main__`, `server`, `settings`, `configuration`, `checks`, `healthcheck` |

The analysis itself is `client.analyzer`, as in the command line.
"""
