/** Runs that failed and were not made since. @module */
import type { FailRecord, PaperRecord } from "./records.ts";
import { taskNamed } from "./suites.ts";

/** The last failure of each run that is in no result. */
export function failuresIn(records: readonly PaperRecord[]): FailRecord[] {
  const keys = (r: FailRecord): string =>
    [r.of, r.maker, r.task, r.method, r.seed, JSON.stringify(r.settings)].join(" ");
  const failed = records.filter((r): r is FailRecord => r.kind === "failed");
  const open = failed.filter((failure) => !records.some((r) => isIt(failure, r)));
  return [...new Map(open.map((failure) => [keys(failure), failure])).values()];
}

/** Whether a result is of the run that failed. */
function isIt(failure: FailRecord, result: PaperRecord): boolean {
  const { of, maker, method, task, seed, settings } = failure;
  if (result.kind !== of || result.maker !== maker || result.method !== method) return false;
  if (result.kind !== "time" && (result.task !== task || result.seed !== seed)) return false;
  return Object.entries(settings).every(([name, value]) => result.settings[name] === value);
}

const WHAT = { score: "", time: "time of ", tune: "rates of " } as const;

/** The failures in words; empty where there is none. */
export function failuresText(records: readonly PaperRecord[]): string {
  const byReason = Map.groupBy(failuresIn(records), ({ reason }) => reason);
  if (byReason.size === 0) return "";
  const list = [...byReason].map(([reason, failures]) => {
    const runs = failures.map(({ of, maker, task, method, seed }) =>
      `${WHAT[of]}${maker}'s ${method}${
        of === "time" ? "" : ` on ${taskNamed(task)?.title ?? task}, seed ${seed}`
      }`
    );
    return `- ${runs.join("; ")}: ${reason.replaceAll(/\s+/g, " ")}`;
  });
  return ["Runs that failed, which the same command tries again:", "", ...list].join("\n");
}
