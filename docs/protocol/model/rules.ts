// The rules of the protocol, each by the name that the model asks for it. A variant of the model takes one of them away.

export const RULES = {
  // Append
  checksAfterPut: "a claim counts only if the control item, read after the PUT, has a mark at or below it",
  checksLifeAfterPut: "a claim counts only if that control item shows the life that the claim was made in",
  checksWinner: "a writer moves behind the winner of a lost claim only if the control item, read after it, has a mark at or below it",
  checksWalk: "the end of a walk counts only if the control item, read after it, has a mark at or below where the walk began",
  judgesByBeginning: "a broken chain is damage only if the mark is at or below where the reading began, not where the break is",
  looksBehind: "an absent redo file is the tail only if no later file and no published tail says otherwise",
  knowsItsOwn: "a writer that finds its name taken has won only if the file has its own write id",
  stampsAnew: "a batch gets its time anew behind each other file, never before that file's",
  publishesValidated: "a tail is published only once it is validated",
  oneInDoubt: "a producer has one batch in doubt",
  freshLives: "each life of a shard has objects under a name of its own",
  sealsOldLives: "a batch is appended to the life that it is meant for, or to none",
  // Sessions
  passesRepeated: "replay passes over a sequence that its producer has passed",
  carriesSessions: "the session table is part of each snapshot",
  forgetsByIndex: "producers are forgotten by index, never by a clock",
  refusesForgotten: "replay refuses a batch whose producer may have been forgotten since it was first sent",
  asksBeforeAppend: "a writer asks whether replay would refuse, before it appends",
  asksTheSameLog: "a writer asks a session table that is of the very log it appends to, by the digest",
  stampsUnsentAnew: "a batch is stamped anew with each claim, until one may have counted",
  keepsSince: "a batch keeps the `since` of its first sending",
  // Capture
  takesBaseFromLease: "base and capture to adopt are those that the lease's own write showed",
  cutsAtFiles: "a capture ends where a redo file does",
  checksCaptureLoad: "what a capture has read of the log counts only if the mark is still at or below where it began",
  notesAsHolder: "a part is noted only by the holder of the newest epoch",
  adoptsSameBase: "a capture is adopted only with the base that its record names",
  clearsRecord: "the record of an upload that cannot be completed is cleared",
  readsBack: "a snapshot is read back before it counts",
  comparesCarried: "what was carried over is compared with its base's hashes",
  doubtsDamaged: "a generation that was passed over for its damage no longer counts as verified",
  commitsAsHolder: "a checkpoint is committed only by the holder of the newest epoch",
  commitsForward: "a checkpoint is committed only if its index grows",
  readsRowAfterCommit: "a commit without an answer is settled by reading, and deletes nothing",
  completesOnce: "where the upload was completed already, the tail is not sent again",
  // Cleanup
  listsFirst: "listings are read before the control item",
  readsRowsLast: "the history rows are read after the control item",
  raisesFirst: "the mark is raised before anything is deleted",
  raisesAsRead: "the mark is raised only if the control item is as it was read",
  roundsMark: "the mark lies between redo files",
  keepsOlderGeneration: "the mark stays at the oldest of the generations kept, not at the checkpoint",
  keepsTwo: "two verified generations are kept",
  countsVerified: "only verified generations count",
  judgesByEpoch: "what nothing names is deleted only if its epoch is past",
  fences: "what is left at the current epoch is fenced first, by a new epoch",
  sparesRecord: "what the capture's record names is spared",
  marksAsRead: "a generation is let go only if the control item, and so all pins, are as they were read",
  deletesGhosts: "redo files below the mark are deleted wherever they come from",
  // Readers
  checksEnd: "what a reader has read counts only if the mark is still at or below where it began",
  pinsWithControl: "a pin writes the control item along",
  pinsHoldLog: "a pin holds the log behind its generation as well",
  // Attachments
  storesBeforeAppend: "an attachment is stored before the batch that names it is appended",
  numbersFirst: "the number of the next generation is read before the state that it rests on",
  sparesGathered: "an attachment is deleted only once a batch of its sequence has applied",
  looksThroughLog: "what the log behind the oldest kept generation names is kept, not what the newest state names alone",
  checksKeptValues: "what was read of the log counts only if the mark is still at or below where the reading began",
  appendsToItsLife: "a generation is appended to the life that its attachments were stored in",
  // Deletion of tables
  looksTwice: "rows without a control item are a dead life's only if a second look says so",
  opensLive: "a shard is opened only of a table that is not being deleted",
  deletesAsDeleting: "a deletion deletes items only while the table is being deleted",
} as const;

export type Rule = keyof typeof RULES;
export type Rules = Readonly<Record<Rule, boolean>>;

export const ALL_RULES = Object.fromEntries(Object.keys(RULES).map((rule) => [rule, true])) as Rules;

export function without(rule: Rule): Rules {
  return { ...ALL_RULES, [rule]: false };
}
