/** A profile as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open. @module */
import { bytesTouched, operationsOf } from "../core/kernel/work.ts";
import type { LaunchTime } from "../core/gpu/mod.ts";
import type { Plan } from "../core/plan/plan.ts";

/** One launch in the Trace Event Format; times in microseconds. */
interface TraceEvent {
  readonly name: string;
  readonly ph: "X";
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly args: Readonly<Record<string, string | number>>;
}

/** The text of a trace file: a complete event for each launch, with its kernels' forms, work and rates. */
export function traceFile(plan: Plan, times: readonly LaunchTime[], title: string): string {
  const events = times.map(({ kernel: name, steps, start, seconds }): TraceEvent => {
    const kernels = steps.map((i) => plan.kernels[plan.steps[i]!.kernel]!);
    const operations = kernels.reduce((sum, k) => sum + operationsOf(k.body), 0);
    const bytes = kernels.reduce((sum, k) => sum + bytesTouched(k), 0);
    const rate = (x: number, unit: number): number =>
      seconds > 0 ? Number((x / seconds / unit).toPrecision(4)) : 0;
    return {
      name,
      ph: "X",
      pid: 1,
      tid: 1,
      ts: start * 1e6,
      dur: seconds * 1e6,
      args: {
        steps: steps.join(" "),
        forms: kernels.map((k) => k.body.form).join(" "),
        slots: kernels.map((k) => k.slots.map((s) => s.dtype).join(" ")).join(" | "),
        operations,
        bytes,
        "TFLOP/s": rate(operations, 1e12),
        "GB/s": rate(bytes, 1e9),
      },
    };
  });
  const names = [
    { name: "process_name", ph: "M", pid: 1, args: { name: title } },
    { name: "thread_name", ph: "M", pid: 1, tid: 1, args: { name: "kernels" } },
  ];
  return JSON.stringify({ displayTimeUnit: "ns", traceEvents: [...names, ...events] });
}
