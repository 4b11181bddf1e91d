/** A profile as a file that Perfetto (ui.perfetto.dev) and chrome://tracing open. @module */
import { bytesTouched, operationsOf } from "../core/kernel/work.ts";
import type { StepTime } from "../core/gpu/mod.ts";
import type { Plan } from "../core/plan/plan.ts";

/** One kernel's run in the Trace Event Format; times in microseconds. */
interface TraceEvent {
  readonly name: string;
  readonly ph: "X";
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly args: Readonly<Record<string, string | number>>;
}

/** The text of a trace file: a complete event for each kernel, with its form, work and rates. */
export function traceFile(plan: Plan, times: readonly StepTime[], title: string): string {
  const events = times.map(({ kernel: name, start, seconds }, i): TraceEvent => {
    const kernel = plan.kernels[plan.steps[i]!.kernel]!;
    const operations = operationsOf(kernel.body), bytes = bytesTouched(kernel);
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
        step: i,
        form: kernel.body.form,
        slots: kernel.slots.map((s) => s.dtype).join(" "),
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
