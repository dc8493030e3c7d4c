// Tables for CloudFormation: it is always answered, nothing is deleted, and what cannot be changed is refused as a whole.

import { describe, expect, test } from "vitest";
import { tablesHandler } from "../../functions/handlers/tables.ts";
import { getTable, listTables } from "../../lib/jobs/tables.ts";
import { POLICY_DEFAULTS } from "../../lib/model/table.ts";
import type { World } from "../../lib/ports/world.ts";
import { appendEach, memoryWorld, noAnswer, put, stored, withCheckpoints, worldWithTable } from "../unit/jobs/world.ts";
import { context, keptOutput, wired } from "./harness.ts";

const output = keptOutput();
const ADDRESS = "https://cloudformation-custom-resource-response.s3.amazonaws.com/x?X-Amz-Signature=secret-word";
const PLAYERS = { ...POLICY_DEFAULTS, name: "players", shards: 1, codec: "json" };

function deployment(world: World, { leftMs = 60_000, respond }: { leftMs?: number; respond?: () => Promise<void> } = {}) {
  const answers: { readonly address: string; readonly Status: string; readonly Reason?: string; readonly PhysicalResourceId: string }[] = [];
  const keep = async (address: string, body: string): Promise<void> => void answers.push({ address, ...JSON.parse(body) });
  const handler = tablesHandler({ ...wired(world), respond: respond ?? keep });
  const deploy = async (RequestType: string, tables: unknown, more: object = {}) => {
    const event = {
      RequestType,
      ResponseURL: ADDRESS,
      StackId: "stack",
      RequestId: "request",
      LogicalResourceId: "Tables",
      ResourceType: "Custom::TidemarkTables",
      ResourceProperties: { ServiceToken: "arn", Tables: typeof tables === "string" ? tables : JSON.stringify(tables) },
      ...more,
    };
    await handler(event, context(leftMs));
    return answers.at(-1);
  };
  return { deploy, answers };
}

test("tables that lack are made, with every setting", async () => {
  const world = memoryWorld();
  const { deploy } = deployment(world);
  const other = { ...PLAYERS, name: "other", shards: 4, codec: "bytes", keepSnapshots: 9 };
  expect(await deploy("Create", [PLAYERS, other])).toMatchObject({ address: ADDRESS, Status: "SUCCESS", StackId: "stack", RequestId: "request" });
  expect(await listTables(world)).toMatchObject([other, PLAYERS]);
});

test("the table of a source is made as one", async () => {
  const world = memoryWorld();
  expect(await deployment(world).deploy("Create", [{ ...PLAYERS, source: "influxdb" }])).toMatchObject({ Status: "SUCCESS" });
  expect(await getTable(world, "players")).toMatchObject({ source: "influxdb" });
  expect(await deployment(world).deploy("Update", [PLAYERS])).toMatchObject({ Status: "FAILED", Reason: expect.stringContaining("choose another name") });
});

test("a change of the list changes policies, and a delivery that comes again changes nothing", async () => {
  const world = await worldWithTable();
  const { deploy } = deployment(world);
  const changed = { ...PLAYERS, keepSnapshots: 5, captureAfterMs: 60_000 };
  expect(await deploy("Update", [changed])).toMatchObject({ Status: "SUCCESS" });
  expect(await getTable(world, "players")).toMatchObject(changed);
  const before = stored(world);
  await deploy("Update", [changed]);
  expect(stored(world)).toEqual(before);
});

test("nothing is deleted: not what leaves the list, not by the stack's end", async () => {
  const world = await worldWithTable();
  await appendEach(world, [[put("a", 1)]]);
  const before = stored(world);
  const { deploy } = deployment(world);
  expect(await deploy("Update", [])).toMatchObject({ Status: "SUCCESS" });
  expect(await deploy("Delete", [PLAYERS], { PhysicalResourceId: "Tables" })).toMatchObject({ Status: "SUCCESS" });
  expect(stored(world)).toEqual(before);
});

test("the resource keeps its name, whatever the list", async () => {
  const { deploy } = deployment(memoryWorld());
  expect(await deploy("Create", [PLAYERS])).toMatchObject({ PhysicalResourceId: "Tables" });
  expect(await deploy("Update", [], { PhysicalResourceId: "as it was" })).toMatchObject({ PhysicalResourceId: "as it was" });
});

describe("refused with the reason, before anything is written, is", () => {
  test.each<[string, unknown, RegExp]>([
    [
      "another number of shards",
      [
        { ...PLAYERS, name: "new" },
        { ...PLAYERS, shards: 2 },
      ],
      /table players was made with shards 1 and cannot get shards 2/,
    ],
    [
      "another codec",
      [
        { ...PLAYERS, name: "new" },
        { ...PLAYERS, codec: "bytes" },
      ],
      /table players was made with codec json/,
    ],
    [
      "a setting that cannot be kept",
      [
        { ...PLAYERS, name: "new" },
        { ...PLAYERS, name: "newer", keepSnapshots: 1 },
      ],
      /keep-snapshots is 1/,
    ],
    [
      "a name twice",
      [
        { ...PLAYERS, name: "new" },
        { ...PLAYERS, name: "new" },
      ],
      /in the list twice/,
    ],
    ["no name", [{ ...PLAYERS, name: "NO NAME" }], /is not a table name/],
    ["a member too many", [{ ...PLAYERS, name: "new", other: 1 }], /members that mean nothing/],
    ["a text for a number", [{ ...PLAYERS, name: "new", shards: "2" }], /0.shards must be of type/],
    ["no JSON", "no JSON", /not JSON/],
  ])("%s", async (_, tables, reason) => {
    const world = await worldWithTable();
    const before = stored(world);
    expect(await deployment(world).deploy("Update", tables)).toMatchObject({ Status: "FAILED", Reason: expect.stringMatching(reason) });
    expect(stored(world)).toEqual(before);
  });

  test("a resource without tables", async () => {
    expect(await deployment(memoryWorld()).deploy("Create", [], { ResourceProperties: {} })).toMatchObject({ Status: "FAILED" });
  });
});

test("a deployment onto a bucket or a prefix that the items do not belong to ends there, whether tables are named or not", async () => {
  const world = await worldWithTable();
  const elsewhere = { ...world, objects: memoryWorld().objects };
  for (const tables of [[PLAYERS], []])
    expect(await deployment(elsewhere).deploy("Update", tables)).toMatchObject({ Status: "FAILED", Reason: expect.stringContaining("_store.json is missing") });
  const another = { ...world, objects: (await worldWithTable({}, 2)).objects };
  expect(await deployment(another).deploy("Update", [])).toMatchObject({ Status: "FAILED", Reason: expect.stringContaining("of different stores") });
  expect(await deployment(elsewhere).deploy("Delete", [])).toMatchObject({ Status: "SUCCESS" });
  expect(await deployment(world).deploy("Update", [])).toMatchObject({ Status: "SUCCESS" });
});

describe("an answer comes", () => {
  test("where the store gives none", async () => {
    const world = withCheckpoints(memoryWorld(), () => ({ get: () => Promise.reject(noAnswer()) }));
    expect(await deployment(world).deploy("Create", [PLAYERS])).toMatchObject({ Status: "FAILED", Reason: "the reply was lost" });
  });

  test("where the time runs out", async () => {
    const world = withCheckpoints(memoryWorld(), () => ({ get: () => new Promise(() => undefined) }));
    expect(await deployment(world, { leftMs: 20 }).deploy("Create", [PLAYERS])).toMatchObject({ Status: "FAILED", Reason: expect.stringContaining("in time") });
  });

  test("of a bug, without its words", async () => {
    const world = withCheckpoints(memoryWorld(), () => ({ get: () => Promise.reject(new TypeError("x is not a function")) }));
    expect(await deployment(world).deploy("Create", [PLAYERS])).toMatchObject({ Status: "FAILED", Reason: expect.not.stringContaining("x is not") });
  });

  test("and its address, which is a key, is in no log", async () => {
    await deployment(memoryWorld()).deploy("Create", [PLAYERS]);
    await expect(deployment(memoryWorld(), { respond: () => Promise.reject(noAnswer()) }).deploy("Create", [PLAYERS])).rejects.toThrow("no-answer");
    expect(output.lines().join("\n")).not.toContain("secret-word");
  });
});
