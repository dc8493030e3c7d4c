"""Resources that a template says to retain outlive their stack: LocalStack reads DeletionPolicy and deletes them all the same."""

from localstack.services.cloudformation.engine.v2.change_set_model import ChangeAction
from localstack.services.cloudformation.engine.v2.change_set_model_executor import ChangeSetModelExecutor
from localstack.services.cloudformation.resource_provider import OperationStatus, ProgressEvent

_plain_execute = ChangeSetModelExecutor._execute_resource_action


def apply() -> None:
    ChangeSetModelExecutor._execute_resource_action = _execute


def _execute(executor, *, action, logical_resource_id, part_of_replacement=False, **request) -> ProgressEvent:
    if action == ChangeAction.Remove:
        template = executor._change_set.update_model.node_template
        resource = executor._get_node_resource_for(logical_resource_id, template)
        policy = resource.update_replace_policy if part_of_replacement else resource.deletion_policy
        if getattr(policy, "value", None) == "Retain":
            return ProgressEvent(OperationStatus.SUCCESS, {})
    return _plain_execute(
        executor, action=action, logical_resource_id=logical_resource_id, part_of_replacement=part_of_replacement, **request
    )
