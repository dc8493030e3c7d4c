"""Queues feed their functions in parallel: LocalStack hands over one batch at a time, whatever the mapping's MaximumConcurrency.

As on AWS, there are five batches at once where the mapping does not say how many. A FIFO queue keeps its order, since it
gives out nothing of a group that is in flight.

LocalStack's own thread looks for messages; each batch that is found wakes one thread more, which looks until it finds none.
While queues are empty, and that is mostly, nobody else asks: a call for each thread, five times a second, would be the
gateway's main work.
"""

import threading

from localstack.services.lambda_.event_source_mapping.esm_worker import EsmWorker
from localstack.services.lambda_.event_source_mapping.pollers.poller import EmptyPollResultsException
from localstack.services.lambda_.event_source_mapping.pollers.sqs_poller import SqsPoller

POLLERS_DEFAULT = 5
SHUTDOWN_SECONDS_MAX = 1
_plain_start = EsmWorker.start


def apply() -> None:
    EsmWorker.start = _start


def _start(worker: EsmWorker) -> None:
    found = threading.Semaphore(0)
    pollers = 1
    if isinstance(worker.poller, SqsPoller):
        _tell_of_batches(worker.poller, found)
        pollers = worker.esm_config.get("ScalingConfig", {}).get("MaximumConcurrency", POLLERS_DEFAULT)
    _plain_start(worker)
    for _ in range(pollers - 1):
        threading.Thread(target=_poll, args=(worker, found), daemon=True).start()


def _tell_of_batches(poller: SqsPoller, found: threading.Semaphore) -> None:
    def handle_messages(messages) -> None:
        found.release()
        SqsPoller.handle_messages(poller, messages)

    poller.handle_messages = handle_messages


def _poll(worker: EsmWorker, found: threading.Semaphore) -> None:
    while not worker._shutdown_event.is_set():
        if found.acquire(timeout=SHUTDOWN_SECONDS_MAX):
            try:
                while not worker._shutdown_event.is_set():
                    worker.poller.poll_events()
            except EmptyPollResultsException:
                pass
