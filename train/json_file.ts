/** JSON files that a run needs. @module */
import type { UserError } from "./errors.ts";

/** Read a JSON file; throws `kind` with the file's name and `missing`, or with where the JSON breaks. */
export function readJson(
  file: string,
  kind: new (message: string, data: Readonly<Record<string, unknown>>) => UserError,
  missing: string,
): unknown {
  let text: string;
  try {
    text = Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new kind(`${file}: not found; ${missing}.`, { file });
    throw error;
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new kind(`${file}: not JSON (${(error as Error).message}); the file is damaged, copy it again.`, {
      file,
    });
  }
}
