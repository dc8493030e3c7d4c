"""Runs Lambda functions as processes of this host, where LocalStack knows only containers.

One execution environment is one Node process that runs function-runtime.ts with the function's real bundle: JSON lines in
by its standard input, JSON lines out by a pipe of its own. As on Lambda, a function that is over its time is killed, one that
ends answers with an error, and either way the next invocation gets a fresh process.

A test sends one a signal in the middle of an invocation, by a POST below INVOCATIONS_PATH with a text that stands in the event.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from localstack import config
from localstack.http import Request, Response
from localstack.services.edge import ROUTER
from localstack.services.lambda_.invocation.executor_endpoint import StatusErrorException
from localstack.services.lambda_.invocation.lambda_models import FunctionVersion, InvocationResult
from localstack.services.lambda_.invocation.plugins import DockerRuntimeExecutorPlugin
from localstack.services.lambda_.invocation.runtime_executor import RuntimeExecutor

RUNTIME = Path(__file__).with_name("function-runtime.ts")
NODE_MODULES = Path(__file__).parents[4] / "node_modules"
HOST = "127.0.0.1"
INIT_SECONDS_MAX = 10
LOG_BYTES_MAX = 16 * 1024 * 1024
INVOCATIONS_PATH = "/_tidemark/invocations"
_running: dict[str, tuple[str, subprocess.Popen]] = {}
"""By request id, the event of each invocation and the process that is at it."""


def apply() -> None:
    DockerRuntimeExecutorPlugin.load = lambda _: FunctionProcess
    ROUTER.add(INVOCATIONS_PATH, endpoint=_count_running, methods=["GET"])
    ROUTER.add(f"{INVOCATIONS_PATH}/<text>", endpoint=_find, methods=["GET"])
    ROUTER.add(f"{INVOCATIONS_PATH}/<text>/<name>", endpoint=_signal, methods=["POST"])


def _count_running(_: Request) -> Response:
    return Response(json.dumps({"running": len(_running)}), mimetype="application/json")


def _find(_: Request, text: str) -> Response:
    return Response(status=204 if _processes_at(text) else 404)


def _signal(_: Request, text: str, name: str) -> Response:
    processes = _processes_at(text)
    for process in processes:
        process.send_signal(signal.Signals[name])
    return Response(status=204 if processes else 404)


def _processes_at(text: str) -> list[subprocess.Popen]:
    """Those that are at an invocation with this text in its event."""
    return [process for event, process in list(_running.values()) if text in event]


class FunctionProcess(RuntimeExecutor):
    def __init__(self, id: str, function_version: FunctionVersion) -> None:
        super().__init__(id, function_version)
        self.config = function_version.config
        self.stopped = False

    @classmethod
    def prepare_version(cls, function_version: FunctionVersion) -> None:
        function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version: FunctionVersion) -> None:
        pass

    def start(self, env_vars: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.function_version.id.function_name}-"))
        self.log = open(self.folder / "log", "a+b", buffering=0)
        self.env_vars = env_vars
        failure = self._spawn()
        if failure:
            raise StatusErrorException("the function failed to start", payload=failure["body"].encode())

    def stop(self) -> None:
        self.stopped = True
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def invoke(self, payload: dict[str, str]) -> InvocationResult:
        request_id, seconds = payload["invoke-id"], self.config.timeout
        log_start = os.fstat(self.log.fileno()).st_size
        reply = None if self.process.poll() is None else self._spawn()
        if reply is None:
            reply = self._ask(
                seconds,
                {
                    "requestId": request_id,
                    "functionArn": payload["invoked-function-arn"],
                    "traceId": payload["trace-id"],
                    "deadlineMs": (time.time() + seconds) * 1000,
                    "event": payload["payload"],
                },
            )
        lines = os.pread(self.log.fileno(), LOG_BYTES_MAX, log_start).decode(errors="replace")
        logs = f"START RequestId: {request_id}\n{lines}END RequestId: {request_id}\n"
        return InvocationResult(request_id, reply["body"].encode(), is_error=reply["failed"], logs=logs)

    def _spawn(self) -> dict | None:
        """Starts the process and waits until it has loaded the handler; the reply to give where that fails."""
        code = self.config.code.get_unzipped_code_location()
        replies, its_end = os.pipe()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            # What Lambda's own runtime has for functions that bundle no SDK, as those of the CDK.
            "NODE_PATH": str(NODE_MODULES),
            **{name: str(value) for name, value in self.env_vars.items() if value is not None},
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{self.config.runtime}",
            "LAMBDA_TASK_ROOT": str(code),
            "REPLIES_FD": str(its_end),
        }
        # Stays in LocalStack's process group, which is killed as a whole.
        self.process = subprocess.Popen(
            [os.environ["FUNCTION_NODE"], f"--max-old-space-size={int(self.config.memory_size * 0.9)}", RUNTIME],
            cwd=code,
            env=env,
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            pass_fds=[its_end],
        )
        os.close(its_end)
        self.replies = os.fdopen(replies, "rb")
        reply = self._ask(INIT_SECONDS_MAX)
        return reply if reply["failed"] else None

    def _ask(self, seconds_max: float, request: dict | None = None) -> dict:
        """The process's reply to the request, or to its start; where it does not live to give one, the one Lambda gives."""
        process, deadline = self.process, time.monotonic() + seconds_max
        killer = threading.Timer(seconds_max, process.kill)
        killer.start()
        try:
            if request:
                _running[request["requestId"]] = (request["event"], process)
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
            line = self.replies.readline()
        except BrokenPipeError:
            line = b""
        finally:
            killer.cancel()
            if request:
                del _running[request["requestId"]]
        # Killed as it wrote, it leaves a part of one.
        if line.endswith(b"\n"):
            return json.loads(line)
        status = process.wait()
        if time.monotonic() >= deadline:
            kind, text = "Sandbox.Timedout", f"Task timed out after {seconds_max:.2f} seconds"
        else:
            how = f"exit status {status}" if status >= 0 else f"signal: {signal.Signals(-status).name}"
            kind, text = "Runtime.ExitError", f"Runtime exited with error: {how}"
        self.log.write(f"{text}\n".encode())
        request_id = request["requestId"] if request else "init"
        return {"failed": True, "body": json.dumps({"errorType": kind, "errorMessage": f"RequestId: {request_id} Error: {text}"})}

    def get_logs(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def get_address(self) -> str:
        return HOST

    def get_endpoint_from_executor(self) -> str:
        return HOST

    def get_runtime_endpoint(self) -> str:
        """Asked for by LocalStack, used by its containers only."""
        return f"http://{HOST}:{config.GATEWAY_LISTEN[0].port}"
