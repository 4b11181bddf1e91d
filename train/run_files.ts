/** What a run leaves for programs to read: `metrics.jsonl` and `config.json`. @module */
import { writeBytes, writeTextAtomically } from "./atomic_file.ts";
import { ResumeError } from "./errors.ts";
import { type EvaluationReport, heldOutNumbers } from "./evaluated.ts";
import type { StepReport } from "./report.ts";

/** A JSON line of `metrics.jsonl`. JSON has no NaN and no infinity: they are written as texts. */
export function metricsLine(
  { step, loss, lr, gradNorm, lossScale, tokensPerSecond, seconds, lambda }: StepReport,
): string {
  const values = {
    step,
    loss,
    lr,
    grad_norm: gradNorm,
    ...(lossScale === undefined ? {} : { loss_scale: lossScale }),
    tokens_per_s: tokensPerSecond,
    ...(seconds === undefined ? {} : { seconds }),
    ...(lambda ? { lambda } : {}),
  };
  return showLine(values);
}

/** A JSON line of `metrics.jsonl` about an evaluation: numbers of the held-out rows, and those of tasks by name. */
export function evaluationLine({ step, seconds, found }: EvaluationReport): string {
  const held = heldOutNumbers(found), { tasks = {} } = found;
  return showLine({
    step,
    ...(seconds === undefined ? {} : { seconds }),
    ...(Object.keys(held).length > 0 ? { held_out: held } : {}),
    ...(Object.keys(tasks).length > 0 ? { tasks } : {}),
  });
}

function showLine(values: object): string {
  return JSON.stringify(values, (_, v) => typeof v === "number" && !Number.isFinite(v) ? String(v) : v);
}

/** `metrics.jsonl`: a line a step and one an evaluation, there as soon as it is written. */
export interface MetricsFile extends Disposable {
  readonly append: (report: StepReport) => void;
  readonly evaluated: (report: EvaluationReport) => void;
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

/**
 * Read the lines of the first `steps` steps of `<dir>/metrics.jsonl`, and of the evaluations up to there. Throws ResumeError
 * where one is missing.
 */
export function readMetrics(dir: string, steps: number): EarlierMetrics {
  const path = `${dir}/metrics.jsonl`;
  const bad = (what: string): ResumeError =>
    new ResumeError(`${path}: ${what}; put back the file that the run wrote to continue it.`, { path });
  let lines: string[];
  try {
    lines = Deno.readTextFileSync(path).split("\n");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw bad("not found");
    throw error;
  }
  const rows: { readonly loss: number; readonly seconds: number }[] = [], kept: string[] = [];
  for (const [i, line] of lines.entries()) {
    const fields = fieldsOf(line), isStep = fields !== null && Object.hasOwn(fields, "loss");
    // What stands behind the last step and its evaluation is of a part that was lost.
    if (rows.length === steps && (fields === null || isStep || fields["step"] !== steps)) break;
    if (fields === null || (isStep && fields["step"] !== rows.length + 1)) {
      if (line === "" && i === lines.length - 1) break;
      throw bad(`line ${i + 1} is not that of step ${rows.length + 1}`);
    }
    // Numbers that are not finite are written as texts.
    if (isStep) rows.push({ loss: Number(fields["loss"]), seconds: Number(fields["seconds"] ?? 0) });
    kept.push(line);
  }
  if (rows.length < steps) throw bad(`has the lines of ${rows.length} steps, expected ${steps}`);
  return {
    text: kept.map((line) => `${line}\n`).join(""),
    losses: rows.map((r) => r.loss),
    times: rows.map((r) => r.seconds),
    seconds: rows.at(-1)?.seconds ?? 0,
  };
}

/** A line's JSON object; null where it is none. */
function fieldsOf(line: string): Readonly<Record<string, unknown>> | null {
  try {
    const json: unknown = JSON.parse(line);
    return typeof json === "object" && json !== null ? json as Readonly<Record<string, unknown>> : null;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return null;
  }
}

/** Begin `<dir>/metrics.jsonl` anew with the lines of `earlier`, making the directory. Close it after use (`using`). */
export function openMetrics(dir: string, earlier = ""): MetricsFile {
  Deno.mkdirSync(dir, { recursive: true });
  const path = `${dir}/metrics.jsonl`;
  writeTextAtomically(path, earlier);
  const file = Deno.openSync(path, { append: true });
  const write = (line: string): void => writeBytes(file, new TextEncoder().encode(`${line}\n`), path);
  return {
    append: (report) => write(metricsLine(report)),
    evaluated: (report) => write(evaluationLine(report)),
    sync: () => file.syncSync(),
    [Symbol.dispose]: () => file.close(),
  };
}

/** Add a line about an evaluation to `<dir>/metrics.jsonl`, whose writer is closed. */
export function appendEvaluation(dir: string, report: EvaluationReport): void {
  const path = `${dir}/metrics.jsonl`;
  using file = Deno.openSync(path, { append: true });
  writeBytes(file, new TextEncoder().encode(`${evaluationLine(report)}\n`), path);
}

/** Write `<dir>/config.json`, or another name, making the directory: what the run was asked to do. */
export function writeSettings(dir: string, settings: unknown, name = "config.json"): void {
  Deno.mkdirSync(dir, { recursive: true });
  writeTextAtomically(`${dir}/${name}`, `${JSON.stringify(settings, null, 2)}\n`);
}
