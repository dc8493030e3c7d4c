// Captures: one that has the lease loads base and log, uploads what they make in parts, reads it back, and commits the checkpoint.
// What a capture leaves behind, the next holder of the lease adopts, or cleanup removes.

import type { Acting } from "./capture-acting.ts";
import { loadSteps } from "./capture-load.ts";
import { sendSteps } from "./capture-send.ts";
import { type Capture, IDLE_CAPTURE } from "./capture-state.ts";
import { sectionSteps } from "./sections.ts";
import type { Control } from "./stored.ts";
import { changesControl } from "./stores.ts";
import { replaced, type Setting, type Step, type World } from "./world.ts";

export function captureSteps(world: World, n: number, setting: Setting): readonly Step[] {
  const me = world.captures[n];
  const name = `C${n}`;
  const to = (next: World, change: Partial<Capture>): void => {
    next.captures = replaced(next.captures, n, { ...next.captures[n], ...change });
  };
  const acting: Acting = {
    world,
    me,
    name,
    setting,
    step: (says, take) => ({ says: `${name} ${says}`, take }),
    to,
    end: (next) => to(next, IDLE_CAPTURE),
  };
  switch (me.at) {
    case "idle":
      return begins(acting);
    case "lease":
      return takesLease(acting);
    case "parts":
    case "base":
    case "open":
    case "log":
    case "look behind":
    case "check break":
    case "check load":
      return loadSteps(acting);
    case "section":
    case "note section":
    case "note done":
    case "all done":
    case "sections":
    case "tail":
    case "check holder":
      return sectionSteps(acting);
    default:
      return sendSteps(acting);
  }
}

function begins(acting: Acting): readonly Step[] {
  const { world, step, to, setting } = acting;
  const { control, left } = world;
  const { bounds, rules } = setting;
  if (left.captures === 0 || control === undefined || control.epoch >= bounds.epochs) return [];
  const spend = (next: World): void => {
    next.left = { ...next.left, captures: next.left.captures - 1 };
  };
  const take = rules.takesBaseFromLease
    ? takesLease(acting).map(({ says, take: lease }) => ({
        says,
        take(next: World) {
          spend(next);
          lease(next);
        },
      }))
    : [
        step("reads the control item before it has the lease", (next) => {
          spend(next);
          to(next, { at: "lease", ...seenOf(control) });
        }),
      ];
  const record = control.record;
  if (record === undefined || record.sections === 1) return take;
  // A section's message says which, and under what epoch.
  const joins = Array.from({ length: record.sections }, (_, section) =>
    step(`is asked for section ${section + 1} under epoch ${control.epoch}`, (next) => {
      spend(next);
      to(next, { at: "section", ...seenOf(control), epoch: control.epoch, record, wanted: [section + 1] });
    }),
  );
  return [...take, ...joins];
}

/** Another epoch for a new holder. Whether another's lease has lapsed is a matter of clocks: here it always may have. */
function takesLease({ world, me, name, setting, to }: Acting): readonly Step[] {
  return changesControl(world, {
    says: `${name} takes the lease, epoch ${(world.control?.epoch ?? 0) + 1}`,
    doubt: me.doubt,
    decide: (control) => ({ to: { ...control, epoch: control.epoch + 1 } }),
    written: (next, control) => {
      const seen = setting.rules.takesBaseFromLease ? seenOf(control) : me;
      const { record, index } = seen;
      const adopted = record !== undefined && record.target.next - 1 > index ? record : undefined;
      const at = adopted === undefined ? "base" : adopted.sections > 1 ? "sections" : "parts";
      to(next, { ...seen, at, epoch: control.epoch, record: adopted, doubt: 0 });
    },
    refused: (next) => to(next, IDLE_CAPTURE),
    inDoubt: (next, doubt) => to(next, { at: "lease", doubt }),
  });
}

function seenOf({ life, mark, checkpoint, record }: Control): Pick<Capture, "life" | "mark" | "index" | "record"> {
  return { life, mark, index: checkpoint?.index ?? 0, record };
}
