// What makes the clock call a function, or send a message. One that fails is not repeated by the schedule: the next one does
// the same work.

import { Duration, Stack } from "aws-cdk-lib";
import { PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import { Schedule, ScheduleExpression, ScheduleTargetInput } from "aws-cdk-lib/aws-scheduler";
import type { Construct } from "constructs";

export interface ScheduleRequest {
  /** What is called, and the right that it takes. */
  readonly target: { readonly arn: string; readonly action: "lambda:InvokeFunction" | "sqs:SendMessage" };
  readonly every: Duration;
  readonly input: Readonly<Record<string, string>>;
  readonly description: string;
}

/** `id` is a word, as in `Plan`. */
export function schedule(scope: Construct, id: string, { target, every, input, description }: ScheduleRequest): Schedule {
  const { account } = Stack.of(scope);
  const role = new Role(scope, `${id}ScheduleRole`, {
    assumedBy: new ServicePrincipal("scheduler.amazonaws.com", { conditions: { StringEquals: { "aws:SourceAccount": account } } }),
  });
  role.addToPrincipalPolicy(new PolicyStatement({ actions: [target.action], resources: [target.arn] }));
  const retryPolicy = { maximumRetryAttempts: 0, maximumEventAgeInSeconds: Duration.minutes(1).toSeconds() };
  const made = new Schedule(scope, `${id}Schedule`, {
    schedule: ScheduleExpression.rate(every),
    description,
    // CDK's own target would let the role call every version of the function.
    target: { bind: () => ({ arn: target.arn, role, input: ScheduleTargetInput.fromObject(input), retryPolicy }) },
  });
  made.node.addDependency(role);
  return made;
}
