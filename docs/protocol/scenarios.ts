// What is explored: small worlds, each about something else. Bounds are small, and the order of all that may happen in them is free.

import { ALL_RULES } from "./model/rules.ts";
import type { Bounds, Setting } from "./model/world.ts";

/** A world in which nothing happens: what a scenario or a variant adds to. */
export const NOTHING: Bounds = {
  writers: 1,
  producers: 1,
  sequences: 1,
  takes: 1,
  group: 1,
  fresh: false,
  capturers: 1,
  captures: 0,
  cleaners: 1,
  cleanups: 0,
  gatherers: 0,
  gatherings: 0,
  readers: 1,
  reads: 0,
  epochs: 9,
  crashes: 0,
  lost: 0,
  late: 0,
  damages: 0,
  lapses: 0,
  deletions: 0,
  begun: 0,
  keep: 2,
  overhead: 0,
  remembered: 99,
  sections: 1,
  page: 1,
  cuts: false,
  brief: true,
  pins: false,
  damage: "snapshots",
  rest: false,
};

/** For worlds in which all that is appended is gathered. */
export const GATHERING = { writers: 0, gatherers: 2, gatherings: 3, keep: 1, page: 9 } as const;

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly bounds: Bounds;
  readonly prelude: readonly string[];
  /** What the nightly run changes. */
  readonly deep: Partial<Bounds>;
}

function scenario(name: string, about: string, bounds: Partial<Bounds>, deep: Partial<Bounds>, prelude: readonly string[] = []): Scenario {
  return { name, about, bounds: { ...NOTHING, ...bounds }, deep, prelude };
}

export const SCENARIOS: readonly Scenario[] = [
  scenario(
    "ghosts",
    "two writers send the same batches; a capture and a cleanup free names that a stalled one then takes",
    { writers: 2, sequences: 1, takes: 2, captures: 1, cleanups: 1, keep: 1, page: 9, rest: true },
    { sequences: 2 },
  ),
  scenario(
    "groups",
    "redo files of two batches, of two producers; the capture may cut the log, the mark stays an index behind it",
    { producers: 2, group: 2, captures: 2, cleanups: 1, keep: 1, overhead: 1, cuts: true, page: 9, rest: true },
    { sequences: 2, takes: 2 },
  ),
  scenario(
    "append-faults",
    "a PUT whose answer is lost, one that comes late, a writer that is killed, and new ones that begin at the published tail",
    { writers: 2, fresh: true, sequences: 2, takes: 2, lost: 1, late: 1, crashes: 1 },
    { captures: 1, cleanups: 1, keep: 1, page: 9 },
  ),
  scenario(
    "sessions",
    "one producer is remembered; a batch that may be forgotten is sent again, with answers lost and late",
    { writers: 2, producers: 2, takes: 2, remembered: 1, late: 1 },
    { producers: 3, lost: 1 },
  ),
  scenario(
    "captures",
    "two captures at once, each write of them with its answer lost or coming late; what one leaves is adopted",
    { capturers: 2, captures: 2, brief: false, lost: 1, late: 1, rest: true },
    { captures: 3, crashes: 1, cleanups: 1, page: 9 },
  ),
  scenario(
    "capture-and-cleanup",
    "a capture stalls, another goes on with its parts and may be passed by the first again, and cleanup comes by",
    { capturers: 2, captures: 2, brief: false, cleanups: 1, page: 9, rest: true },
    { crashes: 1, captures: 3, page: 1 },
  ),
  scenario(
    "sections",
    "a capture in two sections, made by several workers of one epoch, and by those of the next",
    { begun: 1, sequences: 2, sections: 2, capturers: 2, captures: 3, brief: false, rest: true },
    { crashes: 1, cleanups: 1, page: 9 },
    ["W0 takes a2", "W0 finishes"],
  ),
  scenario(
    "cleaners",
    "two cleaners, however stale, list key by key while the third generation is made",
    { begun: 2, sequences: 3, captures: 1, cleaners: 2, cleanups: 2, rest: true },
    { begun: 1, captures: 2, cleanups: 3 },
  ),
  scenario(
    "late-cleanup",
    "what a cleaner asks for comes late, after others have cleaned",
    { begun: 2, sequences: 3, captures: 1, cleanups: 2, page: 9, late: 1, keep: 1, rest: true },
    { lost: 1, late: 2 },
    ["W0 takes a3", "W0 finishes"],
  ),
  scenario(
    "readers",
    "a recovery of any index, while the log is captured, cleaned, and a ghost takes the place of what was read",
    { writers: 2, producers: 2, captures: 1, cleanups: 1, keep: 1, reads: 1, page: 9 },
    { sequences: 2 },
    ["W1 takes b1", "W0 takes a1", "W0 finishes"],
  ),
  scenario(
    "pins",
    "a recovery that pins its generation; the pin may lapse",
    { begun: 1, sequences: 2, captures: 1, cleanups: 1, keep: 1, reads: 1, pins: true, lapses: 1, page: 9 },
    { sequences: 3, captures: 2, lost: 1 },
  ),
  scenario(
    "damage",
    "snapshots are damaged one at a time, and parts of them as they arrive",
    { begun: 1, sequences: 2, captures: 1, cleanups: 1, page: 9, damages: 2, brief: false, rest: true },
    { sequences: 3, captures: 2, cleanups: 2 },
  ),
  scenario(
    "damaged-log",
    "a redo file is damaged or lost, while writers, a capture, and a recovery read the log",
    { fresh: true, sequences: 2, damage: "redo", damages: 1, reads: 1, captures: 1, page: 9 },
    { sequences: 3, crashes: 1, cleanups: 1, keep: 1 },
  ),
  scenario(
    "attachments",
    "two that gather the next generation, each with an attachment of its own, while others capture and clean",
    { ...GATHERING, gatherings: 2, captures: 1, cleanups: 1, rest: true },
    { gatherings: 3, crashes: 1, late: 1 },
  ),
  scenario(
    "deletion",
    "the table is deleted and made again; what stalled in the old life goes on in the new one",
    { writers: 2, takes: 2, captures: 1, cleanups: 1, deletions: 1, page: 9, rest: true },
    { sequences: 2, brief: false },
  ),
];

export function settingOf({ bounds, deep, prelude }: Scenario, isDeep = false): Setting {
  return { bounds: isDeep ? { ...bounds, ...deep } : bounds, rules: ALL_RULES, prelude };
}
