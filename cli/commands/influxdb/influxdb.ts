import { Command } from "commander";
import type { Run } from "../../context.ts";
import { backupCommand } from "./backup.ts";
import { exportCommand } from "./export.ts";
import { importCommand } from "./import.ts";
import { listCommand } from "./list.ts";
import { restoreCommand } from "./restore.ts";
import { serveCommand } from "./serve.ts";
import { verifyCommand } from "./verify.ts";

export function influxdbCommand(run: Run): Command {
  const group = new Command("influxdb").description("back up InfluxDB 1.x over its own protocol, and bring it back").addHelpText("after", `\n${EXAMPLES}`);
  for (const command of [backupCommand, listCommand, verifyCommand, restoreCommand, exportCommand, importCommand, serveCommand]) group.addCommand(command(run));
  return group;
}

const EXAMPLES = `HOST:PORT is the server's snapshotter, "bind-address" in its settings, port 8088 by default. NAME is a table of the store, made by the
first backup: "tidemark table update NAME --keep-snapshots 60" says how many generations are kept.

Examples:
  tidemark influxdb backup 127.0.0.1:8088 metrics
  tidemark influxdb list metrics
  tidemark influxdb restore metrics 127.0.0.1:8088 --database telegraf --new-database telegraf_copy`;
