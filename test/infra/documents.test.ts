// The documents tell of what is deployed, and of nothing else.

import { readFileSync } from "node:fs";
import { Duration } from "aws-cdk-lib";
import { expect, test } from "vitest";
import { parseSettings } from "../../infra/settings.ts";
import { synthesize } from "./scene.ts";

const read = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), "utf8");

test("docs/operations.md tells each alarm, and what to do", () => {
  const influxdb = [{ name: "metrics", host: "10.0.0.5", every: Duration.hours(1) }];
  const alarms = synthesize({ influxdb }).pipeline.alarms.map(({ node }) => node.id);
  expect(namesIn(rowsOf(read("operations.md"), "| alarm | means |")).toSorted()).toEqual(alarms.toSorted());
});

test("docs/construct.md tells each setting of the app", () => {
  expect(namesIn(rowsOf(read("construct.md"), "| setting | meaning |")).toSorted()).toEqual(settings().toSorted());
});

/** As the refusal of one that does not exist lists them. */
function settings(): readonly string[] {
  try {
    parseSettings({ nothing: "1" });
  } catch (error) {
    if (error instanceof Error) return error.message.slice(error.message.indexOf("use one of ") + "use one of ".length).split(", ");
  }
  throw new Error("a setting that does not exist was taken");
}

/** The first cells of the table with this head. */
function rowsOf(document: string, head: string): readonly string[] {
  const [, behind] = document.split(head);
  const [table] = behind.split("\n\n");
  return table
    .split("\n")
    .slice(2)
    .map((row) => row.split("|")[1]);
}

function namesIn(cells: readonly string[]): readonly string[] {
  return cells.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name));
}
