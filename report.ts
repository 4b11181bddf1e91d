/**
 * Show a run as a page, or compare several: `deno run -A report.ts DIR [DIR …]`; `--help` lists the flags. Exit codes: 0
 * done, 2 something given to it is wrong. @module
 */
import { parseReportFlags, reportHelp, runProgram, standardError, writeReport } from "./train/mod.ts";

async function main(args: readonly string[]): Promise<number> {
  const options = parseReportFlags(args);
  if (options.help) {
    console.log(reportHelp());
    return 0;
  }
  await writeReport(options.dirs, options.out);
  if (options.json) console.log(JSON.stringify({ file: options.out, runs: options.dirs }));
  else standardError.write(`${options.out}\n`);
  return 0;
}

if (import.meta.main) await runProgram(main);
