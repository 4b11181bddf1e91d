/** FLORES's sentences by language: a text for each, or columns of parquet and JSON files. @module */
import { isParquet, valuesIn } from "../data/row_parts.ts";
import { readText } from "../data/text_file.ts";
import { DataError, OptionError } from "../errors.ts";

/** Sentences in their order. */
type Sentences = readonly string[];

/** The language of a file: its name up to the first full stop, as `eng_Latn.devtest` or `eng.dev`. */
export function languageOf(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1).split(".")[0]!;
}

/** Files with named columns. */
const NAMING = /\.(json|jsonl|ndjson|csv|tsv)(\.gz)?$/i;
/** A column of a language, as `sentence_eng_Latn`, and columns of the language that the file's name says. */
const OF_LANGUAGE = /^sentence_(.+)$/, OF_FILE: readonly string[] = ["sentence", "text"];

/**
 * The sentences of each language, the same one at the same place in all. Rejects with DataError where files do not go
 * together, and with OptionError where one has so many languages that pairs must be given.
 */
export async function loadTexts(
  files: Sentences,
  hasPairs: boolean,
): Promise<ReadonlyMap<string, Sentences>> {
  const texts = new Map<string, Sentences>(), sources = new Map<string, string>();
  for (const file of files) {
    const own = await textsIn(file);
    if (own.size > 2 && !hasPairs) {
      throw new OptionError(`${file}: has ${own.size} languages; say with --pairs what is translated.`, {
        file,
      });
    }
    for (const [language, lines] of own) {
      if (texts.has(language)) {
        throw new DataError(
          `--data: two files have the same language, ${language}; their names must begin with its code, as deu.dev.`,
          { files },
        );
      }
      texts.set(language, lines);
      sources.set(language, file);
    }
  }
  const [first] = texts, odd = [...texts].find(([, lines]) => lines.length !== first![1].length);
  if (odd) {
    throw new DataError(
      `${sources.get(odd[0])}: has ${odd[1].length} lines and ${sources.get(first![0])} has ${
        first![1].length
      }; line n must be the same sentence in all.`,
      { files },
    );
  }
  return texts;
}

async function textsIn(file: string): Promise<ReadonlyMap<string, Sentences>> {
  if (!isParquet(file) && !NAMING.test(file)) {
    const lines = readText(file).replace(/\r?\n$/, "").split(/\r?\n/);
    requireSentences(lines, (i) => `${file}:${i + 1}`);
    return new Map([[languageOf(file), lines]]);
  }
  const rows = await valuesIn(file), names = rows.length > 0 ? Object.keys(Object(rows[0]!.json)) : [];
  const own = OF_FILE.find((name) => names.includes(name));
  const columns = names.flatMap((name) => {
    const language = OF_LANGUAGE.exec(name)?.[1] ?? (name === own ? languageOf(file) : null);
    return language === null ? [] : [{ name, language }];
  });
  if (columns.length === 0) {
    throw new DataError(
      `${file}: has no sentences; expected rows with a column "sentence" or "text", or one such as "sentence_eng_Latn" for each language.`,
      { file },
    );
  }
  return new Map(columns.map(({ name, language }) => {
    const lines = rows.map(({ json }) => Object(json)[name]);
    requireSentences(lines, (i) => `${rows[i]!.where}, ${name}`);
    return [language, lines];
  }));
}

function requireSentences(
  lines: readonly unknown[],
  where: (i: number) => string,
): asserts lines is Sentences {
  const empty = lines.findIndex((line) => typeof line !== "string" || line.trim() === "");
  if (empty < 0) return;
  const place = where(empty);
  throw new DataError(`${place}: is empty; each line must be a sentence.`, { where: place });
}
