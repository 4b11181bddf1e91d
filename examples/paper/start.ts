/** Processes of makers, whose beginning and device are told. @module */
import type { Common } from "./makers.ts";
import type { Maker } from "./options.ts";
import { type Talker, talkTo } from "./talker.ts";

/** How a process's line begins that says which device it has. */
const DEVICE = "device: ";

/** Starts processes of a maker, numbered from 1. */
export function starter(
  { say, patience }: Pick<Common, "say" | "patience">,
  maker: Maker,
  command: string,
  args: readonly string[],
): () => { readonly talker: Talker; readonly number: number } {
  let count = 0;
  return () => {
    const number = ++count;
    let device = "";
    const heard = (line: string): void => {
      if (!line.startsWith(DEVICE) || line === device) return;
      device = line;
      say(`${maker} process ${number} has the ${line}`);
    };
    const talker = talkTo(command, args, { patience, heard });
    say(`${maker} process ${number} starts`);
    return { talker, number };
  };
}
