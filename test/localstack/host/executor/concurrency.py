"""Reserved concurrency in templates: LocalStack's CloudFormation drops ReservedConcurrentExecutions of AWS::Lambda::Function."""

from localstack.services.cloudformation.resource_provider import OperationStatus
from localstack.services.lambda_.resource_providers.aws_lambda_function import LambdaFunctionProvider


def apply() -> None:
    LambdaFunctionProvider.create = _reserving(LambdaFunctionProvider.create)
    LambdaFunctionProvider.update = _reserving(LambdaFunctionProvider.update)


def _reserving(carry_out):
    def carry_out_and_reserve(self, request):
        event = carry_out(self, request)
        reserved = request.desired_state.get("ReservedConcurrentExecutions")
        before = (request.previous_state or {}).get("ReservedConcurrentExecutions")
        if event.status == OperationStatus.SUCCESS and reserved != before:
            name = event.resource_model["FunctionName"]
            client = request.aws_client_factory.lambda_
            if reserved is None:
                client.delete_function_concurrency(FunctionName=name)
            else:
                client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=int(reserved))
        return event

    return carry_out_and_reserve
