/** Tiles that were measured to be the fastest, in a file for each adapter and driver in Gyre's cache directory. @module */
import { createHash } from "node:crypto";
import type { Capabilities, Device, Plan, TileMemory } from "../core/mod.ts";
import { writeTextAtomically } from "./atomic_file.ts";
import { UserError } from "./errors.ts";
import { isRefusal, usableCache } from "./plan_store.ts";

/** Tiles by the digests of kernels. */
type Tiles = Record<string, string>;

/** Where the tiles of a device are, in a cache directory: the adapter's name has that of its driver. */
export function tileFile(cache: string, { adapterName, gpu }: Capabilities): string {
  const device = `${adapterName} ${gpu?.provider}${gpu?.halfProducts ? " f16" : ""}`;
  return `${cache}/tiles/${digestOf(device).slice(0, 16)}.json`;
}

/** The memory of a file; null: of this process alone. `save` writes what is new; whatever the file refuses is said. */
export function openTiles(
  file: string | null,
  say: (line: string) => void,
): { readonly tiles: TileMemory; readonly save: () => void } {
  const all = file === null ? {} : readTiles(file, say);
  let isNew = false;
  return {
    tiles: {
      get: (text) => all[digestOf(text)],
      set: (text, tile) => {
        all[digestOf(text)] = tile;
        isNew = true;
      },
    },
    save: () => {
      if (!isNew || file === null) return;
      try {
        Deno.mkdirSync(file.replace(/\/[^/]*$/, ""), { recursive: true });
        writeTextAtomically(file, `${JSON.stringify(all, null, 1)}\n`);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        say(`${file}: what was tuned is not kept (${error.message}); GYRE_CACHE names another place.`);
      }
    },
  };
}

function readTiles(file: string, say: (line: string) => void): Tiles {
  try {
    const json: unknown = JSON.parse(Deno.readTextFileSync(file));
    if (isTiles(json)) return json;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    if (!(error instanceof SyntaxError) && !isRefusal(error)) throw error;
  }
  say(`${file}: cannot be used; tiles are measured anew.`);
  return {};
}

function isTiles(json: unknown): json is Tiles {
  return typeof json === "object" && json !== null && !Array.isArray(json) &&
    Object.values(json).every((tile) => typeof tile === "string");
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Tune a device for a plan, and keep what was measured unless `noCache` says otherwise. Throws UserError where nothing can be measured. */
export async function tuneKernels(
  device: Device,
  plan: Plan,
  { noCache, say }: { readonly noCache: boolean; readonly say: (line: string) => void },
): Promise<void> {
  if (!device.tune) return say("--tune-kernels: the processor has nothing to tune");
  const cache = noCache ? null : usableCache();
  const { tiles, save } = openTiles(cache === null ? null : tileFile(cache, device.capabilities), say);
  try {
    const { products, measured, other, seconds } = await device.tune(plan, tiles);
    say(
      `tuned ${products} products, ${measured} of them measured in ${seconds.toFixed(1)} s: ` +
        `${other} have another tile than the model's`,
    );
  } catch (error) {
    if (!(error instanceof Error) || !/has no timestamps/.test(error.message)) throw error;
    throw new UserError(`--tune-kernels: ${error.message.replace(/\.$/, "")}; leave it out.`);
  } finally {
    save();
  }
}
