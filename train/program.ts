/** How a program ends. @module */
import { UserError } from "./errors.ts";
import { standardError } from "./report.ts";

/** Run `main` on the command line's arguments and exit with its code; a UserError is said in one line, with code 2. */
export async function runProgram(main: (args: readonly string[]) => Promise<number>): Promise<never> {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    standardError.write(`${error.message}\n`);
    Deno.exit(2);
  }
}
