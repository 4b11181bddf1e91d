/** Greedy generation for many prompts at once on a device. @module */
import { type Aval, aval, type Device, type DeviceArray, type HostArray, sizeOf } from "../core/mod.ts";
import { decodeStateAvals, decodeStep } from "./decode.ts";
import { type Runner, runnerOf } from "./runner.ts";
import type { Subject } from "./step.ts";

/** What generation needs of a session. */
export interface GenerateContext {
  readonly device: Device;
  readonly subject: Subject;
  /** Avals of the frozen weights and of the trained arenas. */
  readonly frozen: Readonly<Record<string, Aval>>;
  readonly params: Readonly<Record<string, Aval>>;
  readonly arrays: ReadonlyMap<string, DeviceArray>;
  readonly maxLength: number;
  readonly runner: (name: string, make: () => Promise<Runner>) => Promise<Runner>;
  readonly feed: (name: string, at: Aval, data: HostArray) => DeviceArray;
}

/** Positions between looks at whether all rows have ended. */
const LOOK_EVERY = 16;

/**
 * Greedy continuations: at most `maxNew` ids after each prompt, up to `end` (not included) or the length limit. All
 * rows advance together, one position a step; tokens stay on the device until all rows have ended.
 */
export async function generate(
  context: GenerateContext,
  prompts: readonly (readonly number[])[],
  maxNew: number,
  end: number,
): Promise<number[][]> {
  const { device, subject, arrays, feed, maxLength } = context;
  const rows = prompts.length;
  const longest = Math.max(...prompts.map((p) => p.length));
  // A few fixed lengths, so that few plans are compiled.
  const t = Math.min(maxLength, Math.ceil((longest + maxNew) / 32) * 32);
  const tooLong = prompts.findIndex((p) => p.length >= t || p.length === 0);
  if (tooLong >= 0) {
    throw new RangeError(
      `Prompt ${tooLong} has ${prompts[tooLong]!.length} tokens: generation needs 1 to ${t - 1}.`,
    );
  }
  const state = decodeStateAvals(subject.config, rows, t);
  const run = await context.runner(`decode ${rows} ${t}`, () =>
    runnerOf(
      device,
      decodeStep(subject),
      { weights: context.frozen, params: context.params, state, lengths: aval([rows]) },
      ["state"],
    ));
  const tokens = new Float32Array(rows * t);
  prompts.forEach((p, i) => tokens.set(p, i * t));
  const given = new Map(arrays);
  given.set("lengths", feed("lengths", aval([rows]), Float32Array.from(prompts, (p) => p.length)));
  given.set("state.tokens", feed("tokens", state.tokens, tokens));
  given.set("state.position", feed("position", state.position, new Float32Array(1)));
  // Entries of the cache are written before they are read: what an earlier call left there does not matter.
  for (const [name, at] of Object.entries(state.cache)) {
    const known = arrays.get(`cache ${name} ${at.shape.join()}`);
    given.set(`state.cache.${name}`, known ?? feed(`cache ${name}`, at, new Float32Array(sizeOf(at.shape))));
  }
  const stop = Math.min(t - 1, longest + maxNew - 1);
  /** What stands in the first `written` positions of each row after its prompt, and whether the row is done. */
  const read = async (written: number): Promise<{ ids: number[]; done: boolean }[]> => {
    const all = await device.download(given.get("state.tokens")!);
    return prompts.map((p, i) => {
      const fresh = [
        ...all.slice(i * t + p.length, i * t + Math.max(p.length, Math.min(written, p.length + maxNew))),
      ];
      const at = fresh.indexOf(end);
      return at < 0 ? { ids: fresh, done: fresh.length === maxNew } : { ids: fresh.slice(0, at), done: true };
    });
  };
  let written = 1;
  for (let position = 0; position < stop; position++) {
    run.run(given);
    written = position + 2;
    if (position < longest || position % LOOK_EVERY !== 0) continue;
    if ((await read(written)).every((row) => row.done)) break;
  }
  return (await read(written)).map((row) => row.ids);
}
