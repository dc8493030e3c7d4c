// A table in a directory: written, captured, and brought back as it is and as it was.
//   node examples/first-table.ts [DIRECTORY]

import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { json, openTable, recover } from "../lib/index.ts"; // In a program of yours: "tidemark"
import { local } from "../lib/local.ts"; // "tidemark/local"

interface Player {
  readonly name: string;
  readonly hp: number;
}

const directory = process.argv[2] ?? (await mkdtemp(join(tmpdir(), "tidemark-")));
await using players = await openTable({ name: "players", codec: json<Player>(), store: local({ directory }), create: {} });
await using writer = players.writer();

await writer.append([
  { kind: "put", key: "p/41", value: { name: "Ada", hp: 100 } },
  { kind: "put", key: "p/42", value: { name: "Grace", hp: 100 } },
]);
const before = await writer.patch("p/42", { hp: 90 }); // Settles once it is durable.
if (before.kind !== "appended") throw new Error(`the patch was not appended: ${before.kind}`);
await writer.delete("p/41");
await players.snapshot();

await using now = await recover(players);
for await (const { key, value } of now.entries({ prefix: "p/" })) console.log("now   ", key, value);
await using then = await recover(players, { at: before.last });
for await (const { key, value } of then.entries({ prefix: "p/" })) console.log("before", key, value);
