"""LoadGen's figures, read from its log."""

import json
from pathlib import Path
from typing import Any, Final

from benchmarks.scenarios.scenario import Scenario

PERCENTILES: Final = (50, 90, 97, 99)


def read_log(path: Path) -> dict[str, Any]:
    """Read a run's log, key by key; if a key is logged twice, its last value."""
    prefix = ":::MLLOG "
    entries = [json.loads(line.removeprefix(prefix)) for line in path.read_text().splitlines() if prefix in line]
    return {entry["key"]: entry["value"] for entry in entries}


def figures(scenario: Scenario, log: dict[str, Any]) -> dict[str, Any]:
    """Return LoadGen's figures from the entries of its log.

    Offline has no latency, because all samples are requested at once.
    """
    queries, per_query = log["result_query_count"], log["generated_samples_per_query"]
    if scenario is Scenario.OFFLINE:
        latency, rate = None, log["result_samples_per_second"]
    else:
        kind = "" if scenario is Scenario.SINGLE_STREAM else "_per_query"
        latency = {f"p{p}": log[f"result_{p:.2f}_percentile{kind}_latency_ns"] / 1e6 for p in PERCENTILES}
        mean = log["result_mean_latency_ns" if scenario is Scenario.SINGLE_STREAM else "result_mean_query_latency_ns"]
        rate = per_query * 1e9 / mean
    return {
        "metric": {"SingleStream": "p90", "MultiStream": "p99", "Offline": "samples_per_second"}[scenario.value],
        "samples_per_query": per_query,
        "queries": queries,
        "samples": queries * per_query,
        "latency_ms": latency,
        "samples_per_second": rate,
        "verdict": log["result_validity"],
        "reasons": _reasons(log),
    }


def _reasons(log: dict[str, Any]) -> list[str]:
    """Return why LoadGen calls a run INVALID."""
    conditions = {
        "result_min_duration_met": f"shorter than {log['effective_min_duration_ms']} ms",
        "result_min_queries_met": f"fewer than {log['effective_min_query_count']} queries",
        "early_stopping_met": " ".join(log["early_stopping_result"].replace("*", "").split()),
    }
    reasons = [reason for key, reason in conditions.items() if log.get(key) is False]
    advice = log.get("result_invalid_reason", "").strip()
    return [*reasons, advice] if advice else reasons
