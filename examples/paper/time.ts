/** Time and memory of methods, each measured with nothing beside it. @module */
import { positions, UserError } from "../../train/mod.ts";
import { examplesOf, writeEvenRows } from "./files.ts";
import { poolerOf } from "./head.ts";
import { type Asked, canMake, type Made } from "./makers.ts";
import type { Maker } from "./options.ts";
import { doAll, type Done } from "./pool.ts";
import { type Prepared, runsOf, tasksFor } from "./prepared.ts";
import { addRecord, readRecords, recordOf, type TimeRecord } from "./records.ts";
import type { RatesFor } from "./score.ts";
import type { PaperTask } from "./suites.ts";

/** Time the methods that no record is there of; resolves with what is left. Rejects with UserError. */
export async function timeAll(prepared: Prepared, maker: Maker, rates: RatesFor): Promise<Done> {
  const { options, model, name, tasks, files, late, narrator } = prepared;
  const { rank, timingSteps: steps, device, dtype, out, methods } = options;
  const own = tasksFor(maker, tasks);
  if (own.length === 0 || steps === 0) return { left: 0, failed: 0 };
  const longest = await longestOf(prepared, own);
  const even = await writeEvenRows(model, longest, files.get(longest.name)!);
  const task = { ...longest, budget: { ...longest.budget, steps } };
  const settings = {
    ...{ model: name, rank, device, task: task.name, length: even.length, batch: task.budget.batch, steps },
    ...(dtype === "f32" ? {} : { dtype }),
    ...(poolerOf(model, "lora", task.kind) === null ? {} : { head: "pooler, classifier" }),
  };
  const known = readRecords(out, [maker]), runs = runsOf(prepared, maker);
  const missing = methods.filter((method) =>
    canMake(maker, method) && !recordOf<TimeRecord>(known, { kind: "time", maker, method, settings })
  );
  if (missing.length > 0 && !late()) {
    narrator.say(`${maker}: times of ${missing.length} methods, one after the other`);
  }
  return await doAll(missing, {
    ...{ runs, jobs: 1, late, narrator, turn: () => 0 },
    kind: (method) => `time of ${method}`,
    name: (method) => `${maker} ${method} alone`,
    make: async (process, method) => {
      const asked: Asked = {
        ...{ task, files: { train: even.file, dev: [] }, method, seed: 0, rates: rates(method, task.kind) },
        purpose: "time",
      };
      const record: TimeRecord = {
        ...{ kind: "time", maker, method, settings },
        ...timeOf(await runs.make(process, asked), process.peakBytes()),
      };
      addRecord(out, record);
      const { secondsPerStep, deviceBytes, processBytes } = record;
      const mebibytes = (deviceBytes ?? processBytes ?? NaN) / 2 ** 20;
      narrator.say(
        `${maker} ${method} alone: ${(1000 * secondsPerStep).toFixed(1)} ms a step, ${
          mebibytes.toFixed(0)
        } MiB`,
      );
      // A process's peak is that of all its runs; a device's begins anew with each.
      return deviceBytes !== null;
    },
    failed: (method, reason) =>
      addRecord(out, {
        ...{ kind: "failed", of: "time", maker, task: task.name, method, seed: 0, settings, reason },
      }),
  });
}

/** The task with the longest rows to learn, on average, among those with the longest limit. */
async function longestOf({ model, files }: Prepared, tasks: readonly PaperTask[]): Promise<PaperTask> {
  const limit = Math.max(...tasks.map(({ budget }) => budget.seq));
  const means = await Promise.all(
    tasks.filter(({ budget }) => budget.seq === limit).map(async (task) => {
      const examples = await examplesOf(model, task, files.get(task.name)!.train);
      return { task, mean: examples.reduce((n, e) => n + positions(e), 0) / examples.length };
    }),
  );
  return means.reduce((a, b) => b.mean > a.mean ? b : a).task;
}

function timeOf(
  { seconds, processor, deviceBytes }: Made,
  processBytes: number | null,
): Pick<TimeRecord, "processor" | "secondsPerStep" | "deviceBytes" | "processBytes"> {
  const half = seconds.length >> 1, steps = seconds.length - 1 - half;
  if (steps < 1) throw new UserError("its numbers were not finite: give a lower rate with --rates.");
  return {
    processor,
    secondsPerStep: (seconds.at(-1)! - seconds[half]!) / steps,
    deviceBytes,
    processBytes,
  };
}
