import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { dynamodbCheckpointStore } from "../../../../lib/adapters/aws/checkpoint-store.ts";
import { initAwsStore } from "../../../../lib/adapters/aws/init.ts";
import { manualClock } from "../../../../lib/adapters/memory/clock.ts";
import type { CheckpointStore, ItemChange } from "../../../../lib/ports/checkpoint-store.ts";
import { dynamodbError, type HttpDouble, httpDouble, json } from "./http-double.ts";

let double: HttpDouble;
let store: CheckpointStore;
beforeEach(async () => {
  double = await httpDouble();
  store = dynamodbCheckpointStore(double.dynamodb, { table: "control" });
});
afterEach(() => double.close());

const KEY = { partition: "p", sort: "s" };
const MARSHALLED_KEY = { partition: { S: "p" }, sort: { S: "s" } };
const OTHER = { partition: "p", sort: "t" };

const MET = dynamodbError("TransactionCanceledException", { CancellationReasons: [{ Code: "TransactionConflict" }, { Code: "None" }] });
const MET_BY_A_PLAIN_WRITE = dynamodbError("TransactionConflictException");

function sent(place = 0): { readonly call: string; readonly body: Record<string, unknown> } {
  const { headers, body } = double.requests[place];
  return { call: String(headers["x-amz-target"]).split(".")[1], body: JSON.parse(body.toString()) };
}

describe("what is asked of DynamoDB", () => {
  test("a read is consistent, and every type of attribute comes back", async () => {
    const attributes = {
      text: { S: "" },
      number: { N: "-1.5e-7" },
      yes: { BOOL: false },
      list: { L: [{ N: "9007199254740991" }, { M: {} }] },
      map: { M: { deep: { L: [] } } },
    };
    double.play(json({ Item: { ...MARSHALLED_KEY, ...attributes } }), json({}));
    expect(await store.get(KEY)).toEqual({
      key: KEY,
      attributes: { text: "", number: -1.5e-7, yes: false, list: [Number.MAX_SAFE_INTEGER, {}], map: { deep: [] } },
    });
    expect(await store.get(KEY)).toBeUndefined();
    expect(sent()).toEqual({ call: "GetItem", body: { TableName: "control", Key: MARSHALLED_KEY, ConsistentRead: true } });
  });

  test("what an item cannot hold is damage", async () => {
    for (const value of [{ SS: ["a"] }, { NULL: true }, { N: "9007199254740993" }, { B: "AAAA" }]) {
      double.play(json({ Item: { ...MARSHALLED_KEY, value } }));
      await expect(store.get(KEY)).rejects.toMatchObject({ kind: "repair", code: "damaged-object" });
    }
  });

  test("a put is one plain write that asks for the item that beats it", async () => {
    double.play(json({}));
    expect(
      await store.write([{ item: KEY, when: [{ kind: "absent" }, { kind: "lt", attribute: "index", value: 7 }], put: { size: 1, list: [true, { x: "y" }] } }]),
    ).toEqual({ kind: "written" });
    expect(sent()).toEqual({
      call: "PutItem",
      body: {
        TableName: "control",
        Item: { ...MARSHALLED_KEY, size: { N: "1" }, list: { L: [{ BOOL: true }, { M: { x: { S: "y" } } }] } },
        ConditionExpression: "attribute_not_exists(#n0) AND (attribute_not_exists(#n1) OR #n1 < :v0)",
        ExpressionAttributeNames: { "#n0": "partition", "#n1": "index" },
        ExpressionAttributeValues: { ":v0": { N: "7" } },
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      },
    });
  });

  test("a set names what it writes and removes, under aliases that its conditions share", async () => {
    double.play(json({}), json({}));
    await store.write([
      { item: KEY, when: [{ kind: "present" }, { kind: "eq", attribute: "size", value: "x" }], set: { size: 1, name: "n" }, remove: ["value"] },
    ]);
    await store.write([{ item: KEY, when: [], set: {}, remove: ["value"] }]);
    expect(sent(0)).toMatchObject({
      call: "UpdateItem",
      body: {
        ConditionExpression: "attribute_exists(#n0) AND #n1 = :v0",
        UpdateExpression: "SET #n1 = :v1, #n2 = :v2 REMOVE #n3",
        ExpressionAttributeNames: { "#n0": "partition", "#n1": "size", "#n2": "name", "#n3": "value" },
        ExpressionAttributeValues: { ":v0": { S: "x" }, ":v1": { N: "1" }, ":v2": { S: "n" } },
      },
    });
    expect(sent(1).body).toEqual({ TableName: "control", Key: MARSHALLED_KEY, UpdateExpression: "REMOVE #n0", ExpressionAttributeNames: { "#n0": "value" } });
  });

  test("a delete without conditions has no expressions", async () => {
    double.play(json({}));
    await store.write([{ item: KEY, when: [], delete: true }]);
    expect(sent()).toEqual({ call: "DeleteItem", body: { TableName: "control", Key: MARSHALLED_KEY } });
  });

  test("a lone check, and several changes, are a transaction with a token; a check of nothing is left out", async () => {
    double.play(json({}), json({}));
    await store.write([{ item: KEY, when: [{ kind: "present" }], check: true }]);
    await store.write([
      { item: KEY, when: [], check: true },
      { item: OTHER, when: [], set: { a: 1 } },
      { item: { partition: "q", sort: "q" }, when: [{ kind: "absent" }], put: {} },
      { item: { partition: "r", sort: "r" }, when: [], delete: true },
    ]);
    expect(await store.write([{ item: KEY, when: [], check: true }])).toEqual({ kind: "written" });
    expect(double.requests).toHaveLength(2);
    const loser = { ReturnValuesOnConditionCheckFailure: "ALL_OLD" };
    expect(sent(0)).toEqual({
      call: "TransactWriteItems",
      body: {
        ClientRequestToken: expect.any(String),
        TransactItems: [
          {
            ConditionCheck: {
              TableName: "control",
              Key: MARSHALLED_KEY,
              ConditionExpression: "attribute_exists(#n0)",
              ExpressionAttributeNames: { "#n0": "partition" },
              ...loser,
            },
          },
        ],
      },
    });
    expect(sent(1).body.TransactItems).toEqual([
      {
        Update: {
          TableName: "control",
          Key: { partition: { S: "p" }, sort: { S: "t" } },
          UpdateExpression: "SET #n0 = :v0",
          ExpressionAttributeNames: { "#n0": "a" },
          ExpressionAttributeValues: { ":v0": { N: "1" } },
        },
      },
      {
        Put: {
          TableName: "control",
          Item: { partition: { S: "q" }, sort: { S: "q" } },
          ConditionExpression: "attribute_not_exists(#n0)",
          ExpressionAttributeNames: { "#n0": "partition" },
          ...loser,
        },
      },
      { Delete: { TableName: "control", Key: { partition: { S: "r" }, sort: { S: "r" } } } },
    ]);
  });

  test("a query is consistent, and goes on from a key within its prefix only", async () => {
    double.play(json({ Items: [{ ...MARSHALLED_KEY, n: { N: "1" } }], LastEvaluatedKey: MARSHALLED_KEY }), json({ Items: [] }), json({ Items: [] }));
    expect(await store.query({ partition: "p", sortPrefix: "s", after: "s0", limit: 1, descending: true })).toEqual({
      items: [{ key: KEY, attributes: { n: 1 } }],
      next: "s",
    });
    expect(sent(0)).toEqual({
      call: "Query",
      body: {
        TableName: "control",
        ConsistentRead: true,
        ScanIndexForward: false,
        Limit: 1,
        KeyConditionExpression: "#n0 = :v0 AND begins_with(#n1, :v1)",
        ExpressionAttributeNames: { "#n0": "partition", "#n1": "sort" },
        ExpressionAttributeValues: { ":v0": { S: "p" }, ":v1": { S: "s" } },
        ExclusiveStartKey: { partition: { S: "p" }, sort: { S: "s0" } },
      },
    });
    expect(await store.query({ partition: "p", sortPrefix: "s", after: "z" })).toEqual({ items: [] });
    expect(await store.query({ partition: "p", sortPrefix: "s", after: "a", descending: true })).toEqual({ items: [] });
    expect(double.requests).toHaveLength(1);
    await store.query({ partition: "p", sortPrefix: "s", after: "a" });
    await store.query({ partition: "p", sortPrefix: "s", after: "z", descending: true });
    for (const place of [1, 2]) expect(sent(place).body).not.toHaveProperty("ExclusiveStartKey");
  });

  test("the dirty index is asked by its hash key, and goes on from an item's key", async () => {
    const dirty = { ...MARSHALLED_KEY, dirty: { S: "dirty" } };
    double.play(json({ Items: [dirty], LastEvaluatedKey: dirty }));
    expect(await store.queryDirty({ value: "dirty", after: OTHER, limit: 5 })).toEqual({ keys: [KEY], next: KEY });
    expect(sent()).toEqual({
      call: "Query",
      body: {
        TableName: "control",
        IndexName: "dirty",
        Limit: 5,
        KeyConditionExpression: "#n0 = :v0",
        ExpressionAttributeNames: { "#n0": "dirty" },
        ExpressionAttributeValues: { ":v0": { S: "dirty" } },
        ExclusiveStartKey: { partition: { S: "p" }, sort: { S: "t" }, dirty: { S: "dirty" } },
      },
    });
  });
});

describe("what DynamoDB's answers mean", () => {
  const change = [{ item: KEY, when: [{ kind: "absent" }], put: { a: 1 } }] as const;
  const three = [...change, { item: OTHER, when: [], check: true }, { item: { partition: "q", sort: "q" }, when: [{ kind: "present" }], check: true }] as const;

  test("the loser of a plain write gets the item that beat it, or learns that there is none", async () => {
    double.play(
      dynamodbError("ConditionalCheckFailedException", { Item: { ...MARSHALLED_KEY, a: { N: "2" } } }),
      dynamodbError("ConditionalCheckFailedException"),
    );
    expect(await store.write(change)).toEqual({ kind: "refused", at: 0, item: { key: KEY, attributes: { a: 2 } } });
    expect(await store.write(change)).toEqual({ kind: "refused", at: 0 });
  });

  test("the loser of a transaction learns the first change that was refused, counted as it was given", async () => {
    double.play(
      dynamodbError("TransactionCanceledException", {
        CancellationReasons: [{ Code: "None" }, { Code: "ConditionalCheckFailed", Item: { partition: { S: "q" }, sort: { S: "q" }, n: { N: "1" } } }],
      }),
      dynamodbError("TransactionCanceledException", { CancellationReasons: [{ Code: "ConditionalCheckFailed" }, { Code: "TransactionConflict" }] }),
    );
    expect(await store.write(three)).toEqual({ kind: "refused", at: 2, item: { key: { partition: "q", sort: "q" }, attributes: { n: 1 } } });
    expect(await store.write(three)).toEqual({ kind: "refused", at: 0 });
  });

  test("conflicts between transactions and throttling without an end say retry", async () => {
    store = dynamodbCheckpointStore(double.dynamodb, { table: "control", meetingsMax: 1 });
    for (const Code of ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]) {
      double.play(dynamodbError("TransactionCanceledException", { CancellationReasons: [{ Code }, { Code: "ConditionalCheckFailed" }] }));
      await expect(store.write(three)).rejects.toMatchObject({ kind: "retry", code: "transaction-conflict" });
    }
    for (const reply of [
      dynamodbError("ProvisionedThroughputExceededException"),
      dynamodbError("ThrottlingException"),
      dynamodbError("TransactionInProgressException"),
      dynamodbError("InternalServerError", {}, 500),
      "cut",
    ] as const) {
      double.play(reply);
      await expect(store.write(three)).rejects.toMatchObject({ kind: "retry" });
    }
  });

  test("a write that meets a transaction is sent again, for it had no effect; what it is refused for then is an answer", async () => {
    double.play(MET_BY_A_PLAIN_WRITE, MET_BY_A_PLAIN_WRITE, json({}));
    expect(await store.write(change)).toEqual({ kind: "written" });
    double.play(MET, MET, json({}));
    expect(await store.write(three)).toEqual({ kind: "written" });
    double.play(MET_BY_A_PLAIN_WRITE, dynamodbError("ConditionalCheckFailedException"));
    expect(await store.write(change)).toEqual({ kind: "refused", at: 0 });
    expect(double.requests).toHaveLength(8);
  });

  test("one that was sent twice by then may have had its effect the first time: it says retry", async () => {
    const patient = await httpDouble({ attemptsMax: 2 });
    try {
      const repeating = dynamodbCheckpointStore(patient.dynamodb, { table: "control" });
      patient.play("cut", MET_BY_A_PLAIN_WRITE);
      await expect(repeating.write(change)).rejects.toMatchObject({ kind: "retry" });
      patient.play("cut", MET);
      await expect(repeating.write(three)).rejects.toMatchObject({ kind: "retry", code: "transaction-conflict" });
      expect(patient.requests).toHaveLength(4);
    } finally {
      await patient.close();
    }
  });

  test("of 24 writes at once that check one item all are written, where DynamoDB takes one at a time", async () => {
    let underWay = 0;
    const busy = await httpDouble({
      silenceMsMax: 60_000,
      otherwise() {
        if (underWay > 0) return MET;
        underWay += 1;
        setTimeout(() => (underWay -= 1), 5);
        return json({});
      },
    });
    try {
      const crowded = dynamodbCheckpointStore(busy.dynamodb, { table: "control" });
      const parts = Array.from({ length: 24 }, (_, number): readonly ItemChange[] => [
        { item: KEY, when: [{ kind: "eq", attribute: "epoch", value: 1 }], check: true },
        { item: { partition: "p", sort: `part#${number}` }, when: [], put: { number } },
      ]);
      expect(await Promise.all(parts.map((changes) => crowded.write(changes)))).toEqual(parts.map(() => ({ kind: "written" })));
      expect(busy.requests.length).toBeGreaterThan(parts.length);
    } finally {
      await busy.close();
    }
  });

  test("meetings without an end say retry", async () => {
    store = dynamodbCheckpointStore(double.dynamodb, { table: "control", meetingsMax: 3 });
    double.play(MET, MET, MET);
    await expect(store.write(three)).rejects.toMatchObject({ kind: "retry", code: "transaction-conflict" });
    expect(double.requests).toHaveLength(3);
  });

  test("a plain write that was sent twice and then refused has an unknown effect", async () => {
    const patient = await httpDouble({ attemptsMax: 2 });
    try {
      patient.play("cut", dynamodbError("ConditionalCheckFailedException", { Item: { ...MARSHALLED_KEY, a: { N: "1" } } }));
      await expect(dynamodbCheckpointStore(patient.dynamodb, { table: "control" }).write(change)).rejects.toMatchObject({
        kind: "retry",
        code: "unknown-effect",
      });
      expect(patient.requests).toHaveLength(2);
    } finally {
      await patient.close();
    }
  });

  test("what the caller must correct says how", async () => {
    for (const [name, code] of [
      ["ResourceNotFoundException", "no-control-table"],
      ["AccessDeniedException", "no-access"],
      ["UnrecognizedClientException", "no-credentials"],
      ["ExpiredTokenException", "no-credentials"],
    ]) {
      double.play(dynamodbError(name));
      await expect(store.get(KEY)).rejects.toMatchObject({ kind: "call", code, message: expect.stringContaining(`table "control"`) });
    }
    double.play(dynamodbError("ValidationException"));
    await expect(store.get(KEY)).rejects.toMatchObject({ kind: "bug", code: "refused-request" });
  });

  test("changes that no store takes are refused before they are sent", async () => {
    const item = KEY;
    for (const changes of [
      [],
      [
        { item, when: [], put: {} },
        { item, when: [], check: true as const },
      ],
      [{ item: { partition: "", sort: "s" }, when: [], put: {} }],
      [{ item, when: [], put: { partition: "x" } }],
      [{ item, when: [], put: { dirty: 1 } }],
      [{ item, when: [], put: { n: Number.NaN } }],
      [{ item, when: [], put: { n: 2 ** 60 } }],
      [{ item, when: [], set: {} }],
      [{ item, when: [], set: { a: 1 }, remove: ["a"] }],
    ]) {
      await expect(store.write(changes)).rejects.toMatchObject({ kind: "bug", code: "broken-invariant" });
    }
    expect(double.requests).toEqual([]);
  });
});

describe("making the store", () => {
  const schema = {
    KeySchema: [
      { AttributeName: "partition", KeyType: "HASH" },
      { AttributeName: "sort", KeyType: "RANGE" },
    ],
    GlobalSecondaryIndexes: [
      {
        IndexName: "dirty",
        IndexStatus: "ACTIVE",
        KeySchema: [
          { AttributeName: "dirty", KeyType: "HASH" },
          { AttributeName: "partition", KeyType: "RANGE" },
        ],
      },
    ],
  };
  const active = json({ Table: { TableName: "control", TableStatus: "ACTIVE", ...schema } });

  test("what lacks is made, and waited for", async () => {
    const clock = { sleep: async (ms: number) => void slept.push(ms) };
    const slept: number[] = [];
    double.play(
      { status: 404 },
      { status: 200 },
      { status: 200 },
      dynamodbError("ResourceNotFoundException"),
      json({}),
      json({ Table: { TableStatus: "CREATING", ...schema } }),
      active,
    );
    expect(await initAwsStore({ s3: double.s3, dynamodb: double.dynamodb, clock }, { bucket: "states", table: "control" })).toEqual({ kind: "created" });
    expect(slept).toEqual([1_000]);
    expect(double.requests[1].body.toString()).toContain("<LocationConstraint>eu-central-1</LocationConstraint>");
    expect(sent(4)).toMatchObject({ call: "CreateTable", body: { BillingMode: "PAY_PER_REQUEST", KeySchema: schema.KeySchema } });
  });

  test("what is there stays", async () => {
    double.play({ status: 200 }, active, active);
    expect(await initAwsStore({ s3: double.s3, dynamodb: double.dynamodb, clock: manualClock() }, { bucket: "states", table: "control" })).toEqual({
      kind: "exists",
    });
    expect(double.requests.map(({ method }) => method)).toEqual(["HEAD", "POST", "POST"]);
  });

  test("a table of something else is refused", async () => {
    const other = json({ Table: { TableStatus: "ACTIVE", KeySchema: [{ AttributeName: "id", KeyType: "HASH" }] } });
    double.play({ status: 200 }, other, other);
    await expect(
      initAwsStore({ s3: double.s3, dynamodb: double.dynamodb, clock: manualClock() }, { bucket: "states", table: "control" }),
    ).rejects.toMatchObject({ kind: "call", code: "wrong-table" });
  });
});
