"""Queues feed their functions in parallel: LocalStack hands over one batch at a time, whatever the mapping's MaximumConcurrency.

As on AWS, there are five batches at once where the mapping does not say how many. A FIFO queue keeps its order, since it
gives out nothing of a group that is in flight.
"""

import threading

from localstack.services.lambda_.event_source_mapping.esm_worker import EsmWorker
from localstack.services.lambda_.event_source_mapping.pollers.poller import EmptyPollResultsException
from localstack.services.lambda_.event_source_mapping.pollers.sqs_poller import SqsPoller

POLLERS_DEFAULT = 5
PAUSE_SECONDS = 0.2
_plain_start = EsmWorker.start


def apply() -> None:
    EsmWorker.start = _start


def _start(worker: EsmWorker) -> None:
    _plain_start(worker)
    if isinstance(worker.poller, SqsPoller):
        pollers = worker.esm_config.get("ScalingConfig", {}).get("MaximumConcurrency", POLLERS_DEFAULT)
        for _ in range(pollers - 1):
            threading.Thread(target=_poll, args=(worker,), daemon=True).start()


def _poll(worker: EsmWorker) -> None:
    while not worker._shutdown_event.wait(PAUSE_SECONDS):
        try:
            worker.poller.poll_events()
        except EmptyPollResultsException:
            pass
