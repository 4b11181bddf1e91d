/** An evaluation as text for people. @module */
import { showDuration, showTable, type Terminal } from "../report.ts";
import type { Evaluation } from "./run.ts";
import type { Follow, Numbers } from "./task.ts";

/** Tables of the numbers, of the whole and of the parts, and the notes. */
export function showEvaluation({ task, metrics, parts, notes, seconds }: Evaluation): string {
  const whole = [[task, "value"], ...Object.entries(metrics).map(([name, n]) => [name, showNumber(n)])];
  const names = [...new Set(parts.flatMap((part) => Object.keys(part.metrics)))];
  const cell = (numbers: Numbers, name: string): string =>
    Object.hasOwn(numbers, name) ? showNumber(numbers[name]!) : "";
  const each = parts.length === 0 ? [] : [
    "",
    showTable([["part", ...names], ...parts.map((p) => [p.name, ...names.map((n) => cell(p.metrics, n))])]),
  ];
  return [showTable(whole), ...each, "", ...notes.map((n) => `(${n})`), `${showDuration(seconds)}`, ""].join(
    "\n",
  );
}

/** Whole numbers as they are, others to five digits; what is not defined as a dash. */
function showNumber(n: number | null): string {
  if (n === null) return "-";
  return Number.isInteger(n) ? String(n) : n.toPrecision(5);
}

/** Milliseconds between lines of progress where output is no terminal. */
const LINE_EVERY = 10_000;

/** Progress as a count that is written over on a terminal, and as a line now and then elsewhere. */
export function openCount(
  { write, columns, now }: Terminal,
): { readonly follow: Follow; readonly done: () => void } {
  let said = now(), open = false;
  return {
    follow: (done, total) => {
      const line = `${done}/${total}`;
      if (columns() !== null) {
        write(`\r\x1b[K${line}`);
        open = true;
      } else if (now() - said >= LINE_EVERY) {
        write(`${line}\n`);
        said = now();
      }
    },
    done: () => {
      if (open) write("\r\x1b[K");
      open = false;
    },
  };
}
