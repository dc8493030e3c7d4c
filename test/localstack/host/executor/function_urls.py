"""Function URLs with AuthType AWS_IAM: LocalStack asks for no signature and tells the function nothing of the caller.

As on AWS, a request without a SigV4 Authorization header is refused with 403, and one with it reaches the function with
requestContext.authorizer.iam. The signature itself is not checked: LocalStack knows no secrets to check it with.
"""

import re

from localstack.aws.accounts import get_account_id_from_access_key_id
from localstack.http import Request, Response
from localstack.services.lambda_ import urlrouter
from localstack.services.lambda_.invocation.models import lambda_stores

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access_key>\w+)/\d{8}/[\w-]+/lambda/aws4_request, ?SignedHeaders=[\w;-]+, ?Signature=[0-9a-f]{64}"
)
_plain_event = urlrouter.event_for_lambda_url
_plain_answer = urlrouter.FunctionUrlRouter.handle_lambda_url_invocation


def apply() -> None:
    urlrouter.event_for_lambda_url = _event
    urlrouter.FunctionUrlRouter.handle_lambda_url_invocation = _answer


def _answer(router: urlrouter.FunctionUrlRouter, request: Request, api_id: str, region: str, **params: str) -> Response:
    if _asks_for_iam(api_id) and not _signature(request):
        refusal = Response('{"Message":"Forbidden"}', 403, mimetype="application/json")
        refusal.headers["x-amzn-ErrorType"] = "AccessDeniedException"
        return refusal
    return _plain_answer(router, request, api_id, region, **params)


def _event(api_id: str, request: Request) -> dict:
    event = _plain_event(api_id, request)
    if _asks_for_iam(api_id):
        access_key = _signature(request)["access_key"]
        account = get_account_id_from_access_key_id(access_key)
        event["requestContext"]["accountId"] = account
        event["requestContext"]["authorizer"] = {
            "iam": {
                "accessKey": access_key,
                "accountId": account,
                "callerId": access_key,
                "cognitoIdentity": None,
                "principalOrgId": None,
                "userArn": f"arn:aws:iam::{account}:user/{access_key}",
                "userId": access_key,
            }
        }
    return event


def _asks_for_iam(api_id: str) -> bool:
    return any(
        url.url_id.lower() == api_id.lower() and url.auth_type == "AWS_IAM"
        for _account, _region, store in lambda_stores.iter_stores()
        for function in store.functions.values()
        for url in function.function_url_configs.values()
    )


def _signature(request: Request) -> re.Match | None:
    return AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
