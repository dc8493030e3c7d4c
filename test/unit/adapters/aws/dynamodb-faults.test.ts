// What DynamoDB answers on bad days, played to the adapter through the SDK with its repetitions.

import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dynamodbCheckpointStore } from "../../../../lib/adapters/aws/checkpoint-store.ts";
import { ATTEMPTS_MAX } from "../../../../lib/adapters/aws/clients.ts";
import type { CheckpointStore, ItemChange } from "../../../../lib/ports/checkpoint-store.ts";
import { dynamodbError, type HttpDouble, httpDouble, json } from "./http-double.ts";

const SILENCE_MS_MAX = 300;

let double: HttpDouble;
let store: CheckpointStore;
beforeEach(async () => {
  double = await httpDouble({ attemptsMax: ATTEMPTS_MAX, silenceMsMax: SILENCE_MS_MAX });
  store = dynamodbCheckpointStore(double.dynamodb, { table: "control" });
});
afterEach(() => double.close());

const item = { partition: "p", sort: "s" };
const MARSHALLED = { partition: { S: "p" }, sort: { S: "s" }, a: { N: "1" } };
const PUT: readonly ItemChange[] = [{ item, when: [{ kind: "absent" }], put: { a: 1 } }];
const SET: readonly ItemChange[] = [{ item, when: [{ kind: "eq", attribute: "a", value: 0 }], set: { a: 1 } }];
const BOTH: readonly ItemChange[] = [
  { item, when: [{ kind: "absent" }], put: { a: 1 } },
  { item: { partition: "p", sort: "t" }, when: [{ kind: "present" }], check: true },
];
const LOST_TO_ITSELF = dynamodbError("ConditionalCheckFailedException", { Item: MARSHALLED });

describe("a lost reply", () => {
  test("of a plain write that took no effect: it is written", async () => {
    for (const changes of [PUT, SET]) {
      double.play("cut", json({}));
      expect(await store.write(changes)).toEqual({ kind: "written" });
    }
  });

  test("of a plain write that took effect, and then lost to itself, is an unknown effect: never a refusal", async () => {
    for (const changes of [PUT, SET]) {
      double.play("cut", LOST_TO_ITSELF);
      await expect(store.write(changes)).rejects.toMatchObject({ kind: "retry", code: "unknown-effect" });
    }
  });

  test("of a transaction: it is sent again with its token, by which DynamoDB knows it", async () => {
    double.play("cut", "cut", json({}));
    expect(await store.write(BOTH)).toEqual({ kind: "written" });
    const tokens = double.requests.map(({ body }) => JSON.parse(body.toString()).ClientRequestToken);
    expect(tokens).toHaveLength(3);
    expect(new Set(tokens).size).toBe(1);
    double.play(json({}));
    await store.write(BOTH);
    expect(JSON.parse(double.requests[3].body.toString()).ClientRequestToken).not.toBe(tokens[0]);
  });

  test("of every attempt says retry, and no attempt is made beyond the bound", async () => {
    for (const changes of [PUT, BOTH]) {
      const before = double.requests.length;
      double.play(...Array.from({ length: ATTEMPTS_MAX }, () => "cut" as const));
      await expect(store.write(changes)).rejects.toMatchObject({ kind: "retry", code: "no-answer" });
      expect(double.requests).toHaveLength(before + ATTEMPTS_MAX);
    }
  });
});

describe("passing refusals", () => {
  for (const code of ["ThrottlingException", "ProvisionedThroughputExceededException", "TransactionInProgressException", "RequestLimitExceeded"]) {
    test(`${code} is repeated, and the call succeeds`, async () => {
      double.play(dynamodbError(code), json({}));
      expect(await store.write(BOTH)).toEqual({ kind: "written" });
    });
  }

  test("throttling without an end says retry", async () => {
    double.play(...Array.from({ length: ATTEMPTS_MAX }, () => dynamodbError("ThrottlingException")));
    await expect(store.get(item)).rejects.toMatchObject({ kind: "retry", message: expect.stringContaining("ThrottlingException") });
    expect(double.requests).toHaveLength(ATTEMPTS_MAX);
  });
});

test("silence ends after its limit, and is tried again", async () => {
  double.play("silent", json({ Item: MARSHALLED }));
  expect(await store.get(item)).toEqual({ key: item, attributes: { a: 1 } });
  double.play({ ...json({ Item: MARSHALLED }), stallsAfter: 10 }, json({ Item: MARSHALLED }));
  expect(await store.get(item)).toEqual({ key: item, attributes: { a: 1 } });
});

describe("what the caller must correct says how", () => {
  test("expired credentials", async () => {
    double.play(dynamodbError("ExpiredTokenException"));
    await expect(store.get(item)).rejects.toMatchObject({ kind: "call", code: "no-credentials", message: expect.stringContaining("sign in again") });
  });

  test("a denial names the rights that the call needs", async () => {
    for (const [call, right] of [
      [() => store.get(item), "dynamodb:GetItem"],
      [() => store.query({ partition: "p" }), "dynamodb:Query"],
      [() => store.queryDirty({ value: "dirty" }), "dynamodb:Query on its index dirty"],
      [() => store.write(PUT), "dynamodb:PutItem"],
      [() => store.write(BOTH), "dynamodb:ConditionCheckItem"],
    ] as const) {
      double.play(dynamodbError("AccessDeniedException"));
      await expect(call()).rejects.toMatchObject({ kind: "call", code: "no-access", message: expect.stringContaining(right) });
    }
  });

  test("an item that is too large, by whatever answer", async () => {
    const message = "Item size has exceeded the maximum allowed size";
    for (const [changes, reply] of [
      [PUT, dynamodbError("ValidationException", { message })],
      [SET, dynamodbError("ValidationException", { message: "Item size to update has exceeded the maximum allowed size" })],
      [BOTH, dynamodbError("ValidationException", { message })],
      [BOTH, dynamodbError("TransactionCanceledException", { CancellationReasons: [{ Code: "ValidationError", Message: message }, { Code: "None" }] })],
    ] as const) {
      double.play(reply);
      await expect(store.write(changes)).rejects.toMatchObject({ kind: "call", code: "item-too-large", message: expect.stringContaining("p s") });
    }
  });
});
