/** Suggestions for misspelt paths. @module */
import { exists, parentOf } from "./atomic_file.ts";
import { nearest } from "./nearest.ts";

/**
 * A path that is there and whose names are each like those of `path`, which is not there; null where there is none. A
 * directory that may not be read has no names.
 */
export function nearbyPath(path: string): string | null {
  try {
    return near(path.replace(/(?<=.)\/+$/, ""));
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable || error instanceof Error && /os error/.test(error.message)) {
      return null;
    }
    throw error;
  }
}

function near(path: string): string | null {
  if (path === "" || path === "/" || exists(path)) return null;
  const up = parentOf(path), parent = exists(up) ? up : near(up);
  if (parent === null) return null;
  const name = path.slice(path.lastIndexOf("/") + 1);
  const names = [...Deno.readDirSync(parent)].map((entry) => entry.name).sort();
  const found = names.includes(name) ? name : nearest(name, names);
  if (found === null) return null;
  return parent === "." && !path.startsWith("./") ? found : `${parent === "/" ? "" : parent}/${found}`;
}

/** ` (did you mean …?)` for a path that is not there, or nothing. */
export function didYouMean(path: string): string {
  const near = nearbyPath(path);
  return near === null ? "" : ` (did you mean ${near}?)`;
}
