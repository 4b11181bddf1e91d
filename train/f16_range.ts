/** What people are told of weights that f16 cannot hold. @module */
import { sizeOf } from "../core/mod.ts";
import type { F16Losses } from "./floats.ts";
import type { StoredTensor } from "./safetensors.ts";

/** Share of a weight's values that may become 0 before it is spoken of: less is rounding, beside the others. */
const MANY = 0.01;

/** Speaks once of each weight that f16 does not suit: values too large, or many too small. A weight may be read more than once. */
export function rangeSayer(say: (line: string) => void): (name: string, lost: F16Losses, of: number) => void {
  const said = new Set<string>();
  return (name, { infinite, vanished }, of) => {
    if (said.has(name)) return;
    said.add(name);
    if (infinite > 0) say(`warning: ${infinite} values of ${name} are too large for f16; use --dtype f32`);
    if (vanished < MANY * of) return;
    say(
      `warning: ${vanished} of ${of} values of ${name} are too small for f16 and became 0; use --dtype f32`,
    );
  };
}

/** One line on all weights that were read as f16, where it could not hold some of their values. */
export function sayLost(
  { lost, weights }: {
    readonly lost: ReadonlyMap<string, F16Losses>;
    readonly weights: ReadonlyMap<string, Pick<StoredTensor, "aval">>;
  },
  say: (line: string) => void,
): void {
  if (lost.size === 0) return;
  let infinite = 0, vanished = 0, of = 0;
  for (const each of lost.values()) {
    infinite += each.infinite;
    vanished += each.vanished;
  }
  for (const { aval: { dtype, shape } } of weights.values()) if (dtype === "f16") of += sizeOf(shape);
  const parts = [
    ...(infinite > 0 ? [`${infinite.toLocaleString("en")} became infinite (65520 and more)`] : []),
    ...(vanished > 0 ? [`${vanished.toLocaleString("en")} became 0 (3e-8 and less)`] : []),
  ];
  say(`weights in f16: ${parts.join(", ")}, of ${of.toLocaleString("en")}`);
}
