// A large shard's capture, made by sections side by side: any number of workers under the one epoch that took the lease, each
// with part numbers of its own. Whoever finds all sections done sends the tail behind them, and ends the capture.

import type { Acting } from "./capture-acting.ts";
import { contentOf, isHolder } from "./capture-state.ts";
import { seenAt } from "./reading.ts";
import { type CaptureRecord, type PartItem, sameName, snapshotText } from "./stored.ts";
import { asks, give } from "./stores.ts";
import { type Fold, replay } from "./values.ts";
import type { Step } from "./world.ts";

export function sectionSteps(acting: Acting): readonly Step[] {
  const { world, me, name, setting, step, to, end } = acting;
  const record = me.record as CaptureRecord;
  const [section = 0] = me.wanted;
  const noted = world.parts.filter(({ upload }) => upload === record.upload);
  const left = Array.from({ length: record.sections }, (_, place) => place + 1).filter(
    (one) => !noted.some((item) => item.section === one && item.number === 0),
  );

  switch (me.at) {
    // Who has the lease makes what is left, or leaves it to others.
    case "sections":
      if (left.length === 0) return [step("finds all sections done", (next) => to(next, { at: "tail" }))];
      return [step(`makes sections ${left.join(" and ")}`, (next) => to(next, { at: "section", wanted: left })), step("leaves the sections to others", end)];
    case "section": {
      const loaded = stateAt(acting);
      if (loaded === undefined) return [step("finds its base, or its log, gone", (next) => to(next, { at: "clear" }))];
      if (noted.some((item) => item.section === section && item.number === 1)) {
        return [step(`finds the part of section ${section} sent`, (next) => to(next, { at: "note done", fold: loaded }))];
      }
      return asks(world, {
        says: `${name} sends section ${section}`,
        request: (next) => ({
          kind: "send part",
          upload: record.upload,
          part: { number: section, of: contentOf(record), etag: give(next), rotten: false },
        }),
        answered: (next, answer) =>
          to(next, answer === "no such upload" ? { at: "clear" } : { at: "note section", fold: loaded, parts: [{ number: section, etag: next.given }] }),
        unanswered: end,
      });
    }
    case "note section":
      return notes("part", me.parts[0]?.etag ?? 0, { at: "note done" });
    case "note done":
      return notes("end", 0, me.wanted.length > 1 ? { at: "section", wanted: me.wanted.slice(1), parts: [] } : { at: "all done", wanted: [], parts: [] });
    case "all done":
      if (left.length > 0) return [step("finds other sections left", end)];
      return [step("finds all sections done", (next) => to(next, { at: "tail" }))];
    case "tail": {
      const fold = stateAt(acting);
      if (fold === undefined) return [step("finds its base, or its log, gone", (next) => to(next, { at: "clear" }))];
      const { completesOnce } = setting.rules;
      if (completesOnce && world.snapshots.some((one) => sameName(one, record))) {
        return [step(`finds ${snapshotText(record)} complete already`, (next) => to(next, { at: "read back", fold }))];
      }
      const parts = noted.filter(({ number }) => number === 1).map((item) => ({ number: item.section, etag: item.etag }));
      return asks(world, {
        says: `${name} sends the tail behind the sections`,
        request: (next) => ({
          kind: "send part",
          upload: record.upload,
          part: { number: record.sections + 1, of: contentOf(record), etag: give(next), rotten: false },
        }),
        answered(next, answer) {
          const tail = { number: record.sections + 1, etag: next.given };
          if (answer === "no such upload") to(next, { at: completesOnce ? "read back" : "clear", fold });
          else to(next, { at: "check holder", fold, parts: [...parts, tail] });
        },
        unanswered: end,
      });
    }
    default:
      if (!isHolder(me, world.control)) return [step("sees another holder", end)];
      return [step("still holds the lease", (next) => to(next, { at: "complete" }))];
  }

  /** That a part is stored, or that the section is at its end, if the epoch is still the newest. */
  function notes(what: string, etag: number, then: Partial<Acting["me"]>): readonly Step[] {
    const item: PartItem = { epoch: record.epoch, upload: record.upload, section, number: what === "part" ? 1 : 0, etag };
    return asks(world, {
      says: `${name} notes the ${what} of section ${section}`,
      request: () => ({ kind: "note part", life: me.life, epoch: me.epoch, checksHolder: setting.rules.notesAsHolder, item }),
      answered: (next, answer) => (answer === "refused" ? end(next) : to(next, then)),
      unanswered: end,
    });
  }
}

/** The state at the record's target, by its base: read in one step, as this file is about something else. */
function stateAt({ world, me, setting }: Acting): Fold | undefined {
  const { base, target } = me.record as CaptureRecord;
  const isKept = world.rows.some((row) => sameName(row, base) && row.state === "kept");
  let fold = world.snapshots.find((one) => isKept && sameName(one, base))?.fold;
  while (fold !== undefined && fold.border.next < target.next) {
    const seen = seenAt(world, me.life, fold.border);
    fold = seen.kind === "found" ? replay(fold, seen.file, { ...setting.bounds, ...setting.rules }) : undefined;
  }
  return fold;
}
