/** Time and memory of methods, each measured with nothing beside it. @module */
import { writeEvenRows } from "./files.ts";
import { poolerOf } from "./head.ts";
import { type Asked, canMake, type Made } from "./makers.ts";
import type { Maker } from "./options.ts";
import { type Prepared, runsOf, say, tasksFor } from "./prepared.ts";
import { addRecord, readRecords, recordOf, type TimeRecord } from "./records.ts";
import type { RatesFor } from "./score.ts";
import type { Talker } from "./talker.ts";

/** Time the methods that no record is there of; resolves with how many are left. Rejects with UserError. */
export async function timeAll(prepared: Prepared, maker: Maker, rates: RatesFor): Promise<number> {
  const { options, model, name, tasks, files, late } = prepared;
  const { rank, timingSteps: steps, device, dtype, out, methods } = options;
  const own = tasksFor(maker, tasks);
  if (own.length === 0 || steps === 0) return 0;
  const longest = own.reduce((a, b) => b.budget.seq > a.budget.seq ? b : a);
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
  if (missing.length > 0) say(`${maker}: times of ${missing.length} methods, one after the other`);
  let process: Talker | null = null;
  try {
    for (let method = missing[0]; method && !late(); method = missing[0]) {
      process ??= runs.start();
      const asked: Asked = {
        ...{ task, files: { train: even.file, dev: [] }, method, seed: 0, rates: rates(method, task.kind) },
        purpose: "time",
      };
      const record: TimeRecord = {
        ...{ kind: "time", maker, method, settings },
        ...timeOf(await runs.make(process, asked), process.peakBytes()),
      };
      addRecord(out, record);
      missing.shift();
      const { secondsPerStep, deviceBytes, processBytes } = record;
      const mebibytes = (deviceBytes ?? processBytes ?? NaN) / 2 ** 20;
      say(
        `${maker} ${method} alone: ${(1000 * secondsPerStep).toFixed(1)} ms a step, ${
          mebibytes.toFixed(0)
        } MiB`,
      );
      // A process's peak is that of all its runs; a device's begins anew with each.
      if (deviceBytes === null) {
        await process[Symbol.asyncDispose]();
        process = null;
      }
    }
  } finally {
    await process?.[Symbol.asyncDispose]();
  }
  return missing.length;
}

function timeOf(
  { seconds, processor, deviceBytes }: Made,
  processBytes: number | null,
): Pick<TimeRecord, "processor" | "secondsPerStep" | "deviceBytes" | "processBytes"> {
  const half = seconds.length >> 1, steps = seconds.length - 1 - half;
  return {
    processor,
    secondsPerStep: (seconds.at(-1)! - seconds[half]!) / steps,
    deviceBytes,
    processBytes,
  };
}
