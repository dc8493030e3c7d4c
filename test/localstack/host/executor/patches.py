"""What LocalStack lacks however it runs. Its container runs this as an init script, the host's main.py calls it."""

import concurrency
import custom_resources
import function_urls
import parallel_polling
import retention
import schedules


def apply() -> None:
    for part in (concurrency, custom_resources, function_urls, parallel_polling, retention, schedules):
        part.apply()
