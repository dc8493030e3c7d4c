// What is deployed does what it is for. One stack for all: the side by side tests first, then an update, then its end.

import { describe, expect, inject, test, type TestContext } from "vitest";
import { DescribeStacksCommand } from "@aws-sdk/client-cloudformation";
import { badCallsAreRefused, aRequestedCaptureTellsItsOutcome } from "./deployed/doors.ts";
import { eventsAreSent } from "./deployed/events.ts";
import { killedInABackupItGoesOn, theScheduleBacksUp } from "./deployed/influxdb.ts";
import { aPoisonedMessageEndsWithItsReason, killedInAnUploadItGoesOn } from "./deployed/killed.ts";
import { whyNoKills } from "./deployed/kills/invocations.ts";
import { FUNCTION_KILLS, killedAnywhereNothingIsLost } from "./deployed/kills/kills.ts";
import { cloudformation } from "./clients.ts";
import { cleanupExpires, recordsGoInByBothDoors, theScheduleCaptures, theStateIsTheModels } from "./deployed/story.ts";
import { deploy, destroy } from "./deployment.ts";

function withInfluxdb(work: () => Promise<void>) {
  return async ({ skip }: Pick<TestContext, "skip">): Promise<void> => {
    const influxdb = inject("influxdb");
    if (influxdb.kind === "lacks") skip(influxdb.why);
    await work();
  };
}

describe.concurrent("side by side", () => {
  test("records go in by both doors, the schedule captures them, cleanup expires what is superseded, and recovery by the CLI equals a model", async () => {
    await recordsGoInByBothDoors();
    await theScheduleCaptures();
    await cleanupExpires();
    await theStateIsTheModels();
  });
  test("killed in the middle of an upload, a capture goes on from its stored parts", killedInAnUploadItGoesOn);
  test("a poisoned message ends in the dead letters with its reason", aPoisonedMessageEndsWithItsReason);
  test("bad calls and events are refused, and nothing is written", badCallsAreRefused);
  test("a requested capture tells its outcome", aRequestedCaptureTellsItsOutcome);
  test("every commit, expiry and failure sends its event", eventsAreSent);
});

// Behind the others: beside the capture that is killed, on few processors, both would be at their limits again and again.
describe.concurrent("an InfluxDB", () => {
  test("is backed up by its schedule, then what is new of it, and cleanup expires what is superseded", withInfluxdb(theScheduleBacksUp));
  test("is gone on with at the shard where the function was killed", withInfluxdb(killedInABackupItGoesOn));
});

test(`functions are killed in the middle of invocations, ${FUNCTION_KILLS} times: what all were told is linearizable, and nothing is left over`, {
  timeout: 600_000 + FUNCTION_KILLS * 20_000,
}, async ({ skip }) => {
  const why = await whyNoKills();
  if (why !== undefined) skip(why);
  await killedAnywhereNothingIsLost();
});

describe("at the end", () => {
  const { stackName, endpoint, context } = inject("localstack");

  test("the state survives an update of the stack", async () => {
    const updated = await deploy({ localstack: { endpoint }, stackName, context: { ...context, dashboard: "true", snapshotMemoryMb: "2048" } });
    expect(updated.outputs).toEqual(inject("localstack").outputs);
    await theStateIsTheModels();
  });

  test("without the stack, the data is still there", async () => {
    await destroy({ localstack: { endpoint }, stackName, context });
    await expect(cloudformation().send(new DescribeStacksCommand({ StackName: stackName }))).rejects.toThrow(/does not exist/);
    await theStateIsTheModels();
  });
});
