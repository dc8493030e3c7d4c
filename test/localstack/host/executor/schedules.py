"""Fires the schedules of EventBridge Scheduler, which LocalStack's community edition stores and never runs.

Only rates, and only functions and queues as targets: what the project deploys. As on AWS, a rate fires at its start and then
once each interval; a disabled schedule does not. Of what AWS puts into the input, the execution's id alone.
"""

import logging
import re
import threading
import time
import uuid

from localstack.aws.connect import connect_to
from moto.scheduler.models import Schedule, scheduler_backends

LOG = logging.getLogger(__name__)
RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")
EXECUTION_ID = "<aws.scheduler.execution-id>"
UNIT_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
TICK_SECONDS = 0.5


def apply() -> None:
    threading.Thread(target=_run, daemon=True, name="schedules").start()


def _run() -> None:
    fired: dict[str, int] = {}
    while True:
        time.sleep(TICK_SECONDS)
        for account, regions in list(scheduler_backends.items()):
            for region, backend in list(regions.items()):
                for group in list(backend.schedule_groups.values()):
                    for schedule in list(group.schedules.values()):
                        _fire_if_due(schedule, account, region, fired)


def _fire_if_due(schedule: Schedule, account: str, region: str, fired: dict[str, int]) -> None:
    """`fired` tells which interval of a schedule was the last to fire."""
    interval = _interval(schedule, time.time())
    life = f"{schedule.arn} {schedule.creation_date}"
    if interval is None or interval <= fired.get(life, -1):
        return
    fired[life] = interval
    if schedule.state == "ENABLED":
        threading.Thread(target=_fire, args=(schedule, account, region), daemon=True).start()


def _interval(schedule: Schedule, now: float) -> int | None:
    """The number of the interval that `now` is in, from 0; None before the start, and for what is no rate."""
    rate = RATE.fullmatch(schedule.schedule_expression)
    start = float(schedule.start_date or schedule.creation_date)
    if rate is None or now < start:
        return None
    return int((now - start) // (int(rate[1]) * UNIT_SECONDS[rate[2]]))


def _fire(schedule: Schedule, account: str, region: str) -> None:
    target = schedule.target
    arn, text = target["Arn"], (target.get("Input") or "{}").replace(EXECUTION_ID, str(uuid.uuid4()))
    clients = connect_to(region_name=region, aws_access_key_id=account)
    service = arn.split(":")[2]
    try:
        if service == "lambda":
            clients.lambda_.invoke(FunctionName=arn, InvocationType="Event", Payload=text.encode())
        elif service == "sqs":
            url = clients.sqs.get_queue_url(QueueName=arn.split(":")[-1])["QueueUrl"]
            clients.sqs.send_message(QueueUrl=url, MessageBody=text, **(target.get("SqsParameters") or {}))
        else:
            LOG.error("schedule %s: targets of %s are not supported", schedule.name, service)
    except Exception:
        LOG.exception("schedule %s failed", schedule.name)
