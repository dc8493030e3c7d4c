// Bad input at each door of the deployed stack: the right status, a clear error, and nothing written. The doors' laws are
// in test/functions; here it is shown that what is deployed keeps them.

import { expect } from "vitest";
import { InvokeCommand } from "@aws-sdk/client-lambda";
import { listObjects } from "../../../lib/cleanup/sweep.ts";
import { createTable } from "../../../lib/jobs/tables.ts";
import { lambda, plainFetch, signedFetch } from "../clients.ts";
import { deployedWorld, output, until } from "./stack.ts";

const TABLE = "quiet";
const NDJSON = { "content-type": "application/x-ndjson" };
const LINE = `{"key":"a","value":1}\n`;

export async function badCallsAreRefused(): Promise<void> {
  const world = deployedWorld();
  await createTable(world, { name: TABLE });
  const url = `${output("IngestUrl")}tables/${TABLE}/batches`;
  const post = async (to: string, headers: Record<string, string>, body: string): Promise<unknown> => {
    const reply = await signedFetch(to, { method: "POST", headers, body });
    return { status: reply.status, told: await reply.json() };
  };
  expect((await plainFetch(url, { method: "POST", headers: NDJSON, body: LINE })).status).toBe(403);
  expect(await post(url.replace(TABLE, "nope"), NDJSON, LINE)).toMatchObject({ status: 404, told: { error: { code: "unknown-table" } } });
  expect(await post(url.replace(TABLE, "Quiet"), NDJSON, LINE)).toMatchObject({ status: 400, told: { error: { code: "bad-table-name" } } });
  expect(await post(url, { "content-type": "text/csv" }, "a,1\n")).toMatchObject({ status: 415 });
  expect(await post(url, NDJSON, `${LINE}{"key":`)).toMatchObject({ status: 400, told: { error: { message: expect.stringContaining("line 2") } } });
  expect(await post(url, { "content-type": "application/json" }, "{")).toMatchObject({ status: 400 });
  expect(await post(`${output("IngestUrl")}elsewhere`, NDJSON, LINE)).toMatchObject({ status: 404 });
  const large = await signedFetch(url, { method: "POST", headers: NDJSON, body: `{"key":"a","value":"${"x".repeat(6 * 1024 * 1024)}"}\n` });
  expect(large.status).toBe(413);
  expect(await listObjects(world.objects, `${TABLE}/`)).toEqual([]);

  for (const name of ["PlanFunctionName", "SnapshotFunctionName", "CleanupFunctionName", "IngestFunctionName", "RequestsFunctionName"]) {
    const { FunctionError, Payload } = await lambda().send(
      new InvokeCommand({ FunctionName: output(name), Payload: JSON.stringify({ kind: "secret-nonsense" }) }),
    );
    expect({ name, FunctionError }).toMatchObject({ FunctionError: expect.stringMatching(/.+/) });
    expect(Payload?.transformToString()).toContain("malformed-event");
    expect(Payload?.transformToString()).not.toContain("secret-nonsense");
  }
}

/** Asked for by call, captured, and its outcome told. */
export async function aRequestedCaptureTellsItsOutcome(): Promise<void> {
  const world = deployedWorld();
  await createTable(world, { name: "asked" });
  const base = `${output("RequestsUrl")}tables/asked/shards/0`;
  const body = await signedFetch(`${output("IngestUrl")}tables/asked/batches`, { method: "POST", headers: NDJSON, body: LINE });
  expect(body.status).toBe(200);
  const asked = await signedFetch(`${base}/captures`, { method: "POST" });
  expect(asked.status).toBe(202);
  const { request } = (await asked.json()) as { readonly request: string };
  const done = await until("the outcome", 300_000, async () => {
    const told = (await (await signedFetch(`${base}/captures/${request}`, { method: "GET" })).json()) as { readonly state: string };
    return told.state === "done" ? told : undefined;
  });
  expect(done).toMatchObject({ outcome: "completed", index: 1 });
  expect(await (await signedFetch(base, { method: "GET" })).json()).toMatchObject({ checkpoint: { index: 1 } });
}
