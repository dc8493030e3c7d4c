// A price list, in dollars: AWS's list prices for us-east-1 as they were in PRICES_OF, written down by hand. Other regions, contracts, taxes
// and later lists differ, so check them: `tidemark cost --prices FILE` takes others. Free tiers are left out.

import { readFile } from "node:fs/promises";
import { z } from "zod";
import { callError } from "../lib/model/errors.ts";
import type { Requests } from "./request-counts.ts";
import { fileFault } from "./whole-file.ts";

export const PRICES_OF = "mid-2025";

/** Dollars; `…PerMillion` for a million, storage for a month. GB are 10^9 bytes. */
export const LIST_PRICES = {
  s3WritesPerMillion: 5.0,
  s3ReadsPerMillion: 0.4,
  s3StoragePerGb: 0.023,
  dynamodbWriteUnitsPerMillion: 0.625,
  dynamodbReadUnitsPerMillion: 0.125,
  dynamodbStoragePerGb: 0.25,
  dynamodbPointInTimePerGb: 0.2,
  /** Arm. */
  lambdaPerGbSecond: 0.0000133334,
  lambdaRequestsPerMillion: 0.2,
  sqsStandardPerMillion: 0.4,
  sqsFifoPerMillion: 0.5,
  schedulerPerMillion: 1.0,
  eventsPerMillion: 1.0,
  logsPerGb: 0.5,
  metricPerMonth: 0.3,
  alarmPerMonth: 0.1,
  dashboardPerMonth: 3.0,
  tracesPerMillion: 5.0,
} as const;

export type Prices = Readonly<Record<keyof typeof LIST_PRICES, number>>;

const DOLLARS = z.number({ error: "write a number of dollars" }).min(0, { error: "write a number of dollars from 0" });
const PRICE_LIST = z.strictObject(Object.fromEntries(Object.keys(LIST_PRICES).map((name) => [name, DOLLARS.optional()])));

/** The list prices, with those that the file names in their place. */
export async function readPrices(path: string): Promise<Prices> {
  const parsed = PRICE_LIST.safeParse(await readJson(path));
  if (parsed.success) return { ...LIST_PRICES, ...parsed.data };
  const [issue] = parsed.error.issues;
  const fault = issue.code === "unrecognized_keys" ? `${issue.keys[0]} is no price: use ${Object.keys(LIST_PRICES).join(", ")}` : issue.message;
  throw callError("bad-prices", `${path}: ${[...issue.path, fault].join(": ")}`);
}

async function readJson(path: string): Promise<unknown> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    throw fileFault(error, path);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw callError("bad-prices", `${path} is not JSON: write an object such as {"s3WritesPerMillion":5.4}`, error);
  }
}

/** What requests cost, in dollars. */
export function dollarsOf({ s3Writes, s3Reads, writeUnits, readUnits, messages }: Requests, prices: Prices): number {
  const millionths =
    s3Writes * prices.s3WritesPerMillion +
    s3Reads * prices.s3ReadsPerMillion +
    writeUnits * prices.dynamodbWriteUnitsPerMillion +
    readUnits * prices.dynamodbReadUnitsPerMillion +
    messages * prices.sqsStandardPerMillion;
  return millionths / 1e6;
}
