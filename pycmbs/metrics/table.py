"""Declares every metric with its labels: at most some 900 series, however large the federation.

No label has a member, a topic or an id as its value; the series of each member are told on request (``?members=1``).
"""

from __future__ import annotations

from pycmbs.metrics.counting import Counter, Gauge, Histogram, Metric, Sampled

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
_MANY = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)

BUILD_INFO = Gauge("build_info", "1; what runs, and on which kind of store.", ("version", "store"))
PROCESS_UP = Gauge("process_up", "Whether a process of the broker runs and is ready.", ("process",))
PROCESS_RESTARTS = Sampled("process_restarts_total", "How often a process died and was started again.", ("process",))
PROCESS_BYTES = Gauge("process_resident_bytes", "Memory that a process has.", ("process",))
PROCESS_CPU = Sampled("process_cpu_seconds_total", "Processor time that a process has used.", ("process",))

HTTP_REQUESTS = Counter("http_requests_total", "HTTP requests that were answered.", ("route", "method", "status"))
HTTP_SECONDS = Histogram("http_request_seconds", "How long it took to answer HTTP requests.", ("route",), _SHORT)
HTTP_CONNECTIONS = Gauge("http_connections", "HTTP connections that are open.")
STREAMS = Gauge("streams", "Answers that are open as streams.")
STREAMS_BEHIND = Counter(
    "streams_behind_total", "Times that the reader of a stream fell behind what is kept in memory."
)
ERRORS = Counter("errors_total", "Errors that were answered over HTTP, by their code.", ("code",))

ACCEPTED = Counter("messages_accepted_total", "Messages that were accepted for sending.", ("layer",))
DELIVERIES = Counter(
    "deliveries_total", "Deliveries to one recipient each of which nothing more is to come.", ("layer", "outcome")
)
DELIVERY_SECONDS = Histogram(
    "delivery_seconds", "From a delivery's acceptance until it was settled.", ("layer",), _LONG
)
ATTEMPTS = Counter("attempts_total", "Deliveries that were sent to their recipient, retries included.", ("layer",))
RETRIES = Counter("retries_total", "Deliveries that were sent again.", ("layer",))
OUTBOX = Gauge("outbox_deliveries", "Deliveries that wait in the outbox.")
OUTBOX_BOUND = Gauge("outbox_bound", "How many may wait there.")
OUTBOX_OLDEST = Gauge("outbox_oldest_seconds", "The age of the oldest delivery that waits.")

RECEIVED = Counter("received_total", "Messages that came from other members.", ("layer", "result"))
RELAYED = Counter("relayed_total", "Datagrams that were to be passed on for other members.", ("layer", "result"))
EXECUTIONS = Counter(
    "executions_total", "Operations and calls of handlers that messages asked for.", ("what", "outcome")
)
EXECUTION_SECONDS = Histogram("execution_seconds", "How long executing them took.", ("what",), _LONG)

MEMBERS = Gauge("members", "Other members that are known, by their health.", ("state",))
PROBES = Counter("probes_total", "Probes of other members that came to an end.", ("outcome",))
PROBE_SECONDS = Histogram("probe_seconds", "How long answers to probes took.", (), _SHORT)
LISTENING = Gauge("listening", "Whether the own member listens on a layer.", ("layer",))

STORE_UP = Gauge("store_up", "Whether the store answers.")
STORE_SECONDS = Histogram("store_commit_seconds", "How long commits took.", (), _SHORT)
STORE_BATCH = Histogram("store_batch_documents", "How many documents were written with one commit.", (), _MANY)
STORE_CONFLICTS = Counter(
    "store_conflicts_total", "Writes that were refused: someone else had changed the document first."
)
STORE_FAILURES = Counter("store_failures_total", "Commits that failed: the store was away, or its disk was full.")
STORE_DOCUMENTS = Gauge("store_documents", "Documents in the store.", ("type",))
STORE_BYTES = Gauge("store_bytes", "Bytes of the store on the disk.")

MEMBER_UP = Gauge("member_up", "Whether a member is alive.", ("member",))
MEMBER_ROUND_TRIP = Gauge("member_round_trip_seconds", "What an answer of a member usually takes.", ("member",))
MEMBER_WAITING = Gauge("member_waiting_deliveries", "Deliveries that wait for a member.", ("member",))
MEMBER_OLDEST = Gauge("member_oldest_seconds", "The age of the oldest delivery that waits for a member.", ("member",))

METRICS: tuple[Metric, ...] = tuple(one for one in list(globals().values()) if isinstance(one, Metric))
BY_NAME = {one.name: one for one in METRICS}
LAYERS = ("l1", "l2", "l31", "l32", "l4")


def layer_label(layer: object) -> str:
    """A layer as a label: what other members write there becomes one of these, or none."""
    return layer if isinstance(layer, str) and layer in LAYERS else "other"
