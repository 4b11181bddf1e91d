/** Frequencies of rotary positions (arXiv:2104.09864) and their scalings for longer texts. @module */
import type { ConfigFields } from "./config_fields.ts";

/** How frequencies differ from θ^(−2i/headDim). */
export type RopeScaling =
  /** All are divided by `factor`: positions lie closer (arXiv:2306.15595). */
  | { readonly kind: "linear"; readonly factor: number }
  /**
   * Waves longer than `originalPositions / low` are stretched by `factor`, those shorter than `originalPositions / high`
   * stay, those between are mixed linearly in originalPositions / wavelength (Llama 3.1, arXiv:2407.21783).
   */
  | {
    readonly kind: "llama3";
    readonly factor: number;
    readonly low: number;
    readonly high: number;
    /** Positions of the model before it was made for longer texts. */
    readonly originalPositions: number;
  };

/** θ and the scaling of a model; no `scaling`: none. */
export interface RopeConfig {
  readonly theta: number;
  readonly scaling?: RopeScaling;
}

/** Fields of the object that each type reads. */
const READ: ReadonlyMap<string, readonly string[]> = new Map([
  ["default", []],
  ["linear", ["factor"]],
  ["llama3", ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]],
]);

/**
 * θ from `rope_theta` or the newer `rope_parameters`, the scaling from `rope_scaling` or `rope_parameters`. Throws
 * CheckpointError for another type and for a field that the type does not use.
 */
export function parseRope(fields: ConfigFields): RopeConfig {
  const given = ["rope_scaling", "rope_parameters"].filter(fields.present);
  const own = fields.present("rope_theta") ? fields.positive("rope_theta") : undefined;
  const [first] = given;
  if (first === undefined) return { theta: own ?? DEFAULT_THETA };
  const scalings = given.map((field) => ({ field, ...scalingOf(fields, field) }));
  const [{ scaling, theta }] = scalings as [typeof scalings[number]];
  const other = scalings.find((s) => JSON.stringify(s.scaling) !== JSON.stringify(scaling));
  if (other) throw fields.bad(other.field, `${first} says something else; keep one of the two`);
  const found = own ?? theta ?? scalings.at(-1)!.theta ?? DEFAULT_THETA;
  return { theta: found, ...(scaling ? { scaling } : {}) };
}

const DEFAULT_THETA = 10000;

/** The scaling, and θ where it is there, of the object `field`. Throws as {@linkcode parseRope}. */
export function scalingOf(
  fields: ConfigFields,
  field: string,
): { readonly scaling?: RopeScaling; readonly theta?: number } {
  const rope = fields.object(field);
  const type = rope.all["rope_type"] ?? rope.all["type"] ?? "default";
  const read = typeof type === "string" ? READ.get(type) : undefined;
  if (!read) {
    const types = [...READ.keys()].join(", ");
    throw fields.bad(
      field,
      `of scaled rotary positions Gyre has ${types}; use a model with one of them or without`,
    );
  }
  const known = ["rope_type", "type", "rope_theta", ...read];
  const unread = Object.keys(rope.all).find((name) => rope.present(name) && !known.includes(name));
  // Turning all features is what Gyre does.
  if (unread !== undefined && !(unread === "partial_rotary_factor" && rope.all[unread] === 1)) {
    throw rope.bad(unread, `rotary positions of type ${type} have no such field in Gyre; remove it`);
  }
  const theta = rope.present("rope_theta") ? { theta: rope.positive("rope_theta") } : {};
  if (type === "default") return theta;
  const factor = rope.positive("factor");
  if (factor < 1) throw rope.bad("factor", "expected a number from 1 on");
  if (type === "linear") return { ...theta, scaling: { kind: "linear", factor } };
  const low = rope.positive("low_freq_factor"), high = rope.positive("high_freq_factor");
  if (high <= low) throw rope.bad("high_freq_factor", `expected more than low_freq_factor, ${low}`);
  const originalPositions = rope.size("original_max_position_embeddings");
  return { ...theta, scaling: { kind: "llama3", factor, low, high, originalPositions } };
}

/** Angle per position of each pair of features, float64[headDim / 2]. */
export function ropeFrequencies(headDim: number, { theta, scaling }: RopeConfig): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => scaled(theta ** (-2 * i / headDim), scaling));
}

function scaled(frequency: number, scaling: RopeScaling | undefined): number {
  if (!scaling) return frequency;
  const { factor } = scaling;
  if (scaling.kind === "linear") return frequency / factor;
  const { low, high, originalPositions } = scaling;
  const turns = originalPositions * frequency / (2 * Math.PI);
  const kept = Math.min(1, Math.max(0, (turns - low) / (high - low)));
  return kept * frequency + (1 - kept) * frequency / factor;
}
