import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SCENARIOS } from "../../bench/request-scenarios.ts";
import { requestTable } from "../../bench/request-table.ts";
import { inDollars } from "../../cli/commands/cost.ts";
import { ASSUMED, monthlyCost, type Workload } from "../../cli/cost.ts";
import { LIST_PRICES, PRICES_OF, type Prices } from "../../cli/prices.ts";
import { WORKLOADS } from "../../cli/workloads.ts";
import { makePlace, type Place } from "./tidemark.ts";

const DOCUMENT = readFileSync(new URL("../../docs/cost.md", import.meta.url), "utf8");
const ESTIMATES = Object.values(WORKLOADS).map((workload) => monthlyCost(workload, LIST_PRICES));

test("docs/cost.md has the cost of the three workloads as it is computed", () => {
  const rows = ESTIMATES[0].parts.map(({ name }, place) => [name, ...ESTIMATES.map(({ parts }) => inDollars(parts[place].dollars))]);
  const totals = ["**total**", ...ESTIMATES.map(({ total }) => `**${inDollars(total)}**`)];
  const table = [["dollars a month", ...Object.keys(WORKLOADS)], ["---", "---:", "---:", "---:"], ...rows, totals];
  expect(DOCUMENT).toContain(table.map((cells) => `| ${cells.join(" | ")} |`).join("\n"));
});

test("docs/cost.md has the requests as they are counted", async () => {
  const measured = [];
  for (const scenario of SCENARIOS) measured.push({ scenario, counted: await scenario.run() });
  expect(DOCUMENT).toContain(requestTable(measured));
});

test("docs/cost.md tells each price and each assumption", () => {
  expect(DOCUMENT).toContain(PRICES_OF);
  for (const [name, dollars] of Object.entries(LIST_PRICES)) expect(DOCUMENT).toContain(`| \`${name}\` | ${dollars} |`);
  for (const [name, value] of Object.entries(ASSUMED)) expect(DOCUMENT).toContain(`| \`${name}\` | ${value} |`);
});

test("a redo file a second costs 14.90 dollars a month in requests: a PUT, a read, a write of the hint", () => {
  const workload: Workload = { ...WORKLOADS.idle, through: "library", mutationsPerSecond: 1e9, lingerSeconds: 1 };
  const { redoFiles, parts } = monthlyCost(workload, LIST_PRICES);
  expect(redoFiles).toBeCloseTo(2_592_000, -1);
  expect(parts[0].name).toBe("appends: requests");
  expect(parts[0].dollars).toBeCloseTo((2_592_000 * (5 + 0.125 + 0.625)) / 1e6, 4);
});

test("a shard is captured at the first run of the planner behind its time, or once its mutations are there", () => {
  const captures = (change: Partial<Workload>) => monthlyCost({ ...WORKLOADS.idle, mutationsPerSecond: 10, ...change }, LIST_PRICES).captures;
  expect(captures({ captureAfterSeconds: 300 })).toBeCloseTo((30 * 1_440) / 6, 6);
  expect(captures({ captureAfterSeconds: 300, shards: 4 })).toBeCloseTo(4 * ((30 * 1_440) / 6), 6);
  expect(captures({ captureAfterSeconds: 3_600, captureAfterMutations: 6_000 })).toBeCloseTo((30 * 1_440) / 10, 6);
  expect(captures({ captureAfterSeconds: 1, mutationsPerSecond: 1 / 86_400 })).toBeCloseTo(30, 6);
  expect(captures({ mutationsPerSecond: 0 })).toBe(0);
});

const WORKLOAD: fc.Arbitrary<Workload> = fc.record({
  shards: fc.integer({ min: 1, max: 10_000 }),
  mutationsPerSecond: fc.double({ min: 0, max: 1e6, noNaN: true }),
  bytesPerMutation: fc.integer({ min: 1, max: 1e6 }),
  activeHoursPerDay: fc.double({ min: 0, max: 24, noNaN: true }),
  through: fc.constantFrom("library", "url", "queue"),
  mutationsPerCall: fc.integer({ min: 1, max: 1_000 }),
  lingerSeconds: fc.double({ min: 0, max: 60, noNaN: true }),
  captureLogShare: fc.double({ min: 0.01, max: 100, noNaN: true }),
  recoverWithinSeconds: fc.integer({ min: 1, max: 1e6 }),
  captureAfterSeconds: fc.integer({ min: 1, max: 1e6 }),
  captureAfterMutations: fc.integer({ min: 1, max: 1e9 }),
  stateBytes: fc.integer({ min: 0, max: 1e13 }),
  keepSnapshots: fc.integer({ min: 2, max: 100 }),
  planEveryMinutes: fc.integer({ min: 1, max: 60 }),
  alarms: fc.boolean(),
  ingestQueue: fc.boolean(),
  events: fc.boolean(),
  dashboard: fc.boolean(),
  tracing: fc.boolean(),
});

test("the total is the sum of the parts, in whole of the prices, and nothing costs less than nothing", () => {
  fc.assert(
    fc.property(WORKLOAD, (workload) => {
      const { parts, total, redoFiles, captures, storedBytes } = monthlyCost(workload, LIST_PRICES);
      for (const number of [...parts.map(({ dollars }) => dollars), redoFiles, captures, storedBytes])
        expect(number >= 0 && Number.isFinite(number)).toBe(true);
      const sum = parts.reduce((dollars, part) => dollars + part.dollars, 0);
      expect(Math.abs(total - sum)).toBeLessThanOrEqual(1e-9 * total);
      const doubled = Object.fromEntries(Object.entries(LIST_PRICES).map(([name, price]) => [name, 2 * price])) as Prices;
      expect(Math.abs(monthlyCost(workload, doubled).total - 2 * total)).toBeLessThanOrEqual(1e-9 * total);
    }),
  );
});

test("more work never costs less, where a larger snapshot does not make captures rarer", () => {
  fc.assert(
    fc.property(WORKLOAD, fc.constantFrom("mutationsPerSecond", "stateBytes", "keepSnapshots", "bytesPerMutation"), (workload, name) => {
      const some: Workload = name === "stateBytes" ? { ...workload, captureLogShare: 1e12, recoverWithinSeconds: 1e12 } : workload;
      const more = monthlyCost({ ...some, [name]: 2 * some[name] }, LIST_PRICES).total;
      expect(more).toBeGreaterThanOrEqual(monthlyCost(some, LIST_PRICES).total * (1 - 1e-9));
    }),
  );
});

test("captures follow the log's share of the snapshot, and the time that a recovery may take, whichever comes first", () => {
  const base: Workload = {
    ...WORKLOADS.idle,
    through: "library",
    mutationsPerSecond: 1_000,
    lingerSeconds: 60,
    captureAfterSeconds: 1e9,
    captureAfterMutations: 1e9,
  };
  const hours = (change: Partial<Workload>) => (30 * 24) / monthlyCost({ ...base, ...change }, LIST_PRICES).captures;
  const byShare = { stateBytes: 6e9, recoverWithinSeconds: 1e9 };
  // 83 kB of log a second, and 2 GB of snapshot.
  expect(hours({ ...byShare, captureLogShare: 0.5 })).toBeCloseTo(1e9 / 83_333 / 3_600, 1);
  expect(hours({ ...byShare, captureLogShare: 0.25 })).toBeCloseTo(0.5e9 / 83_333 / 3_600, 1);
  // 200,000 mutations are replayed in a second; twice what the snapshot takes, where that is most of it.
  const byRecovery = { captureLogShare: 1e9 };
  expect(hours({ ...byRecovery, recoverWithinSeconds: 60, stateBytes: 1e6 })).toBeCloseTo((60 * 200) / 1.0667 / 3_600, 1);
  expect(hours({ ...byRecovery, recoverWithinSeconds: 60, stateBytes: 12e9 })).toBeCloseTo((100 * 200) / 1.0667 / 3_600, 1);
});

let place: Place;
beforeAll(async () => {
  place = await makePlace();
});
afterAll(() => place.remove());

test("tidemark cost tells parts, total, and what they rest on", async () => {
  const idle = await place.json(["cost", "--like", "idle"]);
  expect(idle).toMatchObject({ code: 0, stderr: "", document: { ...ESTIMATES[0], workload: WORKLOADS.idle, prices: LIST_PRICES, pricesOf: PRICES_OF } });
  const text = await place.run(["cost", "--like", "idle", "--no-alarms", "--no-ingest-queue"]);
  expect(text.stdout).toMatch(/^a month {2,}dollars\n/);
  expect(text.stdout).not.toContain("alarms");
  expect(text.stdout).toMatch(/\n0 redo files, 0 captures, 0 bytes stored\n$/);
});

test("tidemark cost takes the table's settings, and prices from a file", async () => {
  await writeFile(join(place.directory, "prices.json"), '{"s3WritesPerMillion":10}');
  const words = [
    "--shards",
    "4",
    "--mutations",
    "40.5",
    "--through",
    "library",
    "--linger",
    "0.5",
    "--capture-after",
    "300",
    "--hours",
    "12",
    "--keep-snapshots",
    "3",
  ];
  const workload: Workload = {
    ...WORKLOADS.small,
    shards: 4,
    mutationsPerSecond: 40.5,
    through: "library",
    lingerSeconds: 0.5,
    captureAfterSeconds: 300,
    activeHoursPerDay: 12,
    keepSnapshots: 3,
  };
  const { document } = await place.json(["cost", ...words, "--prices", "prices.json"]);
  expect(document).toMatchObject({ ...monthlyCost(workload, { ...LIST_PRICES, s3WritesPerMillion: 10 }), workload, pricesOf: "prices.json" });
});

test.each([
  [["--like", "huge"], "--like: write idle, small or large"],
  [["--mutations", "many"], "--mutations: write a number"],
  [["--keep-snapshots", "1"], "--keep-snapshots: write a whole number from 2"],
  [["--through", "queue", "--no-ingest-queue"], "--through queue needs the ingest queue"],
  [["--prices", "absent.json"], "there is no absent.json"],
  [["--prices", "typo.json"], "s3Writes is no price"],
  [["--prices", "broken.json"], "is not JSON"],
  [["--prices", "negative.json"], "s3ReadsPerMillion: write a number of dollars"],
])("tidemark cost %s is refused with what to write", async (words, why) => {
  await writeFile(join(place.directory, "typo.json"), '{"s3Writes":10}');
  await writeFile(join(place.directory, "broken.json"), "{");
  await writeFile(join(place.directory, "negative.json"), '{"s3ReadsPerMillion":-1}');
  const { code, stderr, stdout } = await place.run(["cost", ...words]);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toContain(why);
});
