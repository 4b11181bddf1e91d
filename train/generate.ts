/** Generation for many prompts at once on a device. @module */
import {
  type Aval,
  aval,
  type Device,
  type DeviceArray,
  evaluate,
  type HostArray,
  sizeOf,
} from "../core/mod.ts";
import { foldIn, key } from "../ops/mod.ts";
import { decodeStateAvals, decodeStep } from "./decode.ts";
import { type Runner, runnerOf } from "./runner.ts";
import type { Subject } from "./bind_model.ts";

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

/** How tokens are chosen at random. */
export interface Sampling {
  /** Logits are divided by it; above 0. */
  readonly temperature: number;
  /** Keep the k likeliest tokens; null: all. */
  readonly topK: number | null;
  /** Of those, keep the likeliest that have this share of the mass together; 1: all. */
  readonly topP: number;
  readonly seed: number;
  /** Numbers of the rows, each with random numbers of its own. */
  readonly rows: readonly number[];
}

/** What a caller may ask of {@linkcode generate}. */
export interface GenerateOptions {
  /** Absent: the likeliest token, always. */
  readonly sampling?: Sampling;
  /** Told of each row's ids whenever they are read back; returns whether the row needs no more. */
  readonly watch?: (row: number, ids: readonly number[]) => boolean;
  /** Read back as often as somebody can follow. */
  readonly live?: boolean;
}

/** Positions between looks at whether all rows have ended. */
const LOOK_EVERY = 16;
/** The same when somebody follows: positions, or milliseconds if they pass first. */
const LIVE_EVERY = 8, LIVE_MS = 50;

/** Positions of the plan for sequences of up to `length`: of a few fixed lengths, so that few plans are compiled. */
export function planLength(length: number, maxLength: number): number {
  return Math.min(maxLength, Math.ceil(length / 32) * 32);
}

/**
 * Continuations: at most `maxNew` ids after each prompt, up to `end` (not included) or the length limit. All rows
 * advance together, one position a step; tokens stay on the device until all rows have ended.
 */
export async function generate(
  context: GenerateContext,
  prompts: readonly (readonly number[])[],
  maxNew: number,
  end: number,
  { sampling, watch = () => false, live = false }: GenerateOptions = {},
): Promise<number[][]> {
  const { device, subject, arrays, feed, maxLength } = context;
  const rows = prompts.length;
  const longest = Math.max(...prompts.map((p) => p.length));
  const t = planLength(longest + maxNew, maxLength);
  const tooLong = prompts.findIndex((p) => p.length >= t || p.length === 0);
  if (tooLong >= 0) {
    throw new RangeError(
      `Prompt ${tooLong} has ${prompts[tooLong]!.length} tokens: generation needs 1 to ${t - 1}.`,
    );
  }
  const state = decodeStateAvals(subject.config, rows, t);
  const choice = sampling && choiceInputs(sampling);
  const run = await context.runner(`decode ${rows} ${t} ${Object.keys(choice ?? {})}`, () =>
    runnerOf(
      device,
      decodeStep(subject),
      {
        weights: context.frozen,
        params: context.params,
        state,
        lengths: aval([rows]),
        ...(choice ? { choice: choiceAvals(choice) } : {}),
      },
      { inPlace: ["state"] },
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
  for (const [name, { at, data }] of Object.entries(choice ?? {})) {
    given.set(`choice.${name}`, feed(`choice ${name}`, at, data));
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
      const ids = at < 0 ? fresh : fresh.slice(0, at);
      return { ids, done: watch(i, ids) || at >= 0 || fresh.length === maxNew };
    });
  };
  let written = 1, looked = performance.now();
  for (let position = 0; position < stop; position++) {
    run.run(given);
    written = position + 2;
    const late = live && performance.now() - looked > LIVE_MS;
    if (position < longest || (!late && position % (live ? LIVE_EVERY : LOOK_EVERY) !== 0)) continue;
    if ((await read(written)).every((row) => row.done)) break;
    looked = performance.now();
  }
  return (await read(written)).map((row) => row.ids);
}

interface ChoiceInput {
  readonly at: Aval;
  readonly data: HostArray;
}

/** What a choice reads, as it goes to the device. */
function choiceInputs({ temperature, topK, topP, seed, rows }: Sampling) {
  const number = (x: number): ChoiceInput => ({ at: aval([]), data: Float32Array.of(x) });
  const base = key(seed);
  const words = rows.flatMap((row) => [...evaluate([foldIn(base, row).bits])[0]!]);
  return {
    keys: { at: aval([rows.length, 2], "u32"), data: Uint32Array.from(words) },
    temperature: number(temperature),
    ...(topK === null ? {} : { topK: number(topK) }),
    ...(topP === 1 ? {} : { topP: number(topP) }),
  };
}

/** The same keys with avals alone. */
function choiceAvals({ keys, temperature, topK, topP }: ReturnType<typeof choiceInputs>) {
  return {
    keys: keys.at,
    temperature: temperature.at,
    ...(topK ? { topK: topK.at } : {}),
    ...(topP ? { topP: topP.at } : {}),
  };
}
