// The protocol with one rule taken away, each in the smallest world that shows what it is there for.

import type { Rule } from "./model/rules.ts";
import type { Bounds } from "./model/world.ts";
import { GATHERING } from "./scenarios.ts";

export interface Variant {
  readonly rule: Rule;
  /** The hole's letter in test/promises, where it has one. */
  readonly hole?: string;
  readonly bounds: Partial<Bounds>;
  /** What has happened before, where the way there is long. */
  readonly prelude?: readonly string[];
  /** How the broken promise begins; "" where none is: the rule saves work. */
  readonly breaks: string;
}

const GHOSTS = { writers: 2, takes: 2, captures: 1, cleanups: 1, keep: 1, page: 9 } as const;
const CAPTURES = { capturers: 2, captures: 2, brief: false } as const;
const DAMAGE = { begun: 1, sequences: 2, captures: 1, cleanups: 1, page: 9, damages: 2, brief: false } as const;
const FORGETTING = { writers: 2, producers: 2, takes: 2, remembered: 1 } as const;
const PINS = { begun: 2, sequences: 2, cleanups: 1, page: 9, keep: 1, reads: 1, pins: true } as const;
const TWINS = { capturers: 2, captures: 2, brief: false, begun: 1, sequences: 2, sections: 2 } as const;

/** One writer's claim of the first redo file is under way for long; then another's comes first. */
const STALLED = ["W1 takes b1", "W0 takes a1", "W0 finishes"];

/** Two writers lose their first claim; one is about to PUT redo/2, and the other has lost that too, and walks from there. */
const WALKING = [
  "W1 takes b1",
  "W2 takes c1",
  "W0 takes a1",
  "W0 finishes",
  ...["W1", "W2"].flatMap((name) => [`${name} PUTs redo/1`, `${name} reads the winner`, `${name} moves behind`]),
  "W0 takes a2",
  "W0 PUTs redo/2",
  "W2 PUTs redo/2",
  "W2 reads the winner",
  "W2 moves behind",
  "W2 begins to walk",
  "W2 walks from 2",
  "W0 finishes",
];

/** A batch's first claim has no answer, and never comes; its writer has come to the tail, and asks whether it may be forgotten. */
const ASKING = [
  ...["W1 takes b1 and b2", ...answered("W1")],
  ...["W2 takes d1", ...answered("W2"), "W2 PUTs redo/1; no answer"],
  ...["W0 takes a1", "W0 finishes", "W0 takes c1", "W0 finishes"],
  ...["W2 PUTs redo/1", "W2 reads the winner", "W2 moves behind", ...answered("W2", "W2 asks: reads redo/1")],
  ...["W2 PUTs redo/2", "W2 reads the winner", "W2 moves behind", "W2 begins to walk", "W2 walks from 3", "W2 finds no redo/3", "W2 finds nothing behind"],
  ...["W2 has found the tail", "W2 asks: reads the control", "W2 asks: reads the sessions"],
];

function answered(name: string, ...reads: readonly string[]): readonly string[] {
  return [`${name} asks: reads the control`, `${name} asks: reads the sessions`, ...reads, `${name} hears`];
}

/** Two workers of one epoch have both found all sections done. */
const BOTH_AT_THE_END = [
  "W0 takes a2",
  "W0 finishes",
  "C0 takes the lease",
  ...["C0 chooses", "C0 opens", "C0 reads redo/2", "C0 finds no redo/3", "C0 finds nothing behind", "C0 has loaded"],
  ...["C0 creates", "C0 records", "C0 makes sections", "C0 sends section 1", "C0 notes the part", "C0 notes the end", "C0 sends section 2"],
  ...["C0 notes the part", "C1 is asked for section 2", "C1 finds the part of section 2", "C1 notes the end", "C1 finds all sections done"],
  ...["C0 notes the end", "C0 finds all sections done"],
];

/** A capture has completed its upload, and stalls. */
const COMPLETED = [
  ...[
    "W0 takes a1",
    "W0 finishes",
    "C0 takes the lease",
    "C0 begins with",
    "C0 reads redo/1",
    "C0 finds no redo/2",
    "C0 finds nothing behind",
    "C0 has loaded",
  ],
  ...["C0 creates", "C0 records", "C0 sends part 1", "C0 notes part 1", "C0 sends part 2", "C0 notes part 2", "C0 completes"],
];

/** A generation at index 1, and one at 3. */
const TWO_GENERATIONS = ["W0 takes a2", "W0 finishes", "W0 takes a3", "W0 finishes", "C0 takes the lease", "C0 finishes"];

/** One generation's claim is under way for long; another's comes first. A cleaner is about to read the log from its beginning. */
const READING_KEPT = [
  ...["G0 begins", "G0 asks", "G0 reads", "G0 stores", "G0 appends generation 1, which names 1/3; no answer", "G1 finishes"],
  ...["K0 lists", "K0 lists", "K0 reads the control item", "K0 reads the history rows", "K0 reads the control item", "K0 reads the history rows"],
  "K0 begins with the empty state",
];

export const VARIANTS: readonly Variant[] = [
  { rule: "checksAfterPut", hole: "a1", bounds: GHOSTS, breaks: "I1" },
  {
    rule: "checksWinner",
    hole: "a2",
    bounds: { ...GHOSTS, writers: 3, producers: 3 },
    prelude: ["W2 takes c1", ...STALLED],
    breaks: "I5",
  },
  { rule: "checksWalk", hole: "a3", bounds: { ...GHOSTS, takes: 1, writers: 3, producers: 3, sequences: 2 }, prelude: WALKING, breaks: "I5" },
  {
    rule: "judgesByBeginning",
    hole: "a5",
    bounds: { ...GHOSTS, takes: 1, writers: 3, producers: 3, sequences: 3 },
    prelude: [...WALKING, "C0 takes the lease", "C0 finishes"],
    breaks: "I8",
  },
  { rule: "stampsAnew", hole: "j1", bounds: { writers: 2, takes: 2 }, breaks: "the time" },
  { rule: "oneInDoubt", hole: "b1", bounds: { writers: 2, sequences: 2, takes: 2 }, breaks: "I1" },
  { rule: "checksLifeAfterPut", hole: "l1", bounds: { writers: 2, takes: 2, producers: 2, deletions: 1 }, breaks: "I1" },
  { rule: "sealsOldLives", hole: "l3", bounds: { writers: 2, sequences: 2, takes: 2, deletions: 1 }, breaks: "I1" },
  { rule: "freshLives", hole: "m1", bounds: { sequences: 2, takes: 2, deletions: 1 }, breaks: "I2" },
  { rule: "knowsItsOwn", bounds: { writers: 2, producers: 2 }, breaks: "I1" },
  {
    rule: "publishesValidated",
    bounds: { ...GHOSTS, takes: 1, sequences: 2, producers: 2, group: 2 },
    prelude: ["W1 takes b1 and b2", "W0 takes a1", "W0 finishes", "C0 takes the lease", "C0 finishes", "K0 lists", "K0 finishes"],
    breaks: "I2",
  },
  { rule: "looksBehind", bounds: { sequences: 2, damage: "redo", damages: 1, reads: 1 }, breaks: "I1" },

  { rule: "passesRepeated", bounds: { writers: 2, takes: 2 }, breaks: "I3" },
  { rule: "carriesSessions", bounds: { captures: 1 }, breaks: "I5" },
  { rule: "forgetsByIndex", hole: "b2", bounds: { sequences: 2, begun: 1, captures: 1, brief: false }, breaks: "I5" },
  { rule: "refusesForgotten", bounds: FORGETTING, breaks: "I3" },
  { rule: "asksBeforeAppend", bounds: { ...FORGETTING, producers: 3, takes: 1, late: 1 }, breaks: "I1" },
  {
    rule: "asksTheSameLog",
    bounds: { ...GHOSTS, ...FORGETTING, takes: 1, producers: 4, sequences: 2, group: 2, writers: 3, late: 1 },
    prelude: [...ASKING, "C0 takes the lease", "C0 finishes"],
    breaks: "I1",
  },
  { rule: "stampsUnsentAnew", bounds: { ...FORGETTING, producers: 3, takes: 1 }, breaks: "I3" },
  { rule: "keepsSince", bounds: FORGETTING, breaks: "I3" },

  {
    rule: "takesBaseFromLease",
    hole: "f1",
    bounds: { ...GHOSTS, takes: 1, producers: 3, group: 2, capturers: 2, captures: 2 },
    prelude: ["W1 takes b1 and c1", "W0 takes a1", "W0 finishes"],
    breaks: "I5",
  },
  { rule: "cutsAtFiles", bounds: { producers: 2, group: 2, captures: 1, brief: false, reads: 1 }, breaks: "I" },
  { rule: "commitsAsHolder", hole: "g0", bounds: CAPTURES, breaks: "I4" },
  { rule: "commitsForward", bounds: TWINS, prelude: BOTH_AT_THE_END, breaks: "I4" },
  { rule: "readsRowAfterCommit", hole: "e1", bounds: { captures: 1, lost: 1, brief: false }, breaks: "I6" },
  { rule: "clearsRecord", hole: "g1", bounds: { ...CAPTURES, rest: true }, breaks: "I9" },
  { rule: "readsBack", bounds: DAMAGE, breaks: "I8" },
  { rule: "comparesCarried", hole: "n3", bounds: { ...DAMAGE, damages: 1 }, breaks: "I8" },
  { rule: "doubtsDamaged", bounds: DAMAGE, breaks: "I8" },
  { rule: "countsVerified", bounds: DAMAGE, breaks: "I8" },
  { rule: "completesOnce", bounds: { ...TWINS, rest: true }, breaks: "I9" },

  { rule: "raisesFirst", hole: "i3", bounds: { captures: 1, cleanups: 1, keep: 1 }, breaks: "I6" },
  { rule: "raisesAsRead", bounds: { captures: 1, cleanups: 1 }, breaks: "I6" },
  { rule: "roundsMark", hole: "d1", bounds: { producers: 2, group: 2, captures: 1, cleanups: 1, keep: 1, overhead: 1 }, breaks: "I6" },
  { rule: "keepsTwo", hole: "n1", bounds: { captures: 1, cleanups: 1, damages: 1 }, breaks: "I" },
  { rule: "keepsOlderGeneration", hole: "n2", bounds: { sequences: 2, captures: 2, cleanups: 1, damages: 1 }, breaks: "I" },
  { rule: "judgesByEpoch", hole: "h1", bounds: { ...TWINS, cleanups: 1, page: 9 }, prelude: BOTH_AT_THE_END, breaks: "I6" },
  { rule: "listsFirst", hole: "h2", bounds: { sequences: 2, takes: 2, cleanups: 1, deletions: 1 }, breaks: "I6" },
  { rule: "readsRowsLast", bounds: { captures: 1, cleanups: 1 }, breaks: "I6" },
  { rule: "fences", hole: "h3", bounds: { captures: 1, brief: false, rest: true }, breaks: "I7" },
  { rule: "sparesRecord", bounds: { ...CAPTURES, cleanups: 1, page: 9 }, prelude: COMPLETED, breaks: "I6" },
  { rule: "marksAsRead", hole: "i1", bounds: { ...PINS, overhead: 2 }, breaks: "I6" },
  { rule: "pinsWithControl", bounds: PINS, breaks: "I6" },
  { rule: "pinsHoldLog", hole: "i2", bounds: { ...PINS, begun: 1, sequences: 3, captures: 1 }, prelude: TWO_GENERATIONS, breaks: "I6" },
  { rule: "deletesGhosts", bounds: { ...GHOSTS, rest: true }, breaks: "I7" },
  { rule: "checksEnd", hole: "a4", bounds: { captures: 1, cleanups: 1, keep: 1, reads: 1 }, breaks: "I1" },
  { rule: "looksTwice", bounds: { fresh: true, captures: 1, cleanups: 1, deletions: 1 }, breaks: "I6" },

  { rule: "storesBeforeAppend", bounds: { ...GATHERING, crashes: 1 }, breaks: "I6" },
  {
    rule: "numbersFirst",
    bounds: { ...GATHERING, captures: 1, cleanups: 1 },
    prelude: ["G0 finishes", "G0 begins", "G1 begins", "K0 lists", "K0 lists"],
    breaks: "I6",
  },
  { rule: "sparesGathered", bounds: { ...GATHERING, cleanups: 1 }, breaks: "I6" },
  { rule: "looksThroughLog", bounds: { ...GATHERING, cleanups: 1 }, breaks: "I6" },
  { rule: "checksKeptValues", bounds: { ...GATHERING, captures: 1, cleaners: 2, cleanups: 2, late: 1 }, prelude: READING_KEPT, breaks: "I6" },
  { rule: "appendsToItsLife", bounds: { ...GATHERING, writers: 1, fresh: true, deletions: 1 }, breaks: "I6" },

  { rule: "opensLive", bounds: { fresh: true, captures: 1, deletions: 1 }, breaks: "I6" },
  { rule: "deletesAsDeleting", bounds: { fresh: true, captures: 1, deletions: 1 }, breaks: "I6" },

  { rule: "checksCaptureLoad", bounds: { ...GHOSTS, takes: 1, producers: 2, captures: 2, brief: false }, prelude: STALLED, breaks: "" },
  { rule: "adoptsSameBase", bounds: { ...DAMAGE, cleanups: 0, captures: 3, damages: 1, crashes: 1 }, breaks: "" },
  { rule: "notesAsHolder", bounds: { ...CAPTURES, captures: 3, rest: true }, breaks: "" },
];
