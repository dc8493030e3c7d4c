"""Runs DynamoDB Local from the jars of $DYNAMODB_LOCAL_JARS, where LocalStack would download an archive of its own."""

import os
import subprocess

from localstack.services.dynamodb.server import DynamodbServer
from localstack.utils.threads import FuncThread, start_thread


def apply() -> None:
    DynamodbServer.do_start_thread = _start


def _start(server: DynamodbServer) -> FuncThread:
    jars = os.environ["DYNAMODB_LOCAL_JARS"]
    command = [
        "java",
        *server._get_java_vm_options(),
        f"-Xmx{server.heap_size}",
        f"-Djava.library.path={jars}",
        "-cp",
        f"{jars}/*",
        "com.amazonaws.services.dynamodbv2.local.main.ServerRunner",
        "-disableTelemetry",
        "-inMemory",
        "-port",
        str(server.port),
    ]
    # In LocalStack's own process group, which is killed as a whole.
    return start_thread(lambda _: subprocess.run(command, check=True), name="dynamodb-local")
