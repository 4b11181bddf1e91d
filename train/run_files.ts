/** What a run leaves for programs to read: `metrics.jsonl` and `config.json`. @module */
import { writeBytes, writeTextAtomically } from "./atomic_file.ts";
import { ResumeError } from "./errors.ts";
import type { StepReport } from "./report.ts";

/** A JSON line of `metrics.jsonl`. JSON has no NaN and no infinity: they are written as texts. */
export function metricsLine(
  { step, loss, lr, gradNorm, tokensPerSecond, seconds, lambda }: StepReport,
): string {
  const values = {
    step,
    loss,
    lr,
    grad_norm: gradNorm,
    tokens_per_s: tokensPerSecond,
    ...(seconds === undefined ? {} : { seconds }),
    ...(lambda ? { lambda } : {}),
  };
  return JSON.stringify(values, (_, v) => typeof v === "number" && !Number.isFinite(v) ? String(v) : v);
}

/** `metrics.jsonl`: a line a step, there as soon as it is written. */
export interface MetricsFile extends Disposable {
  readonly append: (report: StepReport) => void;
  /** Have all lines on the disk. */
  readonly sync: () => void;
}

/** The lines of the first steps of a run. */
export interface EarlierMetrics {
  readonly text: string;
  readonly losses: readonly number[];
  /** When each step's numbers were back, in seconds since the end of the first step. */
  readonly times: readonly number[];
  /** Of the last step; 0 without steps. */
  readonly seconds: number;
}

/** Read the lines of the first `steps` steps of `<dir>/metrics.jsonl`. Throws ResumeError where one is missing. */
export function readMetrics(dir: string, steps: number): EarlierMetrics {
  const path = `${dir}/metrics.jsonl`;
  const bad = (what: string): ResumeError =>
    new ResumeError(`${path}: ${what}; put back the file that the run wrote to continue it.`, { path });
  let lines: string[];
  try {
    lines = Deno.readTextFileSync(path).split("\n").slice(0, steps);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw bad("not found");
    throw error;
  }
  const rows = lines.map((line, i) => {
    try {
      const { step, loss, seconds } = JSON.parse(line) as Readonly<Record<string, unknown>>;
      // Numbers that are not finite are written as texts.
      if (step === i + 1) return { loss: Number(loss), seconds: Number(seconds ?? 0) };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw bad(`line ${i + 1} is not that of step ${i + 1}`);
  });
  if (rows.length < steps) throw bad(`has the lines of ${rows.length} steps, expected ${steps}`);
  return {
    text: lines.map((line) => `${line}\n`).join(""),
    losses: rows.map((r) => r.loss),
    times: rows.map((r) => r.seconds),
    seconds: rows.at(-1)?.seconds ?? 0,
  };
}

/** Begin `<dir>/metrics.jsonl` anew with the lines of `earlier`, making the directory. Close it after use (`using`). */
export function openMetrics(dir: string, earlier = ""): MetricsFile {
  Deno.mkdirSync(dir, { recursive: true });
  const path = `${dir}/metrics.jsonl`;
  writeTextAtomically(path, earlier);
  const file = Deno.openSync(path, { append: true });
  return {
    append: (report) => {
      const bytes = new TextEncoder().encode(`${metricsLine(report)}\n`);
      writeBytes(file, bytes, path);
    },
    sync: () => file.syncSync(),
    [Symbol.dispose]: () => file.close(),
  };
}

/** Write `<dir>/config.json`, or another name, making the directory: what the run was asked to do. */
export function writeSettings(dir: string, settings: unknown, name = "config.json"): void {
  Deno.mkdirSync(dir, { recursive: true });
  writeTextAtomically(`${dir}/${name}`, `${JSON.stringify(settings, null, 2)}\n`);
}
