/** Whole runs inside a test. @module */
import * as Effect from "effect/Effect";
import { f32ToF16 } from "../train/floats.ts";
import { openSafetensors, type StoredTensor, writeSafetensors } from "../train/safetensors.ts";
import { fineTune, parseCommandLine, type RunResult, UserError } from "../train/mod.ts";

/** The repository. */
export const root: string = decodeURIComponent(new URL("..", import.meta.url).pathname).replace(/\/$/, "");

/** Use a directory that is gone afterwards. */
export async function inTempDir<T>(use: (dir: string) => T | Promise<T>): Promise<T> {
  const dir = await Deno.makeTempDir();
  try {
    return await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** What a run came to, and what it said. */
export interface TestRun {
  readonly result: RunResult | UserError;
  readonly said: string;
}

/** Run in this process; `stop` is asked before every step. What the user can mend comes back as an error. */
export async function fineTuned(
  out: string,
  argv: readonly string[],
  stop: () => boolean = () => false,
): Promise<TestRun> {
  const lines: string[] = [];
  try {
    const options = await parseCommandLine([...argv, "--out", out], { root, now: new Date() });
    const result = await Effect.runPromise(
      Effect.match(fineTune(options, { say: (line) => lines.push(line), stopped: stop }), {
        onFailure: (error) => error,
        onSuccess: (value) => value,
      }),
    );
    return { result, said: lines.join("\n") };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { result: error, said: lines.join("\n") };
  }
}

/** The bundled model with one weight changed, in f16, in a directory that is made. */
export function changedModel(dir: string, name: string, change: (data: Float32Array) => void): string {
  const base = `${root}/examples/base`;
  Deno.mkdirSync(dir);
  for (const file of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
    Deno.copyFileSync(`${base}/${file}`, `${dir}/${file}`);
  }
  using file = openSafetensors(`${base}/model.safetensors`);
  const weights = new Map<string, StoredTensor>();
  for (const key of file.header.tensors.keys()) {
    const data = file.readF32(key), { shape } = file.header.tensors.get(key)!;
    if (key === name) change(data);
    weights.set(key, { aval: { shape, dtype: "f16" }, data: f32ToF16(data) });
  }
  writeSafetensors(`${dir}/model.safetensors`, weights);
  return dir;
}
