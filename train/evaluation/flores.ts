/** FLORES: translation between languages whose files have the same sentence in the same line. arXiv:2106.03193. @module */
import { OptionError } from "../errors.ts";
import { askAll, askedPrompt, type AskSettings, roomNotes } from "./ask.ts";
import { bleu } from "./bleu.ts";
import { chrf } from "./chrf.ts";
import { loadTexts } from "./flores_files.ts";
import { loadPieces } from "./pieces.ts";
import { tokenize13a } from "./tokenize_13a.ts";
import { asking, mean, type Numbers, type PreparedTask } from "./task.ts";

/** What {@linkcode prepareFlores} reads. */
export interface FloresOptions {
  readonly files: readonly string[];
  readonly limit: number;
  /** As `eng-deu,deu-eng`; null: from the first file's language into each other. */
  readonly pairs: string | null;
  /** With `{source}`, and if wanted `{source_language}` and `{target_language}`; null: {@linkcode TEMPLATE}. */
  readonly template: string | null;
  /** A tokenizer.json for spBLEU; null: none is computed. */
  readonly spm: string | null;
  readonly chat: boolean;
  readonly settings: AskSettings;
}

/** What is asked when nothing else is given; an answer is one line. */
export const TEMPLATE = "{source_language}: {source}\n{target_language}:";
/** The same of a chat. */
export const CHAT_TEMPLATE =
  "Translate from {source_language} into {target_language}. Answer with the translation alone.\n\n{source}";

/** A pair of languages by their codes. */
export interface Pair {
  readonly source: string;
  readonly target: string;
}

/** Names that `Intl` does not know. */
const NAMES: ReadonlyMap<string, string> = new Map([["quy", "Ayacucho Quechua"]]);

/** The English name of a language by its code with or without a script; the code itself where it has none. */
export function languageName(code: string): string {
  const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" });
  const [language = code] = code.split("_");
  try {
    const name = names.of(code.replace("_", "-"));
    // "English (Latin)" says no more than "English", "Simplified Chinese" does.
    const plain = name?.endsWith(")") ? names.of(language) : name;
    return plain ?? NAMES.get(language) ?? code;
  } catch (error) {
    if (error instanceof RangeError) return code;
    throw error;
  }
}

/** Understand pairs of languages that there are files of. Throws OptionError. */
export function parsePairs(text: string | null, languages: readonly string[]): Pair[] {
  if (text === null) {
    const [source, ...targets] = languages;
    if (targets.length > 0) return targets.map((target) => ({ source: source!, target }));
    throw new OptionError(`--task flores needs files of two languages or more: give --data FILE for each.`, {
      languages,
    });
  }
  return text.split(",").map((pair) => {
    const [source, target, ...more] = pair.trim().split("-");
    const known = (code: string | undefined): code is string =>
      code !== undefined && languages.includes(code);
    if (known(source) && known(target) && source !== target && more.length === 0) return { source, target };
    throw new OptionError(
      `--pairs: "${pair}" is no pair; give two of ${languages.join(", ")}, as ${languages[0]}-${
        languages.at(-1)
      }.`,
      { pairs: text },
    );
  });
}

/** Fill in a template. */
export function translationPrompt(template: string, { source, target }: Pair, sentence: string): string {
  const values = new Map([
    ["{source}", sentence],
    ["{source_language}", languageName(source)],
    ["{target_language}", languageName(target)],
  ]);
  return template.replace(/\{source\}|\{source_language\}|\{target_language\}/g, (name) => values.get(name)!);
}

/** Read the languages' files. Rejects with DataError where they do not go together, OptionError for wrong pairs. */
export async function prepareFlores(options: FloresOptions): Promise<PreparedTask> {
  const { files, limit, chat, settings } = options;
  const texts = await loadTexts(files, options.pairs !== null);
  const pairs = parsePairs(options.pairs, [...texts.keys()]);
  const template = options.template ?? (chat ? CHAT_TEMPLATE : TEMPLATE);
  if (!template.includes("{source}")) {
    throw new OptionError(`--template has no {source}, where the sentence is to stand.`, { template });
  }
  const cut = options.spm === null ? null : loadPieces(options.spm);
  return asking(async (examinee, follow) => {
    const rows = pairs.flatMap((pair) =>
      texts.get(pair.source)!.slice(0, limit).map((sentence, i) => ({
        pair,
        line: i + 1,
        prompt: askedPrompt(translationPrompt(template, pair, sentence), chat, examinee.tokenizer),
        reference: texts.get(pair.target)![i]!,
      }))
    );
    const answers = await askAll(examinee, rows.map((r) => r.prompt), {
      ...settings,
      stop: chat ? [] : ["\n"],
    }, follow);
    const translated = rows.map((row, i) => ({
      ...row,
      translation: answers[i]!.text.replace(/\s+/g, " ").trim(),
      finish: answers[i]!.finish,
    }));
    const parts = pairs.map((pair) => {
      const own = translated.filter((t) => t.pair === pair);
      const found = own.map((t) => t.translation), expected = own.map((t) => t.reference);
      return {
        name: `${pair.source}-${pair.target}`,
        metrics: {
          "chrf++": chrf(found, expected),
          bleu: bleu(found.map(tokenize13a), expected.map(tokenize13a)),
          ...(cut ? { spbleu: bleu(found.map(cut), expected.map(cut)) } : {}),
          rows: own.length,
        },
      };
    });
    const over = (name: string): number | null => mean(parts.map((p) => (p.metrics as Numbers)[name]!));
    return {
      metrics: {
        "chrf++": over("chrf++"),
        bleu: over("bleu"),
        ...(cut ? { spbleu: over("spbleu") } : {}),
        pairs: pairs.length,
      },
      parts,
      items: translated.map(({ pair, prompt, ...rest }) => ({
        pair: `${pair.source}-${pair.target}`,
        prompt: prompt.text,
        ...rest,
      })),
      notes: [
        "the first numbers are means over pairs",
        ...(cut
          ? [`spBLEU is over the pieces of ${options.spm}; other tokenizers give other numbers`]
          : ["no spBLEU without --spm"]),
        ...roomNotes(answers, examinee.seq),
      ],
    };
  });
}
