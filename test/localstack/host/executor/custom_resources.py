"""Custom resources in templates: LocalStack's community edition marks them as made without calling their function.

The function is called with the event that CloudFormation sends, and answers with a PUT to its ResponseURL, which leads back
here. It has to answer before it ends: waiting for longer, and functions that answer on port 443 only, as those within the
CDK's own library, are not supported.
"""

import json
import uuid

from localstack.http import Request, Response
from localstack.services.cloudformation.resource_provider import OperationStatus, ProgressEvent, ResourceProvider, ResourceProviderExecutor
from localstack.services.edge import ROUTER
from localstack.utils.urls import localstack_host

ANSWERS_PATH = "/_tidemark/custom-resources/"
_answers: dict[str, dict] = {}
_plain_load = ResourceProviderExecutor.try_load_resource_provider


def apply() -> None:
    ROUTER.add(f"{ANSWERS_PATH}<request_id>", endpoint=_take_answer, methods=["PUT"])
    ResourceProviderExecutor.try_load_resource_provider = staticmethod(_load)


def _load(resource_type: str) -> ResourceProvider | None:
    is_custom = resource_type.startswith("Custom::") or resource_type == "AWS::CloudFormation::CustomResource"
    return CustomResource() if is_custom else _plain_load(resource_type)


def _take_answer(request: Request, request_id: str) -> Response:
    _answers[request_id] = json.loads(request.get_data())
    return Response(status=200)


class CustomResource(ResourceProvider):
    SCHEMA = {"primaryIdentifier": ["/properties/PhysicalResourceId"]}

    def create(self, request):
        return self._ask(request, {"RequestType": "Create", "ResourceProperties": request.desired_state})

    def update(self, request):
        before = request.previous_state
        return self._ask(
            request,
            {
                "RequestType": "Update",
                "PhysicalResourceId": before["PhysicalResourceId"],
                "ResourceProperties": request.desired_state,
                "OldResourceProperties": before["ResourceProperties"],
            },
        )

    def delete(self, request):
        before = request.previous_state
        if "PhysicalResourceId" not in before:  # Its creation failed.
            return ProgressEvent(OperationStatus.SUCCESS, {})
        return self._ask(
            request,
            {
                "RequestType": "Delete",
                "PhysicalResourceId": before["PhysicalResourceId"],
                "ResourceProperties": before["ResourceProperties"],
            },
        )

    def _ask(self, request, event: dict) -> ProgressEvent:
        """The state that it gives is what it is given as the previous one later, and where Fn::GetAtt looks."""
        request_id = str(uuid.uuid4())
        event |= {
            "RequestId": request_id,
            "ResponseURL": f"http://{localstack_host()}{ANSWERS_PATH}{request_id}",
            "StackId": request.stack_id,
            "LogicalResourceId": request.logical_resource_id,
            "ResourceType": request.resource_type,
        }
        properties = event["ResourceProperties"]
        called = request.aws_client_factory.lambda_.invoke(FunctionName=properties["ServiceToken"], Payload=json.dumps(event))
        answer = _answers.pop(request_id, None)
        if answer is None:
            told = called["Payload"].read().decode()
            return _failed(request, f"the function ended without an answer: {told}")
        if answer["Status"] != "SUCCESS":
            return _failed(request, answer.get("Reason", ""))
        state = {"PhysicalResourceId": answer["PhysicalResourceId"], "ResourceProperties": properties, **answer.get("Data", {})}
        return ProgressEvent(OperationStatus.SUCCESS, state)


def _failed(request, reason: str) -> ProgressEvent:
    return ProgressEvent(OperationStatus.FAILED, request.previous_state or {}, message=reason)
