// The plan of what nothing names: what capture, source or a past life left behind. What is kept: plan.test.ts.

import { describe, expect, test } from "vitest";
import { CAPTURE_ABANDONED_MS } from "../../../lib/model/limits.ts";
import { toEpoch } from "../../../lib/model/position.ts";
import { checkpointAt, prefix, recordAt, rowAt, shard } from "../checkpoint/samples.ts";
import { kept, nothing, NOW, PAST, planOf, redo, type Scene, snapshot } from "./plans.ts";

describe("what nothing names", () => {
  const record = recordAt(40, 3);
  const own = { key: record.key, uploadId: record.uploadId };
  test.each<[string, Scene, object]>([
    ["a snapshot of a past epoch is dead", { keys: [snapshot(40, 2)] }, { orphans: [snapshot(40, 2)] }],
    ["a snapshot of the current epoch is fenced when nobody works", { keys: [snapshot(40, 3)] }, { fence: true, orphans: [snapshot(40, 3)] }],
    ["a snapshot of the current epoch is left while somebody works", { control: { lease: { owner: "x", untilMs: NOW + 1 } }, keys: [snapshot(40, 3)] }, {}],
    ["a snapshot of an epoch still to come is left", { keys: [snapshot(40, 4)] }, {}],
    ["a snapshot that a row names is left", { rows: [rowAt(40, { epoch: toEpoch(2) })], keys: [snapshot(40, 2)] }, {}],
    ["an upload of a past epoch is ended", { uploads: [{ key: snapshot(40, 2), uploadId: "u" }] }, { uploads: ["u"] }],
    ["an upload of the current epoch is fenced when nobody works", { uploads: [{ key: snapshot(40, 3), uploadId: "u" }] }, { fence: true, uploads: ["u"] }],
    [
      "an upload of the current epoch is left while somebody works, who may record it next",
      { control: { lease: { owner: "x", untilMs: NOW + 1 } }, uploads: [{ key: snapshot(40, 3), uploadId: "u" }] },
      {},
    ],
    [
      "a lease that ends this moment holds nobody's upload",
      { control: { lease: { owner: "x", untilMs: NOW } }, uploads: [{ key: snapshot(40, 3), uploadId: "u" }] },
      { fence: true, uploads: ["u"] },
    ],
    [
      "uploads of a past life are ended, whatever their epoch",
      { uploads: [{ key: `${PAST}snapshots/0000000000000099-e9.parquet`, uploadId: "u" }] },
      { uploads: ["u"] },
    ],
    [
      "an attachment's upload is left to the plan of attachments, and one of a past life is ended",
      {
        uploads: [
          { key: `${prefix}attached/0000000000000009/a`, uploadId: "own" },
          { key: `${PAST}attached/0000000000000009/a`, uploadId: "past" },
        ],
      },
      { uploads: ["past"] },
    ],
    [
      "a fence ends the record's upload, and no attachment's",
      { control: { capture: record, checkpoint: checkpointAt(40) }, uploads: [own, { key: `${prefix}attached/0000000000000009/a`, uploadId: "a" }] },
      { fence: true, uploads: [own.uploadId] },
    ],
    ["an upload under another name is ended", { uploads: [{ key: `${prefix}x`, uploadId: "u" }] }, { uploads: ["u"] }],
    ["parts of a capture that is over go", { parts: [1, 2, 3] }, { parts: [1, 2, 3] }],
    [
      "a record is kept for adoption with its upload, object and parts",
      { control: { capture: record, lease: { owner: "x", untilMs: NOW - 1 } }, keys: [record.key], uploads: [own], parts: [2, 3] },
      { parts: [2] },
    ],
    [
      "another upload of the record's key is not the record's",
      { control: { capture: record, lease: { owner: "x", untilMs: NOW + 1 }, epoch: toEpoch(4) }, uploads: [own, { ...own, uploadId: "old" }] },
      { uploads: ["old"] },
    ],
    [
      "beside a record that waits for adoption nothing of the current epoch is fenced: whoever adopts it takes the next",
      { control: { capture: record }, keys: [snapshot(39, 3)], uploads: [own, { ...own, uploadId: "other" }], nowMs: CAPTURE_ABANDONED_MS - 1 },
      {},
    ],
    [
      "a record whose target is passed is given up",
      { control: { capture: record, checkpoint: checkpointAt(40) }, uploads: [own], parts: [3] },
      { fence: true, uploads: [own.uploadId], parts: [3] },
    ],
    [
      "a record that nobody went on with for long is given up",
      { control: { capture: record, lease: { owner: "x", untilMs: 5 } }, uploads: [own], parts: [3], nowMs: 5 + CAPTURE_ABANDONED_MS },
      { fence: true, uploads: [own.uploadId], parts: [3] },
    ],
    [
      "a record is not given up a moment earlier",
      { control: { capture: record, lease: { owner: "x", untilMs: 5 } }, uploads: [own], parts: [3], nowMs: 4 + CAPTURE_ABANDONED_MS },
      {},
    ],
    [
      "a name that no version makes is left alone and told",
      { keys: [`${prefix}redo/x`, `${shard.table}/0/README`] },
      { unparseable: [`${prefix}redo/x`, "players/0/README"] },
    ],
    [
      "what lies below no life's name is left alone and told, though it is called as an object of one",
      { keys: ["players/0/backup/redo/0000000000000001.redo", "players/0/FFFFFFFFFFFFFFFF/snapshots/0000000000000099-e9.parquet"] },
      { unparseable: ["players/0/backup/redo/0000000000000001.redo", "players/0/FFFFFFFFFFFFFFFF/snapshots/0000000000000099-e9.parquet"] },
    ],
    [
      "a past life is dead as a whole, but for names that cannot be read",
      {
        keys: [
          "players/0/ffffffffffffffff/redo/0000000000000099.redo",
          "players/0/ffffffffffffffff/snapshots/0000000000000099-e9.parquet",
          "players/0/ffffffffffffffff/notes",
        ],
      },
      {
        orphans: ["players/0/ffffffffffffffff/redo/0000000000000099.redo", "players/0/ffffffffffffffff/snapshots/0000000000000099-e9.parquet"],
        unparseable: ["players/0/ffffffffffffffff/notes"],
      },
    ],
    [
      "a shard without a control item holds nothing that counts",
      { control: "absent", rows: kept([10]), keys: [redo(1), snapshot(10, 1), `${prefix}notes`], uploads: [own], parts: [1] },
      { orphans: [redo(1), snapshot(10, 1)], generations: [10], uploads: [own.uploadId], parts: [1], unparseable: [`${prefix}notes`] },
    ],
  ])("%s", (_, scene, expected) => {
    expect(planOf(scene)).toEqual({ ...nothing, ...expected });
  });
});
