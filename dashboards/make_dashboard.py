#!/usr/bin/env python3
"""Writes rawcache.json, the Grafana dashboard, beside itself: what is shown is listed here, once.

Grafana: Dashboards, Import, rawcache.json. The alerts for Prometheus are in alerts.yml.
"""

import json
import pathlib

COLUMNS = 24
HERE = 'job=~"$job",instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def rate(counter):
    """How much a counter grows per second, for each server."""
    return f"sum by (instance) (rate(rawcache_{counter}{{{HERE}}}[$__rate_interval]))"


def gauge(name, labels=""):
    return f"rawcache_{name}{{{HERE}{labels}}}"


def share(part, *whole):
    """One counter's growth as a share of that of others together."""
    return f"{rate(part)} / ({' + '.join(rate(counter) for counter in whole)})"


def percentiles(histogram, name):
    """Three lines: half, 99 % and 99.9 % of the calls are faster."""
    buckets = f"sum by (instance, le) (rate(rawcache_{histogram}_seconds_bucket{{{HERE}}}[$__rate_interval]))"
    return [(f"histogram_quantile({quantile}, {buckets})", f"{name} {label}")
            for quantile, label in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))]


def chart(title, unit, help_text, *lines, width=8):
    return {"kind": "timeseries", "title": title, "unit": unit, "help": help_text, "lines": lines, "width": width}


def number(title, unit, help_text, expression, width=4):
    return {"kind": "stat", "title": title, "unit": unit, "help": help_text, "lines": [(expression, "")], "width": width}


ROWS = {
    "Overview": [
        number("Hit ratio, 100 s", "percentunit", "Keys found per key asked for.",
               gauge("server_hit_ratio", ',window="100s"')),
        number("Gets", "ops", "Keys asked for, per second.", rate("server_cmd_get_total")),
        number("Sets", "ops", "Commands that store a value, per second.", rate("server_cmd_set_total")),
        number("Entries", "short", "In the index.", gauge("entries")),
        number("Failed flushes, 1 h", "short", "While flushes fail, what is stored is not durable.",
               f"increase(rawcache_flush_failures_total{{{HERE}}}[1h])"),
        number("Up", "s", "Time since the server started.", gauge("server_uptime_seconds")),
    ],
    "Requests": [
        chart("Hit ratio", "percentunit", "Of the last 10, 100 and 1000 seconds.",
              (gauge("server_hit_ratio"), "{{window}}")),
        chart("Commands", "ops", "Keys asked for, and commands that write.",
              (rate("server_get_hits_total"), "get, found"), (rate("server_get_misses_total"), "get, not found"),
              (rate("server_cmd_set_total"), "set"), (rate("server_delete_hits_total"), "delete, found"),
              (rate("server_cmd_touch_total"), "touch")),
        chart("Errors", "ops", "Commands answered with an error, values refused, clients turned away.",
              (rate("server_errors_total"), "errors"), (rate("server_store_too_large_total"), "too large"),
              (rate("server_store_no_memory_total"), "no memory"),
              (rate("server_connections_rejected_total"), "connections refused"),
              (rate("server_auth_errors_total"), "authentications failed")),
        chart("Latency of reading commands", "s", "From the command's arrival until its reply is ready.",
              *percentiles("server_get_latency", "get")),
        chart("Latency of writing commands", "s", "From the command's arrival until its reply is ready.",
              *percentiles("server_write_latency", "write")),
        chart("Connections", "short", "Open, and how many may be.",
              (gauge("server_connections"), "open"), (gauge("server_connections_max"), "limit")),
        chart("Traffic", "Bps", "Bytes from and to clients.",
              (rate("server_received_bytes_total"), "received"), (rate("server_sent_bytes_total"), "sent")),
        chart("Memory of connections", "bytes", "Buffers of all connections, and their limit.",
              (gauge("server_buffer_bytes"), "used"), (gauge("server_buffer_bytes_max"), "limit")),
        chart("Commands per piece of work", "short", "How many commands a worker carries out together.",
              (f"{rate('server_requests_total')} / {rate('server_runs_total')}", "commands")),
    ],
    "Cache": [
        chart("Lookups", "ops", "Keys looked up, by where they were found.",
              (f"{rate('hits_total')} - {rate('memory_hits_total')}", "device"),
              (rate("memory_hits_total"), "memory"), (rate("misses_total"), "not found")),
        chart("Entries that left", "ops", "By cause. Index full: format with more --expected-entries.",
              (rate("evicted_cold_total"), "evicted, never asked for"),
              (rate("evicted_hot_total"), "evicted, asked for"),
              (rate("evicted_index_full_total"), "index full"), (rate("expired_total"), "expired"),
              (rate("removes_total"), "removed")),
        chart("Room", "percentunit", "Segments and index slots in use.",
              (f"1 - {gauge('segments_free')} / {gauge('segments')}", "segments"),
              (gauge("index_load"), "index slots"), (f"{gauge('entries')} / {gauge('entries_max')}", "entries")),
        chart("Latency of lookups", "s", "One key, and many together.",
              *percentiles("lookup_latency", "one"), *percentiles("lookup_batch_latency", "batch")),
        chart("Latency of stores", "s", "Durable and buffered ones.",
              *percentiles("store_latency", "durable"), *percentiles("store_buffered_latency", "buffered")),
        chart("Memory", "bytes", "What the cache holds in memory.",
              (gauge("index_bytes"), "index"), (gauge("memory_bytes"), "hot values"),
              (gauge("buffer_memory_bytes"), "write buffers"), (gauge("read_buffer_bytes"), "read buffers"),
              (gauge("value_heap_bytes"), "values in callers' hands"), (gauge("ghost_bytes"), "ghost")),
        chart("Write amplification", "short", "Device: bytes written per byte stored. Eviction: entries appended "
              "per entry stored.",
              (share("device_written_bytes_total", "user_bytes_stored_total"), "device"),
              (f"1 + {share('copied_bytes_total', 'appended_entry_bytes_total')}", "eviction")),
        chart("What eviction kept", "ops", "Entries copied, segments kept without a copy, returning keys.",
              (rate("copied_total"), "copied"), (rate("segments_relabelled_total"), "segments relabelled"),
              (rate("segments_rotated_total"), "segments rotated"), (rate("ghost_hits_total"), "remembered keys back")),
        chart("Unreadable and collided", "ops", "Lookups that found rot, or another key of the same index tag.",
              (rate("corruptions_total"), "unreadable"), (rate("collisions_total"), "another key")),
    ],
    "Device": [
        chart("Throughput", "Bps", "Bytes read and written.",
              (rate("device_read_bytes_total"), "read"), (rate("device_written_bytes_total"), "written")),
        chart("Operations", "iops", "Reads, writes and syncs.",
              (rate("device_reads_total"), "reads"), (rate("device_writes_total"), "writes"),
              (rate("device_syncs_total"), "syncs")),
        chart("Bytes per operation", "bytes", "How well reads and writes are gathered.",
              (share("device_read_bytes_total", "device_reads_total"), "read"),
              (share("device_written_bytes_total", "device_writes_total"), "write")),
        chart("Latency of flushes", "s", "From closing a batch until it is durable.",
              *percentiles("flush_latency", "flush")),
        chart("Writes per flush", "short", "How many writes share one sync.",
              (share("flushed_writes_total", "flushes_total"), "writes")),
        chart("Waiting for the device", "bytes", "Buffered and not yet written, and the limit at which callers wait.",
              (gauge("buffered_bytes"), "buffered"), (gauge("buffer_bytes_max"), "limit"),
              (gauge("batch_target_bytes"), "flushed at")),
        chart("Failures", "ops", "Flushes and checkpoints that failed, direct writes taken back.",
              (rate("flush_failures_total"), "flushes"), (rate("checkpoint_failures_total"), "checkpoints"),
              (rate("withdrawn_total"), "withdrawn")),
        chart("Checkpoints", "ops", "Written, per second.", (rate("checkpoints_total"), "checkpoints")),
        chart("Last recovery", "s", "Time that the last start took to rebuild the index.",
              (gauge("recovery_seconds"), "recovery")),
    ],
}


def panel(wanted, number_of, x, y, height):
    several = len(wanted["lines"]) > 1 or "{{" in wanted["lines"][0][1]
    targets = [
        {"datasource": SOURCE, "refId": chr(ord("A") + i), "expr": expression,
         "legendFormat": f"{{{{instance}}}} {legend}".strip()}
        for i, (expression, legend) in enumerate(wanted["lines"])
    ]
    made = {
        "id": number_of, "type": wanted["kind"], "title": wanted["title"], "description": wanted["help"],
        "datasource": SOURCE, "gridPos": {"x": x, "y": y, "w": wanted["width"], "h": height}, "targets": targets,
        "fieldConfig": {"defaults": {"unit": wanted["unit"], "min": 0}, "overrides": []},
    }
    if wanted["kind"] == "timeseries":
        made["fieldConfig"]["defaults"]["custom"] = {"fillOpacity": 0 if several else 10, "showPoints": "never"}
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"},
                           "tooltip": {"mode": "multi", "sort": "desc"}}
    else:
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return made


def panels():
    made, y = [], 0
    for title, wanted in ROWS.items():
        made.append({"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "panels": [],
                     "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1}})
        x, y = 0, y + 1
        height = 4 if wanted[0]["kind"] == "stat" else 8
        for each in wanted:
            if x + each["width"] > COLUMNS:
                x, y = 0, y + height
            made.append(panel(each, len(made) + 1, x, y, height))
            x += each["width"]
        y += height
    return made


def variable(name, query):
    return {"name": name, "type": "query", "datasource": SOURCE, "query": {"query": query, "refId": name},
            "definition": query, "refresh": 2, "includeAll": True, "multi": True, "sort": 1,
            "current": {"text": "All", "value": "$__all"}}


def dashboard():
    return {
        "title": "rawcache", "uid": "rawcache", "tags": ["cache"], "schemaVersion": 38, "version": 1,
        "editable": True, "timezone": "browser", "refresh": "10s", "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            variable("job", "label_values(rawcache_build_info, job)"),
            variable("instance", 'label_values(rawcache_build_info{job=~"$job"}, instance)'),
        ]},
        "annotations": {"list": []}, "panels": panels(),
    }


def text():
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    (pathlib.Path(__file__).resolve().parent / "rawcache.json").write_text(text())
