/** JSON files that a run needs. @module */
import { type ErrorKind, requireRegular } from "./input_file.ts";
import { didYouMean } from "./nearby_path.ts";

/** Longest file, in bytes: what one JavaScript string is sure to hold; the largest tokenizers have a tenth of it. */
const LONGEST = 2 ** 28;

/** The text of a file of settings; throws `kind` with the file's name and `missing`. */
export function readSettingsText(file: string, kind: ErrorKind, missing: string): string {
  try {
    const bytes = requireRegular(file, kind);
    if (bytes > LONGEST) {
      throw new kind(`${file}: has ${bytes} bytes, expected at most ${LONGEST}: this is no such file.`, {
        file,
        bytes,
      });
    }
    return Deno.readTextFileSync(file);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      throw new kind(`${file}: not found${didYouMean(file)}; ${missing}.`, { file });
    }
    throw error;
  }
}

/** Read a JSON file; throws `kind` with the file's name and `missing`, or with where the JSON breaks. */
export function readJson(file: string, kind: ErrorKind, missing: string): unknown {
  const text = readSettingsText(file, kind, missing);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new kind(`${file}: not JSON (${(error as Error).message}); the file is damaged, copy it again.`, {
      file,
    });
  }
}
