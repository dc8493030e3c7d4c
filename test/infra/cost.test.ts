// What the cost function takes for granted of a deployment, held against the deployment.

import type { Template } from "aws-cdk-lib/assertions";
import { expect, test } from "vitest";
import { alarmCount, ASSUMED } from "../../cli/cost.ts";
import { propertiesOf, synthesize } from "./scene.ts";

test("the functions have the memory that their cost is computed from", () => {
  const scene = synthesize();
  const memory = (id: string) => propertiesOf(scene, "AWS::Lambda::Function", id).MemorySize;
  expect(["PlanFunction", "SnapshotFunction", "CleanupFunction", "IngestFunction", "IngestQueueFunction", "EventsFunction"].map(memory)).toEqual([
    ASSUMED.planMib,
    ASSUMED.captureMib,
    ASSUMED.cleanupMib,
    ASSUMED.ingestMib,
    ASSUMED.ingestMib,
    ASSUMED.eventsMib,
  ]);
});

test("the alarms, the polled queues and the schedules are as many as are paid for", () => {
  const whole = synthesize().template;
  whole.resourceCountIs("AWS::CloudWatch::Alarm", alarmCount({ alarms: true, ingestQueue: true, events: true }));
  whole.resourceCountIs("AWS::Scheduler::Schedule", 2);
  expect(polledQueues(whole)).toBe(3);
  const small = synthesize({ ingest: { queue: false }, events: false }).template;
  small.resourceCountIs("AWS::CloudWatch::Alarm", alarmCount({ alarms: true, ingestQueue: false, events: false }));
  expect(polledQueues(small)).toBe(2);
  synthesize({ alarms: false }).template.resourceCountIs("AWS::CloudWatch::Alarm", alarmCount({ alarms: false, ingestQueue: true, events: true }));
});

function polledQueues(template: Template): number {
  const sources = Object.values(template.findResources("AWS::Lambda::EventSourceMapping"));
  return sources.filter(({ Properties }) => Properties.StartingPosition === undefined).length;
}
