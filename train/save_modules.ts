/** Weights that are trained whole beside the adapters. @module */
import { identity, on } from "../adapters/mod.ts";
import { type ShapeClass, weightClasses } from "./arena.ts";
import { UserError } from "./errors.ts";
import type { ModelLayout } from "./methods.ts";

/**
 * Classes of the weights that `names` asks for: patterns as those of `on`, separated by commas, for the names without
 * `.weight` and `.bias`. Numbered after those of `adapted`. Throws UserError for a pattern without weights, and for weights of
 * adapted maps.
 */
export function savedClasses(
  names: string,
  layout: ModelLayout,
  adapted: readonly ShapeClass[],
): ShapeClass[] {
  const modules = [...layout.shapes].map(([name, aval]) => ({
    name,
    aval,
    path: name.replace(/\.(weight|bias)$/, ""),
  }));
  const maps = new Set(layout.modules.map((m) => m.path));
  const patterns = names.split(",").map((p) => p.trim()).filter((p) => p !== "");
  const chosen = new Set<string>();
  for (const pattern of patterns) {
    const { matches } = on(pattern, identity);
    // Of all that has a weight, norms and embeddings are no linear maps.
    const found = modules.filter((m) => matches(m.path) && (pattern !== "all-linear" || maps.has(m.path)));
    if (found.length === 0) {
      const kinds = [...new Set(modules.map((m) => m.path.split(".").at(-1)!))].join(", ");
      const tied = layout.tied ? "; its head is embed_tokens" : "";
      throw new UserError(`--save-modules: no weight matches "${pattern}"; the model has ${kinds}${tied}.`);
    }
    found.forEach((m) => chosen.add(m.path));
  }
  if (chosen.size === 0) {
    throw new UserError(`--save-modules is "${names}": give names, as norm or embed_tokens.`);
  }
  const both = adapted.flatMap((c) => c.members).find((path) => chosen.has(path));
  if (both !== undefined) {
    throw new UserError(
      `--save-modules ${names}: ${both} has an adapter already; leave it out of one of the two.`,
    );
  }
  return weightClasses(modules.filter((m) => chosen.has(m.path)), adapted.length);
}
