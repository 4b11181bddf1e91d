/** The flags of `report.ts`. @module */
import * as Either from "fp-ts/Either.js";
import { parentOf } from "../atomic_file.ts";
import { OptionError } from "../errors.ts";
import { helpOf, optional, parseFlags, type TableOf, takeWords, toggle } from "../parse_flags.ts";

/** Which runs are shown, and where. */
export interface ReportFlags {
  /** Null: `report.html` in the run, or `compare.html` beside the first of several. */
  readonly out: string | null;
  readonly json: boolean;
  readonly help: boolean;
}

/** What a report is asked for. */
export interface ReportOptions extends ReportFlags {
  readonly dirs: readonly string[];
  readonly out: string;
}

const REPORT_FLAGS: TableOf<ReportFlags, { readonly root: string }> = {
  out: optional(
    "FILE",
    (t) => Either.right(t),
    "report.html in the run; of several, compare.html beside the first",
    "the page to write",
  ),
  json: toggle('print {"file", "runs"} as JSON on standard output'),
  help: toggle("show this text"),
};

/** Understand the command line: directories of runs, and flags. Throws OptionError. */
export function parseReportFlags(argv: readonly string[]): ReportOptions {
  const { words: dirs, flags } = takeWords(REPORT_FLAGS, argv);
  const options = parseFlags<ReportFlags, { readonly root: string }>(REPORT_FLAGS, flags, { root: "" });
  const [first] = dirs;
  if (first === undefined) {
    if (options.help) return { ...options, dirs, out: "" };
    throw new OptionError("There is no run to show: give its directory, as runs/NAME.", {});
  }
  const beside = dirs.length === 1 ? `${first}/report.html` : `${parentOf(first)}/compare.html`;
  return { ...options, dirs, out: options.out ?? beside };
}

/** The text of `--help`. */
export function reportHelp(): string {
  return helpOf(
    "Show a run as a page, or compare several: deno run -A report.ts DIR [DIR …] [flags]",
    REPORT_FLAGS,
    [
      "deno task report runs/a                      the page of one run, while it goes on too",
      "deno task report runs/a runs/b --out ab.html losses over each other, settings that differ",
    ],
  );
}
