/** What a run leaves for programs to read: `metrics.jsonl` and `config.json`. @module */
import { writeTextAtomically } from "./atomic_file.ts";
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
}

/** Begin `<dir>/metrics.jsonl` anew, making the directory. Close it after use (`using`). */
export function openMetrics(dir: string): MetricsFile {
  Deno.mkdirSync(dir, { recursive: true });
  const file = Deno.openSync(`${dir}/metrics.jsonl`, { write: true, create: true, truncate: true });
  return {
    append: (report) => {
      const bytes = new TextEncoder().encode(`${metricsLine(report)}\n`);
      for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
    },
    [Symbol.dispose]: () => file.close(),
  };
}

/** Write `<dir>/config.json`, or another name, making the directory: what the run was asked to do. */
export function writeSettings(dir: string, settings: unknown, name = "config.json"): void {
  Deno.mkdirSync(dir, { recursive: true });
  writeTextAtomically(`${dir}/${name}`, `${JSON.stringify(settings, null, 2)}\n`);
}
