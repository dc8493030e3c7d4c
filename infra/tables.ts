// The pipeline's tables as a custom resource: its function makes those that lack and changes those that differ. Taking a
// table off the list, or the whole stack away, deletes nothing.
//
// It comes before all other functions, also where there is no table to make, for it looks whether bucket, prefix and DynamoDB
// table belong together. CloudFormation makes a new bucket where the lock on its objects is put on or taken off, and a setting
// that is left away goes back to its default: functions that went on there with the old items would acknowledge what no
// recovery finds.

import { CustomResource, Duration, Token } from "aws-cdk-lib";
import type { Construct } from "constructs";
import { POLICY_DEFAULTS, type TablePolicy } from "../lib/model/table.ts";
import { type FunctionSettings, MEMORY_MIB, pipelineFunction, TIMEOUT } from "./functions.ts";
import { tableOfSource } from "./influxdb.ts";
import { tablesPermissions } from "./permissions.ts";
import type { InfluxdbSource, PipelineTable, SnapshotPipelineProps } from "./props.ts";

/** What the function is sent for each table, with every setting: one that was taken off goes back to its default. */
export interface TableSettings extends TablePolicy {
  readonly name: string;
  readonly shards: number;
  readonly codec: "json" | "bytes";
  readonly source?: "influxdb";
}

export function tableSettings(table: PipelineTable): TableSettings {
  return {
    name: table.name,
    shards: table.shards ?? 1,
    codec: table.codec ?? "json",
    captureLogPercent: percentOf(table.capture?.logShare) ?? POLICY_DEFAULTS.captureLogPercent,
    recoverWithinMs: table.recoverWithin?.toMilliseconds() ?? POLICY_DEFAULTS.recoverWithinMs,
    captureAfterMutations: table.capture?.afterMutations ?? POLICY_DEFAULTS.captureAfterMutations,
    captureAfterMs: table.capture?.every?.toMilliseconds() ?? POLICY_DEFAULTS.captureAfterMs,
    capturesTogetherMax: table.capture?.together ?? POLICY_DEFAULTS.capturesTogetherMax,
    keepSnapshots: table.keep?.last ?? POLICY_DEFAULTS.keepSnapshots,
    keepForMs: table.keep?.for?.toMilliseconds() ?? POLICY_DEFAULTS.keepForMs,
    compactionOverhead: table.compactionOverhead ?? POLICY_DEFAULTS.compactionOverhead,
  };
}

/** The table of a source's backups. */
export function sourceTableSettings(source: InfluxdbSource): TableSettings {
  return { ...tableSettings(tableOfSource(source)), source: "influxdb" };
}

/** Whole hundredths, where a share cannot be one exactly: 0.29 is 28.999999999999996 of them. A share with more digits is refused with the table. */
function percentOf(share: number | undefined): number | undefined {
  if (share === undefined) return undefined;
  const percent = Math.round(share * 100);
  return Math.abs(share * 100 - percent) < 1e-6 ? percent : share * 100;
}

export function tablesOf(scope: Construct, settings: FunctionSettings, { tables = [], influxdb = [] }: SnapshotPipelineProps) {
  const { storage } = settings;
  const all = [...tables.map(tableSettings), ...influxdb.map(sourceTableSettings)];
  const permissions = tablesPermissions(storage);
  const handler = pipelineFunction(scope, settings, { name: "tables", timeout: TIMEOUT.work, memorySize: MEMORY_MIB.small, permissions });
  const resource = new CustomResource(scope, resourceId(settings), {
    resourceType: "Custom::TidemarkTables",
    serviceToken: handler.functionArn,
    serviceTimeout: Duration.minutes(5),
    properties: {
      // One JSON text, for CloudFormation makes texts of the numbers in properties.
      Tables: JSON.stringify(all),
      // Without a change CloudFormation does not ask.
      Store: `s3://${storage.bucket.bucketName}/${storage.prefix}?table=${storage.table.tableName}`,
    },
  });
  return { functions: { tables: handler }, resource };
}

/** CloudFormation refuses to give a resource another function: where that has another name, there is another resource, and the old one goes without a trace. */
function resourceId({ namePrefix }: FunctionSettings): string {
  return namePrefix === undefined || Token.isUnresolved(namePrefix) ? "Tables" : `Tables-${namePrefix}`;
}
