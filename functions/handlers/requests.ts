// What tables and shards have, and captures on demand, over HTTP. All routes stand in one table.

import { captureRoutes } from "./captures.ts";
import { statusRoutes } from "./statuses.ts";
import type { ItemWorld } from "../../lib/ports/world.ts";
import { httpHandler } from "../runtime/http.ts";
import type { Queue } from "../runtime/queue.ts";
import type { Instruments } from "../runtime/telemetry.ts";

export interface RequestsDeps extends Instruments {
  readonly world: ItemWorld;
  readonly captures: Queue;
}

export function requestsHandler(deps: RequestsDeps) {
  const { world, captures } = deps;
  const status = statusRoutes(world);
  const capture = captureRoutes({ world, captures });
  return httpHandler(deps, [
    { method: "GET", path: "/tables", work: status.tables },
    { method: "GET", path: "/tables/{table}", work: status.table },
    { method: "GET", path: "/tables/{table}/shards/{shard}", work: status.shard },
    { method: "POST", path: "/tables/{table}/captures", work: capture.ofTable },
    { method: "POST", path: "/tables/{table}/shards/{shard}/captures", work: capture.ofShard },
    { method: "GET", path: "/tables/{table}/shards/{shard}/captures/{request}", work: capture.outcome },
  ]);
}
