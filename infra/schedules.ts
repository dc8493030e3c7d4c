// What makes the clock call a function. A call that fails is not repeated by the schedule: the next one does the same work.

import { Duration, Stack } from "aws-cdk-lib";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { IFunction } from "aws-cdk-lib/aws-lambda";
import { Schedule, ScheduleExpression, ScheduleTargetInput } from "aws-cdk-lib/aws-scheduler";
import type { Construct } from "constructs";

export interface ScheduleRequest {
  readonly target: IFunction;
  readonly every: Duration;
  readonly input: { readonly kind: string };
  readonly description: string;
}

/** `id` is a word, as in `Plan`. */
export function schedule(scope: Construct, id: string, { target, every, input, description }: ScheduleRequest): Schedule {
  const { account } = Stack.of(scope);
  const role = new Role(scope, `${id}ScheduleRole`, {
    assumedBy: new ServicePrincipal("scheduler.amazonaws.com", { conditions: { StringEquals: { "aws:SourceAccount": account } } }),
  });
  role.addToPrincipalPolicy(new PolicyStatement({ actions: ["lambda:InvokeFunction"], resources: [target.functionArn] }));
  const retryPolicy = { maximumRetryAttempts: 0, maximumEventAgeInSeconds: Duration.minutes(1).toSeconds() };
  const made = new Schedule(scope, `${id}Schedule`, {
    schedule: ScheduleExpression.rate(every),
    description,
    // CDK's own target would let the role call every version of the function.
    target: { bind: () => ({ arn: target.functionArn, role, input: ScheduleTargetInput.fromObject(input), retryPolicy }) },
  });
  made.node.addDependency(role);
  return made;
}
