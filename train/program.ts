/** How a program ends. @module */
import { mendable } from "./attempt.ts";
import { standardError } from "./report.ts";

/** Run `main` on the command line's arguments and exit with its code; what the user can mend is said in one line, with code 2. */
export async function runProgram(main: (args: readonly string[]) => Promise<number>): Promise<never> {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    const told = mendable(error);
    if (told === null) throw error;
    standardError.write(`${told.message}\n`);
    Deno.exit(2);
  }
}
