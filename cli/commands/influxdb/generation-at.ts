import { callError } from "../../../lib/model/errors.ts";
import type { GenerationAt } from "../../../lib/sources/influxdb/open-backup.ts";
import { parseAt } from "../../flags.ts";

/** The flag that names a generation, as commander takes it. */
export const atFlag = ["--at <generation|time>", "this generation, or the newest that began at or before a time (default: the newest)"] as const;

export function parseGenerationAt(text: string): GenerationAt {
  const at = parseAt(text);
  if ("timeMs" in at) return at;
  if (at.index < 1) throw callError("bad-flag", "--at: generations are counted from 1");
  return { generation: at.index };
}
