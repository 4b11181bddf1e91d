/** What a run tells people while it goes and at its end: progress and tables, to standard error. @module */

/** Numbers of one optimiser step. */
export interface StepReport {
  /** Counted from 1. */
  readonly step: number;
  readonly loss: number;
  /** Learning rate of this step. */
  readonly lr: number;
  readonly gradNorm: number;
  /** What the loss was multiplied by, where it is scaled. */
  readonly lossScale?: number;
  readonly tokensPerSecond: number;
  /** Seconds since the end of the first step, which compiles. */
  readonly seconds?: number;
  /** Shares of the branches of mixed adapters, by the path of the adapted map, where they were read. */
  readonly lambda?: Readonly<Record<string, readonly number[]>>;
}

/** Where lines for people go. */
export interface Terminal {
  readonly write: (text: string) => void;
  /** Columns of a terminal; null where output is not a terminal. */
  readonly columns: () => number | null;
  /** Milliseconds, rising. */
  readonly now: () => number;
}

/** Standard error. */
export const standardError: Terminal = {
  write: (text) => {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
  },
  columns: () => Deno.stderr.isTerminal() ? Deno.consoleSize().columns : null,
  now: () => performance.now(),
};

/** Progress of a run: a bar that is drawn anew on a terminal, plain lines elsewhere. */
export interface Progress {
  readonly step: (report: StepReport) => void;
  /** A line of its own, above the bar. */
  readonly note: (line: string) => void;
  /** Leave the bar as it is and go to the next line. */
  readonly done: () => void;
}

/** Plain lines are written for the first and last step and every this many. */
const PLAIN_EVERY = 10;
/** Milliseconds between drawings of the bar. */
const DRAW_EVERY = 100;

/** Show the progress of `total` steps. */
export function openProgress(total: number, { write, columns, now }: Terminal = standardError): Progress {
  let start: number | null = null, first = 0, drawn = -Infinity, bar = "";
  const erase = (): void => {
    if (bar === "") return;
    // A terminal that became narrower than the bar has broken it into several lines.
    const above = Math.ceil(bar.length / Math.max(1, columns() ?? bar.length)) - 1;
    write(above > 0 ? `\x1b[${above}A\r\x1b[J` : "\r\x1b[K");
  };
  return {
    step: (report) => {
      // The first step compiles: the time left is judged from its end on.
      start ??= (first = report.step, now());
      const perStep = report.step > first ? (now() - start) / (report.step - first) : null;
      const left = perStep === null ? null : perStep * (total - report.step) / 1000;
      const width = columns(), last = report.step >= total;
      if (width === null) {
        if (report.step === 1 || last || report.step % PLAIN_EVERY === 0) {
          write(`${plainLine(report, total, left)}\n`);
        }
        return;
      }
      if (!last && now() - drawn < DRAW_EVERY) return;
      drawn = now();
      erase();
      write(bar = barLine(report, total, left, width));
    },
    note: (line) => {
      erase();
      write(`${line}\n${bar}`);
    },
    done: () => {
      if (bar !== "") write("\n");
      bar = "";
    },
  };
}

/** `step 10/100  loss 1.2345  lr 2.00e-3  grad 0.51  1234 tokens/s  2m03s left`. */
export function plainLine(report: StepReport, total: number, secondsLeft: number | null): string {
  return parts(report, total, secondsLeft).map((p) => p.text).join("  ");
}

/** {@linkcode plainLine} behind a bar; what finds no room in `width` columns is left out, the least wanted first. */
export function barLine(
  report: StepReport,
  total: number,
  secondsLeft: number | null,
  width: number,
): string {
  let shown = parts(report, total, secondsLeft);
  const line = (): string => shown.map((p) => p.text).join("  ");
  while (shown.length > 1 && line().length >= width) {
    const least = Math.min(...shown.map((p) => p.worth));
    shown = shown.filter((p) => p.worth !== least);
  }
  const text = line();
  const room = Math.min(24, width - text.length - 3);
  if (room < 4) return text.slice(0, Math.max(0, width - 1));
  const filled = Math.round(Math.min(1, report.step / total) * room);
  return `${"█".repeat(filled)}${"░".repeat(room - filled)}  ${text}`;
}

/** The numbers of a line, each with how much it is wanted where room is short. */
function parts(
  { step, loss, lr, gradNorm, tokensPerSecond }: StepReport,
  total: number,
  secondsLeft: number | null,
): { readonly text: string; readonly worth: number }[] {
  const all = [
    { text: `step ${step}/${total}`, worth: 6 },
    { text: `loss ${loss.toFixed(4)}`, worth: 5 },
    { text: `lr ${lr.toExponential(2)}`, worth: 2 },
    { text: `grad ${gradNorm.toPrecision(3)}`, worth: 1 },
    { text: `${Math.round(tokensPerSecond)} tokens/s`, worth: 3 },
  ];
  if (secondsLeft === null || step >= total) return all;
  return [...all, { text: `${showDuration(secondsLeft)} left`, worth: 4 }];
}

/** Seconds as `45s`, `2m03s` or `1h02m`. */
export function showDuration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds)), two = (n: number): string => String(n).padStart(2, "0");
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  return `${Math.floor(s / 3600)}h${two(Math.floor(s / 60) % 60)}m`;
}

/** Rows of cells as aligned columns; the first is the head, with a line below. Numbers stand at the right. */
export function showTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((r) => r.length));
  const widths = Array.from({ length: columns }, (_, c) => Math.max(...rows.map((r) => (r[c] ?? "").length)));
  const isNumber = (c: number): boolean =>
    rows.length > 1 &&
    rows.slice(1).every((r) => /^[-+]?[\d.,]+(e[-+]?\d+)?( ?[^\d\s]{1,4})?$/.test(r[c] ?? ""));
  const right = widths.map((_, c) => isNumber(c));
  const line = (cells: readonly string[]): string =>
    widths.map((w, c) => right[c] ? (cells[c] ?? "").padStart(w) : (cells[c] ?? "").padEnd(w)).join("  ")
      .trimEnd();
  const [head, ...body] = rows;
  if (!head) return "";
  return [line(head), widths.map((w) => "─".repeat(w)).join("  "), ...body.map(line)].join("\n");
}
